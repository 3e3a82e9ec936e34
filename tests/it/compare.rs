//! `compare` and `since` on packages of a real rpmbuild.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use camino::Utf8PathBuf;
use serde_json::Value;
use stx_layout::rpm::Headers;
use stx_layout::size;

use crate::harness::{run, stx, tool};
use crate::nginx::Nginx;
use crate::rpms::Parts;

mod releases;
mod summary;
mod week;
mod work;

use work::{FIRST, Spec, Work};

const COMMIT: &str = "0123456789012345678901234567890123456789";

/// A mirror with one build of the package, and the package rebuilt with another file, requirement, host and time; and again with only
/// another host and time.
struct Rebuilt {
    work: Work,
    again: Utf8PathBuf,
    noise: Utf8PathBuf,
}

fn rebuilt() -> &'static Rebuilt {
    static REBUILT: OnceLock<Rebuilt> = OnceLock::new();
    REBUILT.get_or_init(|| {
        let work = Work::new();
        let first = work.build("first", FIRST);
        work.publish(1, COMMIT, &[("std/hello-1.0-1.noarch.rpm", &first)]);
        let noise = Spec {
            host: "second.example.org",
            time: FIRST.time + 86_400,
            ..FIRST
        };
        let again = Spec {
            greeting: "two",
            requires: "bash, new-thing >= 2",
            ..noise
        };
        Rebuilt {
            again: work.build("again", again),
            noise: work.build("noise-only", noise),
            work,
        }
    })
}

#[test]
fn packages_that_differ_in_bytes_outside_of_utf_8_are_not_equal() {
    let work = Work::new();
    let place = "std/old-1.0-1.noarch.rpm";
    let packages = [(1, 0xe9), (2, 0xe8), (3, 0xe8)]
        .map(|(day, byte)| (day, work.build_in_latin_1(&format!("day-{day}"), byte)));
    for (day, package) in &packages {
        work.publish(*day, COMMIT, &[(place, package)]);
    }
    let date = |day: u32| format!("master/centos/202001{day:02}T000000Z");
    let report = work.stx(&["--format", "json", "compare", &date(1), &date(2)]);
    let report = report.code(1).json();
    let package = &report["packages"][0];
    assert_eq!(package["outcome"], "different", "{package:#}");
    let found = kinds(&package["changes"]);
    for kind in ["file-added", "file-removed", "dependency", "changelog"] {
        assert!(found.contains(kind), "{package:#}");
    }
    let shown = work.stx(&["compare", &date(1), &date(2)]).code(1).stdout;
    assert!(shown.contains("+ /usr/share/old/caf\u{fffd}e8 "), "{shown}");
    assert!(shown.contains("- /usr/share/old/caf\u{fffd}e9 "), "{shown}");
    let same = work.stx(&["--format", "json", "compare", &date(2), &date(3)]);
    same.code(0);

    let file = "/usr/share/old/caf\u{fffd}e8";
    let asked = [
        "--format",
        "json",
        "since",
        "old",
        "--in",
        "master/centos",
        "--file",
        file,
    ];
    let since = work.stx(&asked).code(0).json();
    assert_eq!(since["changed"], date(2), "{since:#}");
}

#[test]
fn versions_are_ordered_by_their_epochs_too() {
    let work = Work::new();
    let builds = [(1, None, "2.0"), (2, Some(1), "1.0"), (3, Some(1), "1.5")];
    for (day, epoch, version) in builds {
        let package = work.build_of_epoch(&format!("day-{day}"), epoch, version);
        let place = format!("std/epochs-{version}-1.noarch.rpm");
        work.publish(day, COMMIT, &[(&place, &package)]);
    }
    let since = |version: &str| {
        let asked = [
            "--format",
            "json",
            "since",
            "epochs",
            "--in",
            "master/centos",
        ];
        work.stx(&[&asked[..], &["--version", version]].concat())
    };
    let changed = |version: &str| since(version).code(0).json()["changed"].clone();
    let date = |day: u32| format!("master/centos/202001{day:02}T000000Z");
    // Every output of a version uses the same form: with its epoch, or as in the file name.
    for (version, day) in [
        ("1:1.0-1", 2),
        ("1.0-1", 2),
        ("1:1.5", 3),
        ("1.5-1", 3),
        ("0:2.1", 2),
    ] {
        assert_eq!(changed(version), date(day), "{version}");
    }
    assert!(
        changed("0:2.0-1").is_null(),
        "it is there since the first build"
    );
    let versions = since("1.5").code(0).json()["versions"].clone();
    assert_eq!(versions, serde_json::json!(["1:1.0-1", "1:1.5-1"]));
    let none = since("2.0").code(5);
    assert!(
        none.stderr
            .contains("has epochs 1:1.5-1: no build has 1:2.0 yet"),
        "{}",
        none.stderr
    );
    assert!(none.stderr.contains("EPOCH:VERSION"), "{}", none.stderr);
    let refused = since("x:1").code(2);
    assert!(
        refused.stderr.contains("[EPOCH:]VERSION[-RELEASE]"),
        "{}",
        refused.stderr
    );

    // Two files of one package in one build: the one with the higher epoch is the newest.
    let (old, new) = (
        work.build_of_epoch("old", None, "2.0"),
        work.build_of_epoch("new", Some(1), "1.0"),
    );
    work.publish(
        4,
        COMMIT,
        &[
            ("std/epochs-2.0-1.noarch.rpm", &old),
            ("std/epochs-1.0-1.noarch.rpm", &new),
        ],
    );
    let newer = work.build_of_epoch("newer", Some(1), "1.1");
    let against = date(4);
    let asked = [
        "--format",
        "json",
        "compare",
        newer.as_str(),
        "--with",
        &against,
    ];
    let report = work.stx(&asked).code(1).json();
    let found = report["packages"][0]["changes"]
        .as_array()
        .expect("changes");
    let version = found.iter().find(|change| change["kind"] == "version");
    assert_eq!(version.expect("a version")["from"], "1:1.0-1", "{report:#}");
}

/// The kinds of a list of changes or noise.
fn kinds(list: &Value) -> BTreeSet<&str> {
    let list = list.as_array().expect("a list").iter();
    list.map(|item| item["kind"].as_str().expect("a kind"))
        .collect()
}

#[test]
fn a_rebuilt_package_has_its_changes_separated_from_noise() {
    let Rebuilt { work, again, .. } = rebuilt();
    let args = ["compare", again.as_str(), "--with", "master/centos"];
    let json = work.stx(&[&args[..], &["--format", "json", "--contents"]].concat());
    let report = json.code(1).json();
    let package = &report["packages"][0];
    assert_eq!(report["packages"].as_array().map(Vec::len), Some(1));
    assert_eq!(package["outcome"], "different", "{package:#}");
    let changes = package["changes"].as_array().expect("changes");
    let found: Vec<_> = changes
        .iter()
        .map(|change| {
            (
                change["kind"].as_str(),
                change["path"].as_str(),
                change["name"].as_str(),
                &change["to"],
            )
        })
        .collect();
    let added = serde_json::json!([">= 2"]);
    let expected = [
        (
            Some("file-changed"),
            Some("/usr/share/hello/greeting"),
            None,
            &Value::Null,
        ),
        (Some("dependency"), None, Some("new-thing"), &added),
    ];
    assert_eq!(found, expected, "{package:#}");
    let aspects = changes[0]["aspects"].as_array().expect("aspects");
    assert!(
        matches!(&aspects[..], [only] if only["aspect"] == "content"),
        "{aspects:?}"
    );
    let noise = ["build-host", "build-time", "embedded-times", "file-times"];
    assert_eq!(
        kinds(&package["noise"]),
        BTreeSet::from(noise),
        "{package:#}"
    );

    let human = work.stx(&args).code(1);
    for line in [
        "  ~ /usr/share/hello/greeting: content\n",
        "  + requires new-thing >= 2\n",
        "  noise: build host first.example.org -> second.example.org\n",
        "1 different, 0 added, 0 removed, 0 the same\n",
    ] {
        assert!(human.stdout.contains(line), "{line}\n{}", human.stdout);
    }
    let hidden = work
        .stx(&[&args[..], &["--noise", "hide"]].concat())
        .code(1);
    assert!(!hidden.stdout.contains("noise"), "{}", hidden.stdout);
}

#[test]
fn noise_is_a_difference_only_on_request() {
    let Rebuilt { work, noise, .. } = rebuilt();
    let args = ["compare", noise.as_str(), "--with", "master/centos"];
    // Without `--contents`, a compressed file that contains another time counts as different.
    let shallow = work.stx(&args).code(1);
    assert!(
        shallow
            .stdout
            .contains("~ /usr/share/hello/times.gz: content"),
        "{}",
        shallow.stdout
    );
    let contents = work.stx(&[&args[..], &["--contents"]].concat()).code(0);
    assert!(
        contents
            .stdout
            .contains("noise: times within /usr/share/hello/times.gz (gzip)"),
        "{}",
        contents.stdout
    );
    let count = ["--contents", "--noise", "count", "--junit"];
    let junit = work.at("junit.xml");
    work.stx(&[&args[..], &count, &[junit.as_str()]].concat())
        .code(1);
    let junit = fs_err::read_to_string(junit).expect("junit.xml");
    assert!(
        junit.contains("<testcase name=\"hello.noarch\" classname=\"outputs.RPMS.std\">"),
        "{junit}"
    );
    assert!(junit.contains("failures=\"1\""), "{junit}");
}

#[test]
fn an_identical_package_is_unchanged_and_an_unknown_one_is_added() {
    let Rebuilt { work, .. } = rebuilt();
    let first = work.at("first/RPMS");
    let same = work
        .stx(&["compare", first.as_str(), "--with", "master/centos"])
        .code(0);
    assert_eq!(same.stdout, "0 different, 0 added, 0 removed, 1 the same\n");
    let other = work.stx(&[
        "compare",
        first.as_str(),
        "--with",
        "master/centos",
        "--phase",
        "rt",
    ]);
    assert!(
        other
            .code(1)
            .stdout
            .starts_with("hello.noarch (rt): added\n")
    );
    work.stx(&["compare", first.as_str(), "--with", "master/debian"])
        .code(5);
    work.stx(&["compare", first.as_str()]).code(2);
    work.stx(&["compare", "no-such.rpm", "--with", "master/centos"])
        .code(5);
}

#[test]
fn from_a_url_only_headers_are_transferred() {
    let Rebuilt { work, again, .. } = rebuilt();
    let conf = "daemon off;\npid nginx.pid;\nevents {}\nhttp {\naccess_log access.log;\nserver {\nlisten 127.0.0.1:8080;\n\
        root mirror;\nlocation / {}\n}\n}\n";
    let nginx = Nginx::serve(work.dir.path(), conf);
    let compare = |more: &[&str]| {
        let args = [
            "compare",
            again.as_str(),
            "--with",
            "master/centos",
            "--format",
            "json",
        ];
        let ran = run(stx(["--mirror", &nginx.url("")]).args(args).args(more)).code(1);
        let bytes = ran.json()["transferred"].as_u64().expect("a number");
        assert!(
            ran.stderr
                .contains(&format!("{} transferred over the network", size(bytes))),
            "{}",
            ran.stderr
        );
        bytes
    };
    let sent = || -> u64 {
        let log = nginx.log(&work.at("access.log"));
        log.lines()
            .filter_map(|line| {
                line.split("\" ")
                    .nth(1)?
                    .split(' ')
                    .nth(1)?
                    .parse::<u64>()
                    .ok()
            })
            .sum()
    };
    let headers = compare(&[]);
    // The package contains 400 kB of incompressible data.
    assert!(
        headers < 40_000,
        "{headers} bytes for a comparison of headers"
    );
    assert_eq!(headers, sent(), "what is said is what the server sent");
    let whole = compare(&["--contents"]);
    assert!(
        whole > 400_000,
        "{whole} bytes for a comparison of contents"
    );
}

#[test]
fn invalid_packages_are_errors_and_the_others_are_compared() {
    let Rebuilt {
        work: made, again, ..
    } = rebuilt();
    let first = made.at("first/RPMS/noarch/hello-1.0-1.noarch.rpm");
    let bytes = fs_err::read(&first).expect("a package");
    let work = Work::new();
    let names = ["damaged", "hello", "huge", "other", "page", "short"];
    let paths = names.map(|name| format!("std/{name}-1.0-1.noarch.rpm"));
    for (day, package) in [(1, &first), (2, again)] {
        let packages: Vec<_> = paths
            .iter()
            .map(|path| (path.as_str(), package.as_path()))
            .collect();
        work.publish(day, COMMIT, &packages);
    }
    // The mirror is damaged: a header that claims 4 GB, one that is truncated, a page instead of a package, and a changed digit in a
    // header. One package never matched its file name.
    let lie = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        let path = format!(
            "mirror/master/centos/20200101T000000Z/outputs/RPMS/std/{name}-1.0-1.noarch.rpm"
        );
        fs_err::remove_file(work.at(&path)).expect("removed");
        fs_err::write(work.at(&path), bytes).expect("a file");
    };
    lie("huge", &|bytes| bytes[96 + 8..96 + 16].fill(0xff));
    lie("short", &|bytes| bytes.truncate(1000));
    lie("page", &|bytes| *bytes = b"<html>not found</html>".to_vec());
    lie("damaged", &|bytes| {
        let greets = b"greets\0";
        let at = bytes
            .windows(greets.len())
            .position(|window| window == greets);
        bytes[at.expect("the summary")] = b'G';
    });
    let builds = ["compare", "master/centos/20200101T000000Z", "master/centos"];
    let ran = work
        .stx(&[&builds[..], &["--format", "json"]].concat())
        .code(4);
    assert!(
        ran.stderr.contains("{\"error\":\"damaged.noarch: "),
        "{}",
        ran.stderr
    );
    let report = ran.json();
    let packages = report["packages"].as_array().expect("packages");
    let found: Vec<_> = packages
        .iter()
        .map(|package| {
            let reason = package["reason"].as_str().unwrap_or_default();
            (
                package["name"].as_str().expect("a name"),
                package["outcome"].as_str(),
                reason,
            )
        })
        .collect();
    assert_eq!(found.len(), names.len(), "{report:#}");
    for (package, (name, outcome, reason)) in found.iter().zip([
        ("damaged", "failed", "the header is damaged: "),
        ("hello", "different", ""),
        ("huge", "failed", "no more than 65535 are read"),
        (
            "other",
            "failed",
            "the header is that of hello.noarch, not of other.noarch",
        ),
        ("page", "failed", "not an RPM package"),
        ("short", "failed", "the file ends at byte 1000"),
    ]) {
        assert_eq!((package.0, package.1), (name, Some(outcome)), "{report:#}");
        assert!(package.2.contains(reason), "{reason}: {report:#}");
    }
    // The examined packages are checked against the sums.
    lie("hello", &|bytes| *bytes.last_mut().expect("bytes") ^= 1);
    let ran = work.stx(&["compare", again.as_str(), "--with", builds[1], "--contents"]);
    assert!(ran.code(4).stdout.contains("corrupt on the mirror"));
}

#[test]
fn a_package_that_contradicts_its_headers_is_not_compared() {
    let Rebuilt { work, noise, .. } = rebuilt();
    let today = fs_err::read(noise).expect("a package");
    // The headers of CentOS 7 have no digest of the payload, only the MD5 of header and payload.
    let old = Parts::read(&today).of_4_11().write();
    for (form, bytes) in [("today", today), ("4.11", old)] {
        let payload = Headers::parse(&bytes).expect("headers").payload;
        let mut flipped = bytes.clone();
        flipped[payload + 1000] ^= 1;
        let whole = bytes.len() - payload;
        let size = |size: usize| format!("{size} bytes instead of {whole}");
        let digest = if form == "today" {
            "another SHA-256"
        } else {
            "another MD5"
        };
        for (damage, bytes, reason) in [
            ("none", &bytes[..], None),
            ("header only", &bytes[..payload], Some(size(0))),
            (
                "cut off",
                &bytes[..bytes.len() - 40],
                Some(size(whole - 40)),
            ),
            ("flipped", &flipped[..], Some(digest.to_owned())),
        ] {
            let file = work.at("judged.rpm");
            fs_err::write(&file, bytes).expect("written");
            let judge = run(&mut tool("rpm", ["-K", "--nosignature", file.as_str()]));
            judge.code(i32::from(reason.is_some()));
            let compare = |more: &[&str]| {
                let asked = [
                    "compare",
                    file.as_str(),
                    "--with",
                    "master/centos",
                    "--contents",
                ];
                work.stx(&[&asked[..], more].concat())
            };
            let Some(reason) = reason else {
                compare(&[]).code(0);
                continue;
            };
            // A phase without such a package: it is new, and still damaged.
            for more in [&["--noise", "count"][..], &["--phase", "rt"]] {
                let found = compare(more).code(4);
                let expected =
                    format!("not compared: its payload differs from its header: {reason}\n");
                assert!(
                    found.stdout.contains(&expected),
                    "{form}, {damage}: {}",
                    found.stdout
                );
                assert!(
                    found.stderr.contains("is it a whole RPM package?"),
                    "{}",
                    found.stderr
                );
            }
        }
    }
}
