//! The journal of the build that works in a state directory.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err::os::unix::fs::OpenOptionsExt as _;

use super::proc::boot;
use crate::journal::{Entry, Journal, Started};

/// The file of [`Started`].
const STARTED: &str = "build.json";

/// The file of the lines.
const FINISHED: &str = "finished.jsonl";

/// How much work is lost to a power failure at most, about: so often the workspace is written to the disk.
const SYNC: Duration = Duration::from_secs(10);

/// A journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system refuses.
    #[error("cannot read or write the journal of {dir}")]
    Io {
        /// The state directory.
        dir: Utf8PathBuf,
        /// The error that caused it.
        source: io::Error,
    },
    /// Not the form of this version.
    #[error("{file}: cannot be understood")]
    Form {
        /// The file.
        file: Utf8PathBuf,
        /// The JSON error, with its line and column.
        source: serde_json::Error,
    },
    /// Written by another version.
    #[error("{file} is of schema {found}; this version reads {}", Started::SCHEMA)]
    Schema {
        /// The file.
        file: Utf8PathBuf,
        /// Its schema.
        found: u32,
    },
}

/// The boot of this machine.
pub fn this_boot() -> String {
    boot()
}

/// Reads the journal of a build that was not published; `None` if there is none. It needs no lock: a journal that is removed meanwhile
/// is read whole or not at all.
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

/// Reads the two files of one journal. A reader without the lock of the build may come while they are removed, or while the next build
/// writes its own: the lines belong to the start that is there before and after they are read.
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
        // Everything was written as JSON, in UTF-8. What is not can only be a torn line, which is no JSON either.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Forgets the build of a state directory: it was published, or is given up.
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

    /// Goes on with a journal that was read.
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
            // Nothing else survived the other boot.
            let count = lines.len();
            lines.push(Entry::Synced { lines: count });
        }
        Self::write(state, &started, &lines)
    }

    /// The lines first: they go with the older start too.
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

    /// Adds a line. It is there for who reads the journal after a kill; a power failure may take the last seconds.
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
            // A busy disk takes its time, which no phase should wait for.
            std::thread::spawn(move || {
                // What cannot be synced is not trusted after a power failure, and that is all.
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

/// Replaces a file by one rename. It is for its owner: the variables of a plan may hold what opens a repository.
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
