//! The results of the sanity tests of published builds.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{BuildId, ParseError};

/// The result of the sanity test of a published build. `Ord` is from the worst to the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It does not install, or does not run.
    Red,
    /// It runs, with faults that are known.
    Yellow,
    /// It passed.
    Green,
}

impl Verdict {
    /// Each of them, from the worst to the best.
    pub const ALL: [Self; 3] = [Self::Red, Self::Yellow, Self::Green];

    /// The word: `red`, `yellow` or `green`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Yellow => "yellow",
            Self::Green => "green",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Verdict {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL
            .into_iter()
            .find(|verdict| verdict.as_str() == text);
        found.ok_or_else(|| ParseError::new(text, 0, "a verdict: `green`, `yellow` or `red`"))
    }
}

/// One verdict on a build. A build may have several; the newest counts, the others are its history.
///
/// `Ord` is by build, then by time; it makes lists of them comparable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VerdictEntry {
    /// The build.
    pub build: BuildId,
    /// When.
    pub at: DateTime<Utc>,
    /// The result.
    pub verdict: Verdict,
    /// Who said so: a person or a test lab.
    pub author: String,
    /// The reason, as a text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where the tests' results can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}
