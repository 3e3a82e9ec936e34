//! The events, the report and the errors of a copy.

use camino::Utf8PathBuf;
use serde::Serialize;
use stx_layout::BuildId;

use crate::error::ErrorKind;
use crate::fetch::FetchError;
use crate::store::StoreError;

/// An event while builds are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyEvent<'a> {
    /// The copy of a build begins.
    Build {
        /// The build.
        build: &'a BuildId,
        /// The number of builds that were copied before it.
        done: u64,
        /// The number of builds to copy.
        of: u64,
        /// Its size in bytes.
        bytes: u64,
    },
    /// Bytes arrived, or were already present.
    Bytes(u64),
}

/// The result of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CopyReport {
    /// The builds that were copied.
    pub copied: Vec<BuildId>,
    /// The number of bytes that were read from the first mirror.
    pub transferred: u64,
    /// The number of bytes that the second mirror already had.
    pub shared: u64,
    /// The aliases that were moved.
    pub moved: Vec<String>,
    /// The number of copied verdicts.
    pub marked: u64,
    /// The number of copied pins.
    pub pinned: u64,
    /// The builds that were retired.
    pub retired: Vec<BuildId>,
    /// The builds and aliases that were not copied, with the reason, one line each.
    pub left: Vec<String>,
    /// The builds that were retired on the first mirror before they could be copied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<BuildId>,
}

/// A copy that stopped. Data that was copied before the error stays, and is not copied again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// A build could not be read from the first mirror.
    #[error("{build}: cannot be read")]
    Source {
        /// The build.
        build: Box<BuildId>,
        /// The error that caused it.
        source: StoreError,
    },
    /// A file of it could not be fetched, or does not match the sums.
    #[error("{build}: a file was not transferred")]
    File {
        /// The build.
        build: Box<BuildId>,
        /// The error, which names the file.
        source: FetchError,
    },
    /// The second mirror refused the change.
    #[error("{what}: the second mirror did not accept it")]
    Target {
        /// The build or the alias to change.
        what: String,
        /// The error that caused it.
        source: StoreError,
    },
    /// The second mirror made the change, and it is visible, but the call ended with an error: a power failure may undo it. Copying
    /// again makes it durable.
    #[error("{what}: done, but the second mirror ended with an error")]
    AfterEffect {
        /// The build or the alias that was changed.
        what: String,
        /// The error of the second mirror.
        source: StoreError,
    },
    /// The directory for temporary files cannot be used.
    #[error("{op} {path}")]
    Work {
        /// The operation that failed, a verb: `make`.
        op: &'static str,
        /// The path of the operation.
        path: Utf8PathBuf,
        /// The reason for the failure.
        source: std::io::Error,
    },
}

impl CopyError {
    /// True if the error concerns one build on the first mirror: a missing, damaged or untrusted file. Other builds may be intact.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Source { source, .. }
            | Self::File {
                source: FetchError::Store { source, .. },
                ..
            } => matches!(
                source,
                StoreError::Damaged { .. }
                    | StoreError::NotFound { .. }
                    | StoreError::Refused { .. }
                    | StoreError::Untrusted { .. }
            ),
            Self::File { source, .. } => {
                matches!(source, FetchError::Corrupt { .. } | FetchError::Gone { .. })
            }
            Self::Target { .. } | Self::AfterEffect { .. } | Self::Work { .. } => false,
        }
    }

    /// The cause without the name of the build, for messages that start with that name.
    pub(super) fn of_build(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Source { source, .. } => Some(source),
            Self::File { source, .. } => Some(source),
            Self::Target { .. } | Self::AfterEffect { .. } | Self::Work { .. } => None,
        }
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Source { source, .. } | Self::Target { source, .. } => source.kind(),
            Self::File { .. } | Self::AfterEffect { .. } => ErrorKind::Mirror,
            Self::Work { .. } => ErrorKind::Usage,
        }
    }
}

/// The error of a call that changes the second mirror.
pub(super) fn failed(what: String, source: StoreError) -> CopyError {
    if let StoreError::NotDurable { .. } = source {
        CopyError::AfterEffect { what, source }
    } else {
        CopyError::Target { what, source }
    }
}
