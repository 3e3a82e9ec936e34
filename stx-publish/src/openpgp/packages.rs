//! RPMs, signed before they are published.
//!
//! What a build made is copied with a new signature header; the payload stays byte for byte what it was, and the workspace is
//! not written to. A signature is as old as its package, so the same package is the same file in every build. The copies stay
//! in a cache, by the digest of the package that was signed: an unchanged package is not signed again, also where the signer's
//! signatures differ each time, and its copy is known to the mirror without being read.

use std::collections::BTreeSet;
use std::io::{self, BufReader, BufWriter, Seek as _, SeekFrom, Write as _};

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use fs_err as fs;
use pgp::composed::{Deserializable as _, DetachedSignature};
use pgp::ser::Serialize as _;
use rayon::prelude::*;
use rpm::{Package, PackageMetadata};
use stx_layout::BuildPath;

use super::{Keyring, OpenPgp};
use crate::incoming::{Entry, Incoming};
use crate::seal::{SignError, Signer as _};
use crate::store::local::copy::Source;

/// The files to publish, packages signed. The cache belongs to this value as long as it lives.
#[derive(Debug)]
pub struct SignedPackages {
    /// The files; a package that was not signed yet is a copy in the cache.
    pub incoming: Incoming,
    /// Packages that were signed now.
    pub signed: u64,
    /// Packages whose signed copy was in the cache.
    pub known: u64,
    /// Packages that the key had signed already.
    pub left: u64,
    _lock: fs::File,
}

/// A package that cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignPackagesError {
    /// The signer refuses.
    #[error("{path}: not signed")]
    Sign {
        /// The package.
        path: BuildPath,
        /// Why.
        source: SignError,
    },
    /// The package changed while it was read.
    #[error("{path}: changed while it was read")]
    Changed {
        /// The package.
        path: BuildPath,
    },
    /// Its header cannot be written.
    #[error("{path}: its header takes no signature")]
    Header {
        /// The package.
        path: BuildPath,
        /// Why.
        source: Box<rpm::Error>,
    },
    /// Input or output failed.
    #[error("{op} {path}")]
    Io {
        /// What was tried, a verb.
        op: &'static str,
        /// On what.
        path: Utf8PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// What was done with a package.
enum Done {
    /// Left as it is.
    Left,
    /// Its copy, of this size, was there.
    Known(Utf8PathBuf, u64),
    /// It was made now.
    Signed(Utf8PathBuf, u64),
}

/// Signs the packages in `outputs/RPMS` and `outputs/SRPMS`. Copies that no package of these has are removed from `cache`,
/// which is made where it is not there and is for one channel.
///
/// What is called `.rpm` and is no package is left as it is, and so is a package that the key has signed.
pub fn sign_packages(
    mut incoming: Incoming,
    signer: &OpenPgp,
    cache: &Utf8Path,
    now: DateTime<Utc>,
) -> Result<SignedPackages, SignPackagesError> {
    let key = signer.public().fingerprints().concat();
    let dir = cache.join(key);
    let failed = io_error("make", &dir);
    fs::create_dir_all(&dir).map_err(failed)?;
    let lock = lock(cache)?;
    let signing = Signing {
        signer,
        dir: &dir,
        now,
    };
    let packages: Vec<_> = incoming
        .entries
        .iter()
        .filter(|(path, _)| is_own_package(path))
        .filter_map(|(path, entry)| match entry {
            Entry::File { source, size, .. } => Some((path, source, *size)),
            Entry::Symlink { .. } | Entry::Generated(_) => None,
        })
        .collect();
    let done: Vec<_> = packages
        .into_par_iter()
        .map(|(path, source, size)| Ok((path.clone(), signing.sign(path, source, size)?)))
        .collect::<Result<_, SignPackagesError>>()?;
    let mut result = SignedPackages {
        incoming: Incoming::default(),
        signed: 0,
        known: 0,
        left: 0,
        _lock: lock,
    };
    let mut used = BTreeSet::new();
    for (path, done) in done {
        let (copy, length) = match done {
            Done::Left => {
                result.left += 1;
                continue;
            }
            Done::Known(copy, length) => {
                result.known += 1;
                (copy, length)
            }
            Done::Signed(copy, length) => {
                result.signed += 1;
                (copy, length)
            }
        };
        used.insert(copy.clone());
        if let Some(Entry::File {
            source,
            size,
            digest,
            ..
        }) = incoming.entries.get_mut(&path)
        {
            (*source, *size, *digest) = (copy, length, None);
        }
    }
    sweep(cache, &dir, &used);
    result.incoming = incoming;
    Ok(result)
}

/// What a build made; what it was given as input is signed by others.
fn is_own_package(path: &BuildPath) -> bool {
    let segments: Vec<_> = path.segments().collect();
    path.as_path().extension() == Some("rpm")
        && matches!(segments.as_slice(), ["outputs", "RPMS" | "SRPMS", _, _, ..])
}

struct Signing<'a> {
    signer: &'a OpenPgp,
    dir: &'a Utf8Path,
    now: DateTime<Utc>,
}

impl Signing<'_> {
    fn sign(
        &self,
        path: &BuildPath,
        from: &Utf8Path,
        size: u64,
    ) -> Result<Done, SignPackagesError> {
        let read = || io_error("read", from);
        let changed = || SignPackagesError::Changed { path: path.clone() };
        let mut source = Source::open(from).map_err(read())?;
        if source.stamp.size != size {
            return Err(changed());
        }
        let Ok(metadata) = PackageMetadata::parse(&mut BufReader::new(source.file.file())) else {
            return Ok(Done::Left);
        };
        if is_signed(&metadata, self.signer.public(), self.now) {
            return Ok(Done::Left);
        }
        source.file.rewind().map_err(read())?;
        let (digest, count) = source.hash(None).map_err(read())?;
        if count != size || !source.is_unchanged().map_err(read())? {
            return Err(changed());
        }
        let copy = self.dir.join(format!("{digest}.rpm"));
        if let Some(length) = self.known(&copy, &metadata, size) {
            return Ok(Done::Known(copy, length));
        }
        let (payload, metadata) = self.header(path, metadata)?;
        let part = self.dir.join(format!("{digest}.{}", rayon_index()));
        let length = write(&mut source.file, payload, &metadata, &part)?;
        if !source.is_unchanged().map_err(read())? {
            drop(fs::remove_file(&part));
            return Err(changed());
        }
        fs::rename(&part, &copy).map_err(io_error("make", &copy))?;
        Ok(Done::Signed(copy, length))
    }

    /// The size of a copy that is there and whole.
    fn known(&self, copy: &Utf8Path, original: &PackageMetadata, size: u64) -> Option<u64> {
        let found = PackageMetadata::open(copy).ok()?;
        let length = fs::metadata(copy).ok()?.len();
        let payload = |metadata: &PackageMetadata, size: u64| {
            size.checked_sub(metadata.get_package_segment_offsets().payload)
        };
        let whole = found.header == original.header
            && payload(&found, length) == payload(original, size)
            && is_signed(&found, self.signer.public(), self.now);
        whole.then_some(length)
    }

    /// The header with a signature, and where the payload began.
    fn header(
        &self,
        path: &BuildPath,
        metadata: PackageMetadata,
    ) -> Result<(u64, PackageMetadata), SignPackagesError> {
        let header = |source| SignPackagesError::Header {
            path: path.clone(),
            source: Box::new(source),
        };
        let bytes = metadata.header_bytes().map_err(header)?;
        let built = metadata.get_build_time().ok().and_then(|seconds| {
            let seconds = i64::try_from(seconds).ok()?;
            DateTime::from_timestamp(seconds, 0)
        });
        let signature = self.signer.sign(&bytes, built.unwrap_or_default());
        let signature = signature.map_err(|source| SignPackagesError::Sign {
            path: path.clone(),
            source,
        })?;
        let payload = metadata.get_package_segment_offsets().payload;
        let foreign = metadata.raw_signatures().map_err(header)?.len();
        let mut package = Package {
            metadata,
            payload: Vec::new(),
        };
        if foreign > 0 {
            package.clear_signatures().map_err(header)?;
        }
        let signature = packet(&signature).map_err(|source| SignPackagesError::Sign {
            path: path.clone(),
            source,
        })?;
        package.apply_signature(signature).map_err(header)?;
        Ok((payload, package.metadata))
    }
}

/// Whether one of the keys has signed a package's header.
fn is_signed(metadata: &PackageMetadata, keyring: &Keyring, now: DateTime<Utc>) -> bool {
    let (Ok(bytes), Ok(signatures)) = (metadata.header_bytes(), metadata.raw_signatures()) else {
        return false;
    };
    let mut signatures = signatures.iter();
    signatures.any(|signature| keyring.verify(&bytes, signature, now).is_ok())
}

/// An armored signature as the packet that RPM headers hold.
fn packet(armored: &str) -> Result<Vec<u8>, SignError> {
    let read = DetachedSignature::from_string(armored);
    let packet = read.and_then(|(signature, _)| signature.to_bytes());
    packet.map_err(|error| SignError::Refused {
        signer: "its signature".to_owned(),
        reason: error.to_string(),
    })
}

/// Writes the new header and the old payload; the size of both.
fn write(
    from: &mut fs::File,
    payload: u64,
    metadata: &PackageMetadata,
    to: &Utf8Path,
) -> Result<u64, SignPackagesError> {
    let write = || io_error("write", to);
    let file = fs::File::create(to).map_err(write())?;
    let mut out = BufWriter::new(file);
    let written = metadata.write(&mut out);
    written.map_err(|error| write()(io::Error::other(error)))?;
    let copied = from
        .seek(SeekFrom::Start(payload))
        .and_then(|_| io::copy(from, &mut out))
        .and_then(|_| out.flush());
    copied.map_err(write())?;
    let file = out
        .into_inner()
        .map_err(|error| write()(error.into_error()))?;
    let modified = from.metadata().and_then(|metadata| metadata.modified());
    // Durable before it has its name: a torn copy must not be taken for a whole one.
    let done = modified
        .and_then(|modified| file.file().set_modified(modified))
        .and_then(|()| file.sync_all())
        .and_then(|()| file.metadata());
    Ok(done.map_err(write())?.len())
}

/// Two threads may be at packages of the same bytes.
fn rayon_index() -> usize {
    rayon::current_thread_index().unwrap_or_default()
}

/// Waits for the lock of a cache.
fn lock(cache: &Utf8Path) -> Result<fs::File, SignPackagesError> {
    let path = cache.join("lock");
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io_error("open", &path))?;
    file.file().lock().map_err(io_error("lock", &path))?;
    Ok(file)
}

/// Removes the copies that are not used any more. What cannot be removed takes room, and does no other harm.
fn sweep(cache: &Utf8Path, dir: &Utf8Path, used: &BTreeSet<Utf8PathBuf>) {
    let entries = |dir: &Utf8Path| {
        let entries = dir.read_dir_utf8().into_iter().flatten().flatten();
        entries
            .map(camino::Utf8DirEntry::into_path)
            .collect::<Vec<_>>()
    };
    // Those of a key that is not used any more.
    for other in entries(cache).iter().filter(|path| *path != dir) {
        drop(fs::remove_dir_all(other));
    }
    for copy in entries(dir).iter().filter(|copy| !used.contains(*copy)) {
        drop(fs::remove_file(copy));
    }
}

fn io_error(op: &'static str, path: &Utf8Path) -> impl FnOnce(io::Error) -> SignPackagesError {
    let path = path.to_owned();
    move |source| SignPackagesError::Io { op, path, source }
}
