//! Packages on the mirror and outside of it, read by their headers.
//!
//! | format | first part to read | contents |
//! |---|---|---|
//! | RPM | lead and headers | everything |
//! | Debian | the archive up to the end of the control member | fields, scripts, digests; the rest is in the payload |
//! | Debian source | the whole `.dsc` | everything |
//!
//! From a mirror on the network, only these ranges are transferred, and payloads only on request. With a keyring, a package is
//! transferred completely and checked: a range cannot be checked against the sum of its file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read as _};

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;
use fs_err as fs;
use futures_util::stream::{self, StreamExt as _};
use sha2::Digest as _;
use stx_compare::contents::{ContentsError, look_into};
use stx_compare::deb::{self, DebianError};
use stx_compare::header::{HeaderError, package};
use stx_compare::inventory::{Entry, Inventory, Key, Named};
use stx_compare::report::Outcome;
use stx_compare::version::Format;
use stx_compare::whole::{self, WholeError};
use stx_compare::{Differences, Package, compare};
use stx_deb::{DebError, Extent};
use stx_layout::rpm::{Frame, FrameError, HeadError, frame, read_head};
use stx_layout::{BuildId, BuildPath, Sha256};
use stx_publish::fetch::{FetchError, FetchOptions, Wanted, fetch};
use stx_publish::{ByteRange, MirrorRead, StoreError};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::Reader;
use crate::taken::{Taken, taken};

/// The number of bytes to request first: the lead, most signature headers, and the beginning of the main header.
const FIRST: usize = 8 << 10;

/// The maximal size of the description of a source package, in bytes.
const LONGEST_DSC: usize = 4 << 20;

/// The number of headers to read in parallel to order files by their epochs.
const PARALLEL: usize = 8;

/// The number of attempts to read a header without receiving a byte.
const ATTEMPTS: u32 = 3;

/// The size of the headers of a pair, in bytes, from which the pair is compared alone.
const LARGE: usize = 2 << 20;

/// Limits the pairs that are compared in parallel.
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

    /// Waits for room for a pair with so many bytes of headers. The semaphore is never closed.
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
    Debian(#[from] DebianError),
    #[error("the description of the source package is longer than {LONGEST_DSC} bytes")]
    LongDescription,
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Contents(#[from] ContentsError),
    #[error(transparent)]
    Whole(#[from] WholeError),
    #[error("cannot read {path}")]
    Io {
        path: Utf8PathBuf,
        source: io::Error,
    },
    #[error("the header is that of {found}, not of {name}")]
    Another { name: String, found: String },
    #[error("the header cannot be parsed")]
    Panic,
}

/// A package file.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// On the mirror.
    Mirror(BuildId, Entry),
    /// Outside of the mirror.
    File(Utf8PathBuf),
}

impl Place {
    fn format(&self) -> Format {
        let name = match self {
            Self::Mirror(_, entry) => entry.path.file_name(),
            Self::File(path) => path.file_name().unwrap_or_default(),
        };
        Format::of(name).unwrap_or_default()
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mirror(id, entry) => write!(f, "{id}/{}", entry.path),
            Self::File(path) => path.fmt(f),
        }
    }
}

/// The section with which retention removed a package, if that is why it cannot be read.
pub(crate) async fn taken_with(
    reader: &Reader,
    place: &Place,
    error: &PackageError,
) -> Option<Taken> {
    let is_gone = matches!(
        error,
        PackageError::Store(StoreError::NotFound { .. })
            | PackageError::Fetch(FetchError::Gone { .. })
    );
    match place {
        Place::Mirror(id, entry) if is_gone => taken(reader.store(), id, &entry.path).await,
        Place::Mirror(..) | Place::File(_) => None,
    }
}

/// Orders the files of a package by their epochs, which only the headers contain. A file with an unreadable header keeps the position
/// that its name determines; the comparison of the file reports the error.
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
        let package = read(reader, &Place::Mirror(id.clone(), entry)).await;
        Some((path, package.ok()?.epoch?))
    });
    let found: Vec<_> = found.buffer_unordered(PARALLEL).collect().await;
    found.into_iter().flatten().collect()
}

/// The package at a place.
pub(crate) async fn read(reader: &Reader, place: &Place) -> Result<Package, PackageError> {
    let bytes = headers(reader, place).await?;
    let place = place.clone();
    apart(move || parse(&bytes, &place)).await
}

/// The package at a place with all its files, which requires the payload of a Debian package.
pub(crate) async fn read_whole(reader: &Reader, place: &Place) -> Result<Package, PackageError> {
    let mut package = read(reader, place).await?;
    if package.listing.is_whole() {
        return Ok(package);
    }
    let dir = scratch()?;
    let file = whole(reader, place, dir.path()).await?;
    apart(move || {
        deb::read_files(&mut package, open(&file)?).map_err(DebianError::from)?;
        drop(dir);
        Ok(package)
    })
    .await
}

/// The headers of the package at a place.
async fn headers(reader: &Reader, place: &Place) -> Result<Vec<u8>, PackageError> {
    let format = place.format();
    match place {
        Place::Mirror(..) if reader.is_trusted() => {
            let dir = scratch()?;
            let file = whole(reader, place, dir.path()).await?;
            apart(move || {
                let head = file_head(&file, format);
                drop(dir);
                head
            })
            .await
        }
        Place::Mirror(id, entry) => head(reader.store(), id, &entry.path, format).await,
        Place::File(path) => {
            let path = path.clone();
            apart(move || file_head(&path, format)).await
        }
    }
}

/// The package with these headers. On a mirror, it must be the package that the file's name indicates.
fn parse(bytes: &[u8], place: &Place) -> Result<Package, PackageError> {
    let format = place.format();
    let package = match format {
        Format::Rpm => package(bytes)?,
        Format::Deb | Format::Udeb => deb::package(format, bytes)?,
        Format::Dsc => deb::source(bytes)?,
    };
    if let Place::Mirror(_, entry) = place
        && let Some(named) = Named::of(entry.path.file_name())
        && !named.arch.is_empty()
    {
        let found = format!("{}.{}", package.name, package.arch);
        let name = format!("{}.{}", named.name, named.arch);
        if found != name {
            return Err(PackageError::Another { name, found });
        }
    }
    Ok(package)
}

/// The number of leading bytes of a package that contain its headers.
enum Need {
    /// So many, and they are available.
    Whole(usize),
    /// At least so many.
    More(usize),
}

fn need(format: Format, bytes: &[u8]) -> Result<Need, PackageError> {
    Ok(match format {
        Format::Rpm => match frame(bytes).map_err(HeaderError::from)? {
            Frame::Whole { header, .. } => Need::Whole(header.end),
            Frame::Needs(needed) => Need::More(needed),
        },
        Format::Deb | Format::Udeb => match deb::extent(bytes).map_err(DebianError::from)? {
            Extent::Whole(end) if end <= bytes.len() as u64 => {
                Need::Whole(usize::try_from(end).unwrap_or(bytes.len()))
            }
            // `extent` limits them, so that they fit.
            Extent::Whole(end) | Extent::More(end) => {
                Need::More(usize::try_from(end).unwrap_or(usize::MAX))
            }
        },
        Format::Dsc if bytes.len() > LONGEST_DSC => return Err(PackageError::LongDescription),
        // The format has no length field: only the end of the file marks its end.
        Format::Dsc => Need::More(bytes.len() + 1),
    })
}

/// The result for a file that ended before its headers were complete.
fn ended(format: Format, bytes: Vec<u8>, needed: usize) -> Result<Vec<u8>, PackageError> {
    match format {
        Format::Rpm => Err(truncated(bytes.len(), needed)),
        Format::Deb | Format::Udeb => {
            let error = DebError::Truncated {
                within: "the control member or the header behind it".to_owned(),
                at: bytes.len() as u64,
            };
            Err(DebianError::from(error).into())
        }
        Format::Dsc => Ok(bytes),
    }
}

/// The first bytes of a package on the mirror, up to the end of its headers.
async fn head(
    store: &dyn MirrorRead,
    id: &BuildId,
    path: &BuildPath,
    format: Format,
) -> Result<Vec<u8>, PackageError> {
    let mut bytes = Vec::new();
    let mut needed = FIRST;
    let mut idle = 0;
    loop {
        let before = bytes.len();
        let range = ByteRange {
            from: before as u64,
            length: (needed - before) as u64,
        };
        let mut body = store.read_ranges(id, path, &[range]).await?;
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
        let is_over = bytes.len() as u64 >= body.size;
        match need(format, &bytes)? {
            Need::Whole(end) => {
                bytes.truncate(end);
                return Ok(bytes);
            }
            Need::More(needed) if is_over => return ended(format, bytes, needed),
            Need::More(more) => needed = more.max(bytes.len() + 1),
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
fn file_head(path: &Utf8Path, format: Format) -> Result<Vec<u8>, PackageError> {
    if format != Format::Rpm {
        return debian_head(path, format);
    }
    read_head(&mut open(path)?).map_err(|error| match error {
        HeadError::Frame { source } => HeaderError::from(source).into(),
        HeadError::Io { source } => PackageError::Io {
            path: path.to_owned(),
            source,
        },
    })
}

/// The same for a Debian package.
fn debian_head(path: &Utf8Path, format: Format) -> Result<Vec<u8>, PackageError> {
    let mut file = open(path)?;
    let mut bytes = Vec::new();
    loop {
        let needed = match need(format, &bytes)? {
            Need::Whole(end) => {
                bytes.truncate(end);
                return Ok(bytes);
            }
            Need::More(needed) => needed.max(FIRST),
        };
        let more = (needed - bytes.len()) as u64;
        let read = file.by_ref().take(more).read_to_end(&mut bytes);
        let read = read.map_err(|source| PackageError::Io {
            path: path.to_owned(),
            source,
        })?;
        if (read as u64) < more && !matches!(need(format, &bytes)?, Need::Whole(_)) {
            return ended(format, bytes, needed);
        }
    }
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

/// Checks an RPM package outside of the mirror against the digests in its own headers, because no sum of a build covers it. Debian
/// packages contain no digests of their payloads.
pub(crate) async fn check(place: &Place) -> Result<(), PackageError> {
    match place {
        Place::File(path) if place.format() == Format::Rpm => {
            let path = path.clone();
            apart(move || Ok(whole::check(open(&path)?)?)).await
        }
        Place::File(_) | Place::Mirror(..) => Ok(()),
    }
}

/// Compares two packages; `contents` examines files of which only the bytes differ.
///
/// A comparison takes about seven times the memory of the headers. Small packages take one seat of `seats` meanwhile, large ones take
/// all of them.
pub(crate) async fn differences(
    reader: &Reader,
    from: &Place,
    to: &Place,
    contents: bool,
    seats: &Seats,
) -> Result<Outcome, PackageError> {
    let (old, new) = futures_util::future::join(headers(reader, from), headers(reader, to)).await;
    let (old, new) = (old?, new?);
    let seat = seats.take(old.len() + new.len()).await;
    let places = (from.clone(), to.clone());
    let (mut differences, packages) = apart(move || {
        let (old, new) = (parse(&old, &places.0)?, parse(&new, &places.1)?);
        let mut differences = compare(&old, &new);
        differences.admit_unread(&old, &new);
        let is_whole = old.listing.is_whole() && new.listing.is_whole();
        Ok((differences, (!is_whole).then_some((old, new))))
    })
    .await?;
    drop(seat);
    let mut too_large = Vec::new();
    if contents && (packages.is_some() || !differences.opaque().is_empty()) {
        (differences, too_large) = looked_into(reader, from, to, differences, packages).await?;
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

/// Transfers both packages completely, checks them against the sums of their builds, and examines their files. `packages` are those
/// whose payload has to be read first.
async fn looked_into(
    reader: &Reader,
    from: &Place,
    to: &Place,
    mut differences: Differences,
    packages: Option<(Package, Package)>,
) -> Result<(Differences, Vec<String>), PackageError> {
    let dir = scratch()?;
    let from = whole(reader, from, &dir.path().join("from")).await?;
    let to = whole(reader, to, &dir.path().join("to")).await?;
    apart(move || {
        if let Some((mut old, mut new)) = packages {
            for (package, file) in [(&mut old, &from), (&mut new, &to)] {
                if !package.listing.is_whole() {
                    deb::read_files(package, open(file)?).map_err(DebianError::from)?;
                }
            }
            differences = compare(&old, &new);
        }
        let skipped = look_into(&mut differences, open(&from)?, open(&to)?)?;
        drop(dir);
        Ok((differences, skipped))
    })
    .await
}

fn scratch() -> Result<Utf8TempDir, PackageError> {
    Utf8TempDir::new().map_err(|source| PackageError::Io {
        path: "a temporary directory".into(),
        source,
    })
}

/// A package's whole file, fetched into `dir` if it is on the mirror.
async fn whole(
    reader: &Reader,
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
                control: None,
            };
            let options = FetchOptions::default();
            let report = fetch(reader.store(), id, &[wanted], dir, &options, &|_| {}).await;
            match report.failed.into_iter().next() {
                Some(error) => Err(error.into()),
                None => Ok(dir.join(entry.path.file_name())),
            }
        }
    }
}

/// Runs long work outside of the threads that wait for the network. A panic of the package reader becomes an error of the package.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PackageError> + Send + 'static,
) -> Result<T, PackageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(PackageError::Panic),
    }
}
