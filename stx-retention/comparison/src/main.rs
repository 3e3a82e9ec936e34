//! The same hundred channels of a thousand daily builds each, under the same rules, decided by `stx-retention` and by
//! `rustic_core`'s `forget`: keep 14 days, and the two newest.
//!
//! Both decide on all of them and say why. Prints the median of each and the ratio, and fails where that is above 1.

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

/// How long a call takes, with what it returns dropped inside of the measured time, and how many builds go.
fn timed(run: impl FnOnce() -> usize) -> (Duration, usize) {
    let start = Instant::now();
    let count = run();
    (start.elapsed(), count)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn main() -> ExitCode {
    let catalog = mirror();
    let policy = Policy {
        limits: Limits::NONE,
        ..Policy::default()
    };
    let now = DateTime::from_timestamp(NOW, 0).expect("a time");
    let groups = groups();
    let keep = KeepOptions::default()
        .keep_last(2)
        .keep_within(jiff::Span::new().days(14));
    let their_now = time(NOW);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // One after the other, so that both meet the same machine.
    for _ in 0..RUNS {
        let (took, we) = timed(|| plan(&catalog, &policy, now).expire.len());
        ours.push(took);
        let input = groups.clone();
        let (took, they) = timed(|| {
            let decided = input.into_iter().map(|group| {
                let decided = keep.apply(group, &their_now).expect("valid options");
                decided.iter().filter(|snapshot| !snapshot.keep).count()
            });
            decided.sum()
        });
        theirs.push(took);
        assert_eq!(we, they, "both decide the same");
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("stx-retention {ours:?}, rustic_core {theirs:?}, ratio {ratio:.2}");
    if ratio <= 1.0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
