//! Turns ticks, commits and messages into requests.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use stx_layout::{Channel, ReleaseId, VerdictEntry, redact_urls};
use tokio::time::Instant;

use super::{Event, Look, ServeError, Service};
use crate::ledger::LEFT_OUT;
use crate::ledger::{Change, Closed, LedgerError, Request, State};
use crate::schedule::Tick;
use crate::status::Answer;
use crate::trigger::{
    Cause, Mark, Observation, Reason, Target, Verdict, Watch, after, judge, periodic,
};
use crate::{Ask, Message, unnamed};

/// The time limit of a poll of repositories.
pub(super) const LOOK: Duration = Duration::from_mins(10);
/// The line for the log and the change to record for a cancellation; or the line with the reason for its refusal.
pub(super) type Cancelled = Result<(String, Option<Change>), String>;
/// The key of the retention schedule's mark; no channel has this name.
const PRUNE: &str = "prune";

impl Service<'_> {
    pub(super) fn read_clock(&mut self) -> Result<(), ServeError> {
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

    /// Files a request for each watch whose channel below has a new success on the mirror.
    pub(super) fn read_mirror(&mut self) -> Result<(), ServeError> {
        let now = self.host.now();
        for watch in self.setup.watches.clone() {
            let below = watch.after.as_ref();
            let below = below.and_then(|below| self.facts.channels.get(below));
            let newest = below.and_then(|below| below.newest_success);
            let Some((mark, reason)) = after(&watch, &self.mark(&watch.key), newest, now) else {
                continue;
            };
            let mut changes = vec![marked(&watch.key, mark)];
            if let Some(reason) = reason {
                let target = watch.target(now);
                changes.push(file(self.state(), target, reason, false, false));
            }
            self.record(&changes)?;
        }
        Ok(())
    }

    fn prune_if_due(&mut self) -> Result<(), ServeError> {
        let Some(schedule) = self.setup.settings.prune.clone() else {
            return Ok(());
        };
        if self.pruning.is_some() {
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
            let (host, sender) = (Arc::clone(&self.host), self.sender.clone());
            self.pruning = Some(tokio::spawn(async move {
                let pruned = host.prune().await;
                // Ignored: the receiver is gone if the service was stopped twice.
                sender.send(Event::Pruned(pruned)).ok();
            }));
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

    /// Polls the repositories of the watches that are due.
    pub(super) fn look(&mut self) {
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
                // Ignored: the receiver is gone if the service stops.
                sender.send(Event::Observed { key, seen }).ok();
            }));
        }
    }

    pub(super) fn observed(
        &mut self,
        key: &str,
        seen: Result<Observation, String>,
    ) -> Result<(), ServeError> {
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
                let why = redact_urls(&why).into_owned();
                let (times, text) = self.blind.entry(key.to_owned()).or_default();
                *times += 1;
                text.clone_from(&why);
                self.host
                    .say(&format!("{key}: commits cannot be read: {why}"));
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
                let why = format!("unchanged: {LEFT_OUT}");
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

    pub(super) fn read_messages(&mut self) -> Result<(), ServeError> {
        let messages = self.host.messages();
        let gone: Vec<_> = self
            .state()
            .messages
            .iter()
            .filter(|id| !self.host.has_message(id))
            .map(|id| Change::Cleared { id: id.clone() })
            .collect();
        if !gone.is_empty() {
            self.record(&gone)?;
        }
        self.asked.keep(&messages);
        for message in messages {
            let id = message.id.clone();
            if !self.state().messages.contains(&id) && !self.read_message(message)? {
                continue;
            }
            self.host.discard(&id);
        }
        Ok(())
    }

    /// Acts upon a message; false if its branch is still being searched for upstream.
    fn read_message(&mut self, message: Message) -> Result<bool, ServeError> {
        let at = self.host.now();
        let Message { id, uid, ask } = message;
        let mut said = None;
        let mut answer = Answer {
            message: id.clone(),
            at,
            request: None,
            joined: false,
            refused: None,
        };
        let mut changes = vec![Change::Received { id: id.clone() }];
        if let Err(why) = ask.check() {
            self.record(&changes)?;
            let text = format!("{id}: the message of user {uid} is refused: {why}");
            self.host.say(&text);
            answer.refused = Some(why.to_string());
            self.answer(answer);
            return Ok(true);
        }
        match ask {
            // The message stays in the spool until fewer verdicts of this user wait.
            Ask::Mark { .. } if !self.takes_verdict_of(uid) => return Ok(false),
            Ask::Mark {
                build,
                verdict,
                reason,
                url,
            } => {
                let entry = VerdictEntry {
                    build,
                    at,
                    verdict,
                    author: String::new(),
                    reason: reason.map(|it| redact_urls(&it).into_owned()),
                    url,
                };
                answer.request = Some(self.state().id(0));
                changes.push(self.verdict(uid, at, entry));
            }
            Ask::Build {
                release,
                git,
                reason: text,
                force,
                new_channel,
                channel,
            } => {
                let wanted = (&release, &*git, channel.as_ref());
                let Some(accepted) = self.accepted(&id, wanted, new_channel, at, &mut said) else {
                    return Ok(false);
                };
                let text = redact_urls(&text).into_owned();
                let cause = Cause::Manual { uid, text };
                let reason = Reason { at, cause };
                match accepted {
                    Ok((target, None)) => {
                        let waiting = self.state().waiting(&target).map(|it| it.id);
                        answer.joined = waiting.is_some();
                        answer.request = waiting.or(Some(self.state().id(0)));
                        changes.push(file(self.state(), target, reason, force, true));
                    }
                    Ok((target, Some(why))) => {
                        said = Some(format!("{target} is refused: {why}"));
                        let request = request(self.state().id(0), target, reason, force, true);
                        (answer.request, answer.refused) = (Some(request.id), Some(why.clone()));
                        let how = Closed::Skipped { why };
                        let closed = Change::Closed {
                            request: request.id,
                            at,
                            how,
                        };
                        changes.extend([Change::Requested(request), closed]);
                    }
                    Err(why) => {
                        let why = format!("{git} cannot be built: {why}");
                        answer.refused = Some(why.clone());
                        said = Some(why);
                    }
                }
            }
            Ask::Cancel { request } => {
                answer.request = Some(request);
                let text = match self.cancel(request, uid, at) {
                    Ok((text, change)) => {
                        changes.extend(change);
                        text
                    }
                    Err(why) => {
                        answer.refused = Some(why.clone());
                        why
                    }
                };
                said = Some(text);
            }
        }
        self.record(&changes)?;
        // Log only now: the record may have to wait, and is then tried again.
        if let Some(said) = said {
            self.host.say(&said);
        }
        self.answer(answer);
        Ok(true)
    }

    /// The target of a build that a message requests, with the reason if it is refused; an error if no target can be found.
    /// `None` while the branch is searched for upstream.
    fn accepted(
        &mut self,
        id: &str,
        (release, git, channel): (&ReleaseId, &str, Option<&Channel>),
        new_channel: bool,
        at: DateTime<Utc>,
        said: &mut Option<String>,
    ) -> Option<Result<(Target, Option<String>), String>> {
        match self.setup.entry(release, git, channel) {
            Ok(Some(watch)) => return Some(Ok((watch.target(at), None))),
            Ok(None) => {}
            Err(why) => return Some(Err(why.to_string())),
        }
        let target = match self.host.target(release, git) {
            Err(why) => return Some(Err(why)),
            Ok(target) => target,
        };
        if !new_channel && !self.setup.names(&target) {
            let why = unnamed(&target);
            return Some(Ok((target, Some(why))));
        }
        let refused = match self.is_there(id, &target)? {
            Ok(true) => None,
            Ok(false) => Some(format!("there is no branch or tag {git} upstream")),
            Err(why) => {
                // Harmless: a build that never reaches a commit is not published.
                *said = Some(format!(
                    "{git}: it cannot be checked upstream: {}; it is built anyway",
                    redact_urls(&why)
                ));
                None
            }
        };
        Some(Ok((target, refused)))
    }

    /// Cancels a request that waits, or asks the build of its run to end.
    fn cancel(&mut self, request: u64, uid: u32, at: DateTime<Utc>) -> Cancelled {
        if self.state().verdicts.contains_key(&request) {
            return self.cancel_test(request, uid, at);
        }
        let state = self.state();
        let mut runs = state.runs.values();
        let run = runs.find(|run| run.request.id == request);
        let build = run.and_then(|run| Some((&run.request, self.builds.get(&run.id)?)));
        let waits = state.queue.get(&request);
        match waits.or(build.map(|(request, _)| request)) {
            None => Err(format!(
                "user {uid} cancels request {request}, which neither waits nor runs; `history` tells how a request ended"
            )),
            Some(asked) if !asked.is_of(uid) && !self.host.may_cancel_all(uid) => Err(format!(
                "user {uid} may not cancel request {request}: others asked for it, too"
            )),
            Some(_) => {
                let how = Closed::Cancelled { uid };
                let closed = match build {
                    Some((_, (cancel, _))) => {
                        cancel.cancel();
                        None
                    }
                    None => Some(Change::Closed { request, at, how }),
                };
                Ok((format!("user {uid} cancels request {request}"), closed))
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
        more_reasons: 0,
        unpublished: None,
    }
}

/// Files a request, or joins the waiting request for the same target.
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
