//! Why builds start: pure decisions from what was seen and what is remembered.
//!
//! ```text
//! schedule ─┐
//! commits  ─┤
//! layers   ─┼─> Reason ──> request (filed once, further reasons join it) ──> run
//! people   ─┘
//! ```
//!
//! Each [`Watch`] has a [`Mark`] in the ledger. It moves in the same transaction in which the request is filed, so a
//! commit or a tick is either still to be acted upon or is a reason of a request; it is never neither.

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

/// The commits that the branches of a watch's repositories are at, by [public URL](public_url). Where a manifest names a repository
/// with several revisions, there is an entry for each: `URL REVISION`.
pub type Heads = BTreeMap<String, String>;

/// Reads heads; earlier versions kept the URLs as they were configured, with their credentials.
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
    /// Where it is published.
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

/// Why a build was asked for, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The time at which the cause was seen.
    pub at: DateTime<Utc>,
    /// The cause.
    #[serde(flatten)]
    pub cause: Cause,
}

/// Why a build was asked for. `Display` is the trigger as a build's record has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "kebab-case")]
pub enum Cause {
    /// It was time.
    Periodic {
        /// The nominal time.
        due: DateTime<Utc>,
        /// Whether this makes up for earlier times, too.
        missed: bool,
    },
    /// There are new commits.
    Commit {
        /// The commits that the repositories are at, only of those that moved.
        #[serde(deserialize_with = "public_heads")]
        heads: Heads,
    },
    /// The channel below has a new success.
    After {
        /// That success.
        build: BuildId,
    },
    /// Somebody asked.
    Manual {
        /// Their user id, as the operating system says it.
        uid: u32,
        /// The reason that they gave, as they wrote it.
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

/// Where the commits of a watch are seen.
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

/// One thing that is built by itself: a branch, or milestones of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    /// The key of its mark: the channel, or the pattern of its channels.
    pub key: String,
    /// The git branch or tag.
    pub git: String,
    /// The channel; of a milestone its release identifier is that of the next one.
    pub channel: Channel,
    /// The recipe file, absolute.
    pub recipe: Utf8PathBuf,
    /// How a milestone is called, as a pattern of `strftime`; `None` for a branch.
    pub milestone: Option<String>,
    /// When it is built by the clock.
    pub schedule: Option<Schedule>,
    /// How often commits are looked for; `None` for never.
    pub poll: Option<Duration>,
    /// The repository or manifest that is polled.
    pub upstream: Option<Upstream>,
    /// The channel below: each new success there starts a build, and builds are made upon its newest success.
    pub after: Option<Channel>,
    /// The globs of the changed files that start a build.
    pub paths: PathRules,
    /// How long it has to be quiet after a commit.
    pub quiet: Duration,
    /// How long commits may be gathered at most.
    pub quiet_max: Duration,
    /// Whether sources that failed to build are built again at the next tick.
    pub retry_failed: bool,
    /// How old `latest_build` may get; `None` for twice the schedule's gap.
    pub max_age: Option<Duration>,
}

/// The last tick and the last commits of a watch that were acted upon, and commits that still wait.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mark {
    /// The nominal time of the last tick that was acted upon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fired: Option<DateTime<Utc>>,
    /// The heads that were last acted upon, or found not to matter; `None` before the first look.
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
    /// When the first of the commits was seen.
    pub since: DateTime<Utc>,
    /// When the last of them was.
    pub moved: DateTime<Utc>,
}

/// The name of a milestone of time `at`.
///
/// # Errors
/// Patterns that are none of `strftime`, or whose text is no name of the mirror's grammar; in a line.
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
    /// A watch of a branch that nothing starts by itself; its key is the channel.
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

/// The effect of the schedule of a watch at `now`: the mark to remember, and the reason to build, if there is one.
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
