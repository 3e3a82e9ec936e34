//! The one error of all operations: its kind, its chain of causes, and the next step for the user.

mod file;
pub(crate) mod registry;
mod store;

pub(crate) use self::file::{is_there, unusable};
pub use self::store::refused;
pub(crate) use self::store::{DONE, answer_below, hint_below, hint_of, unreached};

use std::fmt;
use std::io;

use stx_layout::config::ConfigErrors;
use stx_layout::redact_urls;

/// The kind of an error, for callers that branch. The command line gives each its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Unexpected: a bug.
    Bug,
    /// Wrong options or configuration.
    Usage,
    /// The build failed; it was published as failed unless it was cancelled or had no commit.
    BuildFailed,
    /// A fault of the mirror, or a refusal by it.
    Mirror,
    /// Not found.
    NotFound,
    /// Another publisher or build is at work.
    Busy,
}

/// An operation that ended without its result.
///
/// `Display` is the outermost error alone; [`Error::chain`] adds its causes.
#[derive(Debug)]
#[non_exhaustive]
pub struct Error {
    /// The kind of the error, which gives the exit code.
    pub kind: ErrorKind,
    /// The error, with its sources.
    pub error: Box<dyn std::error::Error + Send + Sync>,
    /// A hint for the user: the next step, in a line.
    pub hint: Option<String>,
}

/// The phrase by which hints request a rerun, for [`Error::rerun_by`].
const RERUN: &str = "run the same command again";

impl Error {
    /// An error of a kind.
    pub fn new(
        kind: ErrorKind,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            error: error.into(),
            hint: None,
        }
    }

    /// Wrong options or configuration.
    pub fn usage(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Usage, error)
    }

    /// The mistakes of a configuration, with the document that describes its form. The error itself is the [`ConfigErrors`].
    pub fn config(errors: ConfigErrors, hint: &str) -> Self {
        Self::usage(errors).hint(hint)
    }

    /// Fails if there are mistakes.
    pub fn unless(errors: ConfigErrors, hint: &str) -> Result<(), Self> {
        if errors.is_empty() {
            return Ok(());
        }
        Err(Self::config(errors, hint))
    }

    /// The error about an operation that requires a program with `feature`.
    #[cfg(any(test, not(feature = "openpgp")))]
    pub(crate) fn without(feature: &str, failure: &str) -> Self {
        let message = format!("{failure}: this program was built without `{feature}`");
        Self::usage(message).hint(format!(
            "install a package of stx-builds, or build it with `cargo build --release -p stx-cli --features {feature}`"
        ))
    }

    /// The same error with a hint that names another command instead of running the same one again.
    pub(crate) fn rerun_by(mut self, command: &str) -> Self {
        self.hint = self.hint.map(|hint| hint.replace(RERUN, command));
        self
    }

    /// The same error with a hint: the next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The error with its causes, in a line and without the credentials of URLs.
    pub fn chain(&self) -> String {
        redact_urls(&Chain(self.error.as_ref()).to_string()).into_owned()
    }

    /// The error with its causes and the hint, in a line and without the credentials of URLs.
    pub fn line(&self) -> String {
        let parts = std::iter::once(self.chain()).chain(self.hint.clone());
        redact_urls(&parts.collect::<Vec<_>>().join("; ")).into_owned()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// The messages of an error and its sources, outermost first. A source whose message ends the text before it is left out: many errors
/// already contain the text of their source.
pub fn messages(error: &dyn std::error::Error) -> Vec<String> {
    let mut messages = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        // The text of a chain ends with its last message.
        if messages.last().is_none_or(|text| !text.ends_with(&next)) {
            messages.push(next);
        }
        source = error.source();
    }
    messages
}

/// True if the system denied access to a file: the first I/O error of the chain has that kind.
pub fn is_denied(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::PermissionDenied;
        }
        next = error.source();
    }
    false
}

/// An error and its sources on one line, outermost first.
struct Chain<'a>(&'a (dyn std::error::Error + 'a));

/// An error and its sources on one line, outermost first.
pub fn chain(error: &dyn std::error::Error) -> impl fmt::Display {
    Chain(error)
}

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&messages(self.0).join(": "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{said}")]
    struct Said {
        said: &'static str,
        source: Option<Box<Said>>,
    }

    #[test]
    fn an_error_chain_repeats_no_message() {
        for (outer, inner, line) in [
            ("list x", "denied", "list x: denied"),
            ("list x: denied", "denied", "list x: denied"),
            ("denied", "denied", "denied"),
            ("denied x", "denied", "denied x: denied"),
        ] {
            let source = Some(Box::new(Said {
                said: inner,
                source: None,
            }));
            let error = Said {
                said: outer,
                source,
            };
            assert_eq!(chain(&error).to_string(), line);
            let causes = usize::from(!outer.ends_with(inner));
            assert_eq!(messages(&error).len(), 1 + causes, "{line}");
        }
    }
}
