//! Kernel locks on files.

use std::fs::TryLockError;

use camino::Utf8Path;
use fs_err as fs;

use super::disk::io_error;
use crate::store::StoreError;

/// A file or directory that is locked, until the value is dropped, at the latest with the process.
#[derive(Debug)]
pub(super) struct Locked(pub(super) fs::File);

impl Drop for Locked {
    /// Unlocks by name: closing would leave the lock with a child process that is being started just now, until it has
    /// become its program.
    fn drop(&mut self) {
        // It ends with the process at the latest.
        self.0.file().unlock().ok();
    }
}

impl Locked {
    /// Locks a file that is never removed, made if it is not there; waits for whoever has it.
    pub(super) fn wait_for(path: &Utf8Path) -> Result<Self, StoreError> {
        let file = open(path)?;
        file.file().lock().map_err(io_error("lock", path))?;
        Ok(Self(file))
    }

    /// As [`wait_for`](Self::wait_for), but `None` while somebody has it.
    pub(super) fn at_once(path: &Utf8Path) -> Result<Option<Self>, StoreError> {
        let file = open(path)?;
        match file.file().try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(io_error("lock", path)(source)),
        }
    }
}

fn open(path: &Utf8Path) -> Result<fs::File, StoreError> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).open(path);
    file.map_err(io_error("open", path))
}
