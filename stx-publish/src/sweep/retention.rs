//! The steps of `prune`, interrupted at every store call and at every step of the mirror in a directory: a pin, a section,
//! a retired build, a purge, and restores.

use stx_layout::{AliasEntry, AliasName, BuildOutcome, Pin, Sha256};

use super::every;
#[cfg(test)]
use super::put;
use crate::conformance::retention::{sample_pin, sample_section};
use crate::conformance::{sample_id, sample_request};
use crate::faulty::Fault;
#[cfg(test)]
use crate::faulty::FaultyStore;
#[cfg(test)]
use crate::memory::MemoryStore;
use crate::publish::{prepare, publish};
use crate::store::{ChannelWriter, MirrorStore, OwedTag, OwedTags, Scope, StoreError, thinned};
use crate::verify::{FindingKind, verify};

/// A mirror of six successes; that of day 1 was retired on day 10, and the inputs of that of day 2 were removed on the same day.
pub async fn prepared(store: &dyn MirrorStore) {
    for day in 1..=6 {
        let request = sample_request(day, BuildOutcome::Success, &format!("day {day}"));
        let plan = prepare(store, request).await.expect("a plan");
        publish(store, &plan).await.expect("published");
    }
    let writer = store.lock(&sample_id(1).channel).await.expect("the lock");
    let now = sample_id(10).date.time();
    drop(
        writer
            .retire(sample_id(1).date, now)
            .await
            .expect("retired"),
    );
    let inputs = [sample_section("inputs", 10)];
    let thin = writer.thin(sample_id(2).date, &inputs).await;
    drop(thin.expect("thinned"));
}

/// `Ok` for a result that shows that the step was already done.
fn done<T>(result: Result<T, StoreError>) -> Result<(), StoreError> {
    match result {
        Ok(_) | Err(StoreError::NotFound { .. } | StoreError::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn pin() -> Pin {
    sample_pin(&sample_id(5), "ann", None)
}

/// The tags of the purged build, which something still needs.
fn owed() -> OwedTags {
    OwedTags {
        build: sample_id(1),
        tags: vec![OwedTag {
            name: "r.example/starlingx/stx-nova:by-hand"
                .parse()
                .expect("a name"),
            digest: Sha256([1; 32]),
            why: "a chart names it".to_owned(),
        }],
    }
}

/// The steps in the order of a `prune` run: sweep first, each step under the lock, purge last.
async fn steps(store: &dyn MirrorStore) -> Result<(), StoreError> {
    let channel = sample_id(1).channel;
    let now = sample_id(20).date.time();
    let lock =
        async || -> Result<Box<dyn ChannelWriter>, StoreError> { store.lock(&channel).await };
    drop(lock().await?.sweep().await?);
    lock().await?.pin(&pin()).await?;
    lock().await?.owe(&owed()).await?;
    let sections = [
        sample_section("inputs", 20),
        sample_section("outputs/iso", 20),
    ];
    drop(lock().await?.thin(sample_id(4).date, &sections).await?);
    done(lock().await?.retire(sample_id(3).date, now).await)?;
    // Restores a section and a build.
    for retired in store.retired().await? {
        let is_day_2 = retired.id == sample_id(2);
        let is_day_1 = retired.id == sample_id(1);
        if is_day_2 {
            done(lock().await?.restore(&retired).await)?;
        } else if is_day_1 {
            lock().await?.purge(&retired).await?;
        }
    }
    Ok(())
}

/// Executes all steps; returns true if all were done.
pub async fn run(store: &dyn MirrorStore) -> bool {
    steps(store).await.is_ok()
}

/// The invariant: no damage, only leftovers of a dead run; the alias points to the newest success; no build is incomplete.
pub async fn check(store: &dyn MirrorStore, context: &str) {
    let report = verify(store, &Scope::All).await.expect("verified");
    let wrong: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.kind != FindingKind::Leftover)
        .collect();
    assert!(wrong.is_empty(), "{context}: {wrong:?}");
    let latest = AliasName::latest_build();
    let shown = store.alias(&sample_id(1).channel, &latest).await;
    let newest = AliasEntry::Build(sample_id(6).date);
    assert_eq!(shown.expect("an alias"), Some(newest), "{context}");
    let pins = store.pins(&Scope::All).await.expect("pins");
    assert!(pins.is_empty() || pins == [pin()], "{context}: {pins:?}");
    let known = store.owed(&Scope::All).await.expect("what is owed");
    assert!(
        known.is_empty() || known == [owed()],
        "{context}: {known:?}"
    );
    // The record of the tags survives the build.
    let retired = store.retired().await.expect("the trash");
    let is_there = retired.iter().any(|retired| retired.id == sample_id(1));
    assert!(is_there || !known.is_empty(), "{context}");
}

/// Checks that the next run completes the steps.
pub async fn converge(store: &dyn MirrorStore, context: &str) {
    assert!(run(store).await, "{context}: the next run");
    let report = verify(store, &Scope::All).await.expect("verified");
    assert_eq!(report.findings, [], "{context}");
    assert_eq!(
        store.pins(&Scope::All).await.expect("pins"),
        [pin()],
        "{context}"
    );
    let sections = async |day| {
        let record = thinned(store, &sample_id(day)).await.expect("a record");
        record.sections.len()
    };
    assert_eq!((sections(4).await, sections(2).await), (2, 0), "{context}");
    let retired = store.retired().await.expect("a list");
    let names: Vec<_> = retired.iter().map(ToString::to_string).collect();
    let (third, fourth) = (sample_id(3), sample_id(4));
    let expected = [
        third.to_string(),
        format!("{fourth}/inputs"),
        format!("{fourth}/outputs/iso"),
    ];
    assert_eq!(names, expected, "{context}");
    // Nothing was lost: everything in the trash can be restored.
    let writer = store.lock(&third.channel).await.expect("the lock");
    for retired in &retired {
        writer.restore(retired).await.expect("restored");
    }
    drop(writer);
    let report = verify(store, &Scope::All).await.expect("verified");
    assert_eq!(
        (report.findings, report.builds),
        (Vec::new(), 5),
        "{context}"
    );
}

/// Checks the mirror after an interrupted run, and after the next one.
async fn after(store: &dyn MirrorStore, done: bool, context: &str) -> bool {
    check(store, context).await;
    converge(store, context).await;
    done
}

/// Interrupts a run at every call in these ways, each time on a [`prepared`] mirror.
pub async fn every_call<S: MirrorStore + Clone>(
    ways: &[Fault],
    fresh: impl AsyncFn() -> S,
) -> usize {
    every::every_call(ways, fresh, run, after).await
}

#[cfg(test)]
#[tokio::test]
async fn memory_survives_a_fault_at_every_call() {
    let fresh = async || {
        let store = MemoryStore::new();
        prepared(&store).await;
        store
    };
    assert!(every_call(&Fault::ALL, fresh).await > 30);
}

/// A publisher that follows a dead run completes its work, and is not harmed by it.
#[cfg(test)]
#[tokio::test]
async fn a_publisher_after_a_dead_run_is_not_harmed() {
    let store = MemoryStore::new();
    prepared(&store).await;
    let faulty = FaultyStore::new(store.clone(), Fault::FromThenOn, 8);
    assert!(!run(&faulty).await);
    assert!(put(&store, 7).await);
}

#[cfg(all(test, feature = "local"))]
mod local {
    use camino::Utf8Path;
    use camino_tempfile::Utf8TempDir;
    use walkdir::WalkDir;

    use super::every::local::{directory, every_call, every_step};
    use super::{after, prepared, run};
    use crate::faulty::Fault;
    use crate::local::LocalStore;

    /// A prepared mirror that is copied for each run.
    struct Template(Utf8TempDir);

    impl Template {
        async fn new() -> Self {
            let dir = directory();
            let store = LocalStore::create(dir.path()).expect("a mirror");
            prepared(&store).await;
            Self(dir)
        }

        fn copy(&self, to: &Utf8Path) -> LocalStore {
            for entry in WalkDir::new(self.0.path()).min_depth(1) {
                let entry = entry.expect("readable");
                let from = Utf8Path::from_path(entry.path()).expect("UTF-8");
                let to = to.join(from.strip_prefix(self.0.path()).expect("below"));
                let kind = entry.file_type();
                let made = if kind.is_dir() {
                    fs_err::create_dir(&to)
                } else if kind.is_symlink() {
                    let target = from.read_link_utf8().expect("a link");
                    fs_err::os::unix::fs::symlink(target, &to)
                } else {
                    fs_err::copy(from, &to).map(drop)
                };
                made.expect("copied");
            }
            LocalStore::create(to).expect("a mirror")
        }
    }

    #[tokio::test]
    async fn a_directory_survives_a_fault_at_every_call() {
        let template = Template::new().await;
        let fresh = async |dir: &Utf8Path| template.copy(dir);
        // The other kinds of faults look the same to every store, and are tested faster in memory.
        assert!(every_call(&[Fault::FromThenOn], fresh, run, after).await > 10);
    }

    #[tokio::test]
    async fn a_directory_survives_a_crash_at_every_step() {
        let template = Template::new().await;
        let fresh = async |dir: &Utf8Path| template.copy(dir);
        assert!(every_step(fresh, run, after).await >= 12);
    }
}
