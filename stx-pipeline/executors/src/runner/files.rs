//! The files of jobs: scripts and inputs, results, and the lock of a running phase.

use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err::os::unix::fs::OpenOptionsExt as _;
use tokio::time::Instant;

use stx_pipeline::Ended;

use crate::{Job, JobFile, outcome};

/// The interval between checks whether a phase is gone.
const POLL: Duration = Duration::from_millis(50);

/// Writes the files of a job into its directory, which only this user can enter.
pub(super) fn write(dir: &Utf8Path, files: &[JobFile]) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    for file in files {
        if file.text.contains('\0') {
            return Err(io::Error::other(
                "a NUL byte in its command or its environment",
            ));
        }
        fs_err::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file.path)?
            .write_all(file.text.as_bytes())?;
    }
    Ok(())
}

/// The result of a job, if its script wrote one.
pub(super) fn result(job: &Job) -> Option<Ended> {
    outcome(&fs_err::read_to_string(job.result()).ok()?)
}

/// The locks of the phases in a directory of jobs.
pub(super) fn locks(dir: &Utf8Path) -> io::Result<Vec<Utf8PathBuf>> {
    let entries = match dir.read_dir_utf8() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut locks = Vec::new();
    for entry in entries {
        let path = entry?.into_path();
        if path.extension() == Some("lock") {
            locks.push(path);
        }
    }
    Ok(locks)
}

/// Creates a file and locks it; the lock lasts as long as the returned file.
pub(super) fn hold(file: &Utf8Path) -> io::Result<fs_err::File> {
    let held = fs_err::OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)?;
    // Blocks only briefly: other processes hold this lock just to test it.
    held.file().lock()?;
    Ok(held)
}

/// Notes in the lock file of a phase the number of seconds that the phase may take to end. The next builder reads it.
pub(super) fn note_end(lock: &Utf8Path, seconds: u64) -> io::Result<()> {
    fs_err::write(lock, format!("{seconds}\n"))
}

/// The time that the phase of a lock may take to end, if it was noted.
pub(super) fn noted_end(lock: &Utf8Path) -> Option<Duration> {
    let text = fs_err::read_to_string(lock).ok()?;
    Some(Duration::from_secs(text.trim().parse().ok()?))
}

/// True if no process holds a lock. A lock file that cannot be opened counts as held.
pub(super) fn is_free(lock: &Utf8Path) -> bool {
    match fs_err::OpenOptions::new().append(true).open(lock) {
        Ok(file) => file.file().try_lock().is_ok(),
        // A phase that never started has no lock file.
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Waits until no process holds a lock, so that no run of its phase continues; false if that takes longer than `limit`.
pub(super) async fn gone(lock: &Utf8Path, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    loop {
        if is_free(lock) {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
}
