//! A build that is being written in the private area.

use std::io::{ErrorKind, Read, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use stx_layout::{BuildId, BuildPath, BuildRecord, Sha256};
use walkdir::WalkDir;

use super::disk::{FileSystem, io_error, make_dirs, remove_all, rename_new, set_mode};

use super::Inner;
use super::private::{Lock, MARK};
use super::shared::{Attempt, Shared, share};
use super::twins::Twins;
use crate::incoming::{Entry, Incoming, digest_of};
use crate::ingest::{self, Hints, Source, Stamp, blocking, hash_file};
use crate::metadata::apt::{self, AptRepository, EarlierPackages};
use crate::metadata::{CarriedRecord, Earlier, Indexed, PackageCache, insert};
use crate::seal::{REPOMD_SIGNATURE, Sealed};
use crate::store::rules::{
    check_digest, control_maker, control_path, file_mode, index_apt, known_packages,
    retaken_control, seal_copy, seal_staged, sign_metadata, stored_file,
};
use crate::store::{Added, KnownFile, StagedBuild, StoreError};

#[derive(Debug)]
pub(super) struct LocalStaged {
    work: Arc<Work>,
}

/// The state that the tasks share. It includes the lock, so that the lock is kept while one of them still writes.
#[derive(Debug)]
struct Work {
    inner: Arc<Inner>,
    lock: Arc<Lock>,
    id: BuildId,
    dir: Utf8PathBuf,
    shared: Shared,
    twins: Twins,
    hints: Hints,
    file_system: FileSystem,
    added: Mutex<Incoming>,
}

impl LocalStaged {
    pub(super) fn new(
        inner: Arc<Inner>,
        lock: Arc<Lock>,
        id: BuildId,
        dir: Utf8PathBuf,
        shared: Shared,
        hints: Hints,
    ) -> Result<Self, StoreError> {
        let file_system = FileSystem::of(&dir)?;
        let work = Work {
            inner,
            lock,
            id,
            dir,
            shared,
            twins: Twins::default(),
            hints,
            file_system,
            added: Mutex::default(),
        };
        Ok(Self {
            work: Arc::new(work),
        })
    }
}

impl Work {
    fn added(&self) -> MutexGuard<'_, Incoming> {
        self.added
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn add(&self, path: &BuildPath, entry: &Entry, control: bool) -> Result<Added, StoreError> {
        self.inner.step("add")?;
        let beside = control.then(|| control_path(path)).transpose()?;
        let to = self.dir.join(path.as_path());
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(io_error("make", parent))?;
        }
        let (added, entry, made) = match entry {
            Entry::Symlink { target } => {
                fs::os::unix::fs::symlink(target, &to)
                    .map_err(|error| self.not_made(path, error))?;
                (Added::Link, entry.clone(), None)
            }
            Entry::Generated(bytes) => {
                let mut file = self.create(path, &to)?;
                file.write_all(bytes).map_err(io_error("write", &to))?;
                set_mode(&to, 0o644)?;
                let made = control.then(|| {
                    let mut maker = control_maker(path, bytes.len() as u64);
                    maker.update(bytes);
                    maker.finish().expect("all of it, and nothing else")
                });
                (
                    Added::Stored(entry.size()),
                    stored_file(bytes.len() as u64, digest_of(bytes), false),
                    made,
                )
            }
            Entry::File {
                source,
                size,
                executable,
                ..
            } => {
                let (added, digest, made) =
                    self.add_file(path, &to, source, *size, *executable, control)?;
                check_digest(path, entry, &digest)?;
                let made = match (control, made) {
                    // The file was linked unread, or was hashed before the need for a control file was known.
                    (true, None) => Some(self.control(path, &digest, *size, source)?),
                    (_, made) => made,
                };
                (added, stored_file(*size, digest, *executable), made)
            }
        };
        self.added().entries.insert(path.clone(), entry);
        if let (Some(beside), Some(made)) = (beside, made) {
            self.add_made(&beside, &made)?;
        }
        Ok(added)
    }

    /// Links a file that the mirror has; returns its size.
    fn share(&self, path: &BuildPath, file: &KnownFile) -> Result<Option<u64>, StoreError> {
        self.inner.step("share")?;
        let size = file.size.or_else(|| self.twins.size(&file.digest));
        let Some(size) = size.or_else(|| self.shared.size(&file.digest)) else {
            return Ok(None);
        };
        let to = self.dir.join(path.as_path());
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(io_error("make", parent))?;
        }
        let mode = file_mode(file.executable);
        if !self.link(file.digest, size, mode, &to)? {
            return Ok(None);
        }
        let entry = stored_file(size, file.digest, file.executable);
        self.added().entries.insert(path.clone(), entry);
        Ok(Some(size))
    }

    /// Links `to`, which must not exist, to an equal file of the build or of the mirror. Returns false if it must be copied.
    fn link(
        &self,
        digest: Sha256,
        size: u64,
        mode: u32,
        to: &Utf8Path,
    ) -> Result<bool, StoreError> {
        let shared = self.share_with(digest, size, mode, to)?;
        if shared {
            // Later equal files are linked to this one without another lookup.
            let _: bool = self.twins.claim(digest, size, mode, to);
        }
        Ok(shared)
    }

    /// Like [`link`](Self::link), for a temporary name, which later files must not be linked to.
    fn share_with(
        &self,
        digest: Sha256,
        size: u64,
        mode: u32,
        to: &Utf8Path,
    ) -> Result<bool, StoreError> {
        if let Some(twin) = self.twins.get(digest, mode) {
            match share(&self.inner, &twin, to, mode)? {
                Attempt::Shared => return Ok(true),
                // Most often the twin has as many links as a file can have; the next file becomes the twin.
                Attempt::Gone | Attempt::Refused => self.twins.give_up(digest, mode, &twin),
            }
        }
        self.shared.link(digest, size, mode, to)
    }

    /// Links an equal file of the build or the mirror, or copies and hashes the file in one pass.
    ///
    /// If the file is likely to be known, by its name and size on the mirror or its size in the build, it is hashed first, and read a
    /// second time if it is not known. Copying first would write all of an unchanged build before finding that this is not needed.
    fn add_file(
        &self,
        path: &BuildPath,
        to: &Utf8Path,
        from: &Utf8Path,
        size: u64,
        executable: bool,
        control: bool,
    ) -> Result<(Added, Sha256, Option<Vec<u8>>), StoreError> {
        let read = |error: std::io::Error| io_error("read", from)(error);
        let changed = || StoreError::Changed {
            path: from.to_string(),
        };
        let mode = file_mode(executable);
        let since = ingest::now();
        if let Ok(stamp) = Stamp::at(from)
            && stamp.size == size
            && let Some(digest) = self.hints.digest(&stamp)
            && self.link(digest, size, mode, to)?
        {
            self.hints.keep(stamp, digest);
            return Ok((Added::Shared(size), digest, None));
        }
        self.inner.step("read")?;
        let mut source = Source::open(from).map_err(read)?;
        if source.stamp.size != size {
            return Err(changed());
        }
        if self.twins.has_size(size) || self.shared.is_likely(path.file_name(), size) {
            let (digest, count) = source.hash(None).map_err(read)?;
            if count != size || !source.is_unchanged().map_err(read)? {
                return Err(changed());
            }
            if self.link(digest, size, mode, to)? {
                self.hints.remember(source.stamp, digest, since);
                return Ok((Added::Shared(size), digest, None));
            }
            source.file.rewind().map_err(read)?;
        }
        let mut copy = self.create(path, to)?;
        let (digest, count, beside) = if control {
            let maker = control_maker(path, size);
            let hashed = source.hash_with_control(Some(&mut copy), maker);
            let (digest, count, beside) = hashed.map_err(io_error("copy", from))?;
            // The control file is an error if the count is wrong, which is checked below.
            (digest, count, beside.ok())
        } else {
            let hashed = source.hash(Some(&mut copy));
            let (digest, count) = hashed.map_err(io_error("copy", from))?;
            (digest, count, None)
        };
        if count != size || !source.is_unchanged().map_err(read)? {
            return Err(changed());
        }
        self.hints.remember(source.stamp, digest, since);
        let modified = source
            .file
            .metadata()
            .and_then(|metadata| metadata.modified())
            .map_err(read)?;
        copy.file()
            .set_modified(modified)
            .map_err(io_error("set the time of", to))?;
        drop(copy);
        set_mode(to, mode)?;
        // The mirror or the build may have the same bytes under another name.
        Ok(if self.replace(digest, size, mode, to)? {
            (Added::Shared(size), digest, beside)
        } else {
            (Added::Stored(size), digest, beside)
        })
    }

    /// The control file of a file that was linked: the one beside the same bytes in another build; otherwise the file is read to make
    /// it.
    fn control(
        &self,
        path: &BuildPath,
        digest: &Sha256,
        size: u64,
        from: &Utf8Path,
    ) -> Result<Vec<u8>, StoreError> {
        for (control, expected) in self.shared.controls(digest) {
            let retaken = fs::read(&control)
                .ok()
                .and_then(|bytes| retaken_control(path, size, &bytes, &expected));
            if let Some(retaken) = retaken {
                return Ok(retaken);
            }
        }
        self.inner.step("read for a control file")?;
        let read = |error: std::io::Error| io_error("read", from)(error);
        let mut source = Source::open(from).map_err(read)?;
        let hashed = source.hash_with_control(None, control_maker(path, size));
        let (found, _, made) = hashed.map_err(read)?;
        match made {
            Ok(made) if found == *digest => Ok(made),
            Ok(_) | Err(_) => Err(StoreError::Changed {
                path: from.to_string(),
            }),
        }
    }

    /// Replaces `to` by an equal file of the build or the mirror, if one can be shared. Otherwise `to` becomes the file that
    /// equal files are linked to.
    fn replace(
        &self,
        digest: Sha256,
        size: u64,
        mode: u32,
        to: &Utf8Path,
    ) -> Result<bool, StoreError> {
        // A unique name for each file: several threads may handle the same bytes.
        let name = digest_of(to.as_str().as_bytes());
        let twin = self.dir.join(format!("{MARK}{name}"));
        // Another thread may be storing the same bytes: the second one is linked to the first.
        for _ in 0..2 {
            // The bytes are already stored, so an error of sharing them is ignored.
            let shared = self.share_with(digest, size, mode, &twin);
            if shared.unwrap_or(false) {
                fs::rename(&twin, to).map_err(io_error("move over", to))?;
                let _: bool = self.twins.claim(digest, size, mode, to);
                return Ok(true);
            }
            if self.twins.claim(digest, size, mode, to) {
                break;
            }
        }
        Ok(false)
    }

    /// The facts about the packages of a repository that are known without reading them.
    fn known(&self, dir: &BuildPath) -> PackageCache {
        let mut known = PackageCache {
            digests: known_packages(dir, &self.added()),
            earlier: None,
        };
        let newest = dir.join("repodata/repomd.xml").ok();
        known.earlier =
            newest
                .and_then(|path| self.shared.newest(&path))
                .and_then(|(repomd_xml, repomd)| {
                    let repodata = repomd_xml.parent()?.to_owned();
                    Some(Earlier { repodata, repomd })
                });
        known
    }

    /// The lists of the apt repository `dir` in the newest build that has it. If they cannot be read, all entries are made anew.
    fn earlier_packages(&self, dir: &BuildPath) -> Option<EarlierPackages> {
        let path = dir.join(apt::RELEASE).ok()?;
        let (release, digest) = self.shared.newest(&path)?;
        let text = fs::read(&release).ok()?;
        if digest_of(&text) != digest {
            return None;
        }
        let packages = fs::read(release.with_file_name(apt::PACKAGES)).ok()?;
        EarlierPackages::new(&text, packages)
    }

    /// Makes the metadata of an apt repository and adds it.
    fn index_apt(&self, dir: &BuildPath) -> Result<Indexed, StoreError> {
        self.inner.step("index")?;
        let repository = AptRepository::of(dir, &self.added());
        let earlier = self.earlier_packages(dir);
        let open = |path: &BuildPath| {
            let file = fs::File::open(self.dir.join(path.as_path()))?;
            Ok(Box::new(file) as Box<dyn Read>)
        };
        let seal = &self.inner.seal;
        let (files, indexed) = index_apt(seal, &self.id, &repository, earlier.as_ref(), &open)?;
        for (path, bytes) in files {
            self.add_made(&path, &bytes)?;
        }
        Ok(indexed)
    }

    /// Adds a file that was made here, and may equal one of an earlier build.
    fn add_made(&self, path: &BuildPath, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.step("index: add")?;
        let to = self.dir.join(path.as_path());
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(io_error("make", parent))?;
        }
        let (digest, size, mode) = (digest_of(bytes), bytes.len() as u64, file_mode(false));
        if !self.link(digest, size, mode, &to)? {
            let mut file = self.create(path, &to)?;
            file.write_all(bytes).map_err(io_error("write", &to))?;
            drop(file);
            set_mode(&to, mode)?;
            self.date(&to)?;
            // The copy of this list that is named by its digest is linked to this one.
            let _: bool = self.twins.claim(digest, size, mode, &to);
        }
        let entry = stored_file(size, digest, false);
        self.added().entries.insert(path.clone(), entry);
        Ok(())
    }

    /// Gives a file that was made here the date of the build. By this time alone, in whole seconds, a web server decides if the copy
    /// of a client of `latest_build` is current, and two builds may be published in the same second.
    fn date(&self, file: &Utf8Path) -> Result<(), StoreError> {
        let opened = fs::OpenOptions::new().write(true).open(file);
        let modified = self.id.date.time().into();
        opened
            .and_then(|opened| opened.file().set_modified(modified))
            .map_err(io_error("set the time of", file))
    }

    fn create(&self, path: &BuildPath, to: &Utf8Path) -> Result<fs::File, StoreError> {
        let file = fs::OpenOptions::new().write(true).create_new(true).open(to);
        file.map_err(|error| self.not_made(path, error))
    }

    fn not_made(&self, path: &BuildPath, error: std::io::Error) -> StoreError {
        let what = format!("{}/{path}", self.id);
        match error.kind() {
            ErrorKind::AlreadyExists => StoreError::AlreadyExists { what },
            _ => io_error("make", what)(error),
        }
    }

    /// Signs the metadata of a repository, if the mirror signs.
    fn sign_metadata(&self, dir: &BuildPath) -> Result<(), StoreError> {
        let repomd = self.dir.join(dir.as_path()).join("repodata/repomd.xml");
        let bytes = fs::read(&repomd).map_err(io_error("read", &repomd))?;
        let signature = sign_metadata(&self.inner.seal, &self.id, dir, &bytes)?;
        signature.map_or(Ok(()), |signature| {
            let path = repomd.with_file_name(REPOMD_SIGNATURE);
            self.inner.step("index: sign")?;
            fs::write(&path, signature).map_err(io_error("write", &path))
        })
    }

    /// Adds the metadata of a repository to the sums.
    fn take_metadata(&self, dir: &BuildPath) -> Result<(), StoreError> {
        let repodata = self.dir.join(dir.as_path()).join("repodata");
        for entry in WalkDir::new(&repodata) {
            let entry = entry.map_err(|error| io_error("list", &repodata)(error.into()))?;
            if !entry.file_type().is_file() {
                continue;
            }
            let damaged = |source| StoreError::Damaged {
                what: entry.path().display().to_string(),
                source,
            };
            let file = Utf8Path::from_path(entry.path())
                .ok_or_else(|| damaged("the name is not UTF-8".into()))?;
            let path = file
                .strip_prefix(&self.dir)
                .unwrap_or(file)
                .as_str()
                .parse::<BuildPath>();
            let path = path.map_err(|error| damaged(error.into()))?;
            // Files that are carried over were added like any other file.
            if self.added().entries.contains_key(&path) {
                continue;
            }
            set_mode(file, 0o644)?;
            self.date(file)?;
            let (digest, size) = hash_file(file).map_err(io_error("read", file))?;
            self.replace(digest, size, 0o644, file)?;
            self.added()
                .entries
                .insert(path, stored_file(size, digest, false));
        }
        Ok(())
    }

    /// Removes the staged build. A committed build is not affected, because it was moved.
    fn discard(&self) -> Result<(), StoreError> {
        self.inner.step("discard")?;
        remove_all(&self.dir)
    }

    fn commit(&self, sealed: Sealed) -> Result<BuildRecord, StoreError> {
        for (name, bytes) in &sealed.files {
            self.inner.step("commit: write")?;
            let path = self.dir.join(name.as_path());
            fs::write(&path, bytes).map_err(io_error("write", &path))?;
            set_mode(&path, 0o644)?;
            self.date(&path)?;
        }
        for entry in WalkDir::new(&self.dir) {
            let entry = entry.map_err(|error| io_error("list", &self.dir)(error.into()))?;
            let Some(path) =
                Utf8Path::from_path(entry.path()).filter(|_| entry.file_type().is_dir())
            else {
                continue;
            };
            let mode = entry.metadata().map(|metadata| metadata.mode() & 0o7777);
            if mode.ok() != Some(0o755) {
                set_mode(path, 0o755)?;
            }
        }
        make_dirs(
            &self.inner.root,
            Utf8Path::new(&self.id.channel.to_string()),
            0o755,
        )?;
        // Hints of a build whose commit fails are useless, but harmless.
        self.hints.write(
            &self.inner.channel_cache(&self.id.channel, "inputs"),
            &self.inner.temporary(&self.id.channel, "inputs"),
        );
        self.inner.forget_verdicts(&self.id)?;
        self.inner.step("commit: sync")?;
        // Makes the build durable, and the directories that it is moved to.
        self.file_system.sync()?;
        self.inner.step("commit: rename")?;
        rename_new(&self.dir, &self.inner.build_dir(&self.id))?;
        self.inner.step("commit: done")?;
        Ok(sealed.record)
    }

    /// Commits with the seal that `seal` makes or checks. If that or a later step fails, the staged build is removed.
    fn finish(
        &self,
        seal: impl FnOnce(&Self) -> Result<Sealed, StoreError>,
    ) -> Result<BuildRecord, StoreError> {
        let committed = seal(self).and_then(|sealed| self.commit(sealed));
        if committed.is_err() {
            // On a full disk, the next publisher of any channel needs the space.
            self.discard().ok();
        }
        committed
    }
}

#[async_trait]
impl StagedBuild for LocalStaged {
    fn id(&self) -> &BuildId {
        &self.work.id
    }

    fn parallel(&self) -> usize {
        std::thread::available_parallelism().map_or(4, |count| (count.get() * 2).min(16))
    }

    async fn add(&self, path: &BuildPath, entry: &Entry) -> Result<Added, StoreError> {
        let (work, path, entry) = (Arc::clone(&self.work), path.clone(), entry.clone());
        blocking(move || work.add(&path, &entry, false)).await
    }

    async fn add_with_control(&self, path: &BuildPath, entry: &Entry) -> Result<Added, StoreError> {
        let (work, path, entry) = (Arc::clone(&self.work), path.clone(), entry.clone());
        blocking(move || work.add(&path, &entry, true)).await
    }

    async fn share(&self, path: &BuildPath, file: &KnownFile) -> Result<Option<u64>, StoreError> {
        let (work, path, file) = (Arc::clone(&self.work), path.clone(), file.clone());
        blocking(move || work.share(&path, &file)).await
    }

    async fn index(
        &self,
        dir: &BuildPath,
        carried: &[CarriedRecord],
    ) -> Result<Indexed, StoreError> {
        self.work.inner.step("index")?;
        let work = Arc::clone(&self.work);
        let below = dir.clone();
        let known = blocking(move || Ok(work.known(&below))).await?;
        let work = Arc::clone(&self.work);
        let (path, lock) = (work.dir.join(dir.as_path()), work.lock.copy()?);
        let metadata = &work.inner.metadata;
        let indexed = metadata.update(&path, work.id.date, known, lock).await?;
        let (dir, carried) = (dir.clone(), carried.to_vec());
        blocking(move || {
            insert(&path, &dir, &carried).map_err(io_error("add to the metadata of", &path))?;
            work.sign_metadata(&dir)?;
            work.take_metadata(&dir)?;
            Ok(indexed)
        })
        .await
    }

    async fn index_apt(&self, dir: &BuildPath) -> Result<Indexed, StoreError> {
        let (work, dir) = (Arc::clone(&self.work), dir.clone());
        blocking(move || work.index_apt(&dir)).await
    }

    async fn commit(self: Box<Self>, record: BuildRecord) -> Result<BuildRecord, StoreError> {
        let seal = |work: &Work| seal_staged(&work.inner.seal, &work.id, &work.added(), record);
        blocking(move || self.work.finish(seal)).await
    }

    async fn commit_as(self: Box<Self>, original: Sealed) -> Result<(), StoreError> {
        let check = |work: &Work| seal_copy(&work.id, &work.added(), original);
        blocking(move || self.work.finish(check).map(drop)).await
    }

    async fn discard(self: Box<Self>) -> Result<(), StoreError> {
        blocking(move || self.work.discard()).await
    }
}
