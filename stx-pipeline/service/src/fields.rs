//! Reading the tables of a configuration, mistake by mistake.

use std::fmt::Display;
use std::time::Duration;

use stx_layout::meant;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use stx_pipeline::Finding;

type Value<'t> = Spanned<DeValue<'t>>;

/// Mistakes, by byte offset.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<(usize, String)>);

impl Faults {
    pub(super) fn add(&mut self, at: usize, message: impl Display) {
        self.0.push((at, message.to_string()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The mistakes in the order of the text.
    pub(super) fn findings(mut self, text: &str) -> Vec<Finding> {
        self.0.sort();
        self.0.dedup();
        let faults = self.0.into_iter();
        faults
            .map(|(at, message)| Finding::at(text, at, message))
            .collect()
    }
}

/// One table, whose keys are taken one by one; what nobody takes is unknown.
pub(super) struct Fields<'a, 't, 'f> {
    table: &'a DeTable<'t>,
    /// Where the table stands.
    pub(super) at: usize,
    known: Vec<&'static str>,
    pub(super) faults: &'f mut Faults,
}

impl<'a, 't, 'f> Fields<'a, 't, 'f> {
    pub(super) fn new(table: &'a DeTable<'t>, at: usize, faults: &'f mut Faults) -> Self {
        let known = Vec::new();
        Self {
            table,
            at,
            known,
            faults,
        }
    }

    fn get(&mut self, key: &'static str) -> Option<&'a Value<'t>> {
        self.known.push(key);
        let mut entries = self.table.iter();
        entries
            .find(|(name, _)| name.get_ref() == key)
            .map(|(_, value)| value)
    }

    fn wrong<T>(&mut self, value: &Value<'_>, key: &str, expected: &str) -> Option<T> {
        let at = value.span().start;
        self.faults.add(at, format!("`{key}` has to be {expected}"));
        None
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<(usize, String)> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some((value.span().start, text.clone().into_owned())),
            _ => self.wrong(value, key, "a text"),
        }
    }

    pub(super) fn needed(&mut self, key: &'static str) -> Option<(usize, String)> {
        if !self.table.iter().any(|(name, _)| name.get_ref() == key) {
            self.faults.add(self.at, format!("`{key}` is missing"));
        }
        self.text(key)
    }

    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<(usize, String)>> {
        let value = self.get(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            return self.wrong(value, key, "a list of texts");
        };
        let mut texts = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::String(text) => texts.push((item.span().start, text.clone().into_owned())),
                _ => self
                    .wrong::<()>(item, key, "a list of texts")
                    .unwrap_or_default(),
            }
        }
        Some(texts)
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            _ => self.wrong(value, key, "true or false"),
        }
    }

    /// A number from 1 to `most`.
    pub(super) fn number(&mut self, key: &'static str, most: usize) -> Option<usize> {
        let value = self.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            _ => None,
        };
        match number.filter(|number| (1..=most).contains(number)) {
            Some(number) => Some(number),
            None => self.wrong(value, key, &format!("a number from 1 to {most}")),
        }
    }

    pub(super) fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let (at, text) = self.text(key)?;
        match humantime::parse_duration(&text) {
            Ok(duration) if !duration.is_zero() => return Some(duration),
            Ok(_) => self
                .faults
                .add(at, format!("`{key}` must be greater than zero")),
            Err(error) => {
                let message = format!("`{key}` is not a duration such as `90m`: {error}");
                self.faults.add(at, message);
            }
        }
        None
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let (at, text) = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let words: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            let message = format!("`{key}` has to be {}", words.join(" or "));
            self.faults.add(at, message);
        }
        found.map(|(_, value)| *value)
    }

    /// Says which keys nobody took.
    pub(super) fn done(self) {
        for key in self.table.keys() {
            if !self.known.contains(&key.get_ref().as_ref()) {
                let (name, known) = (key.get_ref(), &self.known);
                let message = format!("unknown key `{name}`{}", meant(name, known));
                self.faults.add(key.span().start, message);
            }
        }
    }
}

/// The tables of a list of tables.
pub(super) fn tables<'a, 't>(
    root: &'a DeTable<'t>,
    key: &str,
    faults: &mut Faults,
) -> Vec<(usize, &'a DeTable<'t>)> {
    let value = root.iter().find(|(name, _)| name.get_ref() == key);
    let Some((_, value)) = value else {
        return Vec::new();
    };
    let items = match value.get_ref() {
        DeValue::Array(items) => items.iter().collect(),
        _ => vec![value],
    };
    let mut tables = Vec::new();
    for item in items {
        match item.get_ref() {
            DeValue::Table(table) if !std::ptr::eq(item, value) => {
                tables.push((item.span().start, table));
            }
            _ => faults.add(
                item.span().start,
                format!("`{key}` has to be a list of tables, `[[{key}]]`"),
            ),
        }
    }
    tables
}
