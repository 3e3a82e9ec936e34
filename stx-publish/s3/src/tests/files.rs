//! How files lie in the bucket, and how they get there.

use bytes::Bytes;
use camino::Utf8Path;
use camino_tempfile::tempdir;
use fs_err as fs;
use object_store::ObjectStoreExt as _;
use object_store::{Attribute, PutMode};
use stx_layout::{AliasEntry, AliasName, BuildRecord, Sums};

use super::*;
use crate::objects::Keep;
use stx_publish::Cleared;
use stx_publish::incoming::{Entry, Incoming, digest_of};
use stx_publish::ingest::Hints;
use stx_publish::ingest::Stamp;
use stx_publish::plan::PublishRequest;
use stx_publish::publish::PublishReport;
use stx_publish::store::{Depth, Found, KnownFile, read_all};
use stx_publish::verify::FindingKind;

/// A file of the workspace.
fn file(path: &Utf8Path, bytes: &[u8]) -> Entry {
    fs::write(path, bytes).expect("written");
    Entry::File {
        source: path.to_owned(),
        size: bytes.len() as u64,
        executable: path.extension() == Some("sh"),
        digest: None,
    }
}

fn link(target: &str) -> Entry {
    Entry::Symlink {
        target: target.to_owned(),
    }
}

async fn put(
    store: &BucketStore,
    day: u32,
    entries: impl IntoIterator<Item = (&str, Entry)>,
) -> std::result::Result<PublishReport, stx_publish::publish::PublishError> {
    let entries = entries.into_iter().map(|(name, entry)| (path(name), entry));
    let id = sample_id(day);
    let now = id.date.time() + TimeDelta::hours(5);
    let incoming = Incoming {
        entries: entries.collect(),
    };
    let record = BuildRecord::new(id, BuildOutcome::Success);
    let plan = prepare(
        store,
        PublishRequest::new(
            record,
            Cleared::unsearched(incoming, "made for a test"),
            now,
        ),
    )
    .await;
    publish(store, &plan.expect("a plan")).await
}

#[tokio::test]
async fn what_objects_are_not_is_kept_beside_them() {
    let dir = tempdir().expect("a directory");
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let store = sound(&bucket, &clock);
    let script = file(&dir.path().join("install.sh"), b"#!/bin/sh\n");
    let iso = file(&dir.path().join("bootimage.iso"), b"an image");
    let entries = [
        ("outputs/iso/bootimage.iso", iso),
        ("outputs/iso/latest.iso", link("bootimage.iso")),
        ("outputs/installer/install.sh", script),
        ("outputs/newest", link("installer")),
    ];
    put(&store, 1, entries).await.expect("published");
    let id = sample_id(1);
    let inspection = store.inspect(&id, Depth::Digests).await.expect("there");
    let found = |name| inspection.found.get(&path(name)).expect("found");
    let mode_and_time = |name| match found(name) {
        Found::File { mode, modified, .. } => (*mode, modified.expect("known")),
        other => panic!("{other:?}"),
    };
    let time = |name: &str| {
        let metadata = fs::metadata(dir.path().join(name)).expect("there");
        chrono::DateTime::from(metadata.modified().expect("known"))
    };
    let of_script = mode_and_time("outputs/installer/install.sh");
    assert_eq!(of_script, (Some(0o755), time("install.sh")));
    let of_iso = mode_and_time("outputs/iso/bootimage.iso");
    assert_eq!(of_iso, (Some(0o644), time("bootimage.iso")));
    for (name, target) in [
        ("outputs/iso/latest.iso", "bootimage.iso"),
        ("outputs/newest", "installer"),
    ] {
        let target = target.to_owned();
        assert_eq!(*found(name), Found::Symlink { target });
    }
    assert_eq!(inspection.unreadable, []);
    // By way of the symlinks, as in a directory; a reader over plain HTTP finds what lies at the link's own path.
    for (name, bytes) in [
        ("outputs/iso/latest.iso", &b"an image"[..]),
        ("outputs/newest/install.sh", b"#!/bin/sh\n"),
    ] {
        let read = read_all(&store, &id, &path(name), 100).await;
        assert_eq!(read.expect("read"), bytes, "{name}");
    }
    let copy = Path::from(format!("mirror/{id}/outputs/iso/latest.iso"));
    let found = bucket.get(&copy).await.expect("a copy");
    let attribute = |name| found.attributes.get(&name).map(|it| it.as_ref().to_owned());
    let kind = attribute(Attribute::ContentType).expect("a type");
    assert_eq!(kind, "application/x-iso9660-image");
    let keep = attribute(Attribute::CacheControl).expect("a rule for caches");
    assert!(keep.contains("immutable"), "{keep}");
    let alias = Path::from("mirror/master/centos/latest_build/build.json");
    let record = bucket
        .get(&alias)
        .await
        .expect("for readers over plain HTTP");
    let keep = record.attributes.get(&Attribute::CacheControl);
    assert_eq!(keep.expect("a rule for caches").as_ref(), "no-cache");
    let record = record.bytes().await.expect("read");
    let record = BuildRecord::from_json(&String::from_utf8_lossy(&record));
    assert_eq!(record.expect("a record").id, id);

    // A copy that is not what the symlink leads to misleads them, and is found.
    bucket.put(&copy, "another!".into()).await.expect("written");
    let report = verify(&store, &Scope::All).await.expect("verified");
    let wrong: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].contains("outputs/iso/latest.iso: "), "{wrong:?}");
}

#[tokio::test]
async fn bytes_that_are_there_are_copied_by_the_server() {
    let dir = tempdir().expect("a directory");
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let store = sound(&bucket, &clock);
    let entries = |changed: &str| {
        [
            (
                "inputs/RPMS.txt",
                file(&dir.path().join("same"), &vec![7; 100_000]),
            ),
            (
                "outputs/a.txt",
                file(&dir.path().join("changed"), changed.as_bytes()),
            ),
        ]
    };
    let first = put(&store, 1, entries("one")).await.expect("published");
    assert_eq!(first.shared, 0);
    let second = put(&store, 2, entries("two")).await.expect("published");
    assert_eq!(second.shared, 100_000);
    // What only its sums say is there is sent.
    let gone = Path::from(format!("mirror/{}/inputs/RPMS.txt", sample_id(2)));
    let older = Path::from(format!("mirror/{}/inputs/RPMS.txt", sample_id(1)));
    for name in [gone, older] {
        bucket.delete(&name).await.expect("deleted");
    }
    let third = put(&store, 3, entries("three")).await.expect("published");
    assert_eq!(third.shared, 0);
    let read = read_all(&store, &sample_id(3), &path("inputs/RPMS.txt"), 200_000).await;
    assert_eq!(read.expect("read"), vec![7; 100_000]);
}

/// Of equal files one is sent, small or large, whatever else is on its way; the server copies the others.
#[tokio::test]
async fn equal_files_of_one_build_are_sent_once() {
    let dir = tempdir().expect("a directory");
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let iso = large();
    let mut entries = Vec::new();
    for number in 0..40 {
        let small = file(&dir.path().join(format!("{number}.txt")), &[7; 500]);
        entries.push((format!("outputs/{number}.txt"), small));
    }
    for number in 0..3 {
        let image = file(&dir.path().join(format!("{number}.iso")), &iso);
        entries.push((format!("outputs/{number}.iso"), image));
        let mut other = iso.clone();
        other[number] ^= 1;
        let other = file(&dir.path().join(format!("other-{number}.iso")), &other);
        entries.push((format!("outputs/other-{number}.iso"), other));
    }
    // Another media type: the server copies that too, so these are sent.
    let kind = file(&dir.path().join("same.json"), &[7; 500]);
    entries.push(("outputs/same.json".to_owned(), kind));
    let counting = Failing::new(&bucket, Fault::Once, usize::MAX);
    let store = store(Arc::new(counting.clone()), &clock);
    let entries = entries
        .iter()
        .map(|(name, entry)| (name.as_str(), entry.clone()));
    let report = put(&store, 1, entries).await.expect("published");
    assert_eq!(report.shared, 39 * 500 + 2 * iso.len() as u64);
    assert_eq!(
        counting.parts.load(Ordering::SeqCst),
        4 * 4,
        "of four images"
    );
    let record_of_the_alias = 1;
    let copies = counting.copies.load(Ordering::SeqCst);
    assert_eq!(copies, 39 + 2 + record_of_the_alias);
    let report = verify(&store, &Scope::All).await.expect("verified");
    assert_eq!(report.findings, []);
    for (name, bytes) in [("outputs/39.txt", vec![7; 500]), ("outputs/2.iso", iso)] {
        let read = read_all(&store, &sample_id(1), &path(name), 1 << 20).await;
        assert!(read.expect("read") == bytes, "{name}");
    }
}

/// Three parts, and a little more.
fn large() -> Vec<u8> {
    let mut state = 1_u32;
    let bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    bytes.take(3 * 1024 + 5).collect()
}

#[tokio::test]
async fn a_large_file_that_broke_off_is_gone_on_with() {
    let dir = tempdir().expect("a directory");
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let iso = large();
    let image = dir.path().join("bootimage.iso");
    let entries = || [("outputs/iso/bootimage.iso", file(&image, &iso))];
    let parts = |failing: &Failing| failing.parts.load(Ordering::SeqCst);
    // Stopped when the upload was to be completed.
    let mut failing = Failing::new(&bucket, Fault::Once, usize::MAX);
    failing.completes = false;
    let stopped = put(&store(Arc::new(failing.clone()), &clock), 1, entries()).await;
    assert!(stopped.is_err());
    assert_eq!(parts(&failing), 4);
    // `discard` gave it up; a publisher that was killed does not come to that.
    let left = sound(&bucket, &clock).leftovers(&Scope::All).await;
    assert_eq!(left.expect("a list"), []);

    let mirror = sound(&bucket, &clock);
    let writer = mirror.lock(&sample_id(1).channel).await.expect("the lock");
    let mut failing = Failing::new(&bucket, Fault::Once, usize::MAX);
    failing.completes = false;
    drop(writer);
    {
        let dying = store(Arc::new(failing.clone()), &clock);
        let writer = dying.lock(&sample_id(1).channel).await.expect("the lock");
        let staged = writer.begin(sample_id(1).date).await.expect("begun");
        let [(name, entry)] = entries();
        assert!(staged.add(&path(name), &entry).await.is_err());
    }
    let failing = Failing::new(&bucket, Fault::Once, usize::MAX);
    let again = store(Arc::new(failing.clone()), &clock);
    put(&again, 1, entries()).await.expect("published");
    assert_eq!(
        parts(&failing),
        0,
        "all parts had arrived, and their journal said so"
    );
    let read = read_all(
        &again,
        &sample_id(1),
        &path("outputs/iso/bootimage.iso"),
        1 << 30,
    )
    .await;
    assert!(read.expect("read") == iso, "the very bytes");
    let report = verify(&again, &Scope::All).await.expect("verified");
    assert_eq!(report.findings, []);
    let left = again.inner.objects.list(".stx/uploads").await;
    assert_eq!(left.expect("listed"), [], "no journal outlives its build");
}

/// The parts of a copy are larger than those of a file that is sent, so that its upload is given up and not continued.
#[tokio::test]
async fn a_file_is_not_sent_in_the_parts_of_a_copy_that_broke_off() {
    let dir = tempdir().expect("a directory");
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let failing = Failing::new(&bucket, Fault::Once, usize::MAX);
    let mirror = store(Arc::new(failing.clone()), &clock);
    let iso = large();
    let (name, size) = ("outputs/iso/bootimage.iso", iso.len());
    let objects = &mirror.inner.objects;
    let to = objects.path(&format!("{}/{name}", sample_id(1)));
    let upload = failing.create_multipart(&to.expect("a path")).await;
    let upload = upload.expect("begun");
    let journal = keys::upload(&sample_id(1), &path(name));
    let text = format!(
        r#"{{"schema":1,"upload":"{upload}","size":{size},"part":2048,"parts":[null,null]}}"#
    );
    let written = objects.put(&journal, text, Keep::Not).await;
    written.expect("written");
    let entries = [(name, file(&dir.path().join("bootimage.iso"), &iso))];
    put(&mirror, 1, entries).await.expect("published");
    assert_eq!(failing.parts.load(Ordering::SeqCst), 4, "of {PART} bytes");
    let left = failing.uploads.lock().expect("alive").clone();
    assert_eq!(left, BTreeSet::new(), "no upload is left");
}

/// A publisher that dies between a large copy and the build does not have it copied again.
#[tokio::test]
async fn a_large_copy_that_is_there_is_not_made_again() {
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let mirror = sound(&bucket, &clock);
    let (iso, id) = (large(), sample_id(1));
    let (digest, size) = (digest_of(&iso), iso.len() as u64);
    let put = mirror.inner.objects.put("from", iso, Keep::ForEver);
    put.await.expect("put");
    let to = path("outputs/iso/bootimage.iso");
    let copied = mirror.inner.copy_large(&id, &to, "from", size, digest);
    assert!(copied.await.expect("copied"));
    let sent = mirror.inner.sent_large(&id, &to, size).await;
    assert_eq!(sent.expect("asked"), Some(digest));
}

#[tokio::test]
async fn a_source_that_changes_is_not_published() {
    let dir = tempdir().expect("a directory");
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let store = sound(&bucket, &clock);
    for size in [10, 1025] {
        let entry = file(&dir.path().join("file"), &vec![1; size]);
        fs::write(dir.path().join("file"), vec![1; size + 1]).expect("written");
        let published = put(&store, 1, [("outputs/file", entry)]).await;
        assert!(published.is_err(), "{size} bytes");
        assert!(store.record(&sample_id(1)).await.is_err());
    }
}

#[tokio::test]
async fn a_bucket_that_lost_a_file_gets_no_build() {
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let store = sound(&bucket, &clock);
    let id = sample_id(1);
    let writer = store.lock(&id.channel).await.expect("the lock");
    for (bytes, why) in [(Some("other"), "5 bytes"), (None, "0 of 1 file sent")] {
        let staged = writer.begin(id.date).await.expect("begun");
        let entry = Entry::Generated(Bytes::from_static(b"what was sent"));
        let added = staged.add(&path("outputs/CONTEXT"), &entry).await;
        added.expect("added");
        let name = Path::from(format!("mirror/{id}/outputs/CONTEXT"));
        match bytes {
            Some(bytes) => drop(bucket.put(&name, bytes.into()).await.expect("written")),
            None => bucket.delete(&name).await.expect("deleted"),
        }
        let record = BuildRecord::new(id.clone(), BuildOutcome::Success);
        let committed = staged.commit(record).await.expect_err("refused");
        assert!(committed.to_string().contains(why), "{committed}");
    }
}

/// As after a machine was suspended in mid-publish: all that it sent is there, and the channel is another's.
#[tokio::test]
async fn who_lost_the_lock_meanwhile_commits_nothing() {
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let (late, next) = (sound(&bucket, &clock), sound(&bucket, &clock));
    let id = sample_id(1);
    let writer = late.lock(&id.channel).await.expect("the lock");
    let staged = writer.begin(id.date).await.expect("begun");
    let entry = Entry::Generated(Bytes::from_static(b"day 1"));
    let added = staged.add(&path("outputs/CONTEXT"), &entry).await;
    added.expect("added");
    clock.outlive();
    let other = next.lock(&id.channel).await.expect("it ended");
    let record = BuildRecord::new(id.clone(), BuildOutcome::Success);
    let committed = staged.commit(record).await.expect_err("refused");
    assert!(
        matches!(committed, StoreError::Refused { .. }),
        "{committed}"
    );
    assert!(next.record(&id).await.is_err(), "nothing of it is seen");
    drop(other);
}

/// The other publisher has published the very build that this one put together.
#[tokio::test]
async fn who_lost_the_lock_meanwhile_writes_over_nothing() {
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let (late, next) = (sound(&bucket, &clock), sound(&bucket, &clock));
    let id = sample_id(1);
    let writer = late.lock(&id.channel).await.expect("the lock");
    let staged = writer.begin(id.date).await.expect("begun");
    let entry = Entry::Generated(Bytes::from_static(b"another"));
    let added = staged.add(&path("outputs/OTHER"), &entry).await;
    added.expect("added");
    clock.outlive();
    publish_day(&next, 1, BuildOutcome::Success, "day 1").await;
    let record = BuildRecord::new(id.clone(), BuildOutcome::Success);
    let committed = staged.commit(record).await.expect_err("refused");
    assert!(
        matches!(committed, StoreError::Refused { .. }),
        "{committed}"
    );
    let context = read_all(&next, &id, &path("outputs/CONTEXT"), 10_000).await;
    assert_eq!(context.expect("it is there"), b"day 1");
    let sums = sound(&bucket, &clock).sums(&id).await.expect("its sums");
    let other = sums
        .lines()
        .iter()
        .any(|it| it.path == path("outputs/OTHER"));
    assert!(!other, "these are the sums of the other build");
}

/// While one publisher plans, another one has the lock and gives it back.
#[tokio::test]
async fn a_lock_that_another_had_while_the_plan_was_made_is_free() {
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

/// A mark allows the next publisher to delete the files of a build without a record, as a retired one is.
#[tokio::test]
async fn who_lost_the_lock_before_the_build_began_marks_nothing() {
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

/// Who looked long ago creates a number that is free again, since others are past it.
#[tokio::test]
async fn a_generation_that_others_are_past_counts_for_nothing() {
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
async fn the_sums_are_those_of_a_directory() {
    let dir = tempdir().expect("a directory");
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let store = sound(&bucket, &clock);
    let local = stx_publish::LocalStore::create(dir.path().join("mirror")).expect("a mirror");
    for store in [&store as &dyn stx_publish::MirrorStore, &local] {
        let request = sample_request(1, BuildOutcome::Success, "day 1");
        let plan = prepare(store, request).await.expect("a plan");
        publish(store, &plan).await.expect("published");
    }
    let text = async |store: &dyn stx_publish::MirrorRead, name| {
        read_all(store, &sample_id(1), &path(name), 10_000)
            .await
            .expect("read")
    };
    for name in [Sums::FILE_NAME, BuildRecord::FILE_NAME] {
        assert_eq!(text(&store, name).await, text(&local, name).await, "{name}");
    }
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

#[tokio::test]
async fn what_did_not_change_is_not_read_again() {
    let dir = tempdir().expect("a directory");
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let store = sound(&bucket, &clock);
    let [image, other] = ["bootimage.iso", "other.iso"].map(|name| dir.path().join(name));
    let publish = async |day| {
        let entries = [
            ("outputs/iso/bootimage.iso", file_at(&image)),
            ("outputs/iso/other.iso", file_at(&other)),
        ];
        put(&store, day, entries).await.expect("published");
        let sums = store.sums(&sample_id(day)).await.expect("sums");
        let images = sums.lines().iter();
        let images = images.filter(|line| line.path.as_str().starts_with("outputs/iso/"));
        images.map(|line| line.digest).collect::<Vec<_>>()
    };
    let remember = async |stamp, text: &[u8]| {
        let hints = Hints::default();
        hints.keep(stamp, digest_of(text));
        write_hints(&store, hints.bytes().expect("bytes")).await;
    };
    fs::write(&image, b"an image").expect("written");
    fs::write(&other, b"sth else").expect("written");
    let (first, second) = (digest_of(b"an image"), digest_of(b"sth else"));
    std::thread::sleep(std::time::Duration::from_millis(3_100));
    assert_eq!(publish(1).await, [first, second]);
    let name = keys::inputs(&sample_id(1).channel);
    let written = store.inner.objects.get(&name).await.expect("an answer");
    let hints = Hints::parse(&written.expect("there").0);
    let stamp = |path: &Utf8Path| Stamp::at(path).expect("a file");
    assert_eq!(hints.digest(&stamp(&image)), Some(first));

    // Other bytes of the same number, and the time of modification put back.
    let modified = fs::metadata(&image).and_then(|it| it.modified());
    fs::write(&image, b"an IMAGE").expect("written");
    let opened = fs::OpenOptions::new().write(true).open(&image);
    let opened = opened.expect("a file").into_parts().0;
    opened.set_modified(modified.expect("a time")).expect("set");
    let changed = digest_of(b"an IMAGE");
    assert_eq!(publish(2).await, [changed, second]);

    // What is remembered is believed where the bucket has such bytes: nothing was read.
    remember(stamp(&other), b"an image").await;
    assert_eq!(publish(3).await, [changed, first]);
    remember(stamp(&other), b"nowhere!").await;
    assert_eq!(publish(4).await, [changed, second]);
    write_hints(&store, b"damaged".to_vec()).await;
    assert_eq!(publish(5).await, [changed, second]);
}

/// A file of the workspace as it is.
fn file_at(path: &Utf8Path) -> Entry {
    Entry::File {
        source: path.to_owned(),
        size: fs::metadata(path).expect("a file").len(),
        executable: false,
        digest: None,
    }
}

async fn write_hints(store: &BucketStore, bytes: Vec<u8>) {
    let name = keys::inputs(&sample_id(1).channel);
    let written = store.inner.objects.put(&name, bytes, Keep::Not).await;
    written.expect("written");
}

#[tokio::test]
async fn a_repository_keeps_the_build_s_own_groups() {
    let dir = tempdir().expect("a directory");
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let store = sound(&bucket, &clock);
    let (comps, package) = (b"<comps/>".as_slice(), b"no package".as_slice());
    let index = format!(
        "<repomd><data type=\"group\"><checksum type=\"sha256\">{}</checksum><location href=\"repodata/comps.xml\"/></data></repomd>",
        digest_of(comps)
    );
    let std = "outputs/RPMS/std";
    let mut incoming = Incoming::default();
    for (name, bytes) in [
        ("a.rpm", package),
        ("repodata/comps.xml", comps),
        ("repodata/repomd.xml", index.as_bytes()),
    ] {
        let entry = file(&dir.path().join(name.replace('/', "-")), bytes);
        incoming
            .entries
            .insert(path(&format!("{std}/{name}")), entry);
    }
    let carried = stx_publish::metadata::carry(&mut incoming).expect("read");
    let record = BuildRecord::new(sample_id(1), BuildOutcome::Success);
    let now = record.id.date.time() + TimeDelta::hours(5);
    let mut request = PublishRequest::new(
        record,
        Cleared::unsearched(incoming, "made for a test"),
        now,
    );
    request.carried = carried;
    let plan = prepare(&store, request).await.expect("a plan");
    let report = publish(&store, &plan).await.expect("published");
    let metadata = &report.metadata[&path(std)];
    assert_eq!(metadata.carried, ["group".to_owned()].into());
    assert!(metadata.unlisted.contains_key("a.rpm"), "{metadata:?}");
    let read = async |name: &str| {
        let file = path(&format!("{std}/repodata/{name}"));
        let bytes = read_all(&store, &sample_id(1), &file, 1 << 20).await;
        String::from_utf8(bytes.expect("there")).expect("UTF-8")
    };
    assert_eq!(read("comps.xml").await.as_bytes(), comps);
    let index = read("repomd.xml").await;
    assert_eq!(index.matches("<data type=").count(), 4, "{index}");
    assert!(index.contains("href=\"repodata/comps.xml\""), "{index}");
    let mut report = stx_publish::verify::VerifyReport::default();
    let verified = stx_publish::verify_repositories(&store, &Scope::All, &mut report).await;
    verified.expect("verified");
    let kinds: Vec<_> = report.findings.iter().map(|it| it.kind).collect();
    assert_eq!(kinds, [FindingKind::NotInRepodata]);
}
