//! Reads values, and records every mistake.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};

use super::{ConfigError, ConfigErrors, Position};
use crate::{meant, nearest};

/// The mistakes of a text while it is read, by byte offset.
#[derive(Debug, Default)]
pub struct Faults {
    found: BTreeSet<(usize, String)>,
    /// The keys with wrong values, each with the offset of its table: they do not count as missing. The keys of list items are
    /// empty.
    wrong: BTreeSet<(usize, String)>,
}

impl Faults {
    /// Adds a mistake.
    pub fn add(&mut self, at: usize, message: impl fmt::Display) {
        self.found.insert((at, message.to_string()));
    }

    /// Adds that a key is missing in the table at `table`, unless it is present with a wrong value, or misspelt.
    pub fn missing(&mut self, table: usize, key: &str) {
        if !self.is_wrong(table, key) {
            self.add(table, format!("`{key}` is missing"));
        }
    }

    /// True if the table at `table` has this key with a wrong value, or misspelt.
    pub fn is_wrong(&self, table: usize, key: &str) -> bool {
        self.wrong.contains(&(table, key.to_owned()))
    }

    /// True if a wrong entry was removed from the table or list at `at`.
    pub fn is_damaged(&self, at: usize) -> bool {
        let first = self.wrong.range((at, String::new())..).next();
        first.is_some_and(|(table, _)| *table == at)
    }

    /// True if a mistake begins with these words.
    pub fn any_begins(&self, words: &str) -> bool {
        self.found
            .iter()
            .any(|(_, message)| message.starts_with(words))
    }

    /// The number of mistakes.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// True if there are no mistakes.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The mistakes with their positions in `text`.
    pub fn locate(self, text: &str) -> ConfigErrors {
        let located = |(at, message)| ConfigError {
            file: None,
            at: Some(Position::of(text, at)),
            message,
        };
        self.found.into_iter().map(located).collect()
    }
}

impl IntoIterator for Faults {
    type Item = (usize, String);
    type IntoIter = std::collections::btree_set::IntoIter<(usize, String)>;

    fn into_iter(self) -> Self::IntoIter {
        self.found.into_iter()
    }
}

/// The value of a text without its wrong entries; adds the mistakes to `faults`.
///
/// `None` if the rest is not a value of the type.
pub fn from_toml<T: DeserializeOwned>(text: &str, faults: &mut Faults) -> Option<T> {
    let document = parse(text, 0, faults)?;
    let (span, table) = (document.span(), document.into_inner());
    read(Spanned::new(span, DeValue::Table(table)), faults)
}

/// Parses a text. Offsets in the table count from the beginning of the text; `start` is added to those of mistakes in `faults`.
pub(super) fn parse<'t>(
    text: &'t str,
    start: usize,
    faults: &mut Faults,
) -> Option<Spanned<DeTable<'t>>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        faults.add(start + at, error.message());
    }
    // The tables of a text that is not TOML would only cause more misleading mistakes.
    errors.is_empty().then_some(document)
}

/// The value of a part of a document without its wrong entries; adds the mistakes to `faults`, with their byte offsets. `None` if
/// the rest is not a value of the type.
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
        // A mistake of the whole value, such as a missing key, hides no others: the mistakes of its entries were found before.
        let Removed { table, key } = removed?;
        let meant = quoted(error.message(), "unknown field `").and_then(|word| {
            let others = error.message().split('`').skip(3).step_by(2);
            nearest(word, others).map(ToOwned::to_owned)
        });
        faults.wrong.extend(meant.map(|meant| (table, meant)));
        faults.wrong.insert((table, key.unwrap_or_default()));
    }
}

/// The quoted word after `begin`, if a message begins with it.
fn quoted<'m>(message: &'m str, begin: &str) -> Option<&'m str> {
    message.strip_prefix(begin)?.split('`').next()
}

/// An entry that was removed from a table, or an item that was removed from a list.
struct Removed {
    /// The offset of the table.
    table: usize,
    key: Option<String>,
}

/// Removes the innermost entry or item at `at`.
fn remove(value: &mut Spanned<DeValue<'_>>, at: usize) -> Option<Removed> {
    let table = value.span().start;
    match value.get_mut() {
        DeValue::Table(entries) => {
            // The entries of `[a.b]` are not within the text of `[a]`, so all of them are searched.
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

/// The message of serde in the words of the other mistakes, with the nearest known word.
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

/// The TOML name of a Rust type.
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

#[cfg(test)]
mod tests {
    use serde::Deserialize;

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
    fn invalid_toml_is_reported_with_its_own_mistakes() {
        assert_eq!(
            lines("label = \"x\"\nlabel = \"y\"\n"),
            ["line 2, column 1: duplicate key"]
        );
    }

    #[test]
    fn valid_values_are_read_despite_mistakes() {
        let (shelf, findings) = shelf("label = \"x\"\ncover = 3\nbook = 4\n");
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert_eq!(shelf.expect("a shelf").label, "x");
    }

    #[test]
    fn a_valid_text_is_read() {
        let (shelf, findings) = shelf("label = \"x\"\ncover = \"paper\"\n");
        assert!(findings.is_empty(), "{findings:?}");
        let shelf = shelf.expect("a shelf");
        assert_eq!(
            (shelf.label.as_str(), shelf.cover),
            ("x", Some(Cover::Paper))
        );
    }
}
