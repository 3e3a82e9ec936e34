//! Packages on the mirror and beside it, read by their headers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read as _};

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;
use fs_err as fs;
use futures_util::stream::{self, StreamExt as _};
use sha2::Digest as _;
use stx_compare::contents::{ContentsError, look_into};
use stx_compare::header::{HeaderError, package};
use stx_compare::inventory::{Entry, Inventory, Key};
use stx_compare::report::Outcome;
use stx_compare::{Differences, Package, compare};
use stx_layout::rpm::{Frame, FrameError, HeadError, frame, read_head};
use stx_layout::{BuildId, BuildPath, PackageFileName, Sha256};
use stx_publish::fetch::{FetchError, FetchOptions, Wanted, fetch};
use stx_publish::{MirrorRead, StoreError};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::Reader;

/// Bytes that are asked for first: the lead, most signature headers, and the beginning of the main header.
const FIRST: usize = 8 << 10;

/// Headers that are read side by side to order files by their epochs.
const PARALLEL: usize = 8;

/// How often a header is asked for without a byte of it arriving.
const ATTEMPTS: u32 = 3;

/// Headers of a pair beyond which it is compared alone, in bytes.
const LARGE: usize = 2 << 20;

/// Room for pairs that are compared side by side.
pub(crate) struct Seats {
    count: u32,
    free: Semaphore,
}

impl Seats {
    pub(crate) fn new(count: u32) -> Self {
        Self {
            count,
            free: Semaphore::new(count as usize),
        }
    }

    /// Waits for room for a pair with so many bytes of headers. Nobody closes the semaphore.
    async fn take(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let seats = if bytes > LARGE { self.count } else { 1 };
        self.free.acquire_many(seats).await.ok()
    }
}

/// A package that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackageError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Contents(#[from] ContentsError),
    #[error("cannot read {path}")]
    Io {
        path: Utf8PathBuf,
        source: io::Error,
    },
    #[error("the header is that of {found}, not of {name}")]
    Another { name: String, found: String },
    #[error("the header cannot be made sense of")]
    Panic,
}

/// A package file.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// On the mirror.
    Mirror(BuildId, Entry),
    /// Beside it.
    File(Utf8PathBuf),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mirror(id, entry) => write!(f, "{id}/{}", entry.path),
            Self::File(path) => path.fmt(f),
        }
    }
}

/// Orders the files of a package by their epochs, which only the headers say. A header that cannot be read leaves its file
/// where the name puts it; whoever compares the file says why it cannot.
pub(crate) async fn order(reader: &Reader, id: &BuildId, inventory: &mut Inventory, key: &Key) {
    let entries = inventory.get(key);
    if entries.len() > 1 {
        let epochs = epochs(reader, id, entries.to_vec()).await;
        inventory.set_epochs(&epochs);
    }
}

/// The epochs of some files of a build, as far as they can be read.
pub(crate) async fn epochs(
    reader: &Reader,
    id: &BuildId,
    entries: Vec<Entry>,
) -> BTreeMap<BuildPath, u32> {
    let found = stream::iter(entries).map(|entry| async move {
        let path = entry.path.clone();
        let package = read(reader.store(), &Place::Mirror(id.clone(), entry)).await;
        Some((path, package.ok()?.epoch?))
    });
    let found: Vec<_> = found.buffer_unordered(PARALLEL).collect().await;
    found.into_iter().flatten().collect()
}

/// The package at a place.
pub(crate) async fn read(store: &dyn MirrorRead, place: &Place) -> Result<Package, PackageError> {
    let bytes = headers(store, place).await?;
    let place = place.clone();
    apart(move || parse(&bytes, &place)).await
}

/// The headers of the package at a place.
async fn headers(store: &dyn MirrorRead, place: &Place) -> Result<Vec<u8>, PackageError> {
    match place {
        Place::Mirror(id, entry) => head(store, id, &entry.path).await,
        Place::File(path) => {
            let path = path.clone();
            apart(move || file_head(&path)).await
        }
    }
}

/// The package of these headers, which on a mirror has to be the one that the file's name says.
fn parse(bytes: &[u8], place: &Place) -> Result<Package, PackageError> {
    let package = package(bytes)?;
    if let Place::Mirror(_, entry) = place
        && let Some(named) = PackageFileName::parse(entry.path.file_name())
    {
        let found = format!("{}.{}", package.name, package.arch);
        let name = format!("{}.{}", named.name, named.arch);
        if found != name {
            return Err(PackageError::Another { name, found });
        }
    }
    Ok(package)
}

/// The first bytes of a package on the mirror, up to the end of its headers.
async fn head(
    store: &dyn MirrorRead,
    id: &BuildId,
    path: &BuildPath,
) -> Result<Vec<u8>, PackageError> {
    let mut bytes = Vec::new();
    let mut needed = FIRST;
    let mut idle = 0;
    loop {
        let before = bytes.len();
        let more = (needed - before) as u64;
        let mut body = store.read_part(id, path, before as u64, more).await?;
        let mut broken = None;
        while let Some(chunk) = body.stream.next().await {
            match chunk {
                Ok(chunk) => bytes.extend_from_slice(&chunk),
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        let ended = bytes.len() as u64 >= body.size;
        match frame(&bytes).map_err(HeaderError::from)? {
            Frame::Whole { header, .. } => {
                bytes.truncate(header.end);
                return Ok(bytes);
            }
            Frame::Needs(needed) if ended => {
                let length = bytes.len();
                return Err(truncated(length, needed));
            }
            Frame::Needs(more) => needed = more.max(bytes.len() + 1),
        }
        idle = if bytes.len() > before { 0 } else { idle + 1 };
        if idle >= ATTEMPTS {
            let length = bytes.len();
            return Err(broken.map_or_else(|| truncated(length, needed), Into::into));
        }
    }
}

fn truncated(length: usize, needed: usize) -> PackageError {
    HeaderError::from(FrameError::Truncated { length, needed }).into()
}

/// The first bytes of a package file, up to the end of its headers.
fn file_head(path: &Utf8Path) -> Result<Vec<u8>, PackageError> {
    read_head(&mut open(path)?).map_err(|error| match error {
        HeadError::Frame { source } => HeaderError::from(source).into(),
        HeadError::Io { source } => PackageError::Io {
            path: path.to_owned(),
            source,
        },
    })
}

fn open(path: &Utf8Path) -> Result<BufReader<File>, PackageError> {
    match fs::File::open(path) {
        Ok(file) => Ok(BufReader::new(file.into_parts().0)),
        Err(source) => Err(PackageError::Io {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The digest of a file.
pub(crate) async fn digest(path: &Utf8Path) -> Result<Sha256, PackageError> {
    let path = path.to_owned();
    apart(move || {
        let mut hash = sha2::Sha256::new();
        let mut file = open(&path)?;
        let mut buffer = vec![0; 128 << 10];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(Sha256(hash.finalize().into())),
                Ok(count) => hash.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(PackageError::Io { path, source }),
            }
        }
    })
    .await
}

/// Compares two packages; `contents` looks into files of which only the bytes differ.
///
/// A package takes about seven times the memory of its headers. Small ones take a seat of `seats` while they do, large ones
/// all of them.
pub(crate) async fn differences(
    store: &dyn MirrorRead,
    from: &Place,
    to: &Place,
    contents: bool,
    seats: &Seats,
) -> Result<Outcome, PackageError> {
    let (old, new) = futures_util::future::join(headers(store, from), headers(store, to)).await;
    let (old, new) = (old?, new?);
    let seat = seats.take(old.len() + new.len()).await;
    let places = (from.clone(), to.clone());
    let mut differences = apart(move || {
        let (old, new) = (parse(&old, &places.0)?, parse(&new, &places.1)?);
        Ok(compare(&old, &new))
    })
    .await?;
    drop(seat);
    let mut too_large = Vec::new();
    if contents && !differences.opaque().is_empty() {
        (differences, too_large) = looked_into(store, from, to, differences).await?;
    }
    let Differences { changes, noise } = differences;
    Ok(if changes.is_empty() {
        Outcome::Same { noise }
    } else {
        Outcome::Different {
            changes,
            noise,
            too_large,
        }
    })
}

/// Transfers both packages whole, checks them against the sums of their builds, and looks into them.
async fn looked_into(
    store: &dyn MirrorRead,
    from: &Place,
    to: &Place,
    mut differences: Differences,
) -> Result<(Differences, Vec<String>), PackageError> {
    let dir = Utf8TempDir::new().map_err(|source| PackageError::Io {
        path: "a temporary directory".into(),
        source,
    })?;
    let from = whole(store, from, &dir.path().join("from")).await?;
    let to = whole(store, to, &dir.path().join("to")).await?;
    apart(move || {
        let skipped = look_into(&mut differences, open(&from)?, open(&to)?)?;
        drop(dir);
        Ok((differences, skipped))
    })
    .await
}

/// A package's whole file, fetched into `dir` if it is on the mirror.
async fn whole(
    store: &dyn MirrorRead,
    place: &Place,
    dir: &Utf8Path,
) -> Result<Utf8PathBuf, PackageError> {
    match place {
        Place::File(path) => Ok(path.clone()),
        Place::Mirror(id, entry) => {
            let wanted = Wanted {
                path: entry.path.clone(),
                sha256: entry.digest,
                to: entry.path.file_name().into(),
            };
            let options = FetchOptions::default();
            let report = fetch(store, id, &[wanted], dir, &options, &|_| {}).await;
            match report.failed.into_iter().next() {
                Some(error) => Err(error.into()),
                None => Ok(dir.join(entry.path.file_name())),
            }
        }
    }
}

/// Does work that takes long off the threads that wait for the network. What makes the reader of packages panic is an
/// error of the package.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PackageError> + Send + 'static,
) -> Result<T, PackageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(PackageError::Panic),
    }
}
