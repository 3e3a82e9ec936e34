//! Equal files of one build: the first one is sent, and the server copies the others from it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use stx_layout::{Sha256, media_type};
use tokio::sync::{Mutex as Turn, OnceCell};

/// The object from which equal ones are copied, once it exists. The others wait for its sender.
pub(super) type Slot = Arc<OnceCell<String>>;

/// The bytes that were sent or are being sent.
#[derive(Debug, Default)]
pub(super) struct Twins {
    /// By digest and media type: the server copies the type with the bytes.
    slots: Mutex<HashMap<(Sha256, &'static str), Slot>>,
    /// By size: true if a large file of this size was sent.
    turns: Mutex<HashMap<u64, Arc<Turn<bool>>>>,
}

impl Twins {
    /// The slot of these bytes under a name of this kind.
    pub(super) fn slot(&self, digest: &Sha256, name: &str) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry((*digest, media_type(name))).or_default();
        Arc::clone(slot)
    }

    /// The object that has these bytes, if it already exists.
    pub(super) fn find(&self, digest: &Sha256, name: &str) -> Option<String> {
        self.slot(digest, name).get().cloned()
    }

    /// Notes that an object exists.
    pub(super) fn note(&self, digest: &Sha256, name: String) {
        // Another object with the same bytes serves as well.
        self.slot(digest, &name).set(name).ok();
    }

    /// The turn of a large file among those of its size. Its digest is known only after all of it was sent, so the next one,
    /// which may be equal, waits for that; it is then hashed before it is sent.
    pub(super) fn turn(&self, size: u64) -> Arc<Turn<bool>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(size).or_default())
    }
}
