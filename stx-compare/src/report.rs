//! The result of comparing many packages.

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};
use stx_layout::{BuildId, Channel};

use crate::change::{Change, Noise};
use crate::inventory::Key;

/// The result of comparing packages. Packages with identical files are only counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// The old build; absent for files.
    pub from: Option<BuildId>,
    /// The new build; absent for files.
    pub to: Option<BuildId>,
    /// The number of packages with identical digests of their files.
    pub identical: usize,
    /// The other packages.
    pub packages: Vec<Comparison>,
    /// Bytes received over the network; absent for a mirror in a directory.
    pub transferred: Option<u64>,
}

/// The result of comparing one package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The package: its place, format, name and architecture.
    #[serde(flatten)]
    pub key: Key,
    /// The old file; absent for a new package.
    pub from: Option<String>,
    /// The new file; absent for a package that is gone.
    pub to: Option<String>,
    /// The result.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// The outcome of comparing a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// No difference that matters.
    Same {
        /// The differences that every rebuild causes.
        noise: Vec<Noise>,
    },
    /// Differences that matter.
    Different {
        /// The differences that matter.
        changes: Vec<Change>,
        /// The differences that every rebuild causes.
        noise: Vec<Noise>,
        /// Files that differ and should be examined, but are too large.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        too_large: Vec<String>,
    },
    /// The package is new.
    Added,
    /// The package is gone.
    Removed,
    /// The package could not be compared.
    Failed {
        /// The reason, for people.
        reason: String,
        /// The next step, if there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
}

/// The treatment of noise, the differences that every rebuild causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NoiseMode {
    /// Noise is listed separately, and does not count as a difference.
    #[default]
    List,
    /// Noise is not listed.
    Hide,
    /// Noise counts as a difference.
    Count,
}

/// The numbers of packages, by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Equal, or with noise only.
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
    /// The numbers of packages, by outcome.
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

    /// True if packages differ; the exit code follows from it.
    pub fn differs(&self) -> bool {
        let counts = self.counts();
        counts.different + counts.added + counts.removed > 0
    }

    /// Treats noise according to `mode`, in place.
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

/// The result of comparing two releases, channel by channel, or of a single comparison.
///
/// A single report is serialized as that report.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reports {
    /// The comparisons of the channels that both releases have.
    pub reports: Vec<Report>,
    /// Channels that only the first release has.
    pub only_from: Vec<Channel>,
    /// Channels that only the second release has.
    pub only_to: Vec<Channel>,
    /// Bytes received over the network; absent for a mirror in a directory.
    pub transferred: Option<u64>,
}

impl Reports {
    /// The report of a single comparison.
    pub fn single(&self) -> Option<&Report> {
        match (&self.reports[..], &self.only_from[..], &self.only_to[..]) {
            ([report], [], []) => Some(report),
            _ => None,
        }
    }

    /// True if the packages or the channels of the releases differ; the exit code follows from it.
    pub fn differs(&self) -> bool {
        let differs = self.reports.iter().any(Report::differs);
        differs || !self.only_from.is_empty() || !self.only_to.is_empty()
    }

    /// Treats noise according to `mode`, in place.
    pub fn apply(&mut self, mode: NoiseMode) {
        self.reports
            .iter_mut()
            .for_each(|report| report.apply(mode));
    }

    /// All compared packages.
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
