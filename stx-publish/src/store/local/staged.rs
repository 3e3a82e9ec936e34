//! A build that is being put together in the private area.

use std::io::{ErrorKind, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use stx_layout::{BuildId, BuildPath, BuildRecord, Sha256, Sums};
use walkdir::WalkDir;

use super::copy::{Source, hash_file};
use super::disk::{FileSystem, io_error, make_dirs, remove_all, rename_new, set_mode};
use super::private::Lock;
use super::shared::Shared;
use super::{Inner, blocking};
use crate::incoming::{Entry, Incoming, digest_of};
use crate::store::{Added, StagedBuild, StoreError, check_record, seal};

#[derive(Debug)]
pub(super) struct LocalStaged {
    work: Arc<Work>,
}

/// What the tasks share; the lock among it, so that it is not free while one of them still writes.
#[derive(Debug)]
struct Work {
    inner: Arc<Inner>,
    _lock: Arc<Lock>,
    id: BuildId,
    dir: Utf8PathBuf,
    shared: Shared,
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
    ) -> Result<Self, StoreError> {
        let file_system = FileSystem::of(&dir)?;
        let work = Work {
            inner,
            _lock: lock,
            id,
            dir,
            shared,
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

    fn add(&self, path: &BuildPath, entry: &Entry) -> Result<Added, StoreError> {
        self.inner.step("add")?;
        let to = self.dir.join(path.as_path());
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(io_error("make", parent))?;
        }
        let (added, entry) = match entry {
            Entry::Symlink { target } => {
                fs::os::unix::fs::symlink(target, &to)
                    .map_err(|error| self.not_made(path, error))?;
                (Added::Link, entry.clone())
            }
            Entry::Generated(bytes) => {
                let mut file = self.create(path, &to)?;
                file.write_all(bytes).map_err(io_error("write", &to))?;
                set_mode(&to, 0o644)?;
                (
                    Added::Stored(entry.size()),
                    stored(bytes.len() as u64, digest_of(bytes), false),
                )
            }
            Entry::File {
                source,
                size,
                executable,
                ..
            } => {
                let (added, digest) = self.add_file(path, &to, source, *size, *executable)?;
                (added, stored(*size, digest, *executable))
            }
        };
        self.added().entries.insert(path.clone(), entry);
        Ok(added)
    }

    /// Copies and hashes a file in one pass, or links what the mirror has.
    fn add_file(
        &self,
        path: &BuildPath,
        to: &Utf8Path,
        from: &Utf8Path,
        size: u64,
        executable: bool,
    ) -> Result<(Added, Sha256), StoreError> {
        let read = |error: std::io::Error| io_error("read", from)(error);
        let changed = || StoreError::Changed {
            path: from.to_string(),
        };
        let mode = if executable { 0o755 } else { 0o644 };
        let mut source = Source::open(from).map_err(read)?;
        if source.stamp.size != size {
            return Err(changed());
        }
        if self.shared.is_likely(path.file_name()) {
            let (digest, count) = source.hash(None).map_err(read)?;
            if count != size || !source.is_unchanged().map_err(read)? {
                return Err(changed());
            }
            if self.shared.link(digest, size, mode, to)? {
                return Ok((Added::Shared(size), digest));
            }
            source.file.rewind().map_err(read)?;
        }
        let mut copy = self.create(path, to)?;
        let (digest, count) = source
            .hash(Some(&mut copy))
            .map_err(io_error("copy", from))?;
        if count != size || !source.is_unchanged().map_err(read)? {
            return Err(changed());
        }
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
        // The same bytes under another name.
        let twin = self.dir.join(format!("{}{digest}", super::private::MARK));
        if self.shared.link(digest, size, mode, &twin).unwrap_or(false) {
            fs::rename(&twin, to).map_err(io_error("move over", to))?;
            return Ok((Added::Shared(size), digest));
        }
        Ok((Added::Stored(size), digest))
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

    /// Takes the metadata of a repository into the sums.
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
            set_mode(file, 0o644)?;
            let (digest, size) = hash_file(file).map_err(io_error("read", file))?;
            self.added()
                .entries
                .insert(path, stored(size, digest, false));
        }
        Ok(())
    }

    fn commit(&self, mut record: BuildRecord) -> Result<BuildRecord, StoreError> {
        check_record(&self.id, &record)?;
        let Some((sums, bytes)) = self.added().sums() else {
            return Err(StoreError::Refused {
                what: self.id.to_string(),
                reason: "a file has no digest".to_owned(),
            });
        };
        let (sums, text) = seal(&sums, bytes, &mut record);
        for (name, text) in [
            (Sums::FILE_NAME, sums.to_string()),
            (BuildRecord::FILE_NAME, text),
        ] {
            self.inner.step("commit: write")?;
            let path = self.dir.join(name);
            fs::write(&path, text).map_err(io_error("write", &path))?;
            set_mode(&path, 0o644)?;
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
        self.inner.step("commit: sync")?;
        // The build, and the directories that it is moved to.
        self.file_system.sync()?;
        self.inner.step("commit: rename")?;
        rename_new(&self.dir, &self.inner.build_dir(&self.id))?;
        self.inner.step("commit: done")?;
        Ok(record)
    }
}

/// A file as it was stored.
fn stored(size: u64, digest: Sha256, executable: bool) -> Entry {
    Entry::File {
        source: Utf8PathBuf::new(),
        size,
        executable,
        digest: Some(digest),
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
        blocking(move || work.add(&path, &entry)).await
    }

    async fn index(&self, dir: &BuildPath) -> Result<(), StoreError> {
        self.work.inner.step("index")?;
        self.work
            .inner
            .metadata
            .index(&self.work.dir.join(dir.as_path()), self.work.id.date)
            .await?;
        let (work, dir) = (Arc::clone(&self.work), dir.clone());
        blocking(move || work.take_metadata(&dir)).await
    }

    async fn commit(self: Box<Self>, record: BuildRecord) -> Result<BuildRecord, StoreError> {
        blocking(move || self.work.commit(record)).await
    }

    async fn discard(self: Box<Self>) -> Result<(), StoreError> {
        blocking(move || {
            self.work.inner.step("discard")?;
            remove_all(&self.work.dir)
        })
        .await
    }
}
