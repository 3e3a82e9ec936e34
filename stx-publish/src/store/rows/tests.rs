//! Rows that fail, and rows that something else damaged.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::key::{COUNT, FILE, HELD, OWED, PINS, RECORD, ROOT, UNDATED, VERDICTS, shown};
use super::*;
use crate::conformance::{sample_id, test_seal};
use crate::error::chain;
use crate::memory::Memory;
use crate::store::{MirrorRead as _, MirrorStore as _, Scope};
use crate::{MemoryStore, sweep};
use stx_layout::{AliasName, BuildOutcome, BuildRecord, BuildState};

/// Rows of which one call fails.
#[derive(Debug, Default)]
struct Failing {
    inner: Memory,
    /// The calls before that one, and one more; 0 if none fails.
    left: AtomicUsize,
    /// True if a change that fails takes effect.
    after: bool,
    failed: Mutex<Vec<&'static str>>,
}

impl Failing {
    fn call(&self, call: &'static str) -> Result<(), RowError> {
        let count = |left: usize| left.checked_sub(1);
        let left = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, count);
        if left != Ok(1) {
            return Ok(());
        }
        self.failed.lock().expect("no panic").push(call);
        Err("failed on demand".into())
    }
}

#[async_trait]
impl Rows for Failing {
    type Lock = NamedLock;

    async fn get(&self, key: &str) -> Result<Option<Bytes>, RowError> {
        self.call("get")?;
        self.inner.get(key).await
    }

    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, RowError> {
        self.call("scan")?;
        self.inner.scan(prefix).await
    }

    async fn apply(&self, lock: &NamedLock, changes: Vec<Change>) -> Result<(), RowError> {
        let failed = self.call("apply");
        if failed.is_err() && !self.after {
            return failed;
        }
        self.inner.apply(lock, changes).await.and(failed)
    }

    async fn try_lock(&self, name: &str) -> Result<Option<NamedLock>, RowError> {
        self.call("try_lock")?;
        self.inner.try_lock(name).await
    }

    async fn lock(&self, name: &str) -> Result<NamedLock, RowError> {
        self.call("lock")?;
        self.inner.lock(name).await
    }
}

fn failing(after: bool) -> RowStore<Failing> {
    let rows = Failing {
        after,
        ..Failing::default()
    };
    let store = RowStore::over(rows).with_holds().with_rpm_names();
    store.with_seal(test_seal())
}

/// Runs a sweep with a failure at each call of the rows, and returns the calls that failed.
async fn at_every_call(run: impl AsyncFn(&RowStore<Failing>, usize, &str)) -> Vec<&'static str> {
    let mut calls = Vec::new();
    for after in [false, true] {
        for at in 1.. {
            let store = failing(after);
            run(&store, at, &format!("call {at}, {after}")).await;
            let failed = store.rows().failed.lock().expect("no panic").pop();
            let Some(call) = failed else { break };
            calls.push(call);
        }
    }
    calls
}

#[tokio::test]
async fn a_call_that_fails_leaves_the_mirror_whole() {
    let calls = at_every_call(async |store, at, context| {
        assert!(sweep::put(store, 1).await);
        store.rows().left.store(at, Ordering::SeqCst);
        sweep::put(store, 2).await;
        store.rows().left.store(0, Ordering::SeqCst);
        sweep::check(store, context).await;
        sweep::converge(store, context).await;
    })
    .await;
    for call in ["get", "scan", "apply", "try_lock"] {
        assert!(calls.contains(&call), "{call}");
    }
    let calls = at_every_call(async |store, at, context| {
        sweep::retention::prepared(store).await;
        store.rows().left.store(at, Ordering::SeqCst);
        sweep::retention::run(store).await;
        store.rows().left.store(0, Ordering::SeqCst);
        sweep::retention::check(store, context).await;
        sweep::retention::converge(store, context).await;
    })
    .await;
    assert!(calls.len() > 50, "{}", calls.len());
}

#[tokio::test]
async fn a_failure_names_the_operation_and_the_row() {
    for (at, expected) in [
        (1, "lock channel master/centos: failed on demand"),
        (
            2,
            "read the row build master/centos 20181105T060000Z: failed on demand",
        ),
        (3, "change the row staged master/centos: failed on demand"),
    ] {
        let (store, id) = (failing(false), sample_id(5));
        store.rows().left.store(at, Ordering::SeqCst);
        let begin = async || store.lock(&id.channel).await?.begin(id.date).await;
        let error = begin().await.expect_err("it fails");
        assert_eq!(chain(&error), expected);
    }
    let store = failing(false);
    store.rows().left.store(1, Ordering::SeqCst);
    let error = store.catalog(&Scope::All).await.expect_err("it fails");
    assert_eq!(chain(&error), "list the rows alias: failed on demand");
}

/// All that the calls of a mirror say about damage.
async fn said(store: &MemoryStore) -> String {
    let mut said = Vec::new();
    macro_rules! note {
        ($($call:expr),* $(,)?) => {
            $(said.extend($call.await.err().map(|error| chain(&error)));)*
        };
    }
    let writer = store.lock(&sample_id(1).channel).await.expect("the lock");
    for retired in store.retired().await.unwrap_or_default() {
        note![writer.restore(&retired)];
    }
    if let Ok(catalog) = store.catalog(&Scope::All).await {
        for (_, build) in catalog.builds() {
            if let BuildState::Unreadable(reason) = &build.state {
                said.push(reason.clone());
            }
        }
    }
    for pin in store.pins(&Scope::All).await.unwrap_or_default() {
        said.push(pin.reason);
    }
    note![
        store.catalog(&Scope::All),
        store.outlines(),
        store.root_aliases(),
        store.retired(),
        store.leftovers(&Scope::All),
        store.pins(&Scope::All),
        store.verdicts(&Scope::All),
        store.owed(&Scope::All),
    ];
    for day in 1..=6 {
        let id = sample_id(day);
        note![
            store.record(&id),
            store.sums(&id),
            store.inspect(&id, crate::store::Depth::Digests),
        ];
    }
    let id = sample_id(28);
    note![
        writer.unpin(sample_id(4).date, "nobody"),
        writer.offer(&[].into()),
        async {
            let record = BuildRecord::new(id.clone(), BuildOutcome::Success);
            writer.begin(id.date).await?.commit(record).await
        },
    ];
    for retired in store.retired().await.unwrap_or_default() {
        note![writer.purge(&retired)];
    }
    said.join("\n")
}

async fn prepared() -> MemoryStore {
    let store = MemoryStore::new();
    sweep::retention::prepared(&store).await;
    assert!(sweep::retention::run(&store).await);
    let writer = store.lock(&sample_id(1).channel).await.expect("the lock");
    let (latest, date) = (AliasName::latest_build(), sample_id(6).date);
    writer.hold_alias(&latest, date).await.expect("held");
    writer.offer(&[].into()).await.expect("offered");
    drop(writer);
    store
}

#[tokio::test]
async fn a_damaged_row_is_named_and_nothing_panics() {
    let rows = prepared().await.rows().scan("").await.expect("rows");
    let mut kinds = std::collections::BTreeSet::new();
    for (row, _) in &rows {
        let kind = row.split('\t').next().unwrap_or_default();
        kinds.insert(kind.to_owned());
        for garbage in [Bytes::from_static(b"\xff"), Bytes::new()] {
            let store = prepared().await;
            let lock = store.rows().lock("a test").await.expect("the lock");
            let damage = vec![Change::Put(row.clone(), garbage.clone())];
            store.rows().apply(&lock, damage).await.expect("damaged");
            let said = said(&store).await;
            let named = [
                ALIAS, BUILD, COUNT, RECORD, PINS, OWED, VERDICTS, ROOT, HELD, UNDATED,
            ];
            if !garbage.is_empty() && named.contains(&kind) {
                assert!(said.contains(&shown(row)), "{}: {said}", shown(row));
            }
        }
    }
    for kind in [ALIAS, BUILD, COUNT, RECORD, PINS, OWED, HELD, UNDATED, FILE] {
        assert!(kinds.contains(kind), "{kind}");
    }
    for odd in [
        "alias",
        "alias\tmaster/centos\tA B",
        "build\tmaster/centos\tnow",
        "trash\tmaster/centos\tx",
    ] {
        let store = prepared().await;
        let lock = store.rows().lock("a test").await.expect("the lock");
        let damage = vec![Change::Put(format!("{odd}\t"), Bytes::from_static(b"1"))];
        store.rows().apply(&lock, damage).await.expect("damaged");
        let said = said(&store).await;
        assert!(
            said.contains(&format!("the row {}", shown(odd))),
            "{odd}: {said}"
        );
    }
}
