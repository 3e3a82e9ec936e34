//! Follows a request through the documents of the service.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use stx_layout::{BuildId, BuildOutcome};

use super::{Found, Past, PhaseNow, PhaseState, Status};
use crate::ledger::{Closed, Request, RunEnd};
use crate::trigger::Cause;

/// A step of a request since the previous document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It waits behind other requests.
    Waiting {
        /// The number of these requests.
        ahead: usize,
    },
    /// Its build is made and could not be published for this reason; the service tries again.
    Unpublished {
        /// The reason, in one line.
        reason: String,
    },
    /// A run has taken it.
    Started {
        /// The run.
        run: u64,
    },
    /// The build has its date.
    Named(BuildId),
    /// A phase has started, or is over.
    Phase(PhaseNow),
    /// The request has ended.
    Over(Box<Past>),
    /// The document no longer contains it: it ended long ago.
    Gone,
}

/// A request that is followed.
#[derive(Debug, Clone)]
pub struct Follow {
    request: u64,
    ahead: Option<usize>,
    unpublished: Option<String>,
    run: Option<u64>,
    build: Option<BuildId>,
    phases: BTreeMap<String, (PhaseState, u32)>,
}

impl Follow {
    /// Follows a request from now on.
    pub fn new(request: u64) -> Self {
        Self {
            request,
            ahead: None,
            unpublished: None,
            run: None,
            build: None,
            phases: BTreeMap::new(),
        }
    }

    /// The steps since the last look, in order.
    pub fn look(&mut self, status: &Status) -> Vec<Step> {
        let mut steps = Vec::new();
        match status.find(self.request) {
            Some(Found::Waiting(request)) => {
                let unpublished = request.unpublished.as_ref();
                let unpublished = unpublished.map(|it| &it.reason);
                if self.unpublished.as_ref() != unpublished {
                    self.unpublished = unpublished.cloned();
                    let reason = unpublished.cloned();
                    steps.extend(reason.map(|reason| Step::Unpublished { reason }));
                }
                let ahead = status
                    .queue
                    .iter()
                    .filter(|it| it.id < self.request)
                    .count();
                if self.ahead.replace(ahead) != Some(ahead) {
                    steps.push(Step::Waiting { ahead });
                }
            }
            Some(Found::Running(running)) => {
                self.ahead = None;
                self.run(running.run, running.build.as_ref(), &mut steps);
                for phase in &running.phases {
                    self.phase(phase, &mut steps);
                }
            }
            Some(Found::Ended(past)) => {
                // A run may start and end between two documents.
                if let Some(run) = past.filed.runs.last() {
                    self.run(run.id, run.build.as_ref(), &mut steps);
                    for phase in &run.phases {
                        self.phase(&PhaseNow::from(phase), &mut steps);
                    }
                }
                steps.push(Step::Over(Box::new(past.clone())));
            }
            None => steps.push(Step::Gone),
        }
        steps
    }

    /// Another run of the request starts anew: its phases are reported again.
    fn run(&mut self, run: u64, build: Option<&BuildId>, steps: &mut Vec<Step>) {
        if self.run.replace(run) != Some(run) {
            self.phases.clear();
            self.build = None;
            steps.push(Step::Started { run });
        }
        if self.build.as_ref() != build {
            self.build = build.cloned();
            steps.extend(build.cloned().map(Step::Named));
        }
    }

    fn phase(&mut self, phase: &PhaseNow, steps: &mut Vec<Step>) {
        let now = (phase.state, phase.attempts);
        let started = phase.state != PhaseState::Waiting;
        if started && self.phases.insert(phase.name.clone(), now) != Some(now) {
            steps.push(Step::Phase(phase.clone()));
        }
    }
}

/// The outcome of a request, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There is a successful build: a new one, or an unchanged one.
    Success,
    /// The build failed.
    Failed,
    /// Nothing could be built or published.
    NotPublished,
    /// A user cancelled it.
    Cancelled,
    /// There was nothing to build.
    Skipped,
}

impl Past {
    /// The build of the newest run, once it has a name.
    pub fn build(&self) -> Option<&BuildId> {
        self.filed.runs.last()?.build.as_ref()
    }

    /// The result.
    pub fn outcome(&self) -> Outcome {
        match &self.filed.closed {
            Some((_, Closed::Cancelled { .. })) => return Outcome::Cancelled,
            Some((_, Closed::Skipped { .. })) => return Outcome::Skipped,
            None => {}
        }
        let end = self.filed.runs.last().and_then(|run| run.end.as_ref());
        match end.map(|end| &end.how) {
            Some(RunEnd::Published { result, .. }) => of_result(*result),
            Some(RunEnd::Unchanged { result, .. }) => result.map_or(Outcome::Success, of_result),
            Some(RunEnd::Cancelled) => Outcome::Cancelled,
            Some(RunEnd::Refused { .. } | RunEnd::Requeued { .. }) | None => Outcome::NotPublished,
        }
    }
}

fn of_result(result: BuildOutcome) -> Outcome {
    match result {
        BuildOutcome::Success => Outcome::Success,
        BuildOutcome::Fail => Outcome::Failed,
    }
}

impl Status {
    /// The request that a user has made for a branch or tag since a time, with this reason. It answers a message that a service
    /// read before it was restarted, and therefore no longer remembers.
    pub fn asked_by(
        &self,
        user: u32,
        git: &str,
        reason: &str,
        since: DateTime<Utc>,
    ) -> Option<u64> {
        let asks = |at: DateTime<Utc>, cause: &Cause| match cause {
            Cause::Manual { uid, text } => *uid == user && text == reason && at >= since,
            Cause::Periodic { .. } | Cause::Commit { .. } | Cause::After { .. } => false,
        };
        let of = |request: &Request| {
            let mut reasons = request.reasons.iter();
            let asked = reasons.any(|reason| asks(reason.at, &reason.cause));
            (request.target.git == git && asked).then_some(request.id)
        };
        let running = self.running.iter().filter_map(|running| {
            let mut reasons = running.reasons.iter();
            let asked = reasons.any(|reason| asks(reason.at, &reason.cause));
            (running.git == git && asked).then_some(running.request)
        });
        let waiting = self.queue.iter().filter_map(of);
        let ended = self
            .history
            .iter()
            .filter_map(|past| of(&past.filed.request));
        waiting.chain(running).chain(ended).min()
    }
}
