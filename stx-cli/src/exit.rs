//! Exit codes, and the one way a command fails.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use crate::output::note;

/// Why the program ends, as a number that scripts may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Unexpected; a bug. As with `diff`, also what [`Exit::DIFFERENT`] is.
    Bug = 1,
    /// Usage or configuration.
    Usage = 2,
    /// The build failed, and was published as failed.
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

    /// The error with its chain and the hint, in a line.
    pub(crate) fn line(&self) -> String {
        let error = self
            .error
            .as_ref()
            .map(|error| Chain(error.as_ref()).to_string());
        let parts = error.into_iter().chain(self.hint.clone());
        parts.collect::<Vec<_>>().join("; ")
    }

    /// Prints the error with its chain and the hint to standard error, and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if let Some(error) = &self.error {
            note(&format!("error: {}", Chain(error.as_ref())));
        }
        if let Some(hint) = &self.hint {
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
        f.write_str(&text)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            // A transparent error says the words of its source.
            let next = error.to_string();
            if next != text {
                write!(f, ": {next}")?;
            }
            text = next;
            source = error.source();
        }
        Ok(())
    }
}
