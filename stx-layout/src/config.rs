//! Configuration files: reads TOML into values, and reports every mistake in a file at once.
//!
//! | item | is |
//! |---|---|
//! | [`ConfigError`], [`ConfigErrors`] | a mistake with its file, line and column; those of one file or several |
//! | [`from_toml`], [`read`] | a document, or a part of one, as a value that implements `Deserialize` |
//! | [`Faults`] | the mistakes of a text while it is read, by byte offset |
//! | [`Texts`] | several texts that are read as one document |
//! | [`position`] | the position of an entry in a text |
//! | [`Spanned`] | a value with its byte offsets |
//! | [`parse_duration`], [`PositiveDuration`], [`Within`] | the forms of durations and numbers |
//!
//! serde stops at the first mistake. This module records it, removes the entry that contains it, and reads the rest again, so
//! that the author of a file sees all mistakes at once.

mod place;
mod read;
mod texts;
mod values;

use std::collections::BTreeSet;
use std::fmt;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

pub use place::position;
pub use read::{Faults, from_toml, read};
pub use texts::Texts;
pub use toml::Spanned;
pub use values::{DurationError, PositiveDuration, Within, parse_duration};

/// A place in a text; both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Position {
    /// The position of a byte offset of `text`.
    pub fn of(text: &str, at: usize) -> Self {
        let before = &text[..text.floor_char_boundary(at)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// One mistake in a configuration file. `Ord` is by file, line and column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ConfigError {
    /// The file, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Utf8PathBuf>,
    /// Its position; `None` for a mistake that is not visible in the text, such as a key that cannot be read.
    #[serde(flatten)]
    pub at: Option<Position>,
    /// The mistake, and the correction if possible.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = &self.message;
        match (&self.file, self.at) {
            (Some(file), Some(Position { line, column })) => {
                write!(f, "{file}:{line}:{column}: {message}")
            }
            (Some(file), None) => write!(f, "{file}: {message}"),
            (None, Some(at)) => write!(f, "{at}: {message}"),
            (None, None) => f.write_str(message),
        }
    }
}

/// The mistakes of one configuration file, or of several, without duplicates. `Display` writes one on each line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigErrors(BTreeSet<ConfigError>);

impl ConfigErrors {
    /// The same mistakes, assigned to `file`.
    #[must_use]
    pub fn in_file(self, file: &Utf8Path) -> Self {
        let named = |error| ConfigError {
            file: Some(file.to_owned()),
            ..error
        };
        self.0.into_iter().map(named).collect()
    }

    /// Adds a mistake in a file, without a position in its text.
    pub fn add(&mut self, file: &Utf8Path, message: String) {
        self.0.insert(ConfigError {
            file: Some(file.to_owned()),
            at: None,
            message,
        });
    }

    /// True if there are no mistakes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of mistakes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, in the order of files and lines.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }

    /// `value` if there are no mistakes.
    ///
    /// # Errors
    /// The mistakes.
    pub fn or<T>(self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.is_empty() => Ok(value),
            Some(_) | None => Err(self),
        }
    }
}

impl FromIterator<ConfigError> for ConfigErrors {
    fn from_iter<I: IntoIterator<Item = ConfigError>>(errors: I) -> Self {
        Self(errors.into_iter().collect())
    }
}

impl Extend<ConfigError> for ConfigErrors {
    fn extend<I: IntoIterator<Item = ConfigError>>(&mut self, errors: I) {
        self.0.extend(errors);
    }
}

impl IntoIterator for ConfigErrors {
    type Item = ConfigError;
    type IntoIter = std::collections::btree_set::IntoIter<ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
