//! Dry runs of `publish` and `promote` report the names that the run then moves.

use serde_json::{Value, json};

use super::{FIRST, Mirror, NINTH, TENTH, publish};
use crate::harness::Ran;

impl Mirror {
    /// Runs a command dry and then for real. Checks that both report the same names and that the dry run changes nothing; returns the
    /// names, the text of the dry run, and the second run.
    fn dry_then_wet(&self, args: &[&str]) -> (Value, String, Ran) {
        let names = |report: &Value| report.get("names").cloned().unwrap_or(json!([]));
        let dry = [args, &["--dry-run"]].concat();
        let said = self.stx(&dry).ok();
        let planned = names(&self.json(&dry));
        let aliases = || self.stx(&["alias", "list", "--format", "json"]).stdout;
        let before = aliases();
        self.json(&dry);
        assert_eq!(aliases(), before, "{args:?}");
        let ran = self.stx(&[args, &["--format", "json"]].concat());
        let moved = names(&ran.json());
        assert_eq!(planned, moved, "{args:?}");
        (planned, said, ran)
    }
}

/// The names of steps, with their targets.
fn pairs(names: &Value) -> Vec<String> {
    let names = names.as_array().expect("a list").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    names
        .map(|step| format!("{} -> {}", text(&step["alias"]), text(&step["to"])))
        .collect()
}

#[test]
fn a_dry_publish_lists_the_aliases_that_the_publish_moves() {
    let mirror = Mirror::new("[aliases]\n\"r2018.10\" = \"release/2018.10\"");
    // Neither the mirror nor a release exists at first; then newer and older ones, and another build of one.
    for (channel, day, moved) in [
        (
            FIRST,
            1,
            &[
                "r2018.10 -> release/2018.10",
                "release/latest_release -> release/2018.10",
            ][..],
        ),
        (TENTH, 2, &["release/latest_release -> release/10.0.0"]),
        (NINTH, 3, &[]),
        (FIRST, 4, &[]),
        ("master/centos", 5, &[]),
    ] {
        publish(
            &mirror.at("tree"),
            channel,
            |args| {
                let (names, said, ran) = mirror.dry_then_wet(args);
                assert_eq!(pairs(&names), moved, "{channel}");
                for name in moved {
                    assert!(said.contains(&format!("  {name}")), "{said}");
                }
                let undated = format!("{channel}/outputs leads to that of latest_build");
                let is_release = channel.starts_with("release/");
                assert_eq!(said.contains(&undated), is_release, "{said}");
                ran
            },
            day,
        );
    }
    // A failure moves no name.
    let args = ["publish", mirror.at("tree").as_str(), "--channel"].map(str::to_owned);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let fails = [
        "release/99.0.0/debian",
        "--date",
        "20181106T060000Z",
        "--result",
        "fail",
    ];
    let (names, ..) = mirror.dry_then_wet(&[&args[..], &fails].concat());
    assert_eq!(names, json!([]));
}

#[test]
fn a_dry_promotion_lists_the_aliases_that_the_promotion_moves() {
    let mirror = Mirror::new("");
    mirror.publish(FIRST, 1);
    mirror.publish("master/centos", 2);
    let build = "master/centos/20181102T060000Z";
    for verdict in [build, &format!("{FIRST}/20181101T060000Z")] {
        mirror.stx(&["mark", verdict, "green", "--by", "lab"]).ok();
    }
    // To a newer release, and to an existing one with a green build.
    let promote = |to: &'static str| ["promote", build, "--to", to, "--by", "ann"];
    let (names, said, ran) = mirror.dry_then_wet(&promote("release/11.0.0"));
    drop(ran.code(0));
    assert_eq!(pairs(&names), ["release/latest_release -> release/11.0.0"]);
    let line = "  release/latest_release -> release/11.0.0, before: release/2018.10\n";
    assert!(said.contains(line), "{said}");
    assert!(
        said.contains("  release/11.0.0/centos/outputs leads to that of latest_build"),
        "{said}"
    );
    assert!(said.contains("  latest_build: made"), "{said}");
    assert!(!said.contains("latest_green_build"), "{said}");

    // A candidate does not count as a release.
    let (names, _, ran) = mirror.dry_then_wet(&promote("release/12.0.0-rc1"));
    drop(ran.code(0));
    assert_eq!(names, json!([]));
    assert_eq!(mirror.link("release/latest_release"), "11.0.0");

    let (names, said, ran) = mirror.dry_then_wet(&promote("release/2018.10"));
    drop(ran.code(0));
    assert_eq!(names, json!([]));
    let green = "  latest_green_build: stays at 20181101T060000Z, `mark` moves it\n";
    assert!(said.contains(green), "{said}");
    assert_eq!(
        mirror.link(&format!("{FIRST}/latest_green_build")),
        "20181101T060000Z"
    );
    assert_eq!(
        mirror.link(&format!("{FIRST}/latest_build")),
        "20181102T060000Z"
    );
}
