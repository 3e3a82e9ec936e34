//! Exit codes, and the one way a command fails.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use stx_layout::redact_urls;

use crate::output::note;
use crate::users::denied_here;

/// Why the program ends, as a number that scripts may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Unexpected; a bug. As with `diff`, also what [`Exit::DIFFERENT`] is.
    Bug = 1,
    /// Usage or configuration.
    Usage = 2,
    /// The build failed; it was published as failed unless it was cancelled or never came to a commit.
    BuildFailed = 3,
    /// The mirror is wrong, or refused it.
    Mirror = 4,
    /// Not found.
    NotFound = 5,
    /// Busy: another publisher or build.
    Busy = 6,
}

impl Exit {
    /// `compare` found a difference.
    pub(crate) const DIFFERENT: Self = Self::Bug;
}

/// A command that ends without its result: the error and its chain, the exit code, and what to do next.
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What went wrong; `None` where everything was said already.
    pub(crate) error: Option<Box<dyn Error + Send + Sync>>,
    /// What to do next.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// Ends with `exit` because of `error`.
    pub(crate) fn new(exit: Exit, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            exit,
            error: Some(error.into()),
            hint: None,
        }
    }

    /// Ends with `exit`, everything having been said.
    pub(crate) fn said(exit: Exit) -> Self {
        Self {
            exit,
            error: None,
            hint: None,
        }
    }

    /// Usage or configuration.
    pub(crate) fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Exit::Usage, error)
    }

    /// The same failure with what to do next.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The error with its chain, in a line and without the credentials of URLs; nothing where everything was said.
    pub(crate) fn words(&self) -> String {
        let error = self.error.as_deref();
        error.map_or_else(String::new, |error| {
            redact_urls(&Chain(error).to_string()).into_owned()
        })
    }

    /// The error with its chain and the hint, in a line and without the credentials of URLs.
    pub(crate) fn line(&self) -> String {
        let error = self.error.is_some().then(|| self.words());
        let parts = error.into_iter().chain(self.hint.clone());
        redact_urls(&parts.collect::<Vec<_>>().join("; ")).into_owned()
    }

    /// Prints the error with its chain and the hint to standard error, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if let Some(error) = &self.error {
            note(&format!("error: {}", Chain(error.as_ref())));
        }
        let denied = self.error.as_deref().is_some_and(|error| is_denied(error));
        let hint = self.hint.clone().or_else(|| denied.then(denied_here));
        if let Some(hint) = hint {
            note(&format!("hint: {hint}"));
        }
        ExitCode::from(self.exit as u8)
    }
}

/// An error and its sources on one line, outermost first.
struct Chain<'a>(&'a dyn Error);

/// An error and its sources on one line, outermost first.
pub(crate) fn chain(error: &dyn Error) -> impl fmt::Display {
    Chain(error)
}

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let mut source = self.0.source();
        while let Some(error) = source {
            // Many errors say the words of their source themselves.
            let next = error.to_string();
            if !text.ends_with(&next) {
                text = format!("{text}: {next}");
            }
            source = error.source();
        }
        f.write_str(&text)
    }
}

/// Whether it was for want of a right.
fn is_denied(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return error.kind() == std::io::ErrorKind::PermissionDenied;
        }
        next = error.source();
    }
    false
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
    fn a_source_is_said_once() {
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
        }
    }
}
