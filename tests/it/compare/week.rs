//! Builds of a week, compared with each other and with a work tree.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use camino::Utf8PathBuf;
use serde_json::Value;

use super::kinds;
use super::work::{FIRST, Spec, Work};
use crate::harness::{run, tool};

/// A channel with a build per day, each with its own commit. The package was changed on the 4th, got another version on the 6th, and
/// was rebuilt on another host on the 7th.
struct Week {
    work: Work,
    changed: Utf8PathBuf,
    commits: Vec<String>,
}

/// Runs git in the work tree of the builds.
fn git(work: &Work, args: &[&str]) -> String {
    let mut command = tool("git", ["-C", work.at("config").as_str()]);
    let who = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
    run(command.args(who).args(args)).ok().trim().to_owned()
}

fn week() -> &'static Week {
    static WEEK: OnceLock<Week> = OnceLock::new();
    WEEK.get_or_init(|| {
        let work = Work::new();
        let changed = Spec {
            greeting: "two",
            ..FIRST
        };
        let newer = Spec {
            version: "1.1",
            ..changed
        };
        let elsewhere = Spec {
            host: "second.example.org",
            ..newer
        };
        let first = work.build("first", FIRST);
        let changed = work.build("changed", changed);
        let newer = work.build("newer", newer);
        let elsewhere = work.build("elsewhere", elsewhere);
        fs_err::create_dir(work.at("config")).expect("a directory");
        git(&work, &["init", "-q"]);
        let commits: Vec<_> = (1..=7)
            .map(|day| {
                git(
                    &work,
                    &["commit", "-q", "--allow-empty", "-m", &day.to_string()],
                );
                git(&work, &["rev-parse", "HEAD"])
            })
            .collect();
        for (day, commit) in (1..).zip(&commits) {
            let package = match day {
                1..=3 => &first,
                4..=5 => &changed,
                6 => &newer,
                _ => &elsewhere,
            };
            let version = if day < 6 { "1.0" } else { "1.1" };
            let name = format!("std/hello-{version}-1.noarch.rpm");
            let other = if day == 1 { "gone" } else { "come" };
            let other = format!("rt/{other}-1-1.noarch.rpm");
            work.publish(day, commit, &[(&name, package), (&other, &first)]);
        }
        Week {
            work,
            changed,
            commits,
        }
    })
}

#[test]
fn packages_of_two_builds_are_paired_and_compared() {
    let Week { work, .. } = week();
    let compare = |from: &str, to: &str, code| {
        let id = |day| format!("master/centos/202001{day}T000000Z");
        let ran = work.stx(&["compare", &id(from), &id(to), "--noise", "hide"]);
        ran.code(code).stdout
    };
    assert_eq!(
        compare("02", "04", 1),
        "hello.noarch (outputs/RPMS/std): different\n  ~ /usr/share/hello/greeting: content\n\
         1 different, 0 added, 0 removed, 1 the same\n"
    );
    assert_eq!(
        compare("01", "02", 1),
        "come.noarch (outputs/RPMS/rt): added\ngone.noarch (outputs/RPMS/rt): removed\n\
         0 different, 1 added, 1 removed, 1 the same\n"
    );
    assert_eq!(
        compare("06", "07", 0),
        "hello.noarch (outputs/RPMS/std): the same\n0 different, 0 added, 0 removed, 2 the same\n"
    );
    let version = compare("05", "06", 1);
    assert!(
        version.contains("\n  version 1.0-1 -> 1.1-1\n1 different"),
        "{version}"
    );
    work.stx(&["compare", "master/centos", "master/centos"])
        .code(0);
}

#[test]
fn the_build_that_changed_a_package_is_found_with_its_commits() {
    let Week { work, commits, .. } = week();
    let id = |day: u32| Value::from(format!("master/centos/202001{day:02}T000000Z"));
    let asked = ["since", "hello", "--in", "master/centos"];
    let since = |args: &[&str]| {
        let args = [&asked[..], &["--format", "json"], args].concat();
        work.stx(&args).code(0).json()
    };
    let file = since(&["--file", "/usr/share/hello/greeting"]);
    assert_eq!(
        (&file["changed"], &file["before"]),
        (&id(4), &id(3)),
        "{file:#}"
    );
    assert_eq!(kinds(&file["changes"]), BTreeSet::from(["file-changed"]));
    assert_eq!(file["looked_at"], serde_json::json!([5, 7]), "{file:#}");
    let range = serde_json::json!([{
        "path": "stx/config", "url": null, "from": commits[2], "to": commits[3],
    }]);
    assert_eq!(file["commits"], range);
    // The newest build, on another host, does not count as a change.
    let package = since(&[]);
    assert_eq!(
        (&package["changed"], &package["before"]),
        (&id(6), &id(5)),
        "{package:#}"
    );
    assert_eq!(package["versions"], serde_json::json!(["1.0-1", "1.1-1"]));
    let version = since(&["--version", "1.1"]);
    assert_eq!(
        (&version["changed"], &version["before"]),
        (&id(6), &id(5)),
        "{version:#}"
    );
    let always = since(&["--file", "/usr/share/hello/same"]);
    assert_eq!(
        (&always["changed"], &always["oldest"]),
        (&Value::Null, &id(1))
    );
    for (args, message) in [
        (["--version", "2"], "no build has 2 yet"),
        (["--file", "/no"], "no file /no in any retained build"),
        (["--phase", "rt"], "no package hello of phase rt"),
    ] {
        let ran = work.stx(&[&asked[..], &args[..]].concat()).code(5);
        assert!(ran.stderr.contains(message), "{}", ran.stderr);
    }
}

#[test]
fn the_build_nearest_to_a_work_tree_can_be_the_reference() {
    let Week {
        work,
        changed,
        commits,
    } = week();
    let mine = work.at("mine");
    let config = work.at("config");
    run(&mut tool(
        "git",
        ["clone", "-q", config.as_str(), mine.as_str()],
    ))
    .ok();
    let in_mine = |args: &[&str]| {
        let who = [
            "-C",
            mine.as_str(),
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.org",
        ];
        run(tool("git", who).args(args)).ok();
    };
    in_mine(&["reset", "-q", "--hard", &commits[2]]);
    in_mine(&["commit", "-q", "--allow-empty", "-m", "mine"]);
    in_mine(&["commit", "-q", "--allow-empty", "-m", "mine too"]);
    let with = [
        "compare",
        changed.as_str(),
        "--with",
        "master/centos",
        "--source",
    ];
    let ran = work.stx(&[&with[..], &[mine.as_str()]].concat()).code(1);
    for said in [
        "master/centos/20200103T000000Z is nearest",
        "2 commits behind",
    ] {
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
    assert!(
        ran.stdout.contains("~ /usr/share/hello/greeting: content"),
        "{}",
        ran.stdout
    );
    let context = work.at("mirror/master/centos/20200102T000000Z/outputs/CONTEXT");
    let text = fs_err::read_to_string(&context).expect("CONTEXT");
    fs_err::remove_file(&context).expect("removed");
    fs_err::write(&context, text.replace("checkout", "Checkout")).expect("written");
    let ran = work.stx(&[&with[..], &[mine.as_str()]].concat()).code(4);
    let said = "20200102T000000Z/outputs/CONTEXT: it is not the file that SHA256SUMS names";
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    fs_err::write(&context, text).expect("written");
    in_mine(&["checkout", "-q", "--orphan", "other"]);
    in_mine(&["commit", "-q", "--allow-empty", "-m", "not of them"]);
    let ran = work.stx(&[&with[..], &[mine.as_str()]].concat()).code(5);
    assert!(
        ran.stderr.contains("descends from no commit"),
        "{}",
        ran.stderr
    );
    work.stx(&[&with[..], &[work.at("first").as_str()]].concat())
        .code(2);
}
