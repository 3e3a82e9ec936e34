//! The requests of users, as files that appear by a rename.
//!
//! The owner of a file is the requester, as the kernel records it; it cannot be forged. The directory belongs to the service's user
//! and the build group, with mode 3770: members add files, cannot read the state, and cannot touch each other's files.
//!
//! Members may only request builds, and any entry here may come from them: links, pipes, directories, any name. So an entry is opened
//! without following links or waiting, a file is never written under an existing name, and an entry that cannot be removed is
//! reported once.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt,
};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::OFlags;
use stx_layout::printable_bytes;
use stx_service::{Ask, Message};

use crate::error::{Error, ErrorKind};

/// The file that the running service locks to show that it runs.
const ALIVE: &str = ".service";
/// The file that the running service locks to keep a second service out. Only its user can open it.
const LOCK: &str = ".lock";
/// The document about the state of the service; see [`Status`](stx_service::status::Status).
pub(super) const STATUS: &str = "status.json";
/// The directory of the logs of running builds.
pub(crate) const RUNNING: &str = "running";
/// The maximal size of a message in bytes.
const LONGEST: u64 = Ask::LONGEST as u64;
/// The number of messages of one user that one look reads; the next look reads more.
const MOST_OF_ONE: usize = 20;
/// The number of messages of all users that one look reads: a look must not delay the service.
const MOST_OF_ALL: usize = 100;
/// The number of attempts to remove an entry with the name of the lock.
const ATTEMPTS: u32 = 3;
/// The number of names that one look lists.
const MOST_NAMES: usize = 10_000;

/// The directory, opened by the service.
#[derive(Debug)]
pub(super) struct Spool {
    dir: Utf8PathBuf,
    /// Names that could not be removed, and were reported; an empty name is the directory that cannot be read.
    stuck: Mutex<BTreeSet<OsString>>,
    /// Kept for its lock; `None` if it could not be made.
    alive: Option<File>,
    /// Kept for its lock.
    _lock: Option<File>,
}

/// The files found in the spool.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The messages, oldest first, at most [`MOST_OF_ONE`] of each user.
    pub(super) messages: Vec<Message>,
    /// The problems to report, one line each: files that are not messages, and files that could not be removed.
    pub(super) problems: Vec<String>,
}

impl Spool {
    /// Makes the directory, or finds that others can write it, and shows that the service runs. Also returns the problem that
    /// prevents showing it, which does not prevent serving.
    pub(super) fn open(dir: &Utf8Path) -> Result<(Self, Option<String>), Error> {
        make(dir).map_err(Error::usage)?;
        // First of all: a second service must not change anything here.
        let (lock, unlocked) = match lock(dir) {
            Ok(Some(file)) => (Some(file), None),
            Ok(None) => {
                let error = format!("spool {dir}: another service takes its requests");
                return Err(Error::new(ErrorKind::Busy, error)
                    .hint("give each service a `spool` of its own in [service]"));
            }
            Err(error) => {
                let text = format!("{dir}: cannot lock out a second service: {error}");
                (None, Some(text))
            }
        };
        // Leftovers are harmless, and the next start removes them.
        sweep(dir).ok();
        let (alive, problem) = match alive(dir) {
            Ok(file) => (Some(file), None),
            Err(error) => {
                let text = format!("{dir}: cannot show that the service runs: {error}");
                (None, Some(text))
            }
        };
        let spool = Self {
            dir: dir.to_owned(),
            stuck: Mutex::default(),
            alive,
            _lock: lock,
        };
        Ok((spool, unlocked.or(problem)))
    }

    /// The messages. Files that are not messages are removed.
    pub(super) fn read(&self) -> Found {
        let mut found = Found::default();
        let itself = OsString::new();
        let mut names = match self.names() {
            Ok(names) => names,
            Err(error) => {
                if self.stuck().insert(itself) {
                    found.problems.push(error.to_string());
                }
                return found;
            }
        };
        self.stuck().remove(&itself);
        names.sort();
        let mut of_one: BTreeMap<u32, usize> = BTreeMap::new();
        let mut left = MOST_OF_ALL;
        for name in names {
            let Ok(there) = fs_err::symlink_metadata(self.path(&name)) else {
                // Its owner has removed it.
                continue;
            };
            let count = of_one.entry(there.uid()).or_default();
            if *count == MOST_OF_ONE || left == 0 {
                continue;
            }
            *count += 1;
            left -= 1;
            match self.message(&name) {
                Ok(message) => found.messages.push(message),
                Err(Refused::Gone) => {}
                Err(Refused::No(why)) => {
                    let uid = there.uid();
                    let shown = printable_bytes(name.as_encoded_bytes());
                    let text = format!("{}/{shown} of user {uid}: refused: {why}", self.dir);
                    found.problems.push(text);
                    found.problems.extend(self.remove(&name));
                }
            }
        }
        found
    }

    /// The files that may be messages. A file that could not be removed is left alone until it is gone.
    fn names(&self) -> io::Result<Vec<OsString>> {
        let mut stuck = self.stuck();
        stuck.retain(|name| fs_err::symlink_metadata(self.path(name)).is_ok());
        let own = |name: &OsString| name == STATUS || name == RUNNING;
        let known = |name: &OsString| {
            name.as_encoded_bytes().starts_with(b".") || own(name) || stuck.contains(name)
        };
        let names = fs_err::read_dir(&self.dir)?.map(|entry| Ok(entry?.file_name()));
        let names = names.filter(|name| !name.as_ref().is_ok_and(known));
        names.take(MOST_NAMES).collect()
    }

    fn path(&self, name: &OsStr) -> std::path::PathBuf {
        self.dir.as_std_path().join(name)
    }

    fn message(&self, name: &OsStr) -> Result<Message, Refused> {
        let no = |why: String| Refused::No(why);
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Refused::Gone,
            _ => no(error.to_string()),
        };
        let id = name
            .to_str()
            .ok_or_else(|| no("its name is not UTF-8".to_owned()))?;
        let open = unfollowed()
            .read(true)
            .open(self.dir.join(id))
            .map_err(failed)?;
        let found = open.metadata().map_err(failed)?;
        // A file with a second name may be another user's.
        if !found.is_file() || found.nlink() != 1 || found.len() > LONGEST {
            return Err(no("not a small file with one name".to_owned()));
        }
        let mut text = Vec::new();
        // It may have grown meanwhile.
        let mut start = open.take(LONGEST + 1);
        start.read_to_end(&mut text).map_err(failed)?;
        let ask = Ask::from_json(&text).map_err(|error| no(error.to_string()))?;
        let (id, uid) = (id.to_owned(), found.uid());
        Ok(Message { id, uid, ask })
    }

    /// Removes a message; returns the reason if it cannot be removed, once.
    pub(super) fn discard(&self, id: &str) -> Option<String> {
        self.remove(OsStr::new(id))
    }

    /// The reason why requests no longer arrive; `None` if they do. The directory may have been moved, removed, or replaced by another
    /// one that does not show requesters that the service runs.
    pub(super) fn lost(&self) -> Option<String> {
        let id = |found: std::fs::Metadata| (found.dev(), found.ino());
        let own = self.alive.as_ref()?.metadata().map(id).ok()?;
        let dir = &self.dir;
        let lost = match fs_err::symlink_metadata(dir.join(ALIVE)).map(id) {
            Ok(found) if found == own => return None,
            Ok(_) => "was replaced".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !dir.exists() => {
                "was moved or removed".to_owned()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                "was emptied or replaced".to_owned()
            }
            Err(error) => format!("cannot be read: {error}"),
        };
        Some(format!(
            "{dir}: the directory for requests {lost} while the service runs, so no request reaches it"
        ))
    }

    /// True if a message, or any other entry, has this name.
    pub(super) fn has(&self, id: &str) -> bool {
        fs_err::symlink_metadata(self.dir.join(id)).is_ok()
    }

    fn remove(&self, name: &OsStr) -> Option<String> {
        let path = self.path(name);
        match remove(&path) {
            Ok(()) => None,
            Err(error) => {
                let new = self.stuck().insert(name.to_owned());
                new.then(|| format!("{error}; remove it by hand"))
            }
        }
    }

    fn stuck(&self) -> std::sync::MutexGuard<'_, BTreeSet<OsString>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reason why a file is not a message.
enum Refused {
    /// It no longer exists.
    Gone,
    /// It is something else, for this reason.
    No(String),
}

/// The options to open an entry of the spool: without following links, and without waiting for pipes.
fn unfollowed() -> OpenOptions {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.custom_flags(flags.bits().cast_signed());
    options
}

fn make(dir: &Utf8Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("spool {dir}: {error}");
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    match fs_err::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            builder.create(dir).map_err(failed)?;
            fs_err::set_permissions(dir, PermissionsExt::from_mode(0o3770)).map_err(failed)?;
        }
        Ok(_) | Err(_) => {}
    }
    let found = fs_err::symlink_metadata(dir).map_err(failed)?;
    let user = rustix::process::geteuid().as_raw();
    let mode = found.mode();
    // Without the sticky bit, members of the group could remove and replace each other's files, and the service's.
    let loose = mode & 0o002 != 0 || mode & 0o1020 == 0o020;
    if !found.is_dir() || found.uid() != user || loose {
        return Err(format!(
            "spool {dir}: must be a directory of user {user} that only the group can write, and in which members cannot \
             remove files of others; `chown {user} {dir} && chmod 3770 {dir}`"
        ));
    }
    Ok(())
}

/// Shows that the service runs, as long as the file is open: by a lock that it takes before another process can open the file.
///
/// Only for `trigger` and `status`, which cannot look into the state directory. It does not keep a second service out, since members
/// can lock it, too, once it is free. An existing entry of the name is replaced, never opened.
fn alive(dir: &Utf8Path) -> io::Result<File> {
    place(dir, ALIVE, |file| file.try_lock().map_err(io::Error::from))
}

/// The lock that keeps out a second service; `None` if another service holds it.
///
/// Members cannot open the file, and in a directory with the sticky bit they cannot replace it. An entry that a member has put there
/// before is removed.
fn lock(dir: &Utf8Path) -> io::Result<Option<File>> {
    let path = dir.join(LOCK);
    let user = rustix::process::geteuid().as_raw();
    for _ in 0..ATTEMPTS {
        let new = unfollowed()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        let file = match new {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                unfollowed().write(true).open(&path)
            }
            new => new,
        };
        let found = file.as_ref().map(File::metadata);
        let own = matches!(&found, Ok(Ok(found)) if found.is_file() && found.uid() == user
            && found.nlink() == 1 && found.mode() & 0o777 == 0o600);
        if own {
            let file = file?;
            return match file.try_lock() {
                Ok(()) => Ok(Some(file)),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(error),
            };
        }
        // The entry may be back: its author can recreate it any number of times, hence the limit.
        remove(path.as_std_path())?;
    }
    Err(io::Error::other(format!(
        "{path}: it is not a file of the service"
    )))
}

/// Removes a file or an empty directory, if it exists.
fn remove(path: &Path) -> io::Result<()> {
    let is_dir = fs_err::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let removed = if is_dir {
        fs_err::remove_dir(path)
    } else {
        fs_err::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Puts a file that the group can read in place of any entry of the name; `write` fills it before it gets the name.
pub(super) fn place(
    dir: &Utf8Path,
    name: &str,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<File> {
    let hidden = name.trim_start_matches('.');
    let new = dir.join(format!(".{hidden}.{}", std::process::id()));
    match fs_err::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = unfollowed()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    let placed = write(&mut file)
        // A reader can lock it once it is free, which misleads only those who ask whether a service runs.
        .and_then(|()| file.set_permissions(PermissionsExt::from_mode(0o640)))
        .and_then(|()| fs_err::rename(&new, dir.join(name)));
    match placed {
        Ok(()) => Ok(file),
        Err(error) => {
            // Report the first error.
            fs_err::remove_file(&new).ok();
            Err(error)
        }
    }
}

/// Removes the unfinished files of a killed service.
fn sweep(dir: &Utf8Path) -> io::Result<()> {
    let user = rustix::process::geteuid().as_raw();
    for entry in fs_err::read_dir(dir)?.take(MOST_NAMES) {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let mine = [ALIVE, ".status.json"].iter().any(|of| {
            let rest = name
                .strip_prefix(of)
                .and_then(|rest| rest.strip_prefix('.'));
            rest.is_some_and(|pid| pid.parse::<u32>().is_ok())
        });
        if mine && entry.metadata()?.uid() == user {
            fs_err::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The text of one of the service's own files. A file that a member has put there is not read.
pub(super) fn own_text(dir: &Utf8Path, name: &str, longest: u64) -> io::Result<Vec<u8>> {
    let of = fs_err::symlink_metadata(dir)?;
    let file = unfollowed().read(true).open(dir.join(name))?;
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != of.uid() {
        return Err(io::Error::other(format!(
            "{dir}/{name}: it is not a file of the service"
        )));
    }
    let mut text = Vec::new();
    file.take(longest).read_to_end(&mut text)?;
    Ok(text)
}

/// True if a directory in the spool is the service's own, not one that a member has put there.
pub(crate) fn is_own_dir(dir: &Utf8Path, name: &str) -> bool {
    let found = fs_err::symlink_metadata(dir.join(name)).ok();
    let of = fs_err::symlink_metadata(dir).ok();
    found
        .zip(of)
        .is_some_and(|(found, of)| found.is_dir() && found.uid() == of.uid())
}

/// True if a service runs.
pub(crate) fn is_alive(dir: &Utf8Path) -> bool {
    let Ok(of) = fs_err::symlink_metadata(dir) else {
        return false;
    };
    let Ok(file) = unfollowed().read(true).open(dir.join(ALIVE)) else {
        return false;
    };
    // A file of the directory's owner, who runs the service; not one that a member has put there.
    let own = file
        .metadata()
        .is_ok_and(|found| found.is_file() && found.uid() == of.uid());
    own && matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Leaves a message; returns its name.
pub(crate) fn leave(
    dir: &Utf8Path,
    ask: &Ask,
    now: chrono::DateTime<chrono::Utc>,
) -> io::Result<String> {
    let name = format!(
        "{}-{}.json",
        now.format("%Y%m%dT%H%M%S%6fZ"),
        std::process::id()
    );
    let part = dir.join(format!(".{name}"));
    let mut file = unfollowed()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(&part)?;
    // Regardless of the umask: the service reads it through the group.
    file.set_permissions(PermissionsExt::from_mode(0o640))?;
    file.write_all(&serde_json::to_vec(ask)?)?;
    file.sync_all()?;
    fs_err::rename(&part, dir.join(&name))?;
    fs_err::File::open(dir)?.sync_all()?;
    Ok(name)
}

#[cfg(test)]
mod tests;
