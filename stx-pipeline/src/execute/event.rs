//! Events of a running build.

use chrono::{DateTime, Utc};
use serde::Serialize;
use stx_layout::PhaseStatus;

/// An event of a phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// The time of the event.
    pub time: DateTime<Utc>,
    /// The phase.
    pub phase: String,
    /// The kind of event, with its details.
    #[serde(flatten)]
    pub what: EventKind,
}

/// The kind of an event, with its details.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventKind {
    /// An attempt started.
    Started {
        /// The number of the attempt, from 1.
        attempt: u32,
        /// The command, quoted for a shell.
        command: String,
    },
    /// A line of output.
    Output {
        /// The stream that it was written to.
        stream: Stream,
        /// The line, without its line ending.
        text: String,
    },
    /// An attempt failed.
    AttemptFailed {
        /// The number of the attempt, from 1.
        attempt: u32,
        /// The reason, in one line.
        reason: String,
        /// True if another attempt follows.
        again: bool,
    },
    /// The phase is over.
    Finished {
        /// The result of the phase.
        status: PhaseStatus,
        /// The number of attempts.
        attempts: u32,
    },
    /// The phase is not started at all.
    Skipped {
        /// The reason, in one line.
        reason: String,
    },
}

/// The stream of a line of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Either of both: they share one pipe, which keeps their order.
    Merged,
}
