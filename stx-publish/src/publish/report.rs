//! The result of a publish.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use stx_layout::{AliasName, BuildId, BuildPath, counted, size};

use crate::metadata::Indexed;
use crate::plan::{AliasStep, PublishAction};
use crate::privacy::PrivacyReport;

/// The result of a publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublishReport {
    /// The build.
    pub id: BuildId,
    /// The decision to publish its files, or not.
    pub action: PublishAction,
    /// The number of files of the build, including repository metadata; 0 if nothing was published.
    pub files: u64,
    /// The sum of their sizes.
    pub bytes: u64,
    /// The bytes that the mirror or an equal file of the build already had, and that were not stored again.
    pub shared: u64,
    /// Aliases that were moved to the build.
    pub moved: Vec<AliasName>,
    /// The decision about each alias, with the reason.
    pub aliases: Vec<AliasStep>,
    /// The texts that were redacted, and the files that were not searched.
    pub privacy: Box<PrivacyReport>,
    /// The packages that the metadata of each repository lists, and those that it leaves out; empty if nothing was published.
    pub metadata: BTreeMap<BuildPath, Indexed>,
}

impl PublishReport {
    /// The problems of the repositories that need a person's attention, one line each.
    pub fn problems(&self) -> Vec<String> {
        let each = self.metadata.iter();
        each.flat_map(|(dir, indexed)| indexed.problems(dir))
            .collect()
    }
}

impl fmt::Display for PublishReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.action {
            PublishAction::New => {
                let Self {
                    id,
                    files,
                    bytes,
                    shared,
                    ..
                } = self;
                writeln!(
                    f,
                    "published {id}: {}, {}, of which {} were stored already",
                    counted(*files, "file"),
                    size(*bytes),
                    size(*shared)
                )?;
            }
            PublishAction::Same => {
                writeln!(f, "{} was published already, the same files", self.id)?;
            }
        }
        write!(f, "{}", self.privacy)?;
        for (dir, indexed) in &self.metadata {
            write!(f, "{dir}: {} listed", counted(indexed.listed, "package"))?;
            for (count, what) in [
                (indexed.unlisted.len(), ("file", " not listed")),
                (
                    indexed.duplicates.len(),
                    ("package", " listed more than once"),
                ),
                (indexed.carried.len(), ("record", " carried over")),
                (indexed.not_carried.len(), ("record", " left out")),
                (
                    indexed.replaced.len(),
                    ("file", " of the build's own metadata replaced"),
                ),
                (indexed.warnings.len(), ("warning", "")),
            ] {
                if count > 0 {
                    let (noun, done) = what;
                    write!(f, ", {}{done}", counted(count, noun))?;
                }
            }
            writeln!(f)?;
        }
        self.aliases.iter().try_for_each(|step| {
            if self.moved.contains(&step.alias) {
                writeln!(f, "{} -> {}", step.alias, self.id.date)
            } else {
                writeln!(f, "{step}")
            }
        })
    }
}
