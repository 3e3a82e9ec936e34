//! Exit codes, and the single type of command failures.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::ErrorKind as Io;
use std::process::ExitCode;

use serde::Serialize;
use stx_builds::ErrorKind;
use stx_builds::error::{chain, is_denied, messages};
use stx_builds::publish::Refused;
use stx_builds::users::denied_here;
use stx_layout::counted;

use crate::args::Format;
use crate::output::{self, note};

/// The exit code of the program, on which scripts may rely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Unexpected: a bug. As in `diff`, [`Exit::DIFFERENT`] has the same code.
    Bug = 1,
    /// Usage or configuration.
    Usage = 2,
    /// The build failed; it was published as failed unless it was cancelled or had no commit.
    BuildFailed = 3,
    /// A fault of the mirror, or a refusal by it.
    Mirror = 4,
    /// Not found.
    NotFound = 5,
    /// Another publisher or build is at work.
    Busy = 6,
}

impl Exit {
    /// `compare` found a difference.
    pub(crate) const DIFFERENT: Self = Self::Bug;

    /// The code as a word, for programs.
    fn kind(self) -> &'static str {
        match self {
            Self::Bug => "bug",
            Self::Usage => "usage",
            Self::BuildFailed => "build-failed",
            Self::Mirror => "mirror",
            Self::NotFound => "not-found",
            Self::Busy => "busy",
        }
    }
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Usage => Self::Usage,
            ErrorKind::BuildFailed => Self::BuildFailed,
            ErrorKind::Mirror => Self::Mirror,
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Busy => Self::Busy,
            // Includes kinds that a later library version adds: each of them needs its own code here.
            _ => Self::Bug,
        }
    }
}

/// The failure of a command: the error and its chain, the exit code, and the next step.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// The error to print; `None` if everything was already printed.
    pub(crate) error: Option<Box<dyn Error + Send + Sync>>,
    /// A hint for the user: the next step, on one line.
    pub(crate) hint: Option<String>,
}

impl From<stx_builds::Error> for Failure {
    fn from(error: stx_builds::Error) -> Self {
        Self {
            exit: error.kind.into(),
            error: Some(error.error),
            hint: error.hint,
        }
    }
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

    /// Ends with `exit` without printing an error, because the output already contains it.
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

    /// The same failure with a hint: the next step.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// True if the system denied access.
    pub(crate) fn is_denied(&self) -> bool {
        let error = self.error.as_deref();
        error.is_some_and(|error| is_denied(error))
    }

    /// The error with its chain, on one line; `None` if no error is printed.
    pub(crate) fn chain(&self) -> Option<String> {
        let error = self.error.as_deref()?;
        Some(chain(error).to_string())
    }

    /// Prints the error with its chain and the hint to standard error, with `--format json` as one line of JSON, and returns the exit
    /// code. With JSON, a refused build is printed as JSON, too.
    pub(crate) fn report(self, format: Format) -> ExitCode {
        let code = ExitCode::from(self.exit as u8);
        let is_json = format == Format::Json;
        let refused = self.error.as_deref();
        let refused = refused.and_then(|error| error.downcast_ref::<Refused>());
        let mut messages = self
            .error
            .as_deref()
            .map_or_else(Vec::new, |error| messages(error));
        if is_json && let Some(Refused { id, problems }) = refused {
            let document = BTreeMap::from([("refused", problems)]);
            if let Err(unwritten) = output::print(format, &document, String::new) {
                return unwritten.report(Format::Human);
            }
            let count = counted(problems.len(), "thing");
            messages = vec![format!("{id}: {count} must not be published")];
        }
        let denied = self.is_denied();
        let hint = self.hint.clone().or_else(|| denied.then(denied_here));
        if is_json {
            if messages.is_empty() && self.exit != Exit::DIFFERENT {
                messages.push("the result names the failures".to_owned());
            }
            if let Some((error, causes)) = messages.split_first() {
                output::note_json(&ErrorDocument {
                    error,
                    causes,
                    hint: hint.as_deref(),
                    exit_code: self.exit as u8,
                    kind: self.exit.kind(),
                });
            }
            return code;
        }
        if !messages.is_empty() {
            note(&format!("error: {}", messages.join(": ")));
        }
        if let Some(hint) = hint {
            note(&format!("hint: {hint}"));
        }
        code
    }
}

/// An error as JSON: the form is stable, fields are only added.
#[derive(Debug, Serialize)]
struct ErrorDocument<'a> {
    /// The outermost error.
    error: &'a str,
    /// Its causes, outermost first.
    causes: &'a [String],
    /// The next step for the user, if one is known.
    hint: Option<&'a str>,
    /// The exit code.
    exit_code: u8,
    /// The exit code as a word.
    kind: &'static str,
}

/// Reports a command line that cannot be parsed, in the requested format as far as that can be determined.
pub(crate) fn misused(error: &clap::Error, format: Format) -> ExitCode {
    let code = ExitCode::from(Exit::Usage as u8);
    if format == Format::Human || !error.use_stderr() {
        let code = if error.use_stderr() {
            code
        } else {
            ExitCode::SUCCESS
        };
        return match error.print() {
            // A reader that closes the pipe early is not an error, and a failure to print an error message cannot be reported
            // anywhere.
            Err(unwritten) if !error.use_stderr() && unwritten.kind() != Io::BrokenPipe => {
                output::unwritten(&unwritten).report(format)
            }
            Ok(()) | Err(_) => code,
        };
    }
    let text = error.render().to_string();
    let message = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = message.split_whitespace().collect();
    let message = words.join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let tip = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("tip: "));
    Failure::usage(message)
        .hint(tip.unwrap_or("`--help` lists the arguments"))
        .report(format)
}
