//! The chart of a channel's last builds: their outcomes and durations.

use std::fmt::Write as _;

use chrono::TimeDelta;
use stx_layout::{BuildOutcome, counted};

use super::{Row, duration, moment};

/// The number of builds in the chart.
const LENGTH: usize = 30;

/// The height of the highest bar.
const HEIGHT: i64 = 60;

/// The height of the bar of a build with an unknown duration.
const LEAST: i64 = 6;

/// The distance from bar to bar, and the width of one.
const STEP: usize = 20;

/// The chart.
pub(super) struct Trend {
    pub(super) bars: Vec<Bar>,
    /// The same in words.
    pub(super) words: String,
}

/// A build in the chart.
pub(super) struct Bar {
    pub(super) x: usize,
    pub(super) y: i64,
    pub(super) height: i64,
    pub(super) class: &'static str,
    /// The build in words.
    pub(super) title: String,
}

impl Trend {
    pub(super) const WIDTH: usize = LENGTH * STEP;
    pub(super) const HEIGHT: i64 = HEIGHT;

    /// The chart of some builds, newest first; `None` for less than two.
    pub(super) fn new(rows: &[Row<'_>]) -> Option<Self> {
        let rows = &rows[..rows.len().min(LENGTH)];
        if rows.len() < 2 {
            return None;
        }
        let longest = rows.iter().map(Row::seconds).max()?.max(1);
        let oldest_first = rows.iter().rev().enumerate();
        let bars = oldest_first.map(|(place, row)| {
            let height = (row.seconds() * HEIGHT / longest).clamp(LEAST, HEIGHT);
            let took = row.took().map(|took| format!(", {took}"));
            Bar {
                x: place * STEP + 2,
                y: HEIGHT - height,
                height,
                class: match row.outcome() {
                    Some(BuildOutcome::Success) => "ok",
                    Some(BuildOutcome::Fail) => "bad",
                    None => "off",
                },
                title: format!(
                    "{}: {}{}",
                    moment(&row.build.date),
                    row.result(),
                    took.unwrap_or_default()
                ),
            }
        });
        Some(Self {
            bars: bars.collect(),
            words: words(rows),
        })
    }
}

fn words(rows: &[Row<'_>]) -> String {
    let ended = |outcome| {
        rows.iter()
            .filter(|row| row.outcome() == Some(outcome))
            .count()
    };
    let mut words = format!(
        "The last {}: {} succeeded, {} failed",
        counted(rows.len(), "build"),
        ended(BuildOutcome::Success),
        ended(BuildOutcome::Fail)
    );
    let mut times: Vec<_> = rows
        .iter()
        .map(Row::seconds)
        .filter(|time| *time > 0)
        .collect();
    times.sort_unstable();
    if let [shortest, .., longest] = times[..] {
        let shown = |seconds| duration(TimeDelta::seconds(seconds));
        let median = times[times.len() / 2];
        // Writing to a string cannot fail.
        let _ = write!(
            words,
            "; they took {} to {}, median {}",
            shown(shortest),
            shown(longest),
            shown(median)
        );
    }
    words + "."
}
