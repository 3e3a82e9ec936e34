//! Reads the real contents of a build.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;

use camino::Utf8Path;
use fs_err as fs;
use rayon::prelude::*;
use stx_layout::{BuildId, BuildPath, Sha256, printable_bytes};
use walkdir::WalkDir;

use super::Inner;
use crate::error::chain;
use crate::ingest::{Source, Stamp, name_of};
use crate::seal::is_beyond_sums;
use crate::store::{Audit, Found, Inspection, StoreError};
use crate::thinning::Thinned;

impl Inner {
    /// The contents of a build, with the digests of its files if `depth` requires them. A file that was read earlier in the same
    /// `run` is not read again.
    pub(super) fn inspect(
        &self,
        id: &BuildId,
        run: Option<&Audit>,
    ) -> Result<Inspection, StoreError> {
        let dir = self.build_dir(id);
        if !fs::symlink_metadata(&dir).is_ok_and(|found| found.is_dir()) {
            return Err(StoreError::NotFound {
                what: id.to_string(),
            });
        }
        let mut inspection = Inspection::default();
        let mut files: HashMap<Stamp, Vec<BuildPath>> = HashMap::new();
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
            match looked.and_then(|entry| read_entry(&dir, &entry)) {
                Ok(Some((path, found, stamp))) => {
                    if let Some(stamp) = stamp {
                        files.entry(stamp).or_default().push(path.clone());
                    }
                    inspection.found.insert(path, found);
                }
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
        if let Some(run) = run {
            hash_all(&dir, files, run, &mut inspection);
        }
        if fs::symlink_metadata(&dir).is_err() {
            return Err(StoreError::NotFound {
                what: id.to_string(),
            });
        }
        Ok(inspection)
    }
}

/// Hashes every file once, several in parallel and the largest first, so that no thread is left alone with a large one.
fn hash_all(
    dir: &Utf8Path,
    files: HashMap<Stamp, Vec<BuildPath>>,
    run: &Audit,
    inspection: &mut Inspection,
) {
    let mut files: Vec<_> = files.into_iter().collect();
    files.sort_unstable_by_key(|(stamp, _)| Reverse(stamp.size));
    let hashed: Vec<_> = files
        .into_iter()
        .par_bridge()
        .flat_map_iter(|(stamp, paths)| {
            let hash = |path: &BuildPath| hash(&dir.join(path.as_path()), &stamp, run);
            let hashed: Vec<_> = paths.iter().map(hash).collect();
            paths.into_iter().zip(hashed)
        })
        .collect();
    for (path, hashed) in hashed {
        if let Some(Found::File { digest, .. }) = inspection.found.get_mut(&path) {
            *digest = Some(hashed.map_err(|error| error.to_string()));
        }
    }
}

/// The digest of the file at `path`, which is read unless this run has already read it.
fn hash(path: &Utf8Path, stamp: &Stamp, run: &Audit) -> io::Result<Sha256> {
    if let Some(digest) = run.digest(&stamp.file()) {
        return Ok(digest);
    }
    let mut source = Source::open(path)?;
    let (digest, _) = source.hash(None)?;
    if source.is_unchanged()? {
        run.note(source.stamp.file(), digest);
    }
    Ok(digest)
}

/// A path, the entry found there, and the stamp of a file.
type EntryFound = (BuildPath, Found, Option<Stamp>);

/// One directory entry, with the stamp of a file; or its path, and the reason why it cannot be parsed.
fn read_entry(
    dir: &Utf8Path,
    entry: &walkdir::DirEntry,
) -> Result<Option<EntryFound>, (String, String)> {
    let relative = entry.path().strip_prefix(dir).unwrap_or(entry.path());
    let shown = printable_bytes(relative.as_os_str().as_bytes()).into_owned();
    let text = relative
        .to_str()
        .ok_or_else(|| (shown.clone(), "the name is not UTF-8".to_owned()))?;
    if is_beyond_sums(text) || text == Thinned::FILE_NAME {
        return Ok(None);
    }
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
        let target = target.into_os_string().into_string().map_err(|_| {
            let why = "the target of the symlink is not UTF-8".to_owned();
            (shown.clone(), why)
        })?;
        Found::Symlink { target }
    } else if kind.is_file() {
        Found::File {
            size: metadata.size(),
            mode: Some(mode),
            modified: metadata.modified().ok().map(Into::into),
            digest: None,
        }
    } else {
        Found::Other {
            what: name_of(kind).to_owned(),
        }
    };
    let stamp = Stamp::from_metadata(&metadata).ok();
    Ok(Some((path, found, stamp)))
}
