//! The contents of a mirror, as a value.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{AliasName, BuildDate, BuildId, BuildOutcome, BuildRecord, Channel, Section};

/// The contents of a mirror: its channels, their builds and aliases.
///
/// Retention reads it, publishing scans it; neither depends on the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalog {
    /// The channels.
    pub channels: BTreeMap<Channel, ChannelEntry>,
}

/// The contents of one channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChannelEntry {
    /// The builds, oldest first.
    pub builds: BTreeMap<BuildDate, BuildEntry>,
    /// The aliases, by name.
    pub aliases: BTreeMap<AliasName, AliasEntry>,
    /// The aliases that were deliberately moved back, and that point to an older build than the newest success until another
    /// build is published.
    pub held: BTreeSet<AliasName>,
    /// The sections that can be read without a date, as `CHANNEL/outputs/…`, and the build of each.
    pub undated: BTreeMap<Section, UndatedEntry>,
    /// Directory entries that are neither build nor alias, in byte order.
    pub strays: Vec<String>,
}

/// The target of an alias, as found on the mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AliasEntry {
    /// A build date, even if the build does not exist.
    Build(BuildDate),
    /// Something else; the text found on the mirror.
    Other(String),
}

/// The build whose section is read without a date, as found on the mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UndatedEntry {
    /// The build that this alias points to at any time: a link `outputs -> latest_build/outputs`.
    Alias(AliasName),
    /// The build of this date, even if it does not exist.
    Build(BuildDate),
    /// Something else; the text found on the mirror.
    Other(String),
}

impl UndatedEntry {
    /// The entry for a section's link with this text.
    ///
    /// ```
    /// # use stx_layout::{Section, UndatedEntry};
    /// let of = |text| UndatedEntry::of_link(Section::Outputs, text);
    /// assert!(matches!(of("latest_build/outputs"), UndatedEntry::Alias(_)));
    /// assert!(matches!(of("20181105T060000Z/outputs"), UndatedEntry::Build(_)));
    /// assert!(matches!(of("latest_build/inputs"), UndatedEntry::Other(_)));
    /// ```
    pub fn of_link(section: Section, text: &str) -> Self {
        let other = || Self::Other(text.to_owned());
        match text.split_once('/') {
            Some((name, word)) if word == section.as_str() => match (name.parse(), name.parse()) {
                (Ok(alias), _) => Self::Alias(alias),
                (Err(_), Ok(date)) => Self::Build(date),
                (Err(_), Err(_)) => other(),
            },
            Some(_) | None => other(),
        }
    }
}

/// One build of a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildEntry {
    /// Its record, or the reason why it has none.
    pub state: BuildState,
    /// True if it contains a `KEEP` file, the build team's oldest form of a pin.
    pub keep_file: bool,
}

/// The record of a build, or the reason why it cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildState {
    /// The record.
    Known(Box<BuildRecord>),
    /// The record is missing, unreadable, or that of another build: the reason, in one line.
    Unreadable(String),
}

impl BuildEntry {
    /// The record, if it could be read.
    pub fn record(&self) -> Option<&BuildRecord> {
        match &self.state {
            BuildState::Known(record) => Some(record),
            BuildState::Unreadable(_) => None,
        }
    }

    /// True if the build is known to be a success.
    pub fn is_success(&self) -> bool {
        self.record()
            .is_some_and(|record| record.result == BuildOutcome::Success)
    }
}

impl ChannelEntry {
    /// The newest build that is known to be a success: the required target of `latest_build`.
    pub fn newest_success(&self) -> Option<BuildDate> {
        self.builds
            .iter()
            .rev()
            .find(|(_, build)| build.is_success())
            .map(|(date, _)| *date)
    }
}

impl ChannelEntry {
    /// The build whose section is read without a date, if a build of that name exists.
    pub fn undated_build(&self, section: Section) -> Option<BuildDate> {
        match self.undated.get(&section)? {
            UndatedEntry::Build(date) => Some(*date),
            UndatedEntry::Alias(alias) => match self.aliases.get(alias)? {
                AliasEntry::Build(date) => Some(*date),
                AliasEntry::Other(_) => None,
            },
            UndatedEntry::Other(_) => None,
        }
    }
}

impl Catalog {
    /// A build of the catalog.
    pub fn build(&self, id: &BuildId) -> Option<&BuildEntry> {
        self.channels.get(&id.channel)?.builds.get(&id.date)
    }

    /// The newest build of a channel that is known to be a success.
    pub fn newest_success(&self, channel: &Channel) -> Option<BuildId> {
        let date = self.channels.get(channel)?.newest_success()?;
        Some(BuildId::new(channel.clone(), date))
    }

    /// The build of another channel upon which a build was made according to its record, in a distribution in layers.
    pub fn upon(&self, build: &BuildId) -> Option<&BuildId> {
        let record = self.build(build)?.record()?;
        Some(&record.after.as_ref()?.build)
    }

    /// Every build, by channel, oldest first.
    pub fn builds(&self) -> impl Iterator<Item = (BuildId, &BuildEntry)> {
        self.channels.iter().flat_map(|(channel, entry)| {
            entry
                .builds
                .iter()
                .map(|(date, build)| (BuildId::new(channel.clone(), *date), build))
        })
    }
}
