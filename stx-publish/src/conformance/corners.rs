//! Calls of a store that run concurrently, or in an unusual order.

use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::TryStreamExt as _;
use stx_layout::{AliasEntry, AliasName, BuildOutcome, BuildRecord};

use super::{path, put, sample_id, shown};
use crate::incoming::{Entry, digest_of};
use crate::store::{FileBody, KnownFile, MirrorStore, Scope, StoreError, read_all};

/// Runs after the other parts of the suite, on its own builds.
pub(super) async fn run(store: &dyn MirrorStore) {
    the_first_of_two_that_move_an_alias_wins(store).await;
    a_restore_replaces_no_build(store).await;
    a_staged_build_starts_empty_and_commits_its_own_record_only(store).await;
    a_reader_has_the_build_or_an_error(store).await;
    a_known_file_is_shared_or_must_be_added(store).await;
    an_alias_to_a_missing_channel_can_be_removed(store).await;
    let settled = store.settle(&sample_id(1).channel).await;
    settled.expect("what can be seen can be made durable");
}

async fn an_alias_to_a_missing_channel_can_be_removed(store: &dyn MirrorStore) {
    let nowhere = "feature/nowhere/centos".parse().expect("a channel");
    let writer = store.lock(&nowhere).await.expect("the lock");
    let gone = writer.point(&AliasName::latest_build(), None, None).await;
    gone.expect("it is not there");
}

async fn the_first_of_two_that_move_an_alias_wins(store: &dyn MirrorStore) {
    let channel = sample_id(1).channel;
    let latest = AliasName::latest_build();
    for day in [11, 12, 13] {
        put(store, day, BuildOutcome::Success).await;
    }
    let writer = store.lock(&channel).await.expect("the lock");
    let newest = AliasEntry::Build(sample_id(13).date);
    // Repeated, so that a race between the two calls shows.
    for _ in 0..10 {
        let to = |day| writer.point(&latest, Some(&newest), Some(sample_id(day).date));
        let (winner, lost) = match futures_util::future::join(to(11), to(12)).await {
            (Ok(()), Err(error)) => (11, error),
            (Err(error), Ok(())) => (12, error),
            both => panic!("one has to win: {both:?}"),
        };
        assert!(matches!(lost, StoreError::Conflict { .. }), "{lost:?}");
        let winner = AliasEntry::Build(sample_id(winner).date);
        assert_eq!(shown(store, &channel).await, Some(winner.clone()));
        let back = writer.point(&latest, Some(&winner), Some(sample_id(13).date));
        back.await.expect("moved back");
    }
}

async fn a_restore_replaces_no_build(store: &dyn MirrorStore) {
    let id = sample_id(9);
    let now = sample_id(20).date.time();
    put(store, 9, BuildOutcome::Fail).await;
    let writer = store.lock(&id.channel).await.expect("the lock");
    let first = writer.retire(id.date, now).await.expect("retired");
    drop(writer);
    put(store, 9, BuildOutcome::Success).await;
    let writer = store.lock(&id.channel).await.expect("the lock");
    let taken = writer.restore(&first).await;
    assert!(
        matches!(taken, Err(StoreError::AlreadyExists { .. })),
        "{taken:?}"
    );
    let later = now + TimeDelta::seconds(1);
    let second = writer.retire(id.date, later).await.expect("retired");
    let both = store.retired().await.expect("a list");
    assert_eq!(both, [first.clone(), second.clone()], "by time");
    writer.restore(&first).await.expect("its place is free");
    let record = store.record(&id).await.expect("a record");
    assert_eq!(record.result, BuildOutcome::Fail, "the one asked for");
    writer.purge(&second).await.expect("purged");
    assert_eq!(store.retired().await.expect("a list"), []);
}

async fn a_staged_build_starts_empty_and_commits_its_own_record_only(store: &dyn MirrorStore) {
    let id = sample_id(10);
    let writer = store.lock(&id.channel).await.expect("the lock");
    drop(writer.begin(sample_id(8).date).await.expect("begun"));
    let staged = writer.begin(id.date).await.expect("begun");
    let entry = Entry::Generated(Bytes::from_static(b"x"));
    let added = staged.add(&path("outputs/CONTEXT"), &entry).await;
    added.expect("added");
    let other = BuildRecord::new(sample_id(8), BuildOutcome::Fail);
    let committed = staged.commit(other).await;
    assert!(
        matches!(committed, Err(StoreError::Refused { .. })),
        "{committed:?}"
    );
    let catalog = store.catalog(&Scope::All).await.expect("a catalog");
    assert!(catalog.build(&id).is_none() && catalog.build(&sample_id(8)).is_none());
    let swept = writer.sweep().await.expect("swept");
    assert!(swept.len() <= 1, "the first was swept before: {swept:?}");
    drop(writer);
    assert_eq!(store.leftovers(&Scope::All).await.expect("a list"), []);
}

async fn a_reader_has_the_build_or_an_error(store: &dyn MirrorStore) {
    let (id, context) = (sample_id(9), path("outputs/CONTEXT"));
    for missing in ["outputs/none", "outputs"] {
        let read = store.read(&id, &path(missing), 0).await;
        assert!(matches!(read, Err(StoreError::NotFound { .. })), "{read:?}");
    }
    let end = store.read(&id, &context, 1000).await.expect("read");
    assert_eq!(drain(end).await.expect("read"), b"", "nothing after it");
    let limited = read_all(store, &id, &context, 4).await;
    assert!(matches!(limited, Err(StoreError::Refused { .. })));

    let body = store.read(&id, &context, 0).await.expect("read");
    let writer = store.lock(&id.channel).await.expect("the lock");
    let now = sample_id(20).date.time();
    let retired = writer.retire(id.date, now).await.expect("retired");
    match drain(body).await {
        Ok(bytes) => assert_eq!(bytes, b"day 9"),
        Err(error) => assert!(matches!(error, StoreError::NotFound { .. }), "{error:?}"),
    }
    writer.restore(&retired).await.expect("restored");
}

async fn a_known_file_is_shared_or_must_be_added(store: &dyn MirrorStore) {
    let id = sample_id(8);
    let (source, text) = (
        path("inputs/downloads/source.tar"),
        b"the same in every build",
    );
    let known = |bytes: &[u8]| KnownFile {
        digest: digest_of(bytes),
        size: Some(bytes.len() as u64),
        executable: false,
        modified: None,
    };
    let writer = store.lock(&id.channel).await.expect("the lock");
    let staged = writer.begin(id.date).await.expect("begun");
    let shared = staged.share(&source, &known(text)).await;
    if let Some(size) = shared.expect("an answer") {
        assert_eq!(size, text.len() as u64);
    } else {
        let entry = Entry::Generated(Bytes::from_static(text));
        staged.add(&source, &entry).await.expect("added");
    }
    let (nowhere, unknown) = (path("inputs/nowhere"), known(b"on no mirror"));
    let shared = staged.share(&nowhere, &unknown).await.expect("an answer");
    assert_eq!(shared, None);
    let record = BuildRecord::new(id.clone(), BuildOutcome::Fail);
    let marker = BuildRecord::marker(record.result);
    let empty = Entry::Generated(Bytes::new());
    staged.add(&marker, &empty).await.expect("added");
    staged.commit(record).await.expect("committed");
    let read = read_all(store, &id, &source, 100).await.expect("read");
    assert_eq!(read, text);
    let sums = store.sums(&id).await.expect("sums");
    assert_eq!(sums.get(&source), Some(digest_of(text)));
}

async fn drain(body: FileBody) -> Result<Vec<u8>, StoreError> {
    let chunks: Vec<_> = body.stream.try_collect().await?;
    Ok(chunks.concat())
}
