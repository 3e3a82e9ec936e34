//! The inputs of a decision besides catalog and policy.

use std::collections::{BTreeMap, BTreeSet};

use stx_layout::{BuildId, BuildPath, Channel, Pin, Sha256, VerdictEntry};

use crate::Bearing;

/// The inputs of a decision besides catalog and policy. Each may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyInputs {
    /// The pins, in any order.
    pub pins: Vec<Pin>,
    /// Builds that are being read now, with their readers.
    pub in_use: BTreeMap<BuildId, String>,
    /// The newest verdict on each build that has one.
    pub verdicts: BTreeMap<BuildId, VerdictEntry>,
    /// Builds whose verdicts cannot be read, with the reason.
    pub unclear: BTreeMap<BuildId, String>,
    /// The files of each build. A build without an entry is assumed to share nothing and to have the size in its record.
    pub files: BTreeMap<BuildId, Vec<FileFact>>,
    /// Sections that an earlier plan removed before their build.
    pub dropped: BTreeMap<BuildId, BTreeSet<BuildPath>>,
    /// The free bytes of the disk, if known.
    pub free: Option<u64>,
    /// The facts of channels that the catalog leaves out. With them, the builds of the other channels are judged as if the
    /// catalog contained all channels; without them, as if those channels did not exist.
    pub elsewhere: BTreeMap<Channel, Bearing>,
}

/// One file of a build. Files of the same digest share their bytes, in one build and across builds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileFact {
    /// Its path in the build.
    pub path: BuildPath,
    /// The digest of its bytes.
    pub digest: Sha256,
    /// Its size, in bytes.
    pub bytes: u64,
}

impl FileFact {
    /// True if it is in a section of its build, or is the section itself.
    pub fn lies_in(&self, section: &BuildPath) -> bool {
        let rest = self.path.as_str().strip_prefix(section.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}
