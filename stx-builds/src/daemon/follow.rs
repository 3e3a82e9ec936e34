//! The logs of running builds in the spool, for the members of its group.
//!
//! The logs themselves are in the state directory, which only the service can enter, and have not been searched yet for names and
//! secrets of the build server. So each log is copied as it grows, line by line, redacted by the patterns of the guard, which also
//! redacts published logs: a member sees no more than the public log will show. A copy is in `running/RUN/PHASE.log`.
//!
//! While a phase runs, its log is shown up to half of its limit (`log_limit`), and completely after its end: a copy is never larger
//! than the log. The copies of a run stay for a while after its end, so that their readers reach the end. The next service removes
//! the copies that a killed service left.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt,
};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use stx_publish::Privacy;

use super::spool::RUNNING;

/// The time between two looks at the logs.
const LOOK: Duration = Duration::from_millis(500);
/// The time for which the logs of a run stay after its end.
const STAY: Duration = Duration::from_secs(30);
/// The bytes of a log that are copied at once.
const PIECE: u64 = 4 * 1024 * 1024;
/// A longer line is redacted and shown in parts.
const LONGEST_LINE: usize = 1024 * 1024;

/// A run whose logs are to be shown.
#[derive(Debug, Clone)]
pub(super) struct Followed {
    pub(super) run: u64,
    /// The patterns; `None` inside if the configuration disables the search.
    pub(super) privacy: Arc<Option<Privacy>>,
    pub(super) logs: Vec<Log>,
}

/// The log of a phase that has started.
#[derive(Debug, Clone)]
pub(super) struct Log {
    pub(super) phase: String,
    pub(super) file: Utf8PathBuf,
    /// True if the phase has ended.
    pub(super) over: bool,
}

/// The thread that copies; when this is dropped, it ends, and its copies are removed.
#[derive(Debug)]
pub(super) struct Follower {
    sender: Option<Sender<Vec<Followed>>>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Starts with an empty directory.
    pub(super) fn start(spool: &Utf8Path) -> io::Result<Self> {
        let dir = spool.join(RUNNING);
        clear(&dir)?;
        make(&dir)?;
        let (sender, receiver) = mpsc::channel();
        let mut copies = Copies {
            dir,
            runs: BTreeMap::new(),
        };
        let thread = std::thread::Builder::new()
            .name("running logs".to_owned())
            .spawn(move || {
                let mut wanted: Vec<Followed> = Vec::new();
                loop {
                    match receiver.recv_timeout(LOOK) {
                        Ok(now) => wanted = now,
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                    copies.step(&wanted);
                }
                // The next start removes leftovers.
                fs_err::remove_dir_all(&copies.dir).ok();
            })?;
        Ok(Self {
            sender: Some(sender),
            thread: Some(thread),
        })
    }

    /// The copy of a log, relative to the spool.
    pub(super) fn shown(run: u64, phase: &str) -> Utf8PathBuf {
        Utf8Path::new(RUNNING)
            .join(run.to_string())
            .join(format!("{phase}.log"))
    }

    /// Shows these logs from now on.
    pub(super) fn follow(&self, wanted: Vec<Followed>) {
        if let Some(sender) = &self.sender {
            // A panicked thread shows no more logs; builds continue.
            sender.send(wanted).ok();
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take() {
            // The panic message was printed.
            thread.join().ok();
        }
    }
}

/// The copies, with the progress of each.
#[derive(Debug)]
struct Copies {
    dir: Utf8PathBuf,
    runs: BTreeMap<u64, Run>,
}

#[derive(Debug)]
struct Run {
    followed: Followed,
    /// The bytes already copied of each phase's log.
    copied: BTreeMap<String, u64>,
    ended: Option<Instant>,
}

impl Copies {
    fn step(&mut self, wanted: &[Followed]) {
        for followed in wanted {
            let run = self.runs.entry(followed.run).or_insert_with(|| Run {
                followed: followed.clone(),
                copied: BTreeMap::new(),
                ended: None,
            });
            run.followed = followed.clone();
        }
        let wants = |run: u64| wanted.iter().any(|followed| followed.run == run);
        for (number, run) in &mut self.runs {
            if !wants(*number) && run.ended.is_none() {
                run.ended = Some(Instant::now());
                run.followed.logs.iter_mut().for_each(|log| log.over = true);
            }
            // The end of a log is written after its phase is over.
            run.copy(&self.dir.join(number.to_string()));
        }
        let old = |run: &Run| run.ended.is_some_and(|at| at.elapsed() >= STAY);
        let dir = &self.dir;
        self.runs.retain(|number, run| {
            let old = old(run);
            if old {
                // The next start removes leftovers.
                fs_err::remove_dir_all(dir.join(number.to_string())).ok();
            }
            !old
        });
    }
}

impl Run {
    fn copy(&mut self, dir: &Utf8Path) {
        for log in &self.followed.logs {
            let copied = self.copied.entry(log.phase.clone()).or_default();
            let privacy = (*self.followed.privacy).as_ref();
            // A log that does not exist yet, is being moved or cannot be copied is tried again at the next look.
            copy(log, copied, privacy, dir).ok();
        }
    }
}

/// Copies the lines that were added since the last call.
fn copy(log: &Log, copied: &mut u64, privacy: Option<&Privacy>, dir: &Utf8Path) -> io::Result<()> {
    let mut from = fs_err::File::open(&log.file)?;
    from.seek(SeekFrom::Start(*copied))?;
    let mut text = Vec::new();
    from.take(PIECE).read_to_end(&mut text)?;
    let end = text.iter().rposition(|byte| *byte == b'\n');
    // No pattern spans lines, because each line begins with its time.
    let end = match end {
        _ if log.over && (text.len() as u64) < PIECE => text.len(),
        Some(at) => at + 1,
        None if text.len() >= LONGEST_LINE => text.len(),
        None => 0,
    };
    if end == 0 {
        return Ok(());
    }
    text.truncate(end);
    let shown = match privacy {
        Some(privacy) => privacy.redact(&text).0,
        None => text,
    };
    make(dir)?;
    let to = dir.join(format!("{}.log", log.phase));
    let mut to = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(to)?;
    // The group can read the copy regardless of the umask.
    to.set_permissions(PermissionsExt::from_mode(0o640))?;
    // Counted after the write: if it fails, lines are shown twice rather than never.
    to.write_all(&shown)?;
    *copied += end as u64;
    Ok(())
}

/// Makes a directory that the group can read, and only the service can write.
fn make(dir: &Utf8Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => fs_err::set_permissions(dir, PermissionsExt::from_mode(0o2750)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes the file or directory that a killed service, or a member of the group, has left under the name. Does not follow links.
fn clear(dir: &Utf8Path) -> io::Result<()> {
    let found = match fs_err::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let own = found.uid() == rustix::process::geteuid().as_raw();
    match (found.is_dir(), own) {
        (true, true) => fs_err::remove_dir_all(dir),
        // A directory of another user may be unreadable, so it is removed only if it is empty.
        (true, false) => fs_err::remove_dir(dir),
        (false, _) => fs_err::remove_file(dir),
    }
}

#[cfg(test)]
mod tests;
