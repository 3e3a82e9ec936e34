//! Equal files of one build: the first one is stored or shared, and the others are linked to it.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use stx_layout::Sha256;

/// The files of a staged build that equal ones can be linked to. They are complete, with their modes and times.
#[derive(Debug, Default)]
pub(super) struct Twins {
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    paths: HashMap<(Sha256, u32), Utf8PathBuf>,
    sizes: HashMap<Sha256, u64>,
    all_sizes: HashSet<u64>,
}

impl Twins {
    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file with these bytes and this mode.
    pub(super) fn get(&self, digest: Sha256, mode: u32) -> Option<Utf8PathBuf> {
        self.found().paths.get(&(digest, mode)).cloned()
    }

    /// The size of the file with these bytes.
    pub(super) fn size(&self, digest: &Sha256) -> Option<u64> {
        self.found().sizes.get(digest).copied()
    }

    /// True if a file of this size exists: a further one may be equal, so that hashing it before copying saves time.
    pub(super) fn has_size(&self, size: u64) -> bool {
        self.found().all_sizes.contains(&size)
    }

    /// Makes `path` the file that equal ones are linked to; returns false if another one already is. Empty files are never linked.
    pub(super) fn claim(&self, digest: Sha256, size: u64, mode: u32, path: &Utf8Path) -> bool {
        if size == 0 {
            return true;
        }
        let mut found = self.found();
        if found.paths.contains_key(&(digest, mode)) {
            return false;
        }
        found.paths.insert((digest, mode), path.to_owned());
        found.sizes.insert(digest, size);
        found.all_sizes.insert(size);
        true
    }

    /// Forgets a file that cannot have more links, unless another one already replaced it.
    pub(super) fn give_up(&self, digest: Sha256, mode: u32, path: &Utf8Path) {
        let mut found = self.found();
        if found
            .paths
            .get(&(digest, mode))
            .is_some_and(|it| it == path)
        {
            found.paths.remove(&(digest, mode));
        }
    }
}
