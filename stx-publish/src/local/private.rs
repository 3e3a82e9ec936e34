//! The private area of a mirror: locks, staging, trash.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use rustix::io::Errno;
use stx_layout::{BuildDate, BuildId, Channel};
use walkdir::WalkDir;

use super::Inner;
use super::disk::{io_error, make_dirs, remove_file, remove_hidden, set_mode, sync_dirs};
use super::locked::Locked;
use crate::store::rules::{parse_retired_name, retired_name};
use crate::store::{Leftover, Retired, Scope, StoreError};

/// The private area.
const PRIVATE: &str = ".stx";
/// The image tags that removed builds left, which still have to be removed.
pub(super) const OWED: &str = "owed";
/// The pins of each build.
pub(super) const PINS: &str = "pins";
/// The verdicts on each build.
pub(super) const VERDICTS: &str = "verdicts";
const STAGING: &str = "staging";
pub(super) const TRASH: &str = "trash";
const HELD: &str = "held";
const PAGES: &str = "pages";
const ALIASES: &str = "aliases";
const LOCKS: &str = "locks";
const CACHE: &str = "cache";
/// The prefix of names in the private area that are not names of builds or channels.
pub(super) const MARK: &str = "%2E";

/// The lock of a channel: a kernel lock on a file that is never removed. It ends when its last holder closes the file or dies.
#[derive(Debug)]
pub(super) struct Lock {
    pub(super) channel: Channel,
    locked: Locked,
}

impl Lock {
    /// A copy for a program that is started: while the program has it, the channel stays locked, even if this value is dropped.
    pub(super) fn copy(&self) -> Result<std::fs::File, StoreError> {
        let copy = self.locked.0.file().try_clone();
        copy.map_err(io_error("copy the lock of", &self.channel))
    }
}

/// Refuses a file system that cannot hold a mirror, after a test in the empty directory `private`. Aliases need symlinks, and two
/// channels could become one if names that differ in case alone are the same.
fn check_file_system(private: &Utf8Path) -> Result<(), StoreError> {
    let refused = |what: &str| StoreError::Refused {
        what: private.to_string(),
        reason: format!("{what}: put the mirror on another one, such as ext4 or XFS"),
    };
    let probe = private.join(format!("{MARK}probe"));
    match rustix::fs::symlink(".", probe.as_str()) {
        Ok(()) => {}
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => {
            return Err(refused(
                "its file system has no symlinks, which aliases need",
            ));
        }
        Err(error) => return Err(io_error("make", &probe)(error.into())),
    }
    let upper = private.join(format!("{MARK}PROBE"));
    let is_found = fs::symlink_metadata(upper).is_ok();
    remove_file(&probe)?;
    if is_found {
        return Err(refused(
            "its file system treats names that differ in case alone as the same name",
        ));
    }
    Ok(())
}

impl Inner {
    pub(super) fn area_root(&self, area: &str) -> Utf8PathBuf {
        self.root.join(PRIVATE).join(area)
    }

    pub(super) fn area(&self, area: &str, channel: &Channel) -> Utf8PathBuf {
        self.area_root(area).join(channel.to_string())
    }

    pub(super) fn staging(&self, channel: &Channel) -> Utf8PathBuf {
        self.area(STAGING, channel)
    }

    /// The path of a temporary file in the staging area, to be moved to its place.
    pub(super) fn temporary(&self, channel: &Channel, name: &str) -> Utf8PathBuf {
        self.staging(channel).join(format!("{MARK}{name}"))
    }

    pub(super) fn trash(&self, channel: &Channel) -> Utf8PathBuf {
        self.area(TRASH, channel)
    }

    /// The file of the cache `name` of the whole mirror.
    pub(super) fn cache(&self, name: &str) -> Utf8PathBuf {
        self.root
            .join(PRIVATE)
            .join(CACHE)
            .join(format!("{MARK}{name}"))
    }

    /// The file of the cache `name` of a channel.
    pub(super) fn channel_cache(&self, channel: &Channel, name: &str) -> Utf8PathBuf {
        self.area(CACHE, channel).join(format!("{MARK}{name}"))
    }

    pub(super) fn trashed(&self, retired: &Retired) -> Utf8PathBuf {
        self.trash(&retired.id.channel).join(retired_name(retired))
    }

    /// The directory of the notes that record at which build an alias is held.
    pub(super) fn held(&self, channel: &Channel) -> Utf8PathBuf {
        self.area(HELD, channel)
    }

    /// The directory in which derived pages are made.
    pub(super) fn pages(&self) -> Utf8PathBuf {
        self.root.join(PRIVATE).join(PAGES)
    }

    /// The directory in which aliases of releases are made.
    pub(super) fn root_area(&self) -> Utf8PathBuf {
        self.root.join(PRIVATE).join(ALIASES)
    }

    /// Makes the private area, for its owner only. It is not synced: if a crash removes it, its locks mean nothing any more; a staged
    /// build is synced with its parents before it is moved, and so is the trash before anything is moved there.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a new mirror on a file system that cannot hold one.
    pub(super) fn make_private(&self) -> Result<(), StoreError> {
        let private = self.root.join(PRIVATE);
        let is_new = fs::symlink_metadata(&private).is_err();
        make_dirs(&self.root, Utf8Path::new(PRIVATE), 0o700)?;
        if is_new && let Err(error) = check_file_system(&private) {
            // The next call must test again. An error of this removal would hide the one that matters.
            fs::remove_dir(&private).ok();
            return Err(error);
        }
        let mode = fs::metadata(&private).map(|found| found.mode() & 0o7777);
        if mode.map_err(io_error("look at", &private))? != 0o700 {
            set_mode(&private, 0o700)?;
        }
        for area in [STAGING, TRASH, HELD, PAGES, ALIASES, PINS, VERDICTS, LOCKS] {
            make_dirs(&private, Utf8Path::new(area), 0o700)?;
        }
        Ok(())
    }

    /// Makes the directory of a channel in an area, without syncing it.
    pub(super) fn make_area(&self, dir: &Utf8Path) -> Result<(), StoreError> {
        let relative = dir.strip_prefix(&self.root).unwrap_or(dir);
        make_dirs(&self.root, relative, 0o700)
    }

    /// Makes the directory of a channel in an area durably, for data that must survive a crash.
    pub(super) fn make_durable(&self, dir: &Utf8Path) -> Result<(), StoreError> {
        self.make_area(dir)?;
        sync_dirs(&self.root, dir.strip_prefix(&self.root).unwrap_or(dir))
    }

    pub(super) fn lock(&self, channel: &Channel) -> Result<Lock, StoreError> {
        self.make_private()?;
        let dir = self.area(LOCKS, channel);
        self.make_area(&dir)?;
        let channel = channel.clone();
        match Locked::at_once(&dir.join(format!("{MARK}lock")))? {
            Some(locked) => Ok(Lock { channel, locked }),
            None => Err(StoreError::Busy {
                channel: Box::new(channel),
            }),
        }
    }

    /// The entries of an area for the channels within `scope`: channel, name, path.
    pub(super) fn entries(
        &self,
        area: &str,
        scope: &Scope,
    ) -> Result<Vec<(Channel, String, Utf8PathBuf)>, StoreError> {
        let root = self.area_root(area);
        let mut entries = Vec::new();
        let walk = match scope {
            Scope::All => WalkDir::new(&root),
            // The directories of deeper channels are beside the entries of this one.
            Scope::Channel(channel) | Scope::Build(BuildId { channel, .. }) => {
                WalkDir::new(self.area(area, channel)).max_depth(1)
            }
        };
        let mut walk = walk.min_depth(1).sort_by_file_name().into_iter();
        while let Some(entry) = walk.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error)
                    if error
                        .io_error()
                        .is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound) =>
                {
                    continue;
                }
                Err(error) => return Err(io_error("list", &root)(error.into())),
            };
            let Some(path) = Utf8Path::from_path(entry.path()) else {
                continue;
            };
            let name = path.file_name().unwrap_or_default();
            let date = name.split(['@', '.']).next().unwrap_or(name);
            if date.parse::<BuildDate>().is_err() && !name.starts_with(MARK) {
                continue;
            }
            if entry.file_type().is_dir() {
                walk.skip_current_dir();
            }
            let parent = path
                .parent()
                .and_then(|parent| parent.strip_prefix(&root).ok());
            if let Some(channel) = parent.and_then(|parent| parent.as_str().parse().ok()) {
                entries.push((channel, name.to_owned(), path.to_owned()));
            }
        }
        Ok(entries)
    }

    pub(super) fn retired(&self) -> Result<Vec<Retired>, StoreError> {
        let entries = self.entries(TRASH, &Scope::All)?.into_iter();
        let mut retired: Vec<_> = entries
            .filter_map(|(channel, name, _)| parse_retired_name(&channel, &name))
            .collect();
        retired.sort();
        Ok(retired)
    }

    /// Everything in staging and half-purged in the trash within `scope`, whether or not its publisher is still running.
    fn remains(&self, scope: &Scope) -> Result<Vec<(Channel, Utf8PathBuf)>, StoreError> {
        let staging = self
            .entries(STAGING, scope)?
            .into_iter()
            .map(|(channel, _, path)| (channel, path));
        let trash = self.entries(TRASH, scope)?.into_iter();
        let purging = trash
            .filter(|(_, name, _)| name.starts_with(MARK))
            .map(|(channel, _, path)| (channel, path));
        Ok(staging.chain(purging).collect())
    }

    fn leftover(&self, channel: Channel, path: &Utf8Path) -> Leftover {
        Leftover {
            channel,
            what: path.strip_prefix(&self.root).unwrap_or(path).to_string(),
        }
    }

    pub(super) fn leftovers(&self, scope: &Scope) -> Result<Vec<Leftover>, StoreError> {
        let mut remains = self.remains(scope)?;
        let channels: BTreeSet<_> = remains.iter().map(|(channel, _)| channel.clone()).collect();
        let mut dead = BTreeSet::new();
        for channel in channels {
            match self.lock(&channel) {
                Ok(_) => drop(dead.insert(channel)),
                Err(StoreError::Busy { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        remains
            .retain(|(channel, path)| dead.contains(channel) && fs::symlink_metadata(path).is_ok());
        Ok(remains
            .into_iter()
            .map(|(channel, path)| self.leftover(channel, &path))
            .collect())
    }

    /// Removes the leftovers in a channel whose lock the caller holds.
    pub(super) fn sweep(&self, lock: &Lock) -> Result<Vec<Leftover>, StoreError> {
        let mut swept = Vec::new();
        for (channel, path) in self.remains(&Scope::Channel(lock.channel.clone()))? {
            if !self.finish(&channel, &path)? {
                continue;
            }
            self.step("sweep")?;
            remove_hidden(&path)?;
            swept.push(self.leftover(channel, &path));
        }
        Ok(swept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_insensitive_file_system_is_refused() {
        let dir = camino_tempfile::tempdir().expect("a directory");
        check_file_system(dir.path()).expect("this one can hold a mirror");
        assert_eq!(dir.path().read_dir_utf8().expect("a directory").count(), 0);
        // Each file system that tests can rely on tells them apart: this is how another one looks.
        fs::write(dir.path().join("%2EPROBE"), "").expect("a file");
        let error = check_file_system(dir.path()).expect_err("refused");
        assert!(error.to_string().contains("in case alone"), "{error}");
        assert!(!dir.path().join("%2Eprobe").is_symlink());
    }
}
