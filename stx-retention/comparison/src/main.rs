//! The same hundred channels of a thousand daily builds each, under the same rules, decided by `stx-retention` and by
//! `rustic_core`'s `forget`: keep 14 days, and the two newest.
//!
//! Both decide on all of them and say why; `stx-retention` also takes the digest of what it saw. Prints the median of
//! each and the ratio, and fails where that is above 1.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use rustic_core::KeepOptions;
use rustic_core::repofile::SnapshotFile;
use stx_layout::{
    BuildDate, BuildEntry, BuildId, BuildOutcome, BuildRecord, BuildState, Catalog, Channel,
};
use stx_retention::{Limits, Policy, plan};

const CHANNELS: usize = 100;
const BUILDS: i64 = 1000;
const NOW: i64 = 1_700_000_000;
const RUNS: usize = 21;

fn mirror() -> Catalog {
    let now = DateTime::<Utc>::from_timestamp(NOW, 0).expect("a time");
    let mut catalog = Catalog::default();
    for number in 0..CHANNELS {
        let channel: Channel = format!("feature/{number}/debian")
            .parse()
            .expect("a channel");
        let entry = catalog.channels.entry(channel.clone()).or_default();
        for day in 0..BUILDS {
            let date = BuildDate::at(now - TimeDelta::days(day)).expect("a date");
            let id = BuildId::new(channel.clone(), date);
            let record = BuildRecord::new(id, BuildOutcome::Success);
            let state = BuildState::Known(Box::new(record));
            let build = BuildEntry {
                state,
                keep_file: false,
            };
            entry.builds.insert(date, build);
        }
    }
    catalog
}

fn time(second: i64) -> jiff::Zoned {
    let time = jiff::Timestamp::from_second(second).expect("a time");
    time.to_zoned(jiff::tz::TimeZone::UTC)
}

fn groups() -> Vec<Vec<SnapshotFile>> {
    let group = |number: usize| -> Vec<SnapshotFile> {
        let snapshot = |day: i64| {
            let mut snapshot = SnapshotFile::default();
            snapshot.time = time(NOW - day * 86_400);
            snapshot.hostname = format!("feature/{number}/debian");
            snapshot
        };
        (0..BUILDS).map(snapshot).collect()
    };
    (0..CHANNELS).map(group).collect()
}

/// The median of some runs, and how many builds go in each.
fn median<I>(mut input: impl FnMut() -> I, mut run: impl FnMut(I) -> usize) -> (Duration, usize) {
    let mut times = Vec::new();
    let mut count = 0;
    for _ in 0..RUNS {
        let input = input();
        let start = Instant::now();
        count = run(input);
        times.push(start.elapsed());
    }
    times.sort();
    (times[RUNS / 2], count)
}

fn main() -> ExitCode {
    let catalog = mirror();
    let policy = Policy {
        limits: Limits::NONE,
        ..Policy::default()
    };
    let now = DateTime::from_timestamp(NOW, 0).expect("a time");
    // What is returned is dropped inside of the measured time on both sides.
    let (ours, we) = median(|| (), |()| plan(&catalog, &policy, now).expire.len());

    let groups = groups();
    let keep = KeepOptions::default()
        .keep_last(2)
        .keep_within(jiff::Span::new().days(14));
    let now = time(NOW);
    let (theirs, they) = median(
        || groups.clone(),
        |groups| {
            let decided = groups.into_iter().map(|group| {
                let decided = keep.apply(group, &now).expect("valid options");
                decided.iter().filter(|snapshot| !snapshot.keep).count()
            });
            decided.sum()
        },
    );
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!(
        "stx-retention {ours:?} ({we} go), rustic_core {theirs:?} ({they} go), ratio {ratio:.2}"
    );
    if ratio <= 1.0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
