//! Publishing to releases, with the names above the channels and paths without a date, interrupted at every store call.

use std::collections::BTreeMap;

use stx_layout::{BuildId, BuildOutcome, BuildRecord, RootAlias, RootEntry, Section};

use super::every;
use crate::aliases::{AliasPolicy, settle_root};
use crate::conformance::sample_request;
use crate::faulty::Fault;
use crate::publish::{prepare, publish};
use crate::store::rules::{is_offered, root_targets};
use crate::store::{MirrorStore, Scope};
use crate::verify::{Finding, FindingKind, check_root_aliases, verify};

/// The build of a release on a day of November 2018.
fn build(release: &str, day: u32) -> BuildId {
    let id = format!("release/{release}/centos/201811{day:02}T060000Z");
    id.parse().expect("a build")
}

fn target(text: &str) -> RootEntry {
    RootEntry::To(text.parse().expect("a target"))
}

/// The names that the mirror must have.
fn policy() -> AliasPolicy {
    let link = |alias: &str, to: &str| {
        (
            alias.parse().expect("an alias"),
            to.parse().expect("a target"),
        )
    };
    AliasPolicy {
        links: [
            link("r2018.11", "release/9.0"),
            link("release/stable", "release/10.0"),
        ]
        .into(),
        latest_release: true,
        exclusive: true,
    }
}

/// Publishes to a release, as `stx-builds` does; returns false if something failed.
pub async fn put(store: &dyn MirrorStore, release: &str, day: u32) -> bool {
    let mut request = sample_request(day, BuildOutcome::Success, release);
    request.record = BuildRecord::new(build(release, day), BuildOutcome::Success);
    request.undated = true;
    let Ok(plan) = prepare(store, request).await else {
        return false;
    };
    publish(store, &plan).await.is_ok() && settle_root(store, &policy(), false).await.is_ok()
}

/// The findings on the mirror, without those that a crash may leave until the next publish.
async fn wrong(store: &dyn MirrorStore) -> Vec<Finding> {
    let report = verify(store, &Scope::All).await.expect("verified");
    let findings = report.findings.into_iter().filter(|finding| {
        !matches!(
            finding.kind,
            FindingKind::Leftover
                | FindingKind::AliasNotNewest
                | FindingKind::AliasMissing
                | FindingKind::UndatedNotLatest
        )
    });
    findings.collect()
}

/// Checks that no existing name is ever missing, and that each leads to a release with a build.
pub async fn check(store: &dyn MirrorStore, context: &str) {
    let wrong = wrong(store).await;
    // A bucket changes the paths without a date one file at a time, and reports that.
    let is_partial = |finding: &Finding| finding.kind == FindingKind::UndatedDangling;
    assert!(wrong.iter().all(is_partial), "{context}: {wrong:?}");
    let catalog = store.catalog(&Scope::All).await.expect("a catalog");
    let names = store.root_aliases().await.expect("a list");
    let targets = root_targets(&catalog);
    for (alias, to) in &names {
        let is_there = to.target().is_some_and(|to| targets.contains(to));
        assert!(is_there, "{context}: {alias} -> {to}");
    }
    let latest = names.get(&RootAlias::LatestRelease);
    let known = [target("release/9.0"), target("release/10.0")];
    assert!(
        latest.is_some_and(|to| known.contains(to)),
        "{context}: {latest:?}"
    );
    let legacy = names.get(&"r2018.11".parse().expect("an alias"));
    assert_eq!(legacy, Some(&known[0]), "{context}");
    let entry = &catalog.channels[&build("9.0", 1).channel];
    let all = [Section::Inputs, Section::Outputs].into();
    assert!(is_offered(entry, &all, build("9.0", 1).date), "{context}");
}

/// Checks that a rerun corrects everything.
pub async fn converge(store: &dyn MirrorStore, context: &str) {
    assert!(put(store, "10.0", 2).await, "{context}: the rerun");
    let names = store.root_aliases().await.expect("a list");
    let expected: BTreeMap<RootAlias, RootEntry> = [
        (RootAlias::LatestRelease, target("release/10.0")),
        ("r2018.11".parse().expect("an alias"), target("release/9.0")),
        (
            "release/stable".parse().expect("an alias"),
            target("release/10.0"),
        ),
    ]
    .into();
    assert_eq!(names, expected, "{context}");
    let catalog = store.catalog(&Scope::All).await.expect("a catalog");
    let found = check_root_aliases(&catalog, &names, Some(&policy()));
    assert_eq!(found, [], "{context}");
    let entry = &catalog.channels[&build("10.0", 2).channel];
    let all = [Section::Inputs, Section::Outputs].into();
    assert!(
        is_offered(entry, &all, build("10.0", 2).date),
        "{context}: {:?}",
        entry.undated
    );
    assert_eq!(wrong(store).await, [], "{context}");
}

/// Checks the mirror after an interrupted publish of the second release, and after the next run.
async fn after(store: &dyn MirrorStore, done: bool, context: &str) -> bool {
    check(store, context).await;
    converge(store, context).await;
    done
}

/// Publishes a second release with a fault at every call in turn, each time on a new mirror from `fresh`; returns the number of
/// runs.
pub async fn every_call<S: MirrorStore + Clone>(fresh: impl Fn() -> S) -> usize {
    let first = async || {
        let store = fresh();
        assert!(put(&store, "9.0", 1).await);
        store
    };
    let second = async |store: &dyn MirrorStore| put(store, "10.0", 2).await;
    every::every_call(&Fault::ALL, first, second, after).await
}

#[cfg(test)]
#[tokio::test]
async fn memory_survives_a_fault_at_every_call() {
    let fresh = crate::memory::MemoryStore::new;
    assert!(every_call(fresh).await > 40);
}

#[cfg(all(test, feature = "local"))]
mod local {
    use camino::Utf8Path;

    use super::every::local::{every_call, every_step};
    use super::{after, put};
    use crate::faulty::Fault;
    use crate::local::LocalStore;
    use crate::store::MirrorStore;

    /// A mirror with the first release.
    async fn fresh(dir: &Utf8Path) -> LocalStore {
        let store = LocalStore::create(dir).expect("a mirror");
        assert!(put(&store, "9.0", 1).await);
        store
    }

    async fn second(store: &dyn MirrorStore) -> bool {
        put(store, "10.0", 2).await
    }

    #[tokio::test]
    async fn a_directory_survives_a_fault_at_every_call() {
        assert!(every_call(&Fault::ALL, fresh, second, after).await > 40);
    }

    #[tokio::test]
    async fn a_directory_survives_a_crash_at_every_step() {
        assert!(every_step(fresh, second, after).await > 8);
    }
}
