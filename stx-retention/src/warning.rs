//! The warnings of a run.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use stx_layout::{AliasName, BuildId, Channel, counted, size};

use crate::text::Moment;

/// A problem that a person should check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "warning", rename_all = "kebab-case")]
pub enum Warning {
    /// Nothing was built for so long that the clock may be wrong; nothing is removed.
    ClockDoubted {
        /// The newest build's date.
        newest: DateTime<Utc>,
        /// The clock.
        now: DateTime<Utc>,
        /// The number of builds that would have been removed.
        eligible: u64,
    },
    /// More builds of a channel are eligible than one run may remove; none of them is removed.
    RemovalLimit {
        /// The channel.
        channel: Channel,
        /// The number of eligible builds.
        eligible: u64,
        /// The number of builds.
        builds: u64,
        /// The number that might have been removed, beyond those that an ordinary day or a pause explains.
        allowed: u64,
        /// The number of eligible builds that neither explains. Plans of earlier versions do not contain it.
        #[serde(default)]
        unexplained: u64,
    },
    /// Builds dated after now: the clock was set back, or a builder's clock was wrong.
    FutureBuilds {
        /// The channel.
        channel: Channel,
        /// The number of builds.
        builds: u64,
    },
    /// Builds whose record cannot be read.
    UnreadableRecords {
        /// The channel.
        channel: Channel,
        /// The number of builds.
        builds: u64,
    },
    /// Entries that are neither build nor alias; they are left alone.
    Strays {
        /// The channel.
        channel: Channel,
        /// Their names.
        names: Vec<String>,
    },
    /// An alias that does not point at a build of its channel.
    DanglingAlias {
        /// The channel.
        channel: Channel,
        /// The alias.
        alias: AliasName,
        /// The target of the alias, as found on the mirror.
        target: String,
    },
    /// A pin of a build that does not exist.
    PinOfNothing {
        /// The build.
        build: BuildId,
    },
    /// Builds are kept because no known release can end their time.
    NoRelease {
        /// The channel.
        channel: Channel,
        /// The number of builds.
        builds: u64,
    },
    /// Removing every eligible build does not reach the requested free space.
    SpaceShort {
        /// The requested free bytes.
        wanted: u64,
        /// The free bytes after all removals.
        reached: u64,
    },
}

impl Warning {
    /// The number of builds that a person has to [allow](crate::Limits::allow) to remove the builds that this warning holds back;
    /// `None` if it holds nothing back.
    pub fn allow(&self) -> Option<u64> {
        match self {
            Self::ClockDoubted { eligible, .. } | Self::RemovalLimit { eligible, .. } => {
                Some(*eligible)
            }
            Self::FutureBuilds { .. }
            | Self::UnreadableRecords { .. }
            | Self::Strays { .. }
            | Self::DanglingAlias { .. }
            | Self::PinOfNothing { .. }
            | Self::NoRelease { .. }
            | Self::SpaceShort { .. } => None,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClockDoubted {
                newest,
                now,
                eligible,
            } => write!(
                f,
                "the newest build is of {} and the clock says {}: nothing is removed, though {} {} eligible; if the clock is \
                 right, `prune --allow {eligible}` removes what is held back",
                Moment(*newest),
                Moment(*now),
                counted(*eligible, "build"),
                if *eligible == 1 { "is" } else { "are" }
            ),
            Self::RemovalLimit {
                channel,
                eligible,
                builds,
                allowed,
                unexplained,
            } => write!(
                f,
                "{channel}: {eligible} of {} are eligible, {unexplained} of them for more than two days and not because of a \
                 pause, where one run removes at most {allowed}: none is removed; if the clock and the policy are right, \
                 `prune --allow {eligible}` removes them",
                counted(*builds, "build")
            ),
            Self::FutureBuilds { channel, builds } => write!(
                f,
                "{channel}: {builds} dated in the future; is the clock right?"
            ),
            Self::UnreadableRecords { channel, builds } => {
                write!(f, "{channel}: {builds} without a readable record, kept")
            }
            Self::Strays { channel, names } => write!(
                f,
                "{channel}: neither build nor alias, left alone: {}",
                names.join(", ")
            ),
            Self::DanglingAlias {
                channel,
                alias,
                target,
            } => write!(
                f,
                "{channel}: `{alias}` points at `{target}`, which is not a build of the channel"
            ),
            Self::PinOfNothing { build } => {
                write!(f, "{build} is pinned, but there is no such build")
            }
            Self::NoRelease { channel, builds } => write!(
                f,
                "{channel}: {builds} kept because no release is known that ends their time; name the releases in the policy"
            ),
            Self::SpaceShort { wanted, reached } => write!(
                f,
                "{} should be free, and {} will be: not enough is eligible",
                size(*wanted),
                size(*reached)
            ),
        }
    }
}
