//! Verdicts, interrupted at every store call and at every step of the mirror in a directory: `latest_green_build` never points at
//! a build that was never green, `latest_build` never moves, and the next run or a repair completes the work.

use stx_layout::{AliasEntry, AliasName, BuildDate, BuildOutcome, Verdict, VerdictEntry};

use super::every;
use crate::conformance::{sample_id, sample_request};
use crate::faulty::Fault;
use crate::memory::MemoryStore;
use crate::publish::{prepare, publish};
use crate::store::{MirrorStore, Scope, StoreError};
use crate::verdicts::{Marked, mark};
use crate::verify::{FindingKind, repair, verify};

fn verdict(day: u32, verdict: Verdict, at: u32) -> VerdictEntry {
    VerdictEntry {
        build: sample_id(day),
        at: sample_id(at).date.time(),
        verdict,
        author: "lab".to_owned(),
        reason: None,
        url: None,
    }
}

/// The second build gets a green verdict, then the third gets a green one and later a red one.
async fn steps(store: &dyn MirrorStore) -> Result<(), StoreError> {
    for entry in [
        verdict(2, Verdict::Green, 10),
        verdict(3, Verdict::Green, 11),
        verdict(3, Verdict::Red, 12),
    ] {
        let _: Marked = mark(store, &entry).await?;
    }
    Ok(())
}

async fn shown(store: &dyn MirrorStore, alias: AliasName) -> Option<BuildDate> {
    let shown = store.alias(&sample_id(1).channel, &alias).await;
    match shown.expect("an alias") {
        Some(AliasEntry::Build(date)) => Some(date),
        Some(AliasEntry::Other(text)) => panic!("{alias} -> {text}"),
        None => None,
    }
}

async fn check(store: &dyn MirrorStore, context: &str) {
    let report = verify(store, &Scope::All).await.expect("verified");
    for finding in &report.findings {
        let expected = [
            FindingKind::Leftover,
            FindingKind::AliasMissing,
            FindingKind::AliasNotNewest,
        ];
        assert!(expected.contains(&finding.kind), "{context}: {finding}");
    }
    let latest = shown(store, AliasName::latest_build()).await;
    assert_eq!(latest, Some(sample_id(4).date), "{context}");
    let green = shown(store, AliasName::latest_green_build()).await;
    let been = [None, Some(sample_id(2).date), Some(sample_id(3).date)];
    assert!(been.contains(&green), "{context}: {green:?}");
}

async fn converge(store: &dyn MirrorStore, by_repair: bool, context: &str) {
    if by_repair {
        let report = verify(store, &Scope::All).await.expect("verified");
        drop(repair(store, &report).await.expect("repaired"));
        let report = verify(store, &Scope::All).await.expect("verified");
        assert_eq!(report.findings, [], "{context}");
    }
    steps(store).await.expect("the next run");
    let green = shown(store, AliasName::latest_green_build()).await;
    assert_eq!(green, Some(sample_id(2).date), "{context}");
    let history = store.verdicts(&Scope::All).await.expect("verdicts");
    assert_eq!(history.len(), 3, "{context}: {history:?}");
    drop(
        store
            .lock(&sample_id(1).channel)
            .await
            .expect("the lock")
            .sweep()
            .await,
    );
    let report = verify(store, &Scope::All).await.expect("verified");
    assert_eq!(report.findings, [], "{context}");
}

async fn prepared(store: &dyn MirrorStore) {
    for day in 1..=4 {
        let request = sample_request(day, BuildOutcome::Success, "text");
        let plan = prepare(store, request).await.expect("a plan");
        publish(store, &plan).await.expect("published");
    }
}

async fn work(store: &dyn MirrorStore) -> bool {
    steps(store).await.is_ok()
}

#[tokio::test]
async fn memory_survives_a_fault_at_every_call() {
    let fresh = async || {
        let store = MemoryStore::new();
        prepared(&store).await;
        store
    };
    for by_repair in [false, true] {
        let after = async |store: &dyn MirrorStore, done: bool, context: &str| {
            check(store, context).await;
            converge(store, by_repair, context).await;
            done
        };
        assert!(every::every_call(&Fault::ALL, fresh, work, after).await > 30);
    }
}

#[cfg(feature = "local")]
#[tokio::test]
async fn a_directory_survives_a_crash_at_every_step() {
    let fresh = async |dir: &camino::Utf8Path| {
        let store = crate::local::LocalStore::create(dir).expect("a mirror");
        prepared(&store).await;
        store
    };
    for by_repair in [false, true] {
        let after = async |store: &dyn MirrorStore, done: bool, context: &str| {
            check(store, context).await;
            converge(store, by_repair, context).await;
            done
        };
        assert!(every::local::every_step(fresh, work, after).await >= 6);
    }
}
