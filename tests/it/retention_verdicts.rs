//! Retention by verdict: a policy for green, yellow and red builds, and a verdict that is recorded after a plan.

use serde_json::Value;

use crate::harness::run;
use crate::retention::{Mirror, NOW, expired, january};

fn build(day: u32) -> String {
    format!("master/centos/{}", january(day))
}

fn mark(mirror: &Mirror, day: u32, verdict: &str) {
    let build = build(day);
    mirror.json(&["mark", &build, verdict, "--by", "lab", "--now", NOW]);
}

fn left<'a>(report: &'a Value, build: &str) -> &'a str {
    report["left"][build].as_str().expect("a step left out")
}

#[test]
fn a_policy_by_verdict_keeps_green_builds_longer_and_red_ones_shorter() {
    let mirror = Mirror::new(22);
    for (day, verdict) in [(3, "green"), (5, "green"), (4, "yellow"), (6, "yellow")] {
        mark(&mirror, day, verdict);
    }
    mark(&mirror, 15, "red");
    let gone = |mirror: &Mirror| {
        let plan = mirror.json(&["prune", "--dry-run", "--now", NOW]);
        let gone = expired(&plan).into_iter();
        gone.map(str::to_owned).collect::<Vec<_>>()
    };
    // Without a rule, only the newest green build is kept.
    let plain = gone(&mirror);
    for day in [1, 2, 3, 4, 6, 7] {
        assert!(plain.contains(&build(day)), "{day}: {plain:?}");
    }
    assert!(!plain.contains(&build(5)), "{plain:?}");

    mirror.policy("[[channel]]\nmatch = \"master/*\"\ngreen = \"28 days\"\nred = \"3 days\"\n");
    let by_verdict = gone(&mirror);
    assert!(!by_verdict.contains(&build(3)), "{by_verdict:?}");
    assert!(by_verdict.contains(&build(15)), "{by_verdict:?}");
    assert!(by_verdict.contains(&build(4)), "{by_verdict:?}");
    let mut others = plain.clone();
    others.retain(|id| *id != build(3));
    others.push(build(15));
    others.sort();
    let mut sorted = by_verdict.clone();
    sorted.sort();
    assert_eq!(sorted, others, "no other decision is changed");

    let green = mirror.say(&["explain", &build(3), "--now", NOW]);
    let kept = "kept 28 days because of verdict green by lab (until 2020-01-31 06:00 UTC)";
    assert!(green.contains(kept), "{green}");
    assert!(
        green.contains("green builds are kept for at least 28 days"),
        "{green}"
    );
    assert!(green.contains("line 1 of the policy"), "{green}");
    let red = mirror.say(&["explain", &build(15), "--now", NOW]);
    assert!(
        red.contains("verdict red by lab, older than 3 days"),
        "{red}"
    );
    let listed = mirror.say(&["list", "--now", NOW]);
    let line = listed.lines().find(|line| line.contains(&january(3)));
    assert!(
        line.is_some_and(|line| line.contains("2020-01-31")),
        "{listed}"
    );
    let foretold = mirror.json(&["forecast", "--days", "10", "--now", NOW]);
    let days = foretold["days"].as_array().expect("days").iter();
    let day_of = |day: u32| {
        days.clone()
            .position(|it| expired(it).contains(&build(day).as_str()))
    };
    assert_eq!((day_of(3), day_of(4)), (Some(9), Some(0)), "{foretold:#}");

    // The run executes the plan; the red build is retired, and can be restored.
    let ran = mirror.json(&["prune", "--now", NOW]);
    assert_eq!(
        ran["retired"].as_array().map(Vec::len),
        Some(by_verdict.len())
    );
    assert!(mirror.builds().contains(&january(3)));
    assert!(!mirror.builds().contains(&january(15)));
    mirror.json(&["undelete", &build(15), "--now", NOW]);
    run(&mut mirror.stx(&["verify"])).code(0);
}

#[test]
fn a_verdict_after_the_plan_is_respected() {
    let mirror = Mirror::new(22);
    for day in [1, 4, 6] {
        mark(&mirror, day, "green");
    }
    let plan = mirror.at("plan.json");
    let written = mirror.json(&["prune", "--now", NOW, "--plan-out", plan.as_str()]);
    for day in [1, 2, 3, 4, 5] {
        assert!(expired(&written).contains(&build(day).as_str()), "{day}");
    }
    // One build becomes green; the newest green one becomes red, so that another is now the newest.
    mark(&mirror, 2, "green");
    mark(&mirror, 6, "red");
    let ran = run(&mut mirror.stx(&["prune", "--now", NOW, "--plan", plan.as_str()])).code(4);
    let report = ran.json();
    let said = left(&report, &build(2));
    assert!(
        said.contains("it has verdict green now; the plan saw no verdict"),
        "{said}"
    );
    let said = left(&report, &build(4));
    assert!(
        said.contains("the newest green build of its channel"),
        "{said}"
    );
    assert_eq!(
        report["left"].as_object().map(serde_json::Map::len),
        Some(2),
        "{report:#}"
    );
    let there = mirror.builds();
    assert!(there.contains(&january(2)) && there.contains(&january(4)));
    // A green build with a newer green successor is retired as planned.
    for day in [1, 3, 5] {
        assert!(!there.contains(&january(day)), "{day}");
    }
}

#[test]
fn verdicts_that_cannot_be_read_keep_their_build_and_no_other() {
    let mirror = Mirror::new(22);
    for day in [2, 3, 6] {
        mark(&mirror, day, "red");
    }
    let file = format!("mirror/.stx/verdicts/master/centos/{}.json", january(3));
    let whole = fs_err::read(mirror.at(&file)).expect("verdicts");
    fs_err::write(mirror.at(&file), "{").expect("written");
    let said = mirror.say(&["explain", &build(3), "--now", NOW]);
    assert!(said.contains("its verdicts cannot be read"), "{said}");
    let ran = mirror.json(&["prune", "--now", NOW]);
    assert!(
        expired(&ran["plan"]).contains(&build(2).as_str()),
        "{ran:#}"
    );
    assert!(mirror.builds().contains(&january(3)));
    assert!(!mirror.builds().contains(&january(2)));
    fs_err::write(mirror.at(&file), whole).expect("written");
    mirror.json(&["prune", "--now", NOW]);
    assert!(!mirror.builds().contains(&january(3)));
}

#[test]
fn mistakes_in_rules_by_verdict_are_reported_with_their_places() {
    let mirror = Mirror::new(1);
    mirror.policy("[kind.master]\nkeep = \"14 days\"\ngreen = \"7 days\"\n[kind.rc]\nred = \"soon\"\nblue = 1\n");
    let refused = run(&mut mirror.stx(&["prune", "--dry-run"])).code(2).stderr;
    for said in [
        "policy.toml:1:7: `green` keeps builds for 7 days, which is shorter than the 14 days of all successes; only `red` shortens",
        "policy.toml:5:7: `red`: `soon` is not a duration",
        "policy.toml:6:1: unknown key `blue`",
    ] {
        assert!(refused.contains(said), "{refused}");
    }
}
