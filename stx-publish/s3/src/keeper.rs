//! The thread that keeps the locks of a mirror.
//!
//! A lock has to be renewed also while the threads of its holder are busy, and given back also where its holder is dropped outside
//! of a runtime. So one thread with a runtime and connections of its own does both for all locks of a mirror; the connections stay
//! open from one request to the next. It starts with the first lock, and ends after the last.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle as Task;

use super::objects::Objects;
use stx_publish::store::StoreError;

/// What keepers of locks need.
#[derive(Clone)]
pub(super) struct Keepers {
    /// The objects of the mirror, by connections that are used on the thread of the keepers only.
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

    /// The thread; started where it does not run.
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
            // Nothing is sent: the other end goes.
            runtime.block_on(stopped).ok();
        })?;
        Ok(Self {
            runtime: handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Runs something on the thread.
    pub(super) fn run(&self, work: impl Future<Output = ()> + Send + 'static) -> Task<()> {
        self.runtime.spawn(work)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell.
            thread.join().ok();
        }
    }
}
