//! The results of the sanity tests of published builds.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{BuildId, ParseError, redact_urls};

/// The result of the sanity test of a published build. `Ord` is from the worst to the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It does not install, or does not run.
    Red,
    /// It runs, with known faults.
    Yellow,
    /// It passed.
    Green,
}

impl Verdict {
    /// All verdicts, from the worst to the best.
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

/// The reason that a link to test results is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The link is not a web address.
    #[error("the link to the test results must begin with http:// or https://, without spaces")]
    NotWeb,
    /// The link would show a secret to every reader.
    #[error("the link to the test results contains a password or a token")]
    Secret,
}

/// Refuses a link to test results that is invalid, or that would show a password to every reader.
///
/// ```
/// use stx_layout::{LinkError, check_link};
///
/// assert_eq!(check_link("https://lab.example/run/5"), Ok(()));
/// assert_eq!(check_link("javascript:alert(1)"), Err(LinkError::NotWeb));
/// assert_eq!(check_link("https://ann:secret@lab.example/"), Err(LinkError::Secret));
/// ```
///
/// # Errors
/// See [`LinkError`].
pub fn check_link(url: &str) -> Result<(), LinkError> {
    let is_web = ["http://", "https://"].iter().any(|it| url.starts_with(it));
    if !is_web || url.chars().any(|it| it.is_whitespace() || it.is_control()) {
        return Err(LinkError::NotWeb);
    }
    if redact_urls(url) != url {
        return Err(LinkError::Secret);
    }
    Ok(())
}

/// One verdict on a build. A build may have several; the newest counts, the others are its history.
///
/// `Ord` is by build, then by time; it makes lists of them comparable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VerdictEntry {
    /// The build.
    pub build: BuildId,
    /// The time of the verdict.
    pub at: DateTime<Utc>,
    /// The result.
    pub verdict: Verdict,
    /// The person or test lab that gave it.
    pub author: String,
    /// The reason in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The URL of the tests' results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}
