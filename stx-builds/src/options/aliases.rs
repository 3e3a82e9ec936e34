//! The table `[aliases]`: the names above the channels, and paths without a date.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use stx_layout::{Channel, ReleaseKind, RootAlias, RootTarget};
use stx_publish::aliases::AliasPolicy;

/// The entry `aliases` of the options.
///
/// ```
/// let options: stx_builds::Options = toml::from_str(
///     r#"
///     [aliases]
///     latest_release = false
///     undated = ["release", "milestone"]
///     "r2018.10" = "release/2018.10"
///     "#,
/// )?;
/// assert_eq!(options.aliases.policy().links.len(), 1);
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasesTable {
    policy: AliasPolicy,
    undated: Vec<ReleaseKind>,
}

impl Default for AliasesTable {
    fn default() -> Self {
        Self {
            policy: AliasPolicy {
                latest_release: true,
                links: BTreeMap::new(),
                exclusive: false,
            },
            undated: vec![ReleaseKind::Release],
        }
    }
}

impl AliasesTable {
    /// The names above the channels.
    pub fn policy(&self) -> &AliasPolicy {
        &self.policy
    }

    /// True if the newest build of a channel is available under paths without a date.
    pub fn is_undated(&self, channel: &Channel) -> bool {
        self.undated.contains(&channel.release.kind())
    }
}

impl<'de> Deserialize<'de> for AliasesTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TableVisitor)
    }
}

/// Reads the two options, and treats every other key as an alias.
struct TableVisitor;

impl<'de> Visitor<'de> for TableVisitor {
    type Value = AliasesTable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of aliases and their targets")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AliasesTable, A::Error> {
        let mut table = AliasesTable::default();
        // A table in the file determines the complete set of names.
        table.policy.exclusive = true;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "latest_release" => table.policy.latest_release = map.next_value()?,
                "undated" => table.undated = map.next_value()?,
                name => {
                    let alias: RootAlias = name.parse().map_err(|_| {
                        A::Error::custom(format!(
                            "unknown field `{name}`, which names no release and no channel, expected `latest_release` or `undated`"
                        ))
                    })?;
                    let to: RootTarget = map.next_value()?;
                    if !alias.fits(&to) {
                        return Err(A::Error::custom(format!(
                            "{alias} cannot point at {to}: a release's name points at a release, a channel's at another channel"
                        )));
                    }
                    table.policy.links.insert(alias, to);
                }
            }
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<AliasesTable, String> {
        crate::options::read_table(text, |options| options.aliases)
    }

    #[test]
    fn aliases_have_targets_of_their_kind() {
        assert_eq!(read(""), Ok(AliasesTable::default()));
        let table = read(
            "[aliases]\nundated = []\n\"r2018.10\" = \"release/2018.10\"\n\
             \"release/11.0.0/debian/flock\" = \"release/11.0.0/debian/trixie/amd64/flock\"\n",
        );
        let table = table.expect("a table");
        assert_eq!(table.policy.links.len(), 2);
        assert!(table.policy.follows_releases());
        let channel = "release/1/centos".parse().expect("a channel");
        assert!(!table.is_undated(&channel));
        assert!(AliasesTable::default().is_undated(&channel));
        let master = "master/centos".parse().expect("a channel");
        assert!(!AliasesTable::default().is_undated(&master));
        assert!(table.policy.exclusive && !AliasesTable::default().policy.exclusive);
        let fixed = read("[aliases]\n\"release/latest_release\" = \"release/9.0.0\"\n");
        assert!(!fixed.expect("a table").policy.follows_releases());
        for (text, said) in [
            ("latest_releas = true", "`latest_release`"),
            ("latest_release = 1", "expected a boolean"),
            ("undated = [\"releases\"]", "unknown variant `releases`"),
            (
                "\"r2018.10\" = \"release/2018.10/centos\"",
                "cannot point at",
            ),
            ("\"r2018.10\" = \"release/\"", "name"),
            ("\"r2018.10\" = true", "expected"),
        ] {
            let error = read(&format!("[aliases]\n{text}\n")).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
