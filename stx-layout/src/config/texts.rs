//! Several files that are read as one document.

use camino::{Utf8Path, Utf8PathBuf};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::read::parse;
use super::{ConfigError, ConfigErrors, Faults, Position};

/// The texts of several files that are read as one document.
///
/// Byte offsets count through all texts, so an entry keeps its position when it is moved to the table of another text.
#[derive(Debug, Clone, Default)]
pub struct Texts {
    texts: Vec<Text>,
}

#[derive(Debug, Clone)]
struct Text {
    /// The file; `None` for a text that is not from a file.
    file: Option<Utf8PathBuf>,
    body: String,
    /// The offset of its first byte.
    start: usize,
}

impl Texts {
    /// Adds a text and returns its number. The first text begins at offset 0.
    pub fn add(&mut self, file: Option<&Utf8Path>, text: String) -> usize {
        // One byte more: a mistake at the end of a text must not be at the start of the next one.
        let end = |last: &Text| last.start + last.body.len() + 1;
        let start = self.texts.last().map_or(0, end);
        self.texts.push(Text {
            file: file.map(Utf8Path::to_owned),
            body: text,
            start,
        });
        self.texts.len() - 1
    }

    /// The offset of the first byte of a text.
    ///
    /// # Panics
    /// If there is no text of this number.
    pub fn start(&self, number: usize) -> usize {
        self.texts[number].start
    }

    /// Parses a text, and adds its mistakes to `faults`. `None` if it is not TOML.
    ///
    /// # Panics
    /// If there is no text of this number.
    pub fn table(&self, number: usize, faults: &mut Faults) -> Option<DeTable<'_>> {
        let Text { body, start, .. } = &self.texts[number];
        let table = parse(body, *start, faults)?.into_inner();
        Some(moved_table(table, *start))
    }

    /// The files, with their texts.
    pub fn iter(&self) -> impl Iterator<Item = (Option<&Utf8Path>, &str)> {
        let texts = self.texts.iter();
        texts.map(|text| (text.file.as_deref(), text.body.as_str()))
    }

    /// The mistakes with their files and positions.
    pub fn locate(&self, faults: Faults) -> ConfigErrors {
        let located = |(at, message)| {
            let found = self.texts.iter().rev().find(|text| text.start <= at);
            ConfigError {
                file: found.and_then(|text| text.file.clone()),
                at: found.map(|text| Position::of(&text.body, at - text.start)),
                message,
            }
        };
        faults.into_iter().map(located).collect()
    }
}

fn moved_table(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    let entries = table.into_iter();
    entries
        .map(|(key, value)| {
            let span = key.span();
            let key = Spanned::new(span.start + by..span.end + by, key.into_inner());
            (key, moved(value, by))
        })
        .collect()
}

fn moved(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = value.span();
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(moved_table(table, by)),
        DeValue::Array(items) => {
            let mut list = DeArray::new();
            for item in items {
                list.push(moved(item, by));
            }
            DeValue::Array(list)
        }
        leaf @ (DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)) => leaf,
    };
    Spanned::new(span.start + by..span.end + by, value)
}
