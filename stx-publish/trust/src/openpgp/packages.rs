//! Signs RPMs before they are published.
//!
//! A package that the build made is copied with a new signature header. Its main header and payload stay byte-identical, and the
//! workspace is not changed. The header is signed. If it contains no digest of the payload, like those of rpm before 4.14, header
//! and payload together are signed too, like `rpmsign` does: no current client accepts such a package without that. A signature
//! has the date of its package, so the same package becomes the same file in every build. The copies are kept in a cache, by the
//! digest of the original package. An unchanged package is therefore not signed again, even if the signer's signatures differ
//! each time, and the mirror knows its copy without reading it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use fs_err as fs;
use md5::{Digest as _, Md5};
use pgp::composed::{Deserializable as _, DetachedSignature};
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::ser::Serialize as _;
use rayon::prelude::*;
use stx_layout::BuildPath;
use stx_layout::rpm::{HeadError, Headers, LEAD, read_head};

use super::OpenPgp;
use stx_publish::ErrorKind;
use stx_publish::incoming::{Entry, Incoming};
use stx_publish::ingest::Source;
use stx_publish::seal::{SignError, Signer as _};

mod check;
mod form;

use check::is_signed;
pub use check::{Refused, check_package};
use form::{Signatures, has_md5, has_payload_digest};

/// The files to publish, with signed packages. The cache is locked as long as this value lives.
#[derive(Debug)]
pub struct SignedPackages {
    /// The files; a package that was not signed before is a copy in the cache.
    pub incoming: Incoming,
    /// Packages that were signed by this call.
    pub signed: u64,
    /// Packages whose signed copy was in the cache.
    pub known: u64,
    /// Packages that the key had already signed.
    pub left: u64,
    /// Files with the name of a package that are not packages, with the reason. They are left unchanged.
    pub unsigned: BTreeMap<BuildPath, String>,
    _lock: fs::File,
}

/// A package that cannot be signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignPackagesError {
    /// The signer failed.
    #[error("{path}: not signed")]
    Sign {
        /// The package.
        path: BuildPath,
        /// The error that caused it.
        source: SignError,
    },
    /// The package changed while it was read.
    #[error("{path}: changed while it was read")]
    Changed {
        /// The package.
        path: BuildPath,
    },
    /// Input or output failed.
    #[error("{op} {path}")]
    Io {
        /// The operation that failed, a verb: `read`.
        op: &'static str,
        /// The path that it failed on.
        path: Utf8PathBuf,
        /// The error that caused it.
        source: io::Error,
    },
}

impl SignPackagesError {
    /// Its kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Sign { source, .. } => source.kind(),
            Self::Changed { .. } | Self::Io { .. } => ErrorKind::Mirror,
        }
    }
}

/// The result for one package.
enum Done {
    /// Unchanged: the key has already signed it.
    Left,
    /// Unchanged: it is not a package.
    Unsigned(String),
    /// Its copy, of this size, was in the cache.
    Known(Utf8PathBuf, u64),
    /// It was signed by this call.
    Signed(Utf8PathBuf, u64),
}

/// Signs the packages in `outputs/RPMS` and `outputs/SRPMS`. Removes from `cache` the copies that none of these packages uses.
/// `cache` is created if it does not exist, and serves one channel.
///
/// A file named `.rpm` that is not a package is left unchanged. So is a package that the key has already signed in a way that
/// clients of any age accept.
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
        unsigned: BTreeMap::new(),
        _lock: lock,
    };
    let mut used = BTreeSet::new();
    for (path, done) in done {
        let (copy, length) = match done {
            Done::Left => {
                result.left += 1;
                continue;
            }
            Done::Unsigned(reason) => {
                result.unsigned.insert(path, reason);
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

/// True if the build made a package; its inputs are signed by others.
pub(super) fn is_own_package(path: &BuildPath) -> bool {
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
        if source.size() != size {
            return Err(changed());
        }
        let head = match read_head(&mut BufReader::new(source.file.file())) {
            Ok(head) => head,
            Err(HeadError::Io { source }) => return Err(read()(source)),
            Err(HeadError::Frame { source }) => return Ok(Done::Unsigned(source.to_string())),
        };
        let headers = match Headers::parse(&head) {
            Ok(headers) => headers,
            Err(error) => return Ok(Done::Unsigned(error.to_string())),
        };
        if is_signed(&headers, self.signer.public(), self.now) {
            return Ok(Done::Left);
        }
        source.file.rewind().map_err(read())?;
        let (digest, count) = source.hash(None).map_err(read())?;
        if count != size || !source.is_unchanged().map_err(read())? {
            return Err(changed());
        }
        let copy = self.dir.join(format!("{digest}.rpm"));
        if let Some(length) = self.known(&copy, &headers, size) {
            return Ok(Done::Known(copy, length));
        }
        let signatures = self.signatures(path, from, &headers)?;
        let front = [&head[..LEAD], &form::signed(&headers, signatures)].concat();
        let part = self.dir.join(format!("{digest}.{}", rayon_index()));
        let length = write(&mut source.file, &front, headers.begin, &part)?;
        if !source.is_unchanged().map_err(read())? {
            // The next sweep removes the rest of the copy; the change is the error to report.
            fs::remove_file(&part).ok();
            return Err(changed());
        }
        fs::rename(&part, &copy).map_err(io_error("make", &copy))?;
        Ok(Done::Signed(copy, length))
    }

    /// The size of a copy that is complete; one that cannot be read is made again.
    fn known(&self, copy: &Utf8Path, original: &Headers<'_>, size: u64) -> Option<u64> {
        let file = fs::File::open(copy).ok()?;
        let length = file.metadata().ok()?.len();
        let head = read_head(&mut BufReader::new(file)).ok()?;
        let found = Headers::parse(&head).ok()?;
        let payload = |headers: &Headers<'_>, size: u64| size.checked_sub(headers.payload as u64);
        let whole = found.main.bytes() == original.main.bytes()
            && payload(&found, length) == payload(original, size)
            && is_signed(&found, self.signer.public(), self.now);
        whole.then_some(length)
    }

    /// The signatures of a package, with the date of the package.
    fn signatures(
        &self,
        path: &BuildPath,
        from: &Utf8Path,
        headers: &Headers<'_>,
    ) -> Result<Signatures, SignPackagesError> {
        const BUILDTIME: u32 = 1006;
        let built = headers.main.number(BUILDTIME).and_then(|seconds| {
            let seconds = i64::try_from(seconds).ok()?;
            DateTime::from_timestamp(seconds, 0)
        });
        let built = built.unwrap_or_default();
        let refused = |source| SignPackagesError::Sign {
            path: path.clone(),
            source,
        };
        let signature = self.signer.sign(headers.main.bytes(), built);
        let (header, rsa) = signature.and_then(|it| packet(&it)).map_err(refused)?;
        let mut signatures = Signatures {
            rsa,
            header,
            whole: None,
            md5: None,
        };
        if has_payload_digest(headers.main) {
            return Ok(signatures);
        }
        let open = || {
            let mut file = fs::File::open(from)?;
            file.seek(SeekFrom::Start(headers.payload as u64))?;
            Ok(headers.main.bytes().chain(file))
        };
        let signature = self.signer.sign_reader(open, built);
        let (whole, _) = signature.and_then(|it| packet(&it)).map_err(refused)?;
        signatures.whole = Some(whole);
        if !has_md5(headers.signature) {
            let mut md5 = Md5::new();
            let hashed = open().and_then(|mut bytes| io::copy(&mut bytes, &mut HashTo(&mut md5)));
            hashed.map_err(io_error("read", from))?;
            signatures.md5 = Some(md5.finalize().into());
        }
        Ok(signatures)
    }
}

/// Feeds written bytes to a digest.
struct HashTo<'a>(&'a mut Md5);

impl io::Write for HashTo<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An armored signature as the packet that RPM headers contain, and true if it is one of an RSA key.
fn packet(armored: &str) -> Result<(Vec<u8>, bool), SignError> {
    let read = DetachedSignature::from_string(armored).and_then(|(signature, _)| {
        let config = signature.signature.config();
        let rsa = config.is_some_and(|config| {
            matches!(
                config.pub_alg,
                PublicKeyAlgorithm::RSA | PublicKeyAlgorithm::RSASign
            )
        });
        Ok((signature.to_bytes()?, rsa))
    });
    read.map_err(|error| SignError::Refused {
        signer: "its signature".to_owned(),
        reason: error.to_string(),
    })
}

/// Writes lead and signature header, then the bytes of `from` from its main header on; returns the total size.
fn write(
    from: &mut fs::File,
    front: &[u8],
    main: usize,
    to: &Utf8Path,
) -> Result<u64, SignPackagesError> {
    let write = || io_error("write", to);
    let file = fs::File::create(to).map_err(write())?;
    let mut out = BufWriter::new(file);
    let copied = out
        .write_all(front)
        .and_then(|()| from.seek(SeekFrom::Start(main as u64)))
        .and_then(|_| io::copy(from, &mut out))
        .and_then(|_| out.flush());
    copied.map_err(write())?;
    let file = out
        .into_inner()
        .map_err(|error| write()(error.into_error()))?;
    let modified = from.metadata().and_then(|metadata| metadata.modified());
    // Synced before it gets its name: a torn copy must not be taken for a complete one.
    let done = modified
        .and_then(|modified| file.file().set_modified(modified))
        .and_then(|()| file.sync_all())
        .and_then(|()| file.metadata());
    Ok(done.map_err(write())?.len())
}

/// Keeps the names apart when two threads copy packages of the same bytes.
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

/// Removes unused copies. A copy that cannot be removed takes space, and does no other harm.
fn sweep(cache: &Utf8Path, dir: &Utf8Path, used: &BTreeSet<Utf8PathBuf>) {
    let entries = |dir: &Utf8Path| {
        let entries = dir.read_dir_utf8().into_iter().flatten().flatten();
        entries
            .map(camino::Utf8DirEntry::into_path)
            .collect::<Vec<_>>()
    };
    // Copies of a key that is no longer used. They only take space: the next run tries again.
    for other in entries(cache).iter().filter(|path| *path != dir) {
        fs::remove_dir_all(other).ok();
    }
    for copy in entries(dir).iter().filter(|copy| !used.contains(*copy)) {
        fs::remove_file(copy).ok();
    }
}

fn io_error(op: &'static str, path: &Utf8Path) -> impl FnOnce(io::Error) -> SignPackagesError {
    let path = path.to_owned();
    move |source| SignPackagesError::Io { op, path, source }
}
