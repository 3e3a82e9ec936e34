//! A wish to keep one build.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::BuildId;

/// A wish to keep one build. A build has at most one pin per author.
///
/// `Ord` is by build, then by reason and author; it makes lists of pins comparable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pin {
    /// The build.
    pub build: BuildId,
    /// The reason in words.
    pub reason: String,
    /// The person or program that set it.
    pub author: String,
    /// The time at which it ends; without one, it holds until it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

impl Pin {
    /// True if it holds at `now`.
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}
