//! Whether what a plan removes may still go.

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
    /// A build goes.
    Build(&'a ExpireEntry),
    /// A section goes before its build.
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
    /// The build is not there any more.
    Gone,
    /// The section has gone already.
    SectionGone,
    /// Its record is not the one that was seen: another build was published under its id.
    Replaced,
    /// Something protects it now.
    Protected {
        /// The rule that protects it.
        reason: Reason,
    },
    /// The rule is for builds of another outcome than it has now.
    Outcome {
        /// Its outcome.
        now: BuildOutcome,
    },
    /// Its newest verdict is not the one that the plan saw, so that other rules may apply.
    Verdict {
        /// The verdict that the plan saw.
        planned: Option<Verdict>,
        /// The verdict it has.
        now: Option<Verdict>,
    },
    /// There are fewer newer green builds than when the step was planned.
    FewerGreen {
        /// Those that the plan counted on.
        planned: usize,
        /// Those there.
        now: usize,
    },
    /// Fewer newer successes are there than when it was planned.
    FewerSuccesses {
        /// Those that the plan counted on.
        planned: usize,
        /// Those there.
        now: usize,
    },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("it is not there any more"),
            Self::Replaced => f.write_str("its record is not the one that the plan saw"),
            Self::SectionGone => f.write_str("the section has gone already"),
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
                "{now} newer green builds are there, the plan counted on {planned}"
            ),
            Self::FewerSuccesses { planned, now } => write!(
                f,
                "{now} newer successes are there, the plan counted on {planned}"
            ),
        }
    }
}

/// Rechecks one step of a plan against what the mirror holds now: everything that speaks against it, nothing if it may be
/// taken.
///
/// The time is the plan's, for it has not become less late. Each step stands alone: the build has to be there, with the
/// record and the verdict that the plan saw, the outcome that its rule is for, protected by nothing, with as many newer
/// successes and green builds as the plan counted on. What else changed, a new build or another build's pin, is no reason to
/// refuse it. Of `catalog`, the build's own channel counts; all channels of the same release, from which the `calendar` of the
/// policy learns its day; and from every channel the aliases and the builds that were made upon this build. Of `inputs`, what
/// concerns the build, and the verdicts on all of its channel.
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

/// Adds what speaks against a rule that looks at a build's outcome and at those after it.
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

/// Everything that protects a build whatever its age; `None` if it is not there.
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

/// Whether a rule is for builds of an outcome.
fn stands_for(rule: ExpiryRule, outcome: BuildOutcome) -> bool {
    match (rule, outcome) {
        (ExpiryRule::Age | ExpiryRule::Verdict, BuildOutcome::Success)
        | (ExpiryRule::FailedAge, BuildOutcome::Fail)
        | (ExpiryRule::ReleasePeriod, BuildOutcome::Success | BuildOutcome::Fail) => true,
        (ExpiryRule::Age | ExpiryRule::Verdict, BuildOutcome::Fail)
        | (ExpiryRule::FailedAge, BuildOutcome::Success) => false,
    }
}
