//! New commits.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Cause, ChangedFile, Heads, Mark, Pending, Reason, Watch};

/// The repositories of a watch, as seen once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The commit of each repository's branch.
    pub heads: Heads,
    /// The files that changed since [`Mark::considered`]; `None` if that is not known, or nobody wants to know.
    pub changed: Option<BTreeSet<ChangedFile>>,
}

/// The decision that follows from an observation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is new.
    Same,
    /// Something is new; it waits until this time, for more to come.
    Gather {
        /// The mark to remember.
        mark: Mark,
        /// When it has been quiet for long enough.
        until: DateTime<Utc>,
    },
    /// Something is new, and no path of it matters.
    Irrelevant {
        /// The mark to remember.
        mark: Mark,
        /// Why it would have been built.
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

/// Decides on new commits. What is not known counts as relevant.
pub fn judge(watch: &Watch, mark: &Mark, seen: &Observation, now: DateTime<Utc>) -> Verdict {
    let before = mark.considered.clone().unwrap_or_default();
    if mark.considered.as_ref() == Some(&seen.heads) && mark.pending.is_none() {
        return Verdict::Same;
    }
    let mut next = mark.clone();
    if mark.considered.as_ref() == Some(&seen.heads) {
        // What was pushed was taken back before it was built.
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
        // A time ahead is one of a clock that was wrong.
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

/// When commits have been gathered for long enough.
pub(crate) fn quiet_end(watch: &Watch, pending: &Pending) -> DateTime<Utc> {
    let after = |time: DateTime<Utc>, span: std::time::Duration| {
        TimeDelta::from_std(span)
            .ok()
            .and_then(|span| time.checked_add_signed(span))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    };
    after(pending.moved, watch.quiet).min(after(pending.since, watch.quiet_max))
}
