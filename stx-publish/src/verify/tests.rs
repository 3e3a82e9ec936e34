use bytes::Bytes;
use stx_layout::{AliasEntry, AliasName, BuildOutcome, Verdict, VerdictEntry};

use super::*;
use crate::conformance::{sample_id, sample_request};
use crate::memory::MemoryStore;
use crate::publish::{prepare, publish};
use crate::verdicts::mark;

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

#[test]
fn a_finding_names_its_path_in_the_mirror() {
    let (id, kind) = (sample_id(1), FindingKind::Leftover);
    let channel = id.channel.clone();
    for (path, shown) in [
        ("latest_build", "master/centos/latest_build: x"),
        (
            "master/centos/latest_build/build.json",
            "master/centos/latest_build/build.json: x",
        ),
        (
            ".stx/marks/master/centos/a",
            ".stx/marks/master/centos/a: x",
        ),
    ] {
        let finding = Finding::channel(&channel, Some(path), kind, "x");
        assert_eq!(finding.to_string(), shown);
    }
    let finding = Finding::build(&id, Some(".stx/manifests/a.json"), kind, "x");
    assert_eq!(finding.to_string(), ".stx/manifests/a.json: x");
    let image = Some("registry.example.org/starlingx/stx-keystone:latest");
    let finding = Finding::build(&id, image, FindingKind::ImageMissing, "x");
    let shown =
        "master/centos/20181101T060000Z: registry.example.org/starlingx/stx-keystone:latest: x";
    assert_eq!(finding.to_string(), shown);
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

/// An alias without a known rule keeps its target until its owner moves it; `latest_green_build` is such an alias in a channel
/// without verdicts.
#[tokio::test]
async fn an_alias_without_a_rule_is_reported_and_left() {
    let channel = sample_id(1).channel;
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
            AliasEntry::Other("/srv/20181101T060000Z".to_owned()),
            FindingKind::AliasMalformed,
        ),
    ];
    for name in ["latest_docker_image_build", "latest_green_build"] {
        let alias: AliasName = name.parse().expect("an alias");
        for (entry, kind) in &cases {
            let store = mirror().await;
            store.tamper_alias(&channel, &alias, entry.clone());
            let report = verify(&store, &Scope::All).await.expect("verified");
            let repaired = repair(&store, &report).await.expect("repaired");
            let shown = store.alias(&channel, &alias).await.expect("an alias");
            assert_eq!(shown.as_ref(), Some(entry), "{name}");
            assert_eq!(kinds(&store).await, [*kind]);
            assert_eq!(repaired.aliases, []);
            let said = repaired.to_string();
            let left = format!("{channel}/{name}: not changed, no rule gives its target");
            assert!(said.starts_with(&left), "{said}");
            let next = "point it at an existing build, or remove it";
            assert!(said.contains(next), "{said}");
            // A build request with unchanged sources also repairs its channel.
            let repaired = repair_aliases(&store, &channel).await.expect("repaired");
            assert_eq!(repaired.aliases, []);
        }
    }
}

#[tokio::test]
async fn each_alias_is_repaired_by_its_own_rule() {
    let store = mirror().await;
    let channel = sample_id(1).channel;
    let entry = VerdictEntry {
        build: sample_id(1),
        at: sample_id(3).date.time(),
        verdict: Verdict::Green,
        author: "lab".to_owned(),
        reason: None,
        url: None,
    };
    mark(&store, &entry).await.expect("marked");
    let gone = AliasEntry::Build(sample_id(9).date);
    let (latest, green) = (AliasName::latest_build(), AliasName::latest_green_build());
    for alias in [&latest, &green] {
        store.tamper_alias(&channel, alias, gone.clone());
    }
    let report = verify(&store, &Scope::All).await.expect("verified");
    let repaired = repair(&store, &report).await.expect("repaired");
    assert_eq!(repaired.left, []);
    assert_eq!(kinds(&store).await, []);
    for (alias, day) in [(latest, 2), (green, 1)] {
        let shown = store.alias(&channel, &alias).await.expect("an alias");
        assert_eq!(shown, Some(AliasEntry::Build(sample_id(day).date)));
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
