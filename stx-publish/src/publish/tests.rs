//! Plans that were made before another publisher was done.

use stx_layout::{AliasEntry, AliasName, BuildOutcome};

use super::{PublishReport, prepare, publish};
use crate::conformance::{sample_id, sample_request};
use crate::plan::{AliasVerdict, PublishRequest};
use crate::store::memory::MemoryStore;
use crate::store::{MirrorRead as _, Scope};

fn request(day: u32) -> PublishRequest {
    sample_request(day, BuildOutcome::Success, &format!("day {day}"))
}

/// Publishes the 1st build, plans `late`, publishes `other`, and then the plan.
async fn overtaken(store: &MemoryStore, late: u32, other: u32, force: bool) -> PublishReport {
    let first = prepare(store, request(1)).await.expect("a plan");
    publish(store, &first).await.expect("published");
    let mut late = request(late);
    late.force_alias = force;
    let late = prepare(store, late).await.expect("a plan");
    let other = prepare(store, request(other)).await.expect("a plan");
    publish(store, &other).await.expect("published");
    publish(store, &late).await.expect("published")
}

async fn shown(store: &MemoryStore) -> Option<AliasEntry> {
    let channel = sample_id(1).channel;
    let catalog = store.catalog(&Scope::All).await.expect("a catalog");
    let alias = catalog.channels[&channel]
        .aliases
        .get(&AliasName::latest_build());
    alias.cloned()
}

#[tokio::test]
async fn an_alias_that_moved_after_the_plan_is_decided_again_under_the_lock() {
    let store = MemoryStore::new();
    let report = overtaken(&store, 3, 2, false).await;
    assert_eq!(
        shown(&store).await,
        Some(AliasEntry::Build(sample_id(3).date))
    );
    assert_eq!(report.moved, [AliasName::latest_build()]);
    let shown = Some(AliasEntry::Build(sample_id(2).date));
    assert_eq!(report.aliases[0].shown, shown);
}

#[tokio::test]
async fn an_alias_that_moved_on_after_the_plan_stays_unless_it_is_forced_back() {
    for (force, day) in [(false, 3), (true, 2)] {
        let store = MemoryStore::new();
        let report = overtaken(&store, 2, 3, force).await;
        let expected = Some(AliasEntry::Build(sample_id(day).date));
        assert_eq!(shown(&store).await, expected, "force {force}");
        let newer = sample_id(3).date;
        let verdict = if force {
            AliasVerdict::Force { newer }
        } else {
            AliasVerdict::Older { newer }
        };
        assert_eq!(report.aliases[0].verdict, verdict);
    }
}
