//! The record of one build: its `build.json`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{After, BuildId, BuildOutcome, BuildPath, Origin, Sha256};

/// The outcome of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseStatus {
    /// Exit status 0.
    Succeeded,
    /// Every attempt failed.
    Failed,
    /// The last attempt ran into its time limit.
    TimedOut,
    /// Ended because the build ended.
    Cancelled,
    /// Not started: a phase that it needs did not succeed, or the build ended before.
    Skipped,
}

impl PhaseStatus {
    /// The word in messages; JSON writes [`TimedOut`](Self::TimedOut) with a hyphen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }
}

/// One git repository of a build: its place in the tree, and its commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourceRecord {
    /// The work tree below the source root: `cgcs-root/stx/config`.
    pub path: String,
    /// The URL that it was fetched from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The commit, 40 (or 64) hexadecimal digits.
    pub commit: String,
}

/// One phase of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseRecord {
    /// The recipe's name for it.
    pub name: String,
    /// The result.
    pub status: PhaseStatus,
    /// True if its failure fails the build.
    pub required: bool,
    /// The number of attempts.
    pub attempts: u32,
    /// The time at which the first attempt started; absent for a phase that was never started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<DateTime<Utc>>,
    /// The time at which the last attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<DateTime<Utc>>,
    /// The reason for its failure, in one line; absent if it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl PhaseRecord {
    /// The reason of its failure, in one line: `phase image: exit status 7`.
    pub fn failure(&self) -> String {
        let reason = self.reason.as_deref().unwrap_or("failed");
        format!("phase {}: {reason}", self.name)
    }
}

/// A container image that belongs to a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// `docker.io/starlingx/stx-keystone:…`.
    pub name: String,
    /// The digest of its manifest.
    pub digest: Sha256,
    /// Its platform, `linux/amd64`; several are separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The total stored size of its manifests, configurations and layers, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// A file of the recipe of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeFileRecord {
    /// The path below the recipe's directory, or only the name if the file is elsewhere.
    pub path: String,
    /// The digest when the build started.
    pub sha256: Sha256,
}

/// The record of one build, as written to its `build.json`.
///
/// Written once, when the build is published. Unknown fields, from a later version, are kept in [`other`](Self::other) and
/// written back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRecord {
    /// The version of this form; see [`BuildRecord::SCHEMA`].
    pub schema: u32,
    /// The build.
    pub id: BuildId,
    /// The result.
    pub result: BuildOutcome,
    /// The reason for the build: `manual`, `periodic`, `commit`, with any text that was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// The way it came to the mirror; absent if it was published from a tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The build of another channel upon which this build was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<After>,
    /// The git branch or tag that was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The recipe's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// The files of the recipe: first the recipe itself, then its includes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipe_files: Vec<RecipeFileRecord>,
    /// The git repositories, sorted by path.
    #[serde(default)]
    pub sources: Vec<SourceRecord>,
    /// The phases, in the order of the recipe.
    #[serde(default)]
    pub phases: Vec<PhaseRecord>,
    /// The phases whose files later phases could read in the preview while the build ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previewed_phases: Vec<String>,
    /// The required phase that failed first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_failing_phase: Option<String>,
    /// The deliverables without which the build is not a success: the globs of the recipe.
    #[serde(default)]
    pub required_deliverables: Vec<String>,
    /// The required deliverables that are missing.
    #[serde(default)]
    pub missing_deliverables: Vec<String>,
    /// Container images.
    #[serde(default)]
    pub images: Vec<ImageRecord>,
    /// Names of container images that the build lists as made, and whose digests were not recorded: those in the `images-*.lst`
    /// of an [adopted](Origin::Adopted) build.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named_images: Vec<String>,
    /// The number of files of the build, without `build.json` and `SHA256SUMS`.
    #[serde(default)]
    pub files: u64,
    /// Their bytes.
    #[serde(default)]
    pub bytes: u64,
    /// Fields of a later version, kept unchanged.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// A `build.json` that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not the JSON of a record.
    #[error("line {}, column {}", source.line(), source.column())]
    Json {
        /// The JSON error, with its line and column.
        #[from]
        source: serde_json::Error,
    },
    /// Written by a version that changed the meaning of known fields.
    #[error(
        "a record of schema {found}; this version reads up to {}",
        BuildRecord::SCHEMA
    )]
    TooNew {
        /// Its schema version.
        found: u32,
    },
}

impl BuildRecord {
    /// The name of the file in a build's directory.
    pub const FILE_NAME: &'static str = "build.json";

    /// The version that this crate writes, and the newest one that it reads.
    pub const SCHEMA: u32 = 1;

    /// A record with only the required fields.
    pub fn new(id: BuildId, result: BuildOutcome) -> Self {
        Self {
            schema: Self::SCHEMA,
            id,
            result,
            trigger: None,
            origin: None,
            after: None,
            branch: None,
            recipe: None,
            recipe_files: Vec::new(),
            sources: Vec::new(),
            phases: Vec::new(),
            first_failing_phase: None,
            required_deliverables: Vec::new(),
            missing_deliverables: Vec::new(),
            images: Vec::new(),
            named_images: Vec::new(),
            previewed_phases: Vec::new(),
            files: 0,
            bytes: 0,
            other: BTreeMap::new(),
        }
    }

    /// The reason why the build failed, in one line: `phase image: exit status 7`, or `missing: outputs/iso/*.iso`. `None` of a success,
    /// and of a failure about which the record says nothing.
    ///
    /// ```
    /// # use stx_layout::{BuildOutcome, BuildRecord};
    /// let id = "master/centos/20181105T060000Z".parse()?;
    /// let mut record = BuildRecord::new(id, BuildOutcome::Fail);
    /// assert_eq!(record.failure(), None);
    /// record.missing_deliverables.push("outputs/iso/*.iso".to_owned());
    /// assert_eq!(record.failure().as_deref(), Some("missing: outputs/iso/*.iso"));
    /// # Ok::<_, stx_layout::ParseError>(())
    /// ```
    pub fn failure(&self) -> Option<String> {
        if self.result == BuildOutcome::Success {
            return None;
        }
        let missing = &self.missing_deliverables;
        match &self.first_failing_phase {
            Some(name) => {
                let phase = self.phases.iter().find(|phase| phase.name == *name);
                Some(phase.map_or_else(|| format!("phase {name}: failed"), PhaseRecord::failure))
            }
            None => (!missing.is_empty()).then(|| format!("missing: {}", missing.join(", "))),
        }
    }

    /// Reads the text of a `build.json`.
    pub fn from_json(text: &str) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let Version { schema: found } = serde_json::from_str(text)?;
        if found > Self::SCHEMA {
            return Err(RecordError::TooNew { found });
        }
        Ok(serde_json::from_str(text)?)
    }

    /// The text of a `build.json`: indented, a newline at its end.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("a record has no map with keys that are not text");
        text.push('\n');
        text
    }

    /// The marker file of the outcome: `outputs/success` or `outputs/fail`.
    pub fn marker(outcome: BuildOutcome) -> BuildPath {
        format!("outputs/{outcome}").parse().expect("a valid path")
    }
}
