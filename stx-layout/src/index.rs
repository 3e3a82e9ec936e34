//! The `index.json` of a mirror and of each channel: the catalog as files that any web server can serve.
//!
//! A reader over HTTP begins here, and never has to parse a directory listing. The files are derived: they contain nothing that
//! is not in the tree, and are made again after every change. They may be a moment older than the tree; an alias is therefore
//! resolved by reading `ALIAS/build.json`, not the index.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::{
    AliasEntry, AliasName, BuildDate, BuildEntry, BuildId, BuildOutcome, BuildPath, BuildRecord,
    BuildState, Channel, ChannelEntry, RootAlias, RootEntry, Section, Sha256, UndatedEntry,
    VerdictEntry,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The version of the form that is written, and the newest one that is read.
pub const SCHEMA: u32 = 1;

/// A derived file beside the channels, or beside the builds of one channel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId {
    /// The channel; `None` for the root of the mirror.
    pub channel: Option<Channel>,
    /// The file.
    pub name: PageName,
}

impl PageId {
    /// Its path in the mirror.
    pub fn path(&self) -> String {
        match &self.channel {
            Some(channel) => format!("{channel}/{}", self.name.file_name()),
            None => self.name.file_name().into_owned(),
        }
    }
}

/// The derived files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PageName {
    /// `index.json`: [`RootIndex`] or [`ChannelIndex`].
    IndexJson,
    /// `index.json.asc`, its signature, if the mirror signs.
    IndexSignature,
    /// `index.html`, the page for browsers.
    IndexHtml,
    /// `feed.xml`, an Atom feed of a channel's builds (RFC 4287).
    Feed,
    /// `KEYS` at the root, the public key of a mirror that signs.
    Keys,
    /// `apt.sources` of a channel with Debian packages, for `/etc/apt/sources.list.d`.
    AptSources,
    /// `dnf.repo` of a channel with RPM packages, for `/etc/yum.repos.d`.
    DnfRepo,
    /// `20181105T060000Z.sources`: like [`AptSources`](Self::AptSources), for that very build.
    AptSourcesOf(BuildDate),
    /// `20181105T060000Z.repo`: like [`DnfRepo`](Self::DnfRepo), for that very build.
    DnfRepoOf(BuildDate),
    /// `20181105T060000Z.html`, the page of that build. It is beside the build, whose own files never change.
    HtmlOf(BuildDate),
}

impl PageName {
    /// The files that a mirror or a channel has once; each of the others belongs to a build.
    pub const ALL: [Self; 7] = [
        Self::IndexJson,
        Self::IndexSignature,
        Self::IndexHtml,
        Self::Feed,
        Self::Keys,
        Self::AptSources,
        Self::DnfRepo,
    ];

    /// The derived file with this name, if there is one.
    pub fn of(file_name: &str) -> Option<Self> {
        let of_build = || {
            let (date, kind) = file_name.split_once('.')?;
            let date = date.parse().ok()?;
            match kind {
                "sources" => Some(Self::AptSourcesOf(date)),
                "repo" => Some(Self::DnfRepoOf(date)),
                "html" => Some(Self::HtmlOf(date)),
                _ => None,
            }
        };
        let fixed = Self::ALL
            .into_iter()
            .find(|page| page.file_name() == file_name);
        fixed.or_else(of_build)
    }

    /// True if a file with this name is a derived one.
    pub fn is(file_name: &str) -> bool {
        Self::of(file_name).is_some()
    }

    /// The name of the file.
    pub fn file_name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::IndexJson => "index.json",
            Self::IndexSignature => "index.json.asc",
            Self::IndexHtml => "index.html",
            Self::Feed => "feed.xml",
            Self::Keys => "KEYS",
            Self::AptSources => "apt.sources",
            Self::DnfRepo => "dnf.repo",
            Self::AptSourcesOf(date) => return Cow::Owned(format!("{date}.sources")),
            Self::DnfRepoOf(date) => return Cow::Owned(format!("{date}.repo")),
            Self::HtmlOf(date) => return Cow::Owned(format!("{date}.html")),
        })
    }
}

/// The `index.json` at the root of a mirror.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootIndex {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Counts the versions up; absent if the mirror does not sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<u64>,
    /// The time until which a reader without a newer version may trust it; absent if the mirror does not sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<DateTime<Utc>>,
    /// The channels, sorted.
    pub channels: Vec<ChannelSummary>,
    /// The names that point at releases and channels, such as `r2018.10`, and their targets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<RootAlias, RootEntry>,
}

/// A channel in the root's index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelSummary {
    /// Its name, which is also its path.
    pub channel: Channel,
    /// The serial of its index, or a lower one; absent if the mirror does not sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<u64>,
    /// The number of its builds.
    pub builds: u64,
    /// The bytes of these builds; shared bytes count for each.
    pub bytes: u64,
    /// The newest build, with its outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<NewestBuild>,
    /// The build that `latest_build` points at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_build: Option<BuildDate>,
    /// The build that `latest_green_build` points at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_green_build: Option<BuildDate>,
    /// The ISO images of the build that `latest_build` points at; paths are relative to the build.
    #[serde(default)]
    pub iso: Vec<Media>,
    /// The build of another channel upon which the newest success was made, in a distribution in layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<BelowSummary>,
}

/// The build below a channel, in a distribution in layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BelowSummary {
    /// The newest success of the channel.
    pub date: BuildDate,
    /// The build upon which it was made.
    pub build: BuildId,
    /// The state of that build.
    pub state: BelowState,
}

/// The state of a build upon which another was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BelowState {
    /// It is the newest success of its channel.
    Newest,
    /// Its channel has another newest success.
    Older,
    /// The mirror does not have it.
    Gone,
}

/// The newest build of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewestBuild {
    /// Its date.
    pub date: BuildDate,
    /// Its outcome; absent if its record cannot be read.
    pub result: Option<BuildOutcome>,
}

/// The `index.json` of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelIndex {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Counts the versions up; absent if the mirror does not sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<u64>,
    /// The time until which a reader without a newer version may trust it; absent if the mirror does not sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<DateTime<Utc>>,
    /// The channel.
    pub channel: Channel,
    /// Its aliases.
    pub aliases: BTreeMap<AliasName, AliasEntry>,
    /// The aliases that deliberately point to an older build.
    #[serde(default)]
    pub held: BTreeSet<AliasName>,
    /// The sections that can be read without a date, and the build of each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub undated: BTreeMap<Section, UndatedEntry>,
    /// The digest of everything on the pages of builds that does not come from a build: texts of the configuration, the key, the
    /// form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look: Option<Sha256>,
    /// Its builds, newest first.
    pub builds: Vec<BuildIndex>,
    /// Names that are neither build nor alias.
    #[serde(default)]
    pub strays: Vec<String>,
}

/// A build in its channel's index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildIndex {
    /// Its date, which is also the name of its directory.
    pub date: BuildDate,
    /// Its `build.json`; absent if it cannot be read.
    pub record: Option<BuildRecord>,
    /// The reason why it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// True if it contains a `KEEP` file.
    #[serde(default)]
    pub keep_file: bool,
    /// The verdicts on it, oldest first; the newest counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<VerdictEntry>,
    /// The end of its stay, with the reasons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stays: Option<Stay>,
    /// Its ISO images.
    #[serde(default)]
    pub iso: Vec<Media>,
    /// The directories from which `apt` and `dnf` install: repositories of packages that it built.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<BuildPath>,
    /// The files beside its directory that configure `apt` and `dnf` to install from it: `20181105T060000Z.sources`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub installs: Vec<String>,
    /// The differences of its packages from those of the previous success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<PackageChanges>,
    /// Its page, `20181105T060000Z.html` beside its directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<BuildPage>,
}

/// The page of a build, in the index of its channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildPage {
    /// The digest of its bytes.
    pub sha256: Sha256,
    /// The sections of the build that were in the trash when the page was made. The page is made again when they change.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub retired: BTreeSet<BuildPath>,
}

/// The end of a build's stay and its reasons, as judged by retention when the index was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stay {
    /// The time at which it expires if nothing but the time changes; absent if only an event can end a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// Every reason, in words; for a build that is to be retired, the rule.
    pub reasons: Vec<String>,
}

/// A file for download.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    /// Its path in the build.
    pub path: BuildPath,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its digest.
    pub sha256: Sha256,
}

/// The difference between the packages of two builds, RPM and Debian, by file names and digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageChanges {
    /// The build with which it was compared.
    pub since: BuildDate,
    /// Packages that the other build does not have.
    pub added: Vec<String>,
    /// Packages that only the other build has.
    pub removed: Vec<String>,
    /// Packages with another version or release.
    pub updated: Vec<PackageUpdate>,
    /// Packages of the same version and release whose bytes differ.
    pub rebuilt: Vec<String>,
}

impl PackageChanges {
    /// The number of packages that differ.
    pub fn count(&self) -> usize {
        self.added.len() + self.removed.len() + self.updated.len() + self.rebuilt.len()
    }
}

/// A package with another version or release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackageUpdate {
    /// Its name and architecture: `kernel.x86_64`.
    pub name: String,
    /// The version and release in the other build.
    pub from: String,
    /// The version and release in this build.
    pub to: String,
}

/// An index that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Not the JSON of an index.
    #[error("index.json line {}, column {}", source.line(), source.column())]
    Json {
        /// The JSON error, with its line and column.
        #[from]
        source: serde_json::Error,
    },
    /// Written by a version that changed the meaning of known fields.
    #[error("index.json of schema {found}; this version reads up to {SCHEMA}")]
    TooNew {
        /// Its schema version.
        found: u32,
    },
}

/// Parses an index after a check of its version.
fn from_json<T: serde::de::DeserializeOwned>(text: &[u8]) -> Result<T, IndexError> {
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    let Version { schema: found } = serde_json::from_slice(text)?;
    if found > SCHEMA {
        return Err(IndexError::TooNew { found });
    }
    Ok(serde_json::from_slice(text)?)
}

fn to_json(index: &impl Serialize) -> String {
    let mut text = serde_json::to_string(index).expect("an index has no map without text keys");
    text.push('\n');
    text
}

impl RootIndex {
    /// Reads the text of an `index.json`.
    pub fn from_json(text: &[u8]) -> Result<Self, IndexError> {
        from_json(text)
    }

    /// The text of an `index.json`.
    pub fn to_json(&self) -> String {
        to_json(self)
    }
}

impl ChannelIndex {
    /// Reads the text of an `index.json`.
    pub fn from_json(text: &[u8]) -> Result<Self, IndexError> {
        from_json(text)
    }

    /// The text of an `index.json`.
    pub fn to_json(&self) -> String {
        to_json(self)
    }

    /// The catalog entry from which it was made.
    pub fn entry(self) -> ChannelEntry {
        let builds = self.builds.into_iter().map(|build| {
            let state = match (build.record, build.unreadable) {
                (Some(record), None) => BuildState::Known(Box::new(record)),
                (_, why) => BuildState::Unreadable(
                    why.unwrap_or_else(|| "the index has no record of it".to_owned()),
                ),
            };
            let entry = BuildEntry {
                state,
                keep_file: build.keep_file,
            };
            (build.date, entry)
        });
        ChannelEntry {
            builds: builds.collect(),
            aliases: self.aliases,
            held: self.held,
            undated: self.undated,
            strays: self.strays,
        }
    }
}
