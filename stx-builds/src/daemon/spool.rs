//! The requests of people, as files that appear by a rename.
//!
//! A file's owner is who asked: the kernel says so, nobody can claim it. The directory is of the service's user and the
//! build group, mode 3770: members add files, cannot read the state, and cannot touch each other's files.
//!
//! Members may ask for builds and nothing more, and whatever lies here may be theirs: links, pipes, directories, any name.
//! So nothing is opened that is followed or waited for, nothing is written under a name that exists, and what cannot be
//! removed is reported once.

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

/// The file that the running service has locked, so that others can see that it runs.
const ALIVE: &str = ".service";
/// The file that the running service has locked to keep a second one out. Only its user can open it.
const LOCK: &str = ".lock";
/// The document that says what the service does; see [`Status`](stx_service::status::Status).
pub(super) const STATUS: &str = "status.json";
/// The directory of the logs of running builds.
pub(crate) const RUNNING: &str = "running";
/// No message is longer.
const LONGEST: u64 = Ask::LONGEST as u64;
/// How many messages of one user are read at a time; the rest is read at the next look.
const MOST_OF_ONE: usize = 20;
/// How many are read at a time of all users together: a look must not keep the service from anything else.
const MOST_OF_ALL: usize = 100;
/// How often whatever has the name of the lock is removed.
const ATTEMPTS: u32 = 3;
/// How many names are listed at a time.
const MOST_NAMES: usize = 10_000;

/// The directory as the service has it.
#[derive(Debug)]
pub(super) struct Spool {
    dir: Utf8PathBuf,
    /// Names that could not be removed, which was reported; an empty one for the directory that cannot be read.
    stuck: Mutex<BTreeSet<OsString>>,
    /// Kept for its lock.
    _alive: Option<File>,
    /// The same.
    _lock: Option<File>,
}

/// The files found in the spool.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The messages, oldest first, at most so many of each user.
    pub(super) messages: Vec<Message>,
    /// The problems to report, a line each: files that are no messages, and files that could not be removed.
    pub(super) problems: Vec<String>,
}

impl Spool {
    /// Makes the directory, or finds that others can write it, and shows that the service runs. What keeps the latter from
    /// being shown is given, and is no reason not to serve.
    pub(super) fn open(dir: &Utf8Path) -> Result<(Self, Option<String>), Error> {
        make(dir).map_err(Error::usage)?;
        // First of all: nothing here belongs to a service that comes second.
        let (lock, unlocked) = match lock(dir) {
            Ok(Some(file)) => (Some(file), None),
            Ok(None) => {
                let error = format!("spool {dir}: another service takes its requests");
                return Err(Error::new(ErrorKind::Busy, error)
                    .hint("give each service a `spool` of its own in [service]"));
            }
            Err(error) => {
                let text = format!("{dir}: a second service cannot be kept out: {error}");
                (None, Some(text))
            }
        };
        // What stays is of no harm, and is removed by the next start.
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
            _alive: alive,
            _lock: lock,
        };
        Ok((spool, unlocked.or(problem)))
    }

    /// The messages; files that are none are removed.
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
                // Taken back by whoever left it.
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
        // A second name could be given to somebody else's file.
        if !found.is_file() || found.nlink() != 1 || found.len() > LONGEST {
            return Err(no("not a small file with one name".to_owned()));
        }
        let mut text = Vec::new();
        // It may have grown since.
        let mut start = open.take(LONGEST + 1);
        start.read_to_end(&mut text).map_err(failed)?;
        let ask = Ask::from_json(&text).map_err(|error| no(error.to_string()))?;
        let (id, uid) = (id.to_owned(), found.uid());
        Ok(Message { id, uid, ask })
    }

    /// Removes a message; what keeps it there, the first time.
    pub(super) fn discard(&self, id: &str) -> Option<String> {
        self.remove(OsStr::new(id))
    }

    /// Whether there is a message, or anything else of this name.
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

/// Why a file is no message.
enum Refused {
    /// It is not there any more.
    Gone,
    /// It is something else.
    No(String),
}

/// How anything in the spool is opened: no link is followed, and no pipe is waited for.
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
            "spool {dir}: has to be a directory of user {user} in which others than the group cannot write, and members \
             cannot remove files of others; `chown {user} {dir} && chmod 3770 {dir}`"
        ));
    }
    Ok(())
}

/// Shows that the service runs, as long as the file is open: by a lock that it takes before anybody else can open the file.
///
/// Only for `trigger` and `status`, which cannot look into the state directory. It keeps no second service out, since members can
/// lock it, too, once it is free. Whatever had the name is replaced, never opened.
fn alive(dir: &Utf8Path) -> io::Result<File> {
    place(dir, ALIVE, |file| file.try_lock().map_err(io::Error::from))
}

/// The lock that only one service has; `None` if another one has it.
///
/// Members cannot open the file, and in a directory with the sticky bit they cannot replace it. Whatever one of them has put there before
/// is removed.
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
        // It may be there again: whoever makes it can go on doing so.
        remove(path.as_std_path())?;
    }
    Err(io::Error::other(format!(
        "{path}: it is not a file of the service"
    )))
}

/// Removes a file or an empty directory, if it is there.
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

/// Puts a file that the group can read in the place of whatever has the name; `write` is given it before it has the name.
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
        // Whoever can read it can lock it once it is free, which misleads nobody but those who ask whether a service runs.
        .and_then(|()| file.set_permissions(PermissionsExt::from_mode(0o640)))
        .and_then(|()| fs_err::rename(&new, dir.join(name)));
    match placed {
        Ok(()) => Ok(file),
        Err(error) => {
            // The first error is what is reported.
            fs_err::remove_file(&new).ok();
            Err(error)
        }
    }
}

/// Removes what a killed service left of the files that it was placing.
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

/// The text of a file of the service's own; nothing of one that a member has put there.
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

/// True if a directory in the spool is the service's own, and not one that a member has put there.
pub(crate) fn is_own_dir(dir: &Utf8Path, name: &str) -> bool {
    let found = fs_err::symlink_metadata(dir.join(name)).ok();
    let of = fs_err::symlink_metadata(dir).ok();
    found
        .zip(of)
        .is_some_and(|(found, of)| found.is_dir() && found.uid() == of.uid())
}

/// Whether a service is alive.
pub(crate) fn is_alive(dir: &Utf8Path) -> bool {
    let Ok(of) = fs_err::symlink_metadata(dir) else {
        return false;
    };
    let Ok(file) = unfollowed().read(true).open(dir.join(ALIVE)) else {
        return false;
    };
    // One of the directory's owner, who runs the service; not one that a member has put there.
    let own = file
        .metadata()
        .is_ok_and(|found| found.is_file() && found.uid() == of.uid());
    own && matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Leaves a message; what it is known by.
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
    // Whatever the mask says, the service reads it through the group.
    file.set_permissions(PermissionsExt::from_mode(0o640))?;
    file.write_all(&serde_json::to_vec(ask)?)?;
    file.sync_all()?;
    fs_err::rename(&part, dir.join(&name))?;
    fs_err::File::open(dir)?.sync_all()?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    fn ask() -> Ask {
        Ask::Cancel { request: 1 }
    }

    fn spool() -> (camino_tempfile::Utf8TempDir, Spool) {
        let dir = camino_tempfile::tempdir().expect("a directory");
        let (spool, problem) = Spool::open(&dir.path().join("spool")).expect("a spool");
        assert_eq!(problem, None);
        (dir, spool)
    }

    fn text(ask: &Ask) -> Vec<u8> {
        serde_json::to_vec(ask).expect("JSON")
    }

    #[test]
    fn what_lies_in_the_way_of_the_mark_is_replaced_and_never_opened() {
        let (dir, spool) = spool();
        let (path, victim) = (spool.dir.clone(), dir.path().join("victim"));
        assert!(is_alive(&path));
        drop(spool);
        assert!(!is_alive(&path));
        let mark = path.join(ALIVE);
        fs_err::write(&victim, "precious").expect("a file");
        let make = |what: &str| {
            fs_err::remove_file(&mark).expect("removed");
            match what {
                "symlink" => fs_err::os::unix::fs::symlink(&victim, &mark).expect("a symlink"),
                "pipe" => rustix::fs::mknodat(
                    rustix::fs::CWD,
                    mark.as_std_path(),
                    rustix::fs::FileType::Fifo,
                    rustix::fs::Mode::from_raw_mode(0o666),
                    0,
                )
                .expect("a pipe"),
                _ => fs_err::write(&mark, "").expect("a file"),
            }
        };
        for what in ["symlink", "pipe", "file"] {
            make(what);
            assert!(!is_alive(&path), "{what}");
            // Somebody has locked whatever it is.
            let holder = OpenOptions::new()
                .read(true)
                .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
                .open(&mark)
                .expect("opened");
            holder.lock().expect("locked");
            let (spool, problem) = Spool::open(&path).expect("a spool");
            assert_eq!(problem, None, "{what}");
            assert!(is_alive(&path), "{what}");
            assert!(fs_err::symlink_metadata(&mark).expect("a mark").is_file());
            drop(spool);
        }
        assert_eq!(fs_err::read_to_string(victim).expect("a file"), "precious");
        // A directory cannot be replaced: the service runs, and says so.
        fs_err::remove_file(&mark).expect("removed");
        fs_err::create_dir(&mark).expect("a directory");
        let (_spool, problem) = Spool::open(&path).expect("a spool");
        assert!(problem.expect("a problem").contains("cannot show"));
        assert!(!is_alive(&path));
    }

    #[test]
    fn what_is_no_message_is_reported_once_and_removed_if_possible() {
        let (dir, spool) = spool();
        let path = spool.dir.clone();
        fs_err::create_dir_all(path.join("full/inside")).expect("directories");
        fs_err::create_dir(path.join("empty")).expect("a directory");
        fs_err::write(path.join("bad"), "{}").expect("a file");
        fs_err::write(path.join("long"), vec![b' '; 70_000]).expect("a file");
        let odd = path.as_std_path().join(OsStr::from_bytes(b"odd\xff"));
        fs_err::write(odd, text(&ask())).expect("a file");
        fs_err::write(dir.path().join("theirs"), text(&ask())).expect("a file");
        fs_err::os::unix::fs::symlink(dir.path().join("theirs"), path.join("link"))
            .expect("a symlink");
        fs_err::hard_link(dir.path().join("theirs"), path.join("second")).expect("a link");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path.join("pipe").as_std_path(),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o666),
            0,
        )
        .expect("a pipe");
        fs_err::write(path.join("good"), text(&ask())).expect("a file");
        let found = spool.read();
        let ids: Vec<_> = found.messages.iter().map(|message| &message.id).collect();
        assert_eq!(ids, ["good"]);
        // One line each, and one that says that the full directory stays.
        assert_eq!(found.problems.len(), 9, "{:#?}", found.problems);
        for _ in 0..3 {
            let again = spool.read();
            assert_eq!(again.problems, Vec::<String>::new());
            assert_eq!(again.messages.len(), 1);
        }
        assert_eq!(spool.discard("good"), None);
        assert_eq!(spool.names().expect("names"), Vec::<OsString>::new());
        assert!(path.join("full").exists() && !path.join("empty").exists());
        // Once it is gone, another one of its name is reported.
        fs_err::remove_dir_all(path.join("full")).expect("removed");
        assert_eq!(spool.read().problems, Vec::<String>::new());
        fs_err::create_dir_all(path.join("full/inside")).expect("directories");
        assert_eq!(spool.read().problems.len(), 2);
    }

    #[test]
    fn a_look_reads_so_many_messages_and_the_next_one_the_rest() {
        let (_dir, spool) = spool();
        for number in 0..50 {
            fs_err::write(spool.dir.join(format!("{number:02}")), text(&ask())).expect("a file");
        }
        let mut seen = Vec::new();
        for expected in [20, 20, 10, 0] {
            let found = spool.read().messages;
            assert_eq!(found.len(), expected);
            for message in found {
                assert!(spool.has(&message.id));
                assert_eq!(spool.discard(&message.id), None);
                assert!(!spool.has(&message.id));
                seen.push(message.id);
            }
        }
        let all: Vec<_> = (0..50).map(|number| format!("{number:02}")).collect();
        assert_eq!(seen, all);
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let dir = camino_tempfile::tempdir().expect("a directory");
        let path = dir.path().join("spool");
        drop(Spool::open(&path).expect("a spool"));
        for (mode, good) in [
            (0o3770, true),
            (0o700, true),
            (0o3772, false),
            (0o2770, false),
        ] {
            fs_err::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("a mode");
            assert_eq!(Spool::open(&path).is_ok(), good, "{mode:o}");
        }
        let link = dir.path().join("link");
        fs_err::os::unix::fs::symlink(&path, &link).expect("a symlink");
        let refused = Spool::open(&link).expect_err("a symlink").to_string();
        assert!(refused.contains("chmod 3770"), "{refused}");
    }

    #[test]
    fn a_second_service_keeps_out_whatever_members_put_in_the_place_of_its_lock() {
        let (dir, first) = spool();
        let path = first.dir.clone();
        let busy = Spool::open(&path).expect_err("a second service");
        assert_eq!(busy.kind, ErrorKind::Busy);
        assert!(busy.to_string().contains(path.as_str()), "{busy}");
        assert!(is_alive(&path), "the first one is still seen");
        drop(first);
        let (lock, victim) = (path.join(LOCK), dir.path().join("victim"));
        fs_err::write(&victim, "precious").expect("a file");
        for what in ["symlink", "hard link", "open to the group", "directory"] {
            fs_err::remove_file(&lock).expect("removed");
            match what {
                "symlink" => fs_err::os::unix::fs::symlink(&victim, &lock),
                "hard link" => fs_err::hard_link(&victim, &lock),
                "directory" => fs_err::create_dir(&lock),
                _ => fs_err::write(&lock, "").and_then(|()| {
                    fs_err::set_permissions(&lock, PermissionsExt::from_mode(0o640))
                }),
            }
            .expect("made");
            let held = fs_err::File::open(&lock).expect("a file");
            held.file().lock().expect("locked");
            let (spool, problem) = Spool::open(&path).expect("a spool");
            assert_eq!(problem, None, "{what}");
            assert!(Spool::open(&path).is_err(), "{what}");
            drop(spool);
            assert_eq!(fs_err::read_to_string(&victim).expect("a file"), "precious");
        }
        // One that cannot be removed keeps no service from starting.
        fs_err::remove_file(&lock).expect("removed");
        fs_err::create_dir_all(lock.join("full")).expect("a directory");
        let (_spool, problem) = Spool::open(&path).expect("a spool");
        assert!(problem.is_some_and(|text| text.contains("kept out")));
    }
}
