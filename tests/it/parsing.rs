//! `parse` and `image`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Ran, run, stx};

/// Runs a program with this standard input.
fn fed(command: &mut Command, input: &[u8]) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(input)
        .expect("read");
    let output = child.wait_with_output().expect("it ends");
    Ran {
        command: format!("{command:?}"),
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn objects(ran: &Ran) -> Vec<Value> {
    ran.stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect()
}

#[test]
fn two_paths_and_a_refusal_from_standard_input() {
    let input = b"master/centos/20181105T060000Z/outputs/RPMS/std/\n\
        release/2.0.0/centos/outputs/iso/bootimage.iso\n\
        master/../etc\n";
    let ran = fed(&mut stx(["parse", "--format", "json", "-"]), input).code(2);
    let objects = objects(&ran);
    assert_eq!(objects.len(), 3);
    assert_eq!(objects[0]["dialect"], "spec");
    assert_eq!(
        objects[0]["path"],
        "master/centos/20181105T060000Z/outputs/RPMS/std"
    );
    assert_eq!(
        (&objects[0]["artifact"], &objects[0]["phase"]),
        (&"RPMS".into(), &"std".into())
    );
    assert_eq!(objects[0]["rest"], Value::Null);
    assert_eq!(objects[1]["dialect"], "extended");
    assert_eq!(objects[1]["release"], "release/2.0.0");
    assert_eq!(objects[1]["build"], Value::Null);
    assert_eq!(objects[1]["rest"], "bootimage.iso");
    assert_eq!(objects[2]["error"]["offset"], 7);
    let keys: Vec<_> = objects[0]
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect();
    assert_eq!(keys.len(), 14, "{keys:?}");
}

#[test]
fn names_that_hide_characters_or_end_within_one_are_refused_at_their_offset() {
    let long = format!("master/centos/{}é", "a".repeat(254));
    let lines = format!(
        "{long}\nmaster/cen\u{202e}tos\nfeature/a\u{200b}b/centos\nmaster/centos/latest-build\n"
    );
    let ran = fed(
        &mut stx(["parse", "--format", "json", "-"]),
        lines.as_bytes(),
    )
    .code(2);
    assert!(
        !ran.stdout.contains(['\u{202e}', '\u{200b}']),
        "they are escaped"
    );
    let objects = objects(&ran);
    let found: Vec<_> = objects
        .iter()
        .map(|object| {
            let error = &object["error"];
            (error["offset"].as_u64(), error["suggestion"].as_str())
        })
        .collect();
    assert_eq!(
        found,
        [
            (Some(268), None),
            (Some(10), Some("master/centos")),
            (Some(9), Some("feature/ab/centos")),
            (Some(20), Some("master/centos/latest_build")),
        ]
    );
    assert_eq!(objects[1]["input"], "master/cen\u{202e}tos");
    let shown = run(stx(["parse"]).arg(&long)).code(2);
    assert!(shown.stderr.contains("255 bytes"), "{}", shown.stderr);
}

#[test]
fn invalid_utf_8_is_refused_at_its_offset_and_other_lines_are_read() {
    let ran = fed(
        &mut stx(["parse", "--format", "json", "-"]),
        b"mast\xff\nmaster/centos\n",
    )
    .code(2);
    let objects = objects(&ran);
    assert_eq!(objects[0]["error"]["offset"], 4);
    assert_eq!(objects[1]["distro"], "centos");
    let ran = run(&mut stx(["parse", "MASTER/centos"])).code(2);
    assert!(
        ran.stderr.contains("\n^ expected") && ran.stderr.contains("master/centos"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_url_is_parsed_like_its_path() {
    let path = "master/debian/bullseye/amd64/monolithic/latest_build/outputs/iso/";
    let url = format!("https://mirror.example.org/mirror/starlingx/{path}");
    let ran = run(&mut stx(["parse", "--format", "json", path, &url])).code(0);
    let mut objects = objects(&ran);
    for object in &mut objects {
        object["input"] = Value::Null;
    }
    assert_eq!(objects[0], objects[1]);
    assert_eq!(objects[0]["alias"], "latest_build");
}

#[test]
fn image_names_are_parsed_and_composed() {
    for (parts, name) in [
        (
            "--component keystone --prefix dev --os centos --openstack-release pike",
            "starlingx/stx-keystone:dev-centos-pike",
        ),
        (
            "--component nova --prefix master --os debian --stream dev --qualifier latest",
            "starlingx/stx-nova:master-debian-dev-latest",
        ),
        (
            "--registry docker.io --component keystone --prefix master --os centos --stream stable \
             --timestamp 20190513T013000Z --patch 0",
            "docker.io/starlingx/stx-keystone:master-centos-stable-20190513T013000Z.0",
        ),
        (
            "--component audit --prefix stx.6.0 --version v1.0.2",
            "starlingx/stx-audit:stx.6.0-v1.0.2",
        ),
        (
            "--image stx-centos --prefix master --stream stable --qualifier latest",
            "starlingx/stx-centos:master-stable-latest",
        ),
    ] {
        let made = run(stx(["image", "name"]).args(parts.split_whitespace())).ok();
        assert_eq!(made.trim_end(), name);
        let read = run(&mut stx(["image", "parse", "--format", "json", name]))
            .code(0)
            .json();
        assert_eq!(read["name"], name);
        assert_eq!(
            read.as_object().map(serde_json::Map::len),
            Some(18),
            "{read}"
        );
    }
    run(&mut stx([
        "image",
        "name",
        "--component",
        "x",
        "--prefix",
        "dev",
        "--openstack-release",
        "pike",
    ]))
    .code(2);
    run(&mut stx(["image", "parse", "starlingx/UPPER:x"])).code(2);
}

/// URLs as browsers write them, and as the lists of packages contain them.
#[test]
fn the_path_of_a_url_is_decoded() {
    let start = "https://mirror.example.org/mirror/starlingx/master/debian/latest_build/outputs/std/packages/";
    let input = format!(
        "{start}g%2B%2B_4%3A12.2.0-3_amd64.deb\n{start}a+b%2Fc.deb\n{start}a%ff.deb\n{start}x%00\n{start}%2e%2e/y%2B\nmaster/g%2B%2B\n"
    );
    let ran = fed(
        &mut stx(["parse", "--format", "json", "-"]),
        input.as_bytes(),
    )
    .code(2);
    let objects = objects(&ran);
    assert_eq!(objects[0]["rest"], "packages/g++_4:12.2.0-3_amd64.deb");
    assert_eq!(
        objects[0]["input"],
        format!("{start}g%2B%2B_4%3A12.2.0-3_amd64.deb")
    );
    for (object, offset) in objects[1..].iter().zip([
        start.len() + 3,
        start.len() + 1,
        start.len() + 1,
        start.len(),
        "master/g".len(),
    ]) {
        assert_eq!(object["error"]["offset"], offset, "{object}");
    }
    let texts: Vec<_> = input.lines().collect();
    let inputs: Vec<_> = objects
        .iter()
        .map(|object| object["input"].as_str())
        .collect();
    assert_eq!(
        inputs,
        texts.into_iter().map(Some).collect::<Vec<_>>(),
        "as they were given"
    );
}

#[test]
fn the_printed_path_is_parsed_to_the_same_result() {
    for (text, path) in [
        ("master/centos/a.tar/", "master/centos/a.tar/"),
        ("master/centos/a.tar", "master/centos/a.tar"),
        (
            "http://h.example/mirror/starlingx/master/centos/a.tar/",
            "master/centos/a.tar/",
        ),
        ("master/centos/flock/", "master/centos/flock"),
        ("release/11.0.0/", "release/11.0.0"),
    ] {
        let of = |text: &str| {
            objects(&run(&mut stx(["--format", "json", "parse", text])).code(0)).remove(0)
        };
        let parsed = of(text);
        assert_eq!(parsed["path"], path, "{text}");
        let mut again = of(path);
        again["input"] = text.into();
        assert_eq!(again, parsed, "{text}");
    }
}
