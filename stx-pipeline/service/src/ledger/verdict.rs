//! Requests for verdicts on published builds, and tests by labs that lead to them.
//!
//! A verdict is filed in the transaction that takes its message, with the time that it will have on the mirror. The mirror
//! takes a verdict of one time once, so a service that died in between gives the same one again, and nothing is recorded
//! twice.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use stx_layout::{BuildId, VerdictEntry};

/// A verdict that is to be recorded. It has its number of the same sequence as requests and runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictRequest {
    /// Its number.
    pub id: u64,
    /// The build.
    pub build: BuildId,
    /// When it was filed.
    pub at: DateTime<Utc>,
    /// Who or what it comes from.
    #[serde(flatten)]
    pub origin: VerdictOrigin,
    /// How often the lab's command was started.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub starts: u32,
    /// Since when the lab's command runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<DateTime<Utc>>,
    /// The verdict, as the mirror will have it, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<VerdictEntry>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl VerdictRequest {
    /// Whether it comes from a message of this user.
    pub fn is_of(&self, user: u32) -> bool {
        match self.origin {
            VerdictOrigin::Asked { uid } => uid == user,
            VerdictOrigin::Lab { .. } => false,
        }
    }

    /// The lab that is to find the verdict, if it is not known yet.
    pub fn lab(&self) -> Option<&str> {
        match &self.origin {
            VerdictOrigin::Lab { lab } if self.entry.is_none() => Some(lab),
            VerdictOrigin::Lab { .. } | VerdictOrigin::Asked { .. } => None,
        }
    }
}

/// Who or what a verdict comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "origin", rename_all = "kebab-case")]
pub enum VerdictOrigin {
    /// Somebody left it in the spool.
    Asked {
        /// Their user id.
        uid: u32,
    },
    /// The command of a lab finds it.
    Lab {
        /// The name of the lab.
        lab: String,
    },
}

/// How a request for a verdict ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum VerdictEnd {
    /// The mirror has it.
    Recorded {
        /// Whether it is new; `false` where it repeats the verdict before it.
        is_new: bool,
    },
    /// The mirror refuses it.
    Refused {
        /// The reason, as a text for people.
        why: String,
    },
    /// There is none: the lab's command was not run, or not to its end.
    NotTested {
        /// The reason, as a text for people.
        why: String,
    },
    /// Somebody ended the test, or took it back.
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
    /// When and how it ended, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<EndedVerdict>,
}

/// The end of a request for a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedVerdict {
    /// The time of the event.
    pub at: DateTime<Utc>,
    /// The way it ended.
    #[serde(flatten)]
    pub how: VerdictEnd,
}
