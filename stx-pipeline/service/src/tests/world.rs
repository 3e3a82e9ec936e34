//! The world of the service: everything outside of it, as values, and its time.
//!
//! `setups` holds its configurations, `ledger` the ledger that fails on request of a test.

mod ledger;
mod setups;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use stx_layout::{
    BuildDate, BuildId, BuildOutcome, Channel, PhaseStatus, ReleaseId, SourceRecord, VerdictEntry,
};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

pub(super) use self::ledger::{Breaking, Kill};
pub(super) use self::setups::{polled, scheduled, setup, target, watch};
use super::super::*;
use crate::ledger::Ledger;
use crate::trigger::ChangedFile;
use stx_pipeline::EventKind;

pub(super) const PHASES: [&str; 3] = ["sync", "compile", "image"];

/// An unfinished build.
#[derive(Debug, Clone)]
struct Journal {
    commit: Option<String>,
    after: Option<BuildId>,
    force: bool,
    done: usize,
}

/// A published build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) id: BuildId,
    pub(super) commit: String,
    /// The build below.
    pub(super) after: Option<BuildId>,
    pub(super) result: BuildOutcome,
    pub(super) forced: bool,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    /// The current commit of each git branch.
    pub(super) heads: BTreeMap<String, String>,
    pub(super) changed: Option<BTreeSet<ChangedFile>>,
    /// Commits that do not compile.
    pub(super) broken: BTreeSet<String>,
    pub(super) offline: bool,
    /// The reason for which no build can be published, such as a full mirror.
    pub(super) unpublishable: Option<String>,
    /// The channels on which another process works.
    pub(super) busy: BTreeSet<Channel>,
    pub(super) messages: BTreeMap<String, Message>,
    pub(super) published: Vec<Published>,
    journals: BTreeMap<BuildId, Journal>,
    running: BTreeSet<Channel>,
    pub(super) most_running: usize,
    pub(super) phases_run: BTreeMap<(BuildId, &'static str), u32>,
    pub(super) notices: Vec<Notice>,
    pub(super) said: Vec<String>,
    pub(super) pruned: u32,
    pub(super) blocked: BTreeMap<String, String>,
    pub(super) free: u64,
    /// The difference between the clock and the simulated time.
    pub(super) clock: TimeDelta,
    /// The commands of labs that were started.
    pub(super) tests: Vec<(String, BuildId)>,
    /// The outcome of their tests; `None` is green.
    pub(super) tested: Option<Tested>,
    /// The verdicts that the mirror has.
    pub(super) verdicts: Vec<VerdictEntry>,
    /// The seconds that it takes to regenerate the pages, and the number of times that they were regenerated.
    pub(super) paging: u64,
    pub(super) paged: u32,
    /// The number of events until the service is killed.
    pub(super) fuse: Option<u32>,
    /// The status documents after each change, if a test wants them, and the change of the last one.
    pub(super) shown: Option<(Option<u64>, Vec<status::Status>)>,
}

/// The world outside of the service; clones share it.
#[derive(Clone)]
pub(super) struct World {
    inner: Arc<Mutex<Inner>>,
    start: Instant,
    pub(super) killed: Arc<Notify>,
}

/// Marks a channel as building until it is dropped.
struct Running(World, Channel);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().running.remove(&self.1);
    }
}

impl World {
    pub(super) fn new() -> Self {
        let world = Self {
            inner: Arc::default(),
            start: Instant::now(),
            killed: Arc::default(),
        };
        world.lock().free = 50;
        world
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(super) fn push(&self, branch: &str, commit: &str) {
        self.lock()
            .heads
            .insert(branch.to_owned(), commit.to_owned());
    }

    pub(super) fn ask(&self, id: &str, ask: Ask) {
        let message = Message {
            id: id.to_owned(),
            uid: 1000,
            ask,
        };
        self.lock().messages.insert(id.to_owned(), message);
    }

    pub(super) fn ask_build(&self, id: &str, git: &str, force: bool) {
        self.ask_channel(id, git, force, true);
    }

    pub(super) fn ask_channel(&self, id: &str, git: &str, force: bool, new_channel: bool) {
        let ask = Ask::Build {
            release: ReleaseId::from_git(git).unwrap(),
            git: git.to_owned(),
            reason: id.to_owned(),
            force,
            new_channel,
            channel: None,
        };
        self.ask(id, ask);
    }

    /// The published commits of a channel, oldest first.
    pub(super) fn commits(&self, channel: &str) -> Vec<String> {
        let inner = self.lock();
        let of_channel = inner.published.iter();
        of_channel
            .filter(|build| build.id.channel.to_string() == channel)
            .map(|build| build.commit.clone())
            .collect()
    }

    /// One event, at which the service may be killed.
    async fn event(&self) {
        let burnt = {
            let mut inner = self.lock();
            match &mut inner.fuse {
                Some(0) => true,
                Some(left) => {
                    *left -= 1;
                    false
                }
                None => false,
            }
        };
        if burnt {
            self.killed.notify_one();
            std::future::pending::<()>().await;
        }
    }

    async fn make_pages(&self) {
        let paging = self.lock().paging;
        seconds(paging).await;
        self.lock().paged += 1;
    }

    fn occupy(&self, channel: &Channel) -> Option<Running> {
        let mut inner = self.lock();
        if inner.busy.contains(channel) {
            return None;
        }
        assert!(
            inner.running.insert(channel.clone()),
            "two builds of {channel} at a time"
        );
        inner.most_running = inner.most_running.max(inner.running.len());
        drop(inner);
        Some(Running(self.clone(), channel.clone()))
    }

    fn last(&self, channel: &Channel, retry_failed: bool) -> Option<Published> {
        let inner = self.lock();
        let of_channel = inner.published.iter().rev();
        let mut counted = of_channel.filter(|build| {
            build.id.channel == *channel && (!retry_failed || build.result == BuildOutcome::Success)
        });
        counted.next().cloned()
    }

    fn publish(&self, id: &BuildId, journal: &Journal, result: BuildOutcome) -> RunEnd {
        let mut inner = self.lock();
        let commit = journal.commit.clone().unwrap_or_default();
        assert!(
            inner.published.iter().all(|known| known.id != *id),
            "{id} twice"
        );
        inner.published.push(Published {
            id: id.clone(),
            commit: commit.clone(),
            after: journal.after.clone(),
            result,
            forced: journal.force,
        });
        inner.journals.remove(id);
        end(&commit, result)
    }

    async fn run(
        &self,
        id: &BuildId,
        git: &str,
        retry_failed: bool,
        tell: &Tell,
        cancel: &Cancel,
    ) -> Left {
        let mut journal = self.lock().journals[id].clone();
        while let Some(name) = PHASES.get(journal.done).copied() {
            let phase = |what| {
                tell(Progress::Phase(Event {
                    time: self.now(),
                    phase: name.to_owned(),
                    what,
                }));
            };
            self.event().await;
            let command = name.to_owned();
            phase(EventKind::Started {
                attempt: 1,
                command,
            });
            *self
                .lock()
                .phases_run
                .entry((id.clone(), name))
                .or_default() += 1;
            tokio::select! {
                () = cancel.cancelled() => {
                    self.lock().journals.remove(id);
                    return Left::Over(RunEnd::Cancelled);
                }
                () = tokio::time::sleep(Duration::from_mins(1)) => {}
            }
            self.event().await;
            if name == "sync" {
                let commit = self.lock().heads.get(git).cloned();
                journal.commit.clone_from(&commit);
                let last = self.last(&id.channel, retry_failed);
                if let Some(last) = last
                    && Some(&last.commit) == commit.as_ref()
                    && last.after == journal.after
                    && !journal.force
                {
                    self.lock().journals.remove(id);
                    return Left::Over(RunEnd::Unchanged {
                        since: last.id,
                        result: Some(last.result),
                        why: None,
                    });
                }
            }
            let broken = name == "compile"
                && self
                    .lock()
                    .broken
                    .contains(journal.commit.as_deref().unwrap_or(""));
            let status = if broken {
                PhaseStatus::Failed
            } else {
                PhaseStatus::Succeeded
            };
            phase(EventKind::Finished {
                status,
                attempts: 1,
            });
            if broken {
                return Left::Over(self.publish(id, &journal, BuildOutcome::Fail));
            }
            journal.done += 1;
            self.lock().journals.insert(id.clone(), journal.clone());
            self.event().await;
        }
        if let Some(reason) = self.lock().unpublishable.clone() {
            return Left::Unpublished {
                build: id.clone(),
                busy: reason == "busy",
                reason,
            };
        }
        let how = self.publish(id, &journal, BuildOutcome::Success);
        self.event().await;
        Left::Over(how)
    }
}

fn end(commit: &str, result: BuildOutcome) -> RunEnd {
    RunEnd::Published {
        result,
        reason: (result == BuildOutcome::Fail).then(|| "phase compile failed".to_owned()),
        sources: vec![SourceRecord {
            path: "config".into(),
            url: None,
            commit: commit.to_owned(),
        }],
    }
}

#[async_trait]
impl Builder for World {
    async fn build(&self, order: &Order, tell: &Tell, cancel: &Cancel) -> Left {
        let channel = &order.target.channel;
        self.event().await;
        let Some(_running) = self.occupy(channel) else {
            return Left::Busy(format!("{channel} is busy"));
        };
        let of_channel = |id: &&BuildId| id.channel == *channel;
        let journals = self.lock().journals.clone();
        if let Some(over) = journals.keys().find(of_channel)
            && journals[over].done == PHASES.len()
        {
            // As the real builder does, without a phase.
            let left = self.run(over, &order.target.git, true, tell, cancel).await;
            let Left::Over(_) = left else { return left };
        }
        let id = loop {
            let date = BuildDate::at(self.now()).unwrap();
            let id = BuildId::new(channel.clone(), date);
            let known = |build: &Published| build.id == id;
            if !self.lock().published.iter().any(known) {
                break id;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let below = order.after.as_ref();
        let below = below.and_then(|below| self.last(below, true));
        let journal = Journal {
            commit: None,
            after: below.map(|build| build.id),
            force: order.force,
            done: 0,
        };
        {
            // A build empties its channel's workspace, which removes unfinished builds there.
            let mut inner = self.lock();
            inner.journals.retain(|other, _| other.channel != *channel);
            inner.journals.insert(id.clone(), journal);
        }
        self.event().await;
        tell(Progress::Named(id.clone()));
        self.event().await;
        self.run(&id, &order.target.git, order.retry_failed, tell, cancel)
            .await
    }

    async fn resume(&self, build: &BuildId, tell: &Tell, cancel: &Cancel) -> Left {
        let Some(_running) = self.occupy(&build.channel) else {
            return Left::Busy("busy".into());
        };
        if let Some(end) = self.published(build).await.unwrap() {
            return Left::Over(end);
        }
        let git = build
            .channel
            .release
            .to_git(stx_layout::GitMapping::Candidate)
            .unwrap();
        self.run(build, &git, true, tell, cancel).await
    }

    async fn abandon(&self, build: &BuildId, reason: &str) -> Left {
        let journal = self.lock().journals[build].clone();
        let RunEnd::Published {
            result, sources, ..
        } = self.publish(build, &journal, BuildOutcome::Fail)
        else {
            unreachable!()
        };
        let reason = Some(reason.to_owned());
        Left::Over(RunEnd::Published {
            result,
            reason,
            sources,
        })
    }

    async fn unfinished(&self) -> Result<Vec<BuildId>, String> {
        Ok(self.lock().journals.keys().cloned().collect())
    }

    async fn published(&self, build: &BuildId) -> Result<Option<RunEnd>, String> {
        let inner = self.lock();
        let found = inner.published.iter().find(|known| known.id == *build);
        Ok(found.map(|known| end(&known.commit, known.result)))
    }
}

#[async_trait]
impl Upstream for World {
    async fn observe(&self, watch: &Watch, _: Option<&Heads>) -> Result<Observation, String> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let inner = self.lock();
        if inner.offline {
            return Err("no route to host".into());
        }
        let head = inner.heads.get(&watch.git).ok_or("no such branch")?;
        Ok(Observation {
            heads: [("git://x/config".to_owned(), head.clone())].into(),
            changed: inner.changed.clone(),
        })
    }

    async fn has(&self, _: &trigger::Upstream, git: &str) -> Result<bool, String> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let inner = self.lock();
        if inner.offline {
            return Err("no route to host".into());
        }
        Ok(inner.heads.contains_key(git))
    }
}

#[async_trait]
impl Host for World {
    fn now(&self) -> DateTime<Utc> {
        let start: DateTime<Utc> = "2020-01-01T00:00:00Z".parse().unwrap();
        start + TimeDelta::from_std(self.start.elapsed()).unwrap() + self.lock().clock
    }

    fn messages(&self) -> Vec<Message> {
        self.lock().messages.values().cloned().collect()
    }

    fn has_message(&self, id: &str) -> bool {
        self.lock().messages.contains_key(id)
    }

    fn discard(&self, id: &str) {
        self.lock().messages.remove(id);
    }

    fn may_cancel_all(&self, uid: u32) -> bool {
        uid == 0
    }

    fn user_name(&self, uid: u32) -> String {
        format!("user {uid}")
    }

    async fn test(&self, lab: &Lab, build: &BuildId, _: u64, cancel: &Cancel) -> Tested {
        self.event().await;
        self.lock().tests.push((lab.name.clone(), build.clone()));
        tokio::select! {
            () = cancel.cancelled() => return Tested::Cancelled,
            () = tokio::time::sleep(Duration::from_mins(5)) => {}
        }
        self.event().await;
        let tested = self.lock().tested.clone();
        tested.unwrap_or(Tested::Verdict {
            verdict: Verdict::Green,
            reason: Some("passed".into()),
            url: None,
        })
    }

    async fn mark(&self, entry: &VerdictEntry) -> Marking {
        self.event().await;
        {
            let mut inner = self.lock();
            if inner.busy.contains(&entry.build.channel) {
                return Marking::Later("busy".into());
            }
            let build = |known: &&Published| known.id == entry.build;
            match inner.published.iter().find(build) {
                Some(build) if build.result == BuildOutcome::Success => {}
                Some(_) => return Marking::Refused("a failed build".into()),
                None => return Marking::Refused("no such build".into()),
            }
            // By the contract of a mirror, the same verdict of the same time is recorded once.
            if inner.verdicts.contains(entry) {
                return Marking::Recorded { is_new: false };
            }
            inner.verdicts.push(entry.clone());
        }
        self.event().await;
        self.make_pages().await;
        Marking::Recorded { is_new: true }
    }

    fn target(&self, release: &ReleaseId, git: &str) -> Result<Target, String> {
        Ok(target(&release.to_string(), git))
    }

    async fn survey(&self) -> Facts {
        let inner = self.lock();
        let mut facts = Facts {
            disks: vec![Disk {
                dir: "/srv".into(),
                total: 100,
                free: inner.free,
            }],
            ..Facts::default()
        };
        for build in inner
            .published
            .iter()
            .filter(|build| build.result == BuildOutcome::Success)
        {
            let of = facts.channels.entry(build.id.channel.clone()).or_default();
            of.newest_success = Some(build.id.date);
            of.latest_build = of.newest_success;
        }
        facts
    }

    async fn prune(&self) -> Result<Pruned, String> {
        self.lock().pruned += 1;
        self.make_pages().await;
        let inner = self.lock();
        Ok(Pruned {
            text: "pruned".into(),
            blocked: inner.blocked.clone(),
            ..Pruned::default()
        })
    }

    fn notify(&self, notice: Notice) {
        self.lock().notices.push(notice);
    }

    fn pulse(&self, pulse: &Pulse<'_>) {
        let mut inner = self.lock();
        if let Some(shown) = &mut inner.shown
            && shown.0 != Some(pulse.changes)
        {
            shown.0 = Some(pulse.changes);
            let past = status::PastBuilds::new(pulse.ledger, pulse.setup).unwrap();
            shown
                .1
                .push(status::Status::new(pulse, &past, pulse.started));
        }
    }

    fn say(&self, text: &str) {
        self.lock().said.push(text.to_owned());
    }
}

/// Serves until `script` is done, then dies at once, or stops if the script requested it.
pub(super) async fn serve_during(
    world: &World,
    ledger: &mut dyn Ledger,
    setup: Setup,
    script: impl AsyncFnOnce(&mpsc::UnboundedSender<Control>),
) -> Result<(), ServeError> {
    use futures_util::FutureExt as _;
    // Consume a leftover kill: two builds may have reached the kill at once.
    let _earlier: Option<()> = world.killed.notified().now_or_never();
    let (control, receiver) = mpsc::unbounded_channel();
    let all = Arc::new(world.clone());
    let serving = serve(ledger, setup, all.clone(), all.clone(), all, receiver);
    let script = async {
        script(&control).await;
    };
    tokio::select! {
        biased;
        served = serving => served,
        () = world.killed.notified() => Ok(()),
        () = script => Ok(()),
    }
}

pub(super) async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
