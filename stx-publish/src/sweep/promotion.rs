//! A promotion, interrupted at every store call.

use stx_layout::{AliasEntry, AliasName, BuildId, Origin, Verdict};

use super::every;
use crate::conformance::sample_id;
use crate::faulty::Fault;
use crate::plan::PromoteRequest;
use crate::publish::{PublishError, PublishReport, prepare_promotion, publish, read_original};
use crate::store::{MirrorStore, Scope};
use crate::verify::{FindingKind, repair, verify};

/// The release that the first sample build becomes.
pub fn sample_release() -> BuildId {
    "release/1.0.0/centos/20181101T060000Z"
        .parse()
        .expect("a build")
}

/// A request to promote the first sample build, which is green.
///
/// # Errors
/// If the build cannot be read.
pub async fn sample_promotion(
    store: &dyn MirrorStore,
) -> Result<PromoteRequest, crate::StoreError> {
    let from = read_original(store, &sample_id(1)).await?;
    Ok(PromoteRequest {
        images: from.record.images.clone(),
        from,
        to: sample_release(),
        verdict: Some(Verdict::Green),
        force: false,
        by: "ann".to_owned(),
        reason: None,
        force_alias: false,
        undated: true,
        existing: None,
        now: sample_id(20).date.time(),
    })
}

async fn try_promote(store: &dyn MirrorStore) -> Option<Result<PublishReport, PublishError>> {
    let request = sample_promotion(store).await.ok()?;
    let plan = prepare_promotion(store, request).await.ok()?;
    Some(publish(store, &plan).await)
}

/// Promotes the first sample build; returns false if something failed.
pub async fn put(store: &dyn MirrorStore) -> bool {
    matches!(try_promote(store).await, Some(Ok(_)))
}

/// The invariant: no partial release, and no damage to the existing builds.
pub async fn check(store: &dyn MirrorStore, context: &str) {
    let report = verify(store, &Scope::All).await.expect("verified");
    let allowed = |kind: FindingKind| {
        matches!(
            kind,
            FindingKind::Leftover
                | FindingKind::AliasNotNewest
                | FindingKind::AliasMissing
                // A bucket copies the sections that are offered without a date file by file.
                | FindingKind::UndatedDangling
                | FindingKind::UndatedNotLatest
        )
    };
    let findings = &report.findings;
    assert!(
        findings.iter().all(|it| allowed(it.kind)),
        "{context}: {findings:?}"
    );
}

/// Checks that a rerun corrects everything, that another one does nothing, and that the original build can then be retired.
pub async fn converge(store: &dyn MirrorStore, context: &str) {
    let to = sample_release();
    assert!(put(store).await, "{context}");
    let again = try_promote(store).await.expect("a plan").expect("done");
    assert_eq!(again.moved, [], "{context}");
    let origin = store.record(&to).await.expect("a record").origin;
    let from = origin.as_ref().and_then(Origin::promoted_from);
    assert_eq!(from, Some(&sample_id(1)), "{context}");

    let writer = store.lock(&sample_id(1).channel).await.expect("the lock");
    let now = sample_id(20).date.time();
    let retired = writer.retire(sample_id(1).date, now).await;
    let retired = retired.expect("retired");
    writer.purge(&retired).await.expect("purged");
    drop(writer);
    let report = verify(store, &Scope::All).await.expect("verified");
    repair(store, &report).await.expect("repaired");
    let report = verify(store, &Scope::All).await.expect("verified");
    assert_eq!(report.findings, [], "{context}");
    let latest = store.alias(&to.channel, &AliasName::latest_build()).await;
    let latest = latest.expect("an alias");
    assert_eq!(latest, Some(AliasEntry::Build(to.date)), "{context}");
    super::check(store, context).await;
}

/// Checks the mirror after an interrupted promotion, and after the next run.
async fn after(store: &dyn MirrorStore, done: bool, context: &str) -> bool {
    check(store, context).await;
    converge(store, context).await;
    done
}

/// Promotes with a fault at every call in turn, each time on a new mirror from `fresh`; returns the number of runs.
pub async fn every_call<S: MirrorStore + Clone>(fresh: impl Fn() -> S) -> usize {
    let prepared = async || {
        let store = fresh();
        prepare(&store).await;
        store
    };
    every::every_call(&Fault::ALL, prepared, put, after).await
}

/// Publishes the build to promote, and a newer one.
async fn prepare(store: &dyn MirrorStore) {
    assert!(super::put(store, 1).await && super::put(store, 2).await);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use stx_layout::BuildOutcome;

    use super::super::put;
    use super::{Fault, PromoteRequest, Scope, Verdict, every_call};
    use super::{prepare_promotion, publish, read_original, sample_id, sample_promotion};
    use super::{sample_release, verify};
    use crate::conformance::{sample_request, test_seal};
    use crate::memory::MemoryStore;
    use crate::plan::{PlanError, PublishAction};
    use crate::publish::{PrepareError, prepare};
    use crate::store::MirrorRead as _;

    #[tokio::test]
    async fn memory_survives_a_fault_at_every_call() {
        let fresh = || MemoryStore::new().with_seal(test_seal());
        assert!(every_call(fresh).await > 20);
    }

    #[cfg(feature = "local")]
    #[tokio::test]
    async fn a_directory_survives_a_fault_at_every_call_and_a_crash_at_every_step() {
        use super::every::local::{every_call, every_step};
        let fresh = async |dir: &camino::Utf8Path| {
            let store = crate::local::LocalStore::create(dir).expect("a mirror");
            let store = store.with_seal(test_seal());
            super::prepare(&store).await;
            store
        };
        assert!(every_call(&Fault::ALL, fresh, super::put, super::after).await > 20);
        assert!(every_step(fresh, super::put, super::after).await > 8);
    }

    async fn refusal(store: &MemoryStore, change: impl FnOnce(&mut PromoteRequest)) -> String {
        let mut request = sample_promotion(store).await.expect("a build");
        change(&mut request);
        match prepare_promotion(store, request).await {
            Err(PrepareError::Plan(error @ PlanError::NotPromotable { .. })) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn all_obstacles_to_a_promotion_are_named_at_once() {
        let store = MemoryStore::new();
        assert!(put(&store, 1).await);
        let start = "master/centos/20181101T060000Z is not promoted to ";
        let missing = refusal(&store, |request| {
            request.verdict = Some(Verdict::Yellow);
            request.to = "feature/x/centos/20181101T060000Z"
                .parse()
                .expect("a build");
        });
        assert_eq!(
            missing.await,
            format!(
                "{start}feature/x/centos/20181101T060000Z: feature/x/centos/20181101T060000Z is neither a release nor a \
                 milestone; its verdict is yellow, not green"
            )
        );
        let target = format!("{start}{}: ", sample_release());
        let forced = refusal(&store, |request| {
            request.verdict = None;
            request.force = true;
            request.reason = Some(" ".to_owned());
        });
        assert_eq!(
            forced.await,
            format!("{target}it is not green, and no reason for its promotion is given")
        );
        let image = "outputs/iso/bootimage.iso".parse().expect("a path");
        store.tamper_file(&sample_id(1), &image, Some(Bytes::from_static(b"x")));
        store.tamper_file(
            &sample_id(1),
            &"outputs/CONTEXT".parse().expect("a path"),
            None,
        );
        assert_eq!(
            refusal(&store, |request| request.verdict = None).await,
            format!(
                "{target}outputs/iso/bootimage.iso has other bytes than SHA256SUMS says; outputs/CONTEXT is missing; its \
                 verdict is missing, not green"
            )
        );
        let store = MemoryStore::new();
        let failed = sample_request(1, BuildOutcome::Fail, "x");
        let plan = prepare(&store, failed).await.expect("a plan");
        publish(&store, &plan).await.expect("published");
        assert_eq!(
            refusal(&store, |_| {}).await,
            format!("{target}the build failed")
        );
    }

    #[tokio::test]
    async fn a_release_has_the_content_of_its_build() {
        let store = MemoryStore::new().with_seal(test_seal());
        assert!(put(&store, 1).await && put(&store, 2).await);
        let request = sample_promotion(&store).await.expect("a build");
        let plan = prepare_promotion(&store, request).await.expect("a plan");
        publish(&store, &plan).await.expect("published");
        let (sums, new) = (
            store.sums(&sample_id(1)).await.expect("sums"),
            store.sums(&sample_release()).await.expect("sums"),
        );
        for line in sums.lines() {
            let path = crate::plan::promoted_path(&line.path);
            assert_eq!(new.get(&path), Some(line.digest), "{path}");
        }
        // The record, sums and signature of the original build are kept beside its own.
        for name in [
            "origin/build.json",
            "origin/SHA256SUMS",
            "origin/SHA256SUMS.asc",
        ] {
            assert!(new.get(&name.parse().expect("a path")).is_some(), "{name}");
        }
        // A promotion of another build to the same release is refused.
        let mut other = sample_promotion(&store).await.expect("a build");
        other.from = read_original(&store, &sample_id(2)).await.expect("a build");
        let refused = prepare_promotion(&store, other).await.expect_err("another");
        assert!(
            refused
                .to_string()
                .contains("it is not master/centos/20181102T060000Z, promoted"),
            "{refused}"
        );
        // A release may be promoted further.
        let mut on = sample_promotion(&store).await.expect("a build");
        on.from = read_original(&store, &sample_release())
            .await
            .expect("a build");
        on.to = "milestone/2019.05/centos/20181101T060000Z"
            .parse()
            .expect("a build");
        let plan = prepare_promotion(&store, on).await.expect("a plan");
        assert_eq!(plan.action, PublishAction::New);
        publish(&store, &plan).await.expect("published");
        let report = verify(&store, &Scope::All).await.expect("verified");
        assert_eq!(report.findings, []);
    }
}
