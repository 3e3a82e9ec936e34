//! Plans for a part of a mirror, and the time for which they last.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use proptest::prelude::*;
use stx_layout::{
    After, AliasEntry, AliasName, BuildId, BuildState, Catalog, Channel, ReleaseKind, Sha256,
    Verdict,
};

use super::world::{Made, add, day, id, promote, verdicts};
use crate::{
    Bearing, Decision, Limits, Pin, Policy, PolicyInputs, PrunePlan, Retention, Span, VerdictRules,
    doubt, lasting, plan_with,
};

const CHANNELS: [&str; 5] = [
    "master/centos",
    "milestone/m/centos",
    "release/1/centos",
    "release/1/debian",
    "release/2/centos",
];

/// A mirror, a policy, and the inputs of a decision.
#[derive(Debug, Clone)]
struct World {
    catalog: Catalog,
    facts: PolicyInputs,
    policy: Policy,
}

fn world() -> impl Strategy<Value = World> {
    let made = prop_oneof![
        4 => Just(Made::Success),
        2 => prop::sample::select(&Verdict::ALL[..]).prop_map(Made::Marked),
        2 => Just(Made::Failure),
        1 => Just(Made::Unreadable),
    ];
    let build = (0..CHANNELS.len(), 0_i64..40, made);
    let builds = prop::collection::vec(build, 1..30);
    let pair = || (any::<prop::sample::Index>(), any::<prop::sample::Index>());
    let layers = prop::collection::vec(pair(), 0..4);
    let promoted = prop::collection::vec((any::<prop::sample::Index>(), 0_i64..50), 0..3);
    let pins = prop::collection::vec((any::<prop::sample::Index>(), 0_i64..60), 0..3);
    let unclear = prop::option::weighted(0.2, pair());
    let percent = prop::option::of(prop::sample::select(&[1, 20, 50][..]));
    let rules = (1_u32..20, 0_u32..3, percent, any::<bool>());
    (builds, layers, promoted, pins, unclear, rules).prop_map(
        |(builds, layers, promoted, pins, unclear, (age, newest, percent, silent))| {
            let mut catalog = Catalog::default();
            for (channel, days, made) in &builds {
                add(&mut catalog, CHANNELS[*channel], *days, *made);
            }
            let of = |index: prop::sample::Index| {
                let (channel, days, _) = index.get(&builds);
                id(CHANNELS[*channel], *days)
            };
            for (upper, lower) in layers {
                let (upper, lower) = (of(upper), of(lower));
                let entry = catalog.channels.get_mut(&upper.channel).expect("a channel");
                let build = entry.builds.get_mut(&upper.date).expect("a build");
                if let BuildState::Known(record) = &mut build.state {
                    record.after = Some(After {
                        build: lower,
                        sums: Sha256([0; 32]),
                    });
                }
            }
            for (build, days) in promoted {
                let build = of(build);
                if catalog
                    .build(&build)
                    .is_some_and(|it| it.record().is_some())
                {
                    promote(&mut catalog, &build, days);
                }
            }
            if let Some((holder, named)) = unclear {
                let entry = catalog.channels.get_mut(&of(holder).channel);
                let text = AliasEntry::Other(format!("../{}", of(named).date));
                let alias = AliasName::latest_build();
                entry.expect("a channel").aliases.insert(alias, text);
            }
            let pins = pins.into_iter().map(|(build, until)| Pin {
                build: of(build),
                reason: "why".to_owned(),
                author: "who".to_owned(),
                until: Some(day(until)),
            });
            let marked = builds.iter();
            let marked = marked.map(|(channel, days, made)| (CHANNELS[*channel], *days, *made));
            let facts = PolicyInputs {
                pins: pins.collect(),
                verdicts: verdicts(marked),
                ..PolicyInputs::default()
            };
            let mut policy = Policy {
                limits: percent.map_or(Limits::NONE, |percent| Limits {
                    percent,
                    ..Limits::default()
                }),
                ..Policy::default()
            };
            if silent && percent.is_some() {
                policy.limits.silence = Some(Span::days(age));
            }
            for kind in ReleaseKind::ALL {
                policy.kinds.get_mut(kind).verdicts = VerdictRules {
                    green: Some(Retention::For(Span::days(age + 5))),
                    ..VerdictRules::default()
                };
            }
            policy.kinds.get_mut(ReleaseKind::Master).keep = Retention::For(Span::days(age));
            policy.kinds.get_mut(ReleaseKind::Master).newest = newest;
            World {
                catalog,
                facts,
                policy,
            }
        },
    )
}

fn decisions(plan: &PrunePlan, channel: &Channel) -> Vec<(BuildId, Decision)> {
    let all = plan.decisions().into_iter();
    let own = all.filter(|(build, _)| build.channel == *channel);
    own.map(|(build, decision)| (build.clone(), decision))
        .collect()
}

proptest! {
    /// With the facts of the channels that are left out, the builds of the others are judged as in the whole mirror.
    #[test]
    fn a_single_channel_is_judged_as_in_the_whole_mirror(world in world(), parts: u8, now in 0_i64..70) {
        let now = day(now);
        let whole = plan_with(&world.catalog, &world.facts, &world.policy, now);
        let (mut part, mut facts) = (world.catalog.clone(), world.facts.clone());
        for (place, name) in CHANNELS.iter().enumerate() {
            let channel: Channel = name.parse().expect("a channel");
            if parts >> place & 1 == 1 && let Some(entry) = part.channels.remove(&channel) {
                facts.elsewhere.insert(channel.clone(), Bearing::of(&channel, &entry, now));
            }
        }
        let plan = plan_with(&part, &facts, &world.policy, now);
        for channel in part.channels.keys() {
            prop_assert_eq!(decisions(&plan, channel), decisions(&whole, channel));
        }
        let (part, whole) = (lasting(&plan, &part), lasting(&whole, &world.catalog));
        for (channel, until) in part {
            prop_assert_eq!(whole.get(&channel), Some(&until));
        }
    }

    /// Until the returned time, neither the decisions and bearings of a channel nor the release days change.
    #[test]
    fn a_decision_is_valid_until_its_stated_end(world in world(), now in 0_i64..70, hours in 0_i64..400) {
        let (now, later) = (day(now), day(now) + TimeDelta::hours(hours));
        let World { catalog, facts, policy } = world;
        let plan = plan_with(&catalog, &facts, &policy, now);
        let then = plan_with(&catalog, &facts, &policy, later);
        let bearings = |at| -> BTreeMap<_, _> {
            let all = catalog.channels.iter();
            all.map(|(channel, entry)| (channel.clone(), Bearing::of(channel, entry, at))).collect()
        };
        let until = lasting(&plan, &catalog);
        let is_over = |channel: &Channel| until.get(channel).is_some_and(|until| *until <= later);
        let of_releases = catalog.channels.keys();
        let mut of_releases = of_releases.filter(|it| it.release.kind() == ReleaseKind::Release);
        let doubted = |at| doubt(&bearings(at), &policy, at).is_some();
        if doubted(now) || doubted(later) || of_releases.any(is_over) {
            return Ok(());
        }
        for channel in catalog.channels.keys().filter(|channel| !is_over(channel)) {
            prop_assert_eq!(decisions(&plan, channel), decisions(&then, channel));
            prop_assert_eq!(&bearings(now)[channel], &bearings(later)[channel]);
        }
    }
}
