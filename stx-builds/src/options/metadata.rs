//! The table `[metadata]`, or the string form `metadata = "…"`.

use serde::Deserialize;

/// The program that makes the metadata of RPM repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Metadata {
    /// This program, which reuses what it already learned while publishing.
    #[default]
    #[serde(rename = "built-in")]
    BuiltIn,
    /// `createrepo_c`.
    #[serde(rename = "createrepo_c")]
    CreaterepoC,
}

/// The entry `metadata` of the options: `metadata = "createrepo_c"`, or a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MetadataTable {
    made_by: Metadata,
    strict: bool,
}

impl MetadataTable {
    /// The program that makes the metadata.
    pub fn made_by(self) -> Metadata {
        self.made_by
    }

    /// True if a success with incomplete metadata is refused.
    pub fn strict(self) -> bool {
        self.strict
    }
}

impl<'de> Deserialize<'de> for MetadataTable {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

/// Accepts both forms, so that the message about a wrong key or name matches the form in the file.
struct Visitor;

impl<'de> serde::de::Visitor<'de> for Visitor {
    type Value = MetadataTable;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("`built-in`, `createrepo_c`, or a table")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<MetadataTable, E> {
        let name = serde::de::value::StrDeserializer::new(name);
        Ok(MetadataTable {
            made_by: Metadata::deserialize(name)?,
            strict: false,
        })
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<MetadataTable, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            #[serde(default)]
            made_by: Metadata,
            #[serde(default)]
            strict: bool,
        }
        let Table { made_by, strict } =
            Table::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        Ok(MetadataTable { made_by, strict })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<MetadataTable, String> {
        crate::options::read_table(text, |options| options.metadata)
    }

    #[test]
    fn a_name_and_a_table_are_read() {
        let createrepo = |strict| MetadataTable {
            made_by: Metadata::CreaterepoC,
            strict,
        };
        let strict = MetadataTable {
            strict: true,
            ..MetadataTable::default()
        };
        for (text, expected) in [
            ("", MetadataTable::default()),
            ("metadata = \"built-in\"", MetadataTable::default()),
            ("metadata = \"createrepo_c\"", createrepo(false)),
            ("[metadata]\nmade_by = \"createrepo_c\"", createrepo(false)),
            (
                "[metadata]\nmade_by = \"createrepo_c\"\nstrict = true",
                createrepo(true),
            ),
            ("[metadata]\nstrict = true", strict),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
        for (text, said) in [
            ("metadata = \"createrepo\"", "unknown variant `createrepo`"),
            ("metadata = true", "or a table"),
            ("[metadata]\nstrickt = true", "unknown field `strickt`"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
