//! Locks by name, and readers that hold builds, within one process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::lock::{Mutex as Waiting, OwnedMutexGuard};
use stx_layout::BuildId;

/// Locks by name, for [rows](super::Rows) that only one process uses.
#[derive(Debug, Default)]
pub struct Locks(Mutex<BTreeMap<String, Arc<Waiting<()>>>>);

/// One of the [`Locks`]; ends when it is dropped.
#[derive(Debug)]
pub struct NamedLock {
    _guard: OwnedMutexGuard<()>,
}

impl Locks {
    fn of(&self, name: &str) -> Arc<Waiting<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(name.to_owned()).or_default())
    }

    /// Takes a lock, if it is free.
    pub fn try_lock(&self, name: &str) -> Option<NamedLock> {
        let guard = self.of(name).try_lock_owned();
        guard.map(|guard| NamedLock { _guard: guard })
    }

    /// Takes a lock; waits until it is free.
    pub async fn lock(&self, name: &str) -> NamedLock {
        let guard = self.of(name).lock_owned().await;
        NamedLock { _guard: guard }
    }
}

/// The readers that hold builds.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// Held while a reader comes, and while a build is removed: none comes between the check and the removal.
    pub(super) gate: Waiting<()>,
    counts: Mutex<BTreeMap<BuildId, usize>>,
}

/// One reader of a build.
pub(super) struct Held {
    readers: Arc<Readers>,
    id: BuildId,
}

impl Readers {
    fn counts(&self) -> MutexGuard<'_, BTreeMap<BuildId, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(self: &Arc<Self>, id: &BuildId) -> Held {
        *self.counts().entry(id.clone()).or_default() += 1;
        Held {
            readers: Arc::clone(self),
            id: id.clone(),
        }
    }

    pub(super) fn hold(&self, id: &BuildId) -> bool {
        self.counts().get(id).is_some_and(|readers| *readers > 0)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(readers) = self.readers.counts().get_mut(&self.id) {
            *readers -= 1;
        }
    }
}
