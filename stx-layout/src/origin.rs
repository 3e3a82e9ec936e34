//! The way a build came to the mirror, if this program did not build it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::BuildId;

/// The way a build came to the mirror, if it was not published from a tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Origin {
    /// An older publisher put it there; its record was written later, from the contents of its directory.
    Adopted {
        /// The time at which the record was written.
        at: DateTime<Utc>,
        /// The evidence for the record, one line each, such as `outputs/success`; that for the result first.
        evidence: Vec<String>,
    },
    /// It has the very bytes of another build, under the name of a release or a milestone.
    Promoted {
        /// The build that was promoted. It may have expired since.
        from: BuildId,
        /// The time of the promotion.
        at: DateTime<Utc>,
        /// The person or program that promoted it.
        by: String,
        /// The reason in words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

impl Origin {
    /// True if an older publisher put the build there.
    pub fn is_adopted(&self) -> bool {
        matches!(self, Self::Adopted { .. })
    }

    /// The build that was promoted, for a promoted build.
    pub fn promoted_from(&self) -> Option<&BuildId> {
        match self {
            Self::Promoted { from, .. } => Some(from),
            Self::Adopted { .. } => None,
        }
    }
}
