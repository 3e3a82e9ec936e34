//! Adds the bill of materials to what is to be published.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use camino::Utf8Path;
use stx_layout::{BuildId, BuildPath, Sha256};

use super::iso::{Image, read};
use super::{SUFFIX, bill, is_image};
use crate::incoming::{Entry, Incoming};
use crate::store::local::copy::hash_file;

/// An image of which no bill of materials could be made.
#[derive(Debug, thiserror::Error)]
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
        /// What is wrong with it.
        reason: String,
    },
    /// What was written does not conform to the specification: a bug.
    #[error("{path}: the bill of materials is not valid: {reason}")]
    Invalid {
        /// The image.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Adds a bill of materials for each ISO image in `outputs/` that has none yet; returns the images that could not be
/// described, and why. `version` is that of the program that calls. Reads the images, and packages whose names and sizes
/// are those of packages in an image.
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
        let Ok(name) = format!("{path}{SUFFIX}").parse::<BuildPath>() else {
            continue;
        };
        if !is_image(path) || incoming.entries.contains_key(&name) {
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

/// Where the packages of an image are published, by their digests. Only what may be one of them is read.
fn published(
    incoming: &Incoming,
    image: &Image,
) -> Result<BTreeMap<Sha256, Vec<BuildPath>>, SbomError> {
    let wanted: BTreeSet<_> = image
        .files
        .iter()
        .filter(|file| file.package.is_some())
        .map(|file| (file.name(), file.size))
        .collect();
    let mut published: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (path, entry) in &incoming.entries {
        let Entry::File {
            source,
            size,
            digest,
            ..
        } = entry
        else {
            continue;
        };
        if !wanted.contains(&(path.file_name(), *size)) {
            continue;
        }
        let digest = match digest {
            Some(digest) => *digest,
            None => {
                hash_file(source)
                    .map_err(|error| SbomError::Io {
                        path: source.to_string(),
                        source: error,
                    })?
                    .0
            }
        };
        published.entry(digest).or_default().push(path.clone());
    }
    Ok(published)
}
