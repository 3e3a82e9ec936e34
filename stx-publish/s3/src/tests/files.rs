//! Files of a build as objects: their properties, sums and metadata, and incomplete builds.

use bytes::Bytes;
use camino::Utf8Path;
use camino_tempfile::tempdir;
use fs_err as fs;
use object_store::{Attribute, ObjectStoreExt as _};
use stx_layout::{BuildRecord, Sums};

use super::*;
use stx_publish::Cleared;
use stx_publish::incoming::{Entry, Incoming, digest_of};
use stx_publish::plan::PublishRequest;
use stx_publish::publish::PublishReport;
use stx_publish::store::{Depth, Found, StagedBuild, read_all};
use stx_publish::verify::FindingKind;

/// A file of the workspace, with these bytes.
pub(super) fn file(path: &Utf8Path, bytes: &[u8]) -> Entry {
    fs::write(path, bytes).expect("written");
    file_at(path)
}

/// An existing file of the workspace.
pub(super) fn file_at(path: &Utf8Path) -> Entry {
    Entry::File {
        source: path.to_owned(),
        size: fs::metadata(path).expect("a file").len(),
        executable: path.extension() == Some("sh"),
        digest: None,
    }
}

fn link(target: &str) -> Entry {
    Entry::Symlink {
        target: target.to_owned(),
    }
}

/// A request to publish these files as the build of a day.
fn request(day: u32, incoming: Incoming) -> PublishRequest {
    let id = sample_id(day);
    let now = id.date.time() + TimeDelta::hours(5);
    let record = BuildRecord::new(id, BuildOutcome::Success);
    let incoming = Cleared::unsearched(incoming, "made for a test");
    PublishRequest::new(record, incoming, now)
}

pub(super) async fn put(
    store: &BucketStore,
    day: u32,
    entries: impl IntoIterator<Item = (&str, Entry)>,
) -> std::result::Result<PublishReport, stx_publish::publish::PublishError> {
    let entries = entries.into_iter().map(|(name, entry)| (path(name), entry));
    let incoming = Incoming {
        entries: entries.collect(),
    };
    let plan = prepare(store, request(day, incoming)).await;
    publish(store, &plan.expect("a plan")).await
}

/// Begins the build of day 1 and sends one file of it. The build holds the lock of its channel.
pub(super) async fn begun(
    store: &BucketStore,
    name: &str,
    text: &'static str,
) -> Box<dyn StagedBuild> {
    let id = sample_id(1);
    let writer = store.lock(&id.channel).await.expect("the lock");
    let staged = writer.begin(id.date).await.expect("begun");
    let entry = Entry::Generated(Bytes::from_static(text.as_bytes()));
    staged.add(&path(name), &entry).await.expect("added");
    staged
}

/// The record of one build was removed by hand; another build is in the trash, and a third is being made.
#[tokio::test]
async fn a_build_that_lost_its_record_is_named() {
    let (bucket, clock) = (Arc::new(InMemory::new()), TestClock::default());
    let store = sound(&bucket, &clock);
    for day in [2, 3, 4] {
        publish_day(&store, day, BuildOutcome::Success, "day").await;
    }
    let writer = store.lock(&sample_id(2).channel).await.expect("the lock");
    let retired = writer
        .retire(sample_id(2).date, sample_id(9).date.time())
        .await;
    drop((retired.expect("retired"), writer));
    let staged = begun(&store, "outputs/CONTEXT", "day 1").await;
    assert_eq!(store.strays().await.expect("listed"), [""; 0]);
    let record = keys::record(&sample_id(3));
    let removed = store.inner.objects.delete([record]).await;
    removed.expect("removed");
    let report = verify(&store, &Scope::All).await.expect("verified");
    let lost = sample_id(3).to_string();
    let mut found = report.findings.iter();
    assert!(found.any(|it| it.path.as_ref() == Some(&lost) && it.message.contains("build.json")));
    drop(staged);
}

#[tokio::test]
async fn symlinks_and_modes_are_stored_beside_the_objects() {
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
    // Symlinks lead to the files, as in a directory; a reader over plain HTTP finds a copy at the link's own path.
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

    // A copy that differs from the symlink's target misleads such readers, so it is reported.
    bucket.put(&copy, "another!".into()).await.expect("written");
    let report = verify(&store, &Scope::All).await.expect("verified");
    let wrong: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].contains("outputs/iso/latest.iso: "), "{wrong:?}");
}

#[tokio::test]
async fn the_sums_equal_those_of_a_directory() {
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
    let mut request = request(1, incoming);
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
    for (bytes, why) in [(Some("other"), "5 bytes"), (None, "0 of 1 file sent")] {
        let staged = begun(&store, "outputs/CONTEXT", "what was sent").await;
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
