//! Pins, readers and the disk: reasons that keep a build, and reasons that only change the order.

use serde_json::Value;

use crate::harness::{run, stx, tool};
use crate::retention::{Mirror, NOW, expired, january};

fn build(day: u32) -> String {
    format!("master/centos/{}", january(day))
}

fn left(report: &Value) -> Vec<&String> {
    let left = report["left"].as_object().expect("what was left");
    left.keys().collect()
}

#[test]
fn a_pin_keeps_a_build_until_it_expires_or_is_removed() {
    let mirror = Mirror::new(22);
    let (third, fourth) = (build(3), build(4));
    let pinned = mirror.json(&[
        "pin",
        &third,
        "--reason",
        "a customer runs it",
        "--author",
        "ann",
        "--until",
        "2020-02-01",
        "--now",
        NOW,
    ]);
    assert_eq!(pinned["author"], "ann");
    assert_eq!(pinned["until"], "2020-02-01T00:00:00Z");
    mirror.json(&[
        "pin", &fourth, "--reason", "wanted", "--author", "bob", "--now", NOW,
    ]);
    let listed = mirror.json(&["pins", "--now", NOW]);
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
    assert!(
        mirror
            .say(&["pins", "--now", NOW])
            .contains("a customer runs it")
    );
    let shown = mirror.say(&["show", &third, "--now", NOW]);
    assert!(
        shown.contains("pinned by ann: a customer runs it"),
        "{shown}"
    );
    let why = mirror.say(&["explain", &third, "--now", NOW]);
    assert!(
        why.contains("it may be retired from 2020-02-01 00:00 UTC"),
        "{why}"
    );

    mirror.json(&["prune", "--now", NOW]);
    assert_eq!(mirror.builds()[..3], [january(3), january(4), january(9)]);
    run(&mut mirror.stx(&["unpin", &fourth, "--author", "ann"])).code(5);
    mirror.json(&["unpin", &fourth, "--author", "bob"]);
    mirror.json(&["prune", "--now", "2020-01-31T23:59:59Z", "--allow", "50"]);
    assert!(mirror.builds().contains(&january(3)));
    assert!(!mirror.builds().contains(&january(4)));
    mirror.json(&["prune", "--now", "2020-02-01T00:00:00Z", "--allow", "50"]);
    assert!(!mirror.builds().contains(&january(3)));

    // The pin outlives its build, and keeps it again after its restoration.
    mirror.json(&["undelete", &third]);
    let listed = mirror.json(&["pins", "--now", NOW]);
    assert_eq!(listed[0]["there"], true, "{listed:#}");
}

#[test]
fn an_invalid_pin_is_refused_and_an_alias_is_resolved_once() {
    let mirror = Mirror::new(3);
    let no_build = run(&mut mirror.stx(&["pin", &build(9), "--reason", "x", "--author", "ann"]));
    assert!(no_build.code(5).stderr.contains("20200109T060000Z"));
    let latest = "master/centos/latest_build";
    run(&mut mirror.stx(&["pin", latest, "--reason", "", "--author", "ann"])).code(2);
    let over = [
        "pin",
        latest,
        "--reason",
        "x",
        "--author",
        "ann",
        "--until",
        "2019-01-01",
    ];
    run(&mut mirror.stx(&over)).code(2);
    // Without a name in the environment, as in a container, the name comes from the system.
    let me = run(&mut tool("id", ["-un"])).ok();
    let unnamed = run(mirror
        .stx(&["pin", latest, "--reason", "x"])
        .env_remove("USER"));
    assert_eq!(unnamed.code(0).json()["author"], me.trim_end());
    let user = run(mirror
        .stx(&["pin", latest, "--reason", "x"])
        .env("LOGNAME", "carl"));
    assert_eq!(user.code(0).json()["author"], "carl");
    let said = mirror.say(&["pin", latest, "--reason", "y", "--author", "ann"]);
    assert!(said.contains(&build(3)), "{said}");
    mirror.publish("master/centos", &january(4), "success");
    let listed = mirror.json(&["pins"]);
    let builds: Vec<_> = [0, 1].map(|pin| listed[pin]["build"].as_str()).into();
    assert_eq!(builds, [Some(build(3).as_str()); 2]);
}

#[test]
fn a_pin_that_cannot_be_read_keeps_its_build() {
    let mirror = Mirror::new(22);
    mirror.json(&["pin", &build(3), "--reason", "x", "--author", "ann"]);
    let file = mirror.at(&format!("mirror/.stx/pins/{}.json", build(3)));
    fs_err::write(&file, "{").expect("a file");
    mirror.json(&["prune", "--now", NOW]);
    assert_eq!(mirror.builds()[..2], [january(3), january(9)]);
    let again = ["pin", &build(3), "--reason", "x", "--author", "ann"];
    run(&mut mirror.stx(&again)).code(4);
    assert_eq!(fs_err::read_to_string(&file).expect("as it was"), "{");
}

/// A new pin, a moved alias, a new build and another build under the same id, between the plan and its execution.
#[test]
fn a_build_that_changed_after_the_plan_is_refused_and_others_are_pruned() {
    let mirror = Mirror::new(22);
    let file = mirror.at("plan.json");
    let plan = mirror.json(&["prune", "--now", NOW, "--plan-out", file.as_str()]);
    let planned = expired(&plan);
    for day in [2, 3, 4] {
        assert!(planned.contains(&build(day).as_str()));
    }
    mirror.json(&[
        "pin",
        &build(2),
        "--reason",
        "x",
        "--author",
        "ann",
        "--now",
        NOW,
    ]);
    let alias = mirror.at("mirror/master/centos/latest_stable");
    fs_err::os::unix::fs::symlink(january(3), alias).expect("an alias");
    mirror.publish("master/centos", &january(23), "success");
    // The fourth build is retired, purged, and published again with other bytes.
    let fourth = mirror.at(&format!("mirror/{}", build(4)));
    fs_err::remove_dir_all(&fourth).expect("removed");
    fs_err::write(mirror.at("tree/outputs/extra"), "new").expect("a file");
    mirror.publish("master/centos", &january(4), "success");

    let ran = run(&mut mirror.stx(&["prune", "--now", NOW, "--plan", file.as_str()])).code(4);
    let report = ran.json();
    assert_eq!(left(&report), [&build(2), &build(3), &build(4)]);
    for (day, why) in [
        (2, "pinned by ann"),
        (3, "latest_stable"),
        (4, "its record changed since the plan"),
    ] {
        let said = report["left"][&build(day)].as_str().expect("why");
        assert!(said.contains(why), "{said}");
    }
    let builds = mirror.builds();
    for name in planned {
        let date = name.rsplit('/').next().expect("a date").to_owned();
        assert_eq!(
            builds.contains(&date),
            left(&report).contains(&&name.to_owned())
        );
    }
    assert!(builds.contains(&january(23)));
}

#[test]
fn a_build_that_is_being_read_is_kept_and_reported() {
    let mirror = Mirror::new(22);
    let dir = mirror.at(&format!("mirror/{}", build(3)));
    let reader = fs_err::File::open(&dir).expect("a directory");
    reader.file().lock_shared().expect("a lock");
    let shown = mirror.say(&["explain", &build(3), "--now", NOW]);
    assert!(shown.contains("in use"), "{shown}");
    let file = mirror.at("plan.json");
    let plan = mirror.json(&["prune", "--now", NOW, "--plan-out", file.as_str()]);
    assert!(!expired(&plan).contains(&build(3).as_str()));
    drop(reader);

    // A reader that starts after the plan was made.
    let plan = mirror.json(&["prune", "--now", NOW, "--plan-out", file.as_str()]);
    assert!(expired(&plan).contains(&build(3).as_str()));
    let reader = fs_err::File::open(&dir).expect("a directory");
    reader.file().lock_shared().expect("a lock");
    let ran = run(&mut mirror.stx(&["prune", "--now", NOW, "--plan", file.as_str()])).code(4);
    assert_eq!(left(&ran.json()), [&build(3)]);
    assert!(ran.stdout.contains("in use"), "{ran:?}");
    drop(reader);
    mirror.json(&["prune", "--now", NOW]);
    assert!(!dir.exists());
}

#[test]
fn a_full_disk_changes_the_order_only() {
    let mirror = Mirror::new(21);
    fs_err::write(mirror.at("tree/outputs/iso/big.iso"), [7; 5000]).expect("a file");
    // The newest of the builds to retire is the largest.
    let fifth = mirror.at(&format!("mirror/{}", build(5)));
    fs_err::remove_dir_all(&fifth).expect("removed");
    mirror.publish("master/centos", &january(5), "success");
    fs_err::remove_file(mirror.at("tree/outputs/iso/big.iso")).expect("removed");
    let now = "2020-01-20T12:00:00Z";
    let calm = mirror.json(&["prune", "--dry-run", "--now", now]);
    mirror.policy("free-space = 9_000_000_000_000_000_000\n");
    let pressed = mirror.json(&["prune", "--dry-run", "--now", now]);
    assert_eq!(expired(&pressed)[0], build(5));
    assert_eq!(expired(&calm)[0], build(1));
    let sorted = |plan| {
        let mut builds = expired(plan);
        builds.sort_unstable();
        builds.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(sorted(&pressed), sorted(&calm));
    let warned = pressed["warnings"].to_string();
    assert!(warned.contains("space-short"), "{warned}");
}

/// Pins are in the private area: a user who cannot read it is told so, and sees the rest.
#[test]
fn listing_pins_of_a_missing_mirror_is_an_error() {
    let mirror = Mirror::empty();
    let nowhere = mirror.at("nowhere");
    run(&mut stx(["--mirror", nowhere.as_str(), "pins"])).code(5);
    mirror.publish("master/centos", &january(1), "success");
    assert_eq!(mirror.say(&["pins"]), "no pins\n");
}
