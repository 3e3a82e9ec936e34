use bytes::Bytes;
use stx_layout::{AliasEntry, AliasName, BuildOutcome};

use super::*;
use crate::conformance::{sample_id, sample_request};
use crate::memory::MemoryStore;
use crate::publish::{prepare, publish};

async fn mirror() -> MemoryStore {
    let store = MemoryStore::new();
    for (day, result) in [
        (1, BuildOutcome::Success),
        (2, BuildOutcome::Success),
        (3, BuildOutcome::Fail),
    ] {
        let plan = prepare(&store, sample_request(day, result, "x"))
            .await
            .expect("a plan");
        publish(&store, &plan).await.expect("published");
    }
    store
}

async fn kinds(store: &MemoryStore) -> Vec<FindingKind> {
    let report = verify(store, &Scope::All).await.expect("verified");
    report.findings.iter().map(|finding| finding.kind).collect()
}

#[tokio::test]
async fn tampered_files_are_found() {
    let store = mirror().await;
    let path = |text: &str| text.parse().expect("a path");
    store.tamper_file(
        &sample_id(1),
        &path("outputs/CONTEXT"),
        Some(Bytes::from_static(b"y")),
    );
    store.tamper_file(
        &sample_id(1),
        &path("outputs/extra"),
        Some(Bytes::from_static(b"y")),
    );
    store.tamper_file(&sample_id(2), &path("outputs/success"), None);
    store.tamper_file(&sample_id(3), &path("outputs/iso/bootimage.iso"), None);
    let report = verify(&store, &Scope::All).await.expect("verified");
    insta::assert_snapshot!(report);
    assert_eq!(report.worst(), Some(Severity::Error));
}

#[tokio::test]
async fn wrong_aliases_are_found_and_repaired() {
    let (channel, latest) = (sample_id(1).channel, AliasName::latest_build());
    let cases = [
        (
            AliasEntry::Build(sample_id(9).date),
            FindingKind::AliasDangling,
        ),
        (
            AliasEntry::Build(sample_id(3).date),
            FindingKind::AliasToFailure,
        ),
        (
            AliasEntry::Build(sample_id(1).date),
            FindingKind::AliasNotNewest,
        ),
        (
            AliasEntry::Other("/srv/20181101T060000Z".to_owned()),
            FindingKind::AliasMalformed,
        ),
    ];
    for (entry, kind) in cases {
        let store = mirror().await;
        store.tamper_alias(&channel, &latest, entry);
        assert_eq!(kinds(&store).await, [kind]);
        let report = verify(&store, &Scope::All).await.expect("verified");
        let repaired = repair(&store, &report).await.expect("repaired");
        assert_eq!(repaired.aliases.len(), 1);
        assert_eq!(kinds(&store).await, []);
        let shown = store.alias(&channel, &latest).await.expect("an alias");
        assert_eq!(shown, Some(AliasEntry::Build(sample_id(2).date)));
    }
}

#[tokio::test]
async fn an_alias_that_a_publisher_is_about_to_move_is_not_wrong() {
    let (channel, latest) = (sample_id(1).channel, AliasName::latest_build());
    let store = mirror().await;
    store.tamper_alias(&channel, &latest, AliasEntry::Build(sample_id(1).date));
    let writer = store.lock(&channel).await.expect("nobody else");
    assert_eq!(kinds(&store).await, []);
    drop(writer);
    assert_eq!(kinds(&store).await, [FindingKind::AliasNotNewest]);
}
