//! `compare`, `since`, `fetch` and the catalog on packages of a real `dpkg-deb`.

use std::fmt::Write as _;

use camino::Utf8PathBuf;
use camino_tempfile::Utf8TempDir;
use serde_json::{Value, json};

use crate::harness::{Ran, run, stx, tool};
use crate::nginx::Nginx;

mod thinned;

/// A package of a build.
#[derive(Clone, Copy)]
struct Deb<'a> {
    name: &'a str,
    version: &'a str,
    /// A further field, with its line end.
    field: &'a str,
    greeting: &'a str,
    /// The target of its symlink, which the control member does not contain.
    target: &'a str,
}

const HELLO: Deb<'_> = Deb {
    name: "hello",
    version: "1.0-1",
    field: "Depends: bash\n",
    greeting: "one",
    target: "greeting",
};

const COMMIT: &str = "0123456789012345678901234567890123456789";
const CHANNEL: &str = "master/debian/bookworm/amd64/flock";

/// A directory with packages, trees and a mirror.
struct Work {
    dir: Utf8TempDir,
}

impl Work {
    fn new() -> Self {
        Self {
            dir: Utf8TempDir::new().expect("a temporary directory"),
        }
    }

    fn at(&self, path: &str) -> Utf8PathBuf {
        let path = self.dir.path().join(path);
        fs_err::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        path
    }

    /// Packs a package to `to`.
    fn pack(&self, to: &str, deb: Deb<'_>) -> Utf8PathBuf {
        let Deb {
            name,
            version,
            field,
            greeting,
            target,
        } = deb;
        let tree = self.at(&format!("packed-{}/{name}", to.replace('/', "-")));
        let write = |path: &str, text: &str| {
            let path = tree.join(path);
            fs_err::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs_err::write(path, text).expect("a file");
        };
        write(
            "DEBIAN/control",
            &format!(
                "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: A B <a@example.org>\n\
                 {field}Description: greets\n"
            ),
        );
        write(&format!("usr/share/{name}/greeting"), greeting);
        // Digits that compress badly, so that the transferred amount distinguishes control members from payloads.
        let mut noise = String::new();
        let mut state = 1_u64;
        for _ in 0..20_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            write!(noise, "{state:x}").expect("written");
        }
        write(&format!("usr/share/{name}/large"), &noise);
        let link = tree.join(format!("usr/share/{name}/link"));
        fs_err::os::unix::fs::symlink(target, link).expect("linked");
        let sums = "find usr -type f | LC_ALL=C sort | xargs md5sum > DEBIAN/md5sums";
        run(tool("sh", ["-ec", sums]).current_dir(&tree)).ok();
        let file = self.at(to);
        let mut command = tool("dpkg-deb", ["--root-owner-group", "-Zxz", "-b"]);
        run(command
            .args([&tree, &file])
            .env("SOURCE_DATE_EPOCH", "1577836800"))
        .ok();
        file
    }

    /// Publishes packages, by their paths in `outputs`, as the build of a day.
    fn publish(&self, day: u32, debs: &[(&str, Deb<'_>)]) {
        let tree = self.at(&format!("tree-{day}"));
        for (to, deb) in debs {
            self.pack(&format!("tree-{day}/outputs/{to}"), *deb);
        }
        fs_err::write(
            tree.join("outputs/CONTEXT"),
            format!("(cd ./stx/config && git checkout -f {COMMIT})\n"),
        )
        .expect("CONTEXT");
        let date = format!("202001{day:02}T000000Z");
        let args = ["publish", tree.as_str(), "--channel", CHANNEL];
        self.stx(&[&args[..], &["--date", &date, "--result", "success"]].concat())
            .ok();
    }

    fn stx(&self, args: &[&str]) -> Ran {
        run(stx(["--mirror", self.at("mirror").as_str()]).args(args))
    }

    fn json(&self, args: &[&str], code: i32) -> Value {
        let args = [&["--format", "json"], args].concat();
        self.stx(&args).code(code).json()
    }
}

fn date(day: u32) -> String {
    format!("{CHANNEL}/202001{day:02}T000000Z")
}

const PLACE: &str = "std/packages/hello_1.0-1_all.deb";

/// Three builds: the second has another symlink, the third another greeting and relation.
fn three() -> Work {
    let work = Work::new();
    let link = Deb {
        target: "large",
        ..HELLO
    };
    let third = Deb {
        version: "1:1.0-2",
        greeting: "two",
        field: "Depends: bash, new-thing (>= 2)\n",
        ..link
    };
    let same = Deb {
        name: "same",
        ..HELLO
    };
    let same = ("std/packages/same_1.0-1_all.deb", same);
    work.publish(1, &[(PLACE, HELLO), same]);
    work.publish(2, &[(PLACE, link), same]);
    work.publish(3, &[("std/packages/hello_1.0-2_all.deb", third), same]);
    work
}

#[test]
fn two_builds_are_compared_by_control_members_and_unread_parts_are_not_equal() {
    let work = three();
    let report = work.json(&["compare", &date(2), &date(3)], 1);
    assert_eq!(report["identical"], 1, "{report:#}");
    let package = &report["packages"][0];
    let named = |field: &str| package[field].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        [
            named("name"),
            named("arch"),
            named("place"),
            named("format"),
            named("outcome")
        ],
        ["hello", "all", "outputs/std/packages", "deb", "different"]
    );
    let expected = json!([
        {"kind": "version", "from": "1.0-1", "to": "1:1.0-2"},
        {"kind": "file-changed", "path": "/usr/share/hello/greeting", "aspects": [{
            "aspect": "content",
            "from": "md5:f97c5d29941bfb1b2fdab0874906ab82",
            "to": "md5:b8a9f715dbb64fd5c56e7783c6820a61",
        }]},
        {"kind": "dependency", "relation": "depends", "name": "new-thing", "from": [], "to": [">= 2"]},
    ]);
    assert_eq!(package["changes"], expected, "{package:#}");

    // The control members of the first two do not differ, but the packages are not equal.
    let shallow = work.stx(&["compare", &date(1), &date(2)]).code(1);
    assert!(
        shallow
            .stdout
            .contains("the payloads differ and were not read: compare with --contents\n"),
        "{}",
        shallow.stdout
    );
    let junit = work.at("junit.xml");
    let args = [
        "compare",
        &date(1),
        &date(2),
        "--contents",
        "--junit",
        junit.as_str(),
    ];
    let deep = work.stx(&args).code(1);
    assert!(
        deep.stdout.contains("hello.all (outputs/std/packages): different\n  ~ /usr/share/hello/link: target greeting -> large\n"),
        "{}",
        deep.stdout
    );
    let junit = fs_err::read_to_string(junit).expect("junit.xml");
    let case = "<testcase name=\"hello.all\" classname=\"outputs.std.packages\">";
    assert!(
        junit.contains(case) && junit.contains("failures=\"1\""),
        "{junit}"
    );
}

#[test]
fn packages_beside_the_mirror_are_compared_with_a_build() {
    let work = three();
    let again = work.pack("again/hello_1.0-1_all.deb", HELLO);
    let args = ["compare", again.as_str(), "--with", &date(1)];
    let same = work.stx(&args).code(0);
    assert_eq!(same.stdout, "0 different, 0 added, 0 removed, 1 the same\n");
    let other = Deb {
        greeting: "three",
        ..HELLO
    };
    work.pack("others/hello_1.0-1_all.deb", other);
    work.pack(
        "others/new_1.0_all.deb",
        Deb {
            name: "new",
            version: "1.0",
            ..HELLO
        },
    );
    let others = work.at("others");
    let found = work
        .stx(&["compare", others.as_str(), "--with", &date(1)])
        .code(1);
    for line in [
        "hello.all (outputs/std/packages): different\n  ~ /usr/share/hello/greeting: content\n",
        "new.all: added\n",
        "1 different, 1 added, 0 removed, 0 the same\n",
    ] {
        assert!(found.stdout.contains(line), "{line}\n{}", found.stdout);
    }
    // A truncated file is reported with the position.
    let bytes = fs_err::read(&again).expect("read");
    for (length, text) in [
        (50, "the file ends at byte 50"),
        (200, "the file ends at byte 200"),
    ] {
        let cut = work.at("cut/hello_1.0-1_all.deb");
        fs_err::write(&cut, &bytes[..length]).expect("written");
        let refused = work
            .stx(&["compare", cut.as_str(), "--with", &date(1)])
            .code(4);
        assert!(refused.stderr.contains(text), "{}", refused.stderr);
        assert!(
            refused.stderr.contains("is it a whole Debian package?"),
            "{}",
            refused.stderr
        );
    }
}

#[test]
fn unreadable_packages_do_not_prevent_the_comparison_of_others() {
    let work = three();
    let two = Deb {
        greeting: "two",
        ..HELLO
    };
    let whole = work.pack("out/hello_1.0-1_all.deb", two);
    let bytes = fs_err::read(&whole).expect("read");
    for (name, length) in [("empty_1.0-1_all.deb", 0), ("short_1.0-1_all.deb", 200)] {
        fs_err::write(work.at(&format!("out/{name}")), &bytes[..length]).expect("written");
    }
    fs_err::write(work.at("out/lead-1.0-1.noarch.rpm"), b"\xed\xab\xee\xdb").expect("written");
    // A payload with other last bytes, which only the contents reveal.
    let mut damaged = bytes.clone();
    let at = bytes.len() - 20;
    damaged[at] ^= 1;
    fs_err::write(work.at("out/rt/hello_1.0-1_all.deb"), damaged).expect("written");
    let (out, junit) = (work.at("out"), work.at("junit.xml"));
    let asked = ["compare", out.as_str(), "--with", &date(1)];
    let more = ["--contents", "--junit", junit.as_str()];
    let ran = work.stx(&[&asked[..], &more].concat()).code(4);
    for line in [
        "empty.all: not compared: ",
        "hello.all (outputs/std/packages): different\n  ~ /usr/share/hello/greeting: content",
        "hello.all (outputs/std/packages): not compared: `data.tar.xz` is damaged",
        "lead.noarch: not compared: ",
        "short.all: not compared: ",
        "short_1.0-1_all.deb: the file ends at byte 200",
        "1 different, 0 added, 0 removed, 0 the same, 4 not compared",
    ] {
        assert!(ran.stdout.contains(line), "{line}\n{}", ran.stdout);
    }
    let hint = "the other packages were compared; is it a whole RPM package?";
    assert!(ran.stderr.contains(hint), "{}", ran.stderr);
    let junit = fs_err::read_to_string(junit).expect("junit.xml");
    assert!(junit.contains("errors=\"4\""), "{junit}");
}

#[test]
fn over_the_network_only_control_members_are_transferred() {
    let work = three();
    let conf = "daemon off;\npid nginx.pid;\nevents {}\nhttp {\naccess_log off;\nserver {\nlisten 127.0.0.1:8080;\n\
        root mirror;\nlocation / {}\n}\n}\n";
    let nginx = Nginx::serve(work.dir.path(), conf);
    let transferred = |more: &[&str]| {
        let (two, three) = (date(2), date(3));
        let args = ["compare", &two, &three, "--format", "json"];
        let ran = run(stx(["--mirror", &nginx.url("")]).args(args).args(more)).code(1);
        ran.json()["transferred"].as_u64().expect("a number")
    };
    let size = fs_err::metadata(work.at(&format!("mirror/{}/outputs/{PLACE}", date(2))));
    let size = size.expect("a package").len();
    assert!(size > 100_000, "{size}");
    let (shallow, deep) = (transferred(&[]), transferred(&["--contents"]));
    assert!(shallow < 30_000, "{shallow} bytes");
    assert!(deep > 2 * size, "{deep} bytes");
}

#[test]
fn the_build_that_changed_a_package_is_found() {
    let work = three();
    let since = |more: &[&str]| {
        let args = ["since", "hello", "--in", CHANNEL];
        work.json(&[&args[..], more].concat(), 0)
    };
    let found = since(&[]);
    assert_eq!(found["changed"], date(3), "{found:#}");
    assert_eq!(found["versions"], json!(["1.0-1", "1:1.0-2"]));
    // The symlink is only in the payloads.
    let link = since(&["--file", "/usr/share/hello/link"]);
    assert_eq!(link["changed"], date(2), "{link:#}");
    let target = json!([{"kind": "file-changed", "path": "/usr/share/hello/link", "aspects": [
        {"aspect": "target", "from": "greeting", "to": "large"}
    ]}]);
    assert_eq!(link["changes"], target);
    let greeting = since(&["--file", "/usr/share/hello/greeting"]);
    assert_eq!(greeting["changed"], date(3), "{greeting:#}");
    // Debian's order: `~` sorts before everything, and an epoch takes precedence over the rest.
    for version in ["1.0-2~~", "1:1.0-1+b1", "1:1.0-2"] {
        assert_eq!(
            since(&["--version", version])["changed"],
            date(3),
            "{version}"
        );
    }
    // It changed, and always had the version.
    let always = since(&["--version", "0:1.0-1"]);
    assert!(always["changed"].is_null(), "{always:#}");
    assert_eq!(always["versions"], json!([null, "1.0-1"]));
    let asked = ["since", "hello", "--in", CHANNEL, "--version", "0:1.0-1"];
    let said = work.stx(&asked).ok();
    let text = format!(
        "hello.all is 0:1.0-1 or newer in every build that was searched; the oldest is {}\n",
        date(1)
    );
    assert_eq!(said, text);
    let none = work
        .stx(&["since", "hello", "--in", CHANNEL, "--version", "1.0-2+b1"])
        .code(5);
    assert!(
        none.stderr.contains("no build has 1:1.0-2+b1 yet"),
        "{}",
        none.stderr
    );
    let refused = work
        .stx(&["since", "hello", "--in", CHANNEL, "--version", "1_0"])
        .code(2);
    assert!(
        refused.stderr.contains("[EPOCH:]VERSION[-REVISION]"),
        "{}",
        refused.stderr
    );
    // In dpkg's notation for a package of an architecture.
    let named = work.json(&["since", "hello:all", "--in", CHANNEL], 0);
    assert_eq!(named["changed"], date(3));
}

#[test]
fn files_of_a_package_are_sorted_as_debian_sorts_them_and_copies_are_listed_once() {
    let work = Work::new();
    let deb = |version| Deb { version, ..HELLO };
    // By the rule of rpm, `1.0+1` would equal `1.0.1`; only the control members tell which of the files have an epoch.
    let old = [
        ("std/packages/hello_1.0+1-1_all.deb", deb("1.0+1-1")),
        ("std/packages/hello_1.0.1-1_all.deb", deb("1.0.1-1")),
        ("std/packages/hello_0.1-1_all.deb", deb("1:0.1-1")),
    ];
    let new = [
        ("std/packages/hello_1.0.2-1_all.deb", deb("1.0.2-1")),
        ("std/packages/hello_0.2-1_all.deb", deb("1:0.2-1")),
        (
            "aptly/deb-local-build/pool/main/h/hello/hello_1.0.2-1_all.deb",
            deb("1.0.2-1"),
        ),
    ];
    work.publish(1, &old);
    work.publish(2, &new);
    let report = work.json(&["compare", &date(1), &date(2)], 1);
    let packages = report["packages"].as_array().expect("packages").iter();
    let name = |value: &Value| {
        let text = value.as_str().unwrap_or("-");
        text.rsplit('/').next().unwrap_or_default().to_owned()
    };
    let shown: Vec<_> = packages
        .map(|package| format!("{} {}", name(&package["from"]), name(&package["to"])))
        .collect();
    let expected = [
        "hello_1.0+1-1_all.deb -",
        "hello_1.0.1-1_all.deb hello_1.0.2-1_all.deb",
        "hello_0.1-1_all.deb hello_0.2-1_all.deb",
    ];
    let mut sorted = shown.clone();
    sorted.sort();
    let mut wanted = expected.to_vec();
    wanted.sort_unstable();
    assert_eq!(sorted, wanted, "{report:#}");
    assert_eq!(report["packages"].as_array().map(Vec::len), Some(3));
    let found = work.json(&["since", "hello", "--in", CHANNEL], 0);
    assert_eq!(found["versions"], json!(["1:0.1-1", "1:0.2-1"]));
}

#[test]
fn packages_are_fetched_by_build_type_and_the_catalog_names_their_changes() {
    let work = three();
    let sources = work.at("tree-3/outputs/std/sources/hello/hello_1.0-2.dsc");
    fs_err::write(&sources, "Source: hello\nVersion: 1:1.0-2\n").expect("written");
    let tree = work.at("tree-3");
    let args = [
        "publish",
        tree.as_str(),
        "--channel",
        CHANNEL,
        "--result",
        "success",
    ];
    work.stx(&[&args[..], &["--date", "20200104T000000Z"]].concat())
        .ok();
    let to = work.at("fetched/");
    work.stx(&["fetch", CHANNEL, "debs:std", "sources", "--to", to.as_str()])
        .ok();
    for path in [
        "packages/hello_1.0-2_all.deb",
        "packages/same_1.0-1_all.deb",
        "sources/hello/hello_1.0-2.dsc",
    ] {
        let fetched = fs_err::read(to.join("std").join(path)).expect(path);
        let published = fs_err::read(work.at(&format!("mirror/{}/outputs/std/{path}", date(4))));
        assert_eq!(fetched, published.expect(path), "{path}");
    }
    let none = work
        .stx(&["fetch", CHANNEL, "debs:rt", "--print-url"])
        .code(5);
    assert!(
        none.stderr.contains("the build has no debs:rt"),
        "{}",
        none.stderr
    );

    let index = fs_err::read_to_string(work.at(&format!("mirror/{CHANNEL}/index.json")));
    let index: Value = serde_json::from_str(&index.expect("index.json")).expect("JSON");
    let builds = index["builds"].as_array().expect("builds");
    let of = |day: u32| {
        let found = builds
            .iter()
            .find(|build| build["date"] == format!("202001{day:02}T000000Z"));
        found.expect("a build")["changes"].clone()
    };
    assert_eq!(of(2)["rebuilt"], json!(["hello.all"]), "{}", of(2));
    let updated = json!([{"name": "hello.all", "from": "1.0-1", "to": "1.0-2"}]);
    assert_eq!(of(3)["updated"], updated, "{}", of(3));
}

/// The version of each file, as dpkg compares them.
#[test]
fn versions_have_the_order_of_dpkg() {
    let versions = [
        "1.0",
        "1.0-1",
        "1.0-0",
        "1.0-1+b1",
        "1.0~rc1-1",
        "1.0~~",
        "1.0+1-1",
        "1.0.1-1",
        "1.0a",
        "1.0-1-1",
        "1:0.1",
        "0:1.0",
        "1.00",
        "1.0-01",
        "2.0+dfsg-1",
        "2.0-1",
        "2.0a-1",
        "10.0",
        "9.0",
        "1.0-1.1",
        "1.0-1ubuntu1",
        "1.0a0",
        "1.0a0~",
        "1.0.",
        "1.0.0",
        "1.0-a",
        "1.0-a0",
        "1.0-a0~",
    ];
    for one in versions {
        for two in versions {
            let order = stx_compare::version::Format::Deb.cmp_versions(one, two);
            for (operator, expected) in [
                ("lt", order.is_lt()),
                ("eq", order.is_eq()),
                ("gt", order.is_gt()),
            ] {
                let ran = run(&mut tool(
                    "dpkg",
                    ["--compare-versions", one, operator, two],
                ));
                assert_eq!(ran.code == Some(0), expected, "{one} {operator} {two}");
            }
        }
    }
}

#[test]
fn a_package_that_contradicts_its_file_name_is_not_compared() {
    let work = Work::new();
    let other = Deb {
        name: "other",
        greeting: "two",
        ..HELLO
    };
    work.publish(1, &[(PLACE, HELLO)]);
    work.publish(2, &[(PLACE, other)]);
    let report = work.json(&["compare", &date(1), &date(2)], 4);
    let reason = report["packages"][0]["reason"].as_str().expect("a reason");
    assert_eq!(reason, "the header is that of other.all, not of hello.all");
}
