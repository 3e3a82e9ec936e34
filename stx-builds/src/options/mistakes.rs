//! Mistakes in the files of a configuration, each with its place.

use std::collections::BTreeSet;
use std::fmt;

use camino::{Utf8Path, Utf8PathBuf};
use stx_pipeline::Finding;

use crate::error::Error;

/// One mistake. `Ord` is by file, line and column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    file: Utf8PathBuf,
    /// Line and column, from 1, where it has a place in the text.
    at: Option<(usize, usize)>,
    message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, at, message } = self;
        match at {
            Some((line, column)) => write!(f, "{file}:{line}:{column}: {message}"),
            None => write!(f, "{file}: {message}"),
        }
    }
}

/// The mistakes of several files, each of them once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mistakes(BTreeSet<Mistake>);

impl Mistakes {
    /// Those that were found in a file.
    pub fn of(file: &Utf8Path, findings: impl IntoIterator<Item = Finding>) -> Self {
        let mut mistakes = Self::default();
        mistakes.find(file, findings);
        mistakes
    }

    /// Adds those that were found in a file.
    pub fn find(&mut self, file: &Utf8Path, findings: impl IntoIterator<Item = Finding>) {
        for Finding {
            message,
            line,
            column,
        } in findings
        {
            self.add(file, Some((line, column)), message);
        }
    }

    /// Adds one.
    pub fn add(&mut self, file: &Utf8Path, at: Option<(usize, usize)>, message: String) {
        self.0.insert(Mistake {
            file: file.to_owned(),
            at,
            message,
        });
    }

    /// Adds those of others.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// One line for each, in the order of files and lines.
    pub fn lines(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// All of them as a failure, in the order of files and lines.
    pub fn failure(&self, hint: &str) -> Error {
        Error::usage(self.lines().join("\n")).hint(hint)
    }

    /// Fails if there are any.
    pub fn none(&self, hint: &str) -> Result<(), Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(self.failure(hint))
    }
}
