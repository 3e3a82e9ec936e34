//! The current state, and the effect of a change.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, Serializer};
use stx_layout::{BuildId, BuildOutcome, Channel, SourceRecord, VerdictEntry};

use super::{
    Alarm, Change, Closed, Ended, EndedVerdict, LedgerError, Request, Run, RunEnd, Unpublished,
    VerdictRequest,
};
use crate::trigger::{Mark, Target};

/// The waiting requests, the running runs, and the memory of earlier ones.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct State {
    /// The highest number that a request, a run or a verdict ever had.
    pub last_id: u64,
    /// The mark of each watch, by its key.
    pub marks: BTreeMap<String, Mark>,
    /// The waiting requests.
    pub queue: BTreeMap<u64, Request>,
    /// The runs that have not ended.
    pub runs: BTreeMap<u64, Run>,
    /// The verdicts to be recorded.
    pub verdicts: BTreeMap<u64, VerdictRequest>,
    /// The ends of the last runs of each channel.
    pub last: BTreeMap<Channel, Last>,
    /// The active alarms, with their start and their text.
    #[serde(serialize_with = "alarms")]
    pub alarms: Alarms,
    /// Messages that were acted upon and may still exist.
    pub messages: BTreeSet<String>,
}

/// The active alarms, with their start and their text.
pub type Alarms = BTreeMap<Alarm, (DateTime<Utc>, String)>;

/// The ends of a channel's last runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Last {
    /// The end of the newest run, except requeued ones.
    pub end: Option<Ended>,
    /// The newest build that was published.
    pub build: Option<BuildId>,
    /// The result of that build.
    pub result: Option<BuildOutcome>,
    /// The time at which the newest success ended, or was found unchanged.
    pub good: Option<DateTime<Utc>>,
    /// The commits from which the newest published build was made.
    pub sources: Vec<SourceRecord>,
}

/// A request or a run that a change removed from the state, for the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// A request that no run took.
    Request(Box<Request>, DateTime<Utc>, Closed),
    /// A run.
    Run(Box<Run>),
    /// A request for a verdict.
    Verdict(Box<VerdictRequest>, EndedVerdict),
}

impl State {
    /// A number that no request, run or verdict has; `ahead` further numbers are already taken.
    pub fn id(&self, ahead: u64) -> u64 {
        self.last_id + 1 + ahead
    }

    /// The waiting request for exactly this target.
    pub fn waiting(&self, target: &Target) -> Option<&Request> {
        self.queue
            .values()
            .find(|request| request.target == *target)
    }

    /// True if a run of the channel has not ended.
    pub fn is_busy(&self, channel: &Channel) -> bool {
        let mut runs = self.runs.values();
        runs.any(|run| run.request.target.channel == *channel)
    }

    fn file_verdict(&mut self, request: &VerdictRequest) -> Result<(), &'static str> {
        if request.id <= self.last_id {
            return Err("the number was used before");
        }
        self.last_id = request.id;
        self.verdicts.insert(request.id, request.clone());
        Ok(())
    }

    fn start_test(&mut self, id: u64, at: DateTime<Utc>) -> Result<(), &'static str> {
        let request = self.tested(id)?;
        request.starts = request.starts.saturating_add(1);
        request.started = Some(at);
        Ok(())
    }

    fn end_test(&mut self, id: u64, entry: &VerdictEntry) -> Result<(), &'static str> {
        let request = self.tested(id)?;
        if request.build != entry.build {
            return Err("the verdict is on another build");
        }
        request.started = None;
        request.entry = Some(entry.clone());
        Ok(())
    }

    /// A request whose verdict a lab has yet to give.
    fn tested(&mut self, id: u64) -> Result<&mut VerdictRequest, &'static str> {
        let request = self.verdicts.get_mut(&id);
        let request = request.filter(|request| request.lab().is_some());
        request.ok_or("the verdict does not wait for a lab")
    }

    /// Returns the request of a run to the queue.
    fn requeue(
        &mut self,
        mut run: Run,
        at: DateTime<Utc>,
        reason: &str,
        unpublished: Option<&Unpublished>,
    ) -> Run {
        let how = RunEnd::Requeued {
            reason: reason.to_owned(),
        };
        run.end = Some(Ended { at, how });
        let mut request = run.request.clone();
        request.unpublished = unpublished.cloned();
        if request.is_built() {
            // The build that they asked for is made.
            (request.force, request.retry_failed) = (false, false);
        }
        self.queue.insert(request.id, request);
        run
    }

    /// Applies a change, and returns the request or run that it ends.
    ///
    /// # Errors
    /// A change that refers to a missing entry, or adds one that already exists; the state is unchanged.
    pub fn apply(&mut self, change: &Change) -> Result<Option<Done>, LedgerError> {
        let refuse = |why: &str| LedgerError::Refused {
            change: format!("{change:?}"),
            why: why.to_owned(),
        };
        let no_request = || refuse("no such request waits");
        let no_run = || refuse("no such run is in progress");
        match change {
            Change::Marked { key, mark } => drop(self.marks.insert(key.clone(), mark.clone())),
            Change::Requested(request) => {
                if request.id <= self.last_id {
                    return Err(refuse("the number was used before"));
                }
                self.last_id = request.id;
                self.queue.insert(request.id, request.clone());
            }
            Change::Joined {
                request,
                reason,
                force,
                retry_failed,
            } => {
                let request = self.queue.get_mut(request).ok_or_else(no_request)?;
                request.join(reason.clone());
                request.force |= force;
                request.retry_failed |= retry_failed;
            }
            Change::Closed { request, at, how } => {
                let request = self.queue.remove(request).ok_or_else(no_request)?;
                return Ok(Some(Done::Request(Box::new(request), *at, how.clone())));
            }
            Change::Started { run, request, at } => {
                if *run <= self.last_id {
                    return Err(refuse("the number was used before"));
                }
                let waiting = self.queue.get(request).ok_or_else(no_request)?;
                if self.is_busy(&waiting.target.channel) {
                    return Err(refuse("another run of the channel is in progress"));
                }
                let request = self.queue.remove(request).ok_or_else(no_request)?;
                self.last_id = *run;
                self.runs.insert(*run, started(*run, request, *at));
            }
            Change::Named { run, build } => {
                let run = self.runs.get_mut(run).ok_or_else(no_run)?;
                run.build = Some(build.clone());
            }
            Change::Phase { run, phase } => {
                let run = self.runs.get_mut(run).ok_or_else(no_run)?;
                match run.phases.iter_mut().find(|known| known.name == phase.name) {
                    Some(known) => *known = phase.clone(),
                    None => run.phases.push(phase.clone()),
                }
            }
            Change::Interrupted { run } => {
                let run = self.runs.get_mut(run).ok_or_else(no_run)?;
                run.interruptions = run.interruptions.saturating_add(1);
            }
            Change::Ended { run, end } => {
                let mut run = self.runs.remove(run).ok_or_else(no_run)?;
                run.end = Some(end.clone());
                let last = self.last.entry(run.request.target.channel.clone());
                last.or_default().note(&run, end);
                return Ok(Some(Done::Run(Box::new(run))));
            }
            Change::Requeued {
                run,
                at,
                reason,
                unpublished,
            } => {
                let run = self.runs.remove(run).ok_or_else(no_run)?;
                let run = self.requeue(run, *at, reason, unpublished.as_deref());
                return Ok(Some(Done::Run(Box::new(run))));
            }
            Change::Raised { alarm, at, text } => {
                self.alarms.insert(alarm.clone(), (*at, text.clone()));
            }
            Change::Lowered { alarm } => drop(self.alarms.remove(alarm)),
            Change::Received { id } => {
                if !self.messages.insert(id.clone()) {
                    return Err(refuse("the message was acted upon before"));
                }
            }
            Change::Cleared { id } => drop(self.messages.remove(id)),
            Change::VerdictFiled(request) => self.file_verdict(request).map_err(refuse)?,
            Change::TestStarted { request, at } => {
                self.start_test(*request, *at).map_err(refuse)?;
            }
            Change::TestEnded { request, entry } => {
                self.end_test(*request, entry).map_err(refuse)?;
            }
            Change::VerdictEnded { request, end } => {
                let no_verdict = || refuse("no such verdict waits");
                let request = self.verdicts.remove(request).ok_or_else(no_verdict)?;
                return Ok(Some(Done::Verdict(Box::new(request), end.clone())));
            }
        }
        Ok(None)
    }
}

fn started(id: u64, request: Request, at: DateTime<Utc>) -> Run {
    Run {
        id,
        request,
        started: at,
        build: None,
        interruptions: 0,
        phases: Vec::new(),
        end: None,
    }
}

impl Last {
    /// Notes the end of a run.
    fn note(&mut self, run: &Run, end: &Ended) {
        self.end = Some(end.clone());
        match &end.how {
            RunEnd::Published {
                result, sources, ..
            } => {
                self.build.clone_from(&run.build);
                self.result = Some(*result);
                self.sources.clone_from(sources);
                if *result == BuildOutcome::Success {
                    self.good = Some(end.at);
                }
            }
            RunEnd::Unchanged { since, .. } => {
                // Unchanged since a failed build, whose sources are not built again, is not a success.
                if self.build.as_ref() != Some(since) || self.result == Some(BuildOutcome::Success)
                {
                    self.good = Some(end.at);
                }
            }
            RunEnd::Refused { .. } | RunEnd::Cancelled | RunEnd::Requeued { .. } => {}
        }
    }
}

/// Writes alarms as a list, because JSON has no structured keys.
fn alarms<S: Serializer>(
    alarms: &BTreeMap<Alarm, (DateTime<Utc>, String)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Row<'a> {
        #[serde(flatten)]
        alarm: &'a Alarm,
        since: &'a DateTime<Utc>,
        text: &'a str,
    }
    serializer.collect_seq(
        alarms
            .iter()
            .map(|(alarm, (since, text))| Row { alarm, since, text }),
    )
}
