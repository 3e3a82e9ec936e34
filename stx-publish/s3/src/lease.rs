//! The lock of a channel on a bucket: a lease.
//!
//! ```text
//! .stx/locks/<channel>/%2Elock/<generation>     the holder, and the end of the lease
//! ```
//!
//! To take the lock, a publisher creates the next generation, which only one can do; the newest one counts. Its holder renews it
//! long before it ends, from a [thread of its own](super::keeper), which also releases it. A holder that dies releases nothing:
//! its lease ends [`MARGIN`] after its stated end, which allows for a difference between the clocks of two publishers.

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::{join, try_join};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::keeper::{Keeper, Keepers};
use super::keys;
use super::nonce::nonce;
use super::objects::{Keep, Objects};
use stx_publish::store::StoreError;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// The largest difference allowed between the clocks of two publishers.
pub(super) const MARGIN: TimeDelta = TimeDelta::seconds(15);

/// The time for which the server's confirmation of the lock is trusted. At least half of the lease is left then, so no other
/// publisher takes the lock in that time.
const BELIEVED: TimeDelta = TimeDelta::seconds(5);

/// The longest wait for a lease to be released. In most cases, requests to a server that hangs are given up earlier; otherwise
/// the lease expires.
const GIVEN_BACK: Duration = Duration::from_mins(1);

/// The text of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Text {
    schema: u32,
    /// Identifies the holder.
    nonce: String,
    /// The time at which it ends unless it is renewed; absent once it was released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<DateTime<Utc>>,
}

impl Text {
    const SCHEMA: u32 = 1;

    fn is_held(&self, now: DateTime<Utc>) -> bool {
        self.until.is_some_and(|until| now < until + MARGIN)
    }

    fn json(&self) -> String {
        serde_json::to_string(self).expect("texts and times") + "\n"
    }
}

/// The settings for keeping leases.
#[derive(Clone)]
pub(super) struct Terms {
    /// The clock.
    pub(super) clock: Clock,
    /// The duration of a lease that is not renewed.
    pub(super) lasts: Duration,
    /// The same objects through connections that only the keepers use, and their thread.
    pub(super) keepers: Keepers,
}

/// A lease that is held. Dropping it releases it, and waits for that for at most [`GIVEN_BACK`].
pub(super) struct Lease {
    held: Arc<Held>,
    last: Mutex<Last>,
    /// The time at which the server last confirmed that this lease is the newest.
    seen: Mutex<DateTime<Utc>>,
    /// Ends the keeper.
    stop: Option<oneshot::Sender<Last>>,
    /// Receives a value, or an error, when the keeper has ended.
    kept: Mutex<Receiver<()>>,
    /// The thread of the keeper, which ends after its last lease.
    keeper: Arc<Keeper>,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lease({} {})", self.held.prefix, self.held.generation)
    }
}

/// The work that is left for the end of a lease.
#[derive(Default)]
struct Last {
    /// The tasks on the keeper's thread; the lease is released after them.
    work: Vec<JoinHandle<()>>,
    /// The names of obsolete objects, which are deleted while the lease is released.
    litter: Vec<String>,
}

struct Held {
    prefix: String,
    generation: u64,
    nonce: String,
    terms: Terms,
    until: Mutex<DateTime<Utc>>,
}

/// True if a publisher holds the lease.
pub(super) async fn is_held(
    objects: &Objects,
    prefix: &str,
    clock: &Clock,
) -> Result<bool, StoreError> {
    let newest = objects.newest::<Text>(prefix).await?;
    Ok(newest.is_some_and(|(_, text)| text.is_held(clock())))
}

/// The newest generation of a lease, as read before the lease is taken.
pub(super) type Look = Option<(u64, Text)>;

/// Asks for the newest generation of a lease.
pub(super) async fn look(objects: &Objects, prefix: &str) -> Result<Look, StoreError> {
    objects.newest::<Text>(prefix).await
}

/// True if the lease was found released, or never taken.
pub(super) fn is_free(found: &Look) -> bool {
    found.as_ref().is_none_or(|(_, text)| text.until.is_none())
}

/// Takes the lease that was found; `None` if another publisher has it. Also returns the answer to `question`, which is asked once
/// the lease is taken.
pub(super) async fn take<T>(
    objects: &Objects,
    (prefix, found, now): (String, Look, DateTime<Utc>),
    terms: Terms,
    question: impl Future<Output = Result<T, StoreError>>,
) -> Result<Option<(Lease, Option<T>)>, StoreError> {
    let generation = match found {
        None => 1,
        Some((_, text)) if text.is_held(now) => return Ok(None),
        Some((number, _)) => number + 1,
    };
    let held = Held {
        prefix,
        generation,
        nonce: nonce()?,
        until: Mutex::new(now + span(terms.lasts)),
        terms,
    };
    let name = held.name();
    if !objects.create(&name, held.text(true).json()).await? {
        return Ok(None);
    }
    // A publisher whose findings are outdated may have created a number that others have already passed.
    let (known, answer) = join(objects.generations(&held.prefix), question).await;
    let known = known?;
    if known.last() != Some(&generation) {
        objects.delete([name]).await?;
        return Ok(None);
    }
    let lease = Lease::keep(held, known, now)?;
    // A question that failed is asked again later, when an error can release the lock.
    Ok(Some((lease, answer.ok())))
}

fn span(lasts: Duration) -> TimeDelta {
    TimeDelta::from_std(lasts).unwrap_or(TimeDelta::minutes(1))
}

impl Held {
    fn name(&self) -> String {
        keys::generation(&self.prefix, self.generation)
    }

    fn until(&self) -> DateTime<Utc> {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self, held: bool) -> Text {
        Text {
            schema: Text::SCHEMA,
            nonce: self.nonce.clone(),
            until: held.then(|| self.until()),
        }
    }

    /// True if it is the newest. Both questions are asked at the same time: a generation is created only once, and if a newer one
    /// exists, the text of this one does not matter.
    async fn is_newest(&self, objects: &Objects) -> Result<bool, StoreError> {
        let name = self.name();
        let listed = objects.generations(&self.prefix);
        let (known, text) = try_join(listed, objects.get(&name)).await?;
        let text = text.and_then(|(text, _)| serde_json::from_slice::<Text>(&text).ok());
        Ok(known.last() == Some(&self.generation)
            && text.is_some_and(|text| text.nonce == self.nonce))
    }

    /// Extends the lease from now on if it is still the newest; returns true if it is.
    async fn renew(&self, objects: &Objects) -> Result<bool, StoreError> {
        if !self.is_newest(objects).await? {
            return Ok(false);
        }
        let until = (self.terms.clock)() + span(self.terms.lasts);
        let text = Text {
            until: Some(until),
            ..self.text(true)
        };
        objects.put(&self.name(), text.json(), Keep::Not).await?;
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
        Ok(true)
    }

    /// Renews the lease until it is told to stop, then releases it if it still holds it. `known` are the generations that
    /// existed.
    async fn keep(&self, mut stopped: oneshot::Receiver<Last>, known: Vec<u64>) {
        let objects = &self.terms.keepers.objects;
        let mut wait = self.terms.lasts / 4;
        let last = loop {
            if let Ok(last) = tokio::time::timeout(wait, &mut stopped).await {
                break last;
            }
            wait = match self.renew(objects).await {
                Ok(true) => self.terms.lasts / 4,
                // The publisher that holds the lease now releases it.
                Ok(false) => return,
                Err(_) => self.terms.lasts / 20,
            };
        };
        let Last { work, mut litter } = last.unwrap_or_default();
        for work in work {
            // The task handled its own errors.
            work.await.ok();
        }
        let (text, name) = (self.text(false).json(), self.name());
        let given_back = objects.put(&name, text, Keep::Not);
        // Older generations no longer count, so they may be deleted at any time; here, no caller waits for it.
        let older = known.iter().filter(|number| **number < self.generation);
        litter.extend(older.map(|number| keys::generation(&self.prefix, *number)));
        // A lease that is not released expires; the next holder deletes the objects that are left.
        drop(join(given_back, objects.delete(litter)).await);
    }
}

impl Lease {
    fn keep(held: Held, known: Vec<u64>, seen: DateTime<Utc>) -> Result<Self, StoreError> {
        let held = Arc::new(held);
        let keeper = held.terms.keepers.keeper()?;
        let (stop, stopped) = oneshot::channel();
        let (done, kept) = sync_channel(1);
        {
            let held = Arc::clone(&held);
            drop(keeper.run(async move {
                held.keep(stopped, known).await;
                // The receiver may have been dropped with a runtime that was shut down.
                done.send(()).ok();
            }));
        }
        Ok(Self {
            held,
            last: Mutex::default(),
            seen: Mutex::new(seen),
            stop: Some(stop),
            kept: Mutex::new(kept),
            keeper,
        })
    }

    /// Spawns a task on the keeper's thread, with its connections. The lease is released after the task has ended.
    pub(super) fn meanwhile(&self, work: impl Future<Output = ()> + Send + 'static) {
        let work = self.keeper.run(work);
        self.last().work.push(work);
    }

    /// Deletes objects when the lease is released. They must be obsolete for any later holder of the lease.
    pub(super) fn delete_at_end(&self, names: impl IntoIterator<Item = String>) {
        self.last().litter.extend(names);
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails if another publisher has taken the lock. Called before each step that readers can see. The lock lasts for some time
    /// after that, so no publisher can take it between the check and the step.
    pub(super) async fn check(&self, objects: &Objects) -> Result<(), StoreError> {
        let Held { terms, .. } = &*self.held;
        loop {
            let now = (terms.clock)();
            let is_ours = if self.held.until() < now + span(terms.lasts / 2) {
                self.held.renew(objects).await? && self.held.is_newest(objects).await?
            } else {
                self.held.is_newest(objects).await?
            };
            if !is_ours {
                return Err(StoreError::Refused {
                    what: self.held.prefix.clone(),
                    reason: "the lock expired, and another publisher took it".to_owned(),
                });
            }
            // A slow answer proves nothing about the present if the lock has ended meanwhile or is about to end.
            if self.held.until() >= (terms.clock)() + span(terms.lasts / 4) {
                *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = now;
                return Ok(());
            }
        }
    }

    /// Like [`check`](Self::check), but asks only if the lock has ended by this machine's clock, as after a suspension of its
    /// holder.
    pub(super) async fn check_if_ended(&self, objects: &Objects) -> Result<(), StoreError> {
        if (self.held.terms.clock)() < self.held.until() {
            return Ok(());
        }
        self.check(objects).await
    }

    /// Like [`check`](Self::check), but does not ask if the server has confirmed the lock within the last seconds. Another
    /// publisher waits until the lock has ended by its own clock, and the lock lasts much longer than a confirmation is trusted.
    /// If the clock was set back meanwhile, the server is asked.
    pub(super) async fn check_lately(&self, objects: &Objects) -> Result<(), StoreError> {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Held { terms, .. } = &*self.held;
        let now = (terms.clock)();
        let lasts = self.held.until() >= now + span(terms.lasts / 2);
        if lasts && seen <= now && now < seen + BELIEVED {
            return Ok(());
        }
        self.check(objects).await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let last = std::mem::take(&mut *self.last());
        if let Some(stop) = self.stop.take() {
            // The keeper may already have ended because another publisher took the lock.
            stop.send(last).ok();
        }
        // An error also means that the keeper has ended.
        let kept = self.kept.get_mut().unwrap_or_else(PoisonError::into_inner);
        kept.recv_timeout(GIVEN_BACK).ok();
    }
}

#[cfg(test)]
mod tests;
