//! The way a build came to the mirror, where no build of ours put it there.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::BuildId;

/// The way a build came to the mirror, where it was not published from a tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Origin {
    /// An older publisher put it there; its record was written later, from what lay in its directory.
    Adopted {
        /// When the record was written.
        at: DateTime<Utc>,
        /// The evidence for the record, a line each, such as `outputs/success`; that for the result first.
        evidence: Vec<String>,
    },
    /// It has the very bytes of another build, under the name of a release or a milestone.
    Promoted {
        /// The build whose bytes these are. It may have expired since.
        from: BuildId,
        /// When.
        at: DateTime<Utc>,
        /// Who did it.
        by: String,
        /// Why, as a text for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

impl Origin {
    /// Whether an older publisher put the build there.
    pub fn is_adopted(&self) -> bool {
        matches!(self, Self::Adopted { .. })
    }

    /// The build whose bytes these are, of one that was promoted.
    pub fn promoted_from(&self) -> Option<&BuildId> {
        match self {
            Self::Promoted { from, .. } => Some(from),
            Self::Adopted { .. } => None,
        }
    }
}
