//! Events of a running build.

use chrono::{DateTime, Utc};
use serde::Serialize;
use stx_layout::PhaseStatus;

/// Something that happened to a phase.
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
        /// Which, from 1.
        attempt: u32,
        /// The command, quoted for a shell.
        command: String,
    },
    /// A line of output.
    Output {
        /// Where it was written.
        stream: Stream,
        /// The line, without its end.
        text: String,
    },
    /// An attempt failed.
    AttemptFailed {
        /// Which, from 1.
        attempt: u32,
        /// Why, in a line.
        reason: String,
        /// Whether another one follows.
        again: bool,
    },
    /// The phase is over.
    Finished {
        /// How it ended.
        status: PhaseStatus,
        /// How often it was started.
        attempts: u32,
    },
    /// The phase is not started at all.
    Skipped {
        /// Why, in a line.
        reason: String,
    },
}

/// Where a line of output was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// One of both: they go through one pipe, so that their order is kept.
    Merged,
}
