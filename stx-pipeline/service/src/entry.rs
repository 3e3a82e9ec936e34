//! The entry of the configuration that a request means.

use stx_layout::{Channel, ReleaseId};

use crate::Setup;
use crate::trigger::Watch;

/// The reason why no entry of the configuration is meant by a request.
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
    /// No entry builds the branch in the channel that is named.
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
    /// The entry of a channel, milestones left out.
    pub fn entry_of(&self, channel: &Channel) -> Option<&Watch> {
        let mut entries = self.entries();
        entries.find(|watch| watch.channel == *channel)
    }

    /// The entry that builds a branch or tag as a release, in `channel` if one is named; `None` if no entry does, and no
    /// channel is named.
    ///
    /// # Errors
    /// Several entries do, or none in that channel: the first one would be a guess.
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
