//! Metadata that a build brings for its own repositories: groups, modules, updates.
//!
//! A build may bring its own `repodata/`. Its lists of packages are made anew, because packages are signed and copied, but its
//! `repomd.xml` names more: `group` (comps), `modules`, `updateinfo`, `productid` and whatever else tools put there. These files
//! are published unchanged, and their records are added to the new `repomd.xml`, whichever program makes it. A record is carried
//! over only if its file exists with the digest that the record states.

use std::collections::BTreeMap;

use serde::Serialize;
use stx_layout::{BuildPath, Sha256};

#[cfg(feature = "local")]
mod read;
#[cfg(feature = "local")]
pub use read::{carry, insert};

/// A record of a build's own `repomd.xml`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct CarriedRecord {
    /// Its type, such as `group` or `updateinfo`.
    pub kind: String,
    /// The file that it names, below the build.
    pub path: BuildPath,
    /// The digest of that file.
    pub digest: Sha256,
    /// The other elements of the record: name, kind of digest if it is a digest, and text.
    #[serde(skip)]
    pub(crate) facts: Vec<(&'static str, Option<String>, String)>,
}

/// The records of a repository's own metadata that are published with it, and those that are not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Carried {
    /// The records, by type.
    pub records: Vec<CarriedRecord>,
    /// Records and files that are left out, with the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, String>,
}

impl Carried {
    /// True if `path` is a file that is carried over.
    pub fn has(&self, path: &BuildPath) -> bool {
        self.records.iter().any(|record| record.path == *path)
    }
}

/// True if `path` is carried over in one of the repositories.
pub(crate) fn is_carried(carried: &BTreeMap<BuildPath, Carried>, path: &BuildPath) -> bool {
    carried.values().any(|carried| carried.has(path))
}
