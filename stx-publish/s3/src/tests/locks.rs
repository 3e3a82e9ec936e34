//! Publishers that lost a lock or were overtaken by another one, and servers that cannot keep a lock.

use stx_layout::index::{PageId, PageName};
use stx_layout::{AliasEntry, AliasName, BuildRecord, SumLine};

use super::files::begun;
use super::*;
use stx_publish::incoming::{Entry, digest_of};
use stx_publish::publish::{CommitHooks, HookError, PublishError, publish_with_hooks};
use stx_publish::store::{KnownFile, StagedBuild};

/// Commits the build of day 1, which the store must refuse.
async fn refused(staged: Box<dyn StagedBuild>) {
    let record = BuildRecord::new(sample_id(1), BuildOutcome::Success);
    let error = staged.commit(record).await.expect_err("refused");
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
}

/// A machine was suspended while it published: all its files were sent, and another publisher has the lock.
#[tokio::test]
async fn a_publisher_that_lost_the_lock_commits_nothing() {
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let (late, next) = (sound(&bucket, &clock), sound(&bucket, &clock));
    let id = sample_id(1);
    let staged = begun(&late, "outputs/CONTEXT", "day 1").await;
    clock.outlive();
    let other = next.lock(&id.channel).await.expect("it ended");
    refused(staged).await;
    assert!(next.record(&id).await.is_err(), "nothing of it is seen");
    drop(other);
}

/// The other publisher has meanwhile published a build with the same id.
#[tokio::test]
async fn a_publisher_that_lost_the_lock_overwrites_nothing() {
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let (late, next) = (sound(&bucket, &clock), sound(&bucket, &clock));
    let id = sample_id(1);
    let staged = begun(&late, "outputs/OTHER", "another").await;
    clock.outlive();
    publish_day(&next, 1, BuildOutcome::Success, "day 1").await;
    refused(staged).await;
    let context = read_all(&next, &id, &path("outputs/CONTEXT"), 10_000).await;
    assert_eq!(context.expect("it is there"), b"day 1");
    let sums = sound(&bucket, &clock).sums(&id).await.expect("its sums");
    let is_refused = |line: &SumLine| line.path == path("outputs/OTHER");
    assert!(!sums.lines().iter().any(is_refused), "{sums}");
}

/// The publisher resumes in the middle of its files, which by now belong to a published build.
#[tokio::test]
async fn a_publisher_that_lost_the_lock_sends_no_more_files() {
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let (late, next) = (sound(&bucket, &clock), sound(&bucket, &clock));
    let id = sample_id(1);
    let staged = begun(&late, "outputs/OTHER", "another").await;
    clock.outlive();
    publish_day(&next, 1, BuildOutcome::Success, "day 1").await;
    let context = Entry::Generated("changed".into());
    let added = staged.add(&path("outputs/CONTEXT"), &context).await;
    let error = added.expect_err("another publisher has the lock");
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    let other = KnownFile {
        size: None,
        digest: digest_of(b"another"),
        executable: false,
        modified: None,
    };
    let shared = staged.share(&path("outputs/CONTEXT"), &other).await;
    assert!(shared.is_err(), "{shared:?}");
    let context = read_all(&next, &id, &path("outputs/CONTEXT"), 10_000).await;
    assert_eq!(context.expect("it is there"), b"day 1");
}

/// Publishes a build with the same id before the commit, as another publisher.
struct Meanwhile(BucketStore, TestClock);

#[async_trait]
impl CommitHooks for Meanwhile {
    fn is_noop(&self) -> bool {
        false
    }

    async fn before_commit(&self) -> std::result::Result<(), HookError> {
        self.1.outlive();
        let staged = begun(&self.0, "outputs/OTHER", "another").await;
        let record = BuildRecord::new(sample_id(1), BuildOutcome::Success);
        staged.commit(record).await?;
        Ok(())
    }

    async fn after_commit(&self) -> std::result::Result<(), HookError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_publisher_that_lost_the_lock_reports_that_nothing_was_published() {
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let late = sound(&bucket, &clock);
    let request = sample_request(1, BuildOutcome::Success, "day 1");
    let plan = prepare(&late, request).await.expect("a plan");
    let hooks = Meanwhile(sound(&bucket, &clock), clock.clone());
    let published = publish_with_hooks(&late, &plan, &hooks, &|_, _| {}).await;
    let error = published.expect_err("the other was faster");
    assert!(
        matches!(error, PublishError::NotPublished { .. }),
        "{error:?}"
    );
}

/// A mark would allow the next publisher to delete the files of a build without a record, and a retired build has no record.
#[tokio::test]
async fn a_publisher_that_lost_the_lock_before_it_began_marks_nothing() {
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let (late, next) = (sound(&bucket, &clock), sound(&bucket, &clock));
    let id = sample_id(1);
    let writer = late.lock(&id.channel).await.expect("the lock");
    clock.outlive();
    publish_day(&next, 1, BuildOutcome::Success, "day 1").await;
    publish_day(&next, 2, BuildOutcome::Success, "day 2").await;
    let other = next.lock(&id.channel).await.expect("it ended");
    let retired = other.retire(id.date, sample_id(9).date.time()).await;
    let retired = retired.expect("retired");
    drop(other);
    let begun = writer.begin(id.date).await.expect_err("refused");
    assert!(matches!(begun, StoreError::Refused { .. }), "{begun}");
    drop(writer);
    let other = next.lock(&id.channel).await.expect("given back");
    let swept = other.sweep().await.expect("swept");
    assert_eq!(swept, []);
    other.restore(&retired).await.expect("restored");
    let text = read_all(&next, &id, &path("outputs/CONTEXT"), 10_000).await;
    text.expect("its files are there");
}

/// While one publisher makes its plan, another one takes the lock, publishes, and gives the lock back.
#[tokio::test]
async fn a_lock_that_was_released_during_the_plan_is_free() {
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let (late, next) = (sound(&bucket, &clock), sound(&bucket, &clock));
    let id = sample_id(2);
    late.expect(&id.channel).await;
    publish_day(&next, 1, BuildOutcome::Success, "day 1").await;
    let writer = late.lock(&id.channel).await.expect("given back");
    let staged = writer.begin(id.date).await.expect("begun");
    let shared = KnownFile {
        size: None,
        digest: digest_of(b"day 1"),
        executable: false,
        modified: None,
    };
    let shared = staged.share(&path("outputs/CONTEXT"), &shared).await;
    assert!(
        shared.expect("asked").is_some(),
        "the bytes of day 1 are known"
    );
}

/// A publisher with outdated findings creates a number that is free again because others have passed it.
#[tokio::test]
async fn an_outdated_generation_has_no_effect() {
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let id = sample_id(1);
    let sound = sound(&bucket, &clock);
    publish_day(&sound, 1, BuildOutcome::Success, "day 1").await;
    let late = |below| {
        let mut late = Failing::new(&bucket, Fault::Once, usize::MAX);
        late.overtaken = Some(below);
        store(Arc::new(late), &clock)
    };

    let writer = late(".stx/aliases/").lock(&id.channel).await;
    let writer = writer.expect("the lock");
    let alias = AliasName::latest_build();
    let was = AliasEntry::Build(id.date);
    let moved = writer.point(&alias, Some(&was), None).await;
    let moved = moved.expect_err("somebody else moved it");
    assert!(matches!(moved, StoreError::Conflict { .. }), "{moved}");
    let shown = format!("mirror/{}/{alias}/build.json", id.channel);
    let shown = bucket.get(&Path::from(shown)).await;
    assert!(shown.is_ok(), "it is theirs to show");
    drop(writer);

    let locked = late(".stx/locks/").lock(&id.channel).await;
    let busy = locked.expect_err("somebody else has it");
    assert!(matches!(busy, StoreError::Busy { .. }), "{busy}");
}

#[tokio::test]
async fn a_server_that_overwrites_is_refused() {
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let mut lying = Failing::new(&bucket, Fault::Once, usize::MAX);
    lying.mode = |_| PutMode::Overwrite;
    let store = store(Arc::new(lying), &clock);
    let refused = store
        .lock(&sample_id(1).channel)
        .await
        .expect_err("refused");
    let text = refused.to_string();
    assert!(text.contains("ignores `If-None-Match: *`"), "{text}");
    assert!(store.lock_pages().await.is_err());
    let left = store.inner.objects.list(".stx").await.expect("listed");
    assert_eq!(left, [], "nothing was changed");
}

/// The lock of the pages is read before a publish. Until it is taken, other publishers take and release it, and the generations
/// that existed are deleted; then one publisher holds it.
#[tokio::test]
async fn the_lock_of_the_pages_is_taken_after_other_holders() {
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let (late, next) = (sound(&bucket, &clock), sound(&bucket, &clock));
    late.expect(&sample_id(1).channel).await;
    for _ in 0..3 {
        drop(next.lock_pages().await.expect("free"));
    }
    let other = next.lock_pages().await.expect("free");
    let page = PageId {
        channel: None,
        name: PageName::IndexHtml,
    };
    let wait = std::time::Duration::from_millis(200);
    let taken = tokio::time::timeout(wait, late.lock_pages()).await;
    assert!(taken.is_err(), "it is another's");
    let written = other.write(&page, "the other's".into()).await;
    written.expect("it has the lock still");
    drop(other);
    let pages = late.lock_pages().await.expect("given back");
    pages
        .write(&page, "the late one's".into())
        .await
        .expect("written");
}
