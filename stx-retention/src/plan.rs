//! Plans: the builds to remove, the builds to keep, and the reasons.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use stx_layout::{BuildId, BuildPath, Verdict};

use crate::{Decision, ExpiryRule, Reason, RecordDigest, Warning};

/// The plan of a run: the builds and sections that it removes, the builds that it keeps, and the reasons.
///
/// A value that is printed, stored, and later applied unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[must_use]
pub struct PrunePlan {
    /// The time for which it was made.
    pub now: DateTime<Utc>,
    /// The builds to remove, in the order in which they are removed.
    pub expire: Vec<ExpireEntry>,
    /// The sections to remove from kept builds; absent from the JSON if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<SectionEntry>,
    /// The builds to keep, by channel, oldest first.
    pub keep: Vec<KeepEntry>,
    /// The warnings for a person to check.
    pub warnings: Vec<Warning>,
}

/// A build that expires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpireEntry {
    /// The build.
    pub build: BuildId,
    /// The rule.
    pub rule: ExpiryRule,
    /// The time at which it became eligible.
    pub since: DateTime<Utc>,
    /// The bytes that no build left on the mirror shares, after the removal of this one and of those listed before it.
    pub bytes_freed: u64,
    /// The reason, in a sentence.
    pub message: String,
    /// The digest of the build's record when the plan was made.
    pub seen: RecordDigest,
    /// Its newest verdict when the plan was made; absent from the JSON if it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

/// A section that is removed before its build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionEntry {
    /// The build, which is kept.
    pub build: BuildId,
    /// The directory or file in it.
    pub section: BuildPath,
    /// The time at which it became eligible.
    pub since: DateTime<Utc>,
    /// The bytes that no file left on the mirror shares.
    pub bytes_freed: u64,
    /// The reason, in a sentence.
    pub message: String,
    /// The digest of the build's record when the plan was made.
    pub seen: RecordDigest,
}

/// A build that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepEntry {
    /// The build.
    pub build: BuildId,
    /// Every reason.
    pub reasons: Vec<Reason>,
    /// The time at which it expires if nothing but the time changes.
    pub until: Option<DateTime<Utc>>,
}

impl PrunePlan {
    /// The decision about a build; `None` if it is not in the plan.
    pub fn decision(&self, build: &BuildId) -> Option<Decision> {
        let keep = self.keep.binary_search_by(|entry| entry.build.cmp(build));
        if let Some(entry) = keep.ok().and_then(|index| self.keep.get(index)) {
            return Some(Decision::Keep {
                reasons: entry.reasons.clone(),
                until: entry.until,
            });
        }
        let expire = self.expire.iter().find(|entry| entry.build == *build)?;
        Some(Decision::Expire {
            rule: expire.rule,
            since: expire.since,
        })
    }

    /// The decision about every build of the plan.
    pub fn decisions(&self) -> BTreeMap<&BuildId, Decision> {
        let kept = self.keep.iter().map(|entry| {
            let decision = Decision::Keep {
                reasons: entry.reasons.clone(),
                until: entry.until,
            };
            (&entry.build, decision)
        });
        let expired = self.expire.iter().map(|entry| {
            let decision = Decision::Expire {
                rule: entry.rule,
                since: entry.since,
            };
            (&entry.build, decision)
        });
        kept.chain(expired).collect()
    }

    /// The bytes that the whole plan frees.
    pub fn bytes_freed(&self) -> u64 {
        let builds = self.expire.iter().map(|entry| entry.bytes_freed);
        let sections = self.sections.iter().map(|entry| entry.bytes_freed);
        builds.chain(sections).fold(0, u64::saturating_add)
    }

    /// True if nothing is removed.
    pub fn is_empty(&self) -> bool {
        self.expire.is_empty() && self.sections.is_empty()
    }
}
