//! Finds the files of a build that the mirror already has.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use stx_layout::{BuildId, BuildPath, Channel, Sha256, Sums};

use crate::incoming::{Entry, Incoming};

/// A file of a published build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Twin {
    /// The build.
    pub build: BuildId,
    /// The file.
    pub path: BuildPath,
}

/// The files of published builds, by their bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MirrorFiles {
    files: HashMap<Sha256, Twin>,
}

impl MirrorFiles {
    /// The files of `builds`. Among equal ones, that of the newest build of `channel` is named, otherwise that of the newest build.
    pub fn new(channel: &Channel, builds: impl IntoIterator<Item = (BuildId, Sums)>) -> Self {
        let mut builds: Vec<_> = builds.into_iter().collect();
        builds.sort_by_key(|(id, _)| (id.channel != *channel, std::cmp::Reverse(id.date)));
        let mut known = Self::default();
        for (build, sums) in builds {
            for line in sums.lines() {
                known.files.entry(line.digest).or_insert_with(|| Twin {
                    build: build.clone(),
                    path: line.path.clone(),
                });
            }
        }
        known
    }

    /// The files of `incoming` that are among them, except empty files and those whose digest is unknown.
    pub fn linked(&self, incoming: &Incoming) -> Linked {
        let mut linked = Linked::default();
        for (path, entry) in &incoming.entries {
            if !matches!(entry, Entry::File { .. }) || entry.size() == 0 {
                continue;
            }
            if let Some(twin) = entry.digest().and_then(|digest| self.files.get(&digest)) {
                linked.bytes += entry.size();
                linked.files.insert(path.clone(), twin.clone());
            }
        }
        linked
    }
}

/// Files that the mirror already has. A file is linked if the mirror's copy has the same mode and can have one more link, and
/// copied otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Linked {
    /// The sum of their sizes.
    pub bytes: u64,
    /// Each file with the file that it is linked to.
    pub files: BTreeMap<BuildPath, Twin>,
}
