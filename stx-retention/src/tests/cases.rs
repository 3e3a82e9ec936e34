//! A case for every rule, every reason and every warning.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use stx_layout::{AliasEntry, AliasName, Catalog, Section, UndatedEntry, Verdict};

use super::world::{Made, add, channel, daily, day, id, point, verdict};
use crate::{
    Decision, ExpiryRule, Limits, Period, Pin, Policy, PolicyInputs, PrunePlan, Reason, Retention,
    Span, Term, Tier, Warning, explain, plan, plan_with,
};

const MASTER: &str = "master/centos";

fn reason_number(reason: &Reason) -> usize {
    match reason {
        Reason::Unreadable { .. } => 0,
        Reason::FutureDate => 1,
        Reason::Alias { .. } => 2,
        Reason::InUse { .. } => 3,
        Reason::Pinned { .. } => 4,
        Reason::KeepFile => 5,
        Reason::NewestSuccess => 6,
        Reason::SuccessBefore => 7,
        Reason::Newest { .. } => 8,
        Reason::NewestFailure => 9,
        Reason::Forever => 10,
        Reason::Young { .. } => 11,
        Reason::YoungFailure { .. } => 12,
        Reason::ReleasePeriod { period } => match period {
            Period::Whole { .. } => 13,
            Period::Unended { .. } => 14,
            Period::Unbegun => 15,
            Period::NoCalendar => 16,
        },
        Reason::RemovalLimit { .. } => 17,
        Reason::ClockDoubted { .. } => 18,
        Reason::Undated { .. } => 19,
        Reason::UnreadableVerdicts { .. } => 20,
        Reason::NewestGreen => 21,
        Reason::Green { .. } => 22,
        Reason::Verdict { term, .. } => match term {
            Term::Forever => 23,
            Term::Age { .. } => 24,
            Term::ReleasePeriod { .. } => 25,
        },
        Reason::FirstOfRelease => 26,
    }
}
const REASONS: usize = 27;

fn rule_number(rule: ExpiryRule) -> usize {
    match rule {
        ExpiryRule::Age => 0,
        ExpiryRule::FailedAge => 1,
        ExpiryRule::ReleasePeriod => 2,
        ExpiryRule::Verdict => 3,
    }
}
const RULES: usize = 4;

fn warning_number(warning: &Warning) -> usize {
    match warning {
        Warning::ClockDoubted { .. } => 0,
        Warning::RemovalLimit { .. } => 1,
        Warning::FutureBuilds { .. } => 2,
        Warning::UnreadableRecords { .. } => 3,
        Warning::Strays { .. } => 4,
        Warning::DanglingAlias { .. } => 5,
        Warning::PinOfNothing { .. } => 6,
        Warning::NoRelease { .. } => 7,
        Warning::SpaceShort { .. } => 8,
    }
}
const WARNINGS: usize = 9;

fn pin(channel: &str, days: i64) -> Pin {
    Pin {
        build: id(channel, days),
        reason: "customer ticket".to_owned(),
        author: "ann".to_owned(),
        until: Some(day(90)),
    }
}

/// Daily builds, some of them tested: 0 to 5 are green, 6 and 12 red, 7 yellow, and the verdicts on 8 cannot be read.
fn tested() -> (Catalog, PolicyInputs, Policy) {
    let mut facts = PolicyInputs::default();
    let given = (0..6).map(|days| (days, Verdict::Green));
    let given = given.chain([(6, Verdict::Red), (12, Verdict::Red), (7, Verdict::Yellow)]);
    for (days, given) in given {
        let build = id(MASTER, days);
        facts.verdicts.insert(build.clone(), verdict(&build, given));
    }
    facts
        .unclear
        .insert(id(MASTER, 8), "no JSON at line 1".to_owned());
    let mut policy = Policy {
        limits: Limits::NONE,
        ..Policy::default()
    };
    let verdicts = &mut policy.kinds.master.verdicts;
    verdicts.green = Some(Retention::For(Span::days(28)));
    verdicts.yellow = Some(Retention::Forever);
    verdicts.red = Some(Retention::For(Span::days(3)));
    verdicts.newest_green = Some(2);
    (daily(30), facts, policy)
}

/// Worlds that together contain everything.
fn worlds() -> Vec<PrunePlan> {
    let policy = Policy::default();
    let mut full = daily(30);
    add(&mut full, MASTER, 29, Made::Failure);
    add(&mut full, MASTER, 3, Made::Failure);
    add(&mut full, MASTER, 31, Made::Failure);
    add(&mut full, MASTER, 2, Made::Unreadable);
    add(&mut full, MASTER, 60, Made::Success);
    add(&mut full, "release/1/centos", 3, Made::Success);
    for days in [1, 2, 3, 4, 5] {
        add(&mut full, "milestone/m/centos", days, Made::Success);
    }
    let latest = AliasName::latest_build();
    point(&mut full, &id(MASTER, 30));
    let master = id(MASTER, 0).channel;
    let entry = full.channels.get_mut(&master).expect("master");
    let odd = format!("./{}/", id(MASTER, 5).date);
    let name = "latest_odd".parse().expect("an alias");
    entry.aliases.insert(name, AliasEntry::Other(odd));
    entry.strays.push("notes.txt".to_owned());
    let dated = UndatedEntry::Build(id(MASTER, 7).date);
    entry.undated.insert(Section::Outputs, dated);
    let kept = entry.builds.get_mut(&id(MASTER, 4).date).expect("day 4");
    kept.keep_file = true;
    let facts = PolicyInputs {
        pins: vec![pin(MASTER, 1), pin(MASTER, 77)],
        in_use: [(id(MASTER, 6), "fetch".to_owned())].into(),
        free: Some(0),
        ..PolicyInputs::default()
    };
    let allowed = |policy: &Policy| Policy {
        limits: Limits {
            allow: Some(100),
            ..Limits::default()
        },
        ..policy.clone()
    };
    let mut pressed = allowed(&policy);
    pressed.free_space = Some(1 << 40);
    let mut planned = allowed(&policy);
    for (name, days) in [("a", 2), ("b", 3), ("c", 40)] {
        let name = name.parse().expect("a name");
        planned
            .calendar
            .releases
            .insert(name, day(days).date_naive());
    }
    let mut few = channel("milestone/m/centos", &[(1, Made::Success)]);
    few.channels.values_mut().for_each(|entry| {
        entry
            .aliases
            .insert(latest.clone(), AliasEntry::Build(id(MASTER, 9).date));
    });
    let (tested, tests, rules) = tested();
    let mut by_release = rules.clone();
    by_release.kinds.master.verdicts.yellow = Some(Retention::ReleasePeriod);
    let mut short = rules.clone();
    short.kinds.release.keep = Retention::For(Span::days(2));
    let release = channel(
        "release/1/centos",
        &[1, 2, 3, 4].map(|days| (days, Made::Success)),
    );
    vec![
        plan_with(&tested, &tests, &rules, day(30)),
        plan_with(&tested, &tests, &by_release, day(30)),
        plan(&release, &short, day(30)),
        plan_with(&full, &facts, &pressed, day(31)),
        plan_with(&full, &facts, &planned, day(31)),
        plan_with(&full, &facts, &policy, day(31)),
        plan(&daily(60), &policy, day(60)),
        plan(&daily(30), &policy, day(3650)),
        plan(&few, &policy, day(3)),
        plan(
            &channel("milestone/m/centos", &[(9, Made::Success)]),
            &planned,
            day(9),
        ),
        plan(
            &channel("milestone/m/centos", &[(41, Made::Success)]),
            &planned,
            day(41),
        ),
    ]
}

#[test]
fn every_rule_reason_and_warning_has_a_case() {
    let (mut reasons, mut rules, mut warnings) =
        <(BTreeSet<_>, BTreeSet<_>, BTreeSet<_>)>::default();
    for plan in worlds() {
        for reason in plan.keep.iter().flat_map(|entry| &entry.reasons) {
            assert!(!reason.to_string().is_empty());
            reasons.insert(reason_number(reason));
        }
        rules.extend(plan.expire.iter().map(|entry| rule_number(entry.rule)));
        for warning in &plan.warnings {
            assert!(!warning.to_string().is_empty());
            warnings.insert(warning_number(warning));
        }
        let json = serde_json::to_string(&plan).expect("JSON");
        let back: PrunePlan = serde_json::from_str(&json).expect("the plan");
        assert_eq!(back, plan);
    }
    assert!(reasons.into_iter().eq(0..REASONS));
    assert!(rules.into_iter().eq(0..RULES));
    assert!(warnings.into_iter().eq(0..WARNINGS));
}

#[test]
fn a_plan_has_the_documented_json() {
    let catalog = channel(
        MASTER,
        &[(0, Made::Success), (19, Made::Success), (20, Made::Success)],
    );
    let plan = plan(&catalog, &Policy::default(), day(20));
    insta::assert_json_snapshot!(plan);
}

/// Sixty daily `master` builds with three failures, four milestones, three releases and a feature.
#[test]
fn a_mirror_over_time() {
    let mut catalog = daily(59);
    for days in [10, 45, 59] {
        add(&mut catalog, MASTER, days, Made::Failure);
    }
    for days in [3, 12, 30, 50] {
        add(
            &mut catalog,
            "milestone/2019.05/centos",
            days,
            Made::Success,
        );
    }
    for (name, days) in [("2018.10", 2), ("2019.03", 20), ("2019.05", 55)] {
        let channel = format!("release/{name}/centos");
        add(&mut catalog, &channel, days, Made::Success);
    }
    add(&mut catalog, "feature/centos76/centos", 5, Made::Success);
    point(&mut catalog, &id(MASTER, 58));
    let mut text = String::new();
    for (days, allow) in [
        (13, None),
        (20, None),
        (59, None),
        (59, Some(100)),
        (70, None),
        (3650, None),
    ] {
        let mut policy = Policy::default();
        policy.limits.allow = allow;
        let plan = plan(&catalog, &policy, day(days));
        let _ = writeln!(text, "== {} allow {allow:?}", plan.now);
        for entry in &plan.expire {
            let _ = writeln!(text, "- {} {}: {}", entry.build, entry.rule, entry.message);
        }
        for warning in &plan.warnings {
            let _ = writeln!(text, "! {warning}");
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn explanations_name_the_rule_its_line_and_the_dates() {
    let text = "[calendar]\nlearn = false\n[kind.master]\nkeep = \"14 days\"\n";
    let file = crate::PolicyFile::from_toml(text).expect("a policy");
    let catalog = channel(
        MASTER,
        &[(0, Made::Success), (19, Made::Success), (20, Made::Success)],
    );
    let say = |days| {
        let facts = PolicyInputs::default();
        explain(
            &catalog,
            &facts,
            &file.policy,
            Some(&file.lines),
            day(20),
            &id(MASTER, days),
        )
    };
    let [goes, stays] = [0, 20].map(|days| say(days).expect("there"));
    insta::assert_snapshot!(format!("{goes}\n\n{stays}"));
    assert_eq!(say(3), None);
}

#[test]
fn explanations_name_the_verdict() {
    let (catalog, facts, policy) = tested();
    let mut text = String::new();
    for days in [1, 3, 5, 6, 7, 8, 12, 16] {
        let said = explain(&catalog, &facts, &policy, None, day(30), &id(MASTER, days));
        let _ = writeln!(text, "{}\n", said.expect("there"));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_red_build_expires_early_only_if_the_policy_says_so() {
    let (catalog, facts, mut policy) = tested();
    let gone = |policy: &Policy, days| {
        let plan = plan_with(&catalog, &facts, policy, day(16));
        plan.expire
            .into_iter()
            .find(|entry| entry.build == id(MASTER, days))
    };
    let red = gone(&policy, 12).expect("it is red, and four days old");
    assert_eq!((red.rule, red.since), (ExpiryRule::Verdict, day(15)));
    assert_eq!(red.verdict, Some(Verdict::Red));
    policy.kinds.master.verdicts.red = None;
    assert_eq!(gone(&policy, 12), None);
}

#[test]
fn a_lab_that_marks_everything_red_is_held_back() {
    let (catalog, mut facts, mut policy) = (daily(14), PolicyInputs::default(), Policy::default());
    policy.kinds.master.verdicts.red = Some(Retention::For(Span::days(3)));
    for days in 0..=14 {
        let build = id(MASTER, days);
        let mut red = verdict(&build, Verdict::Red);
        red.at = day(14);
        facts.verdicts.insert(build, red);
    }
    let held = plan_with(&catalog, &facts, &policy, day(14));
    assert!(held.is_empty());
    assert_eq!(warning_number(&held.warnings[0]), 1);
    policy.limits.allow = Some(12);
    let allowed = plan_with(&catalog, &facts, &policy, day(14));
    assert_eq!(allowed.expire.len(), 12);
}

#[test]
fn a_forecast_considers_verdicts() {
    let (catalog, facts, policy) = tested();
    let forecast = crate::forecast(&catalog, &facts, &policy, day(30), 5, &BTreeMap::new());
    let gone = |days: usize| {
        let expired = forecast.days[days].expire.iter();
        expired.map(|entry| entry.build.clone()).collect::<Vec<_>>()
    };
    // 28 days old: green builds up to day 3; none of the later ones, because they are the two newest.
    assert!(gone(0).contains(&id(MASTER, 2)));
    assert!(gone(1).contains(&id(MASTER, 3)));
    let later: Vec<_> = (0..=5).flat_map(gone).collect();
    for stays in [4, 5, 7, 8] {
        assert!(!later.contains(&id(MASTER, stays)), "{stays}");
    }
}

#[test]
fn a_clock_ten_years_ahead_removes_nothing() {
    let plan = plan(&daily(20), &Policy::default(), day(3650));
    assert!(plan.is_empty());
    assert!(plan.warnings[0].to_string().contains("clock"));
}

#[test]
fn one_build_from_the_far_future_does_not_hide_a_wrong_clock() {
    let mut catalog = channel(
        MASTER,
        &[(0, Made::Success), (1, Made::Success), (2, Made::Success)],
    );
    add(&mut catalog, MASTER, 30_000, Made::Success);
    let plan = plan(&catalog, &Policy::default(), day(3650));
    assert!(plan.is_empty());
    assert_eq!(warning_number(&plan.warnings[0]), 0);
}

#[test]
fn more_than_half_of_a_channel_expires_only_if_allowed() {
    let catalog = daily(60);
    let mut policy = Policy::default();
    assert!(plan(&catalog, &policy, day(60)).is_empty());
    policy.limits.allow = Some(46);
    assert!(plan(&catalog, &policy, day(60)).is_empty());
    policy.limits.allow = Some(47);
    assert_eq!(plan(&catalog, &policy, day(60)).expire.len(), 47);
}

#[test]
fn sections_expire_once_before_their_build_unless_it_is_protected() {
    let mut policy = Policy::default();
    policy.kinds.master.tiers.push(Tier {
        section: "outputs/logs".parse().expect("a path"),
        after: Span::days(7),
    });
    let mut catalog = daily(10);
    let mut facts = PolicyInputs {
        pins: vec![pin(MASTER, 1)],
        ..PolicyInputs::default()
    };
    let first = plan_with(&catalog, &facts, &policy, day(10));
    let gone: Vec<_> = first.sections.iter().map(|entry| &entry.build).collect();
    assert_eq!(gone, [&id(MASTER, 0), &id(MASTER, 2), &id(MASTER, 3)]);
    crate::apply(&first, &mut catalog, &mut facts);
    assert!(plan_with(&catalog, &facts, &policy, day(10)).is_empty());
}

#[test]
fn pressure_changes_the_order_only() {
    let mut catalog: Catalog = daily(20);
    let entry = catalog.channels.values_mut().next().expect("master");
    let big = entry.builds.get_mut(&id(MASTER, 3).date).expect("day 3");
    if let stx_layout::BuildState::Known(record) = &mut big.state {
        record.bytes = 5000;
    }
    let mut policy = Policy {
        free_space: Some(6000),
        ..Policy::default()
    };
    let facts = PolicyInputs {
        free: Some(10),
        ..PolicyInputs::default()
    };
    let pressed = plan_with(&catalog, &facts, &policy, day(20));
    policy.free_space = None;
    let mut calm = plan_with(&catalog, &facts, &policy, day(20));
    assert_eq!(pressed.expire[0].build, id(MASTER, 3));
    assert_eq!(pressed.warnings, []);
    calm.expire
        .sort_by_key(|entry| entry.build != id(MASTER, 3));
    assert_eq!(pressed.expire, calm.expire);
}

#[test]
fn the_default_policy_is_that_of_the_specification() {
    let policy = Policy::default();
    let fortnight = Retention::For(Span::days(14));
    assert_eq!(policy.kinds.master.keep, fortnight);
    assert_eq!(policy.kinds.feature, policy.kinds.master);
    assert_eq!(policy.kinds.master.newest, 2);
    assert_eq!(policy.kinds.release.keep, Retention::Forever);
    assert_eq!(policy.kinds.rc.keep, Retention::Forever);
    assert_eq!(policy.kinds.milestone.keep, Retention::ReleasePeriod);
    let decision = plan(&daily(16), &policy, day(16)).decision(&id(MASTER, 2));
    let since = day(16);
    let rule = ExpiryRule::Age;
    assert_eq!(decision, Some(Decision::Expire { rule, since }));
}

#[test]
fn a_build_behind_an_undated_path_is_kept() {
    let mut catalog = daily(30);
    let master = id(MASTER, 0).channel;
    let date = id(MASTER, 3).date;
    let plan_of = |catalog: &Catalog| plan(catalog, &Policy::default(), day(31));
    let expires = |plan: &PrunePlan| plan.expire.iter().any(|it| it.build == id(MASTER, 3));
    assert!(expires(&plan_of(&catalog)), "it is old enough");
    for (to, stays) in [
        (UndatedEntry::Build(date), true),
        (UndatedEntry::Other(format!("./{date}/outputs")), true),
        (UndatedEntry::Build(id(MASTER, 4).date), false),
        (UndatedEntry::Alias(AliasName::latest_build()), false),
    ] {
        let entry = catalog.channels.get_mut(&master).expect("master");
        entry.undated.insert(Section::Outputs, to.clone());
        assert_eq!(!expires(&plan_of(&catalog)), stays, "{to:?}");
    }
}
