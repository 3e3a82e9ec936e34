//! Reads the images among the files of a build: OCI layouts, also in an archive, and the archives of `docker save`.
//!
//! Every digest is computed from the bytes, including those that a layout or an archive claims. A mismatch is an error with its
//! location, reported before anything is published.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _, Seek as _, SeekFrom};

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use fs_err::File;
use serde::de::DeserializeOwned;
use sha2::Digest as _;
use stx_layout::derived::{IMAGE_DIRECTORY, is_image_list};
use stx_layout::{BuildPath, Sha256};

use super::{FoundImage, Image};
use crate::registry::{Blob, BlobSource};
use stx_publish::incoming::{Entry, Incoming, LinkEnd, hash_rest};

mod archive;
pub mod charts;
mod layout;
#[cfg(test)]
mod tests;

/// The largest index, manifest or configuration that is read, in bytes.
const LARGEST_JSON: u64 = 16 << 20;

/// The limit for all indexes, manifests and configurations of one layout or archive, in bytes. Their contents are kept in memory.
const MOST_JSON: u64 = 256 << 20;

/// The longest name of an operating system or architecture that is recorded.
const LONGEST_PLATFORM: usize = 64;

/// Images that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A file cannot be read.
    #[error("{path}: cannot be read")]
    Io {
        /// The layout or archive, with the file in it.
        path: String,
        /// The reason.
        source: io::Error,
    },
    /// A layout or an archive is invalid or incomplete.
    #[error("{path}: {reason}")]
    Wrong {
        /// The layout or archive, with the file in it.
        path: String,
        /// The error in it.
        reason: String,
    },
    /// The bytes differ from those that a manifest describes.
    #[error("{path}: its bytes have the digest sha256:{found}, not the claimed sha256:{claimed}")]
    Digest {
        /// The layout or archive, with the file in it.
        path: String,
        /// The digest that was computed.
        found: Sha256,
        /// The digest that was claimed.
        claimed: Sha256,
    },
}

/// The images among the files of a build.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadImages {
    /// The images.
    pub images: Vec<FoundImage>,
    /// The locations of indexes that name no image. Their maker probably intended something else.
    pub empty: Vec<String>,
}

/// Reads all images of a build; empty if it has none. Every byte of them is read.
pub async fn read_images(incoming: Incoming) -> Result<ReadImages, ReadError> {
    let read = tokio::task::spawn_blocking(move || read(&incoming)).await;
    read.unwrap_or_else(|error| {
        Err(ReadError::Io {
            path: IMAGE_DIRECTORY.to_owned(),
            source: io::Error::other(error),
        })
    })
}

/// Like [`read_images`], on this thread.
///
/// # Errors
/// The first image that cannot be read.
pub fn read(incoming: &Incoming) -> Result<ReadImages, ReadError> {
    let mut found = ReadImages::default();
    let layouts = layouts(incoming);
    for dir in &layouts {
        let tree = Tree::of_layout(incoming, dir);
        let read = layout::read(&tree, dir)?;
        found.images.extend(read.images);
        found.empty.extend(read.empty);
    }
    for (path, entry) in &incoming.entries {
        let inside = path.as_str().starts_with(&format!("{IMAGE_DIRECTORY}/"));
        let in_layout = layouts.iter().any(|dir| below(path, dir).is_some());
        let Entry::File { source, .. } = entry else {
            continue;
        };
        if inside && !in_layout && Utf8Path::new(path.as_str()).extension() == Some("tar") {
            let tree = archive::open(source, path)?;
            let read = if archive::is_layout(&tree) {
                layout::read(&tree, path)?
            } else {
                archive::read(&tree, path)?
            };
            found.images.extend(read.images);
            found.empty.extend(read.empty);
        }
    }
    Ok(found)
}

/// The longest list of image names that is read, in bytes.
const LONGEST_LIST: u64 = 4 << 20;

/// Reads the lists of image names that a build wrote, `outputs/docker-images/images-*.lst`.
///
/// # Errors
/// A list that cannot be read, is too long, or is not text.
pub fn read_lists(incoming: &Incoming) -> Result<BTreeMap<BuildPath, String>, ReadError> {
    let mut lists = BTreeMap::new();
    for (path, entry) in &incoming.entries {
        if !is_image_list(path) {
            continue;
        }
        let wrong = |reason: String| ReadError::Wrong {
            path: path.to_string(),
            reason,
        };
        let bytes = match entry {
            Entry::Generated(bytes) => bytes.to_vec(),
            Entry::File { source, .. } => {
                let mut bytes = Vec::new();
                let read = File::open(source)
                    .and_then(|file| file.take(LONGEST_LIST + 1).read_to_end(&mut bytes));
                read.map_err(|source| ReadError::Io {
                    path: path.to_string(),
                    source,
                })?;
                bytes
            }
            Entry::Symlink { .. } => return Err(wrong("a list of images is a file".to_owned())),
        };
        if bytes.len() as u64 > LONGEST_LIST {
            return Err(wrong(format!(
                "the list is longer than {LONGEST_LIST} bytes"
            )));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            wrong(format!(
                "not UTF-8 at byte {}",
                error.utf8_error().valid_up_to()
            ))
        })?;
        lists.insert(path.clone(), text);
    }
    Ok(lists)
}

/// The directories that are image layouts.
fn layouts(incoming: &Incoming) -> BTreeSet<BuildPath> {
    let marks = incoming
        .entries
        .keys()
        .filter(|path| path.file_name() == "oci-layout");
    let dirs = marks.filter_map(BuildPath::parent);
    dirs.filter(|dir| dir.as_str().starts_with(&format!("{IMAGE_DIRECTORY}/")))
        .collect()
}

/// The rest of a path behind `dir`; `None` if the path is not below it.
fn below<'a>(path: &'a BuildPath, dir: &BuildPath) -> Option<&'a str> {
    path.as_str().strip_prefix(dir.as_str())?.strip_prefix('/')
}

/// The bytes of a file, or of a range of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    source: BlobSource,
    size: u64,
}

impl Part {
    /// Opens a reader of exactly this part.
    fn open(&self) -> io::Result<Box<dyn io::Read>> {
        match &self.source {
            BlobSource::Bytes(bytes) => Ok(Box::new(io::Cursor::new(bytes.clone()))),
            BlobSource::File { path, offset } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(*offset))?;
                Ok(Box::new(file.take(self.size)))
            }
        }
    }
}

/// The files of a layout or an archive, by name.
struct Tree {
    /// The directory or archive that holds the files, for errors.
    at: String,
    parts: BTreeMap<String, Part>,
    /// The number of bytes of JSON that were read.
    read: Cell<u64>,
    /// The digests that were computed so far, by file and offset: several names may lead to the same bytes.
    hashed: RefCell<BTreeMap<(Utf8PathBuf, u64), Blob>>,
}

impl Tree {
    fn of_layout(incoming: &Incoming, dir: &BuildPath) -> Self {
        let links = incoming.links();
        let parts = incoming.entries.iter().filter_map(|(path, entry)| {
            let name = below(path, dir)?.to_owned();
            let entry = match links.get(path) {
                None => entry,
                Some(LinkEnd::File(end)) => incoming.entries.get(end)?,
                Some(LinkEnd::Directory | LinkEnd::Wrong(_)) => return None,
            };
            let source = match entry {
                Entry::File { source, .. } => BlobSource::File {
                    path: source.clone(),
                    offset: 0,
                },
                Entry::Generated(bytes) => BlobSource::Bytes(bytes.clone()),
                Entry::Symlink { .. } => return None,
            };
            let size = entry.size();
            Some((name, Part { source, size }))
        });
        Self::new(dir, parts.collect())
    }

    fn new(at: &BuildPath, parts: BTreeMap<String, Part>) -> Self {
        Self {
            at: at.to_string(),
            parts,
            read: Cell::new(0),
            hashed: RefCell::default(),
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.at)
    }

    fn wrong(&self, name: &str, reason: impl Into<String>) -> ReadError {
        ReadError::Wrong {
            path: self.path(name),
            reason: reason.into(),
        }
    }

    fn part(&self, name: &str) -> Result<&Part, ReadError> {
        let part = self.parts.get(name);
        part.ok_or_else(|| self.wrong(name, "is missing"))
    }

    /// The bytes of a small file.
    fn bytes(&self, name: &str) -> Result<Bytes, ReadError> {
        let part = self.part(name)?;
        if part.size > LARGEST_JSON {
            return Err(self.wrong(name, format!("is larger than {LARGEST_JSON} bytes")));
        }
        self.read.set(self.read.get() + part.size);
        if self.read.get() > MOST_JSON {
            let reason = format!(
                "is too much: {} has more than {MOST_JSON} bytes of indexes, manifests and configurations",
                self.at
            );
            return Err(self.wrong(name, reason));
        }
        let mut bytes = Vec::new();
        let read = part
            .open()
            .and_then(|mut part| part.read_to_end(&mut bytes));
        read.map_err(|source| ReadError::Io {
            path: self.path(name),
            source,
        })?;
        Ok(bytes.into())
    }

    /// The contents of a small file.
    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, ReadError> {
        let bytes = self.bytes(name)?;
        self.parsed(name, &bytes)
    }

    /// Parses the JSON of the file `name`.
    fn parsed<T: DeserializeOwned>(&self, name: &str, text: &[u8]) -> Result<T, ReadError> {
        serde_json::from_slice(text)
            .map_err(|error| self.wrong(name, format!("cannot be understood: {error}")))
    }

    /// A file as a blob, with the digest of its bytes, which are read once.
    fn blob(&self, name: &str) -> Result<Blob, ReadError> {
        let part = self.part(name)?;
        let place = match &part.source {
            BlobSource::File { path, offset } => Some((path.clone(), *offset)),
            BlobSource::Bytes(_) => None,
        };
        let known = place.as_ref();
        let known = known.and_then(|place| self.hashed.borrow().get(place).cloned());
        if let Some(blob) = known.filter(|blob| blob.size == part.size) {
            return Ok(blob);
        }
        let failed = |source| ReadError::Io {
            path: self.path(name),
            source,
        };
        let mut hasher = sha2::Sha256::new();
        let mut open = part.open().map_err(failed)?;
        let size = hash_rest(&mut open, &mut hasher).map_err(failed)?;
        if size != part.size {
            return Err(self.wrong(name, "changed while it was read"));
        }
        let blob = Blob {
            digest: Sha256(hasher.finalize().into()),
            size,
            source: part.source.clone(),
        };
        if let Some(place) = place {
            self.hashed.borrow_mut().insert(place, blob.clone());
        }
        Ok(blob)
    }

    /// A file as a blob that must have the claimed digest.
    fn claimed(&self, name: &str, claimed: Sha256) -> Result<Blob, ReadError> {
        let blob = self.blob(name)?;
        if blob.digest != claimed {
            return Err(ReadError::Digest {
                path: self.path(name),
                found: blob.digest,
                claimed,
            });
        }
        Ok(blob)
    }
}

/// `linux/amd64`, `linux/arm64/v8`; `None` if a name is missing or cannot be recorded.
fn platform(os: &str, architecture: &str, variant: Option<&str>) -> Option<String> {
    let is_word = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        (1..=LONGEST_PLATFORM).contains(&text.len()) && text.bytes().all(plain)
    };
    let variant = variant.filter(|variant| !variant.is_empty());
    let words = [os, architecture].into_iter().chain(variant);
    let words: Vec<_> = words.collect();
    words
        .iter()
        .all(|word| is_word(word))
        .then(|| words.join("/"))
}

/// The source of a file.
fn file(path: &Utf8PathBuf, offset: u64) -> BlobSource {
    BlobSource::File {
        path: path.clone(),
        offset,
    }
}

/// Removes duplicate blobs.
fn once(blobs: impl IntoIterator<Item = Blob>) -> Vec<Blob> {
    let blobs: BTreeMap<_, _> = blobs.into_iter().map(|blob| (blob.digest, blob)).collect();
    blobs.into_values().collect()
}

/// An image with one manifest.
fn single(
    manifest: crate::registry::Manifest,
    blobs: Vec<Blob>,
    platform: Option<String>,
) -> Image {
    Image {
        manifest,
        parts: Vec::new(),
        blobs: once(blobs),
        platform,
    }
}
