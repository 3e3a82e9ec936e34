//! The result of comparing many packages.

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};
use stx_layout::{BuildId, Channel};

use crate::change::{Change, Noise};
use crate::inventory::Key;

/// The result of comparing packages. Packages whose files are the same, byte for byte, are counted and not named.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// The build that is compared with.
    pub from: Option<BuildId>,
    /// The build that is compared; absent for files.
    pub to: Option<BuildId>,
    /// Packages that were found the same by the digests of their files.
    pub identical: usize,
    /// The others.
    pub packages: Vec<Comparison>,
    /// Bytes that came over the network; absent for a mirror in a directory.
    pub transferred: Option<u64>,
}

/// The result of comparing one package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The package: its place, format, name and architecture.
    #[serde(flatten)]
    pub key: Key,
    /// The file as it was; absent for a package that is new.
    pub from: Option<String>,
    /// The file as it is; absent for a package that is gone.
    pub to: Option<String>,
    /// The result.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How the comparison of a package ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing that matters differs.
    Same {
        /// The differences that every rebuild brings.
        noise: Vec<Noise>,
    },
    /// Something differs.
    Different {
        /// The differences that count.
        changes: Vec<Change>,
        /// The differences that every rebuild brings.
        noise: Vec<Noise>,
        /// Files that differ and were to be looked into, but are too large.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        too_large: Vec<String>,
    },
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
    /// It could not be compared.
    Failed {
        /// The reason, as a text for people.
        reason: String,
        /// The next step, where there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
}

/// How a report treats noise, the differences that every rebuild brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NoiseMode {
    /// It is said, apart, and is no difference.
    #[default]
    List,
    /// It is not said.
    Hide,
    /// It is a difference.
    Count,
}

/// How many packages came out how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// The same, or with noise only.
    pub same: usize,
    /// Different.
    pub different: usize,
    /// New.
    pub added: usize,
    /// Gone.
    pub removed: usize,
    /// Not compared.
    pub failed: usize,
}

impl Report {
    /// How many packages came out how.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            same: self.identical,
            ..Counts::default()
        };
        for package in &self.packages {
            let count = match package.outcome {
                Outcome::Same { .. } => &mut counts.same,
                Outcome::Different { .. } => &mut counts.different,
                Outcome::Added => &mut counts.added,
                Outcome::Removed => &mut counts.removed,
                Outcome::Failed { .. } => &mut counts.failed,
            };
            *count += 1;
        }
        counts
    }

    /// Whether anything differs, for the exit code.
    pub fn differs(&self) -> bool {
        let counts = self.counts();
        counts.different + counts.added + counts.removed > 0
    }

    /// Treats noise as `mode` says, in place.
    pub fn apply(&mut self, mode: NoiseMode) {
        for package in &mut self.packages {
            match (&mut package.outcome, mode) {
                (Outcome::Same { noise } | Outcome::Different { noise, .. }, NoiseMode::Hide) => {
                    noise.clear();
                }
                (Outcome::Same { noise }, NoiseMode::Count) if !noise.is_empty() => {
                    package.outcome = Outcome::Different {
                        changes: Vec::new(),
                        noise: std::mem::take(noise),
                        too_large: Vec::new(),
                    };
                }
                (_, NoiseMode::List | NoiseMode::Hide | NoiseMode::Count) => {}
            }
        }
    }
}

/// The result of comparing two releases, channel by channel, or of one comparison.
///
/// A report that stands alone is serialised as that report.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reports {
    /// The comparisons of channels that both have.
    pub reports: Vec<Report>,
    /// Channels that only the first release has.
    pub only_from: Vec<Channel>,
    /// Channels that only the second release has.
    pub only_to: Vec<Channel>,
    /// Bytes that came over the network; absent for a mirror in a directory.
    pub transferred: Option<u64>,
}

impl Reports {
    /// The report that stands alone.
    pub fn single(&self) -> Option<&Report> {
        match (&self.reports[..], &self.only_from[..], &self.only_to[..]) {
            ([report], [], []) => Some(report),
            _ => None,
        }
    }

    /// True if packages differ, or the channels of the releases; the exit code follows from it.
    pub fn differs(&self) -> bool {
        let differs = self.reports.iter().any(Report::differs);
        differs || !self.only_from.is_empty() || !self.only_to.is_empty()
    }

    /// Treats noise as `mode` says, in place.
    pub fn apply(&mut self, mode: NoiseMode) {
        self.reports
            .iter_mut()
            .for_each(|report| report.apply(mode));
    }

    /// Every package that was compared.
    pub fn packages(&self) -> impl Iterator<Item = &Comparison> {
        self.reports.iter().flat_map(|report| &report.packages)
    }
}

impl Serialize for Reports {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(report) = self.single() {
            return report.serialize(serializer);
        }
        let mut document = serializer.serialize_struct("Reports", 4)?;
        document.serialize_field("channels", &self.reports)?;
        document.serialize_field("only_from", &self.only_from)?;
        document.serialize_field("only_to", &self.only_to)?;
        document.serialize_field("transferred", &self.transferred)?;
        document.end()
    }
}
