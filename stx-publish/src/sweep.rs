//! Publishing, interrupted at every store call, and at every step of the mirror in a directory; checks the mirror then, and after
//! the next run. Crates of other stores use it to interrupt theirs.

use bytes::Bytes;
use stx_layout::{AliasEntry, AliasName, BuildOutcome};

#[cfg(test)]
use crate::conformance::test_seal;
use crate::conformance::{TestSigner, sample_control, sample_deb, sample_id, sample_request};
use crate::faulty::Fault;
use crate::incoming::Entry;
#[cfg(test)]
use crate::memory::MemoryStore;
use crate::publish::{PublishError, PublishReport, prepare, publish};
use crate::seal::{SUMS_SIGNATURE, Signer as _};
use crate::store::{MirrorStore, Scope, read_all};
use crate::verify::{FindingKind, repair, verify};

pub mod every;
pub mod names;
pub mod promotion;
pub mod retention;
#[cfg(test)]
mod verdicts;

/// Publishes the `day`th build, which contains a repository; returns false if something failed.
pub async fn put(store: &dyn MirrorStore, day: u32) -> bool {
    matches!(try_put(store, day).await, Some(Ok(_)))
}

/// Like [`put`], with the error of the publisher; `None` if no plan could be made.
pub async fn try_put(
    store: &dyn MirrorStore,
    day: u32,
) -> Option<Result<PublishReport, PublishError>> {
    let mut request = sample_request(day, BuildOutcome::Success, &format!("day {day}"));
    for (path, bytes) in [
        ("outputs/RPMS/std/a.rpm", Bytes::from_static(b"a package")),
        (
            "outputs/std/packages/a_1_all.deb",
            sample_deb(&sample_control("a", "1")),
        ),
    ] {
        let package = Entry::Generated(bytes);
        let entries = &mut request.tree.incoming_mut().entries;
        entries.insert(path.parse().expect("a path"), package);
    }
    let plan = prepare(store, request).await.ok()?;
    Some(publish(store, &plan).await)
}

/// Checks that an error claims nothing untrue: before the commit that the build is invisible, after it that it is visible.
pub async fn claims_the_truth(
    store: &dyn MirrorStore,
    day: u32,
    put: Option<&Result<PublishReport, PublishError>>,
    context: &str,
) {
    let id = sample_id(day);
    let is_there = store.record(&id).await.is_ok();
    let Some(Err(error)) = put else {
        return;
    };
    let claimed = match error {
        PublishError::Busy { .. }
        | PublishError::Incomplete { .. }
        | PublishError::Metadata { .. }
        | PublishError::NotPublished { .. }
        | PublishError::HookBeforeCommit { .. } => Some(false),
        PublishError::AfterCommit { .. }
        | PublishError::HookAfterCommit { .. }
        | PublishError::NotAliased { .. }
        | PublishError::NotOffered { .. }
        | PublishError::AliasAfterMove { .. } => Some(true),
        PublishError::Outdated { .. } | PublishError::Uncertain { .. } => None,
    };
    assert!(
        claimed.is_none_or(|claimed| claimed == is_there),
        "{context}: {error}"
    );
    let latest = store.alias(&id.channel, &AliasName::latest_build()).await;
    let is_shown = latest.expect("an alias") == Some(AliasEntry::Build(id.date));
    match error {
        PublishError::AliasAfterMove { .. } | PublishError::NotOffered { .. } => {
            assert!(is_shown, "{context}: {error}");
        }
        PublishError::NotAliased { .. }
        | PublishError::Busy { .. }
        | PublishError::Incomplete { .. }
        | PublishError::Metadata { .. }
        | PublishError::NotPublished { .. }
        | PublishError::HookBeforeCommit { .. }
        | PublishError::AfterCommit { .. }
        | PublishError::HookAfterCommit { .. }
        | PublishError::Outdated { .. }
        | PublishError::Uncertain { .. } => {}
    }
}

/// The invariant: no partial build, none without its signature, and an alias that resolves to a complete success.
pub async fn check(store: &dyn MirrorStore, context: &str) {
    let report = verify(store, &Scope::All).await.expect("verified");
    let wrong: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| {
            !matches!(
                finding.kind,
                FindingKind::Leftover | FindingKind::AliasNotNewest | FindingKind::AliasMissing
            )
        })
        .collect();
    assert!(wrong.is_empty(), "{context}: {wrong:?}");
    for day in [1, 2] {
        let id = sample_id(day);
        if let Ok(sums) = store.sums(&id).await {
            let signature = TestSigner.sign(sums.to_string().as_bytes(), id.date.time());
            let path = SUMS_SIGNATURE.parse().expect("a path");
            let found = read_all(store, &id, &path, 1000)
                .await
                .expect("a signature");
            assert_eq!(found, signature.expect("signed").into_bytes(), "{context}");
        }
    }
    let channel = sample_id(1).channel;
    let shown = store
        .alias(&channel, &AliasName::latest_build())
        .await
        .expect("an alias");
    assert!(
        matches!(shown, Some(AliasEntry::Build(_))),
        "{context}: {shown:?}"
    );
}

/// Checks that a repair or a rerun corrects everything.
pub async fn converge(store: &dyn MirrorStore, context: &str) {
    assert!(put(store, 2).await, "{context}: the rerun");
    let report = verify(store, &Scope::All).await.expect("verified");
    repair(store, &report).await.expect("repaired");
    let report = verify(store, &Scope::All).await.expect("verified");
    assert_eq!(report.findings, [], "{context}");
    let shown = store
        .alias(&sample_id(1).channel, &AliasName::latest_build())
        .await
        .expect("an alias");
    assert_eq!(
        shown,
        Some(AliasEntry::Build(sample_id(2).date)),
        "{context}"
    );
}

/// Checks the mirror after an interrupted publish of the second build, and after the next run; returns whether it was done.
async fn after(
    store: &dyn MirrorStore,
    put: Option<Result<PublishReport, PublishError>>,
    context: &str,
) -> bool {
    claims_the_truth(store, 2, put.as_ref(), context).await;
    check(store, context).await;
    converge(store, context).await;
    matches!(put, Some(Ok(_)))
}

/// Publishes with a fault at every call in turn, each time on a new mirror from `fresh`; returns the number of runs.
pub async fn every_call<S: MirrorStore + Clone>(fresh: impl Fn() -> S) -> usize {
    let first = async || {
        let store = fresh();
        assert!(put(&store, 1).await);
        store
    };
    let second = async |store: &dyn MirrorStore| try_put(store, 2).await;
    every::every_call(&Fault::ALL, first, second, after).await
}

#[cfg(test)]
#[tokio::test]
async fn memory_survives_a_fault_at_every_call() {
    let fresh = || MemoryStore::new().with_seal(test_seal());
    assert!(every_call(fresh).await > 20);
}

#[cfg(all(test, feature = "local"))]
mod local {
    use std::fs::File;
    use std::sync::Arc;

    use camino::Utf8Path;
    use stx_layout::BuildDate;

    use super::every::local::{every_call, every_step};
    use super::{after, put, test_seal, try_put};
    use crate::faulty::Fault;
    use crate::local::LocalStore;
    use crate::metadata::{Indexed, RepoMetadata};
    use crate::publish::{PublishError, PublishReport};
    use crate::store::{MirrorStore, StoreError};

    /// Makes the smallest possible repository metadata.
    #[derive(Debug)]
    struct ListOfPackages;

    #[async_trait::async_trait]
    impl RepoMetadata for ListOfPackages {
        async fn index(
            &self,
            dir: &Utf8Path,
            date: BuildDate,
            _: File,
        ) -> Result<Indexed, StoreError> {
            let repodata = dir.join("repodata");
            let made = fs_err::create_dir(&repodata)
                .and_then(|()| fs_err::write(repodata.join("repomd.xml"), date.to_string()));
            made.map_err(|source| StoreError::Io {
                op: "make",
                path: repodata.into_string(),
                source,
            })?;
            Ok(Indexed::default())
        }
    }

    /// A mirror with the first build.
    async fn fresh(dir: &Utf8Path) -> LocalStore {
        let store = LocalStore::create(dir)
            .expect("a mirror")
            .with_metadata(Arc::new(ListOfPackages))
            .with_seal(test_seal());
        assert!(put(&store, 1).await);
        store
    }

    async fn second(store: &dyn MirrorStore) -> Option<Result<PublishReport, PublishError>> {
        try_put(store, 2).await
    }

    #[tokio::test]
    async fn a_directory_survives_a_fault_at_every_call() {
        assert!(every_call(&Fault::ALL, fresh, second, after).await > 20);
    }

    #[tokio::test]
    async fn a_directory_survives_a_crash_at_every_step() {
        assert!(every_step(fresh, second, after).await > 8);
    }
}
