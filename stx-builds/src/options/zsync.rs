//! The table `[zsync]`.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use stx_publish::ControlRules;

/// Which files get a zsync control file when they are published.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, try_from = "Table")]
pub struct ZsyncTable(ControlRules);

impl Default for ZsyncTable {
    fn default() -> Self {
        Self::try_from(Table::default()).expect("the default globs are right")
    }
}

impl ZsyncTable {
    /// The rules.
    pub fn rules(&self) -> &ControlRules {
        &self.0
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Table {
    enabled: bool,
    min_size: Size,
    files: Vec<String>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            enabled: true,
            min_size: Size(ControlRules::MIN_SIZE),
            files: ControlRules::FILES.map(str::to_owned).into(),
        }
    }
}

impl TryFrom<Table> for ZsyncTable {
    type Error = String;

    fn try_from(table: Table) -> Result<Self, String> {
        let globs = table.files.iter().map(String::as_str);
        let rules =
            ControlRules::new(globs, table.min_size.0).map_err(|error| error.to_string())?;
        Ok(Self(if table.enabled {
            rules
        } else {
            ControlRules::none()
        }))
    }
}

/// A number of bytes: `16777216`, or with a unit `"16 MiB"`.
#[derive(Debug)]
struct Size(u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor).map(Self)
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes, or a size such as \"16 MiB\"")
    }

    fn visit_i64<E: Error>(self, bytes: i64) -> Result<u64, E> {
        u64::try_from(bytes)
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(bytes), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim_start() {
            "B" => Some(0),
            "KiB" => Some(10),
            "MiB" => Some(20),
            "GiB" => Some(30),
            _ => None,
        };
        let size = shift.and_then(|shift| number.parse::<u64>().ok()?.checked_mul(1 << shift));
        size.ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_or_are_bytes() {
        let read = |value: &str| {
            let table: Result<Table, _> = toml::from_str(&format!("min_size = {value}"));
            table
                .map(|table| table.min_size.0)
                .map_err(|error| error.to_string())
        };
        for (value, expected) in [
            ("0", 0),
            ("1000", 1000),
            ("\"7 B\"", 7),
            ("\"16 MiB\"", 16 << 20),
            ("\"2GiB\"", 2 << 30),
            ("\"3 KiB\"", 3 << 10),
        ] {
            assert_eq!(read(value), Ok(expected), "{value}");
        }
        for value in [
            "-1",
            "1.5",
            "\"\"",
            "\"16\"",
            "\"16 MB\"",
            "\"MiB\"",
            "\"99999999999 GiB\"",
        ] {
            let error = read(value).expect_err(value);
            assert!(error.contains("16 MiB"), "{value}: {error}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let read = |text: &str| {
            let table: Result<ZsyncTable, _> = toml::from_str(text);
            table.expect_err(text).to_string()
        };
        assert!(read("files = [\"[\"]").contains("unclosed character class"));
        assert!(read("size = 1").contains("unknown field `size`"));
    }
}
