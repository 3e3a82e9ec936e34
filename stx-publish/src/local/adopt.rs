//! Turns a build of an older publisher into a full build, in place, by adding the missing files.
//!
//! The files of such a build are already public, and are not changed: an [`Adopter`] adds `SHA256SUMS`, its signature and,
//! last, `build.json`, each by one rename. Readers see a build of the older publisher until the record exists, and a full
//! build from then on.

use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use camino::Utf8Path;
use fs_err as fs;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use stx_layout::{AliasName, BuildId, BuildPath, BuildRecord, Channel, Pin, VerdictEntry};

use super::disk::{
    io_error, make_dirs, remove_file, replace_file, set_mode, sync_dirs, sync_parent,
};
use super::private::{Lock, MARK};
use super::writer::point;
use super::{Inner, LocalStore};
use crate::incoming::{CHUNK, Incoming};
use crate::ingest::Hints;
use crate::seal::{Seal, record_path};
use crate::store::rules::{check_absent, check_channel, check_there, file_mode, seal_staged};
use crate::store::{Leftover, Scope, StoreError};

/// The cache of the digests that adoption has read, for the whole mirror.
const DIGESTS: &str = "adopted";

impl LocalStore {
    /// Takes the lock of a channel, to adopt builds of an older publisher. Blocks the thread for a few system calls.
    ///
    /// # Errors
    /// [`StoreError::Busy`] while another publisher is working.
    pub fn adopter(&self, channel: &Channel) -> Result<Adopter, StoreError> {
        Ok(Adopter {
            inner: Arc::clone(&self.inner),
            lock: self.inner.lock(channel)?,
        })
    }

    /// The digests that earlier runs of adoption have read. Blocks the thread.
    pub fn adopted_digests(&self) -> Hints {
        Hints::read(&self.inner.cache(DIGESTS))
    }
}

/// The outcome of an attempt to replace a file by a hard link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The file is now a link.
    Linked,
    /// The two files differ, or no more links can be made: both are unchanged.
    Apart,
}

/// The lock of a channel, and with it the right to adopt its builds. Its methods block the thread.
#[derive(Debug)]
pub struct Adopter {
    inner: Arc<Inner>,
    lock: Lock,
}

impl Adopter {
    /// Removes the files that dead publishers left in this channel, including a killed adoption.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn sweep(&self) -> Result<Vec<Leftover>, StoreError> {
        self.inner.sweep(&self.lock)
    }

    /// Turns the build of `record`, whose files and symlinks are `entries`, into a full build. Existing files are not changed; only
    /// a `SHA256SUMS` without a `build.json`, which a killed adoption has left, is replaced. Returns the record as written.
    ///
    /// The build is durable when the call returns, and the record is not visible before the sums are durable. The mirror's attester
    /// makes no statement, because the origin of the build is unknown.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a build that does not exist, [`StoreError::AlreadyExists`] for one that has a record.
    pub fn seal(&self, record: BuildRecord, entries: &Incoming) -> Result<BuildRecord, StoreError> {
        let id = record.id.clone();
        check_channel(&self.lock.channel, &id)?;
        let dir = self.inner.build_dir(&id);
        check_there(&id, fs::symlink_metadata(&dir).is_ok_and(|it| it.is_dir()))?;
        let record_file = dir.join(record_path().as_path());
        check_absent(&id, fs::symlink_metadata(record_file).is_ok())?;
        let seal = Seal {
            signer: self.inner.seal.signer.clone(),
            ..Seal::default()
        };
        let sealed = seal_staged(&seal, &id, entries, record)?;
        self.inner.make_area(&self.inner.staging(&id.channel))?;
        for (path, bytes) in &sealed.files {
            self.inner.step("adopt")?;
            let temporary = self.temporary(&id, path);
            let placed = replace_file(
                bytes,
                file_mode(false),
                &temporary,
                &dir.join(path.as_path()),
            );
            if placed.is_err() {
                // If the build cannot be written to, the temporary file is removed; a rerun makes it again.
                remove_file(&temporary).ok();
            }
            placed?;
        }
        Ok(sealed.record)
    }

    /// Moves parts of a release without a date from the directory of the channel into the directory of a build. Each part is
    /// exchanged atomically with a symlink that points to it, so that its old path works all the time. A part that a killed run has
    /// already moved is skipped.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] if the build has something else with that name.
    pub fn take_in(&self, id: &BuildId, parts: &[String]) -> Result<(), StoreError> {
        check_channel(&self.lock.channel, id)?;
        let channel = self.inner.root.join(id.channel.to_string());
        let dir = self.inner.build_dir(id);
        let record = dir.join(record_path().as_path());
        check_absent(id, fs::symlink_metadata(record).is_ok())?;
        // Check all parts before the first one is moved.
        let steps = parts.iter().map(|part| part_step(id, &channel, &dir, part));
        let steps = steps.collect::<Result<Vec<_>, _>>()?;
        let relative = id.to_string();
        make_dirs(&self.inner.root, Utf8Path::new(&relative), 0o755)?;
        // The build's directory must be durable before anything is moved into it.
        sync_dirs(&self.inner.root, Utf8Path::new(&relative))?;
        for (part, step) in parts.iter().zip(steps) {
            let (old, new) = (channel.join(part), dir.join(part));
            if step == PartStep::Done {
                continue;
            }
            if step == PartStep::Place {
                self.inner.step("adopt: place")?;
                let target = format!("{}/{part}", id.date);
                fs::os::unix::fs::symlink(target, &new).map_err(io_error("make", &new))?;
            }
            self.inner.step("adopt: exchange")?;
            renameat_with(CWD, old.as_str(), CWD, new.as_str(), RenameFlags::EXCHANGE)
                .map_err(|error| io_error("exchange", format!("{old} and {new}"))(error.into()))?;
            sync_parent(&new)?;
            sync_parent(&old)?;
        }
        Ok(())
    }

    /// Points `latest_build` of the channel at its newest success, if that alias does not exist and a success does.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn show_newest(&self) -> Result<(), StoreError> {
        let channel = &self.lock.channel;
        let catalog = self.inner.catalog(&Scope::Channel(channel.clone()))?;
        let latest = AliasName::latest_build();
        let Some(entry) = catalog.channels.get(channel) else {
            return Ok(());
        };
        match entry.newest_success() {
            Some(newest) if !entry.aliases.contains_key(&latest) => {
                point(&self.inner, channel, &latest, None, Some(newest))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Gives an adopted build the verdict that a mark in it states, unless it already has one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a build that does not exist.
    pub fn mark(&self, entry: &VerdictEntry) -> Result<(), StoreError> {
        check_channel(&self.lock.channel, &entry.build)?;
        let given = self.inner.verdicts(&Scope::Build(entry.build.clone()))?;
        if given.is_empty() {
            self.inner.add_verdict(entry)?;
        }
        Ok(())
    }

    /// Pins an adopted build that the older publisher was told to keep.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a build that does not exist.
    pub fn pin(&self, pin: &Pin) -> Result<(), StoreError> {
        check_channel(&self.lock.channel, &pin.build)?;
        self.inner.pin(pin)
    }

    /// Gives a file or a directory of a build the permission bits and the owner that the publisher would give it. Without a path,
    /// changes the directory of the build.
    ///
    /// # Errors
    /// Those of the file system: only root may change an owner.
    pub fn set_owner_and_mode(
        &self,
        id: &BuildId,
        path: Option<&BuildPath>,
        owner: Option<u32>,
        mode: Option<u32>,
    ) -> Result<(), StoreError> {
        check_channel(&self.lock.channel, id)?;
        let dir = self.inner.build_dir(id);
        let path = path.map_or_else(|| dir.clone(), |path| dir.join(path.as_path()));
        if let Some(owner) = owner {
            // The owner first: changing it makes the kernel clear set-id bits.
            std::os::unix::fs::lchown(&path, Some(owner), None)
                .map_err(io_error("set the owner of", &path))?;
        }
        mode.map_or(Ok(()), |mode| set_mode(&path, mode))
    }

    /// Replaces a file of a build by a hard link to `like`, by one rename, if both contain the same bytes, which are read to compare
    /// them. The path exists at all times.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn link(
        &self,
        id: &BuildId,
        path: &BuildPath,
        like: &Utf8Path,
    ) -> Result<Kept, StoreError> {
        check_channel(&self.lock.channel, id)?;
        let file = self.inner.build_dir(id).join(path.as_path());
        if !are_equal(like, &file)? {
            return Ok(Kept::Apart);
        }
        self.inner.make_area(&self.inner.staging(&id.channel))?;
        let temporary = self.temporary(id, path);
        remove_file(&temporary)?;
        match fs::hard_link(like, &temporary) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::TooManyLinks | ErrorKind::CrossesDevices
                ) =>
            {
                return Ok(Kept::Apart);
            }
            Err(source) => return Err(io_error("link", &temporary)(source)),
        }
        self.inner.step("adopt: link")?;
        let renamed = fs::rename(&temporary, &file).map_err(io_error("move over", &file));
        // A rename onto another link of the same file does nothing, and leaves both names.
        remove_file(&temporary)?;
        renamed?;
        sync_parent(&file)?;
        Ok(Kept::Linked)
    }

    /// Writes the digests that were read, for later runs; losing them only costs time.
    pub fn keep_digests(&self, digests: &Hints) {
        let staging = self.inner.staging(&self.lock.channel);
        if self.inner.make_area(&staging).is_ok() {
            let temporary = self.inner.temporary(&self.lock.channel, DIGESTS);
            digests.write(&self.inner.cache(DIGESTS), &temporary);
        }
    }

    /// A name for a temporary file that no other file of the channel has.
    fn temporary(&self, id: &BuildId, path: &BuildPath) -> camino::Utf8PathBuf {
        let name = path.as_str().replace('/', "%2F");
        let name = format!("{}-{name}", id.date);
        // The end of a long path distinguishes files; under one lock, only one temporary file exists at a time.
        let longest = 200;
        let from = name.len().saturating_sub(longest);
        let name = &name[name.ceil_char_boundary(from)..];
        self.inner
            .staging(&id.channel)
            .join(format!("{MARK}{name}"))
    }
}

/// The next step that moves a part of a release into its build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartStep {
    /// Make the symlink in the build.
    Place,
    /// Exchange the part and the symlink.
    Exchange,
    /// The part is already moved.
    Done,
}

fn part_step(
    id: &BuildId,
    channel: &Utf8Path,
    dir: &Utf8Path,
    part: &str,
) -> Result<PartStep, StoreError> {
    let target = format!("{}/{part}", id.date);
    let leads_there = |path: &Utf8Path| {
        let text = fs::read_link(path);
        text.is_ok_and(|text| text.to_str() == Some(&target))
    };
    let new = dir.join(part);
    match (leads_there(&channel.join(part)), leads_there(&new)) {
        (true, false) => Ok(PartStep::Done),
        (false, true) => Ok(PartStep::Exchange),
        (false, false) if fs::symlink_metadata(&new).is_err() => Ok(PartStep::Place),
        (true, true) | (false, false) => Err(StoreError::AlreadyExists {
            what: format!("{id}/{part}"),
        }),
    }
}

/// True if two files contain the same bytes.
fn are_equal(one: &Utf8Path, other: &Utf8Path) -> Result<bool, StoreError> {
    let open = |path: &Utf8Path| fs::File::open(path).map_err(io_error("open", path));
    let (mut first, mut second) = (open(one)?, open(other)?);
    let size = |file: &fs::File| file.metadata().map(|found| found.size());
    if size(&first).map_err(io_error("look at", one))?
        != size(&second).map_err(io_error("look at", other))?
    {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let count = match first.read(&mut left) {
            Ok(0) => return Ok(true),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(source) => return Err(io_error("read", one)(source)),
        };
        match second.read_exact(&mut right[..count]) {
            Ok(()) if left[..count] == right[..count] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
            Err(source) => return Err(io_error("read", other)(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    const BUILD: &str = "master/centos/20200105T060000Z";

    /// A mirror with a build of these files, and its adopter.
    fn with(files: &[(&str, &str)]) -> (camino_tempfile::Utf8TempDir, Adopter, BuildId) {
        let dir = camino_tempfile::tempdir().expect("a directory");
        for (name, text) in files {
            let path = dir.path().join(BUILD).join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        }
        let id: BuildId = BUILD.parse().expect("a build");
        let store = LocalStore::open(dir.path()).expect("a mirror");
        let adopter = store.adopter(&id.channel).expect("the lock");
        (dir, adopter, id)
    }

    #[test]
    fn only_equal_bytes_become_a_link() {
        let (dir, adopter, id) = with(&[("a", "one"), ("b", "one"), ("c", "two"), ("d", "ones")]);
        let at = |name: &str| dir.path().join(BUILD).join(name);
        for (name, expected) in [("b", Kept::Linked), ("c", Kept::Apart), ("d", Kept::Apart)] {
            let path = name.parse().expect("a path");
            let kept = adopter.link(&id, &path, &at("a")).expect("tried");
            assert_eq!(kept, expected, "{name}");
        }
        let inode = |name: &str| fs::metadata(at(name)).expect("a file").ino();
        assert_eq!(inode("a"), inode("b"));
        assert_eq!(fs::read_to_string(at("c")).expect("a file"), "two");
        assert_eq!(fs::read_to_string(at("d")).expect("a file"), "ones");
        assert!(
            adopter.sweep().expect("swept").is_empty(),
            "nothing is left behind"
        );
    }

    #[test]
    fn a_record_is_never_replaced() {
        let (dir, adopter, id) = with(&[("outputs/success", ""), ("build.json", "{}")]);
        let record = BuildRecord::new(id, stx_layout::BuildOutcome::Success);
        let refused = adopter.seal(record, &Incoming::default());
        assert!(matches!(refused, Err(StoreError::AlreadyExists { .. })));
        assert!(!dir.path().join(BUILD).join("SHA256SUMS").exists());
    }

    #[test]
    fn the_lock_of_another_channel_does_not_allow_an_adoption() {
        let (_dir, adopter, _) = with(&[("outputs/success", "")]);
        let other: BuildId = "master/debian/20200105T060000Z".parse().expect("a build");
        let record = BuildRecord::new(other, stx_layout::BuildOutcome::Success);
        let refused = adopter.seal(record, &Incoming::default());
        assert!(matches!(refused, Err(StoreError::Refused { .. })));
    }
}
