//! Derived pages of a mirror in a directory.

use std::io::{ErrorKind, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use fs_err as fs;

use super::Inner;
use super::disk::{io_error, remove_durably, remove_file, set_mode};
use super::locked::Locked;
use crate::index::PageId;
use crate::ingest::{blocking, cache};
use crate::store::{PageWriter, StoreError};

/// The note beside the pages, and the format of its file.
const NOTE: &str = "pages";
const NOTE_FORM: &str = "stx-builds pages 1";

impl Inner {
    pub(super) fn page(&self, page: &PageId) -> Result<Option<Bytes>, StoreError> {
        let path = self.root.join(page.path());
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes.into())),
            // A directory with that name is not a page; writing the page then fails.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => {
                Ok(None)
            }
            Err(source) => Err(io_error("read", path)(source)),
        }
    }

    /// The note beside the pages.
    pub(super) fn noted(&self) -> Option<Bytes> {
        let note: Option<Vec<u8>> = cache::read(&self.cache(NOTE), NOTE_FORM);
        note.map(Bytes::from)
    }

    /// Waits for the lock of the pages, and removes files that a dead writer left.
    pub(super) fn lock_pages(&self) -> Result<Locked, StoreError> {
        self.make_private()?;
        let pages = self.pages();
        let path = pages.join("lock");
        let locked = Locked::wait_for(&path)?;
        for entry in pages.read_dir_utf8().map_err(io_error("list", &pages))? {
            let entry = entry.map_err(io_error("list", &pages))?;
            if entry.path() != path {
                remove_file(entry.path())?;
            }
        }
        Ok(locked)
    }
}

/// The lock of the pages, shared with every task that is still writing.
#[derive(Debug, Clone)]
pub(super) struct LocalPages {
    inner: Arc<Inner>,
    lock: Arc<Locked>,
    /// The number of pages that were written, for unique temporary names: several pages are written in parallel.
    written: Arc<AtomicU64>,
}

impl LocalPages {
    pub(super) fn new(inner: Arc<Inner>, lock: Locked) -> Self {
        Self {
            inner,
            lock: Arc::new(lock),
            written: Arc::default(),
        }
    }

    fn replace(&self, page: &PageId, bytes: &[u8]) -> Result<(), StoreError> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let part = self.inner.pages().join(format!("part-{number}"));
        let path = self.inner.root.join(page.path());
        let made = fs::File::create(&part).and_then(|mut file| {
            file.write_all(bytes)?;
            // Without this sync, a reader could find an empty page after a power failure.
            file.sync_all()
        });
        made.map_err(io_error("write", &part))?;
        set_mode(&part, 0o644)?;
        self.inner.step("page: move")?;
        match fs::rename(&part, &path) {
            Err(error) if error.kind() == ErrorKind::IsADirectory => Err(StoreError::Refused {
                what: page.path(),
                reason: format!("the directory {path} has the path of this page; move it away"),
            }),
            moved => moved.map_err(io_error("move over", path)),
        }
    }
}

#[async_trait]
impl PageWriter for LocalPages {
    async fn write(&self, page: &PageId, bytes: Bytes) -> Result<(), StoreError> {
        let (pages, page) = (self.clone(), page.clone());
        blocking(move || pages.replace(&page, &bytes)).await
    }

    async fn remove(&self, page: &PageId) -> Result<(), StoreError> {
        let (pages, page) = (self.clone(), page.clone());
        blocking(move || {
            // A task that outlives its caller keeps the lock.
            let _lock = &pages.lock;
            remove_file(&pages.inner.root.join(page.path()))
        })
        .await
    }

    async fn note(&self, note: Option<Bytes>) -> Result<(), StoreError> {
        let pages = self.clone();
        blocking(move || {
            let path = pages.inner.cache(NOTE);
            match note {
                Some(note) => {
                    let part = pages.inner.pages().join("part-note");
                    cache::write(&path, &part, NOTE_FORM, &note.to_vec());
                    Ok(())
                }
                None if path.exists() => {
                    // Durably: otherwise the note could reappear after a power failure, and vouch for pages that were replaced since.
                    remove_durably(&path)
                }
                None => Ok(()),
            }
        })
        .await
    }
}
