//! The lock of a channel on a bucket: a lease.
//!
//! ```text
//! .stx/locks/<channel>/%2Elock/<generation>     who has it, and until when
//! ```
//!
//! Whoever takes the lock creates the next generation, which only one can; the newest one counts. Its holder writes it again
//! long before it ends, from a thread of its own, which also gives the lock back. A holder that dies gives nothing back: its
//! lease ends [`MARGIN`] after it was to end, which is how far the clocks of two publishers may be apart.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::keys;
use super::nonce::nonce;
use super::objects::{Keep, Objects};
use stx_publish::store::StoreError;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// How far the clocks of two publishers may be apart.
pub const MARGIN: TimeDelta = TimeDelta::seconds(15);

/// The text of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Text {
    schema: u32,
    /// Whose it is.
    nonce: String,
    /// When it ends if it is not renewed; absent once it was given back.
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

/// How leases are kept.
#[derive(Clone)]
pub(super) struct Terms {
    /// The time.
    pub(super) clock: Clock,
    /// How long a lease lasts unless it is renewed.
    pub(super) lasts: Duration,
    /// The same objects by connections that only the keepers use: theirs end with their thread.
    pub(super) keepers: Objects,
}

/// A lease that is held. Dropping it gives it back, and waits until that is done.
pub(super) struct Lease {
    held: Arc<Held>,
    /// Ends the keeper.
    stop: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lease({} {})", self.held.prefix, self.held.generation)
    }
}

struct Held {
    prefix: String,
    generation: u64,
    nonce: String,
    terms: Terms,
    until: Mutex<DateTime<Utc>>,
}

/// Whether somebody holds the lease.
pub(super) async fn is_held(
    objects: &Objects,
    prefix: &str,
    clock: &Clock,
) -> Result<bool, StoreError> {
    let newest = objects.newest::<Text>(prefix).await?;
    Ok(newest.is_some_and(|(_, text)| text.is_held(clock())))
}

/// Takes the lease; `None`: somebody else has it.
pub(super) async fn take(
    objects: &Objects,
    prefix: String,
    terms: Terms,
) -> Result<Option<Lease>, StoreError> {
    let now = (terms.clock)();
    let generation = match objects.newest::<Text>(&prefix).await? {
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
    // Whoever looked long ago may have created a number that others are past already.
    let known = objects.generations(&held.prefix).await?;
    if known.last() != Some(&generation) {
        objects.delete([name]).await?;
        return Ok(None);
    }
    objects
        .delete_older(&held.prefix, &known, generation)
        .await?;
    Lease::keep(held).map(Some)
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

    async fn is_newest(&self, objects: &Objects) -> Result<bool, StoreError> {
        let newest = objects.newest::<Text>(&self.prefix).await?;
        Ok(newest
            .is_some_and(|(number, text)| number == self.generation && text.nonce == self.nonce))
    }

    /// Makes it last from now on, if it is still the newest; says whether it is.
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

    /// Renews until it is told to stop, and gives back what it then still has.
    fn keep(&self, stopped: &std::sync::mpsc::Receiver<()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let Ok(runtime) = runtime else {
            // The lease ends by itself.
            return;
        };
        let objects = &self.terms.keepers;
        let mut wait = self.terms.lasts / 4;
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(wait) {
            wait = match runtime.block_on(self.renew(objects)) {
                Ok(true) => self.terms.lasts / 4,
                // Whoever holds it now gives it back.
                Ok(false) => return,
                Err(_) => self.terms.lasts / 20,
            };
        }
        // Not given back, it ends by itself.
        let text = self.text(false).json();
        runtime
            .block_on(objects.put(&self.name(), text, Keep::Not))
            .ok();
    }
}

impl Lease {
    fn keep(held: Held) -> Result<Self, StoreError> {
        let held = Arc::new(held);
        let (stop, stopped) = channel();
        let keeper = {
            let held = Arc::clone(&held);
            let named = std::thread::Builder::new().name("lease".to_owned());
            named.spawn(move || held.keep(&stopped))
        };
        let keeper = keeper.map_err(|source| StoreError::Io {
            op: "start",
            path: "the thread that keeps a lock".to_owned(),
            source,
        })?;
        Ok(Self {
            held,
            stop: Some(stop),
            keeper: Some(keeper),
        })
    }

    /// Refuses to go on if somebody else has the lock by now. Asked before each step that readers see; it lasts for some
    /// time more after that, so that nobody comes between the question and the step.
    pub(super) async fn check(&self, objects: &Objects) -> Result<(), StoreError> {
        let Held { terms, .. } = &*self.held;
        let enough = (terms.clock)() + span(terms.lasts / 2);
        let is_ours = if self.held.until() < enough {
            self.held.renew(objects).await? && self.held.is_newest(objects).await?
        } else {
            self.held.is_newest(objects).await?
        };
        if is_ours {
            return Ok(());
        }
        Err(StoreError::Refused {
            what: self.held.prefix.clone(),
            reason: "the lock ended, and another publisher took it".to_owned(),
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            // It has nothing to tell.
            keeper.join().ok();
        }
    }
}

#[cfg(test)]
mod tests;
