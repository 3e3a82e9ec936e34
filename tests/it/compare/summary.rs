//! `diff`: two builds in summary.

use serde_json::{Value, json};

use super::work::{FIRST, Spec, Work};

const OLD: &str = "0123456789012345678901234567890123456789";
const NEW: &str = "9876543210987654321098765432109876543210";

fn names<'a>(changes: &'a Value, kind: &str) -> Vec<[&'a str; 3]> {
    let of = changes[kind].as_array().expect("a list").iter();
    of.map(|it| ["name", "from", "to"].map(|key| it[key].as_str().unwrap_or("-")))
        .collect()
}

#[test]
fn packages_and_commits_are_summarised_without_reading_a_package() {
    let work = Work::new();
    let first = work.build("first", FIRST);
    let second = work.build(
        "second",
        Spec {
            version: "2.0",
            ..FIRST
        },
    );
    let again = work.build(
        "again",
        Spec {
            greeting: "two",
            ..FIRST
        },
    );
    let epochs = work.build_of_epoch("epochs", None, "7");
    let latin = work.build_in_latin_1("latin", 0xe9);
    work.publish(
        1,
        OLD,
        &[
            ("std/hello-1.0-1.noarch.rpm", &first),
            ("rt/hello-1.0-1.noarch.rpm", &first),
            ("std/epochs-7-1.noarch.rpm", &epochs),
            ("rt/epochs-7-1.noarch.rpm", &epochs),
        ],
    );
    work.publish(
        2,
        NEW,
        &[
            ("std/hello-2.0-1.noarch.rpm", &second),
            ("rt/hello-1.0-1.noarch.rpm", &again),
            ("std/old-1.0-1.noarch.rpm", &latin),
            ("rt/epochs-7-1.noarch.rpm", &epochs),
        ],
    );
    let date = |day: u32| format!("master/centos/202001{day:02}T000000Z");
    // Unreadable packages do not matter, since they are not read.
    for package in ["rt/hello-1.0-1.noarch.rpm", "std/hello-2.0-1.noarch.rpm"] {
        let file = work
            .at("mirror")
            .join(date(2))
            .join("outputs/RPMS")
            .join(package);
        fs_err::remove_file(file).expect("removed");
    }
    let args = ["diff", &date(1), "master/centos"];
    let ran = work
        .stx(&[&["--format", "json"], &args[..]].concat())
        .code(1);
    let document = ran.json();
    assert_eq!(document["diffs"].as_array().map(Vec::len), Some(1));
    let diff = &document["diffs"][0];
    assert_eq!(
        (&diff["from"], &diff["to"]),
        (&date(1).into(), &date(2).into())
    );
    let packages = &diff["packages"];
    assert_eq!(names(packages, "added"), [["old", "-", "1.0-1"]]);
    assert_eq!(names(packages, "removed"), [["epochs", "7-1", "-"]]);
    assert_eq!(
        names(packages, "changed"),
        [["hello", "1.0-1", "1.0-1"], ["hello", "1.0-1", "2.0-1"]]
    );
    assert_eq!(packages["unchanged"], 1, "{packages:#}");
    let commits = &diff["commits"][0];
    assert_eq!(
        (&commits["from"], &commits["to"]),
        (&OLD.into(), &NEW.into())
    );
    assert_eq!(
        ran.stderr
            .lines()
            .filter(|line| line.contains("\"kind\""))
            .count(),
        0,
        "{}",
        ran.stderr
    );

    let shown = work.stx(&args).code(1).stdout;
    for line in [
        "packages: 1 added, 1 removed, 2 changed, 1 unchanged",
        "  + old.noarch",
        "  - epochs.noarch",
        "1.0-1, rebuilt",
        "1.0-1 -> 2.0-1",
        "images: 0 added, 0 removed, 0 changed, 0 unchanged",
        "commits: 1 repository moved",
        "012345678901..987654321098",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    // As in diff, the exit code of equal builds is 0; that of a build that does not exist is 5.
    let same = work.stx(&["diff", &date(1), &date(1)]).code(0).stdout;
    assert!(same.contains("4 unchanged"), "{same}");
    work.stx(&["diff", &date(1), "master/centos/20190101"])
        .code(5);
}

#[test]
fn releases_are_summarised_channel_by_channel() {
    let work = Work::new();
    let first = work.build("first", FIRST);
    let version = "2.0";
    let second = work.build("second", Spec { version, ..FIRST });
    work.publish_to(
        "release/1.0/centos",
        1,
        OLD,
        &[("std/hello-1.0-1.noarch.rpm", &first)],
    );
    let packages = [("std/hello-2.0-1.noarch.rpm", second.as_path())];
    work.publish_to("release/2.0/centos", 2, OLD, &packages);
    work.publish_to("release/2.0/debian", 2, OLD, &packages);
    let args = ["--format", "json", "diff", "release/1.0", "release/2.0"];
    let ran = work.stx(&args);
    let document = ran.code(1).json();
    assert_eq!(
        document["diffs"].as_array().map(Vec::len),
        Some(1),
        "{document:#}"
    );
    let diff = &document["diffs"][0];
    for (side, channel) in [
        ("from", "release/1.0/centos/"),
        ("to", "release/2.0/centos/"),
    ] {
        let build = diff[side].as_str().expect("a build");
        assert!(build.starts_with(channel), "{side}: {document:#}");
    }
    assert_eq!(
        names(&diff["packages"], "changed"),
        [["hello", "1.0-1", "2.0-1"]]
    );
    let only = |document: &Value| (document["only_from"].clone(), document["only_to"].clone());
    assert_eq!(only(&document), (json!([]), json!(["release/2.0/debian"])));

    // A channel without a counterpart is a difference, even if nothing else differs.
    let packages = [("std/hello-1.0-1.noarch.rpm", first.as_path())];
    work.publish_to("release/3.0/centos", 3, OLD, &packages);
    work.publish_to("release/3.0/debian", 3, OLD, &packages);
    for (from, to, sign) in [("1.0", "3.0", '+'), ("3.0", "1.0", '-')] {
        let names = [from, to].map(|version| format!("release/{version}"));
        let shown = work.stx(&["diff", &names[0], &names[1]]).code(1).stdout;
        for line in [
            "packages: 0 added, 0 removed, 0 changed, 1 unchanged",
            &format!("{sign} channel release/3.0/debian"),
        ] {
            assert!(shown.contains(line), "{line}: {shown}");
        }
    }
}
