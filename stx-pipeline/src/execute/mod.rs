//! Running a plan.

mod cancel;
mod event;
mod runner;
mod scripted;

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use stx_layout::{PhaseRecord, PhaseStatus};

pub use cancel::Cancel;
pub use event::{Event, EventKind, Stream};
pub use runner::{Ended, Runner};
pub use scripted::{Scripted, ScriptedRunner};

use crate::{BuildPlan, Invocation, PhasePlan};

/// Which part of a plan is run.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// The source phase alone.
    Source,
    /// Every other phase.
    Rest {
        /// What is already recorded, the source phase among it. Phases that succeeded are not run again and their records
        /// are kept; so a build that was interrupted goes on.
        done: &'a [PhaseRecord],
        /// Committer time of the newest source commit, in seconds since 1970.
        source_date_epoch: Option<i64>,
    },
}

/// What an execution acts on and reports to.
#[derive(Clone, Copy)]
pub struct Execution<'a> {
    /// Runs the processes.
    pub runner: &'a dyn Runner,
    /// The time.
    pub now: &'a (dyn Fn() -> DateTime<Utc> + Sync),
    /// Takes the events as they happen.
    pub events: &'a (dyn Fn(Event) + Sync),
    /// Ends it early.
    pub cancel: &'a Cancel,
    /// When the whole build has to be over. Nothing starts after it, and what runs is ended then.
    pub deadline: Option<DateTime<Utc>>,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// One record for each phase of the step, in the order of the plan; for [`Step::Rest`], for each phase of the plan.
    pub records: Vec<PhaseRecord>,
    /// The first required phase, in time, that did not succeed.
    pub first_failing: Option<String>,
}

/// Runs one step of a plan: phases in the order of their needs, up to [`BuildPlan::jobs`] side by side.
///
/// After a required phase failed nothing new is started; what runs is let finish. A phase that needs one that did not
/// succeed is skipped. Dropping the future drops the runner's futures.
pub async fn execute(plan: &BuildPlan, step: Step<'_>, execution: &Execution<'_>) -> Executed {
    let (mut records, mut left) = match step {
        Step::Source => (
            Vec::new(),
            plan.phases
                .iter()
                .filter(|phase| phase.source)
                .collect::<Vec<_>>(),
        ),
        Step::Rest { done, .. } => {
            let known = |phase: &PhasePlan| {
                done.iter().find(|record| {
                    record.name == phase.name
                        && (phase.source || record.status == PhaseStatus::Succeeded)
                })
            };
            (
                plan.phases.iter().filter_map(known).cloned().collect(),
                plan.phases
                    .iter()
                    .filter(|phase| known(phase).is_none())
                    .collect(),
            )
        }
    };
    let epoch = match step {
        Step::Source => None,
        Step::Rest {
            source_date_epoch, ..
        } => source_date_epoch,
    };
    let mut first_failing = records
        .iter()
        .find(|record| record.required && record.status != PhaseStatus::Succeeded)
        .map(|record| record.name.clone());
    let mut running = FuturesUnordered::new();
    loop {
        while let Some((index, verdict)) = next(
            &left,
            &records,
            first_failing.as_deref(),
            running.len(),
            plan,
            execution,
        ) {
            let phase = left.remove(index);
            match verdict {
                Verdict::Start => running.push(attempts(phase, epoch, execution)),
                Verdict::Skip(reason) => {
                    execution.emit(
                        &phase.name,
                        EventKind::Skipped {
                            reason: reason.clone(),
                        },
                    );
                    if phase.required && first_failing.is_none() && !execution.cancel.is_cancelled()
                    {
                        first_failing = Some(phase.name.clone());
                    }
                    records.push(skipped(phase, reason));
                }
            }
        }
        let Some(record) = running.next().await else {
            break;
        };
        if record.required && record.status != PhaseStatus::Succeeded && first_failing.is_none() {
            first_failing = Some(record.name.clone());
        }
        records.push(record);
    }
    records.sort_by_key(|record| {
        plan.phases
            .iter()
            .position(|phase| phase.name == record.name)
    });
    Executed {
        records,
        first_failing,
    }
}

enum Verdict {
    Start,
    Skip(String),
}

/// The next phase that something can be said of.
fn next(
    left: &[&PhasePlan],
    records: &[PhaseRecord],
    failing: Option<&str>,
    running: usize,
    plan: &BuildPlan,
    execution: &Execution<'_>,
) -> Option<(usize, Verdict)> {
    let over = if execution.cancel.is_cancelled() {
        Some("the build was cancelled".to_owned())
    } else if let Some(failing) = failing {
        Some(format!("phase {failing} failed"))
    } else if execution.remaining().is_some_and(|left| left.is_zero()) {
        Some("the build ran out of time".to_owned())
    } else {
        None
    };
    if let (Some(reason), false) = (over, left.is_empty()) {
        return Some((0, Verdict::Skip(reason)));
    }
    let status = |name: &str| {
        records
            .iter()
            .find(|record| record.name == name)
            .map(|record| record.status)
    };
    for (index, phase) in left.iter().enumerate() {
        let broken = phase
            .needs
            .iter()
            .find(|need| status(need).is_some_and(|status| status != PhaseStatus::Succeeded));
        if let Some(need) = broken {
            return Some((
                index,
                Verdict::Skip(format!("it needs phase {need}, which did not succeed")),
            ));
        }
        if running < plan.jobs && phase.needs.iter().all(|need| status(need).is_some()) {
            return Some((index, Verdict::Start));
        }
    }
    None
}

fn skipped(phase: &PhasePlan, reason: String) -> PhaseRecord {
    PhaseRecord {
        name: phase.name.clone(),
        status: PhaseStatus::Skipped,
        required: phase.required,
        attempts: 0,
        started: None,
        finished: None,
        reason: Some(reason),
    }
}

/// Runs one phase until it succeeds or its attempts are used up.
async fn attempts(phase: &PhasePlan, epoch: Option<i64>, execution: &Execution<'_>) -> PhaseRecord {
    let started = (execution.now)();
    let mut attempt = 0;
    let (status, reason) = loop {
        attempt += 1;
        let invocation = execution.invocation(phase, epoch);
        execution.emit(
            &phase.name,
            EventKind::Started {
                attempt,
                command: invocation.to_string(),
            },
        );
        let output = |stream, text: &str| {
            execution.emit(
                &phase.name,
                EventKind::Output {
                    stream,
                    text: text.to_owned(),
                },
            );
        };
        let ended = execution
            .runner
            .run(&invocation, &output, execution.cancel)
            .await;
        let status = match &ended {
            Ended::Exited { code: 0 } => break (PhaseStatus::Succeeded, None),
            Ended::Cancelled => break (PhaseStatus::Cancelled, Some(ended.to_string())),
            Ended::TimedOut { .. } => PhaseStatus::TimedOut,
            Ended::Exited { .. }
            | Ended::Signalled { .. }
            | Ended::NotStarted { .. }
            | Ended::Lost { .. } => PhaseStatus::Failed,
        };
        let again = attempt <= phase.retries
            && !execution.cancel.is_cancelled()
            && execution.remaining().is_none_or(|left| !left.is_zero());
        execution.emit(
            &phase.name,
            EventKind::AttemptFailed {
                attempt,
                reason: ended.to_string(),
                again,
            },
        );
        if !again {
            break (status, Some(ended.to_string()));
        }
    };
    execution.emit(
        &phase.name,
        EventKind::Finished {
            status,
            attempts: attempt,
        },
    );
    PhaseRecord {
        name: phase.name.clone(),
        status,
        required: phase.required,
        attempts: attempt,
        started: Some(started),
        finished: Some((execution.now)()),
        reason,
    }
}

impl Execution<'_> {
    fn emit(&self, phase: &str, what: EventKind) {
        (self.events)(Event {
            time: (self.now)(),
            phase: phase.to_owned(),
            what,
        });
    }

    /// How long the build may still take.
    fn remaining(&self) -> Option<Duration> {
        let left = self.deadline? - (self.now)();
        Some(left.to_std().unwrap_or_default())
    }

    fn invocation(&self, phase: &PhasePlan, epoch: Option<i64>) -> Invocation {
        let mut invocation = phase.invocation.clone();
        if let (Some(epoch), false) = (epoch, phase.source) {
            invocation = invocation.at_source_date(epoch);
        }
        invocation.timeout = match (invocation.timeout, self.remaining()) {
            (Some(own), Some(left)) => Some(own.min(left)),
            (own, left) => own.or(left),
        };
        invocation
    }
}

#[cfg(test)]
mod tests;
