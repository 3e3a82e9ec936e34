//! Configuration files: TOML read into values, and every mistake in a file at once.
//!
//! | item | is |
//! |---|---|
//! | [`ConfigError`], [`ConfigErrors`] | a mistake with its file, line and column; those of one file or several |
//! | [`from_toml`], [`read`] | a document, or a part of one, as a value that implements `Deserialize` |
//! | [`Faults`] | the mistakes of a text while it is read, by byte offset |
//! | [`Spanned`] | a value with its byte offsets |
//! | [`parse_duration`], [`PositiveDuration`], [`Within`] | the forms of durations and numbers |
//!
//! serde stops at the first mistake. Here it is noted, the entry in which it stands is taken out, and the rest is read again,
//! so that somebody who mends a file sees all mistakes at once.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};

pub use toml::Spanned;

use crate::{meant, nearest};

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
    /// The file, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Utf8PathBuf>,
    /// Where it stands; `None` for a mistake that the text does not show, such as a key that cannot be read.
    #[serde(flatten)]
    pub at: Option<Position>,
    /// The mistake, and where possible the correction.
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

/// The mistakes of one configuration file, or of several, each once. `Display` has one on each line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigErrors(BTreeSet<ConfigError>);

impl ConfigErrors {
    /// The same mistakes as those of `file`.
    #[must_use]
    pub fn in_file(self, file: &Utf8Path) -> Self {
        let named = |error| ConfigError {
            file: Some(file.to_owned()),
            ..error
        };
        self.0.into_iter().map(named).collect()
    }

    /// Adds a mistake of a file, without a place in its text.
    pub fn add(&mut self, file: &Utf8Path, message: String) {
        self.0.insert(ConfigError {
            file: Some(file.to_owned()),
            at: None,
            message,
        });
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
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

/// The mistakes of a text while it is read, by byte offset.
#[derive(Debug, Default)]
pub struct Faults {
    found: BTreeSet<(usize, String)>,
    /// The keys whose values were wrong, each with the offset of its table: they are not missing. Those of lists are empty.
    wrong: BTreeSet<(usize, String)>,
}

impl Faults {
    /// Adds a mistake.
    pub fn add(&mut self, at: usize, message: impl fmt::Display) {
        self.found.insert((at, message.to_string()));
    }

    /// Adds that a key is missing in the table at `table`, unless it is there with a wrong value, or misspelt.
    pub fn missing(&mut self, table: usize, key: &str) {
        if !self.is_wrong(table, key) {
            self.add(table, format!("`{key}` is missing"));
        }
    }

    /// Whether the table at `table` has this key with a wrong value, or misspelt.
    pub fn is_wrong(&self, table: usize, key: &str) -> bool {
        self.wrong.contains(&(table, key.to_owned()))
    }

    /// Whether the table or list at `at` lacks what was wrong in it.
    pub fn is_damaged(&self, at: usize) -> bool {
        let first = self.wrong.range((at, String::new())..).next();
        first.is_some_and(|(table, _)| *table == at)
    }

    /// Whether a mistake begins with these words.
    pub fn any_begins(&self, words: &str) -> bool {
        self.found
            .iter()
            .any(|(_, message)| message.starts_with(words))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The mistakes with their places in `text`.
    pub fn locate(self, text: &str) -> ConfigErrors {
        let located = |(at, message)| ConfigError {
            file: None,
            at: Some(Position::of(text, at)),
            message,
        };
        self.found.into_iter().map(located).collect()
    }
}

/// The value that a text has without what is wrong in it; its mistakes are added to `faults`.
///
/// `None` where nothing can be made of the rest.
pub fn from_toml<T: DeserializeOwned>(text: &str, faults: &mut Faults) -> Option<T> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        faults.add(error.span().map_or(0, |span| span.start), error.message());
    }
    // A text that is not TOML would only be misread further.
    if !errors.is_empty() {
        return None;
    }
    let (span, table) = (document.span(), document.into_inner());
    read(Spanned::new(span, DeValue::Table(table)), faults)
}

/// The value of a part of a document without what is wrong with it; its mistakes are added to `faults`, with their byte
/// offsets. `None` where nothing can be made of it.
pub fn read<T: DeserializeOwned>(
    mut value: Spanned<DeValue<'_>>,
    faults: &mut Faults,
) -> Option<T> {
    loop {
        let error = match T::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(read) => return Some(read),
            Err(error) => error,
        };
        let at = error.span().map_or(value.span().start, |span| span.start);
        let missing = quoted(error.message(), "missing field `");
        let is_known = missing.is_some_and(|key| faults.is_wrong(at, key));
        let removed = remove(&mut value, at);
        if !is_known {
            let key = removed.as_ref().and_then(|removed| removed.key.as_deref());
            let message = reworded(error.message());
            faults.add(
                at,
                match key.filter(|_| missing.is_none()) {
                    Some(key) if message.contains(&format!("`{key}`")) => message,
                    Some(key) if message.starts_with("must ") => format!("`{key}` {message}"),
                    Some(key) => format!("`{key}`: {message}"),
                    None => message,
                },
            );
        }
        // A mistake of the whole, such as a key that is missing, hides no other one: those in its entries came first.
        let Removed { table, key } = removed?;
        let meant = quoted(error.message(), "unknown field `").and_then(|word| {
            let others = error.message().split('`').skip(3).step_by(2);
            nearest(word, others).map(ToOwned::to_owned)
        });
        faults.wrong.extend(meant.map(|meant| (table, meant)));
        faults.wrong.insert((table, key.unwrap_or_default()));
    }
}

/// The quoted word behind the beginning of a message, if it begins so.
fn quoted<'m>(message: &'m str, begin: &str) -> Option<&'m str> {
    message.strip_prefix(begin)?.split('`').next()
}

/// An entry that was removed from a table, or an item that was removed from a list.
struct Removed {
    /// Where the table stands.
    table: usize,
    key: Option<String>,
}

/// Takes out the innermost entry or item that stands at `at`.
fn remove(value: &mut Spanned<DeValue<'_>>, at: usize) -> Option<Removed> {
    let table = value.span().start;
    match value.get_mut() {
        DeValue::Table(entries) => {
            // The entries of `[a.b]` do not stand within the text of `[a]`, so all of them are searched.
            let inner = entries.iter_mut().find_map(|(_, value)| remove(value, at));
            if inner.is_some() {
                return inner;
            }
            let key = entries.iter().find_map(|(key, value)| {
                let stands = key.span().contains(&at) || value.span().contains(&at);
                stands.then(|| key.get_ref().clone().into_owned())
            })?;
            entries.remove(key.as_str());
            Some(Removed {
                table,
                key: Some(key),
            })
        }
        DeValue::Array(items) => {
            let inner = items.iter_mut().find_map(|item| remove(item, at));
            if inner.is_some() {
                return inner;
            }
            let index = items.iter().position(|item| item.span().contains(&at))?;
            let mut rest = DeArray::new();
            for (n, item) in items.iter().enumerate() {
                if n != index {
                    rest.push(item.clone());
                }
            }
            *items = rest;
            Some(Removed { table, key: None })
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => None,
    }
}

/// What serde says, in the words of the other mistakes, with what was probably meant.
fn reworded(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let begins = |begin| message.starts_with(begin);
    match quoted.next() {
        Some(word) if begins("unknown field `") => {
            let known: Vec<_> = quoted.collect();
            return format!("unknown key `{word}`{}", meant(word, &known));
        }
        Some(word) if begins("unknown variant `") => {
            let known: Vec<_> = quoted.collect();
            return format!("unknown word `{word}`{}", meant(word, &known));
        }
        Some(word) if begins("missing field `") => return format!("`{word}` is missing"),
        Some(_) | None => {}
    }
    let mismatch = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .and_then(|rest| rest.rsplit_once(", expected "));
    match mismatch {
        Some((found, expected)) => {
            format!("expected {}, found {}", in_toml(expected), in_toml(found))
        }
        None => message.to_owned(),
    }
}

/// A type of Rust in the words of TOML.
fn in_toml(name: &str) -> &str {
    match name {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a non-negative integer",
        "i64" => "an integer",
        "a boolean" => "`true` or `false`",
        "sequence" | "a sequence" => "a list",
        "map" | "a map" => "a table",
        other if other.starts_with("struct ") => "a table",
        other => other,
    }
}

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a duration; write a number and a unit, such as `14 days` or `90m`")]
pub struct DurationError {
    /// The text.
    pub text: String,
}

/// Reads a duration: numbers with units, from `ns` to `years`. A year has 365 days.
///
/// ```
/// # use std::time::Duration;
/// # use stx_layout::config::parse_duration;
/// assert_eq!(parse_duration("14 days"), Ok(Duration::from_hours(14 * 24)));
/// assert_eq!(parse_duration("1h 30m"), parse_duration("90m"));
/// assert_eq!(parse_duration("1 year"), parse_duration("365d"));
/// assert!(parse_duration("fourteen days").is_err());
/// ```
///
/// # Errors
/// A text that is no duration, or one that is longer than a [`Duration`] can be.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let read = || {
        let mut total = Duration::ZERO;
        let mut rest = text.trim();
        loop {
            let unit = rest.find(char::is_alphabetic)?;
            let end = rest[unit..].find(|other: char| !other.is_alphabetic());
            let (part, more) = rest.split_at(end.map_or(rest.len(), |end| unit + end));
            let part = match &part[unit..] {
                // Those of humantime have 365.25 days.
                "y" | "yr" | "yrs" | "year" | "years" => {
                    let years: u64 = part[..unit].trim_end().parse().ok()?;
                    Duration::from_secs(years.checked_mul(365 * 24 * 60 * 60)?)
                }
                _ => humantime::parse_duration(part).ok()?,
            };
            total = total.checked_add(part)?;
            rest = more.trim_start();
            if rest.is_empty() {
                return Some(total);
            }
        }
    };
    read().ok_or_else(|| DurationError {
        text: text.to_owned(),
    })
}

/// A duration of a configuration, greater than zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PositiveDuration(Duration);

impl PositiveDuration {
    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl<'de> Deserialize<'de> for PositiveDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let duration =
            parse_duration(&String::deserialize(deserializer)?).map_err(D::Error::custom)?;
        if duration.is_zero() {
            return Err(D::Error::custom("must be greater than zero"));
        }
        Ok(Self(duration))
    }
}

/// A whole number of a configuration, from `LOW` to `HIGH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Within<T, const LOW: u64, const HIGH: u64>(T);

impl<T, const LOW: u64, const HIGH: u64> Within<T, LOW, HIGH> {
    /// The number.
    pub fn get(self) -> T {
        self.0
    }
}

impl<'de, T: TryFrom<u64>, const LOW: u64, const HIGH: u64> Deserialize<'de>
    for Within<T, LOW, HIGH>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        let within = Some(number).filter(|number| (LOW..=HIGH).contains(number));
        match within.and_then(|number| number.try_into().ok()) {
            Some(number) => Ok(Self(number)),
            None if HIGH >= u64::from(u32::MAX) => {
                Err(D::Error::custom(format!("must be at least {LOW}")))
            }
            None => Err(D::Error::custom(format!(
                "must be a number from {LOW} to {HIGH}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Shelf {
        label: String,
        books: Option<Vec<Book>>,
        lamp: Option<Lamp>,
        cover: Option<Cover>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Book {
        title: String,
        pages: Option<u32>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Lamp {
        watts: u32,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case")]
    enum Cover {
        Leather,
        Paper,
    }

    fn shelf(text: &str) -> (Option<Shelf>, Vec<String>) {
        let mut faults = Faults::default();
        let shelf = from_toml(text, &mut faults);
        let lines = faults
            .locate(text)
            .iter()
            .map(ToString::to_string)
            .collect();
        (shelf, lines)
    }

    fn lines(text: &str) -> Vec<String> {
        shelf(text).1
    }

    #[test]
    fn every_mistake_is_found() {
        let text = "labell = \"x\"\ncover = \"lether\"\n[[books]]\ntitle = 3\n[[books]]\ntitle = \"y\"\npage = 7\n\
            pages = \"many\"\n[lamp]\nwatt = 3\nvolts = 12\n[[books]]\npages = 1\n";
        assert_eq!(
            lines(text),
            [
                "line 1, column 1: unknown key `labell`; did you mean `label`?",
                "line 2, column 9: `cover`: unknown word `lether`; did you mean `leather`?",
                "line 4, column 9: `title`: expected a string, found integer `3`",
                "line 7, column 1: unknown key `page`; did you mean `pages`?",
                "line 8, column 9: `pages`: expected a non-negative integer, found string \"many\"",
                "line 10, column 1: unknown key `watt`; did you mean `watts`?",
                "line 11, column 1: unknown key `volts`, expected watts",
                "line 12, column 1: `title` is missing",
            ]
        );
    }

    #[test]
    fn a_text_that_is_not_toml_has_its_own_mistakes() {
        assert_eq!(
            lines("label = \"x\"\nlabel = \"y\"\n"),
            ["line 2, column 1: duplicate key"]
        );
    }

    #[test]
    fn the_rest_is_read() {
        let (shelf, findings) = shelf("label = \"x\"\ncover = 3\nbook = 4\n");
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert_eq!(shelf.expect("a shelf").label, "x");
    }

    #[test]
    fn a_right_text_is_read() {
        let (shelf, findings) = shelf("label = \"x\"\ncover = \"paper\"\n");
        assert!(findings.is_empty(), "{findings:?}");
        let shelf = shelf.expect("a shelf");
        assert_eq!(
            (shelf.label.as_str(), shelf.cover),
            ("x", Some(Cover::Paper))
        );
    }
}
