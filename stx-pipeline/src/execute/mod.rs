//! Runs a plan.

mod cancel;
mod event;
mod runner;
mod schedule;
mod scripted;

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, select};
use futures_util::stream::FuturesUnordered;
use stx_layout::{PhaseRecord, PhaseStatus, redact_urls};
use tracing::{Instrument as _, debug, info, info_span, warn};

pub use cancel::Cancel;
pub use event::{Event, EventKind, Stream};
pub use runner::{Ended, Runner};
pub use scripted::{Scripted, ScriptedRunner};

use crate::{BuildPlan, Invocation, PhasePlan};
pub(crate) use schedule::Schedule;

/// The part of a plan to run.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// The source phase alone.
    Source,
    /// Every other phase.
    Rest {
        /// The records of the finished phases, including the source phase. These phases do not run again and their records are
        /// kept; this is how an interrupted build is resumed.
        done: &'a [PhaseRecord],
        /// Committer time of the newest source commit, in seconds since 1970.
        source_date_epoch: Option<i64>,
    },
}

/// The interfaces that an execution uses: processes, clock, events, sleep and cancellation.
#[derive(Clone, Copy)]
pub struct Execution<'a> {
    /// Runs the processes.
    pub runner: &'a dyn Runner,
    /// The time.
    pub now: &'a (dyn Fn() -> DateTime<Utc> + Sync),
    /// Receives the events as they happen.
    pub events: &'a (dyn Fn(Event) + Sync),
    /// Receives the record of each phase that ran, before any phase that needs it starts.
    pub finished: &'a (dyn Fn(&PhaseRecord) + Sync),
    /// Waits between attempts.
    pub sleep: &'a (dyn Fn(Duration) -> BoxFuture<'static, ()> + Sync),
    /// Ends the execution early.
    pub cancel: &'a Cancel,
    /// Ends the execution early, together with `cancel`, to be resumed later. Then even the phases that always run do not run.
    pub interrupt: Option<&'a Cancel>,
    /// The time at which the whole build must be over. No phase starts after it, and running phases are ended.
    pub deadline: Option<DateTime<Utc>>,
}

/// The records and the outcome of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// One record for each phase of the step, in the order of the plan; for [`Step::Rest`], for each phase of the plan.
    pub records: Vec<PhaseRecord>,
    /// The first required phase, in time, that did not succeed.
    pub first_failing: Option<String>,
}

/// Runs one step of a plan: phases in the order of their needs, up to [`BuildPlan::jobs`] at the same time.
///
/// After a required phase failed, no new phase starts; running phases finish. A phase is skipped if one of its needs did not
/// succeed. A phase that always runs does so once its needs are over, successful or not, even if the build was cancelled or ran
/// out of time. Dropping the future drops the runner's futures.
pub async fn execute(plan: &BuildPlan, step: Step<'_>, execution: &Execution<'_>) -> Executed {
    let (done, epoch) = match step {
        Step::Source => (&[][..], None),
        Step::Rest {
            done,
            source_date_epoch,
        } => (done, source_date_epoch),
    };
    let before: HashMap<&str, &PhaseRecord> = done
        .iter()
        .map(|record| (record.name.as_str(), record))
        .collect();
    let mut records: Vec<Option<PhaseRecord>> = plan
        .phases
        .iter()
        .map(|phase| before.get(phase.name.as_str()).copied().cloned())
        .collect();
    let source_only = matches!(step, Step::Source);
    let mut schedule = Schedule::new(&plan.phases, |at| {
        records[at].is_none() && (plan.phases[at].source || !source_only)
    });
    for (at, record) in records.iter().enumerate() {
        if record.as_ref().is_some_and(|record| !succeeded(record)) {
            schedule.failed_before(&plan.phases, at);
        }
    }
    let mut first_failing = done
        .iter()
        .find(|record| record.required && !succeeded(record))
        .map(|record| record.name.clone());
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < plan.jobs
            && let Some((at, broken)) = schedule.next()
        {
            let phase = &plan.phases[at];
            let over = if phase.always {
                execution.interrupted()
            } else {
                execution.over(first_failing.as_deref())
            };
            let reason = over.or_else(|| {
                if phase.always {
                    return None;
                }
                let need = &plan.phases[broken?].name;
                Some(format!("it needs phase {need}, which did not succeed"))
            });
            let Some(reason) = reason else {
                let span = info_span!("phase", phase = %phase.name);
                let run = async move { (at, attempts(phase, epoch, execution).await) };
                running.push(run.instrument(span));
                continue;
            };
            info!(phase = %phase.name, reason, "phase skipped");
            execution.emit(
                &phase.name,
                EventKind::Skipped {
                    reason: reason.clone(),
                },
            );
            if phase.required && first_failing.is_none() && !execution.cancel.is_cancelled() {
                first_failing = Some(phase.name.clone());
            }
            schedule.over(at, false);
            records[at] = Some(skipped(phase, reason));
        }
        let Some((at, record)) = running.next().await else {
            break;
        };
        (execution.finished)(&record);
        if record.required && !succeeded(&record) && first_failing.is_none() {
            first_failing = Some(record.name.clone());
        }
        schedule.over(at, succeeded(&record));
        records[at] = Some(record);
    }
    Executed {
        records: records.into_iter().flatten().collect(),
        first_failing,
    }
}

fn succeeded(record: &PhaseRecord) -> bool {
    record.status == PhaseStatus::Succeeded
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
    let never = Cancel::new();
    let cancel = if phase.always {
        execution.interrupt.unwrap_or(&never)
    } else {
        execution.cancel
    };
    let mut attempt = 0;
    let (status, reason) = loop {
        attempt += 1;
        let invocation = execution.invocation(phase, epoch);
        info!(attempt, "attempt started");
        debug!(command = %invocation, "command");
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
                    text: redact_urls(text).into_owned(),
                },
            );
        };
        let ended = execution.runner.run(&invocation, &output, cancel).await;
        let status = match &ended {
            Ended::Exited { code: 0 } => break (PhaseStatus::Succeeded, None),
            Ended::Cancelled => break (PhaseStatus::Cancelled, Some(ended.to_string())),
            Ended::TimedOut { .. } => PhaseStatus::TimedOut,
            Ended::Exited { .. }
            | Ended::Signalled { .. }
            | Ended::NotStarted { .. }
            | Ended::Lost { .. } => PhaseStatus::Failed,
        };
        let time = phase.always || execution.remaining().is_none_or(|left| !left.is_zero());
        let again = attempt <= phase.retries && !cancel.is_cancelled() && time;
        warn!(attempt, again, reason = %ended, "attempt failed");
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
        execution.pause(phase, attempt, cancel).await;
        if cancel.is_cancelled() {
            break (PhaseStatus::Cancelled, Some(Ended::Cancelled.to_string()));
        }
        if !phase.always && execution.over(None).is_some() {
            break (status, Some(ended.to_string()));
        }
    };
    info!(attempts = attempt, ?status, "phase finished");
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

    /// The reason that no further phase is started, if any.
    fn over(&self, failing: Option<&str>) -> Option<String> {
        if self.cancel.is_cancelled() {
            Some("the build was cancelled".to_owned())
        } else if let Some(failing) = failing {
            Some(format!("phase {failing} failed"))
        } else if self.remaining().is_some_and(|left| left.is_zero()) {
            Some("the build ran out of time".to_owned())
        } else {
            None
        }
    }

    /// Waits before another attempt: the pause of the recipe, but not beyond the build's end.
    async fn pause(&self, phase: &PhasePlan, attempt: u32, cancel: &Cancel) {
        let mut pause = phase.pause_after(attempt);
        if let Some(left) = self.remaining().filter(|_| !phase.always) {
            pause = pause.min(left);
        }
        if !pause.is_zero() {
            select((self.sleep)(pause), pin!(cancel.cancelled())).await;
        }
    }

    /// The reason that even phases that always run are not started, if any.
    fn interrupted(&self) -> Option<String> {
        let interrupted = self.interrupt.is_some_and(Cancel::is_cancelled);
        interrupted.then(|| "the build was interrupted".to_owned())
    }

    /// The time left for the build.
    fn remaining(&self) -> Option<Duration> {
        let left = self.deadline? - (self.now)();
        Some(left.to_std().unwrap_or_default())
    }

    fn invocation(&self, phase: &PhasePlan, epoch: Option<i64>) -> Invocation {
        let mut invocation = phase.invocation.clone();
        if let (Some(epoch), false) = (epoch, phase.source) {
            invocation = invocation.at_source_date(epoch);
        }
        if phase.always {
            // No deadline of the build applies to this phase, so it needs a time limit of its own.
            invocation.timeout = invocation.timeout.or(Some(PhasePlan::LAST));
            return invocation;
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
