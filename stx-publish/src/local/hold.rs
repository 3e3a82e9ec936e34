//! The readers of a build: each has a shared kernel lock on its directory, which needs no write permission.

use std::collections::BTreeSet;
use std::fs::TryLockError;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;

use camino::Utf8Path;
use fs_err as fs;
use stx_layout::BuildId;

use super::Inner;
use super::disk::io_error;
use super::locked::Locked;
use crate::store::StoreError;
use crate::store::rules::in_use;

/// Returns true if the directory of this name is still the one that is locked.
fn is_still(held: &Locked, dir: &Utf8Path) -> bool {
    let identity = |found: &std::fs::Metadata| (found.dev(), found.ino());
    match (held.0.metadata(), fs::symlink_metadata(dir)) {
        (Ok(locked), Ok(named)) => identity(&locked) == identity(&named),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

impl Inner {
    fn open_build(&self, id: &BuildId) -> Result<fs::File, StoreError> {
        let dir = self.build_dir(id);
        let not_found = || StoreError::NotFound {
            what: id.to_string(),
        };
        if !fs::symlink_metadata(&dir).is_ok_and(|found| found.is_dir()) {
            return Err(not_found());
        }
        fs::File::open(&dir).map_err(|error| match error.kind() {
            ErrorKind::NotFound => not_found(),
            _ => io_error("open", &dir)(error),
        })
    }

    /// Holds a build for reading. Waits for a check for readers, which locks the build only for an instant.
    pub(super) fn hold(&self, id: &BuildId) -> Result<Locked, StoreError> {
        let dir = self.build_dir(id);
        let file = self.open_build(id)?;
        file.file().lock_shared().map_err(io_error("lock", &dir))?;
        let held = Locked(file);
        // The build was retired during the wait.
        if !is_still(&held, &dir) {
            return Err(StoreError::NotFound {
                what: id.to_string(),
            });
        }
        Ok(held)
    }

    /// Locks the build against new readers, if it has none.
    ///
    /// A file system without exclusive locks on directories, such as NFS, cannot report readers: the build then counts as unused.
    pub(super) fn alone(&self, id: &BuildId) -> Result<Locked, StoreError> {
        let file = self.open_build(id)?;
        match file.file().try_lock() {
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Locked(file)),
            Err(TryLockError::WouldBlock) => Err(in_use(id)),
        }
    }

    pub(super) fn in_use(&self, builds: &[BuildId]) -> Result<BTreeSet<BuildId>, StoreError> {
        let mut used = BTreeSet::new();
        for id in builds {
            match self.alone(id) {
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(StoreError::Refused { .. }) => drop(used.insert(id.clone())),
                Err(error) => return Err(error),
            }
        }
        Ok(used)
    }
}
