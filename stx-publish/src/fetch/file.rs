//! One file: downloads it into an unfinished file, and renames it once it is verified.

use std::sync::Arc;

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use futures_util::StreamExt as _;
use stx_layout::BuildId;
use tokio::sync::mpsc;

use super::part::{Dir, Part, Unfinished, local, me};
use super::{FetchError, FetchEvent, FetchOptions, Fetched, Wanted};
use crate::store::{ByteRange, MirrorRead, StoreError};
use crate::web_page::{BEGINNING, WebPage, is_html};

/// The number of chunks that may wait between the network and the disk.
const QUEUE: usize = 32;

/// Reading a file of this size takes longer than a request.
const LARGE: u64 = 16 << 20;

/// A file to fetch, with the context of the fetch.
pub(super) struct File<'a> {
    pub(super) store: &'a dyn MirrorRead,
    pub(super) id: &'a BuildId,
    pub(super) wanted: &'a Wanted,
    /// The directory to fetch to.
    pub(super) base: &'a Utf8Path,
    pub(super) unfinished: &'a Arc<Unfinished>,
    pub(super) options: &'a FetchOptions,
    pub(super) observe: &'a (dyn Fn(FetchEvent<'_>) + Sync),
}

/// The first step of fetching a file.
enum Begin {
    /// Nothing to do: the file is complete, with this size.
    Done(u64),
    /// Resume this unfinished file.
    Part(Box<Part>),
}

/// The end of a transfer that did not fail locally.
enum Transfer {
    /// Every byte arrived.
    Whole,
    /// The server stopped sending, perhaps with an error.
    Short(Option<StoreError>),
}

impl File<'_> {
    pub(super) async fn fetch(&self) -> Result<Fetched, FetchError> {
        let expected = self.wanted.sha256;
        let mut part = match self.begin().await? {
            Begin::Done(bytes) => return Ok(self.fetched(bytes, 0, 0)),
            Begin::Part(part) => *part,
        };
        let (mut transferred, mut reused) = (0, 0);
        if self.is_delta() {
            (part, transferred, reused) = self.delta(part).await?;
            if reused > 0 && part.digest() == expected {
                let (name, size) = (self.name().to_owned(), part.length);
                blocking(move || part.finish(&name)).await?;
                return Ok(self.fetched(size, transferred, reused));
            }
        }
        // An existing part may contain anything; one that is written from its first byte contains what the mirror sent.
        let mut trusted = part.length == 0;
        let mut idle = 0;
        loop {
            let from = part.length;
            let body = match self.store.read(self.id, &self.wanted.path, from).await {
                Err(source @ StoreError::NotFound { .. }) => {
                    return Err(FetchError::Gone {
                        path: self.wanted.path.clone(),
                        source,
                    });
                }
                body => body.map_err(|source| self.failed(source))?,
            };
            let size = body.size;
            (self.observe)(FetchEvent::Begun {
                path: &self.wanted.path,
                size,
                from,
            });
            let (back, end) = self.transfer(part, body).await?;
            part = back;
            transferred += part.length.saturating_sub(from);
            match end {
                Transfer::Whole if part.length == size => {
                    let found = part.digest();
                    if found == expected {
                        let name = self.name().to_owned();
                        blocking(move || part.finish(&name)).await?;
                        return Ok(self.fetched(size, transferred, reused));
                    }
                    if trusted {
                        let beginning = blocking(move || {
                            let beginning = part.beginning(BEGINNING)?;
                            part.remove().map(|()| beginning)
                        });
                        if is_html(&beginning.await?) {
                            return Err(self.failed(StoreError::Damaged {
                                what: format!("{}/{}", self.id, self.wanted.path),
                                source: WebPage.into(),
                            }));
                        }
                        return Err(FetchError::Corrupt {
                            path: self.wanted.path.clone(),
                            expected,
                            found,
                        });
                    }
                    part = blocking(move || part.empty()).await?;
                    (trusted, reused) = (true, 0);
                }
                Transfer::Whole | Transfer::Short(_) if part.length > size && trusted => {
                    blocking(move || part.remove()).await?;
                    return Err(self.failed(StoreError::Changed {
                        path: format!("{}/{}", self.id, self.wanted.path),
                    }));
                }
                // Longer than the file, so it is not a prefix of it.
                Transfer::Whole | Transfer::Short(_) if part.length > size => {
                    part = blocking(move || part.empty()).await?;
                    (trusted, reused) = (true, 0);
                }
                Transfer::Whole => {
                    idle = self.broke_off(&part, from, size, idle, None).await?;
                }
                Transfer::Short(error) => {
                    idle = self.broke_off(&part, from, size, idle, error).await?;
                }
            }
        }
    }

    /// The final name of the file.
    pub(super) fn name(&self) -> &str {
        self.wanted.to.file_name().unwrap_or_default()
    }

    /// True if the size alone shows that an existing large file is another one. Most often it is yesterday's, and computing its
    /// digest would take as long as searching it for the parts that are the same.
    async fn is_another(&self) -> Result<bool, FetchError> {
        if !self.is_delta() {
            return Ok(false);
        }
        let to = self.to();
        let found = blocking(move || Ok(fs_err::symlink_metadata(&to).ok())).await?;
        let Some(length) = found.map(|found| found.len()).filter(|it| *it >= LARGE) else {
            return Ok(false);
        };
        // If the mirror does not state the size, the digest is compared.
        let range = ByteRange { from: 0, length: 1 };
        let path = &self.wanted.path;
        let first = self.store.read_ranges(self.id, path, &[range]).await;
        Ok(first.is_ok_and(|body| body.size != length))
    }

    /// True if older files are searched. Files of a mirror on this machine are copied faster than compared.
    fn is_delta(&self) -> bool {
        let is_far = !self.store.capabilities().has_local_files;
        self.wanted.control.is_some() && self.options.delta && is_far
    }

    /// Checks whether the file is already present, and otherwise opens its unfinished part.
    async fn begin(&self) -> Result<Begin, FetchError> {
        let is_another = self.is_another().await?;
        let (base, below) = (self.base.to_owned(), self.wanted.to.clone());
        let (name, expected) = (self.name().to_owned(), self.wanted.sha256);
        let unfinished = Arc::clone(self.unfinished);
        blocking(move || {
            let dir = Dir::enter(&base, below.parent().unwrap_or(Utf8Path::new("")), me())?;
            if !is_another && let Some(bytes) = dir.already(&name, expected)? {
                return Ok(Begin::Done(bytes));
            }
            Part::open(dir, &name, expected, &unfinished).map(|part| Begin::Part(Box::new(part)))
        })
        .await
    }

    /// Waits before the transfer is resumed; gives up after the permitted number of attempts without progress.
    async fn broke_off(
        &self,
        part: &Part,
        from: u64,
        size: u64,
        idle: u32,
        source: Option<StoreError>,
    ) -> Result<u32, FetchError> {
        let idle = if part.length > from { 1 } else { idle + 1 };
        if idle >= self.options.attempts.max(1) {
            return Err(FetchError::Truncated {
                path: self.wanted.path.clone(),
                got: part.length,
                size,
                source,
            });
        }
        tokio::time::sleep(self.options.wait).await;
        Ok(idle)
    }

    /// Writes the bytes that arrive; hashing and writing run in parallel with the network.
    async fn transfer(
        &self,
        mut part: Part,
        mut body: crate::store::FileBody,
    ) -> Result<(Part, Transfer), FetchError> {
        let most = body.size.saturating_sub(part.length);
        let (sender, mut receiver) = mpsc::channel::<Bytes>(QUEUE);
        let writer = tokio::task::spawn_blocking(move || {
            while let Some(chunk) = receiver.blocking_recv() {
                part.append(&chunk)?;
            }
            Ok::<_, FetchError>(part)
        });
        let mut arrived = 0;
        let mut end = Transfer::Whole;
        while let Some(chunk) = body.stream.next().await {
            match chunk {
                Ok(chunk) => {
                    arrived += chunk.len() as u64;
                    (self.observe)(FetchEvent::Bytes(chunk.len() as u64));
                    // The writer ended early, and its error is reported. Bytes beyond the expected size are never written.
                    if arrived > most || sender.send(chunk).await.is_err() {
                        break;
                    }
                }
                Err(error) => {
                    end = Transfer::Short(Some(error));
                    break;
                }
            }
        }
        drop(sender);
        let part = joined(writer.await)?;
        if arrived < most && matches!(end, Transfer::Whole) {
            end = Transfer::Short(None);
        }
        Ok((part, end))
    }

    fn to(&self) -> Utf8PathBuf {
        self.base.join(&self.wanted.to)
    }

    fn fetched(&self, bytes: u64, transferred: u64, reused: u64) -> Fetched {
        Fetched {
            path: self.wanted.path.clone(),
            to: self.to(),
            sha256: self.wanted.sha256,
            bytes,
            transferred,
            reused,
        }
    }

    pub(super) fn failed(&self, source: StoreError) -> FetchError {
        FetchError::Store {
            path: self.wanted.path.clone(),
            source,
        }
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    joined(tokio::task::spawn_blocking(work).await)
}

/// The result of a task.
pub(super) fn joined<T>(
    result: Result<Result<T, FetchError>, tokio::task::JoinError>,
) -> Result<T, FetchError> {
    match result {
        Ok(result) => result,
        Err(error) => Err(local("finish", "a task")(crate::task::unfinished(error))),
    }
}
