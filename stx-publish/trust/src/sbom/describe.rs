//! Adds the bill of materials to what is to be published.

use std::collections::BTreeMap;
use std::io::BufReader;

use bytes::Bytes;
use camino::Utf8Path;
use stx_layout::derived::{BILL_SUFFIX, has_bill};
use stx_layout::{BuildId, BuildPath, ParseError};

use super::bill;
use super::bill::Published;
use super::iso::{Image, package, read};
use stx_publish::incoming::{Entry, Incoming};
use stx_publish::ingest::hash_file;

/// An image of which no bill of materials could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SbomError {
    /// The image, or a package that is published beside it, cannot be read.
    #[error("{path}: cannot be read")]
    Io {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It is no ISO 9660 file system, or a damaged one.
    #[error("{path}: no ISO 9660 image that can be read: {reason}")]
    NoImage {
        /// The file.
        path: String,
        /// The problem with it.
        reason: String,
    },
    /// The name of its bill of materials would be none.
    #[error("its name leaves no room for that of its bill of materials")]
    Unnamed {
        /// The problem with that name.
        source: ParseError,
    },
    /// What was written does not conform to the specification: a bug.
    #[error("{path}: the bill of materials is not valid: {reason}")]
    Invalid {
        /// The image.
        path: String,
        /// The problem with it.
        reason: String,
    },
}

/// Adds a bill of materials for each ISO image in `outputs/` that has none yet; returns the images that could not be
/// described, and why. `version` is that of the program that calls. Reads the images, and what has the name of a
/// package in an image.
///
/// Symlinks are passed over: what they lead to has a bill of its own.
pub fn describe(
    incoming: &mut Incoming,
    id: &BuildId,
    version: &str,
) -> Vec<(BuildPath, SbomError)> {
    let mut bills = Vec::new();
    let mut failed = Vec::new();
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
                failed.push((path.clone(), SbomError::Unnamed { source: error }));
                continue;
            }
        };
        if incoming.entries.contains_key(&name) {
            continue;
        }
        match describe_one(incoming, id, path, source, version) {
            Ok(text) => bills.push((name, Entry::Generated(text))),
            Err(error) => failed.push((path.clone(), error)),
        }
    }
    incoming.entries.extend(bills);
    failed
}

fn describe_one(
    incoming: &Incoming,
    id: &BuildId,
    path: &BuildPath,
    source: &Utf8Path,
    version: &str,
) -> Result<Bytes, SbomError> {
    let image = read(source)?;
    let published = published(incoming, &image)?;
    bill::write(id, path, &image, &published, version).map_err(|reason| SbomError::Invalid {
        path: path.to_string(),
        reason,
    })
}

/// Where the packages of an image are published, by their digests in the image, with the digests of what is published: the
/// same bytes, or the same package with another signature. Only what has the name of a package of the image is read.
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
