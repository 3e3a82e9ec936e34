//! Files in transfer: those that are read and sent, those that the server copies, and large ones that are resumed.

use camino::Utf8Path;
use camino_tempfile::tempdir;
use fs_err as fs;

use super::files::{file, file_at, put};
use super::*;
use crate::objects::Keep;
use stx_publish::incoming::digest_of;
use stx_publish::ingest::{Hints, Stamp};

#[tokio::test]
async fn existing_bytes_are_copied_by_the_server() {
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
    // A file that only the sums of the other build list is sent.
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

/// Of equal files one is sent, small or large, whatever else is being sent; the server copies the others.
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
    // Another media type: the server copies the type too, so these files are sent.
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
    assert_eq!(counting.copies.load(Ordering::SeqCst), 39 + 2);
    let report = verify(&store, &Scope::All).await.expect("verified");
    assert_eq!(report.findings, []);
    for (name, bytes) in [("outputs/39.txt", vec![7; 500]), ("outputs/2.iso", iso)] {
        let read = read_all(&store, &sample_id(1), &path(name), 1 << 20).await;
        assert!(read.expect("read") == bytes, "{name}");
    }
}

#[tokio::test]
async fn an_unchanged_file_is_not_read_again() {
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

    // Different bytes of the same length, and the time of modification set back.
    let modified = fs::metadata(&image).and_then(|it| it.modified());
    fs::write(&image, b"an IMAGE").expect("written");
    let opened = fs::OpenOptions::new().write(true).open(&image);
    let opened = opened.expect("a file").into_parts().0;
    opened.set_modified(modified.expect("a time")).expect("set");
    let changed = digest_of(b"an IMAGE");
    assert_eq!(publish(2).await, [changed, second]);

    // Hints are trusted if the bucket has such bytes: nothing was read.
    remember(stamp(&other), b"an image").await;
    assert_eq!(publish(3).await, [changed, first]);
    remember(stamp(&other), b"nowhere!").await;
    assert_eq!(publish(4).await, [changed, second]);
    write_hints(&store, b"damaged".to_vec()).await;
    assert_eq!(publish(5).await, [changed, second]);
}

async fn write_hints(store: &BucketStore, bytes: Vec<u8>) {
    let name = keys::inputs(&sample_id(1).channel);
    let written = store.inner.objects.put(&name, bytes, Keep::Not).await;
    written.expect("written");
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
async fn an_interrupted_upload_of_a_large_file_is_resumed() {
    let dir = tempdir().expect("a directory");
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let iso = large();
    let image = dir.path().join("bootimage.iso");
    let entries = || [("outputs/iso/bootimage.iso", file(&image, &iso))];
    let parts = |failing: &Failing| failing.parts.load(Ordering::SeqCst);
    // Interrupted when the upload was to be completed.
    let mut failing = Failing::new(&bucket, Fault::Once, usize::MAX);
    failing.completes = false;
    let stopped = put(&store(Arc::new(failing.clone()), &clock), 1, entries()).await;
    assert!(stopped.is_err());
    assert_eq!(parts(&failing), 4);
    // `discard` aborted it; a publisher that is killed does not get that far.
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

/// The parts of a copy are larger than those of a file that is sent, so its upload is aborted and not resumed.
#[tokio::test]
async fn an_upload_does_not_reuse_the_parts_of_an_interrupted_copy() {
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

/// A publisher that dies between a large copy and the commit does not repeat the copy.
#[tokio::test]
async fn an_existing_large_copy_is_not_repeated() {
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
