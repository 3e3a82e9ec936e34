//! Looks at what really lies in a build.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use camino::Utf8Path;
use fs_err as fs;
use rayon::prelude::*;
use stx_layout::{BuildId, BuildPath, Sums};
use walkdir::WalkDir;

use super::Inner;
use super::copy::hash_file;
use crate::store::{Depth, Found, Inspection, StoreError};
use crate::tiers::Thinned;
use crate::verify::chain;

impl Inner {
    pub(super) fn inspect(&self, id: &BuildId, depth: Depth) -> Result<Inspection, StoreError> {
        let dir = self.build_dir(id);
        if !fs::symlink_metadata(&dir).is_ok_and(|found| found.is_dir()) {
            return Err(StoreError::NotFound {
                what: id.to_string(),
            });
        }
        let mut inspection = Inspection::default();
        for entry in WalkDir::new(&dir).min_depth(1) {
            let looked = entry.map_err(|error| {
                (
                    error
                        .path()
                        .map(|path| path.display().to_string())
                        .unwrap_or_default(),
                    error.to_string(),
                )
            });
            match looked.and_then(|entry| look(&dir, &entry)) {
                Ok(Some((path, found))) => drop(inspection.found.insert(path, found)),
                Ok(None) => {}
                Err(unreadable) => inspection.unreadable.push(unreadable),
            }
        }
        match self.thinned(id) {
            Ok(thinned) => inspection.thinned = thinned,
            Err(error) => inspection
                .unreadable
                .push((Thinned::FILE_NAME.to_owned(), chain(&error))),
        }
        match depth {
            Depth::Listing => {}
            Depth::Digests => hash_all(&dir, &mut inspection),
        }
        if fs::symlink_metadata(&dir).is_err() {
            return Err(StoreError::NotFound {
                what: id.to_string(),
            });
        }
        Ok(inspection)
    }
}

/// Hashes every file, several side by side.
fn hash_all(dir: &Utf8Path, inspection: &mut Inspection) {
    let hash = |(path, found): (&BuildPath, &mut Found)| match found {
        Found::File { digest, .. } => {
            let hashed = hash_file(&dir.join(path.as_path()));
            *digest = Some(
                hashed
                    .map(|(digest, _)| digest)
                    .map_err(|error| error.to_string()),
            );
        }
        Found::Symlink { .. } | Found::Directory { .. } | Found::Other { .. } => {}
    };
    inspection.found.par_iter_mut().for_each(hash);
}

/// One directory entry; or where it is, and why it cannot be understood.
fn look(
    dir: &Utf8Path,
    entry: &walkdir::DirEntry,
) -> Result<Option<(BuildPath, Found)>, (String, String)> {
    let relative = entry.path().strip_prefix(dir).unwrap_or(entry.path());
    let shown = relative.to_string_lossy().into_owned();
    if shown == Sums::FILE_NAME || shown == Thinned::FILE_NAME {
        return Ok(None);
    }
    let text = relative
        .to_str()
        .ok_or_else(|| (shown.clone(), "the name is not UTF-8".to_owned()))?;
    let path = text
        .parse::<BuildPath>()
        .map_err(|error| (shown.clone(), error.to_string()))?;
    let metadata = entry
        .metadata()
        .map_err(|error| (shown.clone(), error.to_string()))?;
    let (kind, mode) = (metadata.file_type(), metadata.mode() & 0o7777);
    let found = if kind.is_dir() {
        if mode == 0o755 {
            return Ok(None);
        }
        Found::Directory { mode }
    } else if kind.is_symlink() {
        let target =
            fs::read_link(entry.path()).map_err(|error| (shown.clone(), error.to_string()))?;
        Found::Symlink {
            target: target.to_string_lossy().into_owned(),
        }
    } else if kind.is_file() {
        Found::File {
            size: metadata.size(),
            mode: Some(mode),
            digest: None,
        }
    } else {
        Found::Other {
            what: name_of(kind).to_owned(),
        }
    };
    Ok(Some((path, found)))
}

/// What a directory entry is that is neither file, directory nor symlink.
pub(crate) fn name_of(kind: std::fs::FileType) -> &'static str {
    if kind.is_fifo() {
        "FIFO"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_block_device() {
        "block device"
    } else if kind.is_char_device() {
        "character device"
    } else {
        "special file"
    }
}
