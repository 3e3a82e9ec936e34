//! The unfinished file, in a directory that other users may write to.
//!
//! In a shared directory, any user can put a symlink, a FIFO or a file where this program is about to write. So no file is
//! opened by a predictable name, and no existing file is trusted before it is checked:
//!
//! - A file is written under `NAME.DIGEST.RANDOM.part`, made with `O_EXCL` and mode 0600.
//! - A file left by a killed fetch is found by listing the directory. It is resumed if it is a regular file of the current user
//!   with one link that only this user may write to; it is opened with `O_NOFOLLOW` and `O_NONBLOCK`.
//! - A file that already has the final name is accepted only under the same conditions; it may also belong to `root`.
//! - Directories below the given one are entered one by one; a symlink only if it belongs to the current user or to `root`.
//! - After the rename, the file with the final name must be the one that was written, or the fetch fails.

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

/// The longest file name, in bytes.
const LONGEST_NAME: usize = 255;

/// The number of times that another random name is tried.
const NAMES: u32 = 8;

/// The unfinished files that existed before the fetch, by their directory: each directory is listed once per fetch.
///
/// Fetches into the same directory share it, so that the directory is listed only once.
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

/// The directory that a file is written to. It is held open, because its path may lead elsewhere in the meantime.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: Utf8PathBuf,
    /// The user whose files are trusted.
    me: u32,
}

/// The flags to open a file that another user may have put there.
const WARILY: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

impl Dir {
    /// Enters the directory `below` in the directory `base`; missing directories are created.
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
                    let error = io::Error::other("it points outside of the directory");
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
                // The link itself is held open, so that the link that was checked is the one that is followed.
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

    /// True if files of this user are safe: only the current user and `root`, who could do any harm anyway.
    fn trusts(&self, user: u32) -> bool {
        user == 0 || user == self.me
    }

    /// The names of the unfinished files.
    fn unfinished(&self) -> io::Result<Vec<String>> {
        self.names(&|name| name.ends_with(SUFFIX))
    }

    /// The names that `are_meant` accepts.
    pub(super) fn names(&self, are_meant: &dyn Fn(&str) -> bool) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            // This program writes only names in UTF-8.
            if let Ok(name) = entry.file_name().to_str()
                && are_meant(name)
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Opens a file if it can be read and is not a symlink.
    pub(super) fn open(&self, name: &str) -> Option<(Utf8PathBuf, fs::File)> {
        let file = openat(&self.fd, name, WARILY | OFlags::RDONLY, Mode::empty()).ok()?;
        let path = self.path.join(name);
        Some((path.clone(), fs::File::from_parts(file.into(), path)))
    }

    /// The size of the existing file, if it has the expected digest and no other user can change it.
    pub(super) fn already(&self, name: &str, expected: Sha256) -> Result<Option<u64>, FetchError> {
        let path = self.path.join(name);
        let file = match openat(&self.fd, name, WARILY | OFlags::RDONLY, Mode::empty()) {
            Ok(file) => file,
            // Nothing, a symlink, a socket, or an unreadable file of another user: it is replaced.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::ACCESS) => return Ok(None),
            Err(error) => return Err(refused("open", path)(error)),
        };
        let stat = fstat(&file).map_err(refused("look at", &*path))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            // A file cannot replace a directory: report this before the download, not after it.
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

/// The unfinished file; its digest covers exactly the bytes that were written.
#[derive(Debug)]
pub(super) struct Part {
    dir: Dir,
    name: String,
    pub(super) path: Utf8PathBuf,
    file: fs::File,
    hash: sha2::Sha256,
    pub(super) length: u64,
    /// True if the file on disk is shorter than `length`, because it ends in zeros that were not written. After a crash, the
    /// fetch that resumes it fetches these again.
    ends_in_a_hole: bool,
}

impl Part {
    /// Opens the unfinished file for `name` that an earlier fetch left, or makes a new one, and hashes its contents.
    pub(super) fn open(
        dir: Dir,
        name: &str,
        expected: Sha256,
        left: &Unfinished,
    ) -> Result<Self, FetchError> {
        let digest = expected.to_string();
        let digest = digest.get(..16).unwrap_or(&digest);
        // `.` and sixteen digits, twice, and the suffix.
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
                        // The shorter file only takes room; the longer one is resumed.
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

    /// The directory of the file.
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

    /// The first bytes, at most `most`.
    pub(super) fn beginning(&self, most: usize) -> Result<Vec<u8>, FetchError> {
        let length = usize::try_from(self.length).map_or(most, |length| length.min(most));
        let mut bytes = vec![0; length];
        // The file on disk does not yet include a hole at its end.
        let read = self.file.file().read_at(&mut bytes, 0);
        bytes.truncate(read.map_err(local("read", &self.path))?);
        Ok(bytes)
    }

    /// Empties the file, to write it from its beginning.
    pub(super) fn empty(mut self) -> Result<Self, FetchError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(local("empty", &self.path))?;
        self.hash = sha2::Sha256::new();
        self.length = 0;
        self.ends_in_a_hole = false;
        Ok(self)
    }

    /// Renames the file to its final name.
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
            let why = "another program replaced it";
            return Err(local("keep", to)(io::Error::other(why)));
        }
        Ok(())
    }

    pub(super) fn remove(self) -> Result<(), FetchError> {
        unlinkat(&self.dir.fd, &self.name, AtFlags::empty()).map_err(refused("remove", self.path))
    }
}

/// The verdict on an unfinished file: whether this fetch may resume it.
enum Own {
    Yes(OwnedFd, Stat),
    /// It may be resumed, but another fetch is writing it.
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
        // A user who may read a file may lock it; the lock of such a user must not block the fetch.
        Err(TryLockError::WouldBlock) if !others_read => return Own::Busy,
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return Own::No,
    }
    // The holder of the lock may have renamed the file in the meantime.
    match statat(&dir.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) if is_same(&stat, &there) => Own::Yes(file.into(), stat),
        Ok(_) | Err(_) => Own::No,
    }
}

/// Makes an unfinished file with an unpredictable name, and locks it.
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

/// True if both describe the same file.
fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// The mode that the kernel would have given the file under the umask of the process. Reading it by `umask` would change it
/// for other threads. If the kernel does not report it (before 4.7), the usual 022 is assumed.
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
