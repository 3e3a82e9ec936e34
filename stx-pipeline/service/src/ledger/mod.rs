//! The service's memory: requests, runs, what was last seen and built, and why.
//!
//! Everything that happens is a [`Change`]; [`State::apply`] says what a change means, and every ledger keeps to it.
//! Requests and runs that have ended leave the state and stay in the history.

mod history;
mod memory;
#[cfg(feature = "sqlite")]
mod sqlite;
mod state;
pub mod stats;
mod verdict;

#[cfg(test)]
mod conformance;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use stx_layout::{BuildId, BuildOutcome, Channel, PhaseStatus, SourceRecord, VerdictEntry};

pub use memory::MemoryLedger;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteLedger;
pub use state::{Alarms, Done, Last, State};
pub use verdict::{EndedVerdict, FiledVerdict, VerdictEnd, VerdictOrigin, VerdictRequest};

use crate::trigger::{Cause, Mark, Reason, Target};

/// A build that somebody or something asked for. Numbers are never used twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its number.
    pub id: u64,
    /// The branch or tag to build, and its channel.
    #[serde(flatten)]
    pub target: Target,
    /// Whether it is built although nothing changed.
    pub force: bool,
    /// Whether sources that failed to build are built again.
    pub retry_failed: bool,
    /// The reasons for the request, oldest first; never empty. After the first [`REASONS`](Self::REASONS) they are only
    /// counted.
    pub reasons: Vec<Reason>,
    /// How many further reasons there were.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_reasons: u64,
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

impl Request {
    /// How many reasons are kept. Whoever may ask for builds can ask as often as they like, and all of it ends up in a
    /// public record.
    pub const REASONS: usize = 20;

    /// Takes one more reason.
    pub(crate) fn join(&mut self, reason: Reason) {
        if self.reasons.len() < Self::REASONS {
            self.reasons.push(reason);
            return;
        }
        self.more_reasons += 1;
        // Alarms go by the commits that wait: people who ask often must not hide them.
        let asked = |reason: &Reason| match reason.cause {
            Cause::Manual { .. } => true,
            Cause::Periodic { .. } | Cause::Commit { .. } | Cause::After { .. } => false,
        };
        if !asked(&reason)
            && self.reasons.iter().all(asked)
            && let Some(last) = self.reasons.last_mut()
        {
            *last = reason;
        }
    }

    /// Whether nobody and nothing but this user is known to have asked for it.
    pub fn is_of(&self, user: u32) -> bool {
        let theirs = |reason: &Reason| match reason.cause {
            Cause::Manual { uid, .. } => uid == user,
            Cause::Periodic { .. } | Cause::Commit { .. } | Cause::After { .. } => false,
        };
        self.more_reasons == 0 && self.reasons.iter().all(theirs)
    }
}

/// How a request ended that no run took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "closed", rename_all = "kebab-case")]
pub enum Closed {
    /// Somebody took it back.
    Cancelled {
        /// Their user id.
        uid: u32,
    },
    /// There was nothing to build.
    Skipped {
        /// The reason, as a text for people.
        why: String,
    },
}

/// A phase of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseRun {
    /// Its name.
    pub name: String,
    /// How often it was started.
    pub attempts: u32,
    /// When its first attempt started.
    pub started: DateTime<Utc>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<DateTime<Utc>>,
    /// The result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<PhaseStatus>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum RunEnd {
    /// A build was published.
    Published {
        /// The result.
        result: BuildOutcome,
        /// Why it failed, in a line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The commits that it was built from.
        sources: Vec<SourceRecord>,
    },
    /// Nothing had changed.
    Unchanged {
        /// Since this build.
        since: BuildId,
        /// How that one ended, where it is known; sources that failed to build may not be built again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<BuildOutcome>,
        /// The reason, in a line, if it counts as unchanged in spite of new commits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// Nothing could be built or published.
    Refused {
        /// Why, in a line.
        reason: String,
    },
    /// Somebody ended it.
    Cancelled,
    /// It gave its request back, to be run again.
    Requeued {
        /// Why, in a line.
        reason: String,
    },
}

/// The reason why new commits count as no change, as a text for people.
pub const LEFT_OUT: &str = "only files changed that `paths` leaves out";

/// A request on its way, or its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its number.
    pub id: u64,
    /// The request that it serves, with the reasons that there were when it started.
    pub request: Request,
    /// When it started.
    pub started: DateTime<Utc>,
    /// The build, once it has its date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildId>,
    /// How often it was interrupted and goes on.
    pub interruptions: u32,
    /// The phases so far, in the order in which they started.
    pub phases: Vec<PhaseRun>,
    /// When and how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Ended>,
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The time of the event.
    pub at: DateTime<Utc>,
    /// The way it ended.
    #[serde(flatten)]
    pub how: RunEnd,
}

/// The kind of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlarmKind {
    /// Something is to be built, for too long.
    NotBuilt,
    /// The last run could not publish.
    NotPublished,
    /// The newest success is not what `latest_build` shows.
    NotAliased,
    /// `latest_build` is older than its cadence.
    Stale,
    /// A disk gets full.
    DiskFilling,
    /// A trigger can not fire.
    NeverFires,
    /// Retention keeps builds that are due, because removing them seemed wrong.
    PruneBlocked,
}

impl AlarmKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::NotBuilt,
        Self::NotPublished,
        Self::NotAliased,
        Self::Stale,
        Self::DiskFilling,
        Self::NeverFires,
        Self::PruneBlocked,
    ];

    /// The word that JSON and metrics have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotBuilt => "not-built",
            Self::NotPublished => "not-published",
            Self::NotAliased => "not-aliased",
            Self::Stale => "stale",
            Self::DiskFilling => "disk-filling",
            Self::NeverFires => "never-fires",
            Self::PruneBlocked => "prune-blocked",
        }
    }
}

/// An alarm: its kind, and the channel, watch or disk that it is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Alarm {
    /// Its kind.
    pub kind: AlarmKind,
    /// The channel, directory or trigger that it is about.
    pub subject: String,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A watch has a new mark.
    Marked {
        /// The watch.
        key: String,
        /// The new mark.
        mark: Mark,
    },
    /// A request was filed.
    Requested(Request),
    /// A request that waits has one more reason.
    Joined {
        /// The number of the request.
        request: u64,
        /// The reason.
        reason: Reason,
        /// Whether this reason wants it built although nothing changed.
        force: bool,
        /// Whether this reason wants failed sources built again.
        retry_failed: bool,
    },
    /// A request ended without a run.
    Closed {
        /// The number of the request.
        request: u64,
        /// The time of the event.
        at: DateTime<Utc>,
        /// The way it ended.
        how: Closed,
    },
    /// A run took a request.
    Started {
        /// The run.
        run: u64,
        /// The number of the request.
        request: u64,
        /// The time of the event.
        at: DateTime<Utc>,
    },
    /// A run has a build now.
    Named {
        /// The run.
        run: u64,
        /// The build.
        build: BuildId,
    },
    /// A phase of a run is so.
    Phase {
        /// The run.
        run: u64,
        /// The phase, by name.
        phase: PhaseRun,
    },
    /// A run was cut off, and goes on later.
    Interrupted {
        /// The run.
        run: u64,
    },
    /// A run ended.
    Ended {
        /// The run.
        run: u64,
        /// When and how.
        end: Ended,
    },
    /// A run ended as [`RunEnd::Requeued`], and its request waits again.
    Requeued {
        /// The run.
        run: u64,
        /// The time of the event.
        at: DateTime<Utc>,
        /// The reason, as a text for people.
        reason: String,
    },
    /// An alarm is on.
    Raised {
        /// The alarm.
        alarm: Alarm,
        /// Since when.
        at: DateTime<Utc>,
        /// The text of the alarm, in a line.
        text: String,
    },
    /// An alarm is off.
    Lowered {
        /// The alarm.
        alarm: Alarm,
    },
    /// A message was acted upon; it is not, again, should it still be there after a crash.
    Received {
        /// The message.
        id: String,
    },
    /// A message is gone.
    Cleared {
        /// The message.
        id: String,
    },
    /// A verdict is to be recorded.
    VerdictFiled(VerdictRequest),
    /// The command of a lab was started.
    TestStarted {
        /// The number of the request for its verdict.
        request: u64,
        /// The time of the event.
        at: DateTime<Utc>,
    },
    /// The command of a lab ended with a verdict.
    TestEnded {
        /// The number of the request for it.
        request: u64,
        /// The verdict.
        entry: VerdictEntry,
    },
    /// A verdict was recorded or refused, or a test ended without one.
    VerdictEnded {
        /// The number of its request.
        request: u64,
        /// When and how.
        end: EndedVerdict,
    },
}

/// A request and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filed {
    /// The request itself.
    #[serde(flatten)]
    pub request: Request,
    /// When and how it ended, if no run took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<(DateTime<Utc>, Closed)>,
    /// Its runs, oldest first.
    pub runs: Vec<RunRow>,
}

/// A run, without its request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRow {
    /// Its number.
    pub id: u64,
    /// When it started.
    pub started: DateTime<Utc>,
    /// The build, once it had its date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildId>,
    /// How often it was interrupted and went on.
    pub interruptions: u32,
    /// The phases, in the order in which they started.
    pub phases: Vec<PhaseRun>,
    /// When and how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Ended>,
}

impl From<Run> for RunRow {
    fn from(run: Run) -> Self {
        Self {
            id: run.id,
            started: run.started,
            build: run.build,
            interruptions: run.interruptions,
            phases: run.phases,
            end: run.end,
        }
    }
}

/// A ledger that cannot be read or written, or a change that it refuses.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The change does not fit the state: who made it is wrong.
    #[error("the ledger refuses {change}: {why}")]
    Refused {
        /// The change.
        change: String,
        /// The reason, as a text for people.
        why: String,
    },
    /// The ledger was written by a later version.
    #[error(
        "ledger {file} has schema version {found}, and this program knows up to {known}; \
         use the newer stx-builds again, or put a backup of the ledger in its place"
    )]
    TooNew {
        /// Its file.
        file: String,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The ledger was written by an earlier version, and is only read.
    #[error("ledger {file} has the old schema version {found}; `daemon` brings it up to date")]
    TooOld {
        /// Its file.
        file: String,
        /// Its version.
        found: u32,
    },
    /// It holds what no ledger of ours does.
    #[error("ledger: {what} cannot be read: {reason}")]
    Damaged {
        /// The part of the ledger: a table and a row, or the file.
        what: String,
        /// The reason, as a text for people.
        reason: String,
    },
    /// It cannot be written for now: the disk is full or does not answer, or another program has locked it. The same
    /// changes may be recorded later.
    #[error("ledger: cannot {op}")]
    Unavailable {
        /// The operation that failed, such as `write`.
        op: &'static str,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It cannot be read or written.
    #[error("ledger: cannot {op}")]
    Io {
        /// The operation that failed, such as `write`.
        op: &'static str,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The service's memory.
///
/// # Contract
/// - [`record`](Self::record) makes all of the changes or none of them, and when it returns, they outlive a crash.
/// - The state is what [`State::apply`] makes of all changes ever recorded, also after it was opened again.
/// - A change that `apply` refuses is refused, with all that came with it.
/// - There is one writer; readers may read at any time, and see whole records.
pub trait Ledger: Send {
    /// The state after every recorded change.
    fn state(&self) -> &State;

    /// Records changes.
    ///
    /// # Errors
    /// Nothing was recorded; after anything but [`LedgerError::Refused`] and [`LedgerError::Unavailable`] the ledger has
    /// to be opened again.
    fn record(&mut self, changes: &[Change]) -> Result<(), LedgerError>;

    /// The newest `limit` requests of a channel, or of all, newest first; those that wait or run are among them.
    ///
    /// # Errors
    /// It cannot be read.
    fn history(&self, channel: Option<&Channel>, limit: usize) -> Result<Vec<Filed>, LedgerError>;

    /// The newest `limit` requests for verdicts on builds of a channel, or of all channels, newest first, also those that wait.
    ///
    /// # Errors
    /// It cannot be read.
    fn verdicts(
        &self,
        channel: Option<&Channel>,
        limit: usize,
    ) -> Result<Vec<FiledVerdict>, LedgerError>;
}

#[cfg(test)]
mod tests;
