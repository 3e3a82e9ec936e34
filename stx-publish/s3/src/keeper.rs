//! The thread that keeps the locks of a mirror.
//!
//! A lock must be renewed while its holder's threads are busy, and released even if its holder is dropped outside of a runtime.
//! One thread, with its own runtime and connections, therefore does both for all locks of a mirror. The connections stay open
//! from one request to the next. The thread starts with the first lock, and ends with the mirror and its last lock.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle as Task;

use super::objects::Objects;
use stx_publish::store::StoreError;

/// Starts the thread that keeps locks, and shares it between them.
#[derive(Clone)]
pub(super) struct Keepers {
    /// The objects of the mirror, through connections that only this thread uses.
    pub(super) objects: Objects,
    thread: Arc<Mutex<Weak<Keeper>>>,
}

/// A running thread.
pub(super) struct Keeper {
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keepers {
    pub(super) fn new(objects: Objects) -> Self {
        Self {
            objects,
            thread: Arc::default(),
        }
    }

    /// Returns the thread; starts it if it is not running.
    pub(super) fn keeper(&self) -> Result<Arc<Keeper>, StoreError> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keeper) = thread.upgrade() {
            return Ok(keeper);
        }
        let keeper = Arc::new(Keeper::start().map_err(|source| StoreError::Io {
            op: "start",
            path: "the thread that keeps locks".to_owned(),
            source,
        })?);
        *thread = Arc::downgrade(&keeper);
        Ok(keeper)
    }
}

impl Keeper {
    fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let named = std::thread::Builder::new().name("locks".to_owned());
        let thread = named.spawn(move || {
            // Nothing is ever sent; the wait ends when the sender is dropped.
            runtime.block_on(stopped).ok();
        })?;
        Ok(Self {
            runtime: handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Spawns a task on the thread.
    pub(super) fn run(&self, work: impl Future<Output = ()> + Send + 'static) -> Task<()> {
        self.runtime.spawn(work)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The thread returns nothing.
            thread.join().ok();
        }
    }
}
