//! Verdicts: filed in the transaction of their message, given to the mirror, and remembered with the outcome.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, SubsecRound as _, Utc};
use stx_layout::{Channel, VerdictEntry};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::runs::BUSY;
use super::{Event, ServeError, Service};
use crate::Marking;
use crate::ledger::{Change, EndedVerdict, VerdictEnd, VerdictOrigin, VerdictRequest};

/// How many verdicts of one user wait at a time; the messages with more stay in the spool. Each is kept for good.
const WAITING: usize = 20;

/// The verdicts that the mirror is asked to take.
#[derive(Default)]
pub(super) struct Marks {
    /// At most one a channel: they are recorded under its lock, in the order in which they were filed.
    tasks: BTreeMap<Channel, (u64, JoinHandle<()>)>,
    /// Channels whose mirror could not take one, and until when they are left alone.
    held: BTreeMap<Channel, Instant>,
}

impl Marks {
    pub(super) fn abort(&self) {
        self.tasks.values().for_each(|(_, task)| task.abort());
    }
}

impl Service<'_> {
    /// Whether a user may have one more verdict wait.
    pub(super) fn takes_verdict_of(&self, uid: u32) -> bool {
        let waiting = self.state().verdicts.values();
        waiting.filter(|request| request.is_of(uid)).count() < WAITING
    }

    /// The request for a verdict that somebody left in the spool. Its author is the owner of the message.
    pub(super) fn verdict(&self, uid: u32, at: DateTime<Utc>, mark: VerdictEntry) -> Change {
        Change::VerdictFiled(VerdictRequest {
            id: self.state().id(0),
            build: mark.build.clone(),
            at,
            origin: VerdictOrigin::Asked { uid },
            starts: 0,
            started: None,
            entry: Some(VerdictEntry {
                at: at.trunc_subsecs(0),
                author: self.host.user_name(uid),
                ..mark
            }),
        })
    }

    /// Gives the mirror the verdicts that wait, the oldest of each channel.
    pub(super) fn give_verdicts(&mut self) {
        let now = Instant::now();
        self.marks.held.retain(|_, until| *until > now);
        for request in self.ledger.state().verdicts.values() {
            let Some(entry) = request.entry.clone() else {
                continue;
            };
            let channel = &request.build.channel;
            if self.marks.tasks.contains_key(channel) || self.marks.held.contains_key(channel) {
                continue;
            }
            let (host, sender) = (Arc::clone(&self.host), self.sender.clone());
            let id = request.id;
            let task = tokio::spawn(async move {
                let marking = host.mark(&entry).await;
                // Nobody listens any more once the service has stopped; the next start gives the same verdict again.
                sender.send(Event::Marked { id, marking }).ok();
            });
            self.marks.tasks.insert(channel.clone(), (id, task));
        }
    }

    /// Records how a verdict ended.
    pub(super) fn marked(&mut self, id: u64, marking: Marking) -> Result<(), ServeError> {
        self.marks.tasks.retain(|_, (of, _)| *of != id);
        let Some(request) = self.state().verdicts.get(&id).cloned() else {
            return Ok(());
        };
        let (build, Some(entry)) = (&request.build, &request.entry) else {
            return Ok(());
        };
        let what = format!("verdict {id}: {build} {}", entry.verdict);
        let (how, said) = match marking {
            Marking::Later(why) => {
                self.marks
                    .held
                    .insert(build.channel.clone(), Instant::now() + BUSY);
                self.host.say(&format!(
                    "{what}: {why}; tried again in {} s",
                    BUSY.as_secs()
                ));
                return Ok(());
            }
            Marking::Recorded { is_new } => {
                let how = if is_new {
                    "recorded"
                } else {
                    "was recorded before"
                };
                let said = format!("{what}: {how}, by {}", entry.author);
                (VerdictEnd::Recorded { is_new }, said)
            }
            Marking::Refused(why) => {
                let said = format!("{what}: refused: {why}");
                (VerdictEnd::Refused { why }, said)
            }
        };
        let at = self.host.now();
        self.record(&[Change::VerdictEnded {
            request: id,
            end: EndedVerdict { at, how },
        }])?;
        self.host.say(&said);
        Ok(())
    }
}
