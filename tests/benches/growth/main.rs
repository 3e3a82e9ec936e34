//! Mirrors and build farms that are larger than any in use: `docs/scale.md` has the figures and the conclusions.
//!
//! | part | measures |
//! |---|---|
//! | `mirror` | 1,000 to 100,000 builds in memory: retention, pages, a poll by a downstream mirror over HTTP |
//! | `disk` | the same in a directory: reading the catalog, a publish, links of one file |
//! | `farm` | a day of the service in virtual time, with its ledger and the plans of recipes; nodes only wait |
//!
//! `STX_BENCH_RUNS` is the number of runs of each step, whose median is printed. `STX_BENCH_MIB` leaves out mirrors whose records take
//! more, and large farms. `disk` and the ledger write to `STX_BENCH_DIR`.
#![expect(clippy::print_stdout, reason = "a benchmark prints its tables")]

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use stx_layout::{
    BuildDate, BuildId, BuildOutcome, BuildRecord, Channel, PhaseRecord, PhaseStatus, SourceRecord,
};

#[path = "../common/builds.rs"]
mod builds;
mod disk;
mod farm;
mod mirror;
#[path = "../common/settings.rs"]
mod settings;

use settings::{Settings, median};

/// Builds of each channel.
const EACH: u32 = 100;
/// Channels of the mirrors.
const CHANNELS: [u32; 3] = [10, 100, 1_000];
/// The maximal size of the record of a build in bytes, in memory or as a file.
const RECORD: u64 = 16 << 10;
/// Repositories and phases of a build.
const SOURCES: u32 = 40;
const PHASES: u32 = 15;

fn main() {
    let Some(settings) = Settings::of("growth", 3) else {
        return;
    };
    if settings.dir.exists() {
        fs_err::remove_dir_all(&settings.dir).expect("removed");
    }
    fs_err::create_dir_all(&settings.dir).expect("made");
    mirror::measure(&settings);
    disk::measure(&settings);
    farm::measure(&settings);
    fs_err::remove_dir_all(&settings.dir).expect("removed");
}

/// The numbers of channels and builds of the mirrors that are measured.
fn sizes(settings: &Settings) -> impl Iterator<Item = (u32, u32)> {
    let bytes = settings.bytes;
    let sizes = CHANNELS.iter().map(|channels| (*channels, channels * EACH));
    sizes.filter(move |(_, builds)| u64::from(*builds) * RECORD <= bytes)
}

fn now() -> DateTime<Utc> {
    "2020-06-01T00:00:00Z".parse().expect("a time")
}

fn channel(number: u32) -> Channel {
    format!("feature/f{number}/debian")
        .parse()
        .expect("a channel")
}

/// The build of a channel that is `days` days old.
fn build(channel: u32, days: u32) -> BuildId {
    let date = BuildDate::at(now() - TimeDelta::days(days.into()));
    BuildId::new(self::channel(channel), date.expect("a date"))
}

/// A record as long as that of a real build.
fn record(id: BuildId) -> BuildRecord {
    let source = |number: u32| SourceRecord {
        path: format!("cgcs-root/stx/repository-{number:02}"),
        url: Some(format!(
            "https://opendev.org/starlingx/repository-{number:02}"
        )),
        commit: format!("{:040x}", u128::from(number) * 0x9e37_79b9_7f4a_7c15),
    };
    let at = id.date.time();
    let phase = |number: u32| PhaseRecord {
        name: format!("phase-{number:02}"),
        status: PhaseStatus::Succeeded,
        required: true,
        attempts: 1,
        started: Some(at + TimeDelta::minutes(number.into())),
        finished: Some(at + TimeDelta::minutes((number + 1).into())),
        reason: None,
    };
    BuildRecord {
        branch: Some("master".to_owned()),
        trigger: Some("periodic".to_owned()),
        sources: (0..SOURCES).map(source).collect(),
        phases: (0..PHASES).map(phase).collect(),
        ..BuildRecord::new(id, BuildOutcome::Success)
    }
}

/// Runs a function several times; returns the median of its seconds.
fn seconds<T>(runs: u64, mut run: impl FnMut() -> T) -> f64 {
    let times = (0..runs.max(1)).map(|_| {
        let start = Instant::now();
        let made = run();
        let time = start.elapsed().as_secs_f64();
        drop(made);
        time
    });
    median(times.collect())
}

/// Runs a function; returns its result, and the maximal growth of the process meanwhile, in MiB.
fn peak<T>(run: impl FnOnce() -> T) -> (T, f64) {
    let kib = |name: &str| -> f64 {
        let status = fs_err::read_to_string("/proc/self/status").expect("a status");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.expect("a number")
    };
    // Resets the peak size of the process, VmHWM, to its current size.
    fs_err::write("/proc/self/clear_refs", "5").expect("Linux");
    let before = kib("VmRSS:");
    let made = run();
    (made, (kib("VmHWM:") - before) / 1024.0)
}
