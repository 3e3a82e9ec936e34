//! Adds bills of materials to the files to be published.

use std::collections::BTreeMap;
use std::io::BufReader;

use bytes::Bytes;
use camino::Utf8Path;
use stx_layout::derived::{BILL_SUFFIX, has_bill, image_of_bill};
use stx_layout::{BuildId, BuildPath, ParseError};

use super::bill;
use super::bill::{Declared, Published};
use super::debian;
use super::iso::{File, Image, package, read};
use super::reader::{Bill, LONGEST};
use stx_publish::incoming::{Entry, Incoming, LinkEnd, digest_of};
use stx_publish::ingest::hash_file;

/// An image for which no bill of materials could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SbomError {
    /// The image, or a package that is published beside it, cannot be read.
    #[error("{path}: cannot be read")]
    Io {
        /// The file.
        path: String,
        /// The error that caused it.
        source: std::io::Error,
    },
    /// It is not an ISO 9660 file system, or it is damaged.
    #[error("{path}: not a readable ISO 9660 image: {reason}")]
    NoImage {
        /// The file.
        path: String,
        /// The error of reading it.
        reason: String,
    },
    /// Its bill of materials would have an invalid name.
    #[error("its name is too long for the name of its bill of materials")]
    Unnamed {
        /// The error in that name.
        source: ParseError,
    },
}

/// The examined images that need a message.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Described {
    /// The bills in the tree that this program made for another publication, and made again.
    pub renewed: Vec<BuildPath>,
    /// The images that could not be described, with the reason.
    pub failed: Vec<(BuildPath, SbomError)>,
    /// The images that list no packages, neither as files nor in lists; their bills name the Debian packages of the build.
    pub assumed: Vec<BuildPath>,
}

/// Adds a bill of materials for each ISO image in `outputs/` that has none yet, or one that this program made. The latter is in a tree
/// that was published before; it names that build, and packages as they were before they were signed. `version` is that of the
/// calling program. Reads the images, and the files that have the name of a package in an image.
///
/// Symlinks are skipped: their targets have bills of their own.
pub fn describe(incoming: &mut Incoming, id: &BuildId, version: &str) -> Described {
    let mut bills = Vec::new();
    let mut described = Described::default();
    for (path, entry) in &incoming.entries {
        let Entry::File { source, .. } = entry else {
            continue;
        };
        if !has_bill(path) {
            continue;
        }
        let name = match format!("{path}{BILL_SUFFIX}").parse::<BuildPath>() {
            Ok(name) => name,
            Err(error) => {
                let error = SbomError::Unnamed { source: error };
                described.failed.push((path.clone(), error));
                continue;
            }
        };
        let old = incoming.entries.get(&name);
        if old.is_some_and(|old| !is_own(old)) {
            continue;
        }
        match describe_one(incoming, id, path, source, version) {
            Ok((text, is_assumed)) => {
                if old.is_some() {
                    described.renewed.push(name.clone());
                }
                bills.push((name, Entry::Generated(text)));
                if is_assumed {
                    described.assumed.push(path.clone());
                }
            }
            Err(error) => described.failed.push((path.clone(), error)),
        }
    }
    incoming.entries.extend(bills);
    described
}

/// The bills of materials in the files to publish that do not match these, each with the differences: `verify` would report them on
/// the mirror for good. Reads the files that they name.
pub fn mismatched(incoming: &Incoming) -> Vec<(BuildPath, Vec<String>)> {
    let links = incoming.links();
    let mut known = BTreeMap::new();
    let mut digest = |path: &BuildPath| {
        let path = match links.get(path) {
            Some(LinkEnd::File(target)) => target,
            Some(LinkEnd::Directory | LinkEnd::Wrong(_)) | None => path,
        };
        if let Some(digest) = known.get(path) {
            return Some(*digest);
        }
        let digest = match incoming.entries.get(path)? {
            Entry::File { digest, source, .. } => {
                // A file that cannot be read is refused by its own error.
                digest.or_else(|| Some(hash_file(source).ok()?.0))
            }
            Entry::Generated(text) => Some(digest_of(text)),
            Entry::Symlink { .. } => None,
        }?;
        known.insert(path.clone(), digest);
        Some(digest)
    };
    let mut mismatched = Vec::new();
    for (path, entry) in &incoming.entries {
        let (Some(image), Some(text)) = (image_of_bill(path), text_of(entry)) else {
            continue;
        };
        let differences = match serde_json::from_slice::<Bill>(&text) {
            Ok(bill) => bill.differences(&image, &mut digest),
            Err(error) => vec![format!("it is not a bill of materials: {error}")],
        };
        if !differences.is_empty() {
            mismatched.push((path.clone(), differences));
        }
    }
    mismatched
}

/// The text of a bill that the tree has; `None` for one that was just made, and for one that cannot be read.
fn text_of(entry: &Entry) -> Option<Vec<u8>> {
    match entry {
        Entry::File { source, size, .. } if *size <= LONGEST => fs_err::read(source).ok(),
        Entry::File { .. } | Entry::Generated(_) | Entry::Symlink { .. } => None,
    }
}

/// True for a bill that this program made.
fn is_own(entry: &Entry) -> bool {
    let bill = text_of(entry).and_then(|text| serde_json::from_slice::<Bill>(&text).ok());
    bill.is_some_and(|bill| bill.is_made_by(bill::TOOL))
}

/// The bill of an image, and true if its packages are those of the build.
fn describe_one(
    incoming: &Incoming,
    id: &BuildId,
    path: &BuildPath,
    source: &Utf8Path,
    version: &str,
) -> Result<(Bytes, bool), SbomError> {
    let image = read(source)?;
    let published = published(incoming, &image)?;
    let tells = |file: &File| file.package.is_some() || !file.listed.is_empty();
    let declared = if image.files.iter().any(tells) {
        Vec::new()
    } else {
        declared(incoming)?
    };
    let text = bill::write(id, path, &image, &published, &declared, version);
    Ok((text, !declared.is_empty()))
}

/// The Debian packages of the build: those that it made, `outputs/TYPE/packages`, and those that it used, `inputs/packages`.
fn declared(incoming: &Incoming) -> Result<Vec<Declared>, SbomError> {
    let mut declared = Vec::new();
    for (path, entry) in &incoming.entries {
        let Entry::File { source, digest, .. } = entry else {
            continue;
        };
        let segments: Vec<_> = path.segments().collect();
        let is_place = matches!(
            segments[..],
            ["outputs", _, "packages", _, ..] | ["inputs", "packages", _, ..]
        );
        if !is_place || !matches!(path.as_path().extension(), Some("deb" | "udeb")) {
            continue;
        }
        let fail = |error| SbomError::Io {
            path: source.to_string(),
            source: error,
        };
        let file = fs_err::File::open(source).map_err(fail)?;
        let Some(package) = debian::package(BufReader::new(file)).map_err(fail)? else {
            continue;
        };
        let digest = match digest {
            Some(digest) => *digest,
            None => hash_file(source).map_err(fail)?.0,
        };
        declared.push(Declared {
            path: path.clone(),
            digest,
            package,
        });
    }
    Ok(declared)
}

/// The published paths of an image's packages, by their digests in the image, with the published digests: of the same bytes, or
/// of the same package with another signature. Only files that have the name of a package of the image are read.
fn published(incoming: &Incoming, image: &Image) -> Result<Published, SbomError> {
    let mut wanted: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for file in &image.files {
        if let Some(package) = &file.package {
            let named = wanted.entry(file.name()).or_default();
            named.push((file.digest, package.header.as_deref()));
        }
    }
    let mut published = Published::new();
    for (path, entry) in &incoming.entries {
        let (Entry::File { source, digest, .. }, Some(named)) =
            (entry, wanted.get(path.file_name()))
        else {
            continue;
        };
        let fail = |error| SbomError::Io {
            path: source.to_string(),
            source: error,
        };
        let digest = match digest {
            Some(digest) => *digest,
            None => hash_file(source).map_err(fail)?.0,
        };
        let mut same: Vec<_> = named.iter().filter(|(own, _)| *own == digest).collect();
        if same.is_empty() {
            let file = fs_err::File::open(source).map_err(fail)?;
            let package = package(&mut BufReader::new(file)).map_err(fail)?;
            let header = package.and_then(|package| package.header);
            same.extend(
                named
                    .iter()
                    .filter(|(_, own)| own.is_some() && *own == header.as_deref()),
            );
        }
        for (own, _) in same {
            let places = published.entry(*own).or_default();
            places.push((path.clone(), digest));
        }
    }
    Ok(published)
}
