//! Fetches files of a build: each one complete and verified, or not at all.
//!
//! If a file has a zsync control file and an older version exists locally, only the missing parts are transferred (module
//! `delta`).
//!
//! The build is fixed first: [`resolve`] resolves an alias once, and all files come from that one dated build. [`select`] picks
//! files from its sums; [`fetch`] downloads them and checks every byte against those sums.
//!
//! A file is written as `NAME.DIGEST.RANDOM.part`, and is renamed once its digest is right. A later fetch resumes the file that a
//! killed fetch left; its name contains the digest, so it is never mixed with a file of another build. Other users may write to
//! the directory too: their files are neither followed nor trusted (module `part`). Nothing is synced: the next fetch checks the
//! existing files, and fetches again those that a power failure damaged.

use std::fmt;
use std::io;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use futures_util::StreamExt as _;
use futures_util::stream;
use serde::Serialize;
use stx_layout::{AliasEntry, AliasName, BuildId, BuildPath, Channel, Sha256, counted};

use crate::error::ErrorKind;
use crate::store::{MirrorRead, StoreError};

mod delta;
mod file;
mod part;
mod seed;
mod select;
#[cfg(test)]
mod tests;

pub use part::Unfinished;
pub use select::{SelectError, Wanted, What, WhatError, select};

/// Options of [`fetch`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchOptions {
    /// The number of files that are fetched in parallel.
    pub parallel: usize,
    /// True if a file that has a control file is assembled from older ones.
    pub delta: bool,
    /// Older files that may contain parts of the new ones, besides those in the target directory.
    pub seeds: Vec<Utf8PathBuf>,
    /// The number of ranges of one file that are fetched in parallel.
    pub ranges: usize,
    /// The number of attempts in a row without progress after which a file is given up.
    pub attempts: u32,
    /// The wait before the transfer of a file is resumed.
    pub wait: std::time::Duration,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            parallel: 4,
            delta: true,
            seeds: Vec::new(),
            ranges: 4,
            attempts: 5,
            wait: std::time::Duration::from_secs(1),
        }
    }
}

/// An event during a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchEvent<'a> {
    /// The transfer of a file begins.
    Begun {
        /// The file.
        path: &'a BuildPath,
        /// Its size in bytes.
        size: u64,
        /// The bytes that are already present.
        from: u64,
    },
    /// Bytes arrived, or were found in an older file.
    Bytes(u64),
    /// A file is assembled from older ones, or cannot be.
    Note {
        /// A line for people, which names the file.
        text: &'a str,
    },
    /// A file was fetched, or failed.
    Ended {
        /// The file.
        path: &'a BuildPath,
    },
}

/// A file that was fetched, or was already present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fetched {
    /// Its path in the build.
    pub path: BuildPath,
    /// Its local path.
    pub to: Utf8PathBuf,
    /// Its digest.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub bytes: u64,
    /// The bytes that were transferred for it: zero if it was already present, fewer than its size if it was resumed.
    pub transferred: u64,
    /// The bytes that were copied from older files.
    pub reused: u64,
}

/// The files that were fetched, and those that failed.
#[derive(Debug, Default)]
pub struct FetchReport {
    /// The fetched files, in the order of the request.
    pub fetched: Vec<Fetched>,
    /// The errors of the files that failed.
    pub failed: Vec<FetchError>,
}

impl FetchReport {
    /// The sum of all transferred bytes.
    pub fn transferred(&self) -> u64 {
        self.fetched.iter().map(|file| file.transferred).sum()
    }
}

impl fmt::Display for FetchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.fetched {
            writeln!(f, "{}", file.to)?;
        }
        Ok(())
    }
}

/// The reason why a file was not fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// All of its bytes arrived, but their digest differs from the sums.
    #[error("{path}: corrupt on the mirror: its SHA-256 is {found}, SHA256SUMS says {expected}")]
    Corrupt {
        /// The file.
        path: BuildPath,
        /// The digest in `SHA256SUMS`.
        expected: Sha256,
        /// The digest of the bytes that arrived.
        found: Sha256,
    },
    /// The transfer was interrupted repeatedly at the same byte.
    #[error("{path}: truncated: {got} of {} arrived", counted(*size, "byte"))]
    Truncated {
        /// The file.
        path: BuildPath,
        /// The bytes that are present.
        got: u64,
        /// The size of the file.
        size: u64,
        /// The reason for the interruption; none if the server only stopped sending.
        source: Option<StoreError>,
    },
    /// The mirror does not have the file, or no longer has it.
    #[error("{path}: not on the mirror")]
    Gone {
        /// The file.
        path: BuildPath,
        /// The error of the store, which names the place.
        source: StoreError,
    },
    /// The mirror could not be read.
    #[error("{path}: cannot be read from the mirror")]
    Store {
        /// The file.
        path: BuildPath,
        /// The error that caused it.
        source: StoreError,
    },
    /// The file could not be written.
    #[error("{op} {path}")]
    Local {
        /// The operation that failed, a verb: `write`.
        op: &'static str,
        /// The local file.
        path: Utf8PathBuf,
        /// The reason for the failure.
        source: io::Error,
    },
    /// Another fetch is writing the file.
    #[error("{path}: another fetch is writing it")]
    Busy {
        /// The unfinished file.
        path: Utf8PathBuf,
    },
}

impl FetchError {
    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Gone { .. } => ErrorKind::NotFound,
            Self::Corrupt { .. } | Self::Truncated { .. } | Self::Store { .. } => ErrorKind::Mirror,
            Self::Local { .. } => ErrorKind::Usage,
            Self::Busy { .. } => ErrorKind::Busy,
        }
    }
}

/// The build that a name in a channel refers to: its own date, or an alias. Aliases are resolved only here.
///
/// [`StoreError::NotFound`] if it does not exist; [`StoreError::Damaged`] for an alias that does not point to a build.
pub async fn resolve(
    store: &dyn MirrorRead,
    channel: &Channel,
    name: &AliasName,
) -> Result<BuildId, StoreError> {
    match store.alias(channel, name).await? {
        Some(AliasEntry::Build(date)) => Ok(BuildId::new(channel.clone(), date)),
        Some(AliasEntry::Other(text)) => Err(StoreError::Damaged {
            what: format!("{channel}/{name}"),
            source: format!("it points at {text:?}, not at a build beside it").into(),
        }),
        None => Err(StoreError::NotFound {
            what: format!("{channel}/{name}"),
        }),
    }
}

/// Fetches files of a build into the directory `to`.
///
/// Every file is tried; those that are already right are not fetched again. Files with equal content are fetched once.
pub async fn fetch(
    store: &dyn MirrorRead,
    id: &BuildId,
    wanted: &[Wanted],
    to: &Utf8Path,
    options: &FetchOptions,
    observe: &(dyn Fn(FetchEvent<'_>) + Sync),
) -> FetchReport {
    let unfinished = Arc::default();
    fetch_beside(store, id, wanted, to, options, &unfinished, observe).await
}

/// Like [`fetch`], for several fetches into the directory `to` that share `unfinished`.
pub(crate) async fn fetch_beside(
    store: &dyn MirrorRead,
    id: &BuildId,
    wanted: &[Wanted],
    to: &Utf8Path,
    options: &FetchOptions,
    unfinished: &Arc<Unfinished>,
    observe: &(dyn Fn(FetchEvent<'_>) + Sync),
) -> FetchReport {
    let files = wanted.iter().map(|wanted| {
        let file = file::File {
            store,
            id,
            wanted,
            base: to,
            unfinished,
            options,
            observe,
        };
        async move {
            let result = file.fetch().await;
            observe(FetchEvent::Ended { path: &wanted.path });
            result
        }
    });
    let files: Vec<_> = files.collect();
    let mut results = stream::iter(files).buffered(options.parallel.max(1));
    let mut report = FetchReport::default();
    while let Some(result) = results.next().await {
        match result {
            Ok(fetched) => report.fetched.push(fetched),
            Err(error) => report.failed.push(error),
        }
    }
    report
}
