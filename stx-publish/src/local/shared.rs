//! Finds the bytes that the mirror already has.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::{Arc, OnceLock};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use stx_layout::derived::CONTROL_SUFFIX;
use stx_layout::{BuildPath, Channel, Sha256};

use super::Inner;
use super::disk::{io_error, remove_file, set_mode};
use super::index::{Index, Indexed, IndexedFile};
use crate::store::StoreError;

/// The number of copies that are tried before a file counts as unknown. The first one is found unless it has just been retired.
const TRIED: usize = 8;

/// The files of all published builds: those of the channel of the publish, and those of the others, which are read when the first is
/// not enough.
#[derive(Debug)]
pub(super) struct Shared {
    inner: Arc<Inner>,
    channel: Channel,
    own: Known,
    others: OnceLock<Known>,
}

/// The files of some builds, by digest and by name.
#[derive(Debug, Default)]
struct Known {
    builds: Vec<Build>,
    files: Vec<IndexedFile>,
    /// The position of each build in the order of preference: the newest first.
    rank: Vec<usize>,
    digests: HashMap<[u8; 32], Equal>,
    names: HashMap<Box<str>, Namesakes>,
}

/// A build that has files to share.
#[derive(Debug)]
struct Build {
    /// The directory of its channel.
    channel: Arc<Utf8PathBuf>,
    indexed: Indexed,
    /// True if its sums are still the file that was read; asked once, before the first file of it is shared.
    current: OnceLock<bool>,
}

/// The files with the same bytes.
#[derive(Debug, Default)]
struct Equal {
    files: Vec<usize>,
    /// The builds and files to try, in the order of preference. Computed once: a build may contain thousands of equal files, and a
    /// new build may request each of them.
    best: OnceLock<Vec<(usize, usize)>>,
}

/// The files with the same name.
#[derive(Debug, Default)]
struct Namesakes {
    files: Vec<usize>,
    /// The sizes of the newest of them. Computed once, as above.
    sizes: OnceLock<Vec<u64>>,
}

impl Shared {
    /// The files of all builds, for a publish to `channel`.
    pub(super) fn new(inner: Arc<Inner>, channel: Channel) -> Self {
        let own = Index::own(&inner, &channel);
        Self {
            own: Known::new(&inner, vec![(channel.clone(), own)]),
            others: OnceLock::new(),
            channel,
            inner,
        }
    }

    fn others(&self) -> &Known {
        let (inner, own) = (&self.inner, &self.channel);
        let read = || Known::new(inner, Index::others(inner, own));
        self.others.get_or_init(read)
    }

    /// True if the mirror probably has a file of this name and size, so that hashing the file before copying it saves time.
    pub(super) fn is_likely(&self, name: &str, size: u64) -> bool {
        self.own.is_likely(name, size) || self.others().is_likely(name, size)
    }

    /// Shares the mirror's copy of this size and mode with `to`, which must not exist: links it, or clones it if it cannot be linked
    /// and the file system can clone. Returns false if the file must be copied, as if the copies of the mirror were modified.
    pub(super) fn link(
        &self,
        digest: Sha256,
        size: u64,
        mode: u32,
        to: &Utf8Path,
    ) -> Result<bool, StoreError> {
        if size == 0 {
            return Ok(false);
        }
        let link = |known: &Known| known.link(&self.inner, digest, size, mode, to);
        let attempt = match link(&self.own)? {
            Attempt::Gone => link(self.others())?,
            attempt => attempt,
        };
        Ok(attempt == Attempt::Shared)
    }

    /// The size of the preferred file with these bytes.
    pub(super) fn size(&self, digest: &Sha256) -> Option<u64> {
        let own = self.own.size(digest);
        own.or_else(|| self.others().size(digest))
    }

    /// The zsync control files beside these bytes: their paths and digests.
    pub(super) fn controls(&self, digest: &Sha256) -> Vec<(Utf8PathBuf, Sha256)> {
        let own = self.own.controls(digest);
        if own.is_empty() {
            self.others().controls(digest)
        } else {
            own
        }
    }

    /// The preferred file with the path `path`, whatever its contents: its place and its digest.
    pub(super) fn newest(&self, path: &BuildPath) -> Option<(Utf8PathBuf, Sha256)> {
        let own = self.own.newest(path);
        own.or_else(|| self.others().newest(path))
    }
}

impl Known {
    fn new(inner: &Inner, channels: Vec<(Channel, Index)>) -> Self {
        let (mut builds, mut files) = (Vec::new(), Vec::new());
        for (channel, index) in channels {
            let first = u32::try_from(builds.len()).expect("fewer builds than names fit on a disk");
            let channel = Arc::new(inner.root.join(channel.to_string()));
            builds.extend(index.builds.into_iter().map(|indexed| Build {
                channel: Arc::clone(&channel),
                indexed,
                current: OnceLock::new(),
            }));
            files.extend(index.files.into_iter().map(|mut file| {
                file.builds.iter_mut().for_each(|build| *build += first);
                file
            }));
        }
        let mut order: Vec<_> = (0..builds.len()).collect();
        order.sort_by_key(|&build| std::cmp::Reverse(builds[build].indexed.date));
        let mut rank = vec![0; order.len()];
        for (place, build) in order.into_iter().enumerate() {
            rank[build] = place;
        }
        let mut digests: HashMap<_, Equal> = HashMap::with_capacity(files.len());
        let mut names: HashMap<Box<str>, Namesakes> = HashMap::with_capacity(files.len());
        for (file, known) in files.iter().enumerate() {
            let known: &IndexedFile = known;
            digests.entry(known.digest).or_default().files.push(file);
            if let Some(namesakes) = names.get_mut(known.file_name()) {
                namesakes.files.push(file);
            } else {
                let namesakes = names.entry(known.file_name().into()).or_default();
                namesakes.files.push(file);
            }
        }
        Self {
            builds,
            files,
            rank,
            digests,
            names,
        }
    }

    fn is_likely(&self, name: &str, size: u64) -> bool {
        let Some(namesakes) = self.names.get(name) else {
            return false;
        };
        let sizes = namesakes.sizes.get_or_init(|| {
            let files = namesakes.files.iter();
            let newest = files.filter_map(|&file| self.copies(file).min());
            let files = best(newest).into_iter();
            let found = files.filter_map(|(build, file)| self.size_of(build, file));
            found.collect()
        });
        sizes.contains(&size)
    }

    /// Shares one of these files with `to`, if there is one with these bytes, this size and mode.
    fn link(
        &self,
        inner: &Inner,
        digest: Sha256,
        size: u64,
        mode: u32,
        to: &Utf8Path,
    ) -> Result<Attempt, StoreError> {
        for &(build, file) in self.equal(&digest) {
            let from = self.path(build, file);
            // A file that was modified after its build was published does not have the bytes that `SHA256SUMS` names: a link to it
            // would spread the damage to the new build.
            let sums = &self.builds[build].indexed.sums;
            let fits = fs::symlink_metadata(&from).is_ok_and(|found| {
                found.is_file()
                    && found.size() == size
                    && found.permissions().mode() & 0o7777 == mode
                    && !sums.is_before_modification_of(&found)
            });
            if !fits || !self.is_current(build) {
                continue;
            }
            match share(inner, &from, to, mode)? {
                Attempt::Gone => {}
                attempt @ (Attempt::Shared | Attempt::Refused) => return Ok(attempt),
            }
        }
        Ok(Attempt::Gone)
    }

    /// False if another build has taken the place of this one since the index was made: its files may have other bytes.
    fn is_current(&self, build: usize) -> bool {
        let build = &self.builds[build];
        let is_current = || build.indexed.is_current(&build.channel);
        *build.current.get_or_init(is_current)
    }

    fn size(&self, digest: &Sha256) -> Option<u64> {
        let &(build, file) = self.equal(digest).first()?;
        self.size_of(build, file)
    }

    /// The files with these bytes to try, in the order of preference.
    fn equal(&self, digest: &Sha256) -> &[(usize, usize)] {
        self.digests.get(&digest.0).map_or(&[], |equal| {
            let files = equal.files.iter();
            let copies = files.flat_map(|&file| self.copies(file));
            equal.best.get_or_init(|| best(copies))
        })
    }

    fn controls(&self, digest: &Sha256) -> Vec<(Utf8PathBuf, Sha256)> {
        let beside = self.equal(digest).iter().filter_map(|&(build, file)| {
            let path = format!("{}{CONTROL_SUFFIX}", self.files[file].path);
            let name = path.rsplit('/').next()?;
            let mut files = self.names.get(name)?.files.iter().copied();
            let control = files.find(|&file| {
                let known = &self.files[file];
                *known.path == *path && known.builds.iter().any(|&it| it as usize == build)
            })?;
            let digest = Sha256(self.files[control].digest);
            Some((self.path(build, control), digest))
        });
        beside.collect()
    }

    /// The size of a file, if it exists.
    fn size_of(&self, build: usize, file: usize) -> Option<u64> {
        let found = fs::symlink_metadata(self.path(build, file)).ok()?;
        found.is_file().then(|| found.size())
    }

    fn newest(&self, path: &BuildPath) -> Option<(Utf8PathBuf, Sha256)> {
        let files = self.names.get(path.file_name())?.files.iter().copied();
        let same = files.filter(|&file| self.files[file].path == path.as_str());
        let (_, build, file) = same.flat_map(|file| self.copies(file)).min()?;
        Some((self.path(build, file), Sha256(self.files[file].digest)))
    }

    /// The copies of a file: the rank of the build, the build, the file.
    fn copies(&self, file: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let builds = self.files[file].builds.iter();
        builds.map(move |&build| (self.rank[build as usize], build as usize, file))
    }

    fn path(&self, build: usize, file: usize) -> Utf8PathBuf {
        let Build {
            channel, indexed, ..
        } = &self.builds[build];
        channel.join(format!("{}/{}", indexed.date, self.files[file].path))
    }
}

/// The first of these copies in the order of preference: the build and the file of each.
fn best(copies: impl Iterator<Item = (usize, usize, usize)>) -> Vec<(usize, usize)> {
    let mut copies: Vec<_> = copies.collect();
    if copies.len() > TRIED {
        copies.select_nth_unstable(TRIED);
        copies.truncate(TRIED);
    }
    copies.sort_unstable();
    let copies = copies.into_iter();
    copies.map(|(_, build, file)| (build, file)).collect()
}

/// The outcome of an attempt to share a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    /// It is shared.
    Shared,
    /// No such file exists, or it does not exist any more.
    Gone,
    /// The file system cannot share it, or the file cannot have more links.
    Refused,
}

/// Links `from` to `to`, which must not exist, or clones it if it cannot be linked.
pub(super) fn share(
    inner: &Inner,
    from: &Utf8Path,
    to: &Utf8Path,
    mode: u32,
) -> Result<Attempt, StoreError> {
    let linked = inner.crash("link").and_then(|()| fs::hard_link(from, to));
    match linked {
        Ok(()) => Ok(Attempt::Shared),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(StoreError::AlreadyExists {
            what: to.to_string(),
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Attempt::Gone),
        // Too many links, another file system, or one without links.
        Err(_) if clone(from, to, mode)? => Ok(Attempt::Shared),
        Err(_) => Ok(Attempt::Refused),
    }
}

/// Makes a file that shares its blocks with `from`; returns false if the file system cannot do that.
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
