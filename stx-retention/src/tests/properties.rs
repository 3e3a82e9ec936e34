//! The properties in the crate's documentation, over random mirrors.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use stx_layout::{BuildId, Catalog, ReleaseKind, Verdict};

use super::world::{Made, add, day, id, point, recheck_by, verdict, verdicts};
use crate::{
    Limits, Pin, Policy, PolicyFile, PolicyInputs, PrunePlan, Retention, Span, VerdictRules, apply,
    bytes_used, forecast, plan, plan_with,
};

const CHANNELS: [&str; 6] = [
    "master/centos",
    "feature/f/centos",
    "release/1/centos",
    "release/2/centos",
    "milestone/m/centos",
    "rc/1/centos",
];

type Build = (usize, i64, Made);

fn build() -> impl Strategy<Value = Build> {
    let made = prop_oneof![
        3 => Just(Made::Success),
        3 => prop::sample::select(&Verdict::ALL[..]).prop_map(Made::Marked),
        2 => Just(Made::Failure),
        1 => Just(Made::Unreadable),
    ];
    (0..CHANNELS.len(), 0_i64..60, made)
}

fn builds() -> impl Strategy<Value = Vec<Build>> {
    prop::collection::vec(build(), 0..40)
}

/// Policies without limits: a limit depends on the number of other builds that expire.
fn policy() -> impl Strategy<Value = Policy> {
    let calendar = prop::collection::btree_set(0_i64..60, 0..4);
    (1_u32..30, 0_u32..4, calendar, any::<bool>()).prop_map(|(age, newest, days, learn)| {
        let mut policy = Policy {
            limits: Limits::NONE,
            ..Policy::default()
        };
        for kind in [ReleaseKind::Master, ReleaseKind::Feature] {
            policy.kinds.get_mut(kind).keep = Retention::For(Span::days(age));
            policy.kinds.get_mut(kind).newest = newest;
        }
        policy.calendar.learn = learn;
        for days in days {
            let name = format!("n{days}").parse().expect("a name");
            let days = day(days).date_naive();
            policy.calendar.releases.insert(name, days);
        }
        policy
    })
}

/// The time for which a rule by verdict keeps a build.
fn kept() -> impl Strategy<Value = Option<Retention>> {
    prop_oneof![
        1 => Just(None),
        3 => (1_u32..40).prop_map(|days| Some(Retention::For(Span::days(days)))),
        1 => Just(Some(Retention::Forever)),
        1 => Just(Some(Retention::ReleasePeriod)),
    ]
}

fn verdict_rules() -> impl Strategy<Value = VerdictRules> {
    let newest = prop::option::of(0_u32..4);
    (kept(), kept(), kept(), newest).prop_map(|(green, yellow, red, newest_green)| VerdictRules {
        green,
        yellow,
        red,
        newest_green,
    })
}

/// A policy in which these rules by verdict apply to each channel.
fn with(policy: &Policy, rules: VerdictRules) -> Policy {
    let mut policy = policy.clone();
    for kind in ReleaseKind::ALL {
        policy.kinds.get_mut(kind).verdicts = rules;
    }
    policy
}

/// The verdicts on the marked builds.
fn marked(builds: &[Build]) -> PolicyInputs {
    let builds = builds.iter();
    PolicyInputs {
        verdicts: verdicts(builds.map(|(channel, days, made)| (CHANNELS[*channel], *days, *made))),
        ..PolicyInputs::default()
    }
}

fn mirror(builds: &[Build]) -> Catalog {
    let mut catalog = Catalog::default();
    for (channel, days, made) in builds {
        add(&mut catalog, CHANNELS[*channel], *days, *made);
    }
    catalog
}

fn expired(plan: &PrunePlan) -> BTreeSet<BuildId> {
    plan.expire
        .iter()
        .map(|entry| entry.build.clone())
        .collect()
}

fn pin(build: &Build) -> Pin {
    Pin {
        build: id(CHANNELS[build.0], build.1),
        reason: "why".to_owned(),
        author: "who".to_owned(),
        until: None,
    }
}

/// The last of the days on which [`applied_each_day`] builds.
const LAST: i64 = 60;

/// The usual policy and limits, with this age of `master`.
fn master_for(days: u32) -> Policy {
    let mut policy = Policy::default();
    policy.kinds.master.keep = Retention::For(Span::days(days));
    policy
}

/// Applies a policy on a day; returns true if a channel was held back.
fn apply_at(catalog: &mut Catalog, policy: &Policy, days: i64) -> bool {
    let plan = plan(catalog, policy, day(days));
    apply(&plan, catalog, &mut PolicyInputs::default());
    plan.warnings
        .iter()
        .any(|warning| warning.allow().is_some())
}

/// A `master` with a success every `every` days, and with the policy applied on each day up to the last build.
///
/// # Panics
/// If that was held back on a day.
fn applied_each_day(policy: &Policy, every: i64) -> Catalog {
    let mut catalog = Catalog::default();
    for days in 0..=LAST {
        if days % every == 0 {
            add(&mut catalog, CHANNELS[0], days, Made::Success);
        }
        assert!(!apply_at(&mut catalog, policy, days), "day {days}");
    }
    catalog
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// *Monotone in time*: a build that may expire may also expire later, as long as nothing is built or pinned.
    #[test]
    fn monotone_in_time(
        builds in builds(), policy in policy(), rules in verdict_rules(), now in 0_i64..70, later in 0_i64..50,
    ) {
        let (catalog, facts, policy) = (mirror(&builds), marked(&builds), with(&policy, rules));
        let before = expired(&plan_with(&catalog, &facts, &policy, day(now)));
        let after = expired(&plan_with(&catalog, &facts, &policy, day(now + later)));
        prop_assert!(before.is_subset(&after));
    }

    /// *Aliases hold*: the target of an alias is kept.
    #[test]
    fn aliases_hold(builds in builds(), policy in policy(), now in 0_i64..90) {
        let mut catalog = mirror(&builds);
        for build in &builds {
            let target = id(CHANNELS[build.0], build.1);
            point(&mut catalog, &target);
            let plan = plan(&catalog, &policy, day(now));
            prop_assert!(!expired(&plan).contains(&target));
        }
    }

    /// *Pins hold*: a pinned build is kept, and it changes no decision on other builds of a channel without limits.
    #[test]
    fn pins_hold(builds in builds(), policy in policy(), now in 0_i64..90, pinned in build()) {
        let catalog = mirror(&builds);
        let facts = PolicyInputs { pins: vec![pin(&pinned)], ..PolicyInputs::default() };
        let mut without = expired(&plan(&catalog, &policy, day(now)));
        without.remove(&id(CHANNELS[pinned.0], pinned.1));
        prop_assert_eq!(expired(&plan_with(&catalog, &facts, &policy, day(now))), without);
    }

    /// *Never empty*: a channel keeps at least one build, and its newest success.
    #[test]
    fn never_empty(builds in builds(), policy in policy(), now in 0_i64..900) {
        let mut catalog = mirror(&builds);
        let newest = |catalog: &Catalog| -> BTreeMap<_, _> {
            let channels = catalog.channels.iter();
            channels.map(|(channel, entry)| (channel.clone(), entry.newest_success())).collect()
        };
        let before = newest(&catalog);
        let plan = plan(&catalog, &policy, day(now));
        apply(&plan, &mut catalog, &mut PolicyInputs::default());
        prop_assert_eq!(newest(&catalog), before);
        prop_assert!(catalog.channels.values().all(|entry| !entry.builds.is_empty()));
    }

    /// *Newcomers spare milestones and releases*: neither a pin nor a build elsewhere makes a success of these expire, unless the
    /// build is the first of a release that the calendar learns: that ends release periods.
    #[test]
    fn newcomers_spare_milestones_and_releases(
        builds in builds(), mut policy in policy(), now in 0_i64..90, new in build(),
    ) {
        policy.calendar.learn = false;
        let mut catalog = mirror(&builds);
        let protected = |plan: &PrunePlan| -> BTreeSet<_> {
            let kinds = [ReleaseKind::Milestone, ReleaseKind::Release];
            let new = id(CHANNELS[new.0], new.1).channel;
            let of = |build: &BuildId| kinds.contains(&build.channel.release.kind());
            let expired = expired(plan).into_iter();
            expired.filter(|build| of(build) && build.channel != new).collect()
        };
        let before = plan(&catalog, &policy, day(now));
        let pinned = PolicyInputs { pins: vec![pin(&new)], ..PolicyInputs::default() };
        let with_pin = plan_with(&catalog, &pinned, &policy, day(now));
        prop_assert!(expired(&with_pin).is_subset(&expired(&before)));
        add(&mut catalog, CHANNELS[new.0], new.1, new.2);
        let with_build = plan(&catalog, &policy, day(now));
        prop_assert_eq!(protected(&with_build), protected(&before));
    }

    /// *Longer ages keep more*: of two policies, the one with the longer ages keeps everything that the other keeps.
    #[test]
    fn longer_ages_keep_more(builds in builds(), policy in policy(), now in 0_i64..90, more in 0_u32..20) {
        let catalog = mirror(&builds);
        let mut longer = policy.clone();
        for kind in ReleaseKind::ALL {
            let rules = longer.kinds.get_mut(kind);
            for retention in [&mut rules.keep, &mut rules.failed] {
                if let Retention::For(age) = retention {
                    *age = Span::seconds(age.as_seconds() + u64::from(more) * 86_400);
                }
            }
            rules.newest += more;
        }
        let before = expired(&plan(&catalog, &policy, day(now)));
        prop_assert!(expired(&plan(&catalog, &longer, day(now))).is_subset(&before));
    }

    /// *Green and yellow only lengthen*: no rule for these two makes a build expire that is kept without it, nor does such a
    /// verdict make its own build expire.
    #[test]
    fn green_and_yellow_only_lengthen(
        builds in builds(), policy in policy(), rules in verdict_rules(), now in 0_i64..90,
        on in build(), green: bool,
    ) {
        let (catalog, mut facts) = (mirror(&builds), marked(&builds));
        let plain = with(&policy, VerdictRules { red: rules.red, ..VerdictRules::default() });
        let policy = with(&policy, rules);
        let without = expired(&plan_with(&catalog, &facts, &plain, day(now)));
        let by_rules = expired(&plan_with(&catalog, &facts, &policy, day(now)));
        prop_assert!(by_rules.is_subset(&without), "{:?} {:?}", by_rules, without);

        let on = id(CHANNELS[on.0], on.1);
        facts.verdicts.remove(&on);
        let unmarked = expired(&plan_with(&catalog, &facts, &policy, day(now)));
        let given = if green { Verdict::Green } else { Verdict::Yellow };
        facts.verdicts.insert(on.clone(), verdict(&on, given));
        let by_verdict = expired(&plan_with(&catalog, &facts, &policy, day(now)));
        prop_assert!(unmarked.contains(&on) || !by_verdict.contains(&on), "{}", on);
    }

    /// *Verdicts concern their builds*: the rule for a verdict changes no decision on a build without this verdict.
    #[test]
    fn verdicts_concern_their_builds(
        builds in builds(), policy in policy(), rules in verdict_rules(), now in 0_i64..90,
    ) {
        let (catalog, facts) = (mirror(&builds), marked(&builds));
        let without = plan_with(&catalog, &facts, &policy, day(now));
        for of in Verdict::ALL {
            let mut only = VerdictRules::default();
            match of {
                Verdict::Green => (only.green, only.newest_green) = (rules.green, rules.newest_green),
                Verdict::Yellow => only.yellow = rules.yellow,
                Verdict::Red => only.red = rules.red,
            }
            let with = plan_with(&catalog, &facts, &with(&policy, only), day(now));
            let (without, with) = (without.decisions(), with.decisions());
            for (build, decision) in &without {
                let own = facts.verdicts.get(*build).is_some_and(|entry| entry.verdict == of);
                prop_assert!(own || with.get(*build) == Some(decision), "{}", build);
            }
        }
    }

    /// *The newest green build stays*: under any rules, even if no alias points at it.
    #[test]
    fn the_newest_green_build_stays(
        builds in builds(), policy in policy(), rules in verdict_rules(), now in 0_i64..900,
    ) {
        let (catalog, facts, policy) = (mirror(&builds), marked(&builds), with(&policy, rules));
        let gone = expired(&plan_with(&catalog, &facts, &policy, day(now)));
        for (channel, entry) in &catalog.channels {
            let dates = entry.builds.iter().filter(|(date, build)| build.is_success() && date.time() <= day(now));
            let newest = dates.map(|(date, _)| BuildId::new(channel.clone(), *date)).rfind(|build| {
                facts.verdicts.get(build).is_some_and(|entry| entry.verdict == Verdict::Green)
            });
            if let Some(newest) = newest {
                prop_assert!(!gone.contains(&newest), "{}", newest);
            }
        }
    }

    /// *Order makes no difference*: neither the order of builds, nor that of pins.
    #[test]
    fn order_makes_no_difference(mut builds in builds(), policy in policy(), now in 0_i64..90) {
        builds.sort_by_key(|build| (build.0, build.1));
        builds.dedup_by_key(|build| (build.0, build.1));
        let pins = |builds: &[Build]| PolicyInputs {
            pins: builds.iter().step_by(1).filter(|build| build.1 % 5 == 0).map(pin).collect(),
            ..PolicyInputs::default()
        };
        let one = plan_with(&mirror(&builds), &pins(&builds), &policy, day(now));
        builds.reverse();
        let other = plan_with(&mirror(&builds), &pins(&builds), &policy, day(now));
        prop_assert_eq!(one, other);
    }

    /// *Pauses pass*: nothing is held back on any day before the pause, nor in it if the policy is applied then, nor from the
    /// second build after it on.
    #[test]
    fn pauses_pass(keep in 3_u32..30, every in 1_i64..4, pause in 1_i64..300, applied: bool) {
        let policy = master_for(keep);
        let mut catalog = applied_each_day(&policy, every);
        let back = LAST + pause;
        for days in LAST + 1..back {
            if applied {
                prop_assert!(!apply_at(&mut catalog, &policy, days));
            }
        }
        add(&mut catalog, CHANNELS[0], back, Made::Success);
        apply_at(&mut catalog, &policy, back);
        for days in back + 1..back + 40 {
            if (days - back) % every == 0 {
                add(&mut catalog, CHANNELS[0], days, Made::Success);
            }
            let held_back = apply_at(&mut catalog, &policy, days);
            prop_assert!(!held_back || days < back + every, "day {}", days - back);
        }
    }

    /// *Jumped clocks are held back*: even if a build was made with the wrong clock.
    #[test]
    fn jumped_clocks_are_held_back(keep in 1_u32..30, jump in 0_i64..300, built: bool) {
        let policy = master_for(keep);
        let mut catalog = applied_each_day(&policy, 1);
        if built {
            add(&mut catalog, CHANNELS[0], LAST + jump, Made::Success);
        }
        let builds = catalog.builds().count();
        let plan = plan(&catalog, &policy, day(LAST + jump));
        // Two became old in the last two days, and one was superseded by the new one.
        prop_assert!(plan.expire.len() <= builds / 2 + 3, "{} of {builds}", plan.expire.len());
    }

    /// *Changed policies are held back*: a policy with a shorter age, after another one was applied each day.
    #[test]
    fn changed_policies_are_held_back(keep in 2_u32..30, less in 1_u32..29) {
        let catalog = applied_each_day(&master_for(keep), 1);
        let builds = catalog.builds().count();
        let shorter = master_for(keep.saturating_sub(less).max(1));
        let plan = plan(&catalog, &shorter, day(LAST));
        // Two became old in the last two days, and one between two builds before.
        prop_assert!(plan.expire.len() <= builds / 2 + 3, "{} of {builds}", plan.expire.len());
    }

    /// *Done is done*: once a plan is applied, the next one at the same time is empty, under limits too; and the use of space has
    /// decreased by the freed bytes.
    #[test]
    fn done_is_done(
        builds in builds(), policy in policy(), rules in verdict_rules(), now in 0_i64..90, limited: bool,
    ) {
        let mut policy = with(&policy, rules);
        if limited {
            policy.limits = Limits::default();
        }
        let (mut catalog, mut facts) = (mirror(&builds), marked(&builds));
        let used = bytes_used(&catalog, &facts);
        let first = plan_with(&catalog, &facts, &policy, day(now));
        apply(&first, &mut catalog, &mut facts);
        prop_assert_eq!(bytes_used(&catalog, &facts), used - first.bytes_freed());
        prop_assert!(plan_with(&catalog, &facts, &policy, day(now)).is_empty());
    }

    /// *A forecast begins with the plan*: its first day is today's plan, and without new builds the same holds for a later one.
    #[test]
    fn a_forecast_begins_with_the_plan(builds in builds(), policy in policy(), now in 0_i64..90) {
        let (catalog, facts) = (mirror(&builds), PolicyInputs::default());
        let plan = plan(&catalog, &policy, day(now));
        let forecast = forecast(&catalog, &facts, &policy, day(now), 0, &BTreeMap::new());
        prop_assert_eq!(forecast.days.len(), 1);
        prop_assert_eq!(&forecast.days[0].expire, &plan.expire);
        prop_assert_eq!(&forecast.days[0].sections, &plan.sections);
        prop_assert_eq!(&forecast.days[0].warnings, &plan.warnings);
    }

    /// *An unchanged mirror passes*: every step of the plan.
    #[test]
    fn an_unchanged_mirror_passes(
        builds in builds(), policy in policy(), rules in verdict_rules(), now in 0_i64..90,
    ) {
        let (catalog, facts, policy) = (mirror(&builds), marked(&builds), with(&policy, rules));
        let plan = plan_with(&catalog, &facts, &policy, day(now));
        for (build, why) in recheck_by(&plan, &catalog, &facts, &policy.calendar) {
            prop_assert_eq!(why, [], "{}", build);
        }
    }

    /// *Passed builds expire again*: builds are added, removed and changed, some are tested, one is pinned, one is the target of
    /// an alias.
    #[test]
    fn passed_builds_expire_again(
        builds in builds(), policy in policy(), rules in verdict_rules(), now in 0_i64..90,
        gone in builds(), new in builds(), tested in builds(), pinned in build(), pointed in build(),
    ) {
        let mut policy = with(&policy, rules);
        policy.calendar.learn = false;
        let (mut catalog, mut facts) = (mirror(&builds), marked(&builds));
        let before = plan_with(&catalog, &facts, &policy, day(now));
        facts.verdicts.extend(marked(&tested).verdicts);
        for build in gone {
            let id = id(CHANNELS[build.0], build.1);
            if let Some(entry) = catalog.channels.get_mut(&id.channel) {
                entry.builds.remove(&id.date);
            }
        }
        for build in &new {
            add(&mut catalog, CHANNELS[build.0], build.1, build.2);
        }
        point(&mut catalog, &id(CHANNELS[pointed.0], pointed.1));
        facts.pins.push(pin(&pinned));
        facts.verdicts.extend(marked(&new).verdicts);
        let after = expired(&plan_with(&catalog, &facts, &policy, day(now)));
        for (build, why) in recheck_by(&before, &catalog, &facts, &policy.calendar) {
            prop_assert!(!why.is_empty() || after.contains(&build), "{}", build);
        }
    }

    /// Any text is a policy or has mistakes, each at a position in it.
    #[test]
    fn any_text_is_a_policy_or_has_mistakes(text in "([\\[\\]a-z.={}\"é0-9-]{0,12}\n|\\[kind.master\\]\n|keep = \"[0-9]{1,22} days\"\n){0,5}") {
        if let Err(error) = PolicyFile::from_toml(&text) {
            prop_assert!(!error.is_empty());
            for mistake in error {
                let at = mistake.at.expect("a place");
                prop_assert!((1..=text.split('\n').count()).contains(&at.line));
            }
        }
    }
}

/// The properties that a text names, in lines that begin with `start`.
fn named<'a>(text: &'a str, start: &'a str) -> BTreeSet<String> {
    let names = text
        .lines()
        .filter_map(|line| line.strip_prefix(start)?.split_once('*'));
    names.map(|(name, _)| name.replace(' ', "_")).collect()
}

/// Every property that the documentation names is a test, and vice versa.
#[test]
fn documented_properties_are_tests() {
    let named = named(include_str!("../lib.rs"), "//! - *");
    let sources = [
        include_str!("properties.rs"),
        include_str!("small_worlds.rs"),
    ];
    let lines = sources.iter().flat_map(|source| source.lines());
    let tested: BTreeSet<String> = lines
        .filter_map(|line| line.trim().strip_prefix("/// *")?.split_once("*:"))
        .map(|(name, _)| name.to_lowercase().replace(' ', "_"))
        .collect();
    assert_eq!(named, tested);
    for name in named {
        let test = format!("fn {name}(");
        assert!(
            sources.iter().any(|source| source.contains(&test)),
            "{name}"
        );
    }
}
