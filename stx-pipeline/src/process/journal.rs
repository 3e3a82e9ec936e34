//! The journal of the build that works in a state directory.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err::os::unix::fs::OpenOptionsExt as _;

use super::proc::boot;
use crate::journal::{Entry, Journal, Started};

/// The file that holds [`Started`].
const STARTED: &str = "build.json";

/// The file that holds the lines.
const FINISHED: &str = "finished.jsonl";

/// The interval at which the workspace is written to the disk; about the most work that a power failure loses.
const SYNC: Duration = Duration::from_secs(10);

/// A journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file operation failed.
    #[error("cannot read or write the journal of {dir}")]
    Io {
        /// The state directory.
        dir: Utf8PathBuf,
        /// The error that caused it.
        source: io::Error,
    },
    /// The content is not in the format of this version.
    #[error("{file}: cannot be understood")]
    Form {
        /// The file.
        file: Utf8PathBuf,
        /// The JSON error, with its line and column.
        source: serde_json::Error,
    },
    /// Another version wrote the file.
    #[error("{file} is of schema {found}; this version reads {}", Started::SCHEMA)]
    Schema {
        /// The file.
        file: Utf8PathBuf,
        /// Its schema.
        found: u32,
    },
}

/// The id of this machine's current boot.
pub fn this_boot() -> String {
    boot()
}

/// Reads the journal of a build that was not published; `None` if none exists. Needs no lock: a journal that is removed
/// meanwhile is read whole or not at all.
///
/// # Errors
/// See [`JournalError`].
pub fn read_journal(state: &Utf8Path) -> Result<Option<Journal>, JournalError> {
    #[derive(serde::Deserialize)]
    struct Version {
        schema: u32,
    }
    let failed = |source| JournalError::Io {
        dir: state.to_owned(),
        source,
    };
    let file = state.join(STARTED);
    let Some((text, lines)) = read_both(state).map_err(failed)? else {
        return Ok(None);
    };
    let form = |source| JournalError::Form {
        file: file.clone(),
        source,
    };
    let Version { schema: found } = serde_json::from_str(&text).map_err(form)?;
    if found != Started::SCHEMA {
        return Err(JournalError::Schema { file, found });
    }
    let started = serde_json::from_str(&text).map_err(form)?;
    Ok(Some(Journal::new(started, &lines, &boot())))
}

/// Reads the two files of one journal. A reader without the lock of the build may read while they are removed, or while the
/// next build writes its own. So the lines count only if the start file is the same before and after they are read.
fn read_both(state: &Utf8Path) -> io::Result<Option<(String, String)>> {
    let start = state.join(STARTED);
    let mut before = read(&start)?;
    while let Some(text) = before {
        let lines = read(&state.join(FINISHED))?;
        before = read(&start)?;
        if before.as_ref() == Some(&text) {
            return Ok(Some((text, lines.unwrap_or_default())));
        }
    }
    Ok(None)
}

fn read(file: &Utf8Path) -> io::Result<Option<String>> {
    match fs_err::read(file) {
        // Every line was written as JSON, in UTF-8. Anything else can only be a torn line, which is not valid JSON either.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes the journal of a state directory, after the build was published or given up.
///
/// # Errors
/// See [`JournalError`].
pub fn remove_journal(state: &Utf8Path) -> Result<(), JournalError> {
    for name in [STARTED, FINISHED] {
        match fs_err::remove_file(state.join(name)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(JournalError::Io {
                    dir: state.to_owned(),
                    source,
                });
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Writes the journal of a running build.
#[derive(Debug)]
pub struct JournalWriter {
    dir: Utf8PathBuf,
    shared: Arc<Shared>,
    synced: Mutex<Instant>,
}

#[derive(Debug)]
struct Shared {
    file: Mutex<Lines>,
    syncing: AtomicBool,
}

#[derive(Debug)]
struct Lines {
    file: fs_err::File,
    count: usize,
}

impl JournalWriter {
    /// Begins the journal of a new build.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn start(state: &Utf8Path, started: &Started) -> Result<Self, JournalError> {
        remove_journal(state)?;
        Self::write(state, started, &[])
    }

    /// Resumes a journal that was read.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn resume(state: &Utf8Path, journal: &Journal) -> Result<Self, JournalError> {
        let mut lines = journal.lines();
        let started = Started {
            boot: boot(),
            ..journal.started.clone()
        };
        if started.boot != journal.started.boot {
            // Only these lines survived the other boot.
            let count = lines.len();
            lines.push(Entry::Synced { lines: count });
        }
        Self::write(state, &started, &lines)
    }

    /// Writes the lines first: they are also valid with the older start file.
    fn write(state: &Utf8Path, started: &Started, lines: &[Entry]) -> Result<Self, JournalError> {
        let open = || {
            let text: Vec<_> = lines.iter().map(line).collect();
            let finished = state.join(FINISHED);
            replace(&finished, text.concat().as_bytes())?;
            let text = serde_json::to_vec(started).map_err(io::Error::other)?;
            replace(&state.join(STARTED), &text)?;
            fs_err::OpenOptions::new().append(true).open(finished)
        };
        let file = open().map_err(|source| JournalError::Io {
            dir: state.to_owned(),
            source,
        })?;
        Ok(Self {
            dir: started.plan.workspace.clone(),
            shared: Arc::new(Shared {
                file: Mutex::new(Lines {
                    file,
                    count: lines.len(),
                }),
                syncing: AtomicBool::new(false),
            }),
            synced: Mutex::new(Instant::now()),
        })
    }

    /// Adds a line. It survives a kill; a power failure may lose the last seconds.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn add(&self, entry: &Entry) -> Result<(), JournalError> {
        self.shared.add(entry).map_err(|source| JournalError::Io {
            dir: self.dir.clone(),
            source,
        })?;
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if synced.elapsed() >= SYNC && !self.shared.syncing.swap(true, Ordering::AcqRel) {
            *synced = Instant::now();
            let (dir, shared) = (self.dir.clone(), Arc::clone(&self.shared));
            // Sync in the background: a busy disk is slow, and no phase should wait for it.
            std::thread::spawn(move || {
                // Ignored: work that is not synced is only redone after a power failure.
                shared.sync(&dir).ok();
                shared.syncing.store(false, Ordering::Release);
            });
        }
        Ok(())
    }
}

impl Shared {
    fn lines(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, entry: &Entry) -> io::Result<()> {
        let mut lines = self.lines();
        lines.file.write_all(line(entry).as_bytes())?;
        lines.count += 1;
        Ok(())
    }

    fn sync(&self, dir: &Utf8Path) -> io::Result<()> {
        let before = self.lines().count;
        rustix::fs::syncfs(fs_err::File::open(dir)?)?;
        self.add(&Entry::Synced { lines: before })?;
        self.lines().file.sync_data()
    }
}

fn line(entry: &Entry) -> String {
    let mut text = serde_json::to_string(entry).expect("no map has keys that are not text");
    text.push('\n');
    text
}

/// Replaces a file by one rename. Only its owner may read it: the variables of a plan may hold credentials of a repository.
fn replace(file: &Utf8Path, bytes: &[u8]) -> io::Result<()> {
    let new = Utf8PathBuf::from(format!("{file}.new"));
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut writer = options.open(&new)?;
    writer.write_all(bytes)?;
    writer.sync_data()?;
    drop(writer);
    fs_err::rename(&new, file)
}
