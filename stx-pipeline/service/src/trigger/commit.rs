//! Decides whether new commits start a build.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Cause, ChangedFile, Heads, Mark, Pending, Reason, Watch};

/// The repositories of a watch, as observed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The commit of each repository's branch.
    pub heads: Heads,
    /// The files that changed since [`Mark::considered`]; `None` if they are unknown or not needed.
    pub changed: Option<BTreeSet<ChangedFile>>,
}

/// The decision on an observation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There are no new commits.
    Same,
    /// There are new commits; they wait until this time for more to come.
    Gather {
        /// The mark to remember.
        mark: Mark,
        /// The time at which no commit has come for long enough.
        until: DateTime<Utc>,
    },
    /// There are new commits, but none of their paths is relevant.
    Irrelevant {
        /// The mark to remember.
        mark: Mark,
        /// The reason for which it would have been built.
        reason: Reason,
    },
    /// Build.
    Build {
        /// The mark to remember.
        mark: Mark,
        /// The reason for it.
        reason: Reason,
    },
}

/// Decides on new commits. Unknown changes count as relevant.
pub fn judge(watch: &Watch, mark: &Mark, seen: &Observation, now: DateTime<Utc>) -> Verdict {
    let before = mark.considered.clone().unwrap_or_default();
    if mark.considered.as_ref() == Some(&seen.heads) && mark.pending.is_none() {
        return Verdict::Same;
    }
    let mut next = mark.clone();
    if mark.considered.as_ref() == Some(&seen.heads) {
        // The pushed commits were withdrawn before they were built.
        next.pending = None;
        return Verdict::Gather {
            mark: next,
            until: now,
        };
    }
    let pending = gather(mark.pending.as_ref(), &seen.heads, now);
    let until = quiet_end(watch, &pending);
    if until > now {
        next.pending = Some(pending);
        return Verdict::Gather { mark: next, until };
    }
    next.pending = None;
    next.considered = Some(seen.heads.clone());
    let heads = seen
        .heads
        .iter()
        .filter(|(url, commit)| before.get(*url) != Some(*commit))
        .map(|(url, commit)| (url.clone(), commit.clone()))
        .collect();
    let reason = Reason {
        at: now,
        cause: Cause::Commit { heads },
    };
    let relevant = seen
        .changed
        .as_ref()
        .is_none_or(|changed| watch.paths.any(changed));
    if relevant {
        Verdict::Build { mark: next, reason }
    } else {
        Verdict::Irrelevant { mark: next, reason }
    }
}

fn gather(pending: Option<&Pending>, heads: &Heads, now: DateTime<Utc>) -> Pending {
    match pending {
        // A time in the future comes from a clock that was wrong.
        Some(pending) if pending.heads == *heads && pending.moved <= now => pending.clone(),
        Some(pending) => Pending {
            heads: heads.clone(),
            since: pending.since.min(now),
            moved: now,
        },
        None => Pending {
            heads: heads.clone(),
            since: now,
            moved: now,
        },
    }
}

/// The time at which commits have been gathered for long enough.
pub(crate) fn quiet_end(watch: &Watch, pending: &Pending) -> DateTime<Utc> {
    let after = |time: DateTime<Utc>, span: std::time::Duration| {
        TimeDelta::from_std(span)
            .ok()
            .and_then(|span| time.checked_add_signed(span))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    };
    after(pending.moved, watch.quiet).min(after(pending.since, watch.quiet_max))
}
