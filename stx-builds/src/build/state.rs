//! The state directory of a channel.

use std::fs::{Permissions, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use camino::Utf8Path;
use stx_layout::{Channel, counted};
use stx_pipeline::process::{self, JournalError};

use crate::error::{Error, ErrorKind, unusable};

/// The time between the request that orphans end and their kill.
const GRACE: Duration = Duration::from_secs(5);

/// The number of attempts to take a lock that a reader may hold briefly, and the pause between them.
const LOOKERS: u32 = 20;
const MOMENT: Duration = Duration::from_millis(5);

/// Ends the processes that a killed build of the channel left running; the caller holds the lock.
pub(super) async fn end_orphans(
    state: &Utf8Path,
    note: &(dyn Fn(&str) + Sync),
) -> Result<(), Error> {
    // The grace period that its recipe gave them.
    let journal = process::read_journal(state).ok().flatten();
    let phases = journal
        .iter()
        .flat_map(|journal| &journal.started.plan.phases);
    let graces = phases.filter_map(|phase| phase.invocation.stop_grace);
    let grace = graces.max().map_or(GRACE, |grace| grace.max(GRACE));
    let ended = stx_executors::end_orphans(state, &state.join("work"), grace)
        .await
        .map_err(|error| Error::new(ErrorKind::Bug, error))?;
    if !ended.is_empty() {
        note(&format!(
            "ended {} of a build that was killed",
            counted(ended.len(), "phase")
        ));
    }
    Ok(())
}

/// The lock of a channel's state, which the end of the process releases.
pub(crate) fn lock(state: &Utf8Path, channel: &Channel) -> Result<fs_err::File, Error> {
    let bug = |error: io::Error| Error::new(ErrorKind::Bug, error);
    let wrong = |error| unusable(state, error);
    fs_err::create_dir_all(state).map_err(wrong)?;
    let lock = fs_err::File::create(state.join("lock")).map_err(wrong)?;
    match exclusive(&lock) {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            ErrorKind::Busy,
            format!("{channel}: another build of this channel is running"),
        )
        .hint("two builds of a channel never run at the same time; try again when the other one has ended")),
        Err(TryLockError::Error(error)) => Err(bug(error)),
    }
}

/// Locks a file for its one user. A reader that checks whether it is locked holds the lock briefly.
pub(crate) fn exclusive(lock: &fs_err::File) -> Result<(), TryLockError> {
    let mut locked = lock.file().try_lock();
    for _ in 0..LOOKERS {
        if matches!(locked, Err(TryLockError::WouldBlock)) {
            std::thread::sleep(MOMENT);
            locked = lock.file().try_lock();
        }
    }
    locked
}

/// A journal that cannot be read or written, as a failure.
pub(super) fn unwritten(error: JournalError) -> Error {
    Error::new(ErrorKind::Bug, error).hint("is the disk full? a new `build` starts over")
}

/// Removes a tree of an earlier build, if it exists; makes unwritable directories writable first.
pub(super) fn remove_tree(dir: &Utf8Path) -> Result<(), Error> {
    let removed = match fs_err::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_writable(dir.as_std_path()).and_then(|()| fs_err::remove_dir_all(dir))
        }
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::new(ErrorKind::Bug, error).hint(format!(
                "remove {dir} by hand, then run the same command again"
            )))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn make_writable(dir: &Path) -> io::Result<()> {
    fs_err::set_permissions(dir, Permissions::from_mode(0o700))?;
    for entry in fs_err::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}
