//! The loop of the service.

mod asked;
mod health;
mod intake;
mod labs;
mod recover;
mod runs;
mod verdicts;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use stx_layout::counted;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::asked::Asked;
use self::labs::Tests;
use self::verdicts::Marks;
use super::health::{Blind, ledger_alarm};
use super::{
    Builder, Facts, Host, Left, Marking, Notice, OnStop, Progress, Pruned, Setup, Tested, Upstream,
};
use crate::ledger::{Change, Ledger, LedgerError, State};
use crate::status::{Answer, Pulse};
use crate::trigger::Observation;
use stx_pipeline::Cancel;

/// A command to the running service.
#[derive(Debug)]
pub enum Control {
    /// Use this setup from now on.
    Reload(Box<Setup>),
    /// Stop: start nothing further. Wait for verdicts and retention in progress, and for builds as [`OnStop`] requires. A
    /// second stop interrupts everything that still runs.
    Stop,
}

/// The service cannot continue.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The ledger cannot be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The interrupted builds cannot be determined.
    #[error("unfinished builds cannot be found: {reason}")]
    Unfinished {
        /// The reason, for people.
        reason: String,
    },
}

/// The most answers to messages that are shown: users look for an answer right after they leave a message.
const ANSWERS: usize = 200;
/// The pause before an unwritable ledger is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// An event that the loop of the service waits for.
#[derive(Clone)]
enum Event {
    Observed {
        key: String,
        seen: Result<Observation, String>,
    },
    Asked {
        id: String,
        found: Result<bool, String>,
    },
    Told {
        run: u64,
        progress: Progress,
    },
    Over {
        run: u64,
        left: Left,
    },
    Surveyed(Facts),
    Pruned(Result<Pruned, String>),
    Marked {
        id: u64,
        marking: Marking,
    },
    Tested {
        id: u64,
        tested: Tested,
    },
}

/// The next poll of a watch, and its running task.
struct Look {
    next: Instant,
    task: Option<JoinHandle<()>>,
}

struct Service<'l> {
    ledger: &'l mut dyn Ledger,
    setup: Setup,
    builder: Arc<dyn Builder>,
    upstream: Arc<dyn Upstream>,
    host: Arc<dyn Host>,
    sender: mpsc::UnboundedSender<Event>,
    builds: BTreeMap<u64, (Cancel, JoinHandle<()>)>,
    looks: BTreeMap<String, Look>,
    asked: Asked,
    marks: Marks,
    tests: Tests,
    blind: Blind,
    /// The due builds that retention kept, as in [`Pruned::blocked`]; `None` until retention was applied.
    blocked: Option<BTreeMap<String, String>>,
    /// The time since which the ledger cannot be written, and the reason; `None` if the last attempt succeeded.
    waiting: Option<(DateTime<Utc>, String)>,
    held: BTreeMap<u64, Instant>,
    facts: Facts,
    next_survey: Instant,
    surveying: bool,
    pruning: Option<JoinHandle<()>>,
    stopping: Option<OnStop>,
    started: DateTime<Utc>,
    answers: Vec<Answer>,
    /// See [`Pulse::changes`].
    changes: u64,
    /// See [`Pulse::ended`].
    ended: u64,
}

/// Serves until it is stopped, or cannot continue. Resumes interrupted builds first.
///
/// While the ledger cannot be written ([`LedgerError::Unavailable`]), running builds continue, nothing is started or acted
/// upon, and the record is tried again every second.
///
/// # Errors
/// See [`ServeError`]. Everything that runs is then ended as by a crash, and the next call resumes it. The same applies after a
/// stop while the end of a build cannot be recorded.
pub async fn serve(
    ledger: &mut dyn Ledger,
    setup: Setup,
    builder: Arc<dyn Builder>,
    upstream: Arc<dyn Upstream>,
    host: Arc<dyn Host>,
    mut control: mpsc::UnboundedReceiver<Control>,
) -> Result<(), ServeError> {
    let (sender, mut events) = mpsc::unbounded_channel();
    let started = host.now();
    let mut service = Service {
        ledger,
        setup,
        builder,
        upstream,
        host,
        sender,
        builds: BTreeMap::new(),
        looks: BTreeMap::new(),
        asked: Asked::default(),
        marks: Marks::default(),
        tests: Tests::default(),
        blind: Blind::new(),
        blocked: None,
        waiting: None,
        held: BTreeMap::new(),
        facts: Facts::default(),
        next_survey: Instant::now(),
        surveying: false,
        pruning: None,
        stopping: None,
        started,
        answers: Vec::new(),
        changes: 0,
        ended: 0,
    };
    service.say_start();
    let mut recovered = false;
    // Events that are not recorded yet, oldest first.
    let mut late = VecDeque::new();
    loop {
        if !recovered {
            if service.stopping.is_some() {
                // Running work ends as by a crash, and is resumed at the next start.
                return Ok(());
            }
            tokio::select! {
                biased;
                told = control.recv() => {
                    service.control(told.unwrap_or(Control::Stop)).await;
                    continue;
                }
                done = service.recover() => recovered = service.recorded(done)?.is_none(),
            }
        }
        let mut failed = None;
        if recovered {
            while let Some(event) = late.front().cloned() {
                let done = service.handle(event);
                failed = service.recorded(done)?;
                if failed.is_some() {
                    break;
                }
                late.pop_front();
            }
            if failed.is_none() {
                let done = service.step();
                failed = service.recorded(done)?;
            }
        }
        if service.waiting.is_some() {
            // Watchers must still learn that the service is alive.
            service.pulse();
        }
        if service.stopping.is_some() && service.idle() {
            return match failed {
                // The end of a build is not recorded; the next start finds the build on the mirror.
                Some(error) if !late.is_empty() || !service.builds.is_empty() => Err(error.into()),
                Some(_) | None => Ok(()),
            };
        }
        let sleep = service.until();
        tokio::select! {
            biased;
            told = control.recv() => service.control(told.unwrap_or(Control::Stop)).await,
            Some(event) = events.recv() => late.push_back(event),
            () = tokio::time::sleep_until(sleep) => {}
        }
        while let Ok(event) = events.try_recv() {
            late.push_back(event);
        }
    }
}

impl Drop for Service<'_> {
    /// Aborts the tasks that still run, whatever ended the service.
    fn drop(&mut self) {
        for (_, task) in self.builds.values() {
            task.abort();
        }
        for look in self.looks.values() {
            look.task.iter().for_each(JoinHandle::abort);
        }
        self.pruning.iter().for_each(JoinHandle::abort);
        self.asked.abort();
        self.marks.abort();
        self.tests.abort();
    }
}

impl Service<'_> {
    fn state(&self) -> &State {
        self.ledger.state()
    }

    fn record(&mut self, changes: &[Change]) -> Result<(), LedgerError> {
        self.ledger.record(changes)?;
        self.changes += 1;
        for change in changes {
            if let Change::Joined { request, .. } = change {
                // A pause of up to an hour must not delay a user, a tick or a commit.
                self.held.remove(request);
            }
        }
        let ends = |change: &Change| match change {
            Change::Closed { .. } | Change::Ended { .. } | Change::Requeued { .. } => true,
            Change::Marked { .. }
            | Change::Requested(_)
            | Change::Joined { .. }
            | Change::Started { .. }
            | Change::Named { .. }
            | Change::Phase { .. }
            | Change::Interrupted { .. }
            | Change::Raised { .. }
            | Change::Lowered { .. }
            | Change::Received { .. }
            | Change::Cleared { .. }
            | Change::VerdictFiled(_)
            | Change::TestStarted { .. }
            | Change::TestEnded { .. }
            | Change::VerdictEnded { .. } => false,
        };
        self.ended += u64::from(changes.iter().any(ends));
        Ok(())
    }

    /// Tells the host the service's state, and that it is alive.
    fn pulse(&self) {
        let mut alarms = self.state().alarms.clone();
        alarms.extend(self.waiting.clone().map(|it| (ledger_alarm(), it)));
        self.host.pulse(&Pulse {
            ledger: &*self.ledger,
            alarms: &alarms,
            setup: &self.setup,
            facts: &self.facts,
            answers: &self.answers,
            started: self.started,
            stopping: self.stopping.is_some(),
            changes: self.changes,
            ended: self.ended,
        });
    }

    /// Logs a line for each entry, after the host has logged the start of the service.
    fn say_start(&self) {
        let now = self.host.now();
        for watch in &self.setup.watches {
            let next = watch
                .schedule
                .as_ref()
                .and_then(|schedule| schedule.next(now));
            let next = next.map(|at| format!("next at {}", at.format("%Y-%m-%dT%H:%M:%SZ")));
            let poll = watch
                .poll
                .map(|poll| format!("commits every {}", humantime::format_duration(poll)));
            let after = watch.after.as_ref().map(|below| format!("after {below}"));
            let when: Vec<_> = next.into_iter().chain(poll).chain(after).collect();
            let when = if when.is_empty() {
                "on request".to_owned()
            } else {
                when.join(", ")
            };
            self.host
                .say(&format!("{}: {}, {when}", watch.key, watch.git));
        }
    }

    /// Stores the answer to a message, and drops the oldest answer.
    fn answer(&mut self, answer: Answer) {
        self.changes += 1;
        if self.answers.len() == ANSWERS {
            self.answers.remove(0);
        }
        self.answers.push(answer);
    }

    /// True if every build, verdict and retention run has ended. While the ledger cannot be written, a finished task counts as
    /// ended, although its end is not recorded.
    fn idle(&self) -> bool {
        let builds = self.builds.values().map(|(_, task)| task);
        let mut tasks = builds.chain(self.marks.tasks()).chain(&self.pruning);
        tasks.all(|task| self.waiting.is_some() && task.is_finished())
    }

    /// Tracks whether the ledger can be written, and notifies people of changes. Returns the error if it cannot be written at
    /// the moment.
    fn recorded(
        &mut self,
        done: Result<(), ServeError>,
    ) -> Result<Option<LedgerError>, ServeError> {
        let error = match done {
            Ok(()) => None,
            Err(ServeError::Ledger(error @ LedgerError::Unavailable { .. })) => Some(error),
            Err(error) => return Err(error),
        };
        if self.waiting.is_some() == error.is_some() {
            return Ok(error);
        }
        let at = self.host.now();
        let alarm = ledger_alarm();
        self.changes += 1;
        // The alarm is sent and shown, but not recorded: the ledger cannot be written.
        if let Some(error) = &error {
            let why = std::error::Error::source(error);
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            let text = format!("{error}{why}; nothing is started until it can be written");
            self.host.say(&text);
            self.waiting = Some((at, text.clone()));
            self.host.notify(Notice::Alarm { at, alarm, text });
        } else {
            self.waiting = None;
            self.host.say("ledger: can be written again");
            self.host.notify(Notice::AlarmOver { at, alarm });
        }
        Ok(error)
    }

    /// Performs everything that is due.
    fn step(&mut self) -> Result<(), ServeError> {
        self.ledger.check()?;
        self.read_messages()?;
        if self.stopping.is_none() {
            self.read_clock()?;
            self.read_mirror()?;
            self.look();
            self.start_builds()?;
            self.start_tests()?;
            self.give_verdicts();
        }
        self.survey();
        self.check_health()?;
        self.pulse();
        Ok(())
    }

    /// The time at which the next step may be due.
    fn until(&self) -> Instant {
        if self.waiting.is_some() {
            return Instant::now() + RETRY;
        }
        let tick = Instant::now() + self.setup.settings.tick;
        if self.stopping.is_some() {
            return tick;
        }
        let looks = self.looks.values().filter(|look| look.task.is_none());
        let held = self.held.values().copied();
        looks
            .map(|look| look.next)
            .chain(held)
            .fold(tick, Instant::min)
    }

    fn handle(&mut self, event: Event) -> Result<(), ServeError> {
        match event {
            Event::Observed { key, seen } => self.observed(&key, seen),
            Event::Asked { id, found } => {
                self.asked.answered(id, found);
                Ok(())
            }
            Event::Marked { id, marking } => self.marked(id, marking),
            Event::Tested { id, tested } => self.tested(id, tested),
            Event::Told { run, progress } => self.told(run, progress),
            Event::Over { run, left } => self.over(run, left),
            Event::Surveyed(facts) => {
                for unknown in &facts.unknown {
                    if !self.facts.unknown.contains(unknown) {
                        self.host.say(unknown);
                    }
                }
                self.surveying = false;
                self.facts = facts;
                Ok(())
            }
            Event::Pruned(pruned) => {
                self.pruning = None;
                let blocked = match pruned {
                    Ok(Pruned { text, blocked, .. }) => {
                        self.host.say(&text);
                        blocked
                    }
                    Err(why) => {
                        let text = format!("retention was not applied: {why}");
                        self.host.say(&text);
                        [("mirror".to_owned(), text)].into()
                    }
                };
                self.blocked = Some(blocked);
                Ok(())
            }
        }
    }

    async fn control(&mut self, control: Control) {
        match control {
            Control::Reload(setup) => {
                self.setup = *setup;
                self.changes += 1;
                let watches = &self.setup.watches;
                let polled = |key: &String| {
                    watches
                        .iter()
                        .any(|watch| watch.key == *key && watch.poll.is_some())
                };
                self.looks
                    .retain(|key, look| polled(key) || look.task.is_some());
                self.blind.retain(|key, _| polled(key));
                // The new configuration may change the place or the interval of polls.
                for look in self.looks.values_mut() {
                    look.next = Instant::now();
                }
                self.host.say("configuration reloaded");
            }
            Control::Stop => {
                let first = self.stopping.is_none();
                let how = if first {
                    self.setup.settings.on_stop
                } else {
                    OnStop::Interrupt
                };
                self.stopping = Some(how);
                self.changes += 1;
                // Wait for verdicts and retention: they move aliases and remove builds before they regenerate the pages. After
                // a second stop, do not wait.
                if !first {
                    self.marks.abort();
                    self.marks = Marks::default();
                    self.pruning.take().iter().for_each(JoinHandle::abort);
                }
                match how {
                    OnStop::Finish => {
                        let builds = counted(self.builds.len(), "build");
                        self.host.say(&format!("stopping after {builds}"));
                    }
                    OnStop::Interrupt => {
                        for (run, (_, task)) in std::mem::take(&mut self.builds) {
                            self.host.say(&format!(
                                "run {run}: interrupted, resumes at the next start"
                            ));
                            task.abort();
                            // The task was aborted, or had already ended.
                            drop(task.await);
                        }
                    }
                }
            }
        }
    }
}
