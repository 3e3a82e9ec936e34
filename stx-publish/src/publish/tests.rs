//! Plans that were made before another publisher finished, and hooks around the commit.

use std::sync::Mutex;

use async_trait::async_trait;
use stx_layout::{AliasEntry, AliasName, BuildOutcome};

use super::{
    CommitHooks, HookError, PublishError, PublishReport, prepare, publish, publish_with_hooks,
};
use crate::conformance::{sample_id, sample_request};
use crate::memory::MemoryStore;
use crate::plan::{AliasVerdict, PublishRequest};
use crate::store::{MirrorRead as _, Scope};

fn request(day: u32) -> PublishRequest {
    sample_request(day, BuildOutcome::Success, &format!("day {day}"))
}

/// Publishes the first build, plans `late`, publishes `other`, and then executes the plan.
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
    let entry = catalog.channels.get(&channel)?;
    entry.aliases.get(&AliasName::latest_build()).cloned()
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
async fn an_alias_that_moved_after_the_plan_goes_back_only_by_force() {
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

/// Notes its calls, and fails at one of them.
#[derive(Default)]
struct Noting {
    calls: Mutex<Vec<&'static str>>,
    fails: Option<&'static str>,
}

impl Noting {
    fn note(&self, call: &'static str) -> Result<(), HookError> {
        self.calls.lock().expect("not poisoned").push(call);
        match self.fails {
            Some(fails) if fails == call => Err(format!("{call} fails").into()),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl CommitHooks for Noting {
    fn is_noop(&self) -> bool {
        false
    }

    async fn before_commit(&self) -> Result<(), HookError> {
        self.note("before")
    }

    async fn after_commit(&self) -> Result<(), HookError> {
        self.note("after")
    }
}

#[tokio::test]
async fn a_hook_that_fails_says_whether_the_build_is_visible_and_runs_again() {
    for (fails, visible, calls) in [
        ("before", false, &["before"][..]),
        ("after", true, &["before", "after"]),
    ] {
        let store = MemoryStore::new();
        let plan = prepare(&store, request(1)).await.expect("a plan");
        let hooks = Noting {
            fails: Some(fails),
            ..Noting::default()
        };
        let error = publish_with_hooks(&store, &plan, &hooks, &|_, _| {}).await;
        let error = error.expect_err("the hook fails");
        assert_eq!(
            matches!(error, PublishError::HookAfterCommit { .. }),
            visible,
            "{error}"
        );
        assert_eq!(
            matches!(error, PublishError::HookBeforeCommit { .. }),
            !visible,
            "{error}"
        );
        assert_eq!(hooks.calls.into_inner().expect("not poisoned"), calls);
        let there = store.record(&sample_id(1)).await.is_ok();
        assert_eq!(there, visible, "{error}");
        assert_eq!(shown(&store).await, None, "{error}");
        // The rerun.
        let hooks = Noting::default();
        let plan = prepare(&store, request(1)).await.expect("a plan");
        let done = publish_with_hooks(&store, &plan, &hooks, &|_, _| {}).await;
        done.expect("published");
        let calls = hooks.calls.into_inner().expect("not poisoned");
        assert_eq!(calls, ["before", "after"]);
        let date = sample_id(1).date;
        assert_eq!(shown(&store).await, Some(AliasEntry::Build(date)));
    }
}
