//! The unfinished file, in a directory that others may write to.
//!
//! In a shared directory anybody can put a symlink, a FIFO or a file of theirs where this program is about to write. So
//! nothing is opened by a name that can be guessed, and nothing that is there is trusted before it was looked at:
//!
//! - A file is written under `NAME.DIGEST.RANDOM.part`, made with `O_EXCL` and mode 0600.
//! - What a killed fetch left is found by listing the directory. It is gone on with if it is a regular file of one's own,
//!   with one name, that nobody else may write to; it is opened with `O_NOFOLLOW` and without waiting.
//! - A file that has its name already is taken for the right one only under the same conditions; `root` may own it, too.
//! - Directories below the one that was named are entered one by one; a symlink only if it is one's own, or `root`'s.
//! - What got the name at last is what was written, or the fetch fails.

use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::io::{self, Seek as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use fs_err as fs;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, fchmod, fstat, mkdirat, openat, readlinkat,
    renameat, statat, unlinkat,
};
use rustix::io::Errno;
use sha2::Digest as _;
use stx_layout::Sha256;

use super::FetchError;
use crate::incoming::hash_rest;
use crate::sparse::write_sparse;

/// Longest name of a file.
const LONGEST_NAME: usize = 255;

/// How often another random name is tried.
const NAMES: u32 = 8;

/// The unfinished files that were there before, by their directory: each is listed once a fetch.
///
/// Shared by fetches into one directory, it has each of them list the directory only once.
#[derive(Debug, Default)]
pub struct Unfinished(Mutex<BTreeMap<Utf8PathBuf, Arc<[String]>>>);

impl Unfinished {
    fn of(&self, dir: &Dir) -> Result<Arc<[String]>, FetchError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(names) = known.get(&dir.path) {
            return Ok(Arc::clone(names));
        }
        let names: Arc<[String]> = dir.unfinished().map_err(local("list", &dir.path))?.into();
        known.insert(dir.path.clone(), Arc::clone(&names));
        Ok(names)
    }
}

/// The directory that a file goes to, held open: its path may lead elsewhere meanwhile.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: Utf8PathBuf,
    /// The user whose files are trusted.
    me: u32,
}

/// How a file is opened that others may have put there.
const WARILY: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

impl Dir {
    /// Enters the directory `below` the directory `base`; what is not there is made.
    pub(super) fn enter(base: &Utf8Path, below: &Utf8Path, me: u32) -> Result<Self, FetchError> {
        let at = match base.as_str() {
            "" => Utf8Path::new("."),
            _ => base,
        };
        fs::create_dir_all(at).map_err(local("make", at))?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(CWD, at.as_str(), flags, Mode::empty()).map_err(refused("open", at))?;
        let mut dir = Self {
            fd,
            path: base.to_owned(),
            me,
        };
        for component in below.components() {
            match component {
                Utf8Component::Normal(name) => dir = dir.step(name)?,
                Utf8Component::CurDir => {}
                Utf8Component::Prefix(_) | Utf8Component::RootDir | Utf8Component::ParentDir => {
                    let error = io::Error::other("it leads out of the directory");
                    return Err(local("enter", base.join(below))(error));
                }
            }
        }
        Ok(dir)
    }

    fn step(&self, name: &str) -> Result<Self, FetchError> {
        let path = self.path.join(name);
        match mkdirat(&self.fd, name, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(refused("make", path)(error)),
        }
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(&self.fd, name, flags | OFlags::NOFOLLOW, Mode::empty());
        let fd = match opened {
            Err(Errno::LOOP | Errno::NOTDIR) => {
                // The link itself is held open, so that it is this one that is followed.
                let link = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let link =
                    openat(&self.fd, name, link, Mode::empty()).map_err(refused("open", &*path))?;
                let stat = fstat(&link).map_err(refused("look at", &*path))?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                    return Err(refused("enter", path)(Errno::NOTDIR));
                }
                if !self.trusts(stat.st_uid) {
                    let why = format!("a symlink of user {}, which is not followed", stat.st_uid);
                    return Err(local("enter", path)(io::Error::other(why)));
                }
                let target = readlinkat(&link, "", Vec::new()).map_err(refused("read", &*path))?;
                openat(&self.fd, target.as_c_str(), flags, Mode::empty())
            }
            opened => opened,
        };
        Ok(Self {
            fd: fd.map_err(refused("enter", &*path))?,
            path,
            me: self.me,
        })
    }

    /// Whether a user can do no more harm than can be done anyway: oneself, and `root`.
    fn trusts(&self, user: u32) -> bool {
        user == 0 || user == self.me
    }

    /// The names of unfinished files.
    fn unfinished(&self) -> io::Result<Vec<String>> {
        self.names(&|name| name.ends_with(SUFFIX))
    }

    /// The names that are meant.
    pub(super) fn names(&self, are_meant: &dyn Fn(&str) -> bool) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            // This program writes no other names than in UTF-8.
            if let Ok(name) = entry.file_name().to_str()
                && are_meant(name)
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Opens a file, if it can be read and is no symlink.
    pub(super) fn open(&self, name: &str) -> Option<(Utf8PathBuf, fs::File)> {
        let file = openat(&self.fd, name, WARILY | OFlags::RDONLY, Mode::empty()).ok()?;
        let path = self.path.join(name);
        Some((path.clone(), fs::File::from_parts(file.into(), path)))
    }

    /// The size of the file that is there, if it is the right one and nobody else's.
    pub(super) fn already(&self, name: &str, expected: Sha256) -> Result<Option<u64>, FetchError> {
        let path = self.path.join(name);
        let file = match openat(&self.fd, name, WARILY | OFlags::RDONLY, Mode::empty()) {
            Ok(file) => file,
            // Nothing, a symlink, a socket, or a file of somebody who does not show it: it is replaced.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::ACCESS) => return Ok(None),
            Err(error) => return Err(refused("open", path)(error)),
        };
        let stat = fstat(&file).map_err(refused("look at", &*path))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            // No file can take its name: this is said before the download, not after it.
            return Err(local("replace", path)(io::ErrorKind::IsADirectory.into()));
        }
        let regular = kind == FileType::RegularFile;
        if !regular || !self.trusts(stat.st_uid) {
            return Ok(None);
        }
        let mut file = fs::File::from_parts(file.into(), &path);
        let (hash, length) = hashed(&mut file).map_err(local("read", &path))?;
        let found = Sha256(hash.finalize().into());
        Ok((found == expected).then_some(length))
    }
}

/// The suffix of an unfinished file's name.
const SUFFIX: &str = ".part";

/// The unfinished file: what was hashed is what was written.
#[derive(Debug)]
pub(super) struct Part {
    dir: Dir,
    name: String,
    pub(super) path: Utf8PathBuf,
    file: fs::File,
    hash: sha2::Sha256,
    pub(super) length: u64,
    /// Whether the file is shorter than that, because nothing but zeros came last. Who goes on with it after a crash fetches
    /// these again.
    ends_in_a_hole: bool,
}

impl Part {
    /// Opens the unfinished file for `name` that an earlier fetch left, or makes a new one, and hashes what is in it.
    pub(super) fn open(
        dir: Dir,
        name: &str,
        expected: Sha256,
        left: &Unfinished,
    ) -> Result<Self, FetchError> {
        let digest = expected.to_string();
        let digest = digest.get(..16).unwrap_or(&digest);
        // `.`, sixteen digits twice, and the end.
        let room = LONGEST_NAME - 2 * 17 - SUFFIX.len();
        let stem = name.get(..name.floor_char_boundary(room)).unwrap_or(name);
        let stem = format!("{stem}.{digest}");
        let mut best: Option<(String, OwnedFd, Stat)> = None;
        let mut busy = None;
        for name in left.of(&dir)?.iter().filter(|name| name.starts_with(&stem)) {
            match own(&dir, name) {
                Own::No => {}
                Own::Busy => busy = Some(dir.path.join(name)),
                Own::Yes(file, stat) => {
                    let (worse, kept) = match best.take() {
                        Some(best) if best.2.st_size >= stat.st_size => (Some(name.clone()), best),
                        other => (other.map(|(name, ..)| name), (name.clone(), file, stat)),
                    };
                    best = Some(kept);
                    if let Some(worse) = worse {
                        // It only takes room; what is longer is gone on with.
                        unlinkat(&dir.fd, worse, AtFlags::empty()).unwrap_or_default();
                    }
                }
            }
        }
        let (name, file) = match (best, busy) {
            (Some((name, file, _)), _) => (name, file),
            (None, Some(path)) => return Err(FetchError::Busy { path }),
            (None, None) => made(&dir, &stem)?,
        };
        let path = dir.path.join(&name);
        let mut file = fs::File::from_parts(file.into(), &path);
        let (hash, length) = hashed(&mut file).map_err(local("read", &path))?;
        Ok(Self {
            dir,
            name,
            path,
            file,
            hash,
            length,
            ends_in_a_hole: false,
        })
    }

    /// Where it lies.
    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    pub(super) fn append(&mut self, chunk: &[u8]) -> Result<(), FetchError> {
        if chunk.is_empty() {
            return Ok(());
        }
        self.ends_in_a_hole =
            write_sparse(&mut self.file, self.length, chunk).map_err(local("write", &self.path))?;
        self.hash.update(chunk);
        self.length += chunk.len() as u64;
        Ok(())
    }

    pub(super) fn digest(&self) -> Sha256 {
        Sha256(self.hash.clone().finalize().into())
    }

    /// The first bytes, at most so many.
    pub(super) fn beginning(&self, most: usize) -> Result<Vec<u8>, FetchError> {
        let length = usize::try_from(self.length).map_or(most, |length| length.min(most));
        let mut bytes = vec![0; length];
        // A hole at the end of what was written is not in the file yet.
        let read = self.file.file().read_at(&mut bytes, 0);
        bytes.truncate(read.map_err(local("read", &self.path))?);
        Ok(bytes)
    }

    /// Begins again.
    pub(super) fn empty(mut self) -> Result<Self, FetchError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(local("empty", &self.path))?;
        self.hash = sha2::Sha256::new();
        self.length = 0;
        self.ends_in_a_hole = false;
        Ok(self)
    }

    /// Gives the file its name.
    pub(super) fn finish(self, name: &str) -> Result<(), FetchError> {
        if self.ends_in_a_hole {
            let sized = self.file.set_len(self.length);
            sized.map_err(local("write", &self.path))?;
        }
        let fd = self.file.file();
        fchmod(fd, finished_mode()).map_err(refused("set the mode of", &*self.path))?;
        renameat(&self.dir.fd, &self.name, &self.dir.fd, name)
            .map_err(refused("rename", &*self.path))?;
        let to = self.dir.path.join(name);
        let written = fstat(fd).map_err(refused("look at", &*to))?;
        let there = statat(&self.dir.fd, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(refused("look at", &*to))?;
        if !is_same(&written, &there) {
            let why = "another program put something else in its place";
            return Err(local("keep", to)(io::Error::other(why)));
        }
        Ok(())
    }

    pub(super) fn remove(self) -> Result<(), FetchError> {
        unlinkat(&self.dir.fd, &self.name, AtFlags::empty()).map_err(refused("remove", self.path))
    }
}

/// Whether an unfinished file is one to go on with.
enum Own {
    Yes(OwnedFd, Stat),
    /// It is, but another fetch is writing it.
    Busy,
    No,
}

fn own(dir: &Dir, name: &str) -> Own {
    let Ok(file) = openat(&dir.fd, name, WARILY | OFlags::RDWR, Mode::empty()) else {
        return Own::No;
    };
    let Ok(stat) = fstat(&file) else {
        return Own::No;
    };
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let only_mine = stat.st_uid == dir.me && stat.st_nlink == 1 && stat.st_mode & 0o022 == 0;
    if !regular || !only_mine {
        return Own::No;
    }
    let others_read = Mode::from_raw_mode(stat.st_mode).intersects(Mode::RWXG | Mode::RWXO);
    let file = std::fs::File::from(file);
    match file.try_lock() {
        Ok(()) => {}
        // Who may read a file may lock it; such a lock of somebody else keeps nobody from fetching.
        Err(TryLockError::WouldBlock) if !others_read => return Own::Busy,
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return Own::No,
    }
    // Whoever had the lock may have given the file its name meanwhile.
    match statat(&dir.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) if is_same(&stat, &there) => Own::Yes(file.into(), stat),
        Ok(_) | Err(_) => Own::No,
    }
}

/// Makes an unfinished file whose name nobody can know before, and locks it.
fn made(dir: &Dir, stem: &str) -> Result<(String, OwnedFd), FetchError> {
    let flags = WARILY | OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
    let mut tried = 0;
    loop {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(refused("find a name in", &*dir.path))?;
        let name = format!("{stem}.{:016x}{SUFFIX}", u64::from_ne_bytes(random));
        let path = dir.path.join(&name);
        match openat(&dir.fd, &name, flags, Mode::from_raw_mode(0o600)) {
            Ok(file) => {
                let file = std::fs::File::from(file);
                return match file.try_lock() {
                    Ok(()) => Ok((name, file.into())),
                    Err(TryLockError::WouldBlock) => Err(FetchError::Busy { path }),
                    Err(TryLockError::Error(source)) => Err(local("lock", path)(source)),
                };
            }
            Err(Errno::EXIST) if tried < NAMES => tried += 1,
            Err(error) => return Err(refused("make", path)(error)),
        }
    }
}

/// Whether two looks were at one file.
fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// The mode that the kernel would have given the file by the process's umask. Asking for the umask by `umask` would change
/// it for other threads; a kernel that does not say it (before 4.7) gets what is most usual.
fn finished_mode() -> Mode {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let umask = status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:"))
        .and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok());
    Mode::from_raw_mode(0o666 & !umask.unwrap_or(0o022))
}

/// The user that this program runs as.
pub(super) fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Reads a file to its end.
fn hashed(file: &mut fs::File) -> io::Result<(sha2::Sha256, u64)> {
    let mut hash = sha2::Sha256::new();
    let length = hash_rest(file, &mut hash)?;
    Ok((hash, length))
}

pub(super) fn local(
    op: &'static str,
    path: impl Into<Utf8PathBuf>,
) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.into();
    move |source| FetchError::Local { op, path, source }
}

fn refused(op: &'static str, path: impl Into<Utf8PathBuf>) -> impl FnOnce(Errno) -> FetchError {
    let failed = local(op, path);
    move |error| failed(error.into())
}

#[cfg(test)]
#[path = "part_tests.rs"]
mod tests;
