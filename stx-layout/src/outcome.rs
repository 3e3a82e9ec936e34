//! The outcome of a build.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The outcome of a build. The specification: `<build-result> = 'success' | 'fail'`, a file of that name in `outputs/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildOutcome {
    /// Every required phase succeeded, and every required deliverable exists.
    Success,
    /// One of them failed or is missing; the build is published for its logs, never aliased.
    Fail,
}

impl BuildOutcome {
    /// The specification's word, which is also the name of the marker file in `outputs/`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Fail => "fail",
        }
    }
}

impl fmt::Display for BuildOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
