//! A forecast: the future plans of a policy, day by day.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use stx_layout::{
    BuildDate, BuildEntry, BuildId, BuildOutcome, BuildRecord, BuildState, Catalog, Channel,
    ReleaseKind, Sha256,
};

use crate::bytes::recorded;
use crate::{ExpireEntry, Policy, PolicyInputs, SectionEntry, Span, Warning, apply, plan_with};

/// The interval between the builds of a channel, and the bytes that each adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// The time from one build to the next.
    pub every: Span,
    /// The number of bytes that a build adds to the mirror.
    pub bytes: u64,
}

impl Rate {
    /// The bytes that are added per day, on average.
    pub fn bytes_per_day(&self) -> u64 {
        let day = Span::days(1).as_seconds();
        let bytes =
            u128::from(self.bytes) * u128::from(day) / u128::from(self.every.as_seconds().max(1));
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// The future plans of a policy, day by day, and the bytes in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// The days: first today's plan, then each following day.
    pub days: Vec<ForecastDay>,
    /// The largest use of space, and the time at which it is first reached.
    pub high_water: HighWater,
    /// The time at which the disk will be full, if its free space is known and that happens.
    pub full: Option<DateTime<Utc>>,
}

/// One day of a [`Forecast`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForecastDay {
    /// The time of its run.
    pub at: DateTime<Utc>,
    /// The builds that were added since the day before.
    pub added: Vec<BuildId>,
    /// Their bytes.
    pub bytes_added: u64,
    /// The builds that expire.
    pub expire: Vec<ExpireEntry>,
    /// The sections that expire.
    pub sections: Vec<SectionEntry>,
    /// The bytes of both.
    pub bytes_freed: u64,
    /// The bytes in use after their removal.
    pub bytes_used: u64,
    /// The warnings of the run.
    pub warnings: Vec<Warning>,
}

/// The largest use of space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HighWater {
    /// The time at which it is first reached.
    pub at: DateTime<Utc>,
    /// The bytes in use before that day's run frees some.
    pub bytes: u64,
}

/// The time over which the rate of a channel is observed.
const WINDOW: TimeDelta = TimeDelta::days(30);

/// The rates at which channels received builds in the 30 days before `now`.
///
/// Only `master` and features have a cadence; other channels are built on demand. A channel counts if it has at least two builds
/// in that time and has not stopped: a channel has stopped if its last build is older than three of its intervals. A build adds
/// the bytes of the files that the previous build does not have, or all bytes in its record if its files are unknown.
pub fn observe(
    catalog: &Catalog,
    facts: &PolicyInputs,
    now: DateTime<Utc>,
) -> BTreeMap<Channel, Rate> {
    let mut rates = BTreeMap::new();
    for (channel, entry) in &catalog.channels {
        match channel.release.kind() {
            ReleaseKind::Master | ReleaseKind::Feature => {}
            ReleaseKind::Release | ReleaseKind::Milestone | ReleaseKind::Rc => continue,
        }
        let watched: Vec<BuildDate> = entry
            .builds
            .keys()
            .filter(|date| date.time() <= now && now - date.time() < WINDOW)
            .copied()
            .collect();
        let (Some(first), Some(last), count @ 2..) =
            (watched.first(), watched.last(), watched.len() as u64)
        else {
            continue;
        };
        let seconds = (last.time() - first.time()).num_seconds().unsigned_abs() / (count - 1);
        let every = Span::seconds(seconds.max(1));
        if (now - last.time()).num_seconds().unsigned_abs() > 3 * seconds {
            continue;
        }
        let mut before = HashSet::<Sha256>::new();
        let mut bytes = 0_u64;
        for (place, date) in watched.iter().enumerate() {
            let id = BuildId::new(channel.clone(), *date);
            let Some(files) = facts.files.get(&id) else {
                bytes += if place > 0 { recorded(catalog, &id) } else { 0 };
                continue;
            };
            let mut own = HashSet::new();
            for file in files {
                let new = own.insert(file.digest) && !before.contains(&file.digest);
                bytes += if new && place > 0 { file.bytes } else { 0 };
            }
            before = own;
        }
        let bytes = bytes / (count - 1);
        rates.insert(channel.clone(), Rate { every, bytes });
    }
    rates
}

/// The bytes of a mirror; shared bytes count once.
pub fn bytes_used(catalog: &Catalog, facts: &PolicyInputs) -> u64 {
    let mut digests = HashMap::<Sha256, u64>::new();
    for file in facts.files.values().flatten() {
        digests.insert(file.digest, file.bytes);
    }
    let unknown = catalog
        .builds()
        .filter(|(id, _)| !facts.files.contains_key(id))
        .filter_map(|(_, build)| build.record())
        .map(|record| record.bytes);
    unknown.chain(digests.into_values()).sum()
}

/// Runs the policy on `now` and on each of `days` following days, with new builds at `rates`.
///
/// Every new build counts as a success. Day 0 has no new build: `forecast(…, 0, …)` is exactly today's plan. `latest_build` of a
/// channel that has one follows its newest success; other aliases do not move.
pub fn forecast(
    catalog: &Catalog,
    facts: &PolicyInputs,
    policy: &Policy,
    now: DateTime<Utc>,
    days: u32,
    rates: &BTreeMap<Channel, Rate>,
) -> Forecast {
    let mut catalog = catalog.clone();
    let mut facts = facts.clone();
    let mut used = bytes_used(&catalog, &facts);
    let capacity = facts.free.map(|free| used.saturating_add(free));
    let mut high_water = HighWater {
        at: now,
        bytes: used,
    };
    let mut full = None;
    let mut coming = next_builds(&catalog, rates, now);
    let mut out = Vec::new();
    for day in 0..=days {
        let Some(at) = now.checked_add_signed(TimeDelta::days(i64::from(day))) else {
            break;
        };
        let mut added = Vec::new();
        let mut bytes_added = 0_u64;
        for (channel, next, rate) in &mut coming {
            while let Some(time) = next.filter(|time| *time <= at) {
                *next = rate.every.after(time).filter(|after| *after > time);
                let Some(date) = BuildDate::at(time) else {
                    break;
                };
                let id = BuildId::new(channel.clone(), date);
                if add(&mut catalog, &id, rate.bytes) {
                    bytes_added = bytes_added.saturating_add(rate.bytes);
                    facts.free = facts.free.map(|free| free.saturating_sub(rate.bytes));
                    added.push(id);
                }
            }
        }
        added.sort();
        used = used.saturating_add(bytes_added);
        if used > high_water.bytes {
            high_water = HighWater { at, bytes: used };
        }
        if full.is_none() && capacity.is_some_and(|capacity| used > capacity) {
            full = Some(at);
        }
        let plan = plan_with(&catalog, &facts, policy, at);
        apply(&plan, &mut catalog, &mut facts);
        let bytes_freed = plan.bytes_freed();
        used = used.saturating_sub(bytes_freed);
        out.push(ForecastDay {
            at,
            added,
            bytes_added,
            bytes_freed,
            bytes_used: used,
            expire: plan.expire,
            sections: plan.sections,
            warnings: plan.warnings,
        });
    }
    Forecast {
        days: out,
        high_water,
        full,
    }
}

/// The time of each channel's next build: one interval after its last one, and after now.
fn next_builds(
    catalog: &Catalog,
    rates: &BTreeMap<Channel, Rate>,
    now: DateTime<Utc>,
) -> Vec<(Channel, Option<DateTime<Utc>>, Rate)> {
    let rates = rates.iter().filter(|(_, rate)| rate.every.as_seconds() > 0);
    let next = rates.map(|(channel, rate)| {
        let entry = catalog.channels.get(channel);
        let last = entry.and_then(|entry| entry.builds.keys().rfind(|date| date.time() <= now));
        let next = rate.every.after(last.map_or(now, |date| date.time()));
        let soonest = Span::seconds(1).after(now);
        (channel.clone(), next.max(soonest), *rate)
    });
    next.collect()
}

/// Adds a success; returns true if there was no build of its date.
fn add(catalog: &mut Catalog, id: &BuildId, bytes: u64) -> bool {
    let channel = catalog.channels.entry(id.channel.clone()).or_default();
    if channel.builds.contains_key(&id.date) {
        return false;
    }
    let mut record = BuildRecord::new(id.clone(), BuildOutcome::Success);
    record.bytes = bytes;
    let entry = BuildEntry {
        state: BuildState::Known(Box::new(record)),
        keep_file: false,
    };
    channel.builds.insert(id.date, entry);
    let newest = channel.newest_success();
    let latest = channel
        .aliases
        .get_mut(&stx_layout::AliasName::latest_build());
    if let (Some(latest), Some(newest)) = (latest, newest) {
        *latest = stx_layout::AliasEntry::Build(newest);
    }
    true
}
