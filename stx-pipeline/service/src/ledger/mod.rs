//! The service's memory: requests, runs, and the last observations and builds, with their reasons.
//!
//! Every event is a [`Change`]; [`State::apply`] defines its meaning, and every ledger follows it. Ended requests and runs
//! leave the state and remain in the history.

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

/// A build that a user or a trigger requested. Numbers are never reused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its number.
    pub id: u64,
    /// The branch or tag to build, and its channel.
    #[serde(flatten)]
    pub target: Target,
    /// True if it is built although nothing changed.
    pub force: bool,
    /// True if sources that failed to build are built again.
    pub retry_failed: bool,
    /// The reasons for the request, oldest first; never empty. After the first [`REASONS`](Self::REASONS) they are only
    /// counted.
    pub reasons: Vec<Reason>,
    /// The number of further reasons.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_reasons: u64,
    /// The build whose publication is to be tried again before anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpublished: Option<Unpublished>,
}

/// A build whose phases are over, and which could not be published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpublished {
    /// The build.
    pub build: BuildId,
    /// The number of attempts that failed; those that found the channel busy do not count.
    pub failures: u32,
    /// The reason of the last attempt, in one line.
    pub reason: String,
    /// The time of the next attempt. A restart of the service tries at once.
    pub next: DateTime<Utc>,
    /// True if the request is not served by this build alone: it was made for another request, or further reasons came since.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub then_build: bool,
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

impl Request {
    /// The number of reasons that are kept. Users can request builds as often as they like, and all reasons are published in
    /// the record.
    pub const REASONS: usize = 20;

    /// Adds a reason.
    pub(crate) fn join(&mut self, reason: Reason) {
        if let Some(unpublished) = &mut self.unpublished {
            unpublished.then_build = true;
        }
        if self.reasons.len() < Self::REASONS {
            self.reasons.push(reason);
            return;
        }
        self.more_reasons += 1;
        // Keep one reason that is not a user's, because alarms depend on waiting commits: users who ask often must not hide
        // them.
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

    /// True if its build is made, and only the publication is left.
    pub fn is_built(&self) -> bool {
        self.unpublished.as_ref().is_some_and(|it| !it.then_build)
    }

    /// True if this user is the only known requester.
    pub fn is_of(&self, user: u32) -> bool {
        let theirs = |reason: &Reason| match reason.cause {
            Cause::Manual { uid, .. } => uid == user,
            Cause::Periodic { .. } | Cause::Commit { .. } | Cause::After { .. } => false,
        };
        self.more_reasons == 0 && self.reasons.iter().all(theirs)
    }
}

/// The end of a request that no run took.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "closed", rename_all = "kebab-case")]
pub enum Closed {
    /// A user withdrew it.
    Cancelled {
        /// Their user id.
        uid: u32,
    },
    /// There was nothing to build.
    Skipped {
        /// The reason, for people.
        why: String,
    },
}

/// A phase of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseRun {
    /// Its name.
    pub name: String,
    /// The number of attempts that were started.
    pub attempts: u32,
    /// The start of its first attempt.
    pub started: DateTime<Utc>,
    /// The time at which it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<DateTime<Utc>>,
    /// The result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<PhaseStatus>,
}

/// The outcome of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum RunEnd {
    /// A build was published.
    Published {
        /// The result.
        result: BuildOutcome,
        /// The reason for a failure, in one line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The commits from which it was built.
        sources: Vec<SourceRecord>,
    },
    /// Nothing had changed.
    Unchanged {
        /// Since this build.
        since: BuildId,
        /// The result of that build, if known; sources that failed to build may not be built again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<BuildOutcome>,
        /// The reason, in one line, if it counts as unchanged in spite of new commits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// Nothing could be built or published.
    Refused {
        /// The reason, in one line.
        reason: String,
    },
    /// A user ended it.
    Cancelled,
    /// It returned its request to the queue, to be run again.
    Requeued {
        /// The reason, in one line.
        reason: String,
    },
}

/// The reason for which new commits count as no change, for people.
pub const LEFT_OUT: &str = "only files changed that `paths` leaves out";

/// A request that runs or has run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its number.
    pub id: u64,
    /// The request that it serves, with its reasons at the start of the run.
    pub request: Request,
    /// The time of its start.
    pub started: DateTime<Utc>,
    /// The build, once it has its date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildId>,
    /// The number of times that it was interrupted and resumed.
    pub interruptions: u32,
    /// The phases so far, in the order in which they started.
    pub phases: Vec<PhaseRun>,
    /// Its end, with the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Ended>,
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The time of the end.
    pub at: DateTime<Utc>,
    /// The outcome.
    #[serde(flatten)]
    pub how: RunEnd,
}

/// The kind of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlarmKind {
    /// Commits, or a success of the channel below, have waited too long for a build.
    NotBuilt,
    /// The last run could not publish.
    NotPublished,
    /// `latest_build` does not point to the newest success.
    NotAliased,
    /// The newest success is older than its cadence allows.
    Stale,
    /// A disk is nearly full.
    DiskFilling,
    /// The commits of a watch cannot be observed, so that they start no build.
    NeverFires,
    /// Retention keeps builds that are due, because their removal seemed wrong.
    PruneBlocked,
}

impl AlarmKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::NotBuilt,
        Self::NotPublished,
        Self::NotAliased,
        Self::Stale,
        Self::DiskFilling,
        Self::NeverFires,
        Self::PruneBlocked,
    ];

    /// The word for it in JSON and metrics.
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

/// An alarm: its kind, and its channel, watch or disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Alarm {
    /// Its kind.
    pub kind: AlarmKind,
    /// The channel, directory or trigger that the alarm concerns.
    pub subject: String,
}

/// An event that changes the state.
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
    /// A waiting request has a further reason.
    Joined {
        /// The number of the request.
        request: u64,
        /// The reason.
        reason: Reason,
        /// True if this reason requests a build although nothing changed.
        force: bool,
        /// True if this reason requests that failed sources are built again.
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
    /// The id of a run's build is known.
    Named {
        /// The run.
        run: u64,
        /// The build.
        build: BuildId,
    },
    /// The new state of a phase of a run.
    Phase {
        /// The run.
        run: u64,
        /// The phase, by name.
        phase: PhaseRun,
    },
    /// A run was interrupted, and is resumed later.
    Interrupted {
        /// The run.
        run: u64,
    },
    /// A run ended.
    Ended {
        /// The run.
        run: u64,
        /// The time and outcome.
        end: Ended,
    },
    /// A run ended as [`RunEnd::Requeued`], and its request waits again.
    Requeued {
        /// The run.
        run: u64,
        /// The time of the event.
        at: DateTime<Utc>,
        /// The reason, for people.
        reason: String,
        /// The build to publish first.
        unpublished: Option<Box<Unpublished>>,
    },
    /// An alarm is on.
    Raised {
        /// The alarm.
        alarm: Alarm,
        /// The time since which it is on.
        at: DateTime<Utc>,
        /// The text of the alarm, in one line.
        text: String,
    },
    /// An alarm is off.
    Lowered {
        /// The alarm.
        alarm: Alarm,
    },
    /// A message was acted upon. If it still exists after a crash, it is not acted upon again.
    Received {
        /// The message.
        id: String,
    },
    /// A message no longer exists.
    Cleared {
        /// The message.
        id: String,
    },
    /// A verdict was filed, to be recorded.
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
        /// The time and outcome.
        end: EndedVerdict,
    },
}

/// A request and its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filed {
    /// The request itself.
    #[serde(flatten)]
    pub request: Request,
    /// The time and the way of its end, if no run took it.
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
    /// The time of its start.
    pub started: DateTime<Utc>,
    /// The build, once it had its date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildId>,
    /// The number of times that it was interrupted and resumed.
    pub interruptions: u32,
    /// The phases, in the order in which they started.
    pub phases: Vec<PhaseRun>,
    /// Its end, with the time.
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
    /// The change does not fit the state, which is a bug of the caller.
    #[error("the ledger refuses {change}: {why}")]
    Refused {
        /// The change.
        change: String,
        /// The reason, for people.
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
        /// The version of this program.
        known: u32,
    },
    /// The ledger was written by an earlier version, and is opened only for reading.
    #[error(
        "ledger {file} has the old schema version {found}; restart the service, which upgrades it: \
         `systemctl restart stx-builds`"
    )]
    TooOld {
        /// Its file.
        file: String,
        /// Its version.
        found: u32,
    },
    /// It holds a value that no version of this program writes.
    #[error("ledger: {what} cannot be read: {reason}")]
    Damaged {
        /// The part of the ledger: a table and a row, or the file.
        what: String,
        /// The reason, for people.
        reason: String,
    },
    /// It cannot be opened or written at the moment: the disk is full, read-only or does not answer, the file belongs to another user,
    /// another program has locked it, or it was moved away. The same changes may be recorded later.
    #[error("ledger: cannot {op}")]
    Unavailable {
        /// The operation that failed, such as `write`.
        op: &'static str,
        /// The reason for the failure.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It cannot be read or written.
    #[error("ledger: cannot {op}")]
    Io {
        /// The operation that failed, such as `write`.
        op: &'static str,
        /// The reason for the failure.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The service's memory.
///
/// # Contract
/// - [`record`](Self::record) makes all of the changes or none of them, and when it returns, they outlive a crash.
/// - The state is the result of [`State::apply`] for all changes ever recorded, even after the ledger was reopened.
/// - If `apply` refuses a change, all changes of its transaction are refused.
/// - There is one writer; readers may read at any time, and see whole records.
pub trait Ledger: Send {
    /// The state after every recorded change.
    fn state(&self) -> &State;

    /// Checks that records still reach the place at which the next start looks for them, without a record.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`], as [`record`](Self::record) would fail with.
    fn check(&self) -> Result<(), LedgerError> {
        Ok(())
    }

    /// Records changes.
    ///
    /// # Errors
    /// Nothing was recorded. After any error but [`LedgerError::Refused`] and [`LedgerError::Unavailable`], the ledger must be
    /// reopened.
    fn record(&mut self, changes: &[Change]) -> Result<(), LedgerError>;

    /// The newest `limit` requests of a channel, or of all channels, newest first, including those that wait or run.
    ///
    /// # Errors
    /// It cannot be read.
    fn history(&self, channel: Option<&Channel>, limit: usize) -> Result<Vec<Filed>, LedgerError>;

    /// The newest `limit` requests for verdicts on builds of a channel, or of all channels, newest first, including those that
    /// wait.
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
