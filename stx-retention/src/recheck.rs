//! Checks that the removals of a plan are still allowed.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use stx_layout::{BuildDate, BuildId, BuildOutcome, Catalog, Channel, Verdict};

use crate::bearing::bearings;
use crate::judge::Judge;
use crate::{
    Calendar, Decision, ExpireEntry, ExpiryRule, PolicyInputs, PrunePlan, Reason, RecordDigest,
    Releases, Retention, Rules, SectionEntry, Span, VerdictRules,
};

/// A step of a plan: a build, or a section of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A build is removed.
    Build(&'a ExpireEntry),
    /// A section is removed before its build.
    Section(&'a SectionEntry),
}

impl<'a> Step<'a> {
    /// The build.
    pub fn build(self) -> &'a BuildId {
        match self {
            Self::Build(entry) => &entry.build,
            Self::Section(entry) => &entry.build,
        }
    }

    fn seen(self) -> RecordDigest {
        match self {
            Self::Build(entry) => entry.seen,
            Self::Section(entry) => entry.seen,
        }
    }
}

/// A precondition that no longer holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
#[must_use]
pub enum Conflict {
    /// The build no longer exists.
    Gone,
    /// The section was already removed.
    SectionGone,
    /// Its record differs from the one that the plan saw: another build was published under its id.
    Replaced,
    /// A reason protects it now.
    Protected {
        /// The reason.
        reason: Reason,
    },
    /// The rule is for builds with another outcome than its present one.
    Outcome {
        /// Its outcome.
        now: BuildOutcome,
    },
    /// Its newest verdict differs from the one that the plan saw, so other rules may apply.
    Verdict {
        /// The verdict that the plan saw.
        planned: Option<Verdict>,
        /// Its present verdict.
        now: Option<Verdict>,
    },
    /// Fewer newer green builds exist than when the step was planned.
    FewerGreen {
        /// The number in the plan.
        planned: usize,
        /// The present number.
        now: usize,
    },
    /// Fewer newer successes exist than when it was planned.
    FewerSuccesses {
        /// The number in the plan.
        planned: usize,
        /// The present number.
        now: usize,
    },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("it no longer exists"),
            Self::Replaced => f.write_str("its record changed since the plan"),
            Self::SectionGone => f.write_str("the section was already removed"),
            Self::Protected { reason } => write!(f, "it is protected now: {reason}"),
            Self::Outcome { now } => {
                write!(f, "its result is now `{now}`; the rule covers another")
            }
            Self::Verdict { planned, now } => {
                let word = |verdict: &Option<Verdict>| match verdict {
                    Some(verdict) => format!("verdict {verdict}"),
                    None => "no verdict".to_owned(),
                };
                write!(
                    f,
                    "it has {} now; the plan saw {}",
                    word(now),
                    word(planned)
                )
            }
            Self::FewerGreen { planned, now } => write!(
                f,
                "{now} newer green builds exist, the plan relied on {planned}"
            ),
            Self::FewerSuccesses { planned, now } => write!(
                f,
                "{now} newer successes exist, the plan relied on {planned}"
            ),
        }
    }
}

/// Rechecks one step of a plan against the present contents of the mirror. Returns every conflict; none if the step may be taken.
///
/// The time is the plan's: a build that was eligible then is still eligible. Each step is checked separately: the build must
/// exist with the record and the verdict that the plan saw and the outcome of its rule; nothing may protect it; and as many newer
/// successes and green builds must exist as in the plan. Other changes, such as a new build or another build's pin, do not cause
/// a conflict. Of `catalog`, these parts are used: the build's own channel; all channels of the same release, from which the
/// `calendar` of the policy learns its day; and from every channel, the aliases and the builds that were built upon this build. Of
/// `inputs`: the entries about the build, and the verdicts on its whole channel.
pub fn recheck_step(
    plan: &PrunePlan,
    step: Step<'_>,
    catalog: &Catalog,
    inputs: &PolicyInputs,
    calendar: &Calendar,
) -> Vec<Conflict> {
    let build = step.build();
    let mut why = Vec::new();
    let record = catalog.build(build).and_then(|build| build.record());
    if record.is_some_and(|record| RecordDigest::of(record) != step.seen()) {
        why.push(Conflict::Replaced);
    }
    let releases = Releases::known(catalog, calendar, plan.now);
    let protections = protections(plan, build, catalog, inputs, releases);
    match protections {
        None => why.push(Conflict::Gone),
        Some(reasons) => why.extend(
            reasons
                .into_iter()
                .map(|reason| Conflict::Protected { reason }),
        ),
    }
    match step {
        Step::Build(entry) => {
            newer(plan, catalog, entry, &mut why);
            greener(plan, catalog, inputs, entry, &mut why);
        }
        Step::Section(entry) => {
            why.retain(|change| match change {
                Conflict::Protected { reason } => reason.keeps_whole(),
                Conflict::Gone
                | Conflict::SectionGone
                | Conflict::Replaced
                | Conflict::Outcome { .. }
                | Conflict::Verdict { .. }
                | Conflict::FewerGreen { .. }
                | Conflict::FewerSuccesses { .. } => true,
            });
            let dropped = inputs.dropped.get(build);
            if dropped.is_some_and(|dropped| dropped.contains(&entry.section)) {
                why.push(Conflict::SectionGone);
            }
        }
    }
    why
}

/// Adds the conflicts of a rule that depends on a build's outcome and on the builds after it.
fn newer(plan: &PrunePlan, catalog: &Catalog, entry: &ExpireEntry, why: &mut Vec<Conflict>) {
    let Some(record) = catalog.build(&entry.build).and_then(|build| build.record()) else {
        return;
    };
    if !stands_for(entry.rule, record.result) {
        why.push(Conflict::Outcome { now: record.result });
    }
    let planned = counted(plan, &entry.build.channel, |reason| {
        matches!(
            reason,
            Reason::NewestSuccess | Reason::SuccessBefore | Reason::Newest { .. }
        )
    });
    let now = newer_successes(catalog, &entry.build, plan.now).count();
    if record.result == BuildOutcome::Success && now < planned {
        why.push(Conflict::FewerSuccesses { planned, now });
    }
}

/// Adds the conflicts about the build's verdict and about the green builds after it.
fn greener(
    plan: &PrunePlan,
    catalog: &Catalog,
    inputs: &PolicyInputs,
    entry: &ExpireEntry,
    why: &mut Vec<Conflict>,
) {
    let verdict = |build: &BuildId| inputs.verdicts.get(build).map(|given| given.verdict);
    let (planned, now) = (entry.verdict, verdict(&entry.build));
    if planned != now {
        why.push(Conflict::Verdict { planned, now });
    }
    if now != Some(Verdict::Green) {
        return;
    }
    let channel = &entry.build.channel;
    let planned = counted(plan, channel, |reason| {
        matches!(reason, Reason::NewestGreen | Reason::Green { .. })
    });
    let newer = newer_successes(catalog, &entry.build, plan.now);
    let now = newer.filter(|date| {
        let build = BuildId::new(channel.clone(), *date);
        verdict(&build) == Some(Verdict::Green)
    });
    let now = now.count();
    if now < planned {
        why.push(Conflict::FewerGreen { planned, now });
    }
}

/// Every reason that protects a build at any age; `None` if it does not exist.
fn protections(
    plan: &PrunePlan,
    build: &BuildId,
    catalog: &Catalog,
    inputs: &PolicyInputs,
    releases: Releases,
) -> Option<Vec<Reason>> {
    let ageless = Rules {
        keep: Retention::For(Span::days(0)),
        newest: 0,
        failed: Retention::For(Span::days(0)),
        tiers: Vec::new(),
        verdicts: VerdictRules::default(),
    };
    let channel = catalog.channels.get(&build.channel)?;
    let judge = Judge::new(
        &bearings(catalog, &inputs.elsewhere, plan.now),
        inputs,
        releases,
        plan.now,
    );
    let judged = judge.judge(&build.channel, channel, &ageless).into_iter();
    let mut own = judged.filter(|judged| judged.date == build.date);
    own.next().map(|judged| match judged.decision {
        Decision::Keep { reasons, .. } => reasons,
        Decision::Expire { .. } => Vec::new(),
    })
}

/// The number of builds of a channel that the plan kept for a reason that `counts` accepts.
fn counted(plan: &PrunePlan, channel: &Channel, counts: fn(&Reason) -> bool) -> usize {
    let kept = plan
        .keep
        .iter()
        .filter(|entry| entry.build.channel == *channel);
    kept.filter(|entry| entry.reasons.iter().any(counts))
        .count()
}

/// The dates of the successes after a build that are not dated in the future.
fn newer_successes(
    catalog: &Catalog,
    build: &BuildId,
    now: DateTime<Utc>,
) -> impl Iterator<Item = BuildDate> {
    let channel = catalog.channels.get(&build.channel);
    let newer = channel.map(|channel| channel.builds.range(build.date..).skip(1));
    let known = newer.into_iter().flatten();
    let known = known.filter(move |(date, build)| date.time() <= now && build.is_success());
    known.map(|(date, _)| *date)
}

/// True if a rule is for builds with this outcome.
fn stands_for(rule: ExpiryRule, outcome: BuildOutcome) -> bool {
    match (rule, outcome) {
        (ExpiryRule::Age | ExpiryRule::Verdict, BuildOutcome::Success)
        | (ExpiryRule::FailedAge, BuildOutcome::Fail)
        | (ExpiryRule::ReleasePeriod, BuildOutcome::Success | BuildOutcome::Fail) => true,
        (ExpiryRule::Age | ExpiryRule::Verdict, BuildOutcome::Fail)
        | (ExpiryRule::FailedAge, BuildOutcome::Success) => false,
    }
}
