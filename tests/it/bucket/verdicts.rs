//! Verdicts in a bucket, and in copies between mirrors.

use std::sync::Arc;

use camino_tempfile::tempdir;

use super::server::Server;
use super::{CHANNEL, Place, asked, date, shared, tree};
use crate::harness::run;

/// The build that `latest_green_build` points at, by the list of builds and by the object that a plain web server serves.
fn green(place: &Place) -> Option<String> {
    let listed = place.json(&["list"]);
    let builds = listed["builds"].as_array().expect("builds");
    let is_green = |alias: &serde_json::Value| alias == "latest_green_build";
    let mut shown = builds.iter().filter(|build| {
        let aliases = build["aliases"].as_array().expect("aliases");
        aliases.iter().any(is_green)
    });
    let build = shown.next()?["build"].as_str()?;
    assert!(shown.next().is_none(), "{listed}");
    Some(build.to_owned())
}

#[test]
fn a_copy_carries_the_verdicts_into_a_bucket_and_back() {
    let work = tempdir().expect("a directory");
    let first = Place::Directory(tempdir().expect("a directory"));
    for day in 1..=3 {
        drop(first.publish(&tree(work.path(), day), day).ok());
    }
    let build = |day: u32| format!("{CHANNEL}/{}", date(day));
    let mark = |place: &Place, day: u32, verdict: &str, at: &str| {
        let marked = ["mark", &build(day), verdict, "--by", "lab", "--now", at];
        place.json(&marked)
    };
    mark(&first, 2, "green", "2018-11-10T00:00:00Z");
    mark(&first, 3, "green", "2018-11-11T00:00:00Z");
    mark(&first, 3, "red", "2018-11-12T00:00:00Z");
    assert_eq!(green(&first), Some(build(2)));

    let ceph: Arc<dyn Server> = shared();
    let bucket = Place::bucket(&ceph, "verdicts");
    let copy = |from: &str, to: &str| {
        let mut command = asked(&*ceph, "unused", &["copy", from, to]);
        run(command.args(["--format", "json"])).code(0).json()
    };
    let (from, there) = (first.mirror(), bucket.mirror());
    let copied = copy(&from, &there);
    assert_eq!(copied["marked"], 3, "{copied}");
    let verdicts = |place: &Place| place.json(&["show", &build(3)])["verdicts"].clone();
    assert_eq!(verdicts(&bucket), verdicts(&first));
    assert_eq!(verdicts(&bucket)[1]["verdict"], "red");
    assert_eq!(green(&bucket), Some(build(2)));
    assert_eq!(copy(&from, &there)["marked"], 0, "once");
    bucket.run(&["verify"]).ok();

    // Marked in the bucket; copying it back adds the new verdicts, and keeps existing ones.
    mark(&bucket, 3, "green", "2018-11-13T00:00:00Z");
    assert_eq!(green(&bucket), Some(build(3)));
    mark(&first, 2, "yellow", "2018-11-14T00:00:00Z");
    assert_eq!(green(&first), None);
    assert_eq!(copy(&there, &from)["marked"], 1);
    assert_eq!(green(&first), Some(build(3)));
    for day in [3, 2] {
        mark(&bucket, day, "red", "2018-11-15T00:00:00Z");
    }
    assert_eq!(green(&bucket), None);
    for place in [&first, &bucket] {
        place.run(&["verify"]).ok();
    }
}

#[test]
fn retention_by_verdict_in_a_bucket() {
    let work = tempdir().expect("a directory");
    let config = work.path().join("stx-builds.toml");
    fs_err::write(&config, "policy = \"policy.toml\"\n").expect("a file");
    let policy = "[kind.master]\ngreen = \"28 days\"\n";
    fs_err::write(work.path().join("policy.toml"), policy).expect("a file");
    let ceph: Arc<dyn Server> = shared();
    let bucket = Place::bucket(&ceph, "verdictretention");
    for day in 1..=5 {
        drop(bucket.publish(&tree(work.path(), day), day).ok());
    }
    let now = ["--now", "2018-11-17T12:00:00Z"];
    let build = |day: u32| format!("{CHANNEL}/{}", date(day));
    let mark = |day: u32| {
        let build = build(day);
        bucket.json(&[&["mark", &build, "green", "--by", "lab"], &now[..]].concat())
    };
    mark(1);
    mark(4);
    let plan = work.path().join("plan.json");
    let prune = |more: &[&str]| {
        let args = [&["--config", config.as_str(), "prune"], &now[..], more].concat();
        bucket.run(&[&args[..], &["--format", "json"]].concat())
    };
    let planned = prune(&["--plan-out", plan.as_str()]).code(0).json();
    let expire = planned["expire"].as_array().expect("builds").iter();
    let gone: Vec<_> = expire.map(|entry| entry["build"].clone()).collect();
    assert_eq!(gone, [build(2), build(3)], "{planned:#}");
    // Its verdict is recorded between the plan and the run.
    mark(2);
    let ran = prune(&["--plan", plan.as_str()]).code(4).json();
    assert_eq!(ran["retired"], serde_json::json!([build(3)]), "{ran:#}");
    let left = ran["left"][build(2)].as_str().unwrap_or_default();
    assert!(left.contains("verdict green"), "{ran:#}");
    let ran = prune(&[]).code(0).json();
    assert_eq!(ran["retired"], serde_json::json!([]), "{ran:#}");
}
