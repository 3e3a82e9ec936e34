//! Reading TOML into a value of Rust mistake by mistake.
//!
//! serde stops at the first mistake. Here it is noted, the entry in which it stands is taken out, and the rest is read again,
//! so that somebody who mends a file sees all of them at once.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use stx_layout::{meant, nearest};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};

use crate::recipe::Finding;

/// The value that a text has without what is wrong in it, and every mistake, in the order of the text.
///
/// `None` where nothing can be made of the rest.
pub fn from_toml<T: DeserializeOwned>(text: &str) -> (Option<T>, Vec<Finding>) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut faults: Vec<_> = errors
        .iter()
        .map(|error| {
            let at = error.span().map_or(0, |span| span.start);
            (at, error.message().to_owned())
        })
        .collect();
    // A text that is not TOML would only be misread further.
    let value = if faults.is_empty() {
        let (span, table) = (document.span(), document.into_inner());
        read(Spanned::new(span, DeValue::Table(table)), &mut faults)
    } else {
        None
    };
    faults.sort();
    faults.dedup();
    let faults = faults.into_iter();
    let findings = faults.map(|(at, message)| Finding::at(text, at, message));
    (value, findings.collect())
}

/// The value of a part of a document without what is wrong with it; its mistakes are added to `faults`, with their byte
/// offsets. `None` where nothing can be made of it.
pub fn read<T: DeserializeOwned>(
    mut value: Spanned<DeValue<'_>>,
    faults: &mut Vec<(usize, String)>,
) -> Option<T> {
    // Keys that are only missing because they were wrong, each with its table.
    let mut known = BTreeSet::new();
    loop {
        let error = match T::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(read) => return Some(read),
            Err(error) => error,
        };
        let at = error.span().map_or(value.span().start, |span| span.start);
        let message = error.message();
        let missing = quoted(message, "missing field `");
        let is_known = missing.is_some_and(|key| known.contains(&(at, key.to_owned())));
        let removed = remove(&mut value, at);
        if !is_known {
            let message = reworded(message);
            faults.push(match &removed {
                Some(Removed { key: Some(key), .. })
                    if missing.is_none() && !message.contains(&format!("`{key}`")) =>
                {
                    (at, format!("`{key}`: {message}"))
                }
                Some(_) | None => (at, message),
            });
        }
        // A mistake of the whole, such as a key that is missing, hides no other one: those in its entries came first.
        let Removed { table, key } = removed?;
        if let Some(key) = key {
            let meant = quoted(error.message(), "unknown field `").and_then(|word| {
                let others = error.message().split('`').skip(3).step_by(2);
                nearest(word, others).map(ToOwned::to_owned)
            });
            known.extend(meant.map(|meant| (table, meant)));
            known.insert((table, key));
        }
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

/// The message of serde in the words of the other mistakes, with the nearest known word.
fn reworded(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let begins = |begin| message.starts_with(begin);
    match quoted.next() {
        Some(word) if begins("unknown field `") => {
            let known: Vec<_> = quoted.collect();
            format!("unknown key `{word}`{}", meant(word, &known))
        }
        Some(word) if begins("unknown variant `") => {
            let known: Vec<_> = quoted.collect();
            format!("unknown word `{word}`{}", meant(word, &known))
        }
        Some(word) if begins("missing field `") => format!("`{word}` is missing"),
        Some(_) | None => message.to_owned(),
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

    fn lines(text: &str) -> Vec<String> {
        let (_, findings) = from_toml::<Shelf>(text);
        findings.iter().map(ToString::to_string).collect()
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
                "line 4, column 9: `title`: invalid type: integer `3`, expected a string",
                "line 7, column 1: unknown key `page`; did you mean `pages`?",
                "line 8, column 9: `pages`: invalid type: string \"many\", expected u32",
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
        let (shelf, findings) = from_toml::<Shelf>("label = \"x\"\ncover = 3\nbook = 4\n");
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert_eq!(shelf.expect("a shelf").label, "x");
    }

    #[test]
    fn a_right_text_is_read() {
        let (shelf, findings) = from_toml::<Shelf>("label = \"x\"\ncover = \"paper\"\n");
        assert_eq!(findings, []);
        let shelf = shelf.expect("a shelf");
        assert_eq!(
            (shelf.label.as_str(), shelf.cover),
            ("x", Some(Cover::Paper))
        );
    }
}
