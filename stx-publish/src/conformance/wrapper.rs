//! The contract of a wrapper: it keeps the contract of a mirror, and every call reaches the mirror behind it.
//!
//! A wrapper that leaves out [`settle`](MirrorStore::settle) or [`strays`](MirrorStore::strays) still gives valid answers, so the
//! mirror behind it notes its calls.

use super::{run, sealed, test_seal};
use crate::faulty::{FaultyStore, METHODS};
use crate::memory::MemoryStore;
use crate::store::MirrorStore;

/// Runs the whole suite on the wrappers that `wrap` makes, and checks that every method reached the mirror behind them.
///
/// # Panics
/// If a wrapper breaks the contract, or answers instead of the mirror behind it.
pub async fn wrapper<W: MirrorStore>(wrap: impl Fn(FaultyStore<MemoryStore>) -> W) {
    let plain = FaultyStore::watching(MemoryStore::new());
    let signing = FaultyStore::watching(MemoryStore::new().with_seal(test_seal()));
    let fuses = [plain.fuse(), signing.fuse()];
    run(&wrap(plain)).await;
    sealed(&wrap(signing)).await;
    let [mut called, by_sealed] = fuses.map(|fuse| fuse.called());
    called.extend(by_sealed);
    let forgotten: Vec<_> = METHODS
        .into_iter()
        .filter(|method| !called.contains(method))
        .collect();
    assert_eq!(
        forgotten, [""; 0],
        "calls that did not reach the mirror behind the wrapper"
    );
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn passes(suite: impl Future<Output = ()>) -> bool {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        catch_unwind(AssertUnwindSafe(|| runtime.block_on(suite))).is_ok()
    }

    #[tokio::test]
    async fn a_wrapper_that_forwards_every_call_conforms() {
        wrapper(FaultyStore::watching).await;
    }

    #[test]
    fn a_wrapper_that_omits_any_call_does_not_conform() {
        for method in METHODS {
            let forgetful = |inner| FaultyStore::forgetting(inner, method);
            assert!(!passes(wrapper(forgetful)), "{method} can be left out");
        }
    }

    /// The calls whose absence does not show in the answers of the mirror.
    #[test]
    fn most_omitted_calls_are_detected_by_their_answers_alone() {
        let unnoticed: Vec<_> = METHODS
            .into_iter()
            .filter(|method| {
                let suite = async {
                    run(&FaultyStore::forgetting(MemoryStore::new(), method)).await;
                    let store = MemoryStore::new().with_seal(test_seal());
                    sealed(&FaultyStore::forgetting(store, method)).await;
                };
                passes(suite)
            })
            .collect();
        // Memory has no files of this machine, does not share files by digest, and needs no sync to be durable; outlines are optional for
        // every store.
        assert_eq!(unnoticed, ["file", "settle", "strays", "outlines", "share"]);
    }

    #[cfg(feature = "local")]
    #[test]
    fn a_directory_has_files() {
        use crate::local::LocalStore;

        for (method, passes_then) in [("file", false), ("capabilities", false), ("strays", true)] {
            let dir = camino_tempfile::tempdir().expect("a directory");
            let store = LocalStore::create(dir.path()).expect("a mirror");
            let store = FaultyStore::forgetting(store, method);
            assert_eq!(passes(run(&store)), passes_then, "{method}");
        }
    }
}
