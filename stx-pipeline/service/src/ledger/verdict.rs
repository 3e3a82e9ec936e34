//! Requests for verdicts on published builds, and tests by labs that lead to them.
//!
//! A verdict is filed in the transaction that takes its message, with the time that it will have on the mirror. The mirror
//! records the same verdict of the same time once. So a service that is killed in between sends the verdict again, and it is
//! not recorded twice.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use stx_layout::{BuildId, VerdictEntry};

use super::is_zero;

/// A verdict to be recorded. Its number comes from the sequence of requests and runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictRequest {
    /// Its number.
    pub id: u64,
    /// The build.
    pub build: BuildId,
    /// The time at which it was filed.
    pub at: DateTime<Utc>,
    /// Its origin.
    #[serde(flatten)]
    pub origin: VerdictOrigin,
    /// The number of times that the lab's command was started.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub starts: u32,
    /// The last start of the lab's command, until it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<DateTime<Utc>>,
    /// The verdict as the mirror records it; `None` until a lab has given it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<VerdictEntry>,
}

impl VerdictRequest {
    /// True if it comes from a message of this user.
    pub fn is_of(&self, user: u32) -> bool {
        match self.origin {
            VerdictOrigin::Asked { uid } => uid == user,
            VerdictOrigin::Lab { .. } => false,
        }
    }

    /// The lab that has yet to give the verdict, if one has.
    pub fn lab(&self) -> Option<&str> {
        match &self.origin {
            VerdictOrigin::Lab { lab } if self.entry.is_none() => Some(lab),
            VerdictOrigin::Lab { .. } | VerdictOrigin::Asked { .. } => None,
        }
    }
}

/// The origin of a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "origin", rename_all = "kebab-case")]
pub enum VerdictOrigin {
    /// A message of a user in the spool.
    Asked {
        /// Their user id.
        uid: u32,
    },
    /// The command of a lab gives the verdict.
    Lab {
        /// The name of the lab.
        lab: String,
    },
}

/// The outcome of a request for a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum VerdictEnd {
    /// The mirror has the verdict.
    Recorded {
        /// True if it is new; false if it repeats the verdict before it.
        is_new: bool,
    },
    /// The mirror refuses the verdict.
    Refused {
        /// The reason, for people.
        why: String,
    },
    /// There is no verdict: the lab's command did not start, or did not complete.
    NotTested {
        /// The reason, for people.
        why: String,
    },
    /// A user cancelled the test.
    Cancelled {
        /// Their user id.
        uid: u32,
    },
}

/// A request for a verdict and its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FiledVerdict {
    /// The request itself.
    #[serde(flatten)]
    pub request: VerdictRequest,
    /// The end, if it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<EndedVerdict>,
}

/// The end of a request for a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedVerdict {
    /// The time of the end.
    pub at: DateTime<Utc>,
    /// The outcome.
    #[serde(flatten)]
    pub how: VerdictEnd,
}
