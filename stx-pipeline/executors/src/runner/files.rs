//! The files of jobs: what goes there, what comes back, and the lock of a phase that runs.

use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err::os::unix::fs::OpenOptionsExt as _;
use tokio::time::Instant;

use stx_pipeline::Ended;

use crate::{Job, JobFile, outcome};

/// How often it is looked whether a phase is gone.
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

/// The result that a job left.
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

/// Makes a file and locks it; the lock lasts as long as what is returned.
pub(super) fn hold(file: &Utf8Path) -> io::Result<fs_err::File> {
    let held = fs_err::OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)?;
    // Nobody else has it for longer than a look.
    held.file().lock()?;
    Ok(held)
}

/// Writes into the lock of a phase how many seconds it may take to end, for the builder that comes after.
pub(super) fn note_end(lock: &Utf8Path, seconds: u64) -> io::Result<()> {
    fs_err::write(lock, format!("{seconds}\n"))
}

/// How long the phase of a lock may take to end, if that was noted.
pub(super) fn noted_end(lock: &Utf8Path) -> Option<Duration> {
    let text = fs_err::read_to_string(lock).ok()?;
    Some(Duration::from_secs(text.trim().parse().ok()?))
}

/// Whether nothing holds a lock. One that cannot be looked at counts as held.
pub(super) fn is_free(lock: &Utf8Path) -> bool {
    match fs_err::OpenOptions::new().append(true).open(lock) {
        Ok(file) => file.file().try_lock().is_ok(),
        // A phase that never started has none.
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Waits until nothing holds a lock, so that no run of its phase goes on; false if that takes longer than `limit`.
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
