//! Metalink files, read by `aria2c`, and `fetch` from several mirrors.

use std::process::Command;

use camino::Utf8Path;

use super::delta::{build, is_there, number};
use super::{image, iso};
use crate::harness::{publish_args, run, stx, tool};
use crate::site::{CHANNEL, DATES, Site};

/// Fetches the image of a build from the first of these mirrors that has it.
fn fetch(mirrors: &[&str], build: &str, to: &Utf8Path) -> Command {
    let mut command = stx([
        "--format",
        "json",
        "fetch",
        build,
        "iso",
        "--to",
        to.as_str(),
    ]);
    for mirror in mirrors {
        command.args(["--mirror", mirror]);
    }
    command
}

#[test]
fn aria2c_uses_the_metalink_to_fetch_from_the_working_mirror() {
    let new = image(1, 180);
    let site = Site::new(&[]);
    let tree = site.dir.path().join("tree");
    fs_err::create_dir_all(tree.join("outputs/iso")).expect("a directory");
    fs_err::write(tree.join("outputs/iso/bootimage.iso"), &new).expect("written");
    fs_err::create_dir_all(site.mirror()).expect("a directory");
    let nginx = site.serve("");
    let config = site.dir.path().join("stx-builds.toml");
    let urls = format!(
        "[mirrors]\nurls = [\"http://127.0.0.1:1/stx/\", \"{}\"]\n",
        nginx.url("")
    );
    fs_err::write(&config, urls).expect("written");
    let publish = || {
        let args = publish_args(tree.as_str(), CHANNEL, DATES[0], "success");
        let mut command = stx([
            "--mirror",
            site.mirror().as_str(),
            "--config",
            config.as_str(),
        ]);
        run(command.args(args)).ok()
    };
    publish();
    assert!(publish().contains("published already"), "the same build");

    let metalink = site.mirror().join(iso(DATES[0]) + ".meta4");
    let to = site.to("aria2c");
    let aria2c = |to: &Utf8Path| {
        let mut command = tool(
            "aria2c",
            [
                "--quiet",
                "--dir",
                to.as_str(),
                "--connect-timeout=2",
                "--max-tries=2",
            ],
        );
        run(command.arg(format!("--metalink-file={metalink}")))
    };
    aria2c(&to).code(0);
    is_there(&to, &new);
    let dir = site.mirror().join(CHANNEL).join(DATES[0]);
    let check = run(tool("sha256sum", ["--check", "SHA256SUMS"]).current_dir(&dir)).ok();
    assert!(
        check.contains("outputs/iso/bootimage.iso.meta4: OK"),
        "{check}"
    );
    run(&mut stx(["--mirror", site.mirror().as_str(), "verify"])).ok();

    // It contains the digest: `aria2c` refuses another file.
    let served = site.mirror().join(iso(DATES[0]));
    let mut wrong = new;
    wrong[1_000_000] ^= 1;
    fs_err::remove_file(&served).expect("removed");
    fs_err::write(&served, &wrong).expect("written");
    assert_ne!(aria2c(&site.to("wrong")).code, Some(0));
}

#[test]
fn if_one_mirror_fails_the_next_one_gives_the_same_build() {
    let (old, new) = (image(1, 180), image(2, 180));
    // The first mirror lost the image; the second one is outdated, and its newest build is that of the first day; the third one is
    // complete.
    let [first, second, third] =
        [vec![&*old, &*new], vec![&*old], vec![&*old, &*new]].map(|images| Site::new(&images));
    fs_err::remove_file(first.mirror().join(iso(DATES[1]))).expect("removed");
    let servers = [first.serve(""), second.serve(""), third.serve("")];
    let to = first.to("here");
    let urls = [0, 1, 2].map(|number: usize| servers[number].url(""));
    let [one, two, three] = [&*urls[0], &*urls[1], &*urls[2]];
    let ran = run(&mut fetch(&[one, two, three], CHANNEL, &to)).code(0);
    is_there(&to, &new);
    assert_eq!(ran.json()["build"], build(1));
    assert_eq!(ran.stderr.matches("; trying ").count(), 2, "{}", ran.stderr);
    assert_eq!(number(&ran, "bytes"), new.len() as u64);

    // The first server does not exist.
    let to = first.to("there");
    run(&mut fetch(&["http://127.0.0.1:1/", three], CHANNEL, &to)).code(0);
    is_there(&to, &new);
    // No mirror has it.
    run(&mut fetch(&[one, two], &build(1), &first.to("nowhere"))).code(5);
    let twice = run(&mut stx(["--mirror", "a", "--mirror", "b", "list"])).code(2);
    assert!(
        twice.stderr.contains("only `fetch` takes several mirrors"),
        "{}",
        twice.stderr
    );
}
