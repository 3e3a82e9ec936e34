//! Whether what a plan removes may still go.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use stx_layout::{BuildId, BuildOutcome, BuildPath, Catalog, Channel};

use crate::judge::{Bench, Judged};
use crate::{
    ExpireEntry, ExpiryRule, Facts, PrunePlan, Reason, Releases, Retention, Rules, Seen, Span,
    Verdict, digest,
};

/// What became of one step of a plan since it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rechecked {
    /// The build.
    pub build: BuildId,
    /// The section, where only that goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section: Option<BuildPath>,
    /// Whether the step may still be taken.
    pub check: Recheck,
}

/// Whether a step of a plan may still be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "check", rename_all = "kebab-case")]
#[must_use]
pub enum Recheck {
    /// Every precondition holds.
    Ok,
    /// Some do not.
    Changed {
        /// Those, all of them.
        why: Vec<Change>,
    },
}

/// A precondition that no longer holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// The build is not there any more.
    Gone,
    /// The section has gone already.
    SectionGone,
    /// Its record is not the one that was seen: another build was published under its id.
    Replaced,
    /// Something protects it now.
    Protected {
        /// What.
        reason: Reason,
    },
    /// The rule is for builds of another outcome than it has now.
    Outcome {
        /// Its outcome.
        now: BuildOutcome,
    },
    /// Fewer newer successes are there than when it was planned.
    FewerSuccesses {
        /// Those that the plan counted on.
        planned: usize,
        /// Those there.
        now: usize,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("it is not there any more"),
            Self::Replaced => f.write_str("its record is not the one that the plan saw"),
            Self::SectionGone => f.write_str("the section has gone already"),
            Self::Protected { reason } => write!(f, "it is protected now: {reason}"),
            Self::Outcome { now } => {
                write!(f, "it is a {now} now, for which the rule does not stand")
            }
            Self::FewerSuccesses { planned, now } => write!(
                f,
                "{now} newer successes are there, the plan counted on {planned}"
            ),
        }
    }
}

/// Rechecks every step of a plan, in the plan's order, against what the mirror holds now.
///
/// The time is the plan's, for it has not become less late. Each step stands alone: the build has to be there, with the
/// record that the plan saw, the outcome that its rule is for, protected by nothing, with as many newer successes as the
/// plan counted on. What else changed, a new build or another build's pin, is no reason to refuse it. On a mirror with the
/// plan's digest only the records are compared.
pub fn recheck(plan: &PrunePlan, catalog: &Catalog, facts: &Facts) -> Vec<Rechecked> {
    let unchanged = digest(catalog, facts) == plan.digest;
    let judged = if unchanged {
        BTreeMap::new()
    } else {
        protections(plan, catalog, facts)
    };
    let counted = counted(plan);
    let replaced = |build: &BuildId, seen: Seen| {
        let record = catalog.build(build).and_then(|build| build.record());
        record.is_some_and(|record| Seen::of(record) != seen)
    };
    let builds = plan.expire.iter().map(|entry| {
        let mut why = Vec::new();
        if replaced(&entry.build, entry.seen) {
            why.push(Change::Replaced);
        }
        if !unchanged {
            changes(&entry.build, &judged, &mut why);
            newer(plan, catalog, entry, &counted, &mut why);
        }
        Rechecked::new(&entry.build, None, why)
    });
    let sections = plan.sections.iter().map(|entry| {
        let mut why = Vec::new();
        if replaced(&entry.build, entry.seen) {
            why.push(Change::Replaced);
        }
        if !unchanged {
            changes(&entry.build, &judged, &mut why);
        }
        why.retain(|change| match change {
            Change::Protected { reason } => reason.keeps_whole(),
            Change::Gone
            | Change::SectionGone
            | Change::Replaced
            | Change::Outcome { .. }
            | Change::FewerSuccesses { .. } => true,
        });
        let dropped = facts.dropped.get(&entry.build);
        if dropped.is_some_and(|dropped| dropped.contains(&entry.section)) {
            why.push(Change::SectionGone);
        }
        Rechecked::new(&entry.build, Some(&entry.section), why)
    });
    builds.chain(sections).collect()
}

impl Rechecked {
    fn new(build: &BuildId, section: Option<&BuildPath>, why: Vec<Change>) -> Self {
        Self {
            build: build.clone(),
            section: section.cloned(),
            check: if why.is_empty() {
                Recheck::Ok
            } else {
                Recheck::Changed { why }
            },
        }
    }
}

/// Adds what speaks against a rule that looks at a build's outcome and at those after it.
fn newer(
    plan: &PrunePlan,
    catalog: &Catalog,
    entry: &ExpireEntry,
    counted: &BTreeMap<&Channel, usize>,
    why: &mut Vec<Change>,
) {
    let Some(record) = catalog.build(&entry.build).and_then(|build| build.record()) else {
        return;
    };
    if !stands_for(entry.rule, record.result) {
        why.push(Change::Outcome { now: record.result });
    }
    let planned = counted.get(&entry.build.channel).copied().unwrap_or(0);
    let now = newer_successes(catalog, &entry.build, plan.now);
    if record.result == BuildOutcome::Success && now < planned {
        why.push(Change::FewerSuccesses { planned, now });
    }
}

/// Every build of the plan's channels with what protects it whatever its age.
fn protections(
    plan: &PrunePlan,
    catalog: &Catalog,
    facts: &Facts,
) -> BTreeMap<BuildId, Vec<Reason>> {
    let ageless = Rules {
        keep: Retention::For(Span::days(0)),
        newest: 0,
        failed: Retention::For(Span::days(0)),
        tiers: Vec::new(),
    };
    let bench = Bench::new(catalog, facts, Releases::default(), plan.now);
    let judge = |(channel, entry)| {
        let judged = bench.judge(channel, entry, &ageless).into_iter();
        judged.map(move |Judged { date, verdict, .. }| {
            let build = BuildId::new(Channel::clone(channel), date);
            match verdict {
                Verdict::Keep { reasons, .. } => (build, reasons),
                Verdict::Expire { .. } => (build, Vec::new()),
            }
        })
    };
    catalog.channels.iter().flat_map(judge).collect()
}

fn changes(build: &BuildId, judged: &BTreeMap<BuildId, Vec<Reason>>, why: &mut Vec<Change>) {
    match judged.get(build) {
        None => why.push(Change::Gone),
        Some(reasons) => why.extend(reasons.iter().map(|reason| Change::Protected {
            reason: reason.clone(),
        })),
    }
}

/// How many newest successes of each channel the plan kept because they are that.
fn counted(plan: &PrunePlan) -> BTreeMap<&Channel, usize> {
    let mut counted = BTreeMap::new();
    for entry in &plan.keep {
        let counts = entry.reasons.iter().any(|reason| {
            matches!(
                reason,
                Reason::NewestSuccess | Reason::SuccessBefore | Reason::Newest { .. }
            )
        });
        *counted.entry(&entry.build.channel).or_default() += usize::from(counts);
    }
    counted
}

/// The successes after a build that are not dated in the future.
fn newer_successes(catalog: &Catalog, build: &BuildId, now: DateTime<Utc>) -> usize {
    let newer = catalog.channels.get(&build.channel).map(|channel| {
        let newer = channel.builds.range(build.date..).skip(1);
        let known = newer.filter(|(date, build)| date.time() <= now && build.is_success());
        known.count()
    });
    newer.unwrap_or(0)
}

/// Whether a rule is for builds of an outcome.
fn stands_for(rule: ExpiryRule, outcome: BuildOutcome) -> bool {
    match (rule, outcome) {
        (ExpiryRule::Age, BuildOutcome::Success)
        | (ExpiryRule::FailedAge, BuildOutcome::Fail)
        | (ExpiryRule::ReleasePeriod, BuildOutcome::Success | BuildOutcome::Fail) => true,
        (ExpiryRule::Age, BuildOutcome::Fail) | (ExpiryRule::FailedAge, BuildOutcome::Success) => {
            false
        }
    }
}
