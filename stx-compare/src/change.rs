//! The kinds of differences.

use serde::{Deserialize, Serialize};

use crate::package::{ChangelogEntry, File, Relation, Scriptlet};

/// The differences between two packages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Differences {
    /// The changes that matter, in the order of [`Change`], then by name.
    pub changes: Vec<Change>,
    /// The differences that every rebuild brings, in the order of [`Noise`].
    pub noise: Vec<Noise>,
}

impl Differences {
    /// Whether there are none at all.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.noise.is_empty()
    }
}

/// A difference that matters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Change {
    /// Epoch, version or release.
    Version {
        /// As it was.
        from: String,
        /// As it is.
        to: String,
    },
    /// A field of the package as a whole differs: name, architecture, summary, license, …
    Attribute {
        /// The name of the field.
        name: String,
        /// As it was; absent if it was not said.
        from: Option<String>,
        /// As it is; absent if it is not said.
        to: Option<String>,
    },
    /// A file that was not there.
    FileAdded {
        /// The path of the file.
        path: String,
        /// The mode, owner, size and target of the file.
        file: FileSummary,
    },
    /// A file that is not there any more.
    FileRemoved {
        /// The path of the file.
        path: String,
        /// The mode, owner, size and target that it had.
        file: FileSummary,
    },
    /// A file that is not what it was.
    FileChanged {
        /// The path of the file.
        path: String,
        /// In what way; never empty.
        aspects: Vec<Aspect>,
    },
    /// A dependency, shared libraries apart.
    Dependency {
        /// Which kind.
        relation: Relation,
        /// On what.
        name: String,
        /// The conditions that were; empty if there was none of that name.
        from: Vec<String>,
        /// The conditions that are; empty if there is none of that name.
        to: Vec<String>,
    },
    /// A shared library that is provided or needed.
    Soname {
        /// Which kind.
        relation: Relation,
        /// `libz.so.1()(64bit)`.
        name: String,
        /// Whether it is new; otherwise it is gone.
        added: bool,
    },
    /// A scriptlet or trigger.
    Scriptlet {
        /// `post`.
        name: String,
        /// As it was.
        from: Option<Scriptlet>,
        /// As it is.
        to: Option<Scriptlet>,
    },
    /// Entries of the changelog.
    Changelog {
        /// New ones.
        added: Vec<ChangelogEntry>,
        /// Gone ones.
        removed: Vec<ChangelogEntry>,
    },
    /// How the files are packed.
    Payload {
        /// `format`, `compression` or `level`.
        aspect: String,
        /// As it was.
        from: String,
        /// As it is.
        to: String,
    },
    /// A file of a Debian package's control member that is neither a script nor read into something else.
    ControlFile {
        /// `templates`.
        name: String,
        /// Its text as it was; absent if it was not there.
        from: Option<String>,
        /// Its text as it is; absent if it is not there.
        to: Option<String>,
    },
    /// Bytes of the payload differ, which was not read: modes, owners, symlinks and configuration files may be different.
    Unread,
}

/// The mode, owner, size and target of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileSummary {
    /// Type and permission bits.
    pub mode: u16,
    /// `root:root`.
    pub owner: String,
    /// In bytes.
    pub size: u64,
    /// Where a symlink points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

impl From<&File> for FileSummary {
    fn from(file: &File) -> Self {
        Self {
            mode: file.mode,
            owner: file.owner.clone(),
            size: file.size,
            target: file.target.clone(),
        }
    }
}

/// One way in which a file is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "aspect", rename_all = "kebab-case")]
pub enum Aspect {
    /// Its bytes, by their digest.
    Content {
        /// As it was.
        from: Option<String>,
        /// As it is.
        to: Option<String>,
    },
    /// Its size in bytes.
    Size {
        /// As it was.
        from: u64,
        /// As it is.
        to: u64,
    },
    /// Its type and permission bits.
    Mode {
        /// As it was.
        from: u16,
        /// As it is.
        to: u16,
    },
    /// Its user and group.
    Owner {
        /// As it was.
        from: String,
        /// As it is.
        to: String,
    },
    /// Where the symlink points.
    Target {
        /// As it was.
        from: Option<String>,
        /// As it is.
        to: Option<String>,
    },
    /// `config`, `doc` and the other flags, separated by commas.
    Flags {
        /// As they were.
        from: String,
        /// As they are.
        to: String,
    },
    /// Its capabilities.
    Capabilities {
        /// As they were.
        from: Option<String>,
        /// As they are.
        to: Option<String>,
    },
    /// The languages it belongs to.
    Language {
        /// As they were.
        from: Option<String>,
        /// As they are.
        to: Option<String>,
    },
    /// Its device number.
    Device {
        /// As it was.
        from: Option<u16>,
        /// As it is.
        to: Option<u16>,
    },
    /// The attributes that `rpm --verify` compares differ.
    Verify {
        /// As it was.
        from: Option<u32>,
        /// As it is.
        to: Option<u32>,
    },
}

/// A difference that building the same again brings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Noise {
    /// When it was built, in seconds since 1970.
    BuildTime {
        /// As it was.
        from: Option<u64>,
        /// As it is.
        to: Option<u64>,
    },
    /// Where it was built.
    BuildHost {
        /// As it was.
        from: Option<String>,
        /// As it is.
        to: Option<String>,
    },
    /// The version of rpm that built it.
    BuildTool {
        /// As it was.
        from: Option<String>,
        /// As it is.
        to: Option<String>,
    },
    /// Signatures, by their digests.
    Signature {
        /// As they were.
        from: Vec<String>,
        /// As they are.
        to: Vec<String>,
    },
    /// Modification times of files that are in both.
    FileTimes {
        /// The paths of the files.
        paths: Vec<String>,
    },
    /// A file that differs in nothing but times that stand in it.
    EmbeddedTimes {
        /// The path of the file.
        path: String,
        /// Its format: `gzip`, `zip`, `ar`, `pyc`.
        format: String,
    },
    /// The packed bytes, although nothing that is packed differs.
    PayloadBytes {
        /// The digest as it was.
        from: Option<String>,
        /// The digest as it is.
        to: Option<String>,
    },
    /// A field that follows from the files: `Installed-Size`, `Build-Ids`.
    Derived {
        /// The name of the field.
        name: String,
        /// As it was; absent if it was not said.
        from: Option<String>,
        /// As it is; absent if it is not said.
        to: Option<String>,
    },
}
