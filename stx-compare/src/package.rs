//! A package as a value: what its header says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use stx_layout::Evr;

/// The fields of the header of an RPM package.
///
/// The conclusions from the rest (the sizes of the payload, file classes and colors, inode numbers, the digests of the header
/// itself) is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Package {
    /// `hello`.
    pub name: String,
    /// The epoch, where there is one.
    pub epoch: Option<u32>,
    /// `1.0`.
    pub version: String,
    /// `2.tis`.
    pub release: String,
    /// `x86_64`, `noarch`; `src` for a source package.
    pub arch: String,
    /// What else is said of it, by name: `summary`, `license`; a tag without a name here is `tag 1234`.
    pub attributes: BTreeMap<String, String>,
    /// The files, by path.
    pub files: BTreeMap<String, File>,
    /// Its dependencies: provides, requires and so on.
    pub dependencies: BTreeMap<Relation, BTreeSet<Dependency>>,
    /// The scriptlets and triggers, by name: `post`, `trigger in bash`.
    pub scriptlets: BTreeMap<String, Scriptlet>,
    /// The changelog, newest first.
    pub changelog: Vec<ChangelogEntry>,
    /// How the files are packed.
    pub payload: Payload,
    /// How, when and where it was built and signed.
    pub origin: Origin,
}

impl Package {
    /// Epoch, version and release: `1:1.0-2.tis`.
    pub fn evr(&self) -> Evr {
        Evr {
            epoch: self.epoch,
            version: self.version.clone(),
            release: Some(self.release.clone()),
        }
    }
}

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct File {
    /// Type and permission bits, as in `st_mode`.
    pub mode: u16,
    /// `root:root`.
    pub owner: String,
    /// Its size in bytes; 0 for what is not a regular file.
    pub size: u64,
    /// The digest of its bytes with its algorithm before it, `sha256:…`; absent for what is not a regular file.
    pub digest: Option<String>,
    /// Where a symlink points.
    pub target: Option<String>,
    /// `config`, `doc`, `ghost`, …
    pub flags: BTreeSet<String>,
    /// Its capabilities.
    pub capabilities: Option<String>,
    /// The languages it belongs to.
    pub language: Option<String>,
    /// The device number of a device.
    pub device: Option<u16>,
    /// The aspects that `rpm --verify` looks at, as `RPMTAG_FILEVERIFYFLAGS` has it.
    pub verify: Option<u32>,
    /// When it was last changed, in seconds since 1970.
    pub modified: u32,
}

/// How a package relates to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// Needs it.
    Requires,
    /// Brings it.
    Provides,
    /// Cannot be beside it.
    Conflicts,
    /// Takes its place.
    Obsoletes,
    /// Wants it.
    Recommends,
    /// Names it as useful.
    Suggests,
    /// Is wanted by it.
    Supplements,
    /// Is useful to it.
    Enhances,
}

impl Relation {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Requires,
        Self::Provides,
        Self::Conflicts,
        Self::Obsoletes,
        Self::Recommends,
        Self::Suggests,
        Self::Supplements,
        Self::Enhances,
    ];

    /// As a verb: `requires`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requires => "requires",
            Self::Provides => "provides",
            Self::Conflicts => "conflicts",
            Self::Obsoletes => "obsoletes",
            Self::Recommends => "recommends",
            Self::Suggests => "suggests",
            Self::Supplements => "supplements",
            Self::Enhances => "enhances",
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that a package requires, provides and so on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Dependency {
    /// `libc.so.6()(64bit)`.
    pub name: String,
    /// `>= 1.2`; empty for any version.
    pub condition: String,
    /// When it matters, if not always: `pre`, `post`; empty otherwise.
    pub when: String,
}

impl Dependency {
    /// Whether it is the name of a shared library, as rpmbuild finds them: `libz.so.1()(64bit)`, `libz.so.1(ZLIB_1.2)`,
    /// or `libz.so.1` on 32 bits.
    pub fn is_soname(&self) -> bool {
        !self.name.starts_with(['/', '(']) && {
            let library = self.name.split('(').next().unwrap_or_default();
            library.rsplit('.').next() == Some("so") || library.contains(".so.")
        }
    }
}

/// A script of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Scriptlet {
    /// The program that runs it, with its arguments.
    pub program: Vec<String>,
    /// The text.
    pub script: String,
    /// `RPMTAG_…FLAGS`, where there are any.
    pub flags: Option<u32>,
}

/// One entry of a changelog.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct ChangelogEntry {
    /// In seconds since 1970.
    pub time: u64,
    /// Who, and often which version.
    pub author: String,
    /// What.
    pub text: String,
}

/// How the files of a package are packed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Payload {
    /// `cpio`.
    pub format: String,
    /// `gzip`, `xz`, `zstd`.
    pub compression: String,
    /// The level, as the header has it.
    pub level: String,
    /// The digest of the packed bytes, where the header has one.
    pub digest: Option<String>,
}

/// How a package came about.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Origin {
    /// In seconds since 1970.
    pub time: Option<u64>,
    /// The machine it was built on.
    pub host: Option<String>,
    /// The version of rpm that built it.
    pub tool: Option<String>,
    /// The digests of its signatures, sorted.
    pub signatures: Vec<String>,
}
