//! Images of builds in a bucket: pushed with their builds, pushed again from the bucket, and untagged with their builds.

use std::process::Command;
use std::sync::Arc;

use super::server::Server;
use super::shared;
use crate::harness::{run, tool};
use crate::registry::Published;
use crate::registry_server::{DockerRegistry, seen_digest};
use crate::retention::january;

const MIRROR: &str = "s3://images/mirror";

fn in_bucket(mut command: Command, server: &dyn Server) -> Command {
    let (key, secret) = server.credentials();
    command
        .args(["--mirror", MIRROR])
        .env("AWS_ENDPOINT_URL", server.endpoint())
        .env("AWS_ACCESS_KEY_ID", key)
        .env("AWS_SECRET_ACCESS_KEY", secret);
    command
}

#[test]
fn images_are_pushed_from_a_bucket_and_their_tags_are_removed_with_their_builds() {
    let registry = DockerRegistry::start();
    let here = Published::on(&registry.host());
    let ceph: Arc<dyn Server> = shared();
    ceph.make_bucket("images");
    let ask = |args: &[&str]| run(&mut in_bucket(here.stx(args), &*ceph));
    for day in 1..=5 {
        here.layout("stx-nova", "stable", &format!("day {day}"));
        run(&mut in_bucket(here.publish(day), &*ceph)).code(0);
    }

    // The registry removes an image with all of its tags.
    let (nova, build) = (here.nova(4), format!("master/centos/{}", january(4)));
    let before = seen_digest(&nova).expect("a digest");
    let at = format!("docker://{nova}");
    run(&mut tool("skopeo", ["delete", "--tls-verify=false", &at])).ok();
    assert_eq!(seen_digest(&nova), None);
    let planned = ask(&["image", "push", &build, "--dry-run"]).code(0);
    assert!(planned.stdout.contains(&nova), "{}", planned.stdout);
    assert_eq!(seen_digest(&nova), None, "a dry run pushes nothing");
    let pushed = ask(&["image", "push", &build]).code(0).json();
    assert_eq!(pushed["done"]["stored"], serde_json::json!([nova]));
    assert_eq!(seen_digest(&nova), Some(before));
    ask(&["verify"]).ok();

    let prune = |now: &str| {
        ask(&["prune", "--allow", "10", "--now", now])
            .code(0)
            .json()
    };
    let pruned = prune("2020-02-20T12:00:00Z");
    assert_eq!(pruned["retired"].as_array().expect("builds").len(), 3);
    let pruned = prune("2020-02-24T12:00:00Z");
    assert_eq!(pruned["untagged"].as_array().expect("names").len(), 3);
    for day in 1..=5 {
        assert_eq!(seen_digest(&here.nova(day)).is_some(), day > 3, "day {day}");
    }
    ask(&["verify"]).ok();
}
