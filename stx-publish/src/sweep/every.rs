//! Interrupts a piece of work at every store call, or at every step of the mirror in a directory, and checks the mirror after it.

use crate::faulty::{Fault, FaultyStore};
use crate::store::MirrorStore;

/// Does `work` with a fault at every call in turn, in each of these ways, each time on a new mirror from `fresh`. `after` gets the
/// mirror without the fault, the outcome and a description of the fault; it returns whether the work was done. Returns the number
/// of runs.
pub async fn every_call<S: MirrorStore + Clone, T>(
    ways: &[Fault],
    fresh: impl AsyncFn() -> S,
    work: impl AsyncFn(&dyn MirrorStore) -> T,
    after: impl AsyncFn(&dyn MirrorStore, T, &str) -> bool,
) -> usize {
    let mut runs = 0;
    for &fault in ways {
        for at in 0.. {
            let store = fresh().await;
            let faulty = FaultyStore::new(store.clone(), fault, at);
            let outcome = work(&faulty).await;
            let context = format!("{fault:?} at call {at}");
            let done = after(&store, outcome, &context).await;
            runs += 1;
            if !faulty.has_failed() {
                assert!(done, "{context}");
                break;
            }
        }
    }
    runs
}

#[cfg(all(test, feature = "local"))]
pub(super) mod local {
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use camino::Utf8Path;
    use camino_tempfile::{Utf8TempDir, tempdir_in};

    use crate::faulty::Fault;
    use crate::local::LocalStore;
    use crate::store::MirrorStore;

    /// A directory in memory: on a disk, a sweep would mostly wait for writes.
    pub(in crate::sweep) fn directory() -> Utf8TempDir {
        tempdir_in("/dev/shm").expect("a directory in memory")
    }

    /// Like [`every_call`](super::every_call), on mirrors that `fresh` makes in empty directories.
    pub(in crate::sweep) async fn every_call<T>(
        ways: &[Fault],
        fresh: impl AsyncFn(&Utf8Path) -> LocalStore,
        work: impl AsyncFn(&dyn MirrorStore) -> T,
        after: impl AsyncFn(&dyn MirrorStore, T, &str) -> bool,
    ) -> usize {
        let dirs = Mutex::new(Vec::new());
        let fresh = async || {
            let dir = directory();
            let store = fresh(dir.path()).await;
            dirs.lock().expect("not poisoned").push(dir);
            store
        };
        super::every_call(ways, fresh, work, after).await
    }

    /// Like [`every_call`], interrupted at every step of a mirror in a directory; returns the number of steps.
    pub(in crate::sweep) async fn every_step<T>(
        fresh: impl AsyncFn(&Utf8Path) -> LocalStore,
        work: impl AsyncFn(&dyn MirrorStore) -> T,
        after: impl AsyncFn(&dyn MirrorStore, T, &str) -> bool,
    ) -> usize {
        for at in 0.. {
            let dir = directory();
            let store = fresh(dir.path()).await;
            let steps = Arc::new(AtomicUsize::new(0));
            let seen = Arc::clone(&steps);
            let crashing = store.clone().with_crash_point(Arc::new(move |step| {
                if seen.fetch_add(1, Ordering::SeqCst) < at {
                    Ok(())
                } else {
                    Err(io::Error::other(step))
                }
            }));
            let outcome = work(&crashing).await;
            let context = format!("a crash at step {at}");
            let done = after(&store, outcome, &context).await;
            if steps.load(Ordering::SeqCst) <= at {
                assert!(done, "{context}");
                return at;
            }
        }
        unreachable!("the work has an end")
    }
}
