//! Makes changes to a directory tree durable. This is the only module that syncs directories.

use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use camino::Utf8Path;
use fs_err as fs;
use rayon::prelude::*;
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use walkdir::WalkDir;

pub(crate) use crate::ingest::io_error;
use crate::store::StoreError;

/// The error of a step after a visible change: the error must not claim that the change was not made.
fn not_durable(what: &Utf8Path) -> impl FnOnce(StoreError) -> StoreError {
    let what = what.to_string();
    move |source| StoreError::NotDurable {
        what,
        source: Box::new(source),
    }
}

/// Makes a visible change to an entry durable.
pub(super) fn sync_parent(entry: &Utf8Path) -> Result<(), StoreError> {
    let parent = entry.parent();
    parent.map_or(Ok(()), sync_dir).map_err(not_durable(entry))
}

/// Sets permission bits, independently of the umask.
pub(super) fn set_mode(path: &Utf8Path, mode: u32) -> Result<(), StoreError> {
    fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(io_error("set the mode of", path))
}

/// Makes the directory `root/relative` and its parents below `root`.
pub(super) fn make_dirs(root: &Utf8Path, relative: &Utf8Path, mode: u32) -> Result<(), StoreError> {
    let mut dir = root.to_owned();
    for segment in relative {
        dir.push(segment);
        // Created with its mode, so that it is never more open; the umask may have removed bits.
        match std::fs::DirBuilder::new().mode(mode).create(&dir) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() => {}
            Err(source) => return Err(io_error("make", &dir)(source)),
        }
        // Also for an existing directory: its maker may have died before this step. Additional bits are the operator's choice.
        let found = fs::metadata(&dir).map_err(io_error("look at", &dir))?;
        if found.permissions().mode() & mode != mode {
            set_mode(&dir, mode)?;
        }
    }
    Ok(())
}

/// Makes the names of the directories from `root` to `root/relative` durable, including existing ones.
pub(super) fn sync_dirs(root: &Utf8Path, relative: &Utf8Path) -> Result<(), StoreError> {
    let mut dir = root.to_owned();
    for segment in relative {
        sync_dir(&dir)?;
        dir.push(segment);
    }
    Ok(())
}

/// Makes the entries of a directory durable.
pub(super) fn sync_dir(dir: &Utf8Path) -> Result<(), StoreError> {
    fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(io_error("sync", dir))
}

/// The file system of a staged build. It is opened before anything is written: the kernel reports a writeback error only to
/// processes that held a file open when it happened.
#[derive(Debug)]
pub(super) struct FileSystem(fs::File);

impl FileSystem {
    pub(super) fn of(dir: &Utf8Path) -> Result<Self, StoreError> {
        fs::File::open(dir).map(Self).map_err(io_error("open", dir))
    }

    /// Makes everything that was written to it durable, data and directories.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        let path = self.0.path().display().to_string();
        rustix::fs::syncfs(self.0.file())
            .map_err(|error| io_error("sync the file system of", path)(error.into()))
    }
}

/// Renames a directory to a name that does not exist, and makes that durable.
pub(super) fn rename_new(from: &Utf8Path, to: &Utf8Path) -> Result<(), StoreError> {
    let renamed =
        rustix::fs::renameat_with(CWD, from.as_str(), CWD, to.as_str(), RenameFlags::NOREPLACE);
    let renamed = match renamed {
        // Some file systems do not support the flag; a plain rename never replaces a directory that is not empty.
        Err(Errno::INVAL | Errno::NOSYS) if fs::symlink_metadata(to).is_err() => {
            fs::rename(from, to)
        }
        renamed => renamed.map_err(io::Error::from),
    };
    match renamed {
        Ok(()) => {}
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty
            ) =>
        {
            return Err(StoreError::AlreadyExists {
                what: to.to_string(),
            });
        }
        Err(source) => return Err(io_error("rename", format!("{from} to {to}"))(source)),
    }
    let (new, old) = (to.parent(), from.parent());
    sync_parent(to)?;
    // A journaling file system does not need this: it commits both sides of the rename together. It costs little.
    let old = old.filter(|old| Some(*old) != new);
    old.map_or(Ok(()), sync_dir).map_err(not_durable(to))
}

/// Replaces `link` by a symlink with the text `target`, by way of `temporary`, and makes that durable.
pub(super) fn replace_link(
    target: &str,
    temporary: &Utf8Path,
    link: &Utf8Path,
) -> Result<(), StoreError> {
    remove_file(temporary)?;
    fs::os::unix::fs::symlink(target, temporary).map_err(io_error("make", temporary))?;
    fs::rename(temporary, link).map_err(io_error("move over", link))?;
    sync_parent(link)
}

/// Replaces `file` by a file with these bytes, by way of `temporary`, and makes that durable.
pub(super) fn replace_file(
    bytes: impl AsRef<[u8]>,
    mode: u32,
    temporary: &Utf8Path,
    file: &Utf8Path,
) -> Result<(), StoreError> {
    remove_file(temporary)?;
    fs::write(temporary, bytes).map_err(io_error("write", temporary))?;
    set_mode(temporary, mode)?;
    fs::File::open(temporary)
        .and_then(|written| written.sync_all())
        .map_err(io_error("sync", temporary))?;
    fs::rename(temporary, file).map_err(io_error("move over", file))?;
    sync_parent(file)
}

/// Removes a file or symlink, if it exists.
pub(super) fn remove_file(path: &Utf8Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes a file or a symlink durably, if it and its directory exist.
pub(super) fn remove_durably(path: &Utf8Path) -> Result<(), StoreError> {
    remove_file(path)?;
    match path.parent().map_or(Ok(()), sync_dir) {
        Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(()),
        synced => synced.map_err(not_durable(path)),
    }
}

/// Removes a file, or a directory and everything below it, if it exists.
///
/// Files are removed in parallel: the names in one directory are removed one at a time, but freeing the blocks of a file that
/// no other build shares takes longer than that.
pub(super) fn remove_all(path: &Utf8Path) -> Result<(), StoreError> {
    let mut dirs = Vec::new();
    let mut others = Vec::new();
    for entry in WalkDir::new(path) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if is_gone(error.io_error()) => continue,
            Err(error) => return Err(io_error("list", path)(error.into())),
        };
        if entry.file_type().is_dir() {
            dirs.push(entry.into_path());
        } else {
            others.push(entry.into_path());
        }
    }
    let gone = |removed: io::Result<()>, path: &Path| match removed {
        Err(error) if !is_gone(Some(&error)) => Err(io_error("remove", path.display())(error)),
        Ok(()) | Err(_) => Ok(()),
    };
    others
        .par_iter()
        .try_for_each(|path| gone(fs::remove_file(path), path))?;
    // In reverse order: the walk lists a directory before the directories in it.
    let mut dirs = dirs.iter().rev();
    dirs.try_for_each(|path| gone(fs::remove_dir(path), path))
}

fn is_gone(error: Option<&io::Error>) -> bool {
    error.is_some_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Removes a directory that was renamed to a hidden name. The process that renamed it may have died before the rename was
/// durable, so it is synced first: a partly removed build must not reappear under its old name.
pub(super) fn remove_hidden(path: &Utf8Path) -> Result<(), StoreError> {
    if fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    path.parent().map_or(Ok(()), sync_dir)?;
    remove_all(path)
}
