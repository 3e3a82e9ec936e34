//! Every small world, compared with the oracle.

use chrono::{DateTime, TimeDelta, Utc};
use stx_layout::{Catalog, Verdict};

use super::oracle::{Kept, Said, go};
use super::world::{Made, channel, day, id, point, verdicts};
use crate::{
    Decision, Limits, Pin, Policy, PolicyInputs, Retention, Rules, Span, VerdictRules, plan_with,
};

/// The days on which a build may exist; the last is in the future of the earliest `now`.
const DAYS: [i64; 6] = [0, 5, 6, 13, 14, 20];
/// The times of the plans: both ages fall exactly on some of these days.
const NOWS: [i64; 3] = [14, 20, 34];

const OUTCOMES: [Made; 3] = [Made::Success, Made::Failure, Made::Unreadable];

/// All catalogs of up to `most` builds on those days.
fn worlds(kinds: &[Made], most: usize) -> Vec<Vec<(i64, Made)>> {
    let mut worlds = vec![Vec::new()];
    for days in DAYS {
        for world in worlds.clone() {
            for &made in kinds {
                let mut world = world.clone();
                world.push((days, made));
                worlds.push(world);
            }
        }
    }
    worlds.retain(|world| world.len() <= most);
    worlds
}

fn policies() -> Vec<Said> {
    let said = |kept, newest, failed, percent| Said {
        kept,
        newest,
        failed,
        percent,
        green: None,
        red: None,
        newest_green: 1,
    };
    let midnight = |days: i64| day(days).timestamp() - 6 * 3600;
    let releases = |days: &[i64]| Kept::Releases(days.iter().map(|days| midnight(*days)).collect());
    vec![
        said(Kept::Days(14), 2, Some(7), 100),
        said(Kept::Days(14), 2, Some(7), 50),
        said(Kept::Days(6), 0, Some(1), 34),
        said(Kept::Days(7), 3, None, 100),
        said(Kept::Forever, 2, Some(14), 100),
        said(releases(&[]), 2, Some(7), 100),
        said(releases(&[6]), 2, Some(7), 100),
        said(releases(&[5, 14]), 2, Some(7), 100),
        said(releases(&[-3, 6, 13, 20]), 0, Some(7), 100),
    ]
}

/// Policies with rules by verdict.
fn tested() -> Vec<Said> {
    let said = |kept, green, red, newest_green| Said {
        kept,
        newest: 2,
        failed: Some(7),
        percent: 100,
        green,
        red,
        newest_green,
    };
    vec![
        said(Kept::Days(7), Some(14), None, 1),
        said(Kept::Days(7), None, Some(1), 2),
        said(Kept::Days(1), Some(6), Some(14), 0),
        said(Kept::Forever, Some(1), Some(6), 1),
    ]
}

/// The same rules as a policy for `milestone/`.
fn policy(said: &Said) -> Policy {
    let days = |days: i64| Retention::For(Span::days(u32::try_from(days).expect("few days")));
    let mut policy = Policy::default();
    policy.kinds.milestone = Rules {
        keep: match &said.kept {
            Kept::Days(age) => days(*age),
            Kept::Forever => Retention::Forever,
            Kept::Releases(releases) => {
                for (number, second) in releases.iter().enumerate() {
                    let name = format!("r{number}").parse().expect("a name");
                    let day = DateTime::from_timestamp(*second, 0).expect("a time");
                    policy.calendar.releases.insert(name, day.date_naive());
                }
                Retention::ReleasePeriod
            }
        },
        newest: u32::try_from(said.newest).expect("few"),
        failed: said.failed.map_or(Retention::Forever, days),
        tiers: Vec::new(),
        verdicts: VerdictRules {
            green: said.green.map(days),
            yellow: None,
            red: said.red.map(days),
            newest_green: Some(u32::try_from(said.newest_green).expect("few")),
        },
    };
    policy.limits = Limits {
        percent: u32::try_from(said.percent).expect("percent"),
        ..Limits::NONE
    };
    policy
}

/// Compares one plan with the oracle: the builds that expire, and the times since and until.
fn check(catalog: &Catalog, world: &[(i64, Made)], alias: Option<usize>, said: &Said, now: i64) {
    let marked = world.iter();
    let facts = PolicyInputs {
        verdicts: verdicts(marked.map(|(days, made)| ("milestone/m/centos", *days, *made))),
        ..PolicyInputs::default()
    };
    let plan = plan_with(catalog, &facts, &policy(said), day(now));
    let builds: Vec<_> = world
        .iter()
        .map(|(days, made)| (day(*days).timestamp(), *made))
        .collect();
    let expected = go(said, &builds, alias, day(now).timestamp());
    let unlimited = Said {
        percent: 100,
        ..said.clone()
    };
    let free =
        |at: DateTime<Utc>, build: usize| go(&unlimited, &builds, alias, at.timestamp())[build];
    let second = TimeDelta::seconds(1);
    assert_eq!(plan.expire.len() + plan.keep.len(), world.len());
    for (place, (days, _)) in world.iter().enumerate() {
        let decision = plan
            .decision(&id("milestone/m/centos", *days))
            .expect("a decision for every build");
        let say =
            || format!("{world:?} alias {alias:?} now {now} {said:?}: build {place}: {decision:?}");
        match &decision {
            Decision::Expire { since, .. } => {
                assert!(expected[place], "{}", say());
                assert!(free(*since, place), "{}", say());
                assert!(!free(*since - second, place), "{}", say());
            }
            Decision::Keep { reasons, until } => {
                assert!(!expected[place], "{}", say());
                assert!(!reasons.is_empty(), "{}", say());
                let limited = free(day(now), place);
                let future = world.iter().any(|(days, _)| *days > now);
                match until {
                    Some(until) => {
                        assert!(free(*until, place), "{}", say());
                        assert!(!free(*until - second, place), "{}", say());
                    }
                    None if limited || future => {}
                    None => assert!(!free(day(10_000), place), "{}", say()),
                }
            }
        }
    }
}

/// Compares one plan with the oracle if one build is pinned: it is kept, and expires by its rule from the pin's end on.
fn check_pinned(catalog: &Catalog, world: &[(i64, Made)], pinned: usize, said: &Said, now: i64) {
    let builds: Vec<_> = world
        .iter()
        .map(|(days, made)| (day(*days).timestamp(), *made))
        .collect();
    for (until, holds) in [
        (None, true),
        (Some(day(now + 1)), true),
        (Some(day(now)), false),
    ] {
        let pin = Pin {
            build: id("milestone/m/centos", world[pinned].0),
            reason: "why".to_owned(),
            author: "who".to_owned(),
            until,
        };
        let facts = PolicyInputs {
            pins: vec![pin.clone()],
            ..PolicyInputs::default()
        };
        let plan = plan_with(catalog, &facts, &policy(said), day(now));
        let mut expected = go(said, &builds, None, day(now).timestamp());
        let free = expected[pinned];
        expected[pinned] &= !holds;
        for (place, (days, _)) in world.iter().enumerate() {
            let build = id("milestone/m/centos", *days);
            let goes = plan.expire.iter().find(|entry| entry.build == build);
            assert_eq!(
                goes.is_some(),
                expected[place],
                "{world:?} {pin:?} build {place}"
            );
        }
        match plan.decision(&pin.build).expect("a decision") {
            Decision::Expire { since, .. } => assert_eq!(Some(since), until.max(Some(since))),
            Decision::Keep { until: end, .. } if free && holds => assert_eq!(end, until),
            Decision::Keep { .. } => {}
        }
    }
}

/// *As the specification says*: in every world of up to five builds, with every outcome, on a few days, under a few policies, at
/// a few times, exactly the builds expire that expire by the plain statement of the rules, with exactly the same times.
#[test]
fn as_the_specification_says() {
    for world in worlds(&OUTCOMES, 5) {
        let plain = channel("milestone/m/centos", &world);
        for said in policies() {
            for now in NOWS {
                check(&plain, &world, None, &said, now);
            }
        }
    }
}

/// The same with a build that is pinned, or that an alias points at. A separate test, so that all three run in parallel.
#[test]
fn as_the_specification_says_of_pins_and_aliases() {
    for world in worlds(&OUTCOMES, 5) {
        let plain = channel("milestone/m/centos", &world);
        for place in 0..world.len() {
            check_pinned(&plain, &world, place, &policies()[0], 20);
        }
        if let Some((days, _)) = world.first() {
            let mut aliased = plain;
            point(&mut aliased, &id("milestone/m/centos", *days));
            check(&aliased, &world, Some(0), &policies()[0], 34);
        }
    }
}

/// The same with up to four builds with every verdict.
#[test]
fn as_the_specification_says_of_verdicts() {
    let kinds = [
        Made::Success,
        Made::Marked(Verdict::Green),
        Made::Marked(Verdict::Red),
        Made::Failure,
    ];
    for world in worlds(&kinds, 4) {
        let marked = channel("milestone/m/centos", &world);
        for said in tested() {
            for now in NOWS {
                check(&marked, &world, None, &said, now);
            }
        }
    }
}
