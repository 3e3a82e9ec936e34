//! The build service: triggers, a queue, runs, and the memory of them.
//!
//! ```text
//! clock, commits, messages ──> decide ──> ledger (one transaction) ──> start builds ──> record how they end
//! ```
//!
//! `serve` is the loop. It reaches the outside through three traits: the [`Builder`], the [`Upstream`] and the [`Host`]. Every
//! decision is a function of the ledger's [`State`](ledger::State) and of observations, and its effects are recorded before
//! they are carried out. So the service may die at any moment: its promises are in the ledger, and the next `serve` resumes
//! from there.
//!
//! | module | holds | feature |
//! |---|---|---|
//! | `config` | [`ServiceConfig`], read from TOML with every mistake found at once, and the [`Setup`] it makes | |
//! | `lab` | the commands that test published builds: [`Lab`] | |
//! | `ask`, `message` | the requests of people to the service, and the text of a message: [`Ask`] | |
//! | [`schedule`], [`trigger`] | when builds start, and why: pure decisions | |
//! | [`ledger`] | the service's memory | `sqlite`: in a file |
//! | `serve` | the loop, under tokio's clock | `serve` |
//! | [`health`](mod@health), [`metrics`] | alarms, and numbers for Prometheus, from the state | |
//! | [`status`](mod@status) | the state as a document, for those who cannot read the ledger | |
//! | `upstream` | `GitUpstream`: the commits of git repositories, seen by `git` | `git` |
//!
//! Without its features the crate does no I/O and reads no clock.

mod ask;
mod config;
mod entry;
pub mod health;
mod lab;
pub mod ledger;
mod message;
pub mod metrics;
pub mod schedule;
#[cfg(feature = "serve")]
mod serve;
pub mod status;
pub mod trigger;
#[cfg(feature = "git")]
mod upstream;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use stx_layout::{BuildDate, BuildId, Channel, ReleaseId, Verdict, VerdictEntry};

pub use ask::{AskError, LONGEST_REASON};
pub use config::{BranchConfig, ServiceConfig};
pub use entry::EntryError;
pub use lab::{GREEN, Lab, YELLOW};
pub use message::MessageError;
#[cfg(feature = "serve")]
pub use serve::{Control, ServeError, serve};
#[cfg(feature = "git")]
pub use upstream::GitUpstream;

use crate::ledger::{Alarm, RunEnd};
use crate::schedule::Schedule;
use crate::status::Pulse;
use crate::trigger::{Heads, Observation, Reason, Target, Watch};
use stx_pipeline::{Cancel, Event};

/// The treatment of running builds when the service is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnStop {
    /// Wait for them.
    #[default]
    Finish,
    /// Interrupt them; they are resumed at the next start.
    Interrupt,
}

/// The treatment of interrupted builds at the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnInterrupted {
    /// Resume them at the first unfinished phase.
    #[default]
    Resume,
    /// Publish them as failed, with their logs.
    Fail,
}

/// The settings of the service.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The most builds that run at the same time.
    pub max_builds: usize,
    /// The treatment of running builds when the service is stopped.
    pub on_stop: OnStop,
    /// The treatment of interrupted builds at the next start.
    pub on_interrupted: OnInterrupted,
    /// The schedule of retention; `None` for never.
    pub prune: Option<Schedule>,
    /// The longest wait for a build before an alarm is raised.
    pub overdue: Duration,
    /// The percentage of free space below which a disk raises an alarm.
    pub min_free_percent: u8,
    /// The interval between checks of the clock and the messages.
    pub tick: Duration,
    /// The interval between surveys of the mirror and the disks.
    pub survey: Duration,
}

/// The complete setup of the service.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// Its settings.
    pub settings: Settings,
    /// The branches and milestones to build, each with its schedule and repositories.
    pub watches: Vec<Watch>,
    /// The labs that test published builds.
    pub labs: Vec<Lab>,
}

impl Setup {
    /// The entry of the branch that builds a target: the entry of its channel, or for a milestone the entry of its branch.
    pub fn branch(&self, target: &Target) -> Option<&Watch> {
        let branches = || {
            let watches = self.watches.iter();
            watches.filter(|watch| watch.milestone.is_none())
        };
        let own = branches().find(|watch| watch.channel == target.channel);
        own.or_else(|| {
            branches().find(|watch| {
                let channel = Channel {
                    release: watch.channel.release.clone(),
                    ..target.channel.clone()
                };
                matches!(target.channel.release, ReleaseId::Milestone(_))
                    && (watch.git == target.git && watch.channel == channel)
            })
        })
    }

    /// True if an entry of the configuration names the channel of a target: its own entry, or one for milestones of its branch.
    pub fn names(&self, target: &Target) -> bool {
        self.watches.iter().any(|watch| is_of(watch, target))
    }

    /// The repositories in which to search for the branch or tag of a target: those that the entries of its channel poll,
    /// otherwise those of its recipe. Each is listed once.
    pub fn upstreams(&self, target: &Target) -> Vec<trigger::Upstream> {
        let of = |is: &dyn Fn(&Watch) -> bool| {
            let watches = self.watches.iter().filter(|watch| is(watch));
            let mut found: Vec<trigger::Upstream> = Vec::new();
            for upstream in watches.filter_map(|watch| watch.upstream.as_ref()) {
                if !found.contains(upstream) {
                    found.push(upstream.clone());
                }
            }
            found
        };
        let own = of(&|watch| is_of(watch, target));
        if own.is_empty() {
            return of(&|watch| watch.recipe == target.recipe);
        }
        own
    }
}

fn is_of(watch: &Watch, target: &Target) -> bool {
    if watch.milestone.is_none() {
        return watch.channel == target.channel;
    }
    let milestone = Channel {
        release: watch.channel.release.clone(),
        ..target.channel.clone()
    };
    matches!(target.channel.release, ReleaseId::Milestone(_))
        && watch.git == target.git
        && watch.channel == milestone
}

/// The reason for refusing a target whose channel no entry [names](Setup::names).
pub fn unnamed(target: &Target) -> String {
    format!(
        "no entry of the configuration names channel {}; `trigger --new-channel` requests it",
        target.channel
    )
}

/// The build to make, and its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The branch or tag to build, and its channel.
    pub target: Target,
    /// The channel upon which it is made, from the entry of [`Setup::branch`].
    pub after: Option<Channel>,
    /// The globs of the changed files that count as a change, from the entry of [`Setup::branch`].
    pub paths: trigger::PathRules,
    /// The reasons; never empty.
    pub reasons: Vec<Reason>,
    /// The number of further reasons.
    pub more_reasons: u64,
    /// True if it is built although nothing changed.
    pub force: bool,
    /// True if sources that failed to build are built again.
    pub retry_failed: bool,
}

/// A message from a running build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Its date is known; it can be resumed from now on.
    Named(BuildId),
    /// An event of a phase.
    Phase(Event),
}

/// The function to which a build reports its progress.
pub type Tell = dyn Fn(Progress) + Send + Sync;

/// The result of applying the retention policy once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// A one-line summary.
    pub text: String,
    /// The due builds that were kept because their removal seemed wrong: by channel, or `mirror` for all, the reason and the
    /// way to release them.
    pub blocked: BTreeMap<String, String>,
    /// True if a step failed.
    pub failed: bool,
    /// The number of builds that were moved to the trash.
    pub retired: u64,
    /// The number of builds that were deleted from the trash.
    pub purged: u64,
    /// The bytes that will be freed when the builds moved to the trash are deleted.
    pub bytes: u64,
}

/// The result of a call of the builder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// It is over.
    Over(RunEnd),
    /// Another process works on the channel; try again later.
    Busy(String),
    /// The phases of a build are over, and it could not be published: that of the call, or an earlier one of the channel. Another
    /// attempt may succeed.
    Unpublished {
        /// The build.
        build: BuildId,
        /// The reason, in one line.
        reason: String,
        /// True if another process works on the channel.
        busy: bool,
    },
}

/// Builds and publishes.
///
/// # Contract
/// - The caller requests one build per channel at a time; builds of several channels may run at the same time.
/// - A build reports its id before any part of it can be resumed, and its phases in order.
/// - Dropping a future of `build` or `resume` ends everything that it runs, as a crash would; the build is then unfinished, or
///   published.
/// - An unfinished build remains so until `resume` or `abandon` ends it. After that it is published, or gone.
/// - A build whose phases are over and that is not published remains unfinished. `resume` publishes it, and `build` does so before it
///   builds; neither runs a phase of it again.
/// - Orphans of a killed builder are ended before a build of their channel continues.
#[async_trait]
pub trait Builder: Send + Sync {
    /// Makes one build.
    async fn build(&self, order: &Order, tell: &Tell, cancel: &Cancel) -> Left;

    /// Resumes an unfinished build at its first unfinished phase.
    async fn resume(&self, build: &BuildId, tell: &Tell, cancel: &Cancel) -> Left;

    /// Publishes an unfinished build as failed, for `reason`.
    async fn abandon(&self, build: &BuildId, reason: &str) -> Left;

    /// The builds that can be resumed.
    ///
    /// # Errors
    /// The reason that they cannot be determined, in one line.
    async fn unfinished(&self) -> Result<Vec<BuildId>, String>;

    /// The outcome of a build, if it is published.
    ///
    /// # Errors
    /// The reason that it cannot be determined, in one line.
    async fn published(&self, build: &BuildId) -> Result<Option<RunEnd>, String>;
}

/// Observes commits.
#[async_trait]
pub trait Upstream: Send + Sync {
    /// The current commits of the repositories of a watch, and the files changed since `before` if the watch has path globs.
    ///
    /// # Errors
    /// The reason that they cannot be determined, in one line; a missing branch is named as such.
    async fn observe(&self, watch: &Watch, before: Option<&Heads>) -> Result<Observation, String>;

    /// True if a branch or tag exists: in the manifest's repository, or in one of several.
    ///
    /// # Errors
    /// The reason that it cannot be determined, in one line.
    async fn has(&self, upstream: &trigger::Upstream, git: &str) -> Result<bool, String>;
}

/// A request to the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// A build.
    Build {
        /// The release identifier of its channel.
        release: ReleaseId,
        /// The git branch or tag.
        git: String,
        /// The reason, for people.
        reason: String,
        /// True if it is built although nothing changed.
        force: bool,
        /// True if it is built although no entry of the configuration names its channel.
        #[serde(default)]
        new_channel: bool,
        /// The channel of the entry that builds it; required if several entries build the branch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<Channel>,
    },
    /// The end of a waiting request, or of the run that took it.
    Cancel {
        /// The request.
        request: u64,
    },
    /// A verdict on a published build. Its author is the owner of the message.
    Mark {
        /// The build.
        build: BuildId,
        /// The result of its tests.
        verdict: Verdict,
        /// The reason, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// A link to the test results.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
    },
}

/// A message of a user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its identifier, unique among the messages; the same after a restart.
    pub id: String,
    /// Its author, as reported by the operating system.
    pub uid: u32,
    /// The request in the message.
    pub ask: Ask,
}

/// The mirror's answer to a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marking {
    /// The mirror has the verdict, and `latest_green_build` follows it.
    Recorded {
        /// True if it is new; false if the mirror had it, or it repeats the verdict before it.
        is_new: bool,
    },
    /// The mirror refuses the verdict permanently, for this reason, in one line.
    Refused(String),
    /// The mirror cannot record the verdict now, for this reason, in one line.
    Later(String),
}

/// The outcome of a lab's command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tested {
    /// It has a verdict.
    Verdict {
        /// The result.
        verdict: Verdict,
        /// The end of its output, as a line.
        reason: Option<String>,
        /// A link to the test results.
        url: Option<String>,
    },
    /// The command was not started, or its end is unknown, so the build was not tested; the reason, in one line.
    NotTested(String),
    /// A user cancelled the test.
    Cancelled,
}

/// A survey of the mirror and of the machine's disks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The time at which it began; the service sets it.
    pub taken: DateTime<Utc>,
    /// The channels of the mirror.
    pub channels: BTreeMap<Channel, ChannelFacts>,
    /// The disks that builds fill.
    pub disks: Vec<Disk>,
    /// The reason why requests of users do not arrive; `None` if they do.
    pub spool: Option<String>,
    /// The parts that could not be surveyed, with the reasons, one per line.
    pub unknown: Vec<String>,
}

/// The state of a channel on the mirror.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChannelFacts {
    /// The date of the newest success.
    pub newest_success: Option<BuildDate>,
    /// The date of the build that `latest_build` shows.
    pub latest_build: Option<BuildDate>,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// A directory on it.
    pub dir: String,
    /// Its size in bytes.
    pub total: u64,
    /// Its free bytes.
    pub free: u64,
}

/// A notice to people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Notice {
    /// A run did not end with a success.
    Failure {
        /// The time of the event.
        at: DateTime<Utc>,
        /// The channel of the run.
        channel: Channel,
        /// The build, if it has a date.
        build: Option<BuildId>,
        /// The reason, in one line.
        reason: String,
    },
    /// The first success after a failure.
    Recovery {
        /// The time of the event.
        at: DateTime<Utc>,
        /// The channel of the run.
        channel: Channel,
        /// The build.
        build: Option<BuildId>,
    },
    /// An alarm was raised.
    Alarm {
        /// The time of the event.
        at: DateTime<Utc>,
        /// The alarm.
        #[serde(flatten)]
        alarm: Alarm,
        /// The text of the alarm.
        text: String,
    },
    /// An alarm is over.
    AlarmOver {
        /// The time of the event.
        at: DateTime<Utc>,
        /// The alarm.
        #[serde(flatten)]
        alarm: Alarm,
    },
}

/// Everything else outside of the service.
///
/// # Contract
/// - Methods that are not `async` return at once, and no failure here makes the service fail.
/// - A message is returned again and again until it is discarded.
#[async_trait]
pub trait Host: Send + Sync {
    /// The clock.
    fn now(&self) -> DateTime<Utc>;

    /// The messages of people, oldest first; not necessarily all of them.
    fn messages(&self) -> Vec<Message>;

    /// True if a message still exists, discarded or not.
    fn has_message(&self, id: &str) -> bool;

    /// Removes a message that was acted upon.
    fn discard(&self, id: &str);

    /// True if a user may cancel requests of others.
    fn may_cancel_all(&self, uid: u32) -> bool;

    /// The name of a user, as the author of a verdict.
    fn user_name(&self, uid: u32) -> String;

    /// Records a verdict on a published success, and moves `latest_green_build`. The same verdict of the same time is recorded
    /// once, however often this is called.
    async fn mark(&self, entry: &VerdictEntry) -> Marking;

    /// Runs the command of a lab on a build; `request` is the number of the request for its verdict. Leftover processes of an
    /// earlier run of the lab are ended first. Dropping the future ends all processes of the command.
    async fn test(&self, lab: &Lab, build: &BuildId, request: u64, cancel: &Cancel) -> Tested;

    /// The target of a requested build of a branch or tag that no watch names.
    ///
    /// # Errors
    /// The reason that there is none, in one line.
    fn target(&self, release: &ReleaseId, git: &str) -> Result<Target, String>;

    /// Surveys mirror and disks.
    async fn survey(&self) -> Facts;

    /// Applies the retention policy.
    ///
    /// # Errors
    /// The reason that it was not applied, or only in part, in one line.
    async fn prune(&self) -> Result<Pruned, String>;

    /// Sends a notice to people.
    fn notify(&self, notice: Notice);

    /// Receives the state of the service, and with it the sign that the service is alive. Called after each step, so at least
    /// once per tick.
    fn pulse(&self, pulse: &Pulse<'_>);

    /// Writes a line to the log.
    fn say(&self, text: &str);
}

#[cfg(all(test, feature = "serve"))]
mod tests;
