//! The loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stx_layout::{BuildId, BuildOutcome, Channel};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::health::{self, Blind};
use super::{
    Ask, Builder, Facts, Host, Left, Message, Notice, OnStop, Order, Progress, Setup, Upstream,
};
use crate::execute::{Cancel, EventKind};
use crate::ledger::{
    Change, Closed, Ended, Ledger, LedgerError, PhaseRun, Request, Run, RunEnd, State,
};
use crate::trigger::{Cause, Mark, Observation, Reason, Target, Verdict, Watch, judge, periodic};

/// How long a request waits whose channel somebody else works on.
const BUSY: Duration = Duration::from_mins(1);
/// How long a look at repositories may take.
const LOOK: Duration = Duration::from_mins(10);
/// What the retention schedule is remembered by; no channel is called so.
const PRUNE: &str = "prune";

/// What the service is told to do.
#[derive(Debug)]
pub enum Control {
    /// Go by this from now on.
    Reload(Box<Setup>),
    /// Stop, as [`OnStop`] says; a second one interrupts what still runs.
    Stop,
}

/// The service cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// What cannot be recorded cannot be promised.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// It is not known which builds were cut off.
    #[error("unfinished builds cannot be found: {reason}")]
    Unfinished {
        /// Why.
        reason: String,
    },
}

/// What came in.
enum Event {
    Observed {
        key: String,
        seen: Result<Observation, String>,
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
    Pruned(Result<String, String>),
}

/// How often a watch is looked at.
struct Look {
    next: Instant,
    task: Option<JoinHandle<()>>,
}

pub(super) struct Service<'l> {
    pub(super) ledger: &'l mut dyn Ledger,
    pub(super) setup: Setup,
    pub(super) builder: Arc<dyn Builder>,
    upstream: Arc<dyn Upstream>,
    pub(super) host: Arc<dyn Host>,
    sender: mpsc::UnboundedSender<Event>,
    builds: BTreeMap<u64, (Cancel, JoinHandle<()>)>,
    looks: BTreeMap<String, Look>,
    blind: Blind,
    held: BTreeMap<u64, Instant>,
    facts: Facts,
    next_survey: Instant,
    surveying: bool,
    pruning: bool,
    stopping: Option<OnStop>,
}

/// What a build task does.
pub(super) enum Job {
    Build(Order),
    Resume(BuildId),
    Abandon(BuildId, String),
}

/// Serves until it is told to stop, or cannot go on. What was cut off before goes on first.
///
/// # Errors
/// See [`ServeError`]. Whatever is running then is ended as by a crash; the next call goes on with it.
pub async fn serve(
    ledger: &mut dyn Ledger,
    setup: Setup,
    builder: Arc<dyn Builder>,
    upstream: Arc<dyn Upstream>,
    host: Arc<dyn Host>,
    mut control: mpsc::UnboundedReceiver<Control>,
) -> Result<(), ServeError> {
    let (sender, mut events) = mpsc::unbounded_channel();
    let mut service = Service {
        ledger,
        setup,
        builder,
        upstream,
        host,
        sender,
        builds: BTreeMap::new(),
        looks: BTreeMap::new(),
        blind: Blind::new(),
        held: BTreeMap::new(),
        facts: Facts::default(),
        next_survey: Instant::now(),
        surveying: false,
        pruning: false,
        stopping: None,
    };
    service.recover().await?;
    loop {
        service.step()?;
        if service.stopping.is_some() && service.builds.is_empty() {
            return Ok(());
        }
        let sleep = service.until();
        tokio::select! {
            biased;
            told = control.recv() => service.control(told.unwrap_or(Control::Stop)).await,
            Some(event) = events.recv() => service.handle(event)?,
            () = tokio::time::sleep_until(sleep) => {}
        }
        while let Ok(event) = events.try_recv() {
            service.handle(event)?;
        }
    }
}

impl Drop for Service<'_> {
    /// What runs ends with the service, whatever ended it.
    fn drop(&mut self) {
        for (_, task) in self.builds.values() {
            task.abort();
        }
        for look in self.looks.values() {
            look.task.iter().for_each(JoinHandle::abort);
        }
    }
}

impl Service<'_> {
    pub(super) fn state(&self) -> &State {
        self.ledger.state()
    }

    pub(super) fn record(&mut self, changes: &[Change]) -> Result<(), LedgerError> {
        self.ledger.record(changes)
    }

    /// Acts upon everything that is due.
    fn step(&mut self) -> Result<(), ServeError> {
        self.read_messages()?;
        if self.stopping.is_none() {
            self.read_clock()?;
            self.look();
            self.start_builds()?;
        }
        self.survey();
        self.check_health()?;
        self.host.pulse(self.ledger.state(), &self.facts);
        Ok(())
    }

    /// When something may be due again.
    fn until(&self) -> Instant {
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

    fn read_clock(&mut self) -> Result<(), ServeError> {
        let now = self.host.now();
        for watch in self.setup.watches.clone() {
            let mark = self.mark(&watch.key);
            let Some((mark, reason)) = periodic(&watch, &mark, now) else {
                continue;
            };
            let mut changes = vec![marked(&watch.key, mark)];
            if let Some(reason) = reason {
                let Cause::Periodic { due, .. } = reason.cause else {
                    continue;
                };
                let target = watch.target(due);
                changes.push(file(
                    self.state(),
                    target,
                    reason,
                    false,
                    watch.retry_failed,
                ));
            }
            self.record(&changes)?;
        }
        self.prune_if_due()
    }

    fn prune_if_due(&mut self) -> Result<(), ServeError> {
        use crate::schedule::Tick;
        let Some(schedule) = self.setup.settings.prune.clone() else {
            return Ok(());
        };
        if self.pruning {
            return Ok(());
        }
        let mut mark = self.mark(PRUNE);
        let due = match schedule.tick(mark.fired, self.host.now()) {
            Tick::Wait => return Ok(()),
            Tick::Rebase(at) => {
                mark.fired = Some(at);
                false
            }
            Tick::Act(due) => {
                mark.fired = Some(due.at);
                true
            }
        };
        self.record(&[marked(PRUNE, mark)])?;
        if due {
            self.pruning = true;
            let (host, sender) = (Arc::clone(&self.host), self.sender.clone());
            tokio::spawn(async move {
                let pruned = host.prune().await;
                // Nobody listens any more once the service has stopped.
                drop(sender.send(Event::Pruned(pruned)));
            });
        }
        Ok(())
    }

    fn mark(&self, key: &str) -> Mark {
        self.state().marks.get(key).cloned().unwrap_or_default()
    }

    fn watch(&self, key: &str) -> Option<Watch> {
        let mut watches = self.setup.watches.iter();
        watches.find(|watch| watch.key == key).cloned()
    }

    /// Looks at the repositories of the watches whose time it is.
    fn look(&mut self) {
        let now = Instant::now();
        let watches = &self.setup.watches;
        let polled = watches.iter().filter(|watch| watch.poll.is_some());
        for watch in polled {
            let look = self.looks.entry(watch.key.clone()).or_insert(Look {
                next: now,
                task: None,
            });
            if look.task.is_some() || look.next > now {
                continue;
            }
            let mark = self.ledger.state().marks.get(&watch.key);
            let before = mark.and_then(|mark| mark.considered.clone());
            let (upstream, sender) = (Arc::clone(&self.upstream), self.sender.clone());
            let watch = watch.clone();
            look.task = Some(tokio::spawn(async move {
                let seen = upstream.observe(&watch, before.as_ref());
                let seen = tokio::time::timeout(LOOK, seen)
                    .await
                    .unwrap_or_else(|_| Err(format!("it took more than {} s", LOOK.as_secs())));
                let key = watch.key;
                drop(sender.send(Event::Observed { key, seen }));
            }));
        }
    }

    fn observed(&mut self, key: &str, seen: Result<Observation, String>) -> Result<(), ServeError> {
        let Some((watch, poll)) = self
            .watch(key)
            .and_then(|watch| watch.poll.map(|poll| (watch, poll)))
        else {
            self.looks.remove(key);
            return Ok(());
        };
        let mut next = Instant::now() + poll;
        match seen {
            Err(why) => {
                let (times, text) = self.blind.entry(key.to_owned()).or_default();
                *times += 1;
                text.clone_from(&why);
                self.host
                    .say(&format!("{key}: commits cannot be seen: {why}"));
            }
            Ok(seen) => {
                self.blind.remove(key);
                let now = self.host.now();
                let verdict = judge(&watch, &self.mark(key), &seen, now);
                if let Verdict::Gather { until, .. } = &verdict {
                    let quiet = (*until - now).to_std().unwrap_or(poll);
                    next = Instant::now() + quiet.clamp(Duration::from_millis(100), poll);
                }
                self.act(&watch, verdict)?;
            }
        }
        if let Some(look) = self.looks.get_mut(key) {
            look.task = None;
            look.next = next;
        }
        Ok(())
    }

    fn act(&mut self, watch: &Watch, verdict: Verdict) -> Result<(), LedgerError> {
        let now = self.host.now();
        match verdict {
            Verdict::Same => Ok(()),
            Verdict::Gather { mark, .. } => {
                if self.mark(&watch.key) == mark {
                    return Ok(());
                }
                self.record(&[marked(&watch.key, mark)])
            }
            Verdict::Irrelevant { mark, reason } => {
                let id = self.state().id(0);
                let request = request(id, watch.target(now), reason, false, false);
                let why = "none of the changed paths matters".to_owned();
                let closed = Change::Closed {
                    request: id,
                    at: now,
                    how: Closed::Skipped { why },
                };
                self.record(&[marked(&watch.key, mark), Change::Requested(request), closed])
            }
            Verdict::Build { mark, reason } => {
                let filed = file(self.state(), watch.target(now), reason, false, false);
                self.record(&[marked(&watch.key, mark), filed])
            }
        }
    }

    fn read_messages(&mut self) -> Result<(), ServeError> {
        let messages = self.host.messages();
        let there: Vec<_> = messages.iter().map(|message| &message.id).collect();
        let gone: Vec<_> = self
            .state()
            .messages
            .iter()
            .filter(|id| !there.contains(id))
            .map(|id| Change::Cleared { id: id.clone() })
            .collect();
        if !gone.is_empty() {
            self.record(&gone)?;
        }
        for message in messages {
            let id = message.id.clone();
            if !self.state().messages.contains(&id) {
                self.read_message(message)?;
            }
            self.host.discard(&id);
        }
        Ok(())
    }

    fn read_message(&mut self, message: Message) -> Result<(), ServeError> {
        let at = self.host.now();
        let Message { id, uid, ask } = message;
        let mut changes = vec![Change::Received { id }];
        match ask {
            Ask::Build {
                release,
                git,
                reason: text,
                force,
            } => {
                let mut watches = self.setup.watches.iter();
                let known = watches.find(|watch| {
                    watch.milestone.is_none()
                        && watch.git == git
                        && watch.channel.release == release
                });
                let target = match known {
                    Some(watch) => Ok(watch.target(at)),
                    None => self.host.target(&release, &git),
                };
                let cause = Cause::Manual { uid, text };
                match target {
                    Ok(target) => {
                        changes.push(file(
                            self.state(),
                            target,
                            Reason { at, cause },
                            force,
                            true,
                        ));
                    }
                    Err(why) => self.host.say(&format!("{git} cannot be built: {why}")),
                }
            }
            Ask::Cancel { request } => self.cancel(request, uid, &mut changes),
        }
        Ok(self.record(&changes)?)
    }

    fn cancel(&self, request: u64, uid: u32, changes: &mut Vec<Change>) {
        let state = self.state();
        let run = state.runs.values().find(|run| run.request.id == request);
        let build = run.and_then(|run| self.builds.get(&run.id));
        if state.queue.contains_key(&request) {
            changes.push(Change::Closed {
                request,
                at: self.host.now(),
                how: Closed::Cancelled { uid },
            });
        } else if let Some((cancel, _)) = build {
            self.host
                .say(&format!("user {uid} cancels request {request}"));
            cancel.cancel();
        } else {
            let text =
                format!("user {uid} cancels request {request}, which neither waits nor runs");
            self.host.say(&text);
        }
    }

    /// Starts what may start, the longest waiting first.
    fn start_builds(&mut self) -> Result<(), ServeError> {
        let now = Instant::now();
        self.held.retain(|_, until| *until > now);
        while let Some(request) = startable(self.state(), &self.setup, &self.held) {
            let request = request.clone();
            let run = self.state().id(0);
            let at = self.host.now();
            self.record(&[Change::Started {
                run,
                request: request.id,
                at,
            }])?;
            self.host.say(&format!("run {run}: {}", request.target));
            self.spawn(
                run,
                Job::Build(Order {
                    target: request.target,
                    reasons: request.reasons,
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
        let task = tokio::spawn(async move {
            let told = sender.clone();
            let tell = move |progress| drop(told.send(Event::Told { run, progress }));
            let left = match job {
                Job::Build(order) => builder.build(&order, &tell, &switch).await,
                Job::Resume(build) => builder.resume(&build, &tell, &switch).await,
                Job::Abandon(build, reason) => builder.abandon(&build, &reason).await,
            };
            drop(sender.send(Event::Over { run, left }));
        });
        self.builds.insert(run, (cancel, task));
    }

    fn handle(&mut self, event: Event) -> Result<(), ServeError> {
        match event {
            Event::Observed { key, seen } => self.observed(&key, seen),
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
                self.pruning = false;
                match pruned {
                    Ok(text) => self.host.say(&text),
                    Err(why) => self.host.say(&format!("retention was not applied: {why}")),
                }
                Ok(())
            }
        }
    }

    fn told(&mut self, id: u64, progress: Progress) -> Result<(), ServeError> {
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

    fn over(&mut self, id: u64, left: Left) -> Result<(), ServeError> {
        self.builds.remove(&id);
        let Some(run) = self.state().runs.get(&id).cloned() else {
            return Ok(());
        };
        let at = self.host.now();
        match left {
            Left::Busy(reason) => {
                let request = run.request.id;
                self.host.say(&format!(
                    "run {id}: {reason}; tried again in {} s",
                    BUSY.as_secs()
                ));
                self.record(&[Change::Requeued {
                    run: id,
                    at,
                    reason,
                }])?;
                self.held.insert(request, Instant::now() + BUSY);
                Ok(())
            }
            Left::Over(how) => self.ended(&run, Ended { at, how }),
        }
    }

    /// Records the end of a run, and tells who wants to know.
    pub(super) fn ended(&mut self, run: &Run, end: Ended) -> Result<(), ServeError> {
        let channel = run.request.target.channel.clone();
        let before = self.state().last.get(&channel).cloned().unwrap_or_default();
        let (at, build) = (end.at, run.build.clone());
        let failed = |reason: &str| Notice::Failure {
            at,
            channel: channel.clone(),
            build: build.clone(),
            reason: reason.to_owned(),
        };
        let was_bad = match before.end.as_ref().map(|end| &end.how) {
            Some(RunEnd::Refused { .. }) => true,
            Some(_) | None => before.result == Some(BuildOutcome::Fail),
        };
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
        self.host
            .say(&format!("run {}: {}", run.id, said(&end.how)));
        self.record(&[Change::Ended { run: run.id, end }])?;
        // Mirror and disk are not what they were.
        self.next_survey = Instant::now();
        if let Some(notice) = notice {
            self.host.notify(notice);
        }
        Ok(())
    }

    fn survey(&mut self) {
        let now = Instant::now();
        if self.surveying || self.next_survey > now {
            return;
        }
        self.surveying = true;
        self.next_survey = now + self.setup.settings.survey;
        let (host, sender) = (Arc::clone(&self.host), self.sender.clone());
        tokio::spawn(async move {
            let facts = host.survey().await;
            drop(sender.send(Event::Surveyed(facts)));
        });
    }

    fn check_health(&mut self) -> Result<(), ServeError> {
        let at = self.host.now();
        let state = self.ledger.state();
        let alarms = health::check(state, &self.setup, &self.facts, &self.blind, at);
        let mut changes = Vec::new();
        let mut notices = Vec::new();
        for (alarm, text) in &alarms {
            if !state.alarms.contains_key(alarm) {
                let (alarm, text) = (alarm.clone(), text.clone());
                changes.push(Change::Raised {
                    alarm: alarm.clone(),
                    at,
                    text: text.clone(),
                });
                notices.push(Notice::Alarm { at, alarm, text });
            }
        }
        for alarm in state.alarms.keys() {
            if !alarms.contains_key(alarm) {
                let alarm = alarm.clone();
                changes.push(Change::Lowered {
                    alarm: alarm.clone(),
                });
                notices.push(Notice::AlarmOver { at, alarm });
            }
        }
        if !changes.is_empty() {
            self.record(&changes)?;
        }
        for notice in notices {
            self.host.notify(notice);
        }
        Ok(())
    }

    async fn control(&mut self, control: Control) {
        match control {
            Control::Reload(setup) => {
                self.setup = *setup;
                let watches = &self.setup.watches;
                let polled = |key: &String| {
                    watches
                        .iter()
                        .any(|watch| watch.key == *key && watch.poll.is_some())
                };
                self.looks
                    .retain(|key, look| polled(key) || look.task.is_some());
                self.blind.retain(|key, _| polled(key));
                // A watch may be looked at elsewhere, or more often, now.
                for look in self.looks.values_mut() {
                    look.next = Instant::now();
                }
                self.host.say("the new configuration holds");
            }
            Control::Stop => {
                let first = self.stopping.is_none();
                let how = if first {
                    self.setup.settings.on_stop
                } else {
                    OnStop::Interrupt
                };
                self.stopping = Some(how);
                match how {
                    OnStop::Finish => {
                        let count = self.builds.len();
                        self.host
                            .say(&format!("stopping when {count} builds are done"));
                    }
                    OnStop::Interrupt => {
                        for (run, (_, task)) in std::mem::take(&mut self.builds) {
                            self.host.say(&format!(
                                "run {run}: interrupted, goes on at the next start"
                            ));
                            task.abort();
                            // It ends by being aborted, or ended before.
                            drop(task.await);
                        }
                    }
                }
            }
        }
    }
}

fn marked(key: &str, mark: Mark) -> Change {
    Change::Marked {
        key: key.to_owned(),
        mark,
    }
}

fn request(id: u64, target: Target, reason: Reason, force: bool, retry_failed: bool) -> Request {
    Request {
        id,
        target,
        force,
        retry_failed,
        reasons: vec![reason],
    }
}

/// Files a request, or joins the one that waits for the same.
fn file(state: &State, target: Target, reason: Reason, force: bool, retry_failed: bool) -> Change {
    match state.waiting(&target) {
        Some(waiting) => Change::Joined {
            request: waiting.id,
            reason,
            force,
            retry_failed,
        },
        None => Change::Requested(request(state.id(0), target, reason, force, retry_failed)),
    }
}

/// The request that has waited longest of those that may start.
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

/// What a phase of a run is after an event, if that changes it.
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

/// The end of a run in a line.
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
        RunEnd::Unchanged { since } => format!("nothing changed since {since}"),
        RunEnd::Refused { reason } => format!("nothing was published: {reason}"),
        RunEnd::Cancelled => "cancelled".to_owned(),
        RunEnd::Requeued { reason } => format!("runs again: {reason}"),
    }
}
