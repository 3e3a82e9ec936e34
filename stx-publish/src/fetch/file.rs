//! One file: from the mirror into an unfinished file, and under its name when it is right.

use std::fs::TryLockError;
use std::io::{self, Seek as _, Write as _};

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use futures_util::StreamExt as _;
use sha2::Digest as _;
use stx_layout::{BuildId, Sha256};
use tokio::sync::mpsc;

use super::{FetchError, FetchEvent, FetchOptions, Fetched, Wanted};
use crate::incoming::hash_rest;
use crate::store::{MirrorRead, StoreError};

/// Chunks that may wait between the network and the disk.
const QUEUE: usize = 32;

/// A file that is to be fetched, and how.
pub(super) struct File<'a> {
    pub(super) store: &'a dyn MirrorRead,
    pub(super) id: &'a BuildId,
    pub(super) wanted: &'a Wanted,
    pub(super) to: Utf8PathBuf,
    pub(super) options: &'a FetchOptions,
    pub(super) observe: &'a (dyn Fn(FetchEvent<'_>) + Sync),
}

/// The unfinished file: what was hashed is what was written.
struct Part {
    path: Utf8PathBuf,
    file: fs::File,
    hash: sha2::Sha256,
    length: u64,
}

/// How a transfer ended that did not fail here.
enum Transfer {
    /// Every byte is there.
    Whole,
    /// The server stopped.
    Short(Option<StoreError>),
}

impl File<'_> {
    pub(super) async fn fetch(&self) -> Result<Fetched, FetchError> {
        let to = self.to.clone();
        let expected = self.wanted.sha256;
        if let Some(bytes) = blocking(move || already(&to, expected)).await? {
            return Ok(self.fetched(bytes, 0));
        }
        let to = self.to.clone();
        let mut part = blocking(move || Part::open(&to, expected)).await?;
        let mut transferred = 0;
        // A part that was there may be of anything; one that was written from its first byte on is as the mirror has it.
        let mut trusted = part.length == 0;
        let mut idle = 0;
        loop {
            let from = part.length;
            let body = match self.store.read(self.id, &self.wanted.path, from).await {
                Err(StoreError::NotFound { .. }) => {
                    return Err(FetchError::Gone {
                        path: self.wanted.path.clone(),
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
                        let to = self.to.clone();
                        blocking(move || part.finish(&to)).await?;
                        return Ok(self.fetched(size, transferred));
                    }
                    if trusted {
                        blocking(move || part.remove()).await?;
                        return Err(FetchError::Corrupt {
                            path: self.wanted.path.clone(),
                            expected,
                            found,
                        });
                    }
                    part = blocking(move || part.empty()).await?;
                    trusted = true;
                }
                Transfer::Whole | Transfer::Short(_) if part.length > size && trusted => {
                    blocking(move || part.remove()).await?;
                    return Err(self.failed(StoreError::Changed {
                        path: format!("{}/{}", self.id, self.wanted.path),
                    }));
                }
                // Longer than the file: it is not a part of it.
                Transfer::Whole | Transfer::Short(_) if part.length > size => {
                    part = blocking(move || part.empty()).await?;
                    trusted = true;
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

    /// Waits before the file is gone on with; gives up after so many attempts that brought nothing.
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

    /// Writes what arrives; hashing and writing run beside the network.
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
                    // The writer ended early: its error is the one to tell. More than the whole is never written.
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

    fn fetched(&self, bytes: u64, transferred: u64) -> Fetched {
        Fetched {
            path: self.wanted.path.clone(),
            to: self.to.clone(),
            sha256: self.wanted.sha256,
            bytes,
            transferred,
        }
    }

    fn failed(&self, source: StoreError) -> FetchError {
        FetchError::Store {
            path: self.wanted.path.clone(),
            source,
        }
    }
}

impl Part {
    /// Opens the unfinished file, makes it if it is not there, and hashes what is in it.
    fn open(to: &Utf8Path, expected: Sha256) -> Result<Self, FetchError> {
        if let Some(parent) = to.parent().filter(|parent| !parent.as_str().is_empty()) {
            fs::create_dir_all(parent).map_err(local("make", parent))?;
        }
        let digest = expected.to_string();
        let name = to.file_name().unwrap_or_default();
        let path = to.with_file_name(format!("{name}.{}.part", &digest[..16]));
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(local("open", &path))?;
        match file.file().try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FetchError::Busy { path }),
            Err(TryLockError::Error(source)) => return Err(local("lock", &path)(source)),
        }
        let (hash, length) = hashed(&mut file).map_err(local("read", &path))?;
        Ok(Self {
            path,
            file,
            hash,
            length,
        })
    }

    fn append(&mut self, chunk: &[u8]) -> Result<(), FetchError> {
        self.file
            .write_all(chunk)
            .map_err(local("write", &self.path))?;
        self.hash.update(chunk);
        self.length += chunk.len() as u64;
        Ok(())
    }

    fn digest(&self) -> Sha256 {
        Sha256(self.hash.clone().finalize().into())
    }

    /// Begins again.
    fn empty(mut self) -> Result<Self, FetchError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(local("empty", &self.path))?;
        self.hash = sha2::Sha256::new();
        self.length = 0;
        Ok(self)
    }

    fn finish(self, to: &Utf8Path) -> Result<(), FetchError> {
        fs::rename(&self.path, to).map_err(local("rename", &self.path))
    }

    fn remove(self) -> Result<(), FetchError> {
        fs::remove_file(&self.path).map_err(local("remove", &self.path))
    }
}

/// The size of the file that is there, if it is the right one.
fn already(to: &Utf8Path, expected: Sha256) -> Result<Option<u64>, FetchError> {
    let mut file = match fs::File::open(to) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(local("open", to)(source)),
    };
    let (hash, length) = hashed(&mut file).map_err(local("read", to))?;
    let found = Sha256(hash.finalize().into());
    Ok((found == expected).then_some(length))
}

/// Reads a file to its end.
fn hashed(file: &mut fs::File) -> io::Result<(sha2::Sha256, u64)> {
    let mut hash = sha2::Sha256::new();
    let length = hash_rest(file, &mut hash)?;
    Ok((hash, length))
}

fn local(op: &'static str, path: impl Into<Utf8PathBuf>) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.into();
    move |source| FetchError::Local { op, path, source }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    joined(tokio::task::spawn_blocking(work).await)
}

/// The result of a task; a panic goes on here.
fn joined<T>(
    result: Result<Result<T, FetchError>, tokio::task::JoinError>,
) -> Result<T, FetchError> {
    match result {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(local("finish", "a task")(io::Error::other(error))),
        },
    }
}
