//! The kinds of differences.

use serde::{Deserialize, Serialize};

use crate::package::{ChangelogEntry, File, Relation, Scriptlet};

/// The differences between two packages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Differences {
    /// The changes that matter, in the order of [`Change`], then by name.
    pub changes: Vec<Change>,
    /// The differences that every rebuild causes, in the order of [`Noise`].
    pub noise: Vec<Noise>,
}

impl Differences {
    /// True if there are no changes and no noise.
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
        /// The old value.
        from: String,
        /// The new value.
        to: String,
    },
    /// A field of the package as a whole differs: name, architecture, summary, license, …
    Attribute {
        /// The name of the field.
        name: String,
        /// The old value; absent if it was not set.
        from: Option<String>,
        /// The new value; absent if it is not set.
        to: Option<String>,
    },
    /// A new file.
    FileAdded {
        /// The path of the file.
        path: String,
        /// The mode, owner, size and target of the file.
        file: FileSummary,
    },
    /// A file that is gone.
    FileRemoved {
        /// The path of the file.
        path: String,
        /// The mode, owner, size and target that it had.
        file: FileSummary,
    },
    /// A file that differs.
    FileChanged {
        /// The path of the file.
        path: String,
        /// The differences of the file; never empty.
        aspects: Vec<Aspect>,
    },
    /// A dependency that is not a shared library.
    Dependency {
        /// The kind of dependency.
        relation: Relation,
        /// The name that it depends on.
        name: String,
        /// The old conditions; empty if no dependency had this name.
        from: Vec<String>,
        /// The new conditions; empty if no dependency has this name.
        to: Vec<String>,
    },
    /// A shared library that is provided or needed.
    Soname {
        /// The kind of dependency.
        relation: Relation,
        /// `libz.so.1()(64bit)`.
        name: String,
        /// True if it is new, false if it is gone.
        added: bool,
    },
    /// A scriptlet or trigger.
    Scriptlet {
        /// `post`.
        name: String,
        /// The old value.
        from: Option<Scriptlet>,
        /// The new value.
        to: Option<Scriptlet>,
    },
    /// Changelog entries.
    Changelog {
        /// The new entries.
        added: Vec<ChangelogEntry>,
        /// The entries that are gone.
        removed: Vec<ChangelogEntry>,
    },
    /// The packing of the files.
    Payload {
        /// `format`, `compression` or `level`.
        aspect: String,
        /// The old value.
        from: String,
        /// The new value.
        to: String,
    },
    /// A file of a Debian package's control member that is neither a script nor part of another field.
    ControlFile {
        /// `templates`.
        name: String,
        /// The old text; absent if the file is new.
        from: Option<String>,
        /// The new text; absent if the file is gone.
        to: Option<String>,
    },
    /// Payloads that were not read differ in their bytes: modes, owners, symlinks and configuration files may differ.
    Unread,
}

/// The mode, owner, size and target of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileSummary {
    /// Type and permission bits.
    pub mode: u16,
    /// `root:root`.
    pub owner: String,
    /// The size in bytes.
    pub size: u64,
    /// The target of a symlink.
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

/// An aspect in which a file differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "aspect", rename_all = "kebab-case")]
pub enum Aspect {
    /// Its contents, as digests.
    Content {
        /// The old value.
        from: Option<String>,
        /// The new value.
        to: Option<String>,
    },
    /// Its size in bytes.
    Size {
        /// The old value.
        from: u64,
        /// The new value.
        to: u64,
    },
    /// Its type and permission bits.
    Mode {
        /// The old value.
        from: u16,
        /// The new value.
        to: u16,
    },
    /// Its user and group.
    Owner {
        /// The old value.
        from: String,
        /// The new value.
        to: String,
    },
    /// The target of the symlink.
    Target {
        /// The old value.
        from: Option<String>,
        /// The new value.
        to: Option<String>,
    },
    /// `config`, `doc` and the other flags, separated by commas.
    Flags {
        /// The old values.
        from: String,
        /// The new values.
        to: String,
    },
    /// Its capabilities.
    Capabilities {
        /// The old values.
        from: Option<String>,
        /// The new values.
        to: Option<String>,
    },
    /// The languages it belongs to.
    Language {
        /// The old values.
        from: Option<String>,
        /// The new values.
        to: Option<String>,
    },
    /// Its device number.
    Device {
        /// The old value.
        from: Option<u16>,
        /// The new value.
        to: Option<u16>,
    },
    /// The attributes that `rpm --verify` compares.
    Verify {
        /// The old value.
        from: Option<u32>,
        /// The new value.
        to: Option<u32>,
    },
}

/// A difference that every rebuild causes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Noise {
    /// The time of the build, in seconds since 1970.
    BuildTime {
        /// The old value.
        from: Option<u64>,
        /// The new value.
        to: Option<u64>,
    },
    /// The host of the build.
    BuildHost {
        /// The old value.
        from: Option<String>,
        /// The new value.
        to: Option<String>,
    },
    /// The version of rpm that built it.
    BuildTool {
        /// The old value.
        from: Option<String>,
        /// The new value.
        to: Option<String>,
    },
    /// Signatures, by their digests.
    Signature {
        /// The old values.
        from: Vec<String>,
        /// The new values.
        to: Vec<String>,
    },
    /// Modification times of files that are in both packages.
    FileTimes {
        /// The paths of the files.
        paths: Vec<String>,
    },
    /// A file in which only embedded times differ.
    EmbeddedTimes {
        /// The path of the file.
        path: String,
        /// Its format: `gzip`, `zip`, `ar`, `pyc`.
        format: String,
    },
    /// The packed bytes, if the unpacked contents are equal.
    PayloadBytes {
        /// The old digest.
        from: Option<String>,
        /// The new digest.
        to: Option<String>,
    },
    /// A field that follows from the files: `Installed-Size`, `Build-Ids`.
    Derived {
        /// The name of the field.
        name: String,
        /// The old value; absent if it was not set.
        from: Option<String>,
        /// The new value; absent if it is not set.
        to: Option<String>,
    },
}
