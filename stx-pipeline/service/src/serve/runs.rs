//! Starts runs, follows their progress, and records their ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stx_layout::{BuildId, BuildOutcome, Channel};
use tokio::time::Instant;
use tracing::{Instrument as _, info, info_span};

use super::{Event, ServeError, Service};
use crate::ledger::{Change, Ended, PhaseRun, Request, Run, RunEnd, State, Unpublished};
use crate::{Left, Notice, Order, Progress, Setup};
use stx_pipeline::{Cancel, EventKind};

/// The pause of a request or a verdict whose channel is busy.
pub(super) const BUSY: Duration = Duration::from_mins(1);

/// The longest pause before a publication is tried again.
const LONGEST: Duration = Duration::from_hours(1);

/// The pause after a number of failed publications: a minute, then each time twice as long, up to an hour.
fn pause(failures: u32) -> Duration {
    let times = 2u32.saturating_pow(failures.saturating_sub(1));
    BUSY.saturating_mul(times).min(LONGEST)
}

/// The work of one build task: a new build, a build to resume, or a build to abandon with its reason.
pub(super) enum Job {
    Build(Order),
    Resume(BuildId),
    Abandon(BuildId, String),
}

impl Service<'_> {
    /// Starts the runs that may start, the longest waiting first.
    pub(super) fn start_builds(&mut self) -> Result<(), ServeError> {
        let now = Instant::now();
        self.held.retain(|_, until| *until > now);
        while let Some(request) = startable(self.state(), &self.setup, &self.held) {
            let request = request.clone();
            let run = self.state().id(0);
            let at = self.host.now();
            let mut changes = vec![Change::Started {
                run,
                request: request.id,
                at,
            }];
            let built = request.unpublished.clone();
            let built = built.filter(|_| request.is_built()).map(|it| it.build);
            changes.extend(built.clone().map(|build| Change::Named { run, build }));
            self.record(&changes)?;
            if let Some(build) = built {
                self.host
                    .say(&format!("run {run}: {build} is published again"));
                self.spawn(run, Job::Resume(build));
                continue;
            }
            self.host.say(&format!("run {run}: {}", request.target));
            let branch = self.setup.branch(&request.target);
            let after = branch.and_then(|branch| branch.after.clone());
            let paths = branch.map(|branch| branch.paths.clone());
            self.spawn(
                run,
                Job::Build(Order {
                    target: request.target,
                    after,
                    paths: paths.unwrap_or_default(),
                    reasons: request.reasons,
                    more_reasons: request.more_reasons,
                    force: request.force,
                    retry_failed: request.retry_failed,
                }),
            );
        }
        Ok(())
    }

    pub(super) fn spawn(&mut self, run: u64, job: Job) {
        let cancel = Cancel::new();
        let (builder, sender) = (Arc::clone(&self.builder), self.sender.clone());
        let switch = cancel.clone();
        let channel = match &job {
            Job::Build(order) => &order.target.channel,
            Job::Resume(build) | Job::Abandon(build, _) => &build.channel,
        };
        let span = info_span!("run", run, %channel);
        let work = async move {
            info!("run started");
            let told = sender.clone();
            let tell = move |progress| drop(told.send(Event::Told { run, progress }));
            let left = match job {
                Job::Build(order) => builder.build(&order, &tell, &switch).await,
                Job::Resume(build) => builder.resume(&build, &tell, &switch).await,
                Job::Abandon(build, reason) => builder.abandon(&build, &reason).await,
            };
            // Ignored: the receiver is gone if the service stops.
            sender.send(Event::Over { run, left }).ok();
            info!("run is over");
        };
        let task = tokio::spawn(work.instrument(span));
        self.builds.insert(run, (cancel, task));
    }

    pub(super) fn told(&mut self, id: u64, progress: Progress) -> Result<(), ServeError> {
        let Some(run) = self.state().runs.get(&id) else {
            return Ok(());
        };
        let change = match progress {
            Progress::Named(build) => Change::Named { run: id, build },
            Progress::Phase(event) => match phase(run, &event.phase, event.time, &event.what) {
                Some(phase) => Change::Phase { run: id, phase },
                None => return Ok(()),
            },
        };
        Ok(self.record(&[change])?)
    }

    pub(super) fn over(&mut self, id: u64, left: Left) -> Result<(), ServeError> {
        self.builds.remove(&id);
        let Some(run) = self.state().runs.get(&id).cloned() else {
            return Ok(());
        };
        let at = self.host.now();
        match left {
            Left::Busy(reason) => {
                let request = run.request.id;
                let said = format!("run {id}: {reason}; tried again in {} s", BUSY.as_secs());
                self.record(&[Change::Requeued {
                    run: id,
                    at,
                    reason,
                    unpublished: None,
                }])?;
                // Log only now: the record may have to wait, and is then tried again.
                self.host.say(&said);
                self.held.insert(request, Instant::now() + BUSY);
                Ok(())
            }
            Left::Unpublished {
                build,
                reason,
                busy,
            } => self.unpublished(&run, build, reason, busy),
            Left::Over(how) => self.ended(&run, &Ended { at, how }),
        }
    }

    /// Returns the request of a run to the queue, to publish a build later. Its phases may have taken hours, and nobody else may ask
    /// for it again: a branch that is built on commits has no next tick.
    fn unpublished(
        &mut self,
        run: &Run,
        build: BuildId,
        reason: String,
        busy: bool,
    ) -> Result<(), ServeError> {
        let at = self.host.now();
        let before = run.request.unpublished.as_ref();
        let failed_before = before.map_or(0, |before| before.failures);
        let failures = failed_before.saturating_add(u32::from(!busy));
        let pause = if busy { BUSY } else { pause(failures) };
        let is_own = if run.request.is_built() {
            before.is_some_and(|before| before.build == build)
        } else {
            run.build.as_ref() == Some(&build)
        };
        let unpublished = Unpublished {
            build: build.clone(),
            failures,
            reason: reason.clone(),
            next: at + pause,
            then_build: !is_own,
        };
        let said = format!(
            "run {}: {build} is not published: {reason}; tried again in {}",
            run.id,
            humantime::format_duration(pause)
        );
        let notice = (failed_before == 0 && !busy).then(|| Notice::Failure {
            at,
            channel: run.request.target.channel.clone(),
            build: Some(build),
            reason: reason.clone(),
        });
        self.record(&[Change::Requeued {
            run: run.id,
            at,
            reason,
            unpublished: Some(Box::new(unpublished)),
        }])?;
        self.host.say(&said);
        self.held.insert(run.request.id, Instant::now() + pause);
        // The attempt may have changed the disks.
        self.next_survey = Instant::now();
        if let Some(notice) = notice {
            self.host.notify(notice);
        }
        Ok(())
    }

    /// Records the end of a run, and notifies people of it.
    pub(super) fn ended(&mut self, run: &Run, end: &Ended) -> Result<(), ServeError> {
        let channel = run.request.target.channel.clone();
        let before = self.state().last.get(&channel).cloned().unwrap_or_default();
        let (at, build) = (end.at, run.build.clone());
        let failed = |reason: &str| Notice::Failure {
            at,
            channel: channel.clone(),
            build: build.clone(),
            reason: reason.to_owned(),
        };
        let unpublished = run.request.unpublished.as_ref();
        let was_bad = match before.end.as_ref().map(|end| &end.how) {
            Some(RunEnd::Refused { .. }) => true,
            Some(_) | None => before.result == Some(BuildOutcome::Fail),
        } || unpublished.is_some_and(|it| it.failures > 0);
        let notice = match &end.how {
            RunEnd::Published {
                result: BuildOutcome::Fail,
                reason,
                ..
            } => Some(failed(reason.as_deref().unwrap_or("the build failed"))),
            RunEnd::Refused { reason } => Some(failed(reason)),
            RunEnd::Published {
                result: BuildOutcome::Success,
                ..
            } if was_bad => Some(Notice::Recovery {
                at,
                channel: channel.clone(),
                build: build.clone(),
            }),
            RunEnd::Published {
                result: BuildOutcome::Success,
                ..
            }
            | RunEnd::Unchanged { .. }
            | RunEnd::Cancelled
            | RunEnd::Requeued { .. } => None,
        };
        let said = format!("run {}: {}", run.id, said(&end.how));
        let mut changes = vec![Change::Ended {
            run: run.id,
            end: end.clone(),
        }];
        changes.extend(self.tests_due(run, end));
        self.record(&changes)?;
        self.host.say(&said);
        // The run has changed the mirror and the disks.
        self.next_survey = Instant::now();
        if let Some(notice) = notice {
            self.host.notify(notice);
        }
        Ok(())
    }
}

/// The request that has waited longest among those that may start.
fn startable<'s>(
    state: &'s State,
    setup: &Setup,
    held: &BTreeMap<u64, Instant>,
) -> Option<&'s Request> {
    if state.runs.len() >= setup.settings.max_builds {
        return None;
    }
    let free = |channel: &Channel| !state.is_busy(channel);
    let mut queue = state.queue.values();
    queue.find(|request| free(&request.target.channel) && !held.contains_key(&request.id))
}

/// The state of a phase after an event; `None` if the event does not change it.
fn phase(
    run: &Run,
    name: &str,
    time: chrono::DateTime<chrono::Utc>,
    what: &EventKind,
) -> Option<PhaseRun> {
    let known = run.phases.iter().find(|phase| phase.name == name);
    match what {
        EventKind::Started { attempt, .. } => Some(PhaseRun {
            name: name.to_owned(),
            attempts: *attempt,
            started: known
                .filter(|_| *attempt > 1)
                .map_or(time, |known| known.started),
            finished: None,
            status: None,
        }),
        EventKind::Finished { status, attempts } => Some(PhaseRun {
            name: name.to_owned(),
            attempts: *attempts,
            started: known.map_or(time, |known| known.started),
            finished: Some(time),
            status: Some(*status),
        }),
        EventKind::Output { .. } | EventKind::AttemptFailed { .. } | EventKind::Skipped { .. } => {
            None
        }
    }
}

/// A line about the end of a run.
fn said(how: &RunEnd) -> String {
    match how {
        RunEnd::Published {
            result,
            reason: None,
            ..
        } => format!("published, {result}"),
        RunEnd::Published {
            result,
            reason: Some(reason),
            ..
        } => format!("published, {result}: {reason}"),
        RunEnd::Unchanged { since, result, why } => {
            let failed = match result {
                Some(BuildOutcome::Fail) => ", which failed",
                Some(BuildOutcome::Success) | None => "",
            };
            let why = why.as_ref().map(|why| format!(": {why}"));
            format!(
                "nothing changed since {since}{failed}{}",
                why.unwrap_or_default()
            )
        }
        RunEnd::Refused { reason } => format!("nothing was published: {reason}"),
        RunEnd::Cancelled => "cancelled".to_owned(),
        RunEnd::Requeued { reason } => format!("runs again: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unchanged_run_says_if_the_last_build_failed() {
        let unchanged = |result| {
            said(&RunEnd::Unchanged {
                since: "master/centos/20200101T000000Z".parse().expect("a build"),
                result,
                why: None,
            })
        };
        let since = "nothing changed since master/centos/20200101T000000Z";
        assert_eq!(unchanged(None), since, "of an earlier program");
        assert_eq!(unchanged(Some(BuildOutcome::Success)), since);
        assert_eq!(
            unchanged(Some(BuildOutcome::Fail)),
            format!("{since}, which failed")
        );
    }
}
