//! The table `[zsync]`.

use serde::Deserialize;
use stx_publish::ControlRules;

use super::size::Size;

/// The selection of files that get a zsync control file when they are published.
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
