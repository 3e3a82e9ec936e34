//! A package as a value: the fields of an RPM header, or of the control member of a Debian package.
//!
//! | here | RPM | Debian |
//! |---|---|---|
//! | `version`, `release` | version, release | upstream version, Debian revision; a native package has no revision |
//! | `arch` | `x86_64`; `src` for a source package | `amd64`; `source` for a source package |
//! | `attributes` | the other tags, by name | the other fields of `control` or `.dsc`, under their own names |
//! | `files` | the files of the header | those of `md5sums` and `conffiles`; with the payload, all files |
//! | `dependencies` | dependencies | relations; `shlibs` and `symbols` as provided libraries |
//! | `scriptlets` | scriptlets, triggers | maintainer scripts, triggers |
//! | `control` | | the other files of the control member, such as `templates` |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::version::{Format, Version};

/// The fields of a package.
///
/// Data that follows from other fields is left out: in an RPM header, the sizes of the payload, file classes and colors, inode
/// numbers, and the digests of the header itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Package {
    /// The format of its file.
    #[serde(default, skip_serializing_if = "Format::is_rpm")]
    pub format: Format,
    /// `hello`.
    pub name: String,
    /// The epoch, if it has one.
    pub epoch: Option<u32>,
    /// `1.0`.
    pub version: String,
    /// `2.tis`.
    pub release: String,
    /// `x86_64`, `noarch`; `amd64`, `all`; `src` or `source` for a source package.
    pub arch: String,
    /// Its other fields, by name: `summary`, `license`; a tag without a name here is `tag 1234`.
    pub attributes: BTreeMap<String, String>,
    /// The files, by path.
    pub files: BTreeMap<String, File>,
    /// The part of the file information that is known.
    #[serde(default, skip_serializing_if = "Listing::is_whole")]
    pub listing: Listing,
    /// Its dependencies: provides, requires and so on.
    pub dependencies: BTreeMap<Relation, BTreeSet<Dependency>>,
    /// The scriptlets and triggers, by name: `post`, `trigger in bash`.
    pub scriptlets: BTreeMap<String, Scriptlet>,
    /// The other files of a Debian package's control member, by name: `templates`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub control: BTreeMap<String, String>,
    /// The changelog, newest first.
    pub changelog: Vec<ChangelogEntry>,
    /// The packing of the files.
    pub payload: Payload,
    /// The build and the signatures of the package.
    pub origin: Origin,
}

impl Package {
    /// Epoch, version and release: `1:1.0-2.tis`, `1:1.0-2+b1`.
    pub fn evr(&self) -> Version {
        Version {
            format: self.format,
            epoch: self.epoch,
            version: self.version.clone(),
            // A native Debian package has no revision; every RPM package has a release.
            release: (self.format == Format::Rpm || !self.release.is_empty())
                .then(|| self.release.clone()),
        }
    }
}

/// The part of a package's file information that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Listing {
    /// Every file, with all its properties.
    #[default]
    Whole,
    /// The MD5 digests of regular files, and the names of configuration files: the control member of a Debian package.
    Digests,
    /// Only the names of configuration files: a Debian package without `md5sums`.
    Nothing,
}

impl Listing {
    /// True if every file of the package is listed, with all its properties.
    pub fn is_whole(&self) -> bool {
        *self == Self::Whole
    }
}

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct File {
    /// Type and permission bits, as in `st_mode`; 0 if the payload was not read.
    pub mode: u16,
    /// `root:root`; empty if the payload was not read.
    pub owner: String,
    /// Its size in bytes; 0 if it is not a regular file, or if the payload was not read.
    pub size: u64,
    /// The digest of its bytes, prefixed with its algorithm, `sha256:…`; absent if it is not a regular file.
    pub digest: Option<String>,
    /// The target of a symlink.
    pub target: Option<String>,
    /// `config`, `doc`, `ghost`, `conffile`, …
    pub flags: BTreeSet<String>,
    /// Its capabilities.
    pub capabilities: Option<String>,
    /// The languages it belongs to.
    pub language: Option<String>,
    /// The device number of a device.
    pub device: Option<u16>,
    /// The attributes that `rpm --verify` compares: the bits of `RPMTAG_FILEVERIFYFLAGS`.
    pub verify: Option<u32>,
    /// The time of its last change, in seconds since 1970.
    pub modified: u32,
}

/// Declares [`Relation`] with the words of its kinds.
macro_rules! relations {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// The kind of relation of a package to another. The first eight are those of RPM; Debian has some of them too.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Relation {
            $($(#[$doc])* #[serde(rename = $word)] $name,)*
        }

        impl Relation {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The verb: `requires`, `pre-depends`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

relations! {
    /// Needs it.
    Requires = "requires",
    /// Contains it, or can stand in for it.
    Provides = "provides",
    /// Cannot be installed beside it.
    Conflicts = "conflicts",
    /// Replaces it.
    Obsoletes = "obsoletes",
    /// Should be installed with it.
    Recommends = "recommends",
    /// Is more useful with it.
    Suggests = "suggests",
    /// Should be installed with it, as declared by this package.
    Supplements = "supplements",
    /// Makes it more useful.
    Enhances = "enhances",
    /// Debian: needs it.
    Depends = "depends",
    /// Debian: needs it before it is unpacked.
    PreDepends = "pre-depends",
    /// Debian: must not be configured beside it.
    Breaks = "breaks",
    /// Debian: overwrites its files, or takes its place.
    Replaces = "replaces",
    /// Debian: holds parts of this source package.
    BuiltUsing = "built-using",
    /// Debian: holds statically linked parts of this source package.
    StaticBuiltUsing = "static-built-using",
    /// Debian: is built with it.
    BuildDepends = "build-depends",
    /// Debian: its architecture-dependent packages are built with it.
    BuildDependsArch = "build-depends-arch",
    /// Debian: its packages for all architectures are built with it.
    BuildDependsIndep = "build-depends-indep",
    /// Debian: cannot be built beside it.
    BuildConflicts = "build-conflicts",
    /// Debian: its architecture-dependent packages cannot be built beside it.
    BuildConflictsArch = "build-conflicts-arch",
    /// Debian: its packages for all architectures cannot be built beside it.
    BuildConflictsIndep = "build-conflicts-indep",
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One item that a package requires, provides and so on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Dependency {
    /// `libc.so.6()(64bit)`, `python3:any`, `exim4 | mail-transport-agent`.
    pub name: String,
    /// `>= 1.2`; empty for any version.
    pub condition: String,
    /// The operations, architectures or build profiles to which it applies: `pre`, `post`, `[amd64] <!nocheck>`; empty if it
    /// always applies.
    pub when: String,
}

impl Dependency {
    /// True for the name of a shared library in rpmbuild's form: `libz.so.1()(64bit)`, `libz.so.1(ZLIB_1.2)`, or `libz.so.1` on
    /// 32 bits.
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
    /// `RPMTAG_…FLAGS`, if set.
    pub flags: Option<u32>,
}

/// One entry of a changelog.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct ChangelogEntry {
    /// Seconds since 1970.
    pub time: u64,
    /// The author, and often the version.
    pub author: String,
    /// The text of the entry.
    pub text: String,
}

/// The packing of a package's files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Payload {
    /// `cpio`, `tar`.
    pub format: String,
    /// `gzip`, `xz`, `zstd`.
    pub compression: String,
    /// The level, as written in the header.
    pub level: String,
    /// The digest of the packed bytes, if the header has one.
    pub digest: Option<String>,
}

/// The origin of a package.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Origin {
    /// The time of the build, in seconds since 1970.
    pub time: Option<u64>,
    /// The host of the build.
    pub host: Option<String>,
    /// The version of rpm that built it.
    pub tool: Option<String>,
    /// The digests of its signatures, sorted.
    pub signatures: Vec<String>,
}
