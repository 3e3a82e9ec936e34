//! The status document in the spool: written after each change, and every few seconds.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use stx_layout::BuildId;
use stx_pipeline::process;
use stx_publish::Privacy;
use stx_service::metrics::{Prunes, Totals, metrics};
use stx_service::status::{Past, PastBuilds, PhaseState, Pulse, RunningBuild, Status};

use super::follow::{Followed, Follower, Log};
use super::setup::Service;
use super::spool::{STATUS, place};
use crate::build::{self, BuildArea};
use crate::site::clock;

/// The number of last lines to show of the log of a failed phase, and the number of bytes at its end to read for them.
const LINES: usize = 20;
const BYTES: u64 = 16 * 1024;
/// The number of newest requests that are searched for those that have just ended.
const RECENT: usize = 1000;

/// Shows the state of the service to the users who may request builds.
#[derive(Debug)]
pub(super) struct Board {
    dir: Utf8PathBuf,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    changes: Option<u64>,
    ended: Option<u64>,
    written: Option<Instant>,
    past: PastBuilds,
    totals: Totals,
    /// The document that was written last, for the dashboard.
    new: Option<Status>,
    /// The plans of running builds: the names and logs of their phases.
    plans: BTreeMap<BuildId, Vec<(String, Utf8PathBuf)>>,
    /// The last lines of logs, by build and phase.
    tails: BTreeMap<(BuildId, String), Vec<String>>,
    follower: Option<Follower>,
    /// The patterns that logs are searched for, of each run; `None` if they cannot be read.
    privacy: BTreeMap<u64, Option<Arc<Option<Privacy>>>>,
    /// The problem that was reported last, so that it is reported once.
    told: Option<String>,
}

impl Board {
    /// Opens the board in the spool. Also returns the problem that prevents the logs of running builds from being shown, if any.
    pub(super) fn new(dir: &Utf8Path) -> (Self, Option<String>) {
        let (follower, problem) = match Follower::start(dir) {
            Ok(follower) => (Some(follower), None),
            Err(error) => {
                let text = format!("the logs of running builds cannot be shown: {error}");
                (None, Some(text))
            }
        };
        let memory = Memory {
            follower,
            ..Memory::default()
        };
        let board = Self {
            dir: dir.to_owned(),
            memory: Mutex::new(memory),
        };
        (board, problem)
    }

    /// Writes the document if something changed, or if it gets old. Returns the new problems, one line each.
    pub(super) fn show(
        &self,
        pulse: &Pulse<'_>,
        area: &BuildArea,
        service: &Service,
    ) -> Vec<String> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let every = Duration::from_secs(Status::EVERY);
        let young = memory.written.is_some_and(|at| at.elapsed() < every);
        if young && memory.changes == Some(pulse.changes) {
            return Vec::new();
        }
        let mut problems = Vec::new();
        memory.look_back(pulse, area, service, &mut problems);
        let mut status = Status::new(pulse, &memory.past, clock());
        env!("CARGO_PKG_VERSION").clone_into(&mut status.version);
        status.mirror = area.mirror.to_string();
        memory.add_plans(&mut status.running, area);
        memory.follow(&mut status.running, service, &mut problems);
        memory.new = Some(status.clone());
        if let Err(error) = self.write(&status) {
            problems.push(format!("{}/{STATUS}: {error}", self.dir));
        }
        (memory.changes, memory.written) = (Some(pulse.changes), Some(Instant::now()));
        let text = problems.join("\n");
        if memory.told.as_deref() == Some(&text) {
            return Vec::new();
        }
        memory.told = Some(text);
        problems
    }

    /// The document that was written last, unless it was taken before.
    pub(super) fn take_new(&self) -> Option<Status> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.new.take()
    }

    /// The current metrics.
    pub(super) fn metrics(&self, pulse: &Pulse<'_>, prunes: &Prunes, now: DateTime<Utc>) -> String {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        metrics(
            pulse.state(),
            pulse.alarms,
            pulse.facts,
            &memory.totals,
            prunes,
            now,
        )
    }

    /// Stops following logs, and removes their copies.
    pub(super) fn finish(&self) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        drop(memory.follower.take());
    }

    /// The document is rewritten soon and need not survive a power loss, so nothing is synced.
    fn write(&self, status: &Status) -> std::io::Result<()> {
        let text = serde_json::to_vec(status)?;
        place(&self.dir, STATUS, |file| file.write_all(&text)).map(drop)
    }
}

impl Memory {
    /// Reads the history again if something has ended since.
    fn look_back(
        &mut self,
        pulse: &Pulse<'_>,
        area: &BuildArea,
        service: &Service,
        problems: &mut Vec<String>,
    ) {
        if self.ended == Some(pulse.ended) {
            return;
        }
        // At first the whole ledger is summed up, later only the requests that may have ended since.
        let count = if self.ended.is_some() {
            RECENT
        } else {
            usize::MAX
        };
        let read = PastBuilds::new(pulse.ledger, pulse.setup)
            .and_then(|past| Ok((past, pulse.ledger.history(None, count)?)));
        match read {
            Ok((past, history)) => {
                self.totals.add(&history);
                (self.past, self.ended) = (past, Some(pulse.ended));
            }
            Err(error) => {
                problems.push(format!("{STATUS}: {error}"));
                return;
            }
        }
        let mut tails = std::mem::take(&mut self.tails);
        for past in self.past.ended_mut() {
            let Some((build, phase)) = failed(past) else {
                continue;
            };
            let key = (build.clone(), phase.to_owned());
            let lines = tails
                .remove(&key)
                .unwrap_or_else(|| last_lines(area, service, build, phase));
            if let Some(failing) = &mut past.failing {
                failing.log.clone_from(&lines);
            }
            self.tails.insert(key, lines);
        }
    }

    /// Adds the phases that have not started, from the journal of the build.
    fn add_plans(&mut self, running: &mut [RunningBuild], area: &BuildArea) {
        let runs = |build: &BuildId| running.iter().any(|it| it.build.as_ref() == Some(build));
        self.plans.retain(|build, _| runs(build));
        for running in running {
            let Some(build) = running.build.clone() else {
                continue;
            };
            let plan = self.plans.entry(build).or_default();
            if plan.is_empty()
                // Without a journal only the phases that have started are shown.
                && let Ok(Some(journal)) = process::read_journal(&area.channel(&running.channel))
                && Some(&journal.started.plan.id) == running.build.as_ref()
            {
                let phases = journal.started.plan.phases.into_iter();
                *plan = phases
                    .map(|phase| (phase.name, phase.invocation.log))
                    .collect();
            }
            let names: Vec<_> = plan.iter().map(|(name, _)| name.clone()).collect();
            self.past.plan(running, &names);
        }
    }

    /// Shows the logs of the phases that have started, and records their paths in the document.
    fn follow(
        &mut self,
        running: &mut [RunningBuild],
        service: &Service,
        problems: &mut Vec<String>,
    ) {
        let Some(follower) = self
            .follower
            .as_ref()
            .filter(|_| service.config.running_logs)
        else {
            return;
        };
        let runs = |run: u64| running.iter().any(|it| it.run == run);
        self.privacy.retain(|run, _| runs(*run));
        let mut wanted = Vec::new();
        for running in running {
            let compile = || match service.options.privacy.compile() {
                Ok(privacy) => Some(Arc::new(privacy)),
                Err(error) => {
                    let why = error.line();
                    problems.push(format!(
                        "run {}: its logs are not shown: {why}",
                        running.run
                    ));
                    None
                }
            };
            // Logs that cannot be searched are not shown.
            let Some(privacy) = self.privacy.entry(running.run).or_insert_with(compile) else {
                continue;
            };
            let plan = running.build.as_ref().and_then(|it| self.plans.get(it));
            let mut logs = Vec::new();
            for phase in &mut running.phases {
                let known = plan.and_then(|plan| plan.iter().find(|(name, _)| *name == phase.name));
                let Some((_, file)) = known.filter(|_| phase.started.is_some()) else {
                    continue;
                };
                phase.log = Some(Follower::shown(running.run, &phase.name).into_string());
                logs.push(Log {
                    phase: phase.name.clone(),
                    file: file.clone(),
                    over: phase.state != PhaseState::Running,
                });
            }
            wanted.push(Followed {
                run: running.run,
                privacy: Arc::clone(privacy),
                logs,
            });
        }
        follower.follow(wanted);
    }
}

/// The build and the phase of a request whose newest run failed.
fn failed(past: &Past) -> Option<(&BuildId, &str)> {
    let run = past.filed.runs.last()?;
    Some((run.build.as_ref()?, &past.failing.as_ref()?.phase))
}

/// The last lines of the log of a phase: from the published log, else redacted from the log in the state directory.
fn last_lines(area: &BuildArea, service: &Service, build: &BuildId, phase: &str) -> Vec<String> {
    let name = format!("{phase}.log");
    let logs = area.mirror.join(build.to_string()).join("outputs/logs");
    if let Ok(text) = tail(&logs.join(&name)) {
        return lines(&text);
    }
    if !service.config.running_logs {
        return Vec::new();
    }
    // Only the newest logs are kept, and published logs in a bucket are not on this machine: without a log, no lines are shown.
    let text = tail(&build::unpublished_logs(area, build).join(&name)).unwrap_or_default();
    match service.options.privacy.compile() {
        Ok(Some(privacy)) => lines(&privacy.redact(&text).0),
        Ok(None) => lines(&text),
        Err(_) => Vec::new(),
    }
}

/// The end of a file, from the beginning of a line.
fn tail(file: &Utf8Path) -> std::io::Result<Vec<u8>> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = fs_err::File::open(file)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut text = Vec::new();
    file.take(BYTES).read_to_end(&mut text)?;
    if start > 0 {
        // Half a line may contain half a secret, which no pattern recognises.
        let end = text.iter().position(|byte| *byte == b'\n');
        text.drain(..end.map_or(text.len(), |at| at + 1));
    }
    Ok(text)
}

fn lines(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let start = lines.len().saturating_sub(LINES);
    lines[start..].to_vec()
}
