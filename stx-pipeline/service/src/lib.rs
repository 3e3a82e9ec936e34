//! The build service: triggers, a queue, runs, and what is remembered of them.
//!
//! ```text
//! clock, commits, messages ──> decide ──> ledger (one transaction) ──> start builds ──> record how they end
//! ```
//!
//! `serve` is the loop. What is outside of it comes through three traits: the [`Builder`], the [`Upstream`] and the
//! [`Host`]. Every decision is a function of the ledger's [`State`](ledger::State) and what was seen, and what it leads to is recorded
//! before it is done. So the service may die at any moment: what it had promised is in the ledger, and
//! the next `serve` goes on from there.
//!
//! | module | holds | feature |
//! |---|---|---|
//! | `config` | [`ServiceConfig`], read from TOML with every mistake found at once, and the [`Setup`] it makes | |
//! | `lab` | the commands that test published builds: [`Lab`] | |
//! | `ask`, `message` | what people ask of the service, and the text of a message: [`Ask`] | |
//! | [`schedule`], [`trigger`] | when builds start, and why: pure decisions | |
//! | [`ledger`] | what the service remembers | `sqlite`: in a file |
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

/// How running builds are handled when the service is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnStop {
    /// Wait for them.
    #[default]
    Finish,
    /// Interrupt them; they are resumed at the next start.
    Interrupt,
}

/// How interrupted builds are handled at the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnInterrupted {
    /// Resume them at the first unfinished phase.
    #[default]
    Resume,
    /// Publish them as failed, with their logs.
    Fail,
}

/// How the service behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How many builds run side by side at most.
    pub max_builds: usize,
    /// How running builds are handled when the service is stopped.
    pub on_stop: OnStop,
    /// How interrupted builds are handled at the next start.
    pub on_interrupted: OnInterrupted,
    /// When retention is applied; `None` for never.
    pub prune: Option<Schedule>,
    /// How long something may wait to be built before that is an alarm.
    pub overdue: Duration,
    /// Below how many percent of free space a disk is filling.
    pub min_free_percent: u8,
    /// How often the clock and the messages are looked at.
    pub tick: Duration,
    /// How often mirror and disks are looked at.
    pub survey: Duration,
}

/// Everything the service goes by.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// How it behaves.
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

    /// Whether an entry of the configuration names the channel of a target: its own one, or milestones of its branch.
    pub fn names(&self, target: &Target) -> bool {
        self.watches.iter().any(|watch| is_of(watch, target))
    }

    /// Where the branch or tag of a target would be: where the entries of its channel look for commits, else those of its
    /// recipe. Each once.
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

/// Why a target is refused whose channel no entry [names](Setup::names).
pub fn unnamed(target: &Target) -> String {
    format!(
        "no entry of the configuration names channel {}; `trigger --new-channel` requests it",
        target.channel
    )
}

/// The build to make, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The branch or tag to build, and its channel.
    pub target: Target,
    /// The channel that it is made upon, from the entry of [`Setup::branch`].
    pub after: Option<Channel>,
    /// The globs of the changed files that count as a change, from the entry of [`Setup::branch`].
    pub paths: trigger::PathRules,
    /// Why; never empty.
    pub reasons: Vec<Reason>,
    /// How many further reasons there are.
    pub more_reasons: u64,
    /// Whether it is built although nothing changed.
    pub force: bool,
    /// Whether sources that failed to build are built again.
    pub retry_failed: bool,
}

/// A message from a running build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It has its date; it can be resumed from now on.
    Named(BuildId),
    /// Something happened to a phase.
    Phase(Event),
}

/// Where a build tells its progress.
pub type Tell = dyn Fn(Progress) + Send + Sync;

/// The result of applying the retention policy once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruned {
    /// A summary, in a line.
    pub text: String,
    /// The due builds that were kept because removing them seemed wrong: by channel, or `mirror` for all, the reason
    /// and how to release them.
    pub blocked: BTreeMap<String, String>,
    /// True if a step failed.
    pub failed: bool,
    /// The number of builds that were moved to the trash.
    pub retired: u64,
    /// The number of builds that were deleted from it.
    pub purged: u64,
    /// The bytes that deleting the builds moved to the trash frees.
    pub bytes: u64,
}

/// How a build left the builder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// It is over.
    Over(RunEnd),
    /// Somebody else works on the channel; another try is worth it.
    Busy(String),
}

/// Builds and publishes.
///
/// # Contract
/// - One build a channel at a time is asked for; several channels side by side.
/// - A build tells its id before anything of it can be resumed, and its phases in order.
/// - Dropping a future of `build` or `resume` ends what it runs, as a crash would; the build is then unfinished, or published.
/// - What is unfinished stays so until `resume` or `abandon` ends it. After that it is published, or gone.
/// - Orphans of a builder that was killed are ended before a build of their channel goes on.
#[async_trait]
pub trait Builder: Send + Sync {
    /// Makes one build.
    async fn build(&self, order: &Order, tell: &Tell, cancel: &Cancel) -> Left;

    /// Goes on with an unfinished build at its first unfinished phase.
    async fn resume(&self, build: &BuildId, tell: &Tell, cancel: &Cancel) -> Left;

    /// Publishes an unfinished build as failed, for `reason`.
    async fn abandon(&self, build: &BuildId, reason: &str) -> Left;

    /// The builds that can be resumed.
    ///
    /// # Errors
    /// Why that is not known, in a line.
    async fn unfinished(&self) -> Result<Vec<BuildId>, String>;

    /// How a build ended, if it is published.
    ///
    /// # Errors
    /// Why that is not known, in a line.
    async fn published(&self, build: &BuildId) -> Result<Option<RunEnd>, String>;
}

/// Sees commits.
#[async_trait]
pub trait Upstream: Send + Sync {
    /// The commits that the repositories of a watch are at, and the files changed since `before` where the watch has
    /// path globs.
    ///
    /// # Errors
    /// Why that is not known, in a line; one of a branch that is not there says so.
    async fn observe(&self, watch: &Watch, before: Option<&Heads>) -> Result<Observation, String>;

    /// Whether a branch or tag is there: in the manifest's repository, or in one of several.
    ///
    /// # Errors
    /// Why that is not known, in a line.
    async fn has(&self, upstream: &trigger::Upstream, git: &str) -> Result<bool, String>;
}

/// A request to the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// A build.
    Build {
        /// Where it is published.
        release: ReleaseId,
        /// The git branch or tag.
        git: String,
        /// The reason, as a text for people.
        reason: String,
        /// Whether it is built although nothing changed.
        force: bool,
        /// Whether it is built although no entry of the configuration names its channel.
        #[serde(default)]
        new_channel: bool,
        /// The channel of the entry that builds it, needed if several entries build the branch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<Channel>,
    },
    /// The end of a request that waits, or of the run that took it.
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
        /// The reason, as a text for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// A link to the test results.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
    },
}

/// A message from somebody on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its identifier, unique among the messages; the same after a restart.
    pub id: String,
    /// Who wrote it, as the operating system says.
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
    /// The mirror refuses the verdict for good, for this reason, in a line.
    Refused(String),
    /// The mirror cannot record the verdict now, for this reason, in a line.
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
    /// The command was not started, or its end is not known, so it says nothing about the build; the reason, in a line.
    NotTested(String),
    /// Somebody cancelled the test.
    Cancelled,
}

/// A survey of the mirror and of the machine's disks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// When it was begun to look; the service says so.
    pub taken: DateTime<Utc>,
    /// The channels of the mirror.
    pub channels: BTreeMap<Channel, ChannelFacts>,
    /// The disks that fill.
    pub disks: Vec<Disk>,
    /// The parts that could not be surveyed, and why, a line each.
    pub unknown: Vec<String>,
}

/// A channel as the mirror shows it.
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
    /// Its bytes.
    pub total: u64,
    /// Those that are free.
    pub free: u64,
}

/// Something that people are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Notice {
    /// A run did not come to a success.
    Failure {
        /// The time of the event.
        at: DateTime<Utc>,
        /// The channel that it is about.
        channel: Channel,
        /// The build, if it has a date.
        build: Option<BuildId>,
        /// Why, in a line.
        reason: String,
    },
    /// The first success after that.
    Recovery {
        /// The time of the event.
        at: DateTime<Utc>,
        /// The channel that it is about.
        channel: Channel,
        /// The build.
        build: Option<BuildId>,
    },
    /// Something should not be so.
    Alarm {
        /// The time of the event.
        at: DateTime<Utc>,
        /// The alarm.
        #[serde(flatten)]
        alarm: Alarm,
        /// The same in words.
        text: String,
    },
    /// It is right again.
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
/// - What is not `async` returns at once, and nothing here makes the service fail.
/// - A message is given again and again until it is discarded.
#[async_trait]
pub trait Host: Send + Sync {
    /// The clock.
    fn now(&self) -> DateTime<Utc>;

    /// The messages of people, oldest first; not necessarily all of them.
    fn messages(&self) -> Vec<Message>;

    /// Whether a message, discarded or not, is still there.
    fn has_message(&self, id: &str) -> bool;

    /// Removes a message that was acted upon.
    fn discard(&self, id: &str);

    /// Whether a user may cancel what others asked for.
    fn may_cancel_all(&self, uid: u32) -> bool;

    /// The name of a user, as the author of a verdict.
    fn user_name(&self, uid: u32) -> String;

    /// Records a verdict on a build that is there and a success, and moves `latest_green_build`. The same verdict of the same
    /// time is recorded once, however often this is called.
    async fn mark(&self, entry: &VerdictEntry) -> Marking;

    /// Runs the command of a lab on a build; `request` is the number of the request for its verdict. Whatever an earlier run of
    /// the lab left behind is ended first. Dropping the future ends all that it runs.
    async fn test(&self, lab: &Lab, build: &BuildId, request: u64, cancel: &Cancel) -> Tested;

    /// The target of a build that somebody requests of a branch or tag that no watch names.
    ///
    /// # Errors
    /// Why nothing can be, in a line.
    fn target(&self, release: &ReleaseId, git: &str) -> Result<Target, String>;

    /// Looks at mirror and disks.
    async fn survey(&self) -> Facts;

    /// Applies the retention policy.
    ///
    /// # Errors
    /// Why it was not, or not all of it, in a line.
    async fn prune(&self) -> Result<Pruned, String>;

    /// Tells people.
    fn notify(&self, notice: Notice);

    /// Takes the state of the service, which is alive. Called after each step, so at least once a tick.
    fn pulse(&self, pulse: &Pulse<'_>);

    /// A line for the log.
    fn say(&self, text: &str);
}

#[cfg(all(test, feature = "serve"))]
mod tests;
