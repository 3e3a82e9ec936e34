//! The state as metrics, in the text format of Prometheus that its node exporter reads from files.
//!
//! Counters are sums over the whole ledger ([`Totals`]), so that a restart does not reset them. The ledger does not hold the
//! builds that retention removed: [`Prunes`] continues from the last written text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write as _};

use chrono::{DateTime, TimeDelta, Utc};
use stx_layout::{BuildOutcome, Channel};

use super::{Facts, Pruned};
use crate::ledger::{AlarmKind, Alarms, Filed, RunEnd, RunRow, State};

/// The upper bounds of the buckets of durations, in seconds: from a minute to a day.
const BOUNDS: [i64; 10] = [
    60, 300, 900, 1800, 3600, 7200, 14_400, 28_800, 57_600, 86_400,
];

/// Durations, as a histogram.
#[derive(Debug, Clone, Default)]
struct Durations {
    /// The number of durations that are at most as long as each bound.
    buckets: [u64; BOUNDS.len()],
    count: u64,
    seconds: i64,
}

impl Durations {
    fn add(&mut self, span: TimeDelta) {
        // Not negative, even if the clock was put back.
        let seconds = span.num_seconds().max(0);
        for (bucket, bound) in self.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
        self.count += 1;
        self.seconds = self.seconds.saturating_add(seconds);
    }
}

/// Sums over the runs of a ledger.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// The runs that were counted.
    counted: BTreeSet<u64>,
    runs: BTreeMap<(Channel, &'static str), u64>,
    builds: BTreeMap<Channel, Durations>,
    phases: BTreeMap<(Channel, String), Durations>,
    waits: BTreeMap<Channel, Durations>,
}

impl Totals {
    /// Adds the runs that have ended since the last call; each run counts once.
    pub fn add(&mut self, history: &[Filed]) {
        for filed in history {
            for (place, run) in filed.runs.iter().enumerate() {
                if run.end.is_some() && self.counted.insert(run.id) {
                    self.add_run(filed, run, place == 0);
                }
            }
        }
    }

    fn add_run(&mut self, filed: &Filed, run: &RunRow, first: bool) {
        let Some(end) = &run.end else {
            return;
        };
        let channel = &filed.request.target.channel;
        let result = match &end.how {
            RunEnd::Published {
                result: BuildOutcome::Success,
                ..
            } => "success",
            RunEnd::Published {
                result: BuildOutcome::Fail,
                ..
            } => "fail",
            RunEnd::Unchanged { .. } => "unchanged",
            RunEnd::Refused { .. } => "not-published",
            RunEnd::Cancelled => "cancelled",
            RunEnd::Requeued { .. } => "requeued",
        };
        *self.runs.entry((channel.clone(), result)).or_default() += 1;
        if matches!(end.how, RunEnd::Published { .. }) {
            let builds = self.builds.entry(channel.clone()).or_default();
            builds.add(end.at - run.started);
            for phase in &run.phases {
                if let Some(finished) = phase.finished {
                    let key = (channel.clone(), phase.name.clone());
                    let phases = self.phases.entry(key).or_default();
                    phases.add(finished - phase.started);
                }
            }
        }
        if let Some(reason) = filed.request.reasons.first().filter(|_| first) {
            let waits = self.waits.entry(channel.clone()).or_default();
            waits.add(run.started - reason.at);
        }
    }
}

/// Builds and bytes that retention removed since the metrics were first written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prunes {
    /// The number of times that retention was applied.
    pub runs: u64,
    /// The number of times that it failed, as a whole or in a step.
    pub failures: u64,
    /// The builds that it moved to the trash.
    pub retired: u64,
    /// The builds that it deleted.
    pub purged: u64,
    /// The bytes that only the builds in the trash held, which purging them frees.
    pub bytes: u64,
    /// The time of the last application, in seconds since 1970.
    pub last: i64,
}

impl Prunes {
    /// Adds a run.
    pub fn add(&mut self, pruned: &Result<Pruned, String>, at: DateTime<Utc>) {
        self.runs += 1;
        self.last = at.timestamp();
        match pruned {
            Ok(pruned) => {
                self.failures += u64::from(pruned.failed);
                self.retired += pruned.retired;
                self.purged += pruned.purged;
                self.bytes = self.bytes.saturating_add(pruned.bytes);
            }
            Err(_) => self.failures += 1,
        }
    }

    /// The values of an earlier text; zero where it has none.
    pub fn read(text: &str) -> Self {
        let value = |name: &str| {
            let name = format!("stx_builds_{name}");
            let mut values = text.lines().filter_map(|line| line.split_once(' '));
            let value = values.find(|(of, _)| *of == name);
            value.and_then(|(_, value)| value.parse::<u64>().ok())
        };
        let value = |name| value(name).unwrap_or(0);
        Self {
            runs: value("prunes_total"),
            failures: value("prune_failures_total"),
            retired: value("retired_builds_total"),
            purged: value("purged_builds_total"),
            bytes: value("retired_bytes_total"),
            last: i64::try_from(value("last_prune_timestamp_seconds")).unwrap_or(0),
        }
    }

    fn write(&self, page: &mut Page) {
        let counters = [
            (
                "prunes_total",
                "Number of times that retention was applied.",
                self.runs,
            ),
            (
                "prune_failures_total",
                "Number of times that applying retention failed.",
                self.failures,
            ),
            (
                "retired_builds_total",
                "Builds that retention moved to the trash.",
                self.retired,
            ),
            (
                "purged_builds_total",
                "Builds that retention deleted.",
                self.purged,
            ),
            (
                "retired_bytes_total",
                "Bytes freed by deleting the builds that retention moved to the trash.",
                self.bytes,
            ),
        ];
        for (name, help, value) in counters {
            page.family(name, "counter", help);
            page.value(name, &[], value);
        }
        let last = "last_prune_timestamp_seconds";
        page.family(last, "gauge", "Time at which retention was last applied.");
        page.value(last, &[], self.last);
    }
}

/// The metrics text. `alarms` are those of the state, and one that the state may lack because it cannot be recorded.
///
/// `stx_builds_pulse_seconds` tells the age of the text.
pub fn metrics(
    state: &State,
    alarms: &Alarms,
    facts: &Facts,
    totals: &Totals,
    prunes: &Prunes,
    now: DateTime<Utc>,
) -> String {
    let mut page = Page(String::new());
    page.family(
        "pulse_seconds",
        "gauge",
        "Time at which the service last wrote these metrics.",
    );
    page.value("pulse_seconds", &[], now.timestamp());
    page.family("queue_length", "gauge", "Waiting requests.");
    page.value("queue_length", &[], state.queue.len());
    page.family("running", "gauge", "Running builds.");
    page.value("running", &[], state.runs.len());
    page.family("alarm", "gauge", "1 while the alarm is raised.");
    for kind in AlarmKind::ALL {
        let of_kind = alarms.keys().filter(|alarm| alarm.kind == kind);
        let subjects: Vec<_> = of_kind.map(|alarm| alarm.subject.as_str()).collect();
        if subjects.is_empty() {
            page.value("alarm", &[("kind", kind.as_str()), ("subject", "")], 0);
        }
        for subject in subjects {
            page.value("alarm", &[("kind", kind.as_str()), ("subject", subject)], 1);
        }
    }
    page.family(
        "last_success_seconds",
        "gauge",
        "Time at which the channel was last known to be good.",
    );
    for (channel, last) in &state.last {
        if let Some(good) = last.good {
            let channel = channel.to_string();
            page.value(
                "last_success_seconds",
                &[("channel", &channel)],
                good.timestamp(),
            );
        }
    }
    page.family(
        "last_build_failed",
        "gauge",
        "1 if the channel's newest build failed.",
    );
    for (channel, last) in &state.last {
        if let Some(result) = last.result {
            let failed = u8::from(result == BuildOutcome::Fail);
            let channel = channel.to_string();
            page.value("last_build_failed", &[("channel", &channel)], failed);
        }
    }
    page.family("free_bytes", "gauge", "Free space.");
    for disk in &facts.disks {
        page.value("free_bytes", &[("dir", &disk.dir)], disk.free);
    }
    totals.write(&mut page);
    prunes.write(&mut page);
    page.0
}

impl Totals {
    fn write(&self, page: &mut Page) {
        page.family("runs_total", "counter", "Runs that have ended, by result.");
        for ((channel, result), count) in &self.runs {
            let labels = [("channel", &*channel.to_string()), ("result", result)];
            page.value("runs_total", &labels, count);
        }
        page.family(
            "build_duration_seconds",
            "histogram",
            "Durations of published builds.",
        );
        for (channel, durations) in &self.builds {
            let labels = [("channel", &*channel.to_string())];
            page.histogram("build_duration_seconds", &labels, durations);
        }
        page.family(
            "phase_duration_seconds",
            "histogram",
            "Durations of the phases of published builds.",
        );
        for ((channel, phase), durations) in &self.phases {
            let labels = [("channel", &*channel.to_string()), ("phase", phase)];
            page.histogram("phase_duration_seconds", &labels, durations);
        }
        page.family(
            "queue_wait_seconds",
            "histogram",
            "Waiting times of requests until their first run.",
        );
        for (channel, durations) in &self.waits {
            let labels = [("channel", &*channel.to_string())];
            page.histogram("queue_wait_seconds", &labels, durations);
        }
    }
}

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(
            self.0,
            "# HELP stx_builds_{name} {help}\n# TYPE stx_builds_{name} {kind}"
        )
        .expect("a text takes every write");
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], of: &Durations) {
        let bucket = format!("{name}_bucket");
        let bounds = BOUNDS.iter().map(ToString::to_string);
        let buckets = bounds.zip(of.buckets);
        for (bound, count) in buckets.chain([("+Inf".to_owned(), of.count)]) {
            let labels: Vec<_> = labels.iter().copied().chain([("le", &*bound)]).collect();
            self.value(&bucket, &labels, count);
        }
        self.value(&format!("{name}_sum"), labels, of.seconds);
        self.value(&format!("{name}_count"), labels, of.count);
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| {
                let value = value
                    .replace('\\', r"\\")
                    .replace('"', "\\\"")
                    .replace('\n', "\\n");
                format!("{name}=\"{value}\"")
            })
            .collect();
        let labels = match labels.as_slice() {
            [] => String::new(),
            labels => format!("{{{}}}", labels.join(",")),
        };
        writeln!(self.0, "stx_builds_{name}{labels} {value}").expect("a text takes every write");
    }
}
