//! The reasons for which builds start: pure decisions on observations and the remembered state.
//!
//! ```text
//! schedule ─┐
//! commits  ─┤
//! layers   ─┼─> Reason ──> request (filed once, further reasons join it) ──> run
//! people   ─┘
//! ```
//!
//! Each [`Watch`] has a [`Mark`] in the ledger. The mark moves in the transaction in which the request is filed. So a commit or
//! a tick is either still to be acted upon, or is a reason of a request; none is lost.

mod access;
mod after;
mod commit;
mod manifest;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use camino::Utf8PathBuf;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use stx_layout::{BuildId, Channel, Name, ReleaseId, public_url};

pub use access::{Access, access};
pub use after::{after, circle};
pub use commit::{Observation, Verdict, judge};
pub use manifest::{IncludeFault, ManifestError, Project, includes, projects};
pub use stx_pipeline::{ChangedFile, PathRules, PathRulesError};

use crate::schedule::{Schedule, Tick};

/// The current commits of the branches of a watch's repositories, by [public URL](public_url). If a manifest names a repository
/// with several revisions, each has an entry: `URL REVISION`.
pub type Heads = BTreeMap<String, String>;

/// Reads heads. Earlier versions stored the URLs as configured, with their credentials.
fn public_heads<'de, D: Deserializer<'de>>(from: D) -> Result<Heads, D::Error> {
    let heads = Heads::deserialize(from)?.into_iter();
    Ok(heads.map(|(url, at)| (public_url(&url), at)).collect())
}

fn maybe_public_heads<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Heads>, D::Error> {
    #[derive(Deserialize)]
    struct Public(#[serde(deserialize_with = "public_heads")] Heads);
    Ok(Option::<Public>::deserialize(from)?.map(|Public(heads)| heads))
}

/// The target of a build: a git branch or tag, a recipe, and a channel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// The channel in which it is published.
    pub channel: Channel,
    /// The git branch or tag.
    pub git: String,
    /// The recipe file, absolute.
    pub recipe: Utf8PathBuf,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.channel, self.git)
    }
}

/// The cause of a requested build, and its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The time at which the cause was observed.
    pub at: DateTime<Utc>,
    /// The cause.
    #[serde(flatten)]
    pub cause: Cause,
}

/// The cause of a requested build. `Display` is the trigger as written in a build's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "kebab-case")]
pub enum Cause {
    /// The schedule.
    Periodic {
        /// The nominal time.
        due: DateTime<Utc>,
        /// True if this also makes up for earlier ticks.
        missed: bool,
    },
    /// New commits.
    Commit {
        /// The current commits of the repositories that moved.
        #[serde(deserialize_with = "public_heads")]
        heads: Heads,
    },
    /// A new success of the channel below.
    After {
        /// That success.
        build: BuildId,
    },
    /// A request by a user.
    Manual {
        /// Their user id, as the operating system reports it.
        uid: u32,
        /// The reason as they wrote it.
        text: String,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Periodic { due, missed } => {
                write!(f, "periodic {}", due.format("%Y-%m-%dT%H:%M:%SZ"))?;
                f.write_str(if *missed { ", after missed times" } else { "" })
            }
            Self::Commit { heads } => {
                f.write_str("commit")?;
                for (index, (key, commit)) in heads.iter().enumerate() {
                    let (url, revision) = key.split_once(' ').unwrap_or((key, ""));
                    let name = url.trim_end_matches('/').rsplit('/').next().unwrap_or(url);
                    let name = name.strip_suffix(".git").unwrap_or(name);
                    let short = commit.get(..10).unwrap_or(commit);
                    let separator = if index == 0 { " " } else { ", " };
                    f.write_str(separator)?;
                    match revision {
                        "" => write!(f, "{name} {short}")?,
                        _ => write!(f, "{name} {revision} {short}")?,
                    }
                }
                Ok(())
            }
            Self::After { build } => write!(f, "after {build}"),
            Self::Manual { text, .. } if text.is_empty() => f.write_str("manual"),
            Self::Manual { text, .. } => write!(f, "manual: {text}"),
        }
    }
}

/// The source in which the commits of a watch are observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// These repositories.
    Repositories(Vec<String>),
    /// The manifest of this URL, and the projects that it names.
    Manifest {
        /// The manifest's repository.
        url: String,
        /// The file in it.
        file: String,
    },
}

/// A branch, or the milestones of a branch, that is built on its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    /// The key of its mark: the channel, or the pattern of its channels.
    pub key: String,
    /// The git branch or tag.
    pub git: String,
    /// The channel; for a milestone, its release identifier is that of the next milestone.
    pub channel: Channel,
    /// The recipe file, absolute.
    pub recipe: Utf8PathBuf,
    /// The name of a milestone, as a pattern of `strftime`; `None` for a branch.
    pub milestone: Option<String>,
    /// The schedule, if it is built by the clock.
    pub schedule: Option<Schedule>,
    /// The interval between polls for commits; `None` for never.
    pub poll: Option<Duration>,
    /// The repository or manifest that is polled.
    pub upstream: Option<Upstream>,
    /// The channel below: each new success there starts a build, and builds are built upon its newest success.
    pub after: Option<Channel>,
    /// The globs of the changed files that start a build.
    pub paths: PathRules,
    /// The time without further commits that must pass before a build.
    pub quiet: Duration,
    /// The longest time that commits are gathered.
    pub quiet_max: Duration,
    /// True if sources that failed to build are built again at the next tick.
    pub retry_failed: bool,
    /// The greatest age of `latest_build`; `None` for twice the schedule's gap.
    pub max_age: Option<Duration>,
}

/// The last tick and the last commits of a watch that were acted upon, and the commits that still wait.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mark {
    /// The nominal time of the last tick that was acted upon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fired: Option<DateTime<Utc>>,
    /// The heads that were last acted upon, or found irrelevant; `None` before the first poll.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "maybe_public_heads"
    )]
    pub considered: Option<Heads>,
    /// The newest success of the channel below that started a build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<BuildId>,
    /// Commits that are being gathered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
}

/// Commits that wait for a quiet time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The heads.
    #[serde(deserialize_with = "public_heads")]
    pub heads: Heads,
    /// The time at which the first of the commits was observed.
    pub since: DateTime<Utc>,
    /// The time at which the last of them was observed.
    pub moved: DateTime<Utc>,
}

/// The name of a milestone of time `at`.
///
/// # Errors
/// Invalid patterns of `strftime`, or patterns whose text is not a valid name in the mirror's grammar; in one line.
pub(crate) fn milestone_name(pattern: &str, at: DateTime<Utc>) -> Result<Name, String> {
    use chrono::format::{Item, StrftimeItems};
    let wrong = |why: &dyn fmt::Display| format!("`{pattern}` names no milestone: {why}");
    let items: Vec<_> = StrftimeItems::new(pattern).collect();
    if items.contains(&Item::Error) {
        return Err(wrong(&"not a pattern of strftime, such as `%Y.%m`"));
    }
    let text = at.format_with_items(items.iter()).to_string();
    text.parse().map_err(|error| wrong(&error))
}

impl Watch {
    /// A watch of a branch without any automatic trigger; its key is the channel.
    pub fn new(target: Target) -> Self {
        Self {
            key: target.channel.to_string(),
            git: target.git,
            channel: target.channel,
            recipe: target.recipe,
            milestone: None,
            schedule: None,
            poll: None,
            upstream: None,
            after: None,
            paths: PathRules::default(),
            quiet: Duration::ZERO,
            quiet_max: Duration::ZERO,
            retry_failed: false,
            max_age: None,
        }
    }

    /// The target of a build for the tick of nominal time `at`.
    pub fn target(&self, at: DateTime<Utc>) -> Target {
        let mut channel = self.channel.clone();
        let name = self
            .milestone
            .as_deref()
            .and_then(|pattern| milestone_name(pattern, at).ok());
        if let Some(name) = name {
            channel.release = ReleaseId::Milestone(name);
        }
        Target {
            channel,
            git: self.git.clone(),
            recipe: self.recipe.clone(),
        }
    }
}

/// The effect of the schedule of a watch at `now`: the mark to remember, and the reason to build, if any.
pub fn periodic(watch: &Watch, mark: &Mark, now: DateTime<Utc>) -> Option<(Mark, Option<Reason>)> {
    let schedule = watch.schedule.as_ref()?;
    let mut mark = mark.clone();
    match schedule.tick(mark.fired, now) {
        Tick::Wait => None,
        Tick::Rebase(at) => {
            mark.fired = Some(at);
            Some((mark, None))
        }
        Tick::Act(due) => {
            mark.fired = Some(due.at);
            let (due, missed) = (due.at, due.missed);
            let cause = Cause::Periodic { due, missed };
            Some((mark, Some(Reason { at: now, cause })))
        }
    }
}

#[cfg(test)]
mod tests;
