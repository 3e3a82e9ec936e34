//! Which bytes the mirror has already.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use stx_layout::{BuildPath, Channel, Sha256};

use super::Inner;
use super::disk::{io_error, remove_file, set_mode};
use super::index::Index;
use crate::store::StoreError;

/// How many copies are looked at before a file counts as unknown. The first one will do unless it was retired just now.
const TRIED: usize = 8;

/// The files of all published builds, by digest and by name.
#[derive(Debug)]
pub(super) struct Shared {
    index: Index,
    builds: Vec<Utf8PathBuf>,
    /// The place of each build in the order of preference.
    rank: Vec<usize>,
    digests: HashMap<[u8; 32], Vec<usize>>,
    names: HashMap<Box<str>, Vec<usize>>,
}

impl Shared {
    /// Of equal files, that of the newest build of `channel` is preferred, then that of the newest build of another one.
    pub(super) fn new(inner: &Inner, index: Index, channel: &Channel) -> Self {
        let mut order: Vec<_> = (0..index.builds.len()).collect();
        order.sort_by_key(|&build| {
            let id = &index.builds[build].id;
            (id.channel != *channel, std::cmp::Reverse(id.date))
        });
        let mut rank = vec![0; order.len()];
        for (place, build) in order.into_iter().enumerate() {
            rank[build] = place;
        }
        let mut digests: HashMap<_, Vec<_>> = HashMap::with_capacity(index.files.len());
        let mut names: HashMap<Box<str>, Vec<_>> = HashMap::with_capacity(index.files.len());
        for (file, known) in index.files.iter().enumerate() {
            digests.entry(known.digest).or_default().push(file);
            match names.get_mut(known.file_name()) {
                Some(files) => files.push(file),
                None => drop(names.insert(known.file_name().into(), vec![file])),
            }
        }
        let builds = index.builds.iter().map(|build| inner.build_dir(&build.id));
        Self {
            builds: builds.collect(),
            rank,
            digests,
            names,
            index,
        }
    }

    /// Whether a file of this name and size is likely to be there already, so that hashing it before copying pays.
    pub(super) fn is_likely(&self, name: &str, size: u64) -> bool {
        let files = self.names.get(name).map_or(&[][..], Vec::as_slice);
        let mut newest: Vec<_> = files
            .iter()
            .filter_map(|&file| self.copies(file).min())
            .collect();
        newest.sort_unstable();
        newest.truncate(TRIED);
        newest.into_iter().any(|(_, build, file)| {
            fs::symlink_metadata(self.path(build, file))
                .is_ok_and(|found| found.is_file() && found.size() == size)
        })
    }

    /// Shares the mirror's copy with `to`, which is not there, if there is one of this size and mode: links it, or clones
    /// it where it cannot be linked and the file system can clone. `false`: it has to be copied.
    pub(super) fn link(
        &self,
        inner: &Inner,
        digest: Sha256,
        size: u64,
        mode: u32,
        to: &Utf8Path,
    ) -> Result<bool, StoreError> {
        if size == 0 {
            return Ok(false);
        }
        let files = self.digests.get(&digest.0).map_or(&[][..], Vec::as_slice);
        let mut copies: Vec<_> = files.iter().flat_map(|&file| self.copies(file)).collect();
        copies.sort_unstable();
        for (_, build, file) in copies.into_iter().take(TRIED) {
            let from = self.path(build, file);
            let fits = fs::symlink_metadata(&from).is_ok_and(|found| {
                found.is_file()
                    && found.size() == size
                    && found.permissions().mode() & 0o7777 == mode
            });
            if !fits {
                continue;
            }
            let linked = inner.crash("link").and_then(|()| fs::hard_link(&from, to));
            match linked {
                Ok(()) => return Ok(true),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    return Err(StoreError::AlreadyExists {
                        what: to.to_string(),
                    });
                }
                // Retired since it was looked at.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                // Too many links, another file system, or one without links.
                Err(_) => return clone(&from, to, mode),
            }
        }
        Ok(false)
    }

    /// The size of the preferred file with these bytes.
    pub(super) fn size(&self, digest: &Sha256) -> Option<u64> {
        let files = self.digests.get(&digest.0)?.iter();
        let (_, build, file) = files.flat_map(|&file| self.copies(file)).min()?;
        let found = fs::symlink_metadata(self.path(build, file)).ok()?;
        found.is_file().then(|| found.size())
    }

    /// The preferred one of the files with the path `path`, whatever they hold: where it lies, and its digest.
    pub(super) fn newest(&self, path: &BuildPath) -> Option<(Utf8PathBuf, Sha256)> {
        let files = self.names.get(path.file_name())?.iter().copied();
        let same = files.filter(|&file| self.index.files[file].path == path.as_str());
        let (_, build, file) = same.flat_map(|file| self.copies(file)).min()?;
        Some((
            self.path(build, file),
            Sha256(self.index.files[file].digest),
        ))
    }

    /// Where a file is: rank of the build, the build, the file.
    fn copies(&self, file: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let builds = self.index.files[file].builds.iter();
        builds.map(move |&build| (self.rank[build as usize], build as usize, file))
    }

    fn path(&self, build: usize, file: usize) -> Utf8PathBuf {
        self.builds[build].join(&self.index.files[file].path)
    }
}

/// Makes a file that shares its blocks with `from`; `false` where the file system cannot.
fn clone(from: &Utf8Path, to: &Utf8Path, mode: u32) -> Result<bool, StoreError> {
    let Ok(source) = fs::File::open(from) else {
        return Ok(false);
    };
    let target = fs::OpenOptions::new().write(true).create_new(true).open(to);
    let target = target.map_err(io_error("make", to))?;
    let cloned: io::Result<()> = rustix::fs::ioctl_ficlone(target.file(), source.file())
        .map_err(io::Error::from)
        .and_then(|()| source.metadata()?.modified())
        .and_then(|modified| target.file().set_modified(modified));
    drop(target);
    if cloned.is_err() {
        remove_file(to)?;
        return Ok(false);
    }
    set_mode(to, mode)?;
    Ok(true)
}

#[cfg(test)]
mod tests;
