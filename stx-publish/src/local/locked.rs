//! Kernel locks on files.

use std::fs::TryLockError;

use camino::Utf8Path;
use fs_err as fs;

use super::disk::io_error;
use crate::store::StoreError;

/// A locked file or directory. The lock ends with the value, at the latest with the process.
#[derive(Debug)]
pub(super) struct Locked(pub(super) fs::File);

impl Drop for Locked {
    /// Unlocks explicitly: after a mere close, a child process that is just being started would keep the lock until it executes
    /// its program.
    fn drop(&mut self) {
        // An error is ignored: the lock ends with the process at the latest.
        self.0.file().unlock().ok();
    }
}

impl Locked {
    /// Locks a file that is never removed, and makes it if it does not exist; waits while another process has the lock.
    pub(super) fn wait_for(path: &Utf8Path) -> Result<Self, StoreError> {
        let file = open(path)?;
        file.file().lock().map_err(io_error("lock", path))?;
        Ok(Self(file))
    }

    /// Like [`wait_for`](Self::wait_for), but `None` if another process has the lock.
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
