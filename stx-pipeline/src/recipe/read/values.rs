//! Values of the file, as the types they have to be.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use stx_layout::meant;
use toml::de::{DeTable, DeValue};

use super::{Reader, Value, get};

impl Reader {
    pub(super) fn keys(&mut self, table: &DeTable<'_>, known: &[&str]) {
        for key in table.keys() {
            if !known.contains(&key.get_ref().as_ref()) {
                self.fault(
                    key.span().start,
                    format!(
                        "unknown key `{}`{}",
                        key.get_ref(),
                        meant(key.get_ref(), known)
                    ),
                );
            }
        }
    }

    pub(super) fn wrong(&mut self, value: &Value<'_>, key: &str, expected: &str) {
        self.fault(value.span().start, format!("`{key}` has to be {expected}"));
    }

    pub(super) fn text(&mut self, table: &DeTable<'_>, key: &str) -> Option<(usize, String)> {
        let value = get(table, key)?;
        if let DeValue::String(text) = value.get_ref() {
            Some((value.span().start, text.clone().into_owned()))
        } else {
            self.wrong(value, key, "a text");
            None
        }
    }

    pub(super) fn needed(
        &mut self,
        table: &DeTable<'_>,
        at: usize,
        key: &str,
    ) -> Option<(usize, String)> {
        if get(table, key).is_none() {
            self.fault(at, format!("`{key}` is missing"));
        }
        self.text(table, key)
    }

    pub(super) fn texts(&mut self, table: &DeTable<'_>, key: &str) -> Option<Vec<(usize, String)>> {
        let value = get(table, key)?;
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(value, key, "a list of texts");
            return None;
        };
        let mut texts = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::String(text) => texts.push((item.span().start, text.clone().into_owned())),
                _ => self.wrong(item, key, "a list of texts"),
            }
        }
        Some(texts)
    }

    pub(super) fn parsed<T: FromStr<Err: Display>>(
        &mut self,
        text: Option<(usize, String)>,
    ) -> Option<T> {
        let (at, text) = text?;
        text.parse().map_err(|error| self.fault(at, error)).ok()
    }

    pub(super) fn number<T: FromStr>(
        &mut self,
        table: &DeTable<'_>,
        key: &str,
        expected: &str,
    ) -> Option<T> {
        let value = get(table, key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            _ => None,
        };
        if number.is_none() {
            self.wrong(value, key, expected);
        }
        number
    }

    pub(super) fn duration(&mut self, table: &DeTable<'_>, key: &str) -> Option<Duration> {
        let (at, text) = self.text(table, key)?;
        match humantime::parse_duration(&text) {
            Ok(duration) if !duration.is_zero() => return Some(duration),
            Ok(_) => self.fault(at, format!("`{key}` must be greater than zero")),
            Err(error) => self.fault(
                at,
                format!("`{key}` is not a duration such as `90m`: {error}"),
            ),
        }
        None
    }

    pub(super) fn table<'a, 't>(
        &mut self,
        table: &'a DeTable<'t>,
        key: &str,
    ) -> Option<&'a DeTable<'t>> {
        let value = get(table, key)?;
        if let DeValue::Table(table) = value.get_ref() {
            Some(table)
        } else {
            self.wrong(value, key, "a table");
            None
        }
    }

    pub(super) fn tables<'a, 't>(
        &mut self,
        table: &'a DeTable<'t>,
        key: &str,
    ) -> Vec<(usize, &'a DeTable<'t>)> {
        let Some(value) = get(table, key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(value, key, "a list of tables");
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::Table(table) => tables.push((item.span().start, table)),
                _ => self.wrong(item, key, "a list of tables"),
            }
        }
        tables
    }

    /// A number of bytes such as `64 MiB`.
    pub(super) fn bytes(&mut self, table: &DeTable<'_>, key: &str) -> Option<u64> {
        let (at, text) = self.text(table, key)?;
        let bytes = size(&text);
        if bytes.is_none() {
            self.fault(
                at,
                format!("`{key}` is not a size such as `64 MiB`, from 1 KiB"),
            );
        }
        bytes
    }
}

fn size(text: &str) -> Option<u64> {
    let digits = text.find(|other: char| !other.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim_start() {
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        "GiB" => 1024 * 1024 * 1024,
        _ => return None,
    };
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(unit)
        .filter(|bytes| *bytes > 0)
}
