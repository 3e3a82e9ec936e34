//! Reads a finished tree, `DIR/inputs` and `DIR/outputs`, and refuses files that must not be published.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use rayon::prelude::*;
use rustix::fs::Access;
use stx_layout::BuildPath;

use crate::incoming::{Entry, Incoming, Problem, ProblemKind};
use crate::ingest::{Source, name_of};

mod survey;
#[cfg(test)]
mod tests;

use survey::Surveyor;

/// A tree that cannot be published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// The directory does not exist.
    #[error("{dir}: there is no such directory")]
    Missing {
        /// The directory.
        dir: Utf8PathBuf,
    },
    /// The path is a file.
    #[error("{dir}: is not a directory")]
    NotADirectory {
        /// The path.
        dir: Utf8PathBuf,
    },
    /// The directory cannot be read.
    #[error("{dir}: cannot be read")]
    Unreadable {
        /// The directory.
        dir: Utf8PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The directory contains neither `inputs` nor `outputs`.
    #[error("{dir}: holds neither inputs/ nor outputs/")]
    Empty {
        /// The directory.
        dir: Utf8PathBuf,
    },
    /// Some of it must not be published.
    #[error("{dir}: {}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Refused {
        /// The directory.
        dir: Utf8PathBuf,
        /// All problems, by path.
        problems: Vec<Problem>,
    },
    /// Reading the files did not finish.
    #[error("the files cannot be read")]
    Unfinished {
        /// The error that caused it.
        source: io::Error,
    },
}

/// The contents of a tree, and the problems that prevent its publication.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// The files and symlinks without a problem.
    pub incoming: Incoming,
    /// Everything else, by path.
    pub problems: Vec<Problem>,
}

/// Reads the tree in `dir`. No file's bytes are read. Empty directories are left out.
///
/// # Errors
/// [`ScanError::Refused`] names all problems, not just the first.
pub fn scan(dir: &Utf8Path) -> Result<Incoming, ScanError> {
    let Survey { incoming, problems } = survey(dir, &[])?;
    if problems.is_empty() {
        return Ok(incoming);
    }
    Err(ScanError::Refused {
        dir: dir.to_owned(),
        problems,
    })
}

/// Reads the tree in `dir` like [`scan`], but continues after a problem.
///
/// Symlinks that stay in the tree are kept. A symlink that leads out of it to a place below one of `roots` is replaced by its
/// final target: a file, or a directory with everything in it.
///
/// # Errors
/// If there is nothing to publish: all except [`ScanError::Refused`].
pub fn survey(dir: &Utf8Path, roots: &[Utf8PathBuf]) -> Result<Survey, ScanError> {
    let unreadable = |source| ScanError::Unreadable {
        dir: dir.to_owned(),
        source,
    };
    match fs::metadata(dir) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            return Err(ScanError::NotADirectory {
                dir: dir.to_owned(),
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ScanError::Missing {
                dir: dir.to_owned(),
            });
        }
        Err(error) => return Err(unreadable(error)),
    }
    let mut surveyor = Surveyor::default();
    for top in ["inputs", "outputs"] {
        match fs::symlink_metadata(dir.join(top)) {
            Ok(_) => surveyor.walk(&dir.join(top), top),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    if surveyor.is_empty() {
        return Err(ScanError::Empty {
            dir: dir.to_owned(),
        });
    }
    let roots: Vec<_> = roots.iter().filter_map(|root| real(root)).collect();
    if !roots.is_empty() {
        surveyor.follow(&roots);
    }
    Ok(surveyor.end())
}

/// The real path of a file or directory, if it exists.
fn real(path: &Utf8Path) -> Option<Utf8PathBuf> {
    let real = fs::canonicalize(path).ok()?;
    Utf8PathBuf::from_path_buf(real).ok()
}

/// The entry at `source`; for a symlink, the link itself and not its target.
fn examine(source: &Utf8Path) -> Result<Entry, ProblemKind> {
    let unreadable = |error: &dyn std::error::Error| ProblemKind::Unreadable {
        reason: error.to_string(),
    };
    let metadata = fs::symlink_metadata(source).map_err(|error| unreadable(&error))?;
    let (kind, mode) = (metadata.file_type(), metadata.mode() & 0o7777);
    if kind.is_symlink() {
        let target = fs::read_link(source).map_err(|error| unreadable(&error))?;
        let target = target
            .into_os_string()
            .into_string()
            .map_err(|_| ProblemKind::Name {
                reason: "the symlink's text is not UTF-8".to_owned(),
            })?;
        return Ok(Entry::Symlink { target });
    }
    if !kind.is_file() {
        return Err(ProblemKind::NotAFile {
            what: name_of(kind).to_owned(),
        });
    }
    if mode & 0o6000 != 0 {
        return Err(ProblemKind::SetId { mode });
    }
    rustix::fs::access(source.as_str(), Access::READ_OK).map_err(|error| unreadable(&error))?;
    Ok(Entry::File {
        source: source.to_owned(),
        size: metadata.size(),
        executable: mode & 0o100 != 0,
        digest: None,
    })
}

/// Files at any place, each with its path in the build. No file's bytes are read.
///
/// # Errors
/// All problems, by path, not just the first.
pub fn gather(
    files: impl IntoIterator<Item = (BuildPath, Utf8PathBuf)>,
) -> Result<Incoming, GatherError> {
    let (incoming, problems) = gather_with_problems(files);
    if problems.is_empty() {
        Ok(incoming)
    } else {
        Err(GatherError { problems })
    }
}

/// Like [`gather`], for a build that is still making files: symlinks whose target does not exist yet are left out.
///
/// # Errors
/// Those of [`gather`].
pub(crate) fn gather_so_far(
    files: impl IntoIterator<Item = (BuildPath, Utf8PathBuf)>,
) -> Result<Incoming, GatherError> {
    let (mut incoming, mut problems) = gather_with_problems(files);
    problems.retain(|problem| {
        let dangling = matches!(problem.kind, ProblemKind::DanglingLink { .. });
        if dangling {
            let path = |path: &BuildPath| path.as_str() == problem.path;
            incoming.entries.retain(|entry, _| !path(entry));
        }
        !dangling
    });
    if problems.is_empty() {
        Ok(incoming)
    } else {
        Err(GatherError { problems })
    }
}

/// The files that can be published, and the problems of the others.
fn gather_with_problems(
    files: impl IntoIterator<Item = (BuildPath, Utf8PathBuf)>,
) -> (Incoming, Vec<Problem>) {
    let mut incoming = Incoming::default();
    let mut problems = Vec::new();
    for (path, source) in files {
        match examine(&source) {
            Ok(entry) => drop(incoming.entries.insert(path, entry)),
            Err(kind) => problems.push(Problem {
                path: source.into_string(),
                kind,
            }),
        }
    }
    problems.extend(incoming.problems());
    (incoming, problems)
}

/// Files that cannot be published.
#[derive(Debug, thiserror::Error)]
#[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
#[non_exhaustive]
pub struct GatherError {
    /// All problems.
    pub problems: Vec<Problem>,
}

/// Hashes every file whose digest is not known yet, several in parallel.
///
/// # Errors
/// [`ScanError::Refused`] for files that cannot be read or that change in the meantime.
pub async fn hash(incoming: Incoming) -> Result<Incoming, ScanError> {
    let hashed = tokio::task::spawn_blocking(move || hash_blocking(incoming)).await;
    hashed.map_err(|error| ScanError::Unfinished {
        source: crate::task::unfinished(error),
    })?
}

fn hash_blocking(mut incoming: Incoming) -> Result<Incoming, ScanError> {
    let problems: BTreeMap<_, _> = incoming
        .entries
        .par_iter_mut()
        .filter_map(|(path, entry)| match entry {
            Entry::File {
                source,
                size,
                digest,
                ..
            } if digest.is_none() => {
                let hashed = hash_one(source, *size);
                hashed
                    .map(|found| *digest = Some(found))
                    .err()
                    .map(|kind| (path.clone(), kind))
            }
            Entry::File { .. } | Entry::Symlink { .. } | Entry::Generated(_) => None,
        })
        .collect();
    if problems.is_empty() {
        return Ok(incoming);
    }
    let problems = problems.into_iter().map(|(path, kind)| Problem {
        path: path.to_string(),
        kind,
    });
    Err(ScanError::Refused {
        dir: Utf8PathBuf::from("."),
        problems: problems.collect(),
    })
}

fn hash_one(path: &Utf8Path, size: u64) -> Result<stx_layout::Sha256, ProblemKind> {
    let unreadable = |error: io::Error| ProblemKind::Unreadable {
        reason: error.to_string(),
    };
    let mut source = Source::open(path).map_err(unreadable)?;
    let (digest, count) = source.hash(None).map_err(unreadable)?;
    if source.stamp.size != size || count != size || !source.is_unchanged().map_err(unreadable)? {
        return Err(ProblemKind::Changed);
    }
    Ok(digest)
}
