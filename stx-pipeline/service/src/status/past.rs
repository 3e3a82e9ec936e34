//! The ended requests of a ledger, and the durations of the builds among them.

use std::collections::{BTreeMap, BTreeSet};

use stx_layout::{BuildOutcome, Channel, PhaseStatus};

use super::{Failing, Outcome, Past, PhaseNow, PhaseState, RunningBuild, Status};
use crate::Setup;
use crate::ledger::stats::stats;
use crate::ledger::{Filed, Ledger, LedgerError, Run, RunEnd, RunRow, State};

/// The number of newest requests of a channel that are searched for durations.
const SAMPLE: usize = 200;

/// The ended requests of a ledger, and the durations of the builds among them. The ledger is read again when a request ends.
#[derive(Debug, Clone, Default)]
pub struct PastBuilds {
    ended: Vec<Past>,
    /// The median durations of a channel, by phase; `total` is the whole build.
    durations: BTreeMap<Channel, BTreeMap<String, i64>>,
}

impl PastBuilds {
    /// Reads the past builds of every channel that the setup or the state names.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub fn new(ledger: &dyn Ledger, setup: &Setup) -> Result<Self, LedgerError> {
        let state = ledger.state();
        let watched = setup.watches.iter().filter(|it| it.milestone.is_none());
        let asked = state
            .queue
            .values()
            .chain(state.runs.values().map(|run| &run.request));
        let channels: BTreeSet<&Channel> = watched
            .map(|watch| &watch.channel)
            .chain(state.last.keys())
            .chain(asked.map(|request| &request.target.channel))
            .collect();
        let mut past = Self::default();
        for channel in channels {
            let history = ledger.history(Some(channel), SAMPLE)?;
            // Only successful builds count, because failed builds end early.
            let mut good = history.clone();
            for filed in &mut good {
                filed.runs.retain(is_good);
            }
            let series = stats(&good, Status::PAST).series.into_iter();
            let medians = series.filter_map(|series| Some((series.name, series.median?)));
            past.durations.insert(channel.clone(), medians.collect());
            let ended = history.into_iter().filter(is_ended).take(Status::PAST);
            past.ended.extend(ended.map(Past::from));
        }
        // Numbers increase with time.
        past.ended
            .sort_by_key(|past| std::cmp::Reverse(past.filed.request.id));
        Ok(past)
    }

    /// The ended requests, newest first.
    pub fn ended(&self) -> &[Past] {
        &self.ended
    }

    /// The same, so that the lines of their logs can be added.
    pub fn ended_mut(&mut self) -> impl Iterator<Item = &mut Past> {
        self.ended.iter_mut()
    }

    /// The builds that run.
    pub fn running_builds(&self, state: &State) -> Vec<RunningBuild> {
        state.runs.values().map(|run| self.running(run)).collect()
    }

    pub(super) fn running(&self, run: &Run) -> RunningBuild {
        let target = &run.request.target;
        let durations = self.durations.get(&target.channel);
        let past = |name: &str| durations.and_then(|of| of.get(name)).copied();
        let phases = run.phases.iter().map(|phase| PhaseNow {
            past_seconds: past(&phase.name),
            ..PhaseNow::from(phase)
        });
        RunningBuild {
            run: run.id,
            request: run.request.id,
            channel: target.channel.clone(),
            git: target.git.clone(),
            build: run.build.clone(),
            started: run.started,
            reasons: run.request.reasons.clone(),
            interruptions: run.interruptions,
            past_seconds: past("total"),
            phases: phases.collect(),
        }
    }

    /// Adds the phases of the plan that have not started, and sorts all phases in its order.
    pub fn plan(&self, running: &mut RunningBuild, names: &[String]) {
        let durations = self.durations.get(&running.channel);
        let mut known = std::mem::take(&mut running.phases);
        for name in names {
            let at = known.iter().position(|phase| phase.name == *name);
            running.phases.push(match at {
                Some(at) => known.remove(at),
                None => PhaseNow {
                    name: name.clone(),
                    state: PhaseState::Waiting,
                    attempts: 0,
                    started: None,
                    finished: None,
                    past_seconds: durations.and_then(|of| of.get(name)).copied(),
                    log: None,
                },
            });
        }
        running.phases.append(&mut known);
    }
}

/// The newest request of each channel, if its build failed or was not published. `ended` are the requests of
/// [`PastBuilds::ended`].
pub fn newest_failures(ended: &[Past]) -> impl Iterator<Item = &Past> {
    let mut seen = BTreeSet::new();
    let newest = ended
        .iter()
        .filter(move |past| seen.insert(&past.filed.request.target.channel));
    newest.filter(|past| matches!(past.outcome(), Outcome::Failed | Outcome::NotPublished))
}

/// True if a run published a success.
fn is_good(run: &RunRow) -> bool {
    let end = run.end.as_ref().map(|end| &end.how);
    matches!(
        end,
        Some(RunEnd::Published {
            result: BuildOutcome::Success,
            ..
        })
    )
}

/// True if a request has ended.
fn is_ended(filed: &Filed) -> bool {
    let over = |end: &RunEnd| match end {
        RunEnd::Published { .. }
        | RunEnd::Unchanged { .. }
        | RunEnd::Refused { .. }
        | RunEnd::Cancelled => true,
        RunEnd::Requeued { .. } => false,
    };
    let last = filed.runs.last().and_then(|run| run.end.as_ref());
    filed.closed.is_some() || last.is_some_and(|end| over(&end.how))
}

impl From<Filed> for Past {
    fn from(mut filed: Filed) -> Self {
        for run in &mut filed.runs {
            // A build may have hundreds of commits; its record holds them.
            if let Some(end) = &mut run.end
                && let RunEnd::Published { sources, .. } = &mut end.how
            {
                sources.clear();
            }
        }
        let phases = filed.runs.last().map_or(&[][..], |run| &run.phases);
        let broken = phases.iter().find(|phase| {
            matches!(
                phase.status,
                Some(PhaseStatus::Failed | PhaseStatus::TimedOut)
            )
        });
        let failing = broken.map(|phase| Failing {
            phase: phase.name.clone(),
            log: Vec::new(),
        });
        Self { filed, failing }
    }
}
