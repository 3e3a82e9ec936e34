//! The contents of an ISO image: every file with its digest, the fields of package headers, and lists of the packages that are
//! installed in a file system of the image.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use camino::Utf8Path;
use fs_err as fs;
use hadris_iso::directory::DirectoryRef;
use hadris_iso::file::EntryType;
use hadris_iso::io::ErrorKind;
use hadris_iso::read::{DirEntry, Extent, IsoImage, RootDir};
use sha2::Digest as _;
use stx_layout::Sha256;
use stx_layout::rpm::{self, HeadError, Header, Headers, read_head};

use super::{SbomError, debian};
use stx_publish::ingest::Source;

/// The size of a sector in bytes, the unit of extents.
const SECTOR: u64 = 2048;

/// The deepest nesting of directories. ISO 9660 allows 8, and its extensions remove that limit.
const DEEPEST: usize = 64;

/// The longest directory that is read, in bytes: some 100,000 names with their Rock Ridge entries.
const LONGEST_DIRECTORY: u64 = 16 << 20;

/// The longest other piece of the image that is read at once, in bytes: the Rock Ridge continuation of one name.
const LONGEST_PIECE: u64 = 32 << 10;

/// The limit for directories and continuations of their names that are read from one image, in bytes.
const MOST_DIRECTORIES: u64 = 256 << 20;

/// The limit for volume descriptors of one image. Usually there are two or three.
const MOST_DESCRIPTORS: u64 = 32;

/// The longest table of paths, in bytes. It has room for as many directories as it can number.
const LONGEST_PATH_TABLE: u32 = 4 << 20;

/// The limit for files of one image.
const MOST_FILES: usize = 200_000;

/// The longest name in an image, in bytes: the limit of Linux.
const LONGEST_NAME: usize = 255;

/// The longest list of packages that is read, in bytes. The status of dpkg on a desktop has 2 MB.
const LONGEST_LIST: u64 = 32 << 20;

/// The limit for the total size of an image's files, as a multiple of the image's size: some files share bytes with others.
const MOST_OVERLAP: u64 = 4;

/// The digest and the files of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    /// The digest of the image.
    pub(super) digest: Sha256,
    /// Its files, by path.
    pub(super) files: Vec<File>,
}

/// A file in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// Its path from the root of the image.
    pub(super) path: String,
    /// Its size in bytes.
    pub(super) size: u64,
    /// The digest of its bytes.
    pub(super) digest: Sha256,
    /// The fields of its header, if it is an RPM or a Debian package.
    pub(super) package: Option<Package>,
    /// The packages that it lists, if it is such a list.
    pub(super) listed: Vec<Package>,
}

impl File {
    /// The last segment of its path.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// The form of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Format {
    #[default]
    Rpm,
    Deb,
}

/// The fields of the header of a package. Of a Debian package `release` is the revision, which is empty for a native one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Package {
    pub(super) format: Format,
    pub(super) name: String,
    pub(super) epoch: Option<u32>,
    pub(super) version: String,
    pub(super) release: String,
    pub(super) arch: String,
    pub(super) license: Option<String>,
    pub(super) vendor: Option<String>,
    pub(super) url: Option<String>,
    pub(super) summary: Option<String>,
    /// The name of the file of its source package; for a Debian package, the name of its source package, and the version if it
    /// differs.
    pub(super) source: Option<String>,
    /// The digest of its header without signatures, which does not change when it is signed.
    pub(super) header: Option<String>,
}

/// Reads an image; every byte of its files is read.
pub(super) fn read(path: &Utf8Path) -> Result<Image, SbomError> {
    let fail = |source| SbomError::Io {
        path: path.to_string(),
        source,
    };
    let mut source = Source::open(path).map_err(fail)?;
    let (digest, _) = source.hash(None).map_err(fail)?;
    let file = fs::File::open(path).map_err(fail)?;
    // No image may cause a panic in a program that has a build to publish.
    let files = catch_unwind(AssertUnwindSafe(|| files(file)));
    let files = files.unwrap_or_else(|_| Err(io::Error::other("its structure is not valid")));
    let files = files.map_err(|error| SbomError::NoImage {
        path: path.to_string(),
        reason: error.to_string(),
    })?;
    if !source.is_unchanged().map_err(fail)? {
        return Err(fail(io::Error::other("it changes while it is read")));
    }
    Ok(Image { digest, files })
}

/// The error of the library, in words; for a truncated image, the library has only a kind of error.
fn damaged(error: hadris_iso::Error) -> io::Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => io::Error::other("it ends too early"),
        _ => io::Error::other(error),
    }
}

/// The number of bytes that may still be read from an image. The library allocates the lengths that directories and names claim.
#[derive(Debug, Clone)]
struct Allowance {
    /// The total number of bytes.
    bytes: Rc<Cell<u64>>,
    /// The number of bytes in pieces longer than [`LONGEST_PIECE`].
    long: Rc<Cell<u64>>,
}

impl Allowance {
    fn new(bytes: u64) -> Self {
        Self {
            bytes: Rc::new(Cell::new(bytes)),
            long: Rc::default(),
        }
    }

    fn set(&self, bytes: u64, long: u64) {
        self.bytes.set(bytes);
        self.long.set(long);
    }
}

/// An image that can be read only up to the allowance.
#[derive(Debug)]
struct Bounded<R> {
    data: BufReader<R>,
    allowed: Allowance,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let asked = buffer.len() as u64;
        let Allowance { bytes, long } = &self.allowed;
        let is_long = asked > LONGEST_PIECE;
        if asked > bytes.get() || (is_long && asked > long.get()) {
            return Err(io::Error::other(
                "its directories and names claim to be longer than any are",
            ));
        }
        let read = self.data.read(buffer)?;
        bytes.set(bytes.get() - read as u64);
        if is_long {
            long.set(long.get() - read as u64);
        }
        Ok(read)
    }
}

impl<R: Seek> Seek for Bounded<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.data.seek(to)
    }
}

/// Refuses an image whose descriptors claim more than an image can have, before the library reads them all.
fn check_descriptors<R: Read + Seek>(data: &mut R) -> io::Result<()> {
    const PRIMARY: u8 = 1;
    const END: u8 = 255;
    data.seek(SeekFrom::Start(16 * SECTOR))?;
    for _ in 0..MOST_DESCRIPTORS {
        let mut descriptor = [0; 2048];
        data.read_exact(&mut descriptor)
            .map_err(|_| io::Error::other("it ends too early"))?;
        if descriptor[1..6] != *b"CD001" {
            // The library reports the problem.
            return Ok(());
        }
        match descriptor[0] {
            END => return Ok(()),
            PRIMARY => {
                let table = [132, 133, 134, 135].map(|at| descriptor[at]);
                let length = u32::from_le_bytes(table);
                if length > LONGEST_PATH_TABLE {
                    let reason = format!("its table of paths claims to be {length} bytes long");
                    return Err(io::Error::other(reason));
                }
            }
            _ => {}
        }
    }
    Err(io::Error::other(format!(
        "it has more than {MOST_DESCRIPTORS} volume descriptors"
    )))
}

/// The files of an image, by path.
pub(super) fn files<R: Read + Seek>(mut data: R) -> io::Result<Vec<File>> {
    let length = data.seek(SeekFrom::End(0))?;
    check_descriptors(&mut data)?;
    let allowed = Allowance::new(MOST_DIRECTORIES);
    let bounded = Bounded {
        data: BufReader::new(data),
        allowed: allowed.clone(),
    };
    let image = IsoImage::open(bounded).map_err(damaged)?;
    let (root, names) = tree(&image)?;
    let mut walk = Walk {
        image: &image,
        allowed,
        directory_bytes: MOST_DIRECTORIES,
        file_bytes: length.saturating_mul(MOST_OVERLAP),
        names,
        files: BTreeMap::new(),
        directories: BTreeSet::new(),
        known: BTreeMap::new(),
    };
    walk.directory(root.dir_ref(), "", 0)?;
    Ok(walk.files.into_values().collect())
}

/// The encoding of names in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    /// Rock Ridge names.
    RockRidge,
    /// UTF-16, possibly with a version.
    Joliet,
    /// ASCII, possibly with a version.
    Plain,
}

/// The tree that Linux shows: that with Rock Ridge names, else the Joliet one, else the plain one.
fn tree<R: Read + Seek>(image: &IsoImage<R>) -> io::Result<(RootDir, Names)> {
    let find = |joliet: bool| {
        let mut roots = image.root_dirs().iter().copied();
        roots.find(|root| matches!(root.entry_type(), EntryType::Joliet { .. }) == joliet)
    };
    let found = match (find(false), find(true)) {
        (Some(root), _) if image.supports_rrip() => Some((root, Names::RockRidge)),
        (_, Some(root)) => Some((root, Names::Joliet)),
        (root, None) => root.map(|root| (root, Names::Plain)),
    };
    found.ok_or_else(|| io::Error::other("it has no directory"))
}

impl Names {
    fn name(self, entry: &DirEntry) -> io::Result<String> {
        let without_version = |name: String| match name.rsplit_once(';') {
            Some((name, _)) => name.to_owned(),
            None => name,
        };
        Ok(match self {
            Self::RockRidge => entry.display_name().into_owned(),
            Self::Joliet => {
                let units = entry.name().chunks(2).map(|pair| match *pair {
                    [high, low] => u16::from_be_bytes([high, low]),
                    // Half a character: the replacement character.
                    _ => 0xfffd,
                });
                let name: Result<String, _> = char::decode_utf16(units).collect();
                without_version(name.map_err(io::Error::other)?)
            }
            Self::Plain => without_version(entry.display_name().into_owned()),
        })
    }
}

struct Walk<'a, R: Read + Seek> {
    image: &'a IsoImage<Bounded<R>>,
    allowed: Allowance,
    /// The number of bytes of directories that may still be read.
    directory_bytes: u64,
    /// The number of bytes of files that may still be read.
    file_bytes: u64,
    names: Names,
    files: BTreeMap<String, File>,
    /// The positions of the directories that were entered.
    directories: BTreeSet<usize>,
    /// The files by their positions: images contain one file under several names.
    known: BTreeMap<Vec<(usize, u32)>, File>,
}

impl<R: Read + Seek> Walk<'_, R> {
    fn directory(&mut self, dir: DirectoryRef, at: &str, depth: usize) -> io::Result<()> {
        if depth > DEEPEST || !self.directories.insert(dir.extent.0) {
            return Err(io::Error::other(format!(
                "its directory /{at} contains itself"
            )));
        }
        let size = dir.size as u64;
        if size > LONGEST_DIRECTORY {
            return Err(io::Error::other(format!(
                "its directory /{at} claims to be {size} bytes long"
            )));
        }
        self.allowed.set(self.directory_bytes, size);
        let entries = self.image.open_dir(dir).read_entries().map_err(damaged)?;
        self.directory_bytes = self.allowed.bytes.get();
        for entry in entries {
            if entry.is_special() {
                continue;
            }
            let name = self.names.name(&entry)?;
            if name.len() > LONGEST_NAME {
                return Err(io::Error::other(format!(
                    "a name in its directory /{at} is longer than {LONGEST_NAME} bytes"
                )));
            }
            let path = if at.is_empty() {
                name
            } else {
                format!("{at}/{name}")
            };
            let link = entry
                .rrip
                .as_ref()
                .and_then(|rrip| rrip.symlink_target.as_ref());
            if entry.is_directory() {
                self.allowed.set(LONGEST_PIECE, 0);
                let dir = entry.as_dir_ref(self.image).map_err(damaged)?;
                self.directory(dir, &path, depth + 1)?;
            } else if link.is_none() {
                let file = self.file(&entry, path)?;
                self.files.insert(file.path.clone(), file);
                if self.files.len() > MOST_FILES {
                    let reason = format!("it has more than {MOST_FILES} files");
                    return Err(io::Error::other(reason));
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, entry: &DirEntry, path: String) -> io::Result<File> {
        let extents: Vec<_> = entry.extents().collect();
        let place: Vec<_> = extents
            .iter()
            .map(|extent| (extent.sector.0, extent.length))
            .collect();
        if let Some(file) = self.known.get(&place) {
            return Ok(File {
                path,
                ..file.clone()
            });
        }
        if entry.total_size() > self.file_bytes {
            let reason =
                format!("its files claim to have more than {MOST_OVERLAP} times its own bytes");
            return Err(io::Error::other(reason));
        }
        self.file_bytes -= entry.total_size();
        self.allowed.set(u64::MAX, u64::MAX);
        let mut reader = BufReader::new(Contents {
            image: self.image,
            extents,
            at: 0,
            hasher: sha2::Sha256::new(),
        });
        let package = match Utf8Path::new(&path).extension() {
            Some("rpm") => package(&mut reader)?,
            Some("deb" | "udeb") => debian::package(&mut reader)?,
            _ => None,
        };
        let listed = if debian::is_list(&path) && entry.total_size() <= LONGEST_LIST {
            let mut text = Vec::new();
            reader.read_to_end(&mut text)?;
            debian::listed(&path, &text)
        } else {
            Vec::new()
        };
        io::copy(&mut reader, &mut io::sink())?;
        let file = File {
            path,
            size: entry.total_size(),
            digest: Sha256(reader.into_inner().hasher.finalize().into()),
            package,
            listed,
        };
        self.known.insert(place, file.clone());
        Ok(file)
    }
}

/// The bytes of a file in an image, which are hashed while they are read.
struct Contents<'a, R: Read + Seek> {
    image: &'a IsoImage<Bounded<R>>,
    /// The extents that were not fully read yet.
    extents: Vec<Extent>,
    /// The position in the first of them.
    at: u32,
    hasher: sha2::Sha256,
}

impl<R: Read + Seek> Read for Contents<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(extent) = self.extents.first() {
            let left = extent.length - self.at;
            let count = buffer.len().min(left as usize);
            if left == 0 {
                self.extents.remove(0);
                self.at = 0;
                continue;
            }
            let from = extent.sector.0 as u64 * SECTOR + u64::from(self.at);
            let read = &mut buffer[..count];
            let read_at = self.image.read_bytes_at(from, read);
            read_at.map_err(damaged)?;
            self.hasher.update(read);
            self.at += u32::try_from(count).unwrap_or(left);
            return Ok(count);
        }
        Ok(0)
    }
}

/// The package in a file; `None` if the file is not a package.
pub(super) fn package(file: &mut impl io::BufRead) -> io::Result<Option<Package>> {
    let head = match read_head(file) {
        Ok(head) => head,
        Err(HeadError::Io { source }) => return Err(source),
        // It is listed like any other file.
        Err(HeadError::Frame { .. }) => return Ok(None),
    };
    Ok(Headers::parse(&head).ok().and_then(described))
}

/// The package that these headers describe; `None` if its name, version, release or architecture is missing.
fn described(
    Headers {
        signature, main, ..
    }: Headers<'_>,
) -> Option<Package> {
    let text = |header: Header<'_>, tag| {
        let text = header.string(tag).filter(|text| !text.is_empty())?;
        Some(rpm::text(text).into_owned())
    };
    let arch = if main.is_source() {
        Some("src".to_owned())
    } else {
        text(main, 1022)
    };
    Some(Package {
        format: Format::Rpm,
        name: text(main, 1000)?,
        epoch: main
            .number(1003)
            .and_then(|epoch| u32::try_from(epoch).ok()),
        version: text(main, 1001)?,
        release: text(main, 1002)?,
        arch: arch?,
        license: text(main, 1014),
        vendor: text(main, 1011),
        url: text(main, 1020),
        summary: text(main, 1004),
        source: text(main, 1044),
        header: text(signature, 273),
    })
}
