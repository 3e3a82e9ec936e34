//! Comparing and searching releases: promoted builds of two layers, in a directory, behind a web server, and after their origins have
//! expired.

use serde_json::{Value, json};

use super::COMMIT;
use super::work::{FIRST, Spec, Work};
use crate::harness::{Ran, run, stx};
use crate::nginx::Nginx;

const FLOCK: &str = "master/debian/trixie/amd64/flock";
const OPENSTACK: &str = "master/debian/trixie/amd64/openstack";

/// Builds of layer `flock` on five days; the package changed on the third. The first build became a release, the second and then the
/// fourth the next release. A build of `openstack` became part of the second release only.
fn promoted() -> Work {
    let work = Work::new();
    let first = work.build("first", FIRST);
    let changed = Spec {
        greeting: "two",
        ..FIRST
    };
    let changed = work.build("changed", changed);
    let place = "std/hello-1.0-1.noarch.rpm";
    for day in 1..=5 {
        let package = if day < 3 { &first } else { &changed };
        let commit = format!("{day}{}", &COMMIT[1..]);
        work.publish_to(FLOCK, day, &commit, &[(place, package)]);
    }
    work.publish_to(OPENSTACK, 4, COMMIT, &[(place, &first)]);
    for (channel, day, release) in [
        (FLOCK, 1, "release/9.0.0"),
        (FLOCK, 2, "release/10.0.0"),
        (FLOCK, 4, "release/10.0.0"),
        (OPENSTACK, 4, "release/10.0.0"),
    ] {
        let build = build(channel, day);
        work.stx(&["mark", &build, "green", "--by", "lab"]).ok();
        work.stx(&["promote", &build, "--to", release, "--by", "ann"])
            .ok();
    }
    work
}

fn build(channel: &str, day: u32) -> String {
    format!("{channel}/202001{day:02}T000000Z")
}

fn releases_are_compared(stx: &dyn Fn(&[&str]) -> Ran) {
    let json = |args: &[&str], code: i32| {
        stx(&[&["--format", "json"], args].concat())
            .code(code)
            .json()
    };
    let flock = |release: &str, day| build(&FLOCK.replace("master", release), day);
    let report = json(&["compare", "release/9.0.0", "release/10.0.0"], 1);
    let [only] = &report["channels"].as_array().expect("channels")[..] else {
        panic!("{report:#}");
    };
    assert_eq!(only["from"], flock("release/9.0.0", 1), "{report:#}");
    assert_eq!(only["to"], flock("release/10.0.0", 4));
    assert_eq!(only["packages"][0]["outcome"], "different");
    assert_eq!(report["only_from"], json!([]));
    assert_eq!(
        report["only_to"],
        json!([OPENSTACK.replace("master", "release/10.0.0")])
    );
    let shown = stx(&["compare", "release/9.0.0", "release/10.0.0"]).code(1);
    let heading = format!(
        "{} -> {}\n",
        flock("release/9.0.0", 1),
        flock("release/10.0.0", 4)
    );
    for line in [
        &heading,
        "  ~ /usr/share/hello/greeting: content\n",
        "/openstack: the other release has no such channel\n",
    ] {
        assert!(shown.stdout.contains(line), "{line}\n{}", shown.stdout);
    }

    // In every command, the beginning of one channel's name refers to that channel; `latest_release` is followed.
    let same = json(&["compare", "release/9.0.0/debian/trixie", FLOCK], 1);
    assert_eq!(same["from"], flock("release/9.0.0", 1));
    assert_eq!(
        same["to"],
        build(FLOCK, 5),
        "one document, as of two builds: {same:#}"
    );
    let same = json(&["compare", &build(FLOCK, 4), "release/latest_release"], 0);
    assert_eq!(same["to"], flock("release/10.0.0", 4), "{same:#}");
    assert_eq!(
        json(&["show", "release/9.0.0"], 0)["record"]["id"],
        flock("release/9.0.0", 1)
    );

    // If there are several, the candidates are listed.
    let refused = stx(&["show", "release/10.0.0"]).code(2);
    assert!(
        refused
            .stderr
            .contains("release/10.0.0: 2 channels have builds"),
        "{}",
        refused.stderr
    );
    for layer in ["flock", "openstack"] {
        let name = format!("release/10.0.0/debian/trixie/amd64/{layer}");
        assert!(refused.stderr.contains(&name), "{}", refused.stderr);
    }
    let none = stx(&["compare", "release/9.0.0", "release/11.0.0"]).code(5);
    assert!(
        none.stderr.contains("release/11.0.0: no such channel"),
        "{}",
        none.stderr
    );
    assert!(
        none.stderr.contains("did you mean release/10.0.0?"),
        "{}",
        none.stderr
    );
}

fn since(stx: &dyn Fn(&[&str]) -> Ran, from: &str, to: &str) -> Value {
    stx(&[
        "--format", "json", "since", "hello", "--from", from, "--to", to,
    ])
    .code(0)
    .json()
}

#[test]
fn releases_are_compared_and_searched_channel_by_channel() {
    let work = promoted();
    let here = |args: &[&str]| work.stx(args);
    releases_are_compared(&here);
    let nginx = Nginx::of_mirror(&work.at("nginx"), &work.at("mirror"), "");
    let remote = |args: &[&str]| run(stx(["--mirror", &nginx.url("")]).args(args));
    releases_are_compared(&remote);

    // Two releases: the change is found among the nightly builds between the origins of the releases' builds.
    let release = FLOCK.replace("master", "release/10.0.0");
    for stx in [&here as &dyn Fn(&[&str]) -> Ran, &remote] {
        let found = since(stx, "release/9.0.0", "release/10.0.0");
        assert_eq!(found["changed"], build(FLOCK, 3), "{found:#}");
        assert_eq!(found["before"], build(&release, 2));
        assert_eq!(found["commits"][0]["path"], "stx/config");
        assert!(found["origin"].is_null());
    }
    let refused = here(&[
        "since",
        "hello",
        "--from",
        "release/10.0.0",
        "--to",
        "release/9.0.0",
    ]);
    assert!(refused.code(2).stderr.contains("is not older than"));
    here(&["since", "hello", "--from", "release/9.0.0"]).code(2);
    here(&[
        "since", "hello", "--in", FLOCK, "--from", FLOCK, "--to", FLOCK,
    ])
    .code(2);
    let within = here(&[
        "--format",
        "json",
        "since",
        "hello",
        "--in",
        "release/9.0.0",
    ]);
    assert!(within.code(0).json()["changed"].is_null());

    // The nightly builds are gone: the release is known, and the origin of its promotion.
    fs_err::remove_dir_all(work.at("mirror/master")).expect("removed");
    let found = since(&here, "release/9.0.0", "release/10.0.0");
    assert_eq!(found["changed"], build(&release, 4), "{found:#}");
    assert_eq!(found["origin"], build(FLOCK, 4));
    let shown = here(&[
        "since",
        "hello",
        "--from",
        "release/9.0.0",
        "--to",
        "release/10.0.0",
    ]);
    let origin = format!("(promoted from {})", build(FLOCK, 4));
    assert!(shown.ok().contains(&origin));
}
