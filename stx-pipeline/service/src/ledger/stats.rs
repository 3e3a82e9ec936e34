//! The durations of builds and their phases, and their trends.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use stx_layout::{BuildId, PhaseStatus};

use super::{Filed, RunEnd, RunRow};

/// The durations of one phase or of the whole, over the last builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Series {
    /// The phase; `total` for the whole build, from its start to its publication.
    pub name: String,
    /// Seconds, oldest build first; `None` if the phase did not complete or did not succeed.
    pub seconds: Vec<Option<i64>>,
    /// The median of the known durations.
    pub median: Option<i64>,
    /// The difference of the newest from the median of those before it, in percent; absent with fewer than three.
    pub trend_percent: Option<i64>,
}

/// The durations of a channel's last builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// The builds, oldest first.
    pub builds: Vec<BuildId>,
    /// The times at which they ended.
    pub ended: Vec<DateTime<Utc>>,
    /// The whole build, then each phase in the order in which it started.
    pub series: Vec<Series>,
}

/// The durations of the newest `count` published builds in a history, which is newest first.
pub fn stats(history: &[Filed], count: usize) -> Stats {
    let mut runs: Vec<_> = history
        .iter()
        .flat_map(|filed| filed.runs.iter().rev())
        .filter_map(published)
        .take(count)
        .collect();
    runs.reverse();
    let mut names: Vec<&str> = Vec::new();
    for (run, ..) in &runs {
        for phase in &run.phases {
            if !names.contains(&phase.name.as_str()) {
                names.push(&phase.name);
            }
        }
    }
    let total = runs
        .iter()
        .map(|(run, _, ended)| Some(seconds(*ended - run.started)))
        .collect();
    let phases = names.into_iter().map(|name| {
        let of = |run: &RunRow| {
            let phase = run.phases.iter().find(|phase| phase.name == name)?;
            let good = phase.status == Some(PhaseStatus::Succeeded);
            good.then_some(seconds(phase.finished? - phase.started))
        };
        series(name, runs.iter().map(|(run, ..)| of(run)).collect())
    });
    Stats {
        builds: runs.iter().map(|(_, build, _)| (*build).clone()).collect(),
        ended: runs.iter().map(|(.., ended)| *ended).collect(),
        series: std::iter::once(series("total", total))
            .chain(phases)
            .collect(),
    }
}

fn published(run: &RunRow) -> Option<(&RunRow, &BuildId, DateTime<Utc>)> {
    let end = run.end.as_ref()?;
    match end.how {
        RunEnd::Published { .. } => Some((run, run.build.as_ref()?, end.at)),
        RunEnd::Unchanged { .. }
        | RunEnd::Refused { .. }
        | RunEnd::Cancelled
        | RunEnd::Requeued { .. } => None,
    }
}

/// Whole seconds; never negative, even if the clock was put back.
fn seconds(span: TimeDelta) -> i64 {
    span.num_seconds().max(0)
}

fn series(name: &str, seconds: Vec<Option<i64>>) -> Series {
    let known: Vec<_> = seconds.iter().flatten().copied().collect();
    let trend_percent = match known.split_last() {
        Some((newest, before)) if before.len() >= 2 => median(before)
            .filter(|base| *base > 0)
            .map(|base| newest * 100 / base - 100),
        _ => None,
    };
    Series {
        name: name.to_owned(),
        median: median(&known),
        seconds,
        trend_percent,
    }
}

fn median(values: &[i64]) -> Option<i64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

/// A line of bars, one per value; the longest has full height. `·` stands for a missing value.
///
/// ```
/// # use stx_service::ledger::stats::sparkline;
/// assert_eq!(sparkline(&[Some(10), None, Some(70), Some(140)]), "▁·▄█");
/// ```
pub fn sparkline(values: &[Option<i64>]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let highest = values.iter().flatten().copied().max().unwrap_or(0).max(1);
    let bar = |value: i64| {
        let steps = (value.max(0) * 8 + highest - 1) / highest;
        BARS[usize::try_from(steps.clamp(1, 8) - 1).unwrap_or(0)]
    };
    values.iter().map(|value| value.map_or('·', bar)).collect()
}
