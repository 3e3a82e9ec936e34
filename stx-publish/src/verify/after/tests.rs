use chrono::TimeDelta;
use stx_layout::BuildOutcome;

use super::*;
use crate::conformance::{sample_id, sample_request};
use crate::memory::MemoryStore;
use crate::publish::{prepare, publish};
use crate::store::MirrorStore as _;

/// Three layers: the build of each day is built upon that of the previous day.
async fn layers() -> MemoryStore {
    let store = MemoryStore::new();
    for day in 1..=3 {
        let mut request = sample_request(day, BuildOutcome::Success, "x");
        if day > 1 {
            let build = sample_id(day - 1);
            let sums = read_all(&store, &build, &sums_path(), LONGEST_TEXT).await;
            let sums = digest_of(&sums.expect("sums"));
            request.record.after = Some(After { build, sums });
        }
        let plan = prepare(&store, request).await.expect("a plan");
        publish(&store, &plan).await.expect("published");
    }
    store
}

/// The findings: the kind, and the day of the build that each is about.
async fn found(store: &MemoryStore, scope: &Scope) -> Vec<(FindingKind, u32)> {
    let mut report = VerifyReport::default();
    let verified = verify_after(store, scope, &mut report).await;
    verified.expect("verified");
    let day = |id: &BuildId| (1..=3).find(|day| sample_id(*day) == *id);
    let findings = report.findings.iter();
    let findings = findings.map(|one| (one.kind, one.build.as_ref().and_then(day)));
    findings
        .map(|(kind, day)| (kind, day.expect("a build")))
        .collect()
}

#[tokio::test]
async fn a_changed_lower_build_is_found_from_the_upper_one() {
    let store = layers().await;
    let scopes = [Scope::All, Scope::Build(sample_id(3))];
    for scope in &scopes {
        assert_eq!(found(&store, scope).await, []);
    }
    let tamper = |day| {
        let other = Some("other sums".into());
        store.tamper_file(&sample_id(day), &sums_path(), other);
    };
    tamper(1);
    for scope in &scopes {
        let expected = [(FindingKind::AfterDiffers, 2)];
        assert_eq!(found(&store, scope).await, expected, "{scope}");
    }
    assert_eq!(found(&store, &Scope::Build(sample_id(1))).await, []);
    // A changed record is not trusted, so the check of lower layers ends there.
    tamper(2);
    let expected = [(FindingKind::AfterDiffers, 3)];
    assert_eq!(found(&store, &scopes[1]).await, expected);
}

#[tokio::test]
async fn a_missing_lower_build_is_noted() {
    let store = layers().await;
    let id = sample_id(1);
    let writer = store.lock(&id.channel).await.expect("the lock");
    let retired = writer.retire(id.date, id.date.time() + TimeDelta::days(9));
    retired.await.expect("retired");
    let scope = Scope::Build(sample_id(3));
    let expected = [(FindingKind::AfterGone, 2)];
    assert_eq!(found(&store, &scope).await, expected);
}
