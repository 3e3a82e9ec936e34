//! The time to make a plan: 100,000 builds in 100 channels take less than 100 ms on one core.

use chrono::{DateTime, TimeDelta, Utc};
use stx_layout::{
    BuildDate, BuildEntry, BuildId, BuildOutcome, BuildRecord, BuildState, Catalog, Channel,
    ChannelEntry,
};
use stx_retention::{Limits, Policy, plan};

fn main() {
    divan::main();
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).expect("a time")
}

/// A hundred channels of all kinds, each with `builds` daily builds; every seventh failed.
fn mirror(builds: u32) -> Catalog {
    let mut catalog = Catalog::default();
    for number in 0..100 {
        let kind = ["feature", "release", "milestone", "rc", "feature"][number % 5];
        let text = format!("{kind}/{number}/debian");
        let channel: Channel = text.parse().expect("a channel");
        let mut entry = ChannelEntry::default();
        for day in 0..builds / 100 {
            let time = now() - TimeDelta::days(i64::from(day));
            let date = BuildDate::at(time).expect("a date");
            let outcome = if day % 7 == 3 {
                BuildOutcome::Fail
            } else {
                BuildOutcome::Success
            };
            let record = BuildRecord::new(BuildId::new(channel.clone(), date), outcome);
            let build = BuildEntry {
                state: BuildState::Known(Box::new(record)),
                keep_file: false,
            };
            entry.builds.insert(date, build);
        }
        catalog.channels.insert(channel, entry);
    }
    catalog
}

#[divan::bench(args = [1_000, 10_000, 100_000])]
fn builds(bencher: divan::Bencher<'_, '_>, builds: u32) {
    let catalog = mirror(builds);
    let policy = Policy {
        limits: Limits::NONE,
        ..Policy::default()
    };
    bencher.bench_local(|| plan(divan::black_box(&catalog), &policy, now()));
}
