//! Fetches files of a build, whole and right or not at all.
//!
//! Where a file has a zsync control file, and an older file is there, only what that one does not hold is transferred (module
//! `delta`).
//!
//! The build is settled before: an alias is resolved once, by [`resolve`], and all that is fetched comes from one dated
//! build. [`select`] picks files from its sums; [`fetch`] brings them, every byte checked against those sums.
//!
//! A file is written as `NAME.DIGEST.RANDOM.part` and gets its name when its digest is right. What a killed fetch left in
//! such a file is gone on with; being named after its content, it is never mixed with that of another build. Others may
//! write to the directory too: what they put there is neither followed nor trusted (module `part`). Nothing is synced: the
//! next fetch checks what is there, and fetches again what a loss of power took.

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

/// How files are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FetchOptions {
    /// How many files are fetched side by side.
    pub parallel: usize,
    /// Whether a file is put together from older ones by its control file, where it has one.
    pub delta: bool,
    /// Older files that may hold parts of the new ones, besides those that lie where the new ones go.
    pub seeds: Vec<Utf8PathBuf>,
    /// How many ranges of one file are fetched side by side.
    pub ranges: usize,
    /// How often a file that breaks off may do so without any progress.
    pub attempts: u32,
    /// The wait before it is gone on with.
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

/// An event while files are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchEvent<'a> {
    /// The transfer of a file begins.
    Begun {
        /// The file.
        path: &'a BuildPath,
        /// Its size in bytes.
        size: u64,
        /// The bytes that are there already.
        from: u64,
    },
    /// Bytes arrived, or were found in an older file.
    Bytes(u64),
    /// How a file is put together, or why not.
    Note {
        /// A line for people, which names the file.
        text: &'a str,
    },
    /// A file is there, or is not.
    Ended {
        /// The file.
        path: &'a BuildPath,
    },
}

/// A file that is there now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fetched {
    /// Its path in the build.
    pub path: BuildPath,
    /// Where it is.
    pub to: Utf8PathBuf,
    /// Its digest.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub bytes: u64,
    /// The bytes that were transferred for it: none where it was there, fewer than its size where it was gone on with.
    pub transferred: u64,
    /// The bytes that an older file had.
    pub reused: u64,
}

/// The files that were fetched, and those that failed.
#[derive(Debug, Default)]
pub struct FetchReport {
    /// The files that are there, in the order in which they were asked for.
    pub fetched: Vec<Fetched>,
    /// Those that are not.
    pub failed: Vec<FetchError>,
}

impl FetchReport {
    /// All bytes that were transferred.
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

/// Why a file was not fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// All of its bytes arrived, and they are others than the sums say.
    #[error("{path}: corrupt on the mirror: its SHA-256 is {found}, SHA256SUMS says {expected}")]
    Corrupt {
        /// The file.
        path: BuildPath,
        /// The digest in `SHA256SUMS`.
        expected: Sha256,
        /// The digest of the bytes that arrived.
        found: Sha256,
    },
    /// It broke off, again and again at the same byte.
    #[error("{path}: truncated: {got} of {} arrived", counted(*size, "byte"))]
    Truncated {
        /// The file.
        path: BuildPath,
        /// The bytes that are there.
        got: u64,
        /// Those that it has.
        size: u64,
        /// Why it broke off; none where the server only stopped.
        source: Option<StoreError>,
    },
    /// The mirror has it no more, or never had.
    #[error("{path}: not on the mirror")]
    Gone {
        /// The file.
        path: BuildPath,
        /// Where it was looked for.
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
    /// It could not be written.
    #[error("{op} {path}")]
    Local {
        /// The operation that failed, a verb: `write`.
        op: &'static str,
        /// The local file.
        path: Utf8PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another fetch is writing it.
    #[error("{path}: another fetch is writing it")]
    Busy {
        /// The unfinished file.
        path: Utf8PathBuf,
    },
}

impl FetchError {
    /// Its kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Gone { .. } => ErrorKind::NotFound,
            Self::Corrupt { .. } | Self::Truncated { .. } | Self::Store { .. } => ErrorKind::Mirror,
            Self::Local { .. } => ErrorKind::Usage,
            Self::Busy { .. } => ErrorKind::Busy,
        }
    }
}

/// The build that a name in a channel means: a build's own date, or an alias, which is resolved here and only here.
///
/// [`StoreError::NotFound`] where there is none; [`StoreError::Damaged`] for an alias that points at no build.
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
/// Every file is tried; those that are right already are not fetched again. Files of equal content are fetched once.
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

/// As [`fetch`], as one of several into the directory `to`, which share `unfinished`.
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
