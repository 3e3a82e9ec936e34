//! Finds the entry of the configuration that a request refers to.

use stx_layout::{Channel, ReleaseId};

use crate::Setup;
use crate::trigger::Watch;

/// The reason that no entry of the configuration fits a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Several entries build the branch, each in a channel of its own.
    #[error(
        "several entries of the configuration build {git}: {}",
        names(channels)
    )]
    Several {
        /// The branch or tag.
        git: String,
        /// The channels of these entries.
        channels: Vec<Channel>,
    },
    /// No entry builds the branch in the given channel.
    #[error("no entry of the configuration builds {git} in channel {channel}")]
    Missing {
        /// The branch or tag.
        git: String,
        /// The channel.
        channel: Channel,
    },
}

fn names(channels: &[Channel]) -> String {
    let names: Vec<_> = channels.iter().map(ToString::to_string).collect();
    names.join(", ")
}

impl Setup {
    /// The entry of a channel; milestones are ignored.
    pub fn entry_of(&self, channel: &Channel) -> Option<&Watch> {
        let mut entries = self.entries();
        entries.find(|watch| watch.channel == *channel)
    }

    /// The entry that builds a branch or tag as a release, in `channel` if it is given. `None` if no entry does, and no channel
    /// is given.
    ///
    /// # Errors
    /// Several entries do, and choosing the first would be a guess; or no entry does in that channel.
    pub fn entry(
        &self,
        release: &ReleaseId,
        git: &str,
        channel: Option<&Channel>,
    ) -> Result<Option<&Watch>, EntryError> {
        let found = self.entries();
        let found = found.filter(|it| it.git == git && it.channel.release == *release);
        let found: Vec<_> = found
            .filter(|it| channel.is_none_or(|channel| it.channel == *channel))
            .collect();
        match (&found[..], channel) {
            ([], Some(channel)) => Err(EntryError::Missing {
                git: git.to_owned(),
                channel: channel.clone(),
            }),
            ([], None) => Ok(None),
            ([one], _) => Ok(Some(*one)),
            (several, _) => Err(EntryError::Several {
                git: git.to_owned(),
                channels: several.iter().map(|it| it.channel.clone()).collect(),
            }),
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Watch> {
        let watches = self.watches.iter();
        watches.filter(|watch| watch.milestone.is_none())
    }
}
