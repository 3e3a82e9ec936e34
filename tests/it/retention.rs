//! `prune`, `undelete`, `explain` and `forecast` on a mirror that is published build by build.

use std::process::Command;

use camino::Utf8PathBuf;
use camino_tempfile::Utf8TempDir;
use serde_json::Value;

use crate::harness::{assert_whole, builds, publish_args, run, stx};

/// A mirror that is published build by build, by default with daily `master` builds in January 2020, every tenth of them a failure,
/// and a release.
pub(crate) struct Mirror {
    dir: Utf8TempDir,
}

impl Mirror {
    pub(crate) fn empty() -> Self {
        Self {
            dir: Utf8TempDir::new().expect("a temporary directory"),
        }
    }

    pub(crate) fn new(days: u32) -> Self {
        let mirror = Self::empty();
        for day in 1..=days {
            let result = if day % 10 == 0 { "fail" } else { "success" };
            mirror.publish("master/centos", &january(day), result);
        }
        mirror.publish("release/2018.10/centos", &january(1), "success");
        mirror
    }

    pub(crate) fn at(&self, name: &str) -> Utf8PathBuf {
        self.dir.path().join(name)
    }

    /// Publishes a build with a few unique bytes and some that all builds share.
    pub(crate) fn publish(&self, channel: &str, date: &str, result: &str) {
        let tree = self.at("tree");
        for (path, text) in [
            ("outputs/iso/bootimage.iso", format!("image of {date}")),
            ("outputs/logs/build.log", format!("log of {channel} {date}")),
            ("outputs/CONTEXT", "the same in every build".to_owned()),
            ("inputs/downloads/source.tar", "the same".to_owned()),
        ] {
            let file = tree.join(path);
            fs_err::create_dir_all(file.parent().expect("below")).expect("a directory");
            fs_err::write(file, text).expect("a file");
        }
        let args = publish_args(tree.as_str(), channel, date, result);
        run(&mut self.stx(&args)).ok();
    }

    /// The program with this mirror and, once it exists, its policy; prints JSON.
    pub(crate) fn stx(&self, args: &[&str]) -> Command {
        let mut command = stx(["--mirror", self.at("mirror").as_str(), "--format", "json"]);
        if self.at("stx-builds.toml").is_file() {
            command.args(["--config", self.at("stx-builds.toml").as_str()]);
        }
        command.args(args);
        command
    }

    /// The same, with output for people.
    pub(crate) fn say(&self, args: &[&str]) -> String {
        run(self.stx(args).args(["--format", "human"])).ok()
    }

    pub(crate) fn policy(&self, text: &str) {
        fs_err::write(self.at("stx-builds.toml"), "policy = \"policy.toml\"\n").expect("a file");
        fs_err::write(self.at("policy.toml"), text).expect("a file");
    }

    pub(crate) fn builds(&self) -> Vec<String> {
        builds(&self.at("mirror"), "master/centos")
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        run(&mut self.stx(args)).code(0).json()
    }
}

/// 06:00 on a day of January 2020.
pub(crate) fn january(day: u32) -> String {
    format!("202001{day:02}T060000Z")
}

pub(crate) fn expired(plan: &Value) -> Vec<&str> {
    let expire = plan["expire"].as_array().expect("expire").iter();
    expire
        .map(|entry| entry["build"].as_str().expect("a build"))
        .collect()
}

pub(crate) const NOW: &str = "2020-01-22T12:00:00Z";

#[test]
fn prune_removes_the_builds_of_the_dry_run_and_undelete_restores_them() {
    let mirror = Mirror::new(22);
    let before = mirror.builds();
    let dry = mirror.json(&["prune", "--dry-run", "--now", NOW]);
    assert_eq!(mirror.builds(), before);
    let ran = mirror.json(&["prune", "--now", NOW]);
    assert_eq!(ran["plan"], dry);
    assert!(!expired(&dry).is_empty());
    let removed: Vec<_> = before
        .iter()
        .filter(|date| !mirror.builds().contains(date))
        .map(|date| format!("master/centos/{date}"))
        .collect();
    let mut said = expired(&dry);
    said.sort_unstable();
    assert_eq!(removed, said);
    // 14 days are kept entirely, and the failure of the 10th is older than a week.
    assert_eq!(mirror.builds()[0], "20200109T060000Z");
    assert!(!mirror.builds().contains(&"20200110T060000Z".to_owned()));
    assert_eq!(
        builds(&mirror.at("mirror"), "release/2018.10/centos").len(),
        1
    );
    assert_whole(&mirror.at("mirror"), "master/centos");
    assert!(expired(&mirror.json(&["prune", "--dry-run", "--now", NOW])).is_empty());

    run(&mut mirror.stx(&["undelete", "master/centos/20200108T060000Z"])).ok();
    assert_eq!(mirror.builds()[0], "20200108T060000Z");
    assert_whole(&mirror.at("mirror"), "master/centos");
    run(&mut mirror.stx(&["undelete", "master/centos/20190101T060000Z"])).code(5);

    // After the grace period it is purged.
    run(&mut mirror.stx(&["prune", "--now", "2020-01-26T12:00:00Z"])).code(0);
    run(&mut mirror.stx(&["undelete", "master/centos/20200107T060000Z"])).code(5);
    run(&mut mirror.stx(&["verify"])).ok();
}

#[test]
fn a_build_that_changed_since_the_plan_is_kept_and_the_others_are_removed() {
    let mirror = Mirror::new(22);
    let plan = mirror.at("plan.json");
    let written = mirror.json(&["prune", "--now", NOW, "--plan-out", plan.as_str()]);
    assert_eq!(mirror.builds().len(), 22, "writing a plan removes nothing");
    assert!(expired(&written).contains(&"master/centos/20200103T060000Z"));
    // A user pins a build in the old way, by a `KEEP` file.
    let kept = mirror.at("mirror/master/centos/20200103T060000Z");
    fs_err::write(kept.join("KEEP"), "").expect("a file");
    let ran = run(&mut mirror.stx(&["prune", "--now", NOW, "--plan", plan.as_str()])).code(4);
    let report = ran.json();
    assert_eq!(
        report["left"].as_object().map(serde_json::Map::len),
        Some(1),
        "{report:#}"
    );
    assert!(kept.is_dir());
    assert!(
        report["left"]["master/centos/20200103T060000Z"]
            .as_str()
            .is_some_and(|why| why.contains("KEEP")),
        "{report:#}"
    );
    assert_eq!(
        report["retired"].as_array().map(Vec::len),
        Some(expired(&written).len() - 1)
    );
}

#[test]
fn a_clock_ten_years_ahead_removes_nothing_and_reports_the_reason() {
    let mirror = Mirror::new(22);
    run(&mut mirror.stx(&["prune", "--now", "2020-01-22T12:00:00Z"])).ok();
    let left = mirror.builds();
    assert!(left.len() < 22, "something was retired in time");
    let trash = mirror.json(&["trash"]);
    let ran = run(&mut mirror.stx(&["prune", "--now", "2030-01-22T12:00:00Z"])).code(4);
    assert_eq!(mirror.builds(), left);
    assert_eq!(mirror.json(&["trash"]), trash, "it can be brought back");
    run(&mut mirror.stx(&["prune", "--now", "2020-01-25T13:00:00Z"])).ok();
    let later = mirror.json(&["trash"]);
    let mut later = later.as_array().expect("a list").iter();
    let gone = later.all(|row| row["build"] != trash[0]["build"]);
    assert!(gone, "by the right clock it goes");
    assert!(
        ran.stderr.contains("clock") && ran.stdout.contains("clock-doubted"),
        "{ran:?}"
    );
}

#[test]
fn a_build_kept_only_by_a_reader_is_reported() {
    let mirror = Mirror::new(22);
    let build = format!("master/centos/{}", january(1));
    let reader = fs_err::File::open(mirror.at("mirror").join(&build)).expect("a build");
    reader.file().lock_shared().expect("held");
    let said = mirror.say(&["prune", "--now", "2020-01-22T12:00:00Z"]);
    assert!(said.contains(&format!("kept    {build}: ")), "{said}");
    assert!(said.contains("retired master/centos/"), "{said}");
    assert_eq!(said.matches("kept ").count(), 1, "{said}");
}

#[test]
fn a_blocked_run_also_purges_nothing() {
    let mirror = Mirror::new(22);
    run(&mut mirror.stx(&["prune", "--now", "2020-01-22T12:00:00Z"])).ok();
    let (left, trash) = (mirror.builds(), mirror.json(&["trash"]));
    let later = ["prune", "--now", "2020-03-01T12:00:00Z"];
    let ran = run(&mut mirror.stx(&later)).code(4);
    assert!(ran.stdout.contains("removal-limit"), "{ran:?}");
    assert_eq!((mirror.builds(), mirror.json(&["trash"])), (left, trash));
    run(mirror.stx(&later).args(["--allow", "22"])).ok();
    assert!(mirror.builds().len() < 10, "it is allowed");
}

#[test]
fn a_restored_build_is_kept_for_the_grace_period() {
    let mirror = Mirror::new(22);
    mirror.json(&["prune", "--now", NOW]);
    let build = "master/centos/20200108T060000Z";
    let is_there = || mirror.builds().contains(&january(8));
    let back = mirror.json(&["undelete", build, "--now", NOW]);
    assert_eq!(back["pin"]["until"], "2020-01-25T12:00:00Z", "{back:#}");
    let pins = mirror.say(&["pins", "--now", NOW]);
    assert!(
        pins.contains("undelete") && pins.contains("until 2020-01-25"),
        "{pins}"
    );
    let listed = mirror.say(&["list", "--now", NOW]);
    assert!(listed.contains("until 2020-01-25, pinned"), "{listed}");
    let shown = mirror.say(&["show", build, "--now", NOW]);
    assert!(shown.contains("pinned by undelete: restored"), "{shown}");
    for now in [NOW, "2020-01-25T11:59:59Z"] {
        mirror.json(&["prune", "--now", now]);
        assert!(is_there(), "{now}");
    }
    mirror.json(&["prune", "--now", "2020-01-25T12:00:00Z"]);
    assert!(!is_there());
    // A build in the trash cannot be pinned; the hint explains how to restore it, and then how to keep it.
    let pin = ["pin", build, "--reason", "wanted", "--author", "ann"];
    let refused = run(&mut mirror.stx(&pin)).code(5);
    assert!(
        refused.stderr.contains(&format!("undelete {build}")),
        "{refused:?}"
    );
    let said = mirror.say(&["undelete", build, "--now", "2020-01-26T00:00:00Z"]);
    assert!(said.contains("pinned until 2020-01-29 00:00 UTC"), "{said}");
    assert!(
        said.contains(&format!("stx-builds pin {build} --reason TEXT")),
        "{said}"
    );
    mirror.json(&pin);
    mirror.json(&["prune", "--now", "2020-01-29T00:00:00Z"]);
    assert!(is_there());
    run(&mut mirror.stx(&["verify"])).ok();
}

/// No builds and no pruning from the 15th to the 24th: many builds are eligible at once, as if the clock were wrong.
#[test]
fn a_pause_of_ten_days_blocks_removals_until_the_second_build_after_it() {
    let mirror = Mirror::new(14);
    mirror.publish("master/centos", &january(25), "success");
    let now = "2020-01-25T12:00:00Z";
    let ran = run(&mut mirror.stx(&["prune", "--now", now])).code(4);
    let warning = &ran.json()["plan"]["warnings"][0];
    assert_eq!(warning["warning"], "removal-limit");
    assert_eq!(warning["channel"], "master/centos");
    let counts = ["eligible", "builds", "allowed", "unexplained"].map(|name| &warning[name]);
    assert_eq!(counts.map(Value::as_u64), [11, 15, 7, 10].map(Some));
    assert!(ran.stderr.contains("prune --allow 11"), "{ran:?}");
    let listed = mirror.say(&["list", "--now", now]);
    assert!(listed.contains("expired 2020-01-15, held back"), "{listed}");
    let foretold = mirror.say(&["forecast", "--days", "1", "--now", now]);
    assert!(
        foretold.contains("warning for 2020-01-25: master/centos: 11 of 15"),
        "{foretold}"
    );

    mirror.publish("master/centos", &january(26), "success");
    mirror.json(&["prune", "--now", "2020-01-26T12:00:00Z"]);
    assert_eq!(mirror.builds(), [13, 14, 25, 26].map(january));
}

#[test]
fn retention_of_a_build_is_explained_and_forecast() {
    let mirror = Mirror::new(5);
    let text = run(stx([
        "--mirror",
        mirror.at("mirror").as_str(),
        "explain",
        "master/centos/20200105T060000Z",
    ])
    .args(["--now", "2020-01-06T00:00:00Z"]))
    .ok();
    assert!(
        text.contains("latest_build") && text.contains("14 days"),
        "{text}"
    );
    let days = mirror.json(&["forecast", "--days", "20", "--now", "2020-01-06T00:00:00Z"]);
    assert_eq!(days["days"].as_array().map(Vec::len), Some(21));
    run(&mut mirror.stx(&["explain", "master/centos/20190101T060000Z"])).code(5);
}
