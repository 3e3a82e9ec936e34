//! A store that fails on demand or leaves out a call, to test the effects of a crash or of an incomplete wrapper.
//!
//! | store | its calls |
//! |---|---|
//! | [`FaultyStore::new`] | all reach the inner store, until one [fails](Fault) |
//! | [`FaultyStore::forgetting`] | all reach the inner store but one, which does nothing and reports success |
//! | [`FaultyStore::watching`] | all reach the inner store, and are [noted](Fuse::called) |

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::store::StoreError;

mod calls;

pub use calls::METHODS;

/// The way a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call does nothing; later ones work.
    Once,
    /// The call takes effect, but reports an error; later ones work.
    AfterEffect,
    /// The call and all later ones do nothing, as after the death of the process.
    FromThenOn,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Once, Self::AfterEffect, Self::FromThenOn];
}

/// The calls that do not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    /// The call with this number fails.
    Fault(Fault, usize),
    /// Every call of this method does nothing.
    Forgotten(&'static str),
    /// Every call works.
    None,
}

/// Counts calls and decides which one fails; shared by all stores whose calls are counted together.
#[derive(Debug)]
pub struct Fuse {
    flaw: Flaw,
    calls: AtomicUsize,
    called: Mutex<BTreeSet<&'static str>>,
}

impl Fuse {
    fn new(flaw: Flaw) -> Arc<Self> {
        Arc::new(Self {
            flaw,
            calls: AtomicUsize::new(0),
            called: Mutex::default(),
        })
    }

    /// Counts a call: `Err` if it fails before its effect, `true` if it must fail after it.
    pub fn call(&self) -> Result<bool, Failed> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let Flaw::Fault(fault, at) = self.flaw else {
            return Ok(false);
        };
        let fails = match fault {
            Fault::Once => call == at,
            Fault::AfterEffect => return Ok(call == at),
            Fault::FromThenOn => call >= at,
        };
        if fails { Err(Failed(call)) } else { Ok(false) }
    }

    /// Returns `result`, or an error in its place if the call must fail `after` its effect.
    pub fn wrap<T, E: From<Failed>>(&self, after: bool, result: Result<T, E>) -> Result<T, E> {
        match self.flaw {
            Flaw::Fault(_, at) if after => result.and_then(|_| Err(Failed(at).into())),
            Flaw::Fault(..) | Flaw::Forgotten(_) | Flaw::None => result,
        }
    }

    /// The methods whose calls reached the inner store.
    pub fn called(&self) -> BTreeSet<&'static str> {
        let called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        called.clone()
    }

    /// True if calls of this method are left out; otherwise notes the call.
    fn forgets(&self, method: &'static str) -> bool {
        assert!(METHODS.contains(&method), "{method} is not listed");
        if self.flaw == Flaw::Forgotten(method) {
            return true;
        }
        let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        called.insert(method);
        false
    }

    /// True if calls can fail, so that all of them must be counted.
    fn is_faulty(&self) -> bool {
        matches!(self.flaw, Flaw::Fault(..))
    }
}

/// The call with this number failed.
#[derive(Debug)]
pub struct Failed(pub usize);

impl From<Failed> for StoreError {
    fn from(Failed(call): Failed) -> Self {
        Self::Io {
            op: "make",
            path: format!("call {call}"),
            source: io::Error::other("failed on demand"),
        }
    }
}

/// A store whose `n`th call fails; calls are counted from 0 over the store, its writers and its staged builds.
#[derive(Clone)]
pub struct FaultyStore<S> {
    inner: S,
    fuse: Arc<Fuse>,
}

impl<S> FaultyStore<S> {
    /// Makes the call `at` of `inner` fail.
    pub fn new(inner: S, fault: Fault, at: usize) -> Self {
        let fuse = Fuse::new(Flaw::Fault(fault, at));
        Self { inner, fuse }
    }

    /// Leaves out every call of `method`, one of [`METHODS`]: the call does nothing, and reports success or an empty result.
    pub fn forgetting(inner: S, method: &'static str) -> Self {
        let fuse = Fuse::new(Flaw::Forgotten(method));
        Self { inner, fuse }
    }

    /// Passes every call on, and [notes](Fuse::called) it.
    pub fn watching(inner: S) -> Self {
        let fuse = Fuse::new(Flaw::None);
        Self { inner, fuse }
    }

    /// The counter of this store's calls; use it to count other calls together with them.
    pub fn fuse(&self) -> Arc<Fuse> {
        Arc::clone(&self.fuse)
    }

    /// True if the call that fails has been made.
    pub fn has_failed(&self) -> bool {
        match self.fuse.flaw {
            Flaw::Fault(_, at) => self.fuse.calls.load(Ordering::SeqCst) > at,
            Flaw::Forgotten(_) | Flaw::None => false,
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for FaultyStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({:?}, {:?})", self.inner, self.fuse)
    }
}
