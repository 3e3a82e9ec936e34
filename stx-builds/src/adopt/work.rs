//! Work on many files and builds in parallel.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The default number of threads.
pub(super) fn default_jobs() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Calls `work` with each number below `count`, in order, on `jobs` threads. Blocks.
pub(super) fn each(jobs: NonZeroUsize, count: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let run = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            work(index);
        }
    };
    let threads = jobs.get().min(count);
    if threads <= 1 {
        return run();
    }
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(run);
        }
    });
}

/// The results of `work` for each number below `count`, in order.
pub(super) fn map<T: Send>(
    jobs: NonZeroUsize,
    count: usize,
    work: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    let slots: Vec<_> = (0..count).map(|_| std::sync::Mutex::new(None)).collect();
    each(jobs, count, |index| {
        let result = work(index);
        *slots[index]
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(result);
    });
    let slots = slots.into_iter().map(std::sync::Mutex::into_inner);
    let slots = slots.map(|slot| slot.unwrap_or_else(std::sync::PoisonError::into_inner));
    slots.flatten().collect()
}
