//! The errors of stores and signers, and the form in which errors are printed.

use std::error::Error;
use std::io;

use stx_layout::Channel;

/// The kind of an error, for callers that branch. `stx_builds::ErrorKind` has the same names.
///
/// It is exhaustive on purpose: new errors map to these kinds, so a caller that matches all kinds handles every error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// This machine lacks a program or credentials: the same call may succeed from another machine.
    Usage,
    /// The mirror or the registry is damaged, refused the call, or could not be reached.
    Mirror,
    /// Not found.
    NotFound,
    /// Busy: another publisher is working.
    Busy,
}

/// An error of a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another publisher holds the lock of the channel.
    #[error("{channel}: another publisher is at work in this channel")]
    Busy {
        /// The channel.
        channel: Box<Channel>,
    },
    /// A mirror, a build, a file or an alias does not exist.
    #[error("{what}: not found")]
    NotFound {
        /// The path or the name that does not exist.
        what: String,
    },
    /// A place that is not the root of a mirror.
    #[error("{what} is not a mirror: {why}")]
    NotAMirror {
        /// The place.
        what: String,
        /// The evidence for that.
        why: String,
        /// Mirrors nearby, one of which the caller may have intended.
        instead: Vec<String>,
    },
    /// The path or the name already exists.
    #[error("{what}: already exists")]
    AlreadyExists {
        /// The path or the name that is taken.
        what: String,
    },
    /// The target of an alias is not the expected one.
    #[error("{what}: expected {expected}, found {found}")]
    Conflict {
        /// The alias.
        what: String,
        /// The expected target.
        expected: String,
        /// The current target.
        found: String,
    },
    /// The change was made and is visible, but making it durable failed: a power failure may undo it.
    #[error("{what}: done, but a power failure may undo it")]
    NotDurable {
        /// The path or the name that was changed.
        what: String,
        /// The error that prevented it from being durable.
        source: Box<StoreError>,
    },
    /// The call breaks a rule of the mirror.
    #[error("{what}: {reason}")]
    Refused {
        /// The build, the alias or the file that the call would change.
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
    /// A required program is not installed.
    #[error("{tool}: not installed; it comes with the package {packages}")]
    MissingTool {
        /// The program.
        tool: String,
        /// The packages that contain it, by package manager.
        packages: String,
    },
    /// A required program failed.
    #[error("{what}: {reason}")]
    Tool {
        /// The program and its input.
        what: String,
        /// Its exit status and the end of its output.
        reason: String,
    },
    /// A file that must be signed could not be signed.
    #[error("{what}: not signed")]
    Unsigned {
        /// The file.
        what: String,
        /// The reason.
        source: SignError,
    },
    /// No trusted signer vouches for the file.
    #[error("{what}: not trusted")]
    Untrusted {
        /// The file.
        what: String,
        /// The reason.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The file is signed by a trusted signer, but is too old: an attacker withholds updates, or the mirror is not maintained.
    #[error("{what}: stale")]
    Stale {
        /// The file.
        what: String,
        /// Its age and the age that is allowed.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The store does not support this operation.
    #[error("{what}: this kind of mirror cannot do that")]
    Unsupported {
        /// The requested operation.
        what: String,
    },
    /// Something on the mirror cannot be parsed.
    #[error("{what}: cannot be understood")]
    Damaged {
        /// The file that cannot be parsed.
        what: String,
        /// The error that caused it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A server could not be reached, or the transfer was interrupted.
    #[error("{url}: the request failed")]
    Network {
        /// The requested URL.
        url: String,
        /// The reason for the failure.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Input or output failed.
    #[error("{op} {path}")]
    Io {
        /// The operation that failed, a verb: `read`.
        op: &'static str,
        /// The file or directory.
        path: String,
        /// The reason for the failure.
        source: io::Error,
    },
}

impl StoreError {
    /// The kind of the error.
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

/// An error of a signer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The signing program is not installed.
    #[error("{tool}: not installed; it comes with the package {packages}")]
    MissingTool {
        /// The program.
        tool: String,
        /// The packages that contain it, by package manager.
        packages: String,
    },
    /// The key does not exist, or must not be used.
    #[error("{signer}: {reason}")]
    Refused {
        /// The key or the program that should sign.
        signer: String,
        /// The reason why it does not sign.
        reason: String,
    },
    /// The signing program could not be run, or the key could not be read.
    #[error("{signer}: cannot be used")]
    Io {
        /// The key or the program that should sign.
        signer: String,
        /// The reason for the failure.
        source: io::Error,
    },
}

impl SignError {
    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::MissingTool { .. } => ErrorKind::Usage,
            Self::Refused { .. } | Self::Io { .. } => ErrorKind::Mirror,
        }
    }
}

/// An error with all its causes, in one line.
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
    fn a_missing_program_is_always_a_usage_error() {
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
