//! The state of the service as a document, for users who may request builds but cannot read the ledger.
//!
//! ```text
//! Pulse (ledger, setup, answers) ──Status::new──> Status ──Host: plans, logs──> status.json ──> Status::read
//! ```
//!
//! | item | is |
//! |---|---|
//! | [`Status`] | the document |
//! | [`Entry`], [`RunningBuild`], [`PhaseNow`], [`Past`], [`AlarmNow`], [`Answer`] | its parts |
//! | [`PastBuilds`], [`newest_failures`] | the ended requests, and the durations of builds |
//! | [`Follow`] | the steps of one request, from document to document |
//! | [`Pulse`] | the values that the loop passes to its host after each step |
//! | [`Read`] | a document that was read: fresh, or stale |
//!
//! A document is a snapshot: it is written whole after each change, and again before [`Status::every_seconds`] have passed.

mod follow;
mod left;
mod past;

use camino::Utf8PathBuf;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use stx_layout::{BuildDate, BuildId, Channel, PhaseStatus};

pub use self::follow::{Follow, Outcome, Step};
pub use self::left::TimeLeft;
pub use self::past::{PastBuilds, newest_failures};
use crate::ledger::{
    Alarm, Alarms, Filed, Ledger, PhaseRun, Request, RunRow, State, VerdictRequest,
};
use crate::trigger::{Reason, Target};
use crate::{Facts, Setup};

/// The values that the loop passes to its host after each step.
#[derive(Clone, Copy)]
pub struct Pulse<'a> {
    /// The ledger, with its state.
    pub ledger: &'a dyn Ledger,
    /// The active alarms, including one that cannot be recorded.
    pub alarms: &'a Alarms,
    /// The setup that the service runs with.
    pub setup: &'a Setup,
    /// The newest survey of mirror and disks.
    pub facts: &'a Facts,
    /// The answers to the newest messages, oldest first.
    pub answers: &'a [Answer],
    /// The time at which the service started.
    pub started: DateTime<Utc>,
    /// True if the service is stopping.
    pub stopping: bool,
    /// Increases with every change of these values.
    pub changes: u64,
    /// Increases with every request and every run that ends.
    pub ended: u64,
}

impl Pulse<'_> {
    /// The ledger's state.
    pub fn state(&self) -> &State {
        self.ledger.state()
    }
}

/// The answer of the service to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The message, by the name of its file in the spool.
    pub message: String,
    /// The time at which it was read.
    pub at: DateTime<Utc>,
    /// The number of the request that it made or joined; `None` if it was refused without a request, or made none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
    /// True if it joined a waiting request for the same build.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub joined: bool,
    /// The reason for its refusal, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// The state of the service at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of this format.
    pub form: u32,
    /// The time at which it was written.
    pub written: DateTime<Utc>,
    /// The longest time until the next write, in seconds.
    pub every_seconds: u64,
    /// The version of the program.
    pub version: String,
    /// The mirror.
    pub mirror: String,
    /// The time at which the service started.
    pub started: DateTime<Utc>,
    /// True if the service is stopping.
    pub stopping: bool,
    /// The branches and milestones of the configuration.
    pub entries: Vec<Entry>,
    /// The waiting requests, oldest first.
    pub queue: Vec<Request>,
    /// The running builds.
    pub running: Vec<RunningBuild>,
    /// The waiting verdicts, and the running tests.
    pub verdicts: Vec<VerdictRequest>,
    /// The newest ended requests of each channel, newest first, without commits.
    pub history: Vec<Past>,
    /// The active alarms.
    pub alarms: Vec<AlarmNow>,
    /// The answers to the newest messages, oldest first.
    pub answers: Vec<Answer>,
}

/// A branch or milestone of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The channel, or the pattern of its channels.
    pub key: String,
    /// The git branch or tag.
    pub git: String,
    /// Its schedule, as a cron expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The time of its next scheduled build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<DateTime<Utc>>,
    /// The time between two searches for commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_seconds: Option<u64>,
    /// The channel below, each success of which starts a build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Channel>,
    /// The newest known success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_success: Option<BuildDate>,
}

/// A running build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningBuild {
    /// The number of the run.
    pub run: u64,
    /// The number of the request that it serves.
    pub request: u64,
    /// The channel.
    pub channel: Channel,
    /// The git branch or tag.
    pub git: String,
    /// The build, once it has its date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildId>,
    /// The time of its start.
    pub started: DateTime<Utc>,
    /// The reasons of the request.
    pub reasons: Vec<Reason>,
    /// The number of times that the build was interrupted and resumed.
    pub interruptions: u32,
    /// The median duration of the channel's published builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past_seconds: Option<i64>,
    /// Its phases, in the order of the plan.
    pub phases: Vec<PhaseNow>,
}

/// A phase of a running build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseNow {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: PhaseState,
    /// The number of attempts that were started.
    pub attempts: u32,
    /// The start of its first attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<DateTime<Utc>>,
    /// The time at which it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<DateTime<Utc>>,
    /// Its median duration in the channel's published builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past_seconds: Option<i64>,
    /// Its log, relative to the spool; absent if logs of running builds are not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// The state of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseState {
    /// It has not started.
    Waiting,
    /// It runs.
    Running,
    /// It exited with status 0.
    Succeeded,
    /// Every attempt failed.
    Failed,
    /// The last attempt exceeded its time limit.
    TimedOut,
    /// It was ended together with the build.
    Cancelled,
    /// It was not started, and will not be.
    Skipped,
}

impl PhaseState {
    /// The word for it in texts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }
}

impl From<Option<PhaseStatus>> for PhaseState {
    /// The state of a phase that has started.
    fn from(status: Option<PhaseStatus>) -> Self {
        match status {
            None => Self::Running,
            Some(PhaseStatus::Succeeded) => Self::Succeeded,
            Some(PhaseStatus::Failed) => Self::Failed,
            Some(PhaseStatus::TimedOut) => Self::TimedOut,
            Some(PhaseStatus::Cancelled) => Self::Cancelled,
            Some(PhaseStatus::Skipped) => Self::Skipped,
        }
    }
}

/// A request that has ended, with its runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// The request and its runs as in the ledger, but without the commits.
    #[serde(flatten)]
    pub filed: Filed,
    /// The first failed phase of the newest run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<Failing>,
}

/// A failed phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// Its name.
    pub phase: String,
    /// The last lines of its log, redacted like a published log; empty if logs are not shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// An active alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmNow {
    /// Its kind and its subject.
    #[serde(flatten)]
    pub alarm: Alarm,
    /// The time since which it is on.
    pub since: DateTime<Utc>,
    /// The text of the alarm.
    pub text: String,
    /// The next step for an operator.
    pub remedy: String,
}

/// A document that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The service writes it regularly.
    Fresh(Box<Status>),
    /// It should have been written again by now: the service does not run, or hangs.
    Stale(Box<Status>),
}

/// The reason that a text is not a status document.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// A later version of the program wrote it.
    #[error(
        "it has form {found}, and this program reads up to form {}",
        Status::FORM
    )]
    TooNew {
        /// The version of its format.
        found: u32,
    },
    /// It is not a status document.
    #[error("it is not a status document")]
    Malformed(#[from] serde_json::Error),
}

impl Status {
    /// The version of the format that this crate writes and reads.
    pub const FORM: u32 = 1;
    /// The longest time until the next write, in seconds.
    pub const EVERY: u64 = 10;
    /// The most ended requests of each channel in a document.
    pub(crate) const PAST: usize = 20;

    /// The document of a moment, without the plans of running builds and the logs, which only the host knows.
    ///
    /// `past` comes from [`PastBuilds::new`].
    pub fn new(pulse: &Pulse<'_>, past: &PastBuilds, now: DateTime<Utc>) -> Self {
        let state = pulse.state();
        Self {
            form: Self::FORM,
            written: now,
            every_seconds: Self::EVERY,
            version: String::new(),
            mirror: String::new(),
            started: pulse.started,
            stopping: pulse.stopping,
            entries: entries(pulse, now),
            queue: state.queue.values().cloned().collect(),
            running: state.runs.values().map(|run| past.running(run)).collect(),
            verdicts: state.verdicts.values().cloned().collect(),
            history: past.ended().to_vec(),
            alarms: alarms(pulse.alarms),
            answers: pulse.answers.to_vec(),
        }
    }

    /// Reads a document, and judges its age.
    ///
    /// # Errors
    /// A text that is not a status document, or one of a later format.
    pub fn read(text: &[u8], now: DateTime<Utc>) -> Result<Read, StatusError> {
        #[derive(Deserialize)]
        struct Form {
            form: u32,
        }
        let Form { form } = serde_json::from_slice(text)?;
        if form > Self::FORM {
            return Err(StatusError::TooNew { found: form });
        }
        let status: Box<Self> = serde_json::from_slice(text)?;
        Ok(if status.is_stale(now) {
            Read::Stale(status)
        } else {
            Read::Fresh(status)
        })
    }

    /// True if at least two further writes are overdue. A document from the future is accepted for as long.
    pub fn is_stale(&self, now: DateTime<Utc>) -> bool {
        let limit = i64::try_from(self.every_seconds.saturating_mul(3)).unwrap_or(i64::MAX);
        (now - self.written).abs() > TimeDelta::try_seconds(limit).unwrap_or(TimeDelta::MAX)
    }

    /// All of its requests, newest first, including those that wait or run. Running ones name no recipe.
    pub fn filed(&self) -> Vec<Filed> {
        let waiting = self.queue.iter().map(|request| Filed {
            request: request.clone(),
            closed: None,
            runs: Vec::new(),
        });
        let running = self.running.iter().map(RunningBuild::filed);
        let ended = self.history.iter().map(|past| past.filed.clone());
        let mut all: Vec<_> = waiting.chain(running).chain(ended).collect();
        all.sort_by_key(|filed| std::cmp::Reverse(filed.request.id));
        all
    }

    /// The request with this number, in any state.
    pub fn find(&self, request: u64) -> Option<Found<'_>> {
        let running = self.running.iter().find(|run| run.request == request);
        let waiting = self.queue.iter().find(|waiting| waiting.id == request);
        let ended = self
            .history
            .iter()
            .find(|past| past.filed.request.id == request);
        running
            .map(Found::Running)
            .or(waiting.map(Found::Waiting))
            .or(ended.map(Found::Ended))
    }
}

impl RunningBuild {
    fn filed(&self) -> Filed {
        let request = Request {
            id: self.request,
            target: Target {
                channel: self.channel.clone(),
                git: self.git.clone(),
                recipe: Utf8PathBuf::new(),
            },
            force: false,
            retry_failed: false,
            reasons: self.reasons.clone(),
            more_reasons: 0,
            unpublished: None,
        };
        let run = RunRow {
            id: self.run,
            started: self.started,
            build: self.build.clone(),
            interruptions: self.interruptions,
            phases: Vec::new(),
            end: None,
        };
        Filed {
            request,
            closed: None,
            runs: vec![run],
        }
    }
}

impl Read {
    /// The document, fresh or stale.
    pub fn into_status(self) -> Box<Status> {
        match self {
            Self::Fresh(status) | Self::Stale(status) => status,
        }
    }
}

/// The state of a request in a [`Status`].
#[derive(Debug, Clone, Copy)]
pub enum Found<'a> {
    /// It waits.
    Waiting(&'a Request),
    /// A run has taken it.
    Running(&'a RunningBuild),
    /// It has ended.
    Ended(&'a Past),
}

impl From<&PhaseRun> for PhaseNow {
    fn from(phase: &PhaseRun) -> Self {
        Self {
            name: phase.name.clone(),
            state: phase.status.into(),
            attempts: phase.attempts,
            started: Some(phase.started),
            finished: phase.finished,
            past_seconds: None,
            log: None,
        }
    }
}

fn entries(pulse: &Pulse<'_>, now: DateTime<Utc>) -> Vec<Entry> {
    let watches = pulse.setup.watches.iter();
    watches
        .map(|watch| {
            let facts = pulse.facts.channels.get(&watch.channel);
            Entry {
                key: watch.key.clone(),
                git: watch.git.clone(),
                schedule: watch.schedule.as_ref().map(ToString::to_string),
                next: watch.schedule.as_ref().and_then(|it| it.next(now)),
                poll_seconds: watch.poll.map(|poll| poll.as_secs()),
                after: watch.after.clone(),
                newest_success: facts.and_then(|of| of.newest_success),
            }
        })
        .collect()
}

fn alarms(alarms: &Alarms) -> Vec<AlarmNow> {
    alarms
        .iter()
        .map(|(alarm, (since, text))| AlarmNow {
            alarm: alarm.clone(),
            since: *since,
            text: text.clone(),
            remedy: crate::health::remedy(alarm),
        })
        .collect()
}

#[cfg(test)]
mod tests;
