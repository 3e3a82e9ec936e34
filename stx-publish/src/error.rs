//! How a store and a signer refuse, and how errors read.

use std::error::Error;
use std::io;

use stx_layout::Channel;

/// The kind of an error, for callers that branch. `stx_builds::ErrorKind` has the same names.
///
/// It is complete on purpose: errors grow, and a caller who matches kinds has decided every one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// This machine lacks a program or credentials: the mirror would take the same call from another one.
    Usage,
    /// The mirror, or the registry, is wrong, refused it, or could not be reached.
    Mirror,
    /// Not found.
    NotFound,
    /// Busy: another publisher is at work.
    Busy,
}

/// A call of a store that did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another publisher holds the lock of the channel.
    #[error("{channel}: another publisher is at work in this channel")]
    Busy {
        /// The channel.
        channel: Box<Channel>,
    },
    /// Not there: a mirror, a build, a file, an alias.
    #[error("{what}: not found")]
    NotFound {
        /// The path or the name that was looked for.
        what: String,
    },
    /// A place that is not the root of a mirror.
    #[error("{what} is not a mirror: {why}")]
    NotAMirror {
        /// The place.
        what: String,
        /// How it is known.
        why: String,
        /// Mirrors nearby, one of which may have been meant.
        instead: Vec<String>,
    },
    /// There is one already.
    #[error("{what}: already exists")]
    AlreadyExists {
        /// The path or the name that is taken.
        what: String,
    },
    /// An alias is not what it was expected to be.
    #[error("{what}: expected {expected}, found {found}")]
    Conflict {
        /// The alias.
        what: String,
        /// The target that the alias was expected to have.
        expected: String,
        /// The target that it has.
        found: String,
    },
    /// It was done and can be seen, but making it durable failed: a power failure may undo it.
    #[error("{what}: done, but a power failure may undo it")]
    NotDurable {
        /// The path or the name that was changed.
        what: String,
        /// The error of making it durable.
        source: Box<StoreError>,
    },
    /// Against a rule of the mirror.
    #[error("{what}: {reason}")]
    Refused {
        /// The build, the alias or the file that was to be changed.
        what: String,
        /// The rule.
        reason: String,
    },
    /// A source file changed while it was read.
    #[error("{path}: changed while it was read")]
    Changed {
        /// The file.
        path: String,
    },
    /// A program that is needed is not installed.
    #[error("{tool}: not installed; it comes with the package {packages}")]
    MissingTool {
        /// The program.
        tool: String,
        /// The packages that hold it, by package tool.
        packages: String,
    },
    /// A program that is needed failed.
    #[error("{what}: {reason}")]
    Tool {
        /// The program and what it was to work on.
        what: String,
        /// Its exit status and the end of what it said.
        reason: String,
    },
    /// A file that has to be signed could not be.
    #[error("{what}: not signed")]
    Unsigned {
        /// The file.
        what: String,
        /// Why not.
        source: SignError,
    },
    /// Nobody who is trusted vouches for it.
    #[error("{what}: not trusted")]
    Untrusted {
        /// The file.
        what: String,
        /// Why not.
        source: Box<dyn Error + Send + Sync>,
    },
    /// It is vouched for, but should be newer: somebody holds the mirror back, or nobody keeps it.
    #[error("{what}: stale")]
    Stale {
        /// The file.
        what: String,
        /// The age that it has, and the age that it may have.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The store cannot do this at all.
    #[error("{what}: this kind of mirror cannot do that")]
    Unsupported {
        /// The operation that was asked for.
        what: String,
    },
    /// Something on the mirror cannot be understood.
    #[error("{what}: cannot be understood")]
    Damaged {
        /// The file that cannot be understood.
        what: String,
        /// The error that caused it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A server could not be reached, or broke off.
    #[error("{url}: the request failed")]
    Network {
        /// The URL that was asked for.
        url: String,
        /// Why it failed.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Input or output failed.
    #[error("{op} {path}")]
    Io {
        /// The operation that failed, a verb: `read`.
        op: &'static str,
        /// The file or directory.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl StoreError {
    /// Its kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Busy { .. } => ErrorKind::Busy,
            Self::NotFound { .. } | Self::NotAMirror { .. } => ErrorKind::NotFound,
            Self::MissingTool { .. } => ErrorKind::Usage,
            Self::Unsigned { source, .. } => source.kind(),
            Self::AlreadyExists { .. }
            | Self::Conflict { .. }
            | Self::NotDurable { .. }
            | Self::Refused { .. }
            | Self::Changed { .. }
            | Self::Tool { .. }
            | Self::Untrusted { .. }
            | Self::Stale { .. }
            | Self::Unsupported { .. }
            | Self::Damaged { .. }
            | Self::Network { .. }
            | Self::Io { .. } => ErrorKind::Mirror,
        }
    }
}

/// Something that cannot be signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The program that signs is not installed.
    #[error("{tool}: not installed; it comes with the package {packages}")]
    MissingTool {
        /// The program.
        tool: String,
        /// The packages that hold it, by package tool.
        packages: String,
    },
    /// There is no such key, or it must not be used.
    #[error("{signer}: {reason}")]
    Refused {
        /// The key or the program that should sign.
        signer: String,
        /// Why it does not.
        reason: String,
    },
    /// The program that signs could not be run, or the key not be read.
    #[error("{signer}: cannot be used")]
    Io {
        /// The key or the program that should sign.
        signer: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl SignError {
    /// Its kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::MissingTool { .. } => ErrorKind::Usage,
            Self::Refused { .. } | Self::Io { .. } => ErrorKind::Mirror,
        }
    }
}

/// An error with all its causes, in a line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_a_matter_of_usage_wherever_it_is_missed() {
        let unsigned = |source| StoreError::Unsigned {
            what: "SHA256SUMS".to_owned(),
            source,
        };
        let missing = SignError::MissingTool {
            tool: "gpg".to_owned(),
            packages: "gnupg".to_owned(),
        };
        let refused = SignError::Refused {
            signer: "gpg".to_owned(),
            reason: "expired".to_owned(),
        };
        assert_eq!(unsigned(missing).kind(), ErrorKind::Usage);
        assert_eq!(unsigned(refused).kind(), ErrorKind::Mirror);
        let missing = StoreError::MissingTool {
            tool: "createrepo_c".to_owned(),
            packages: "createrepo-c".to_owned(),
        };
        assert_eq!(missing.kind(), ErrorKind::Usage);
    }
}
