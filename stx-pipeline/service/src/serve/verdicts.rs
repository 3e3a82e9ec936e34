//! Verdicts: filed in the transaction of their message, sent to the mirror, and kept with their outcome.

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

/// The most verdicts of one user that wait at a time; further messages remain in the spool. The ledger keeps every verdict
/// forever.
const WAITING: usize = 20;

/// The verdicts on their way to the mirror.
#[derive(Default)]
pub(super) struct Marks {
    /// At most one per channel: verdicts are recorded under the channel's lock, in the order in which they were filed.
    tasks: BTreeMap<Channel, (u64, JoinHandle<()>)>,
    /// Channels on which a verdict could not be recorded, and the end of the pause before the next attempt.
    held: BTreeMap<Channel, Instant>,
}

impl Marks {
    pub(super) fn tasks(&self) -> impl Iterator<Item = &JoinHandle<()>> {
        self.tasks.values().map(|(_, task)| task)
    }

    pub(super) fn abort(&self) {
        self.tasks().for_each(JoinHandle::abort);
    }
}

impl Service<'_> {
    /// True if one more verdict of a user may wait.
    pub(super) fn takes_verdict_of(&self, uid: u32) -> bool {
        let waiting = self.state().verdicts.values();
        waiting.filter(|request| request.is_of(uid)).count() < WAITING
    }

    /// The request for a verdict from the spool. The author of the verdict is the owner of the message.
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

    /// Sends the oldest waiting verdict of each channel to the mirror.
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
                // Ignored: the receiver is gone if the service was killed; the next start sends the same verdict again.
                sender.send(Event::Marked { id, marking }).ok();
            });
            self.marks.tasks.insert(channel.clone(), (id, task));
        }
    }

    /// Records the outcome of a verdict.
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
