//! Changes to the mirror between a plan and its run.

use stx_layout::{After, BuildState, Catalog, Sha256, SourceRecord, Verdict};

use super::world::{Made, add, channel, daily, day, id, point, recheck, verdict};
use crate::{
    Calendar, Conflict, Pin, Policy, PolicyInputs, PrunePlan, Reason, Retention, Span, Step, Tier,
    apply, plan, plan_with, recheck_step,
};

const MASTER: &str = "master/centos";

/// Five builds expire: days 0 to 4.
fn planned() -> (Catalog, PrunePlan) {
    let catalog = daily(18);
    let plan = plan(&catalog, &Policy::default(), day(18));
    assert_eq!(plan.expire.len(), 5);
    (catalog, plan)
}

/// The conflicts of the build of day 2; all others must have none.
fn changes(plan: &PrunePlan, catalog: &Catalog, facts: &PolicyInputs) -> Vec<Conflict> {
    let mut found = Vec::new();
    for (build, why) in recheck(plan, catalog, facts) {
        if !why.is_empty() {
            assert_eq!(build, id(MASTER, 2), "{why:?}");
            found = why;
        }
    }
    found
}

#[test]
fn nothing_changed() {
    let (catalog, plan) = planned();
    assert_eq!(changes(&plan, &catalog, &PolicyInputs::default()), []);
}

#[test]
fn a_new_build_changes_nothing() {
    let (mut catalog, plan) = planned();
    add(&mut catalog, MASTER, 19, Made::Failure);
    assert_eq!(changes(&plan, &catalog, &PolicyInputs::default()), []);
}

#[test]
fn a_lower_build_is_kept_as_long_as_a_build_upon_it() {
    let (mut catalog, planned) = planned();
    let (lower, upper) = (id(MASTER, 2), id("master/centos/flock", 17));
    add(&mut catalog, "master/centos/flock", 17, Made::Success);
    let entry = catalog.channels.get_mut(&upper.channel).expect("flock");
    let made = entry.builds.get_mut(&upper.date).expect("the build");
    if let BuildState::Known(record) = &mut made.state {
        record.after = Some(After {
            build: lower.clone(),
            sums: Sha256([0; 32]),
        });
    }
    let facts = PolicyInputs::default();
    let why = changes(&planned, &catalog, &facts);
    let [Conflict::Protected { reason }] = &why[..] else {
        panic!("{why:?}");
    };
    let by = format!("in use by {upper}, which was built upon it");
    assert_eq!(reason.to_string(), by);

    let expires = |catalog: &Catalog| {
        let plan = plan(catalog, &Policy::default(), day(18));
        plan.expire.iter().any(|entry| entry.build == lower)
    };
    assert!(!expires(&catalog));
    catalog.channels.remove(&upper.channel);
    assert!(expires(&catalog));
}

#[test]
fn every_change_refuses_its_build_only() {
    let (catalog, plan) = planned();
    let facts = PolicyInputs::default();
    let number = |change: &Conflict| match change {
        Conflict::Gone => 0,
        Conflict::Protected { .. } => 1,
        Conflict::Outcome { .. } => 2,
        Conflict::SectionGone | Conflict::FewerSuccesses { .. } => 3,
        Conflict::Replaced => 4,
        Conflict::Verdict { .. } => 5,
        Conflict::FewerGreen { .. } => 6,
    };
    let only = |changes: Vec<Conflict>| {
        assert_eq!(changes.len(), 1, "{changes:?}");
        number(&changes[0])
    };
    let build = id(MASTER, 2);

    let mut gone = catalog.clone();
    gone.channels.values_mut().for_each(|entry| {
        entry.builds.remove(&build.date);
    });
    assert_eq!(only(changes(&plan, &gone, &facts)), 0);

    let mut pointed = catalog.clone();
    point(&mut pointed, &build);
    assert_eq!(only(changes(&plan, &pointed, &facts)), 1);

    let mut kept = catalog.clone();
    kept.channels.values_mut().for_each(|entry| {
        entry.builds.get_mut(&build.date).expect("it").keep_file = true;
    });
    assert_eq!(only(changes(&plan, &kept, &facts)), 1);

    let mut pinned = facts.clone();
    pinned.pins.push(Pin {
        build: build.clone(),
        reason: "needed".to_owned(),
        author: "bob".to_owned(),
        until: None,
    });
    assert_eq!(only(changes(&plan, &catalog, &pinned)), 1);

    let mut used = facts.clone();
    used.in_use.insert(build.clone(), "fetch".to_owned());
    assert_eq!(only(changes(&plan, &catalog, &used)), 1);

    let mut replaced = catalog.clone();
    add(&mut replaced, MASTER, 2, Made::Failure);
    let why = changes(&plan, &replaced, &facts);
    assert_eq!(why.iter().map(number).collect::<Vec<_>>(), [4, 2]);

    // Another build under the same id, as good as the one that was seen: its commit distinguishes it.
    let mut rebuilt = catalog.clone();
    for entry in rebuilt.channels.values_mut() {
        let found = entry.builds.get_mut(&build.date).expect("it");
        if let BuildState::Known(record) = &mut found.state {
            record.sources.push(SourceRecord {
                path: "cgcs-root".to_owned(),
                url: None,
                commit: "0123456789012345678901234567890123456789".to_owned(),
            });
        }
    }
    assert_eq!(only(changes(&plan, &rebuilt, &facts)), 4);
}

/// The verdict `green` on builds of `master`.
fn green(days: impl IntoIterator<Item = i64>) -> PolicyInputs {
    let builds = days.into_iter().map(|days| id(MASTER, days));
    let verdicts = builds.map(|build| (build.clone(), verdict(&build, Verdict::Green)));
    PolicyInputs {
        verdicts: verdicts.collect(),
        ..PolicyInputs::default()
    }
}

#[test]
fn a_verdict_after_the_plan_keeps_its_build() {
    let (catalog, plan) = planned();
    let came = |now| Conflict::Verdict {
        planned: None,
        now: Some(now),
    };
    // The newest green build of the channel, and one before it.
    let reason = Reason::NewestGreen;
    let newest = [Conflict::Protected { reason }, came(Verdict::Green)];
    assert_eq!(changes(&plan, &catalog, &green([2])), newest);
    assert_eq!(
        changes(&plan, &catalog, &green([2, 9])),
        [came(Verdict::Green)]
    );
    // Red may shorten a life, but it may also lengthen it: the next plan decides.
    let mut red = PolicyInputs::default();
    let build = id(MASTER, 2);
    red.verdicts
        .insert(build.clone(), verdict(&build, Verdict::Red));
    assert_eq!(changes(&plan, &catalog, &red), [came(Verdict::Red)]);
    let text = came(Verdict::Green).to_string();
    assert_eq!(text, "it has verdict green now; the plan saw no verdict");
}

#[test]
fn green_builds_that_the_plan_relied_on_must_still_be_green() {
    let catalog = daily(18);
    let mut policy = Policy::default();
    policy.kinds.master.verdicts.newest_green = Some(2);
    let plan = plan_with(&catalog, &green([2, 7, 9]), &policy, day(18));
    assert!(plan.expire.iter().any(|entry| entry.build == id(MASTER, 2)));
    assert_eq!(changes(&plan, &catalog, &green([2, 7, 9])), []);
    assert_eq!(changes(&plan, &catalog, &green([2, 8, 9])), []);
    let fewer = Conflict::FewerGreen { planned: 2, now: 1 };
    assert_eq!(changes(&plan, &catalog, &green([2, 9])), [fewer]);
}

#[test]
fn successes_that_the_plan_relied_on_must_still_exist() {
    let (mut catalog, plan) = planned();
    for days in 1..=18 {
        add(&mut catalog, MASTER, days, Made::Failure);
    }
    let found = recheck(&plan, &catalog, &PolicyInputs::default());
    let (_, why) = &found[0];
    let reason = Reason::NewestSuccess;
    assert!(why.contains(&Conflict::Protected { reason }));
    assert!(why.contains(&Conflict::FewerSuccesses { planned: 2, now: 0 }));
}

#[test]
fn a_section_is_removed_once_and_not_from_a_newly_protected_build() {
    let mut policy = Policy::default();
    policy.kinds.master.tiers.push(Tier {
        section: "inputs".parse().expect("a path"),
        after: Span::days(7),
    });
    let catalog = daily(9);
    let plan = plan(&catalog, &policy, day(9));
    let steps = |catalog: &Catalog, facts: &PolicyInputs| recheck(&plan, catalog, facts);
    let ok = |days| (id(MASTER, days), Vec::new());
    let changed = |days, why| (id(MASTER, days), vec![why]);
    assert_eq!(
        steps(&catalog, &PolicyInputs::default()),
        [ok(0), ok(1), ok(2)]
    );

    let mut kept = catalog.clone();
    kept.channels.values_mut().for_each(|entry| {
        let build = entry.builds.get_mut(&id(MASTER, 1).date);
        build.expect("it").keep_file = true;
    });
    let reason = Reason::KeepFile;
    let protected = changed(1, Conflict::Protected { reason });
    assert_eq!(
        steps(&kept, &PolicyInputs::default()),
        [ok(0), protected, ok(2)]
    );

    let (mut left, mut facts) = (catalog, PolicyInputs::default());
    apply(&plan, &mut left, &mut facts);
    let gone = [0, 1, 2].map(|days| changed(days, Conflict::SectionGone));
    assert_eq!(steps(&left, &facts), gone);
}

#[test]
fn a_build_that_now_dates_a_release_is_kept() {
    const CENTOS: &str = "release/2018.10/centos";
    let mut policy = Policy::default();
    policy.kinds.release.keep = Retention::For(Span::days(7));
    let builds: Vec<_> = (0..=18).map(|days| (days, Made::Success)).collect();
    let mut catalog = channel(CENTOS, &builds);
    let plan = plan(&catalog, &policy, day(18));
    let none = PolicyInputs::default();
    let first = |plan: &PrunePlan| plan.expire.first().map(|entry| entry.build.clone());
    assert_eq!(first(&plan), Some(id(CENTOS, 1)));
    let steps = |catalog: &Catalog, calendar: &Calendar| -> Vec<_> {
        let steps = plan.expire.iter().map(Step::Build);
        let why = steps.map(|step| recheck_step(&plan, step, catalog, &none, calendar));
        why.flatten().collect()
    };
    assert_eq!(steps(&catalog, &policy.calendar), []);

    // The first build is removed by another program, and the day of the release would move twice.
    let entry = catalog.channels.get_mut(&id(CENTOS, 0).channel);
    entry.expect("centos").builds.pop_first();
    let reason = Reason::FirstOfRelease;
    let protected = [Conflict::Protected { reason }];
    assert_eq!(steps(&catalog, &policy.calendar), protected);
    let named = [("2018.10".parse().expect("a name"), day(0).date_naive())];
    let named = Calendar {
        releases: named.into(),
        learn: true,
    };
    assert_eq!(steps(&catalog, &named), []);
    add(&mut catalog, "release/2018.10/debian", 0, Made::Success);
    assert_eq!(steps(&catalog, &policy.calendar), []);
}
