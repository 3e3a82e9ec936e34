use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Stdio;

use camino_tempfile::{Utf8TempDir, tempdir};
use stx_layout::{BuildDate, BuildOutcome, BuildRecord};

use super::*;
use crate::Cleared;
use crate::conformance::{sample_id, sample_request};
use crate::metadata::{CreaterepoC, Indexed};
use crate::plan::PublishRequest;
use crate::publish::{PublishError, prepare, publish};
use crate::scan::scan;
use crate::verify::{FindingKind, repair, verify};

#[derive(Debug)]
struct FakeMetadata;

#[async_trait]
impl RepoMetadata for FakeMetadata {
    async fn index(&self, dir: &Utf8Path, date: BuildDate, _: File) -> Result<Indexed, StoreError> {
        fs::create_dir(dir.join("repodata")).map_err(io_error("make", dir))?;
        fs::write(dir.join("repodata/repomd.xml"), date.to_string())
            .map_err(io_error("write", dir))?;
        Ok(Indexed::default())
    }
}

pub(super) fn mirror() -> (Utf8TempDir, LocalStore) {
    let dir = tempdir().expect("a directory");
    let store = LocalStore::create(dir.path().join("mirror"))
        .expect("a mirror")
        .with_metadata(Arc::new(FakeMetadata));
    (dir, store)
}

/// A finished tree with a package, an image and a script.
pub(super) fn tree(dir: &Utf8Path) -> Utf8PathBuf {
    let tree = dir.join("tree");
    for (path, text) in [
        ("outputs/RPMS/std/a.rpm", "a package"),
        ("outputs/iso/bootimage.iso", "an image"),
        ("outputs/run.sh", "#!/bin/sh\n"),
    ] {
        fs::create_dir_all(tree.join(path).parent().expect("a parent")).expect("made");
        fs::write(tree.join(path), text).expect("written");
    }
    fs::set_permissions(
        tree.join("outputs/run.sh"),
        std::fs::Permissions::from_mode(0o700),
    )
    .expect("set");
    fs::os::unix::fs::symlink("bootimage.iso", tree.join("outputs/iso/latest.iso")).expect("made");
    tree
}

pub(super) fn request(day: u32, tree: &Utf8Path) -> PublishRequest {
    let id = sample_id(day);
    let now = id.date.time();
    PublishRequest::new(
        BuildRecord::new(id, BuildOutcome::Success),
        Cleared::unsearched(scan(tree).expect("scanned"), "made for a test"),
        now,
    )
}

pub(super) async fn put(store: &LocalStore, day: u32, tree: &Utf8Path) -> crate::PublishReport {
    let plan = prepare(store, request(day, tree)).await.expect("a plan");
    publish(store, &plan).await.expect("published")
}

#[tokio::test]
async fn conforms() {
    let (_dir, store) = mirror();
    crate::conformance::run(&store).await;
    let (_dir, store) = mirror();
    let store = store.with_seal(crate::conformance::test_seal());
    crate::conformance::sealed(&store).await;
}

#[tokio::test]
#[expect(clippy::disallowed_types, reason = "the real sha256sum reads the sums")]
async fn a_tree_is_published_with_modes_sums_and_shared_bytes() {
    let (dir, store) = mirror();
    let tree = tree(dir.path());
    let report = put(&store, 1, &tree).await;
    assert_eq!(report.shared, 0);
    let first = store.inner.build_dir(&sample_id(1));
    let mode = |path: &str| fs::metadata(first.join(path)).expect("there").mode() & 0o7777;
    let modes = [
        ".",
        "outputs/RPMS/std/repodata",
        "outputs/run.sh",
        "outputs/iso/bootimage.iso",
        "SHA256SUMS",
        "build.json",
    ]
    .map(mode);
    assert_eq!(modes, [0o755, 0o755, 0o755, 0o644, 0o644, 0o644]);
    assert_eq!(
        fs::metadata(store.root().join(".stx"))
            .expect("there")
            .mode()
            & 0o7777,
        0o700
    );
    let inode = |path: Utf8PathBuf| fs::metadata(path).expect("there").ino();
    assert_ne!(
        inode(first.join("outputs/run.sh")),
        inode(tree.join("outputs/run.sh")),
        "never the workspace's inode"
    );

    let checked = tokio::process::Command::new("sha256sum")
        .args(["--quiet", "--strict", "-c", "SHA256SUMS"])
        .current_dir(&first)
        .stdin(Stdio::null())
        .status();
    assert!(checked.await.expect("sha256sum of coreutils").success());
    assert_eq!(
        fs::read_link(store.root().join("master/centos/latest_build")).expect("a link"),
        Utf8Path::new("20181101T060000Z")
    );

    let again = prepare(&store, request(1, &tree)).await.expect("a plan");
    assert!(again.is_noop(), "{again}");
    let second = put(&store, 2, &tree).await;
    assert_eq!(second.shared, 9 + 8 + 10);
    let second = store.inner.build_dir(&sample_id(2));
    assert_eq!(
        inode(first.join("outputs/iso/bootimage.iso")),
        inode(second.join("outputs/iso/bootimage.iso"))
    );
    fs::rename(
        tree.join("outputs/iso/bootimage.iso"),
        tree.join("outputs/iso/latest.iso"),
    )
    .expect("renamed");
    let third = put(&store, 3, &tree).await;
    assert_eq!(
        third.shared,
        9 + 8 + 10,
        "the same bytes under another name"
    );
    assert_eq!(
        verify(&store, &Scope::All)
            .await
            .expect("verified")
            .findings,
        []
    );
}

#[tokio::test]
async fn a_source_that_changed_since_the_scan_stops_the_publish() {
    let (dir, store) = mirror();
    let tree = tree(dir.path());
    let plan = prepare(&store, request(1, &tree)).await.expect("a plan");
    fs::write(tree.join("outputs/run.sh"), "longer than it was before\n").expect("written");
    let error = publish(&store, &plan).await.expect_err("stopped");
    assert!(
        matches!(
            error,
            PublishError::NotPublished {
                source: StoreError::Changed { .. },
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        store
            .catalog(&Scope::All)
            .await
            .expect("a catalog")
            .channels
            .is_empty()
    );
    assert_eq!(store.leftovers(&Scope::All).await.expect("a list"), []);
}

#[tokio::test]
async fn a_missing_createrepo_names_its_packages() {
    let (dir, store) = mirror();
    let store = store.with_metadata(Arc::new(CreaterepoC::with_program("no-such-createrepo")));
    let plan = prepare(&store, request(1, &tree(dir.path())))
        .await
        .expect("a plan");
    let error = publish(&store, &plan).await.expect_err("stopped");
    let PublishError::Metadata {
        source: source @ StoreError::MissingTool { .. },
        ..
    } = error
    else {
        panic!("{error:?}")
    };
    insta::assert_snapshot!(source, @"no-such-createrepo: not installed; it comes with the package createrepo-c (apt) or createrepo_c (dnf)");
}

#[tokio::test]
async fn manual_changes_of_a_build_are_found() {
    let (dir, store) = mirror();
    put(&store, 1, &tree(dir.path())).await;
    let build = store.inner.build_dir(&sample_id(1));
    fs::set_permissions(
        build.join("outputs/run.sh"),
        std::fs::Permissions::from_mode(0o600),
    )
    .expect("set");
    fs::set_permissions(
        build.join("outputs/iso"),
        std::fs::Permissions::from_mode(0o700),
    )
    .expect("set");
    fs::write(build.join("outputs/a\\b"), "").expect("written");
    fs::os::unix::fs::symlink("/etc/passwd", build.join("outputs/secret")).expect("made");
    fs::write(store.root().join("master/centos/stray"), "").expect("written");
    fs::create_dir(store.root().join("master/centos/20181102T060000Z")).expect("made");
    fs::create_dir_all(
        store
            .root()
            .join(".stx/staging/master/centos/20181103T060000Z/outputs"),
    )
    .expect("made");
    let latest = store.root().join("master/centos/latest_build");
    fs::remove_file(&latest).expect("removed");
    fs::os::unix::fs::symlink(&build, &latest).expect("made");

    let id = sample_id(1);
    let escape = store
        .read(&id, &"outputs/secret".parse().expect("a path"), 0)
        .await;
    assert!(
        matches!(escape, Err(StoreError::Refused { .. })),
        "{escape:?}"
    );
    let report = verify(&store, &Scope::All).await.expect("verified");
    let kinds: BTreeSet<_> = report.findings.iter().map(|finding| finding.kind).collect();
    for kind in [
        FindingKind::WrongMode,
        FindingKind::Unreadable,
        FindingKind::BadLink,
        FindingKind::Stray,
        FindingKind::RecordUnreadable,
        FindingKind::SumsUnreadable,
        FindingKind::Leftover,
        FindingKind::AliasMalformed,
    ] {
        assert!(kinds.contains(&kind), "{kind:?} in {report}");
    }
    let repaired = repair(&store, &report).await.expect("repaired");
    assert_eq!((repaired.aliases.len(), repaired.swept.len()), (1, 1));
    assert_eq!(
        fs::read_link(&latest).expect("a link"),
        Utf8Path::new("20181101T060000Z")
    );
}

#[tokio::test]
async fn a_lock_excludes_every_other_opening_of_the_mirror() {
    let (_dir, store) = mirror();
    let channel = sample_id(1).channel;
    let other = LocalStore::open(store.root()).expect("a mirror");
    let writer = store.lock(&channel).await.expect("the lock");
    let busy = other.lock(&channel).await;
    assert!(matches!(busy, Err(StoreError::Busy { .. })), "{busy:?}");
    drop(writer);
    drop(other.lock(&channel).await.expect("free again"));
}

#[test]
fn a_mirror_that_does_not_exist_is_not_opened() {
    let dir = tempdir().expect("a directory");
    assert!(matches!(
        LocalStore::open(dir.path().join("none")),
        Err(StoreError::NotFound { .. })
    ));
}

#[tokio::test]
async fn channels_with_layers_are_listed() {
    let (_dir, store) = mirror();
    let layer: BuildId = "release/11.0.0/debian/bullseye/amd64/flock/20181101T060000Z"
        .parse()
        .expect("a build");
    for id in [layer.clone(), sample_id(1)] {
        let mut request = sample_request(1, BuildOutcome::Success, "x");
        request.record.id = id;
        let plan = prepare(&store, request).await.expect("a plan");
        publish(&store, &plan).await.expect("published");
    }
    fs::os::unix::fs::symlink("release/11.0.0", store.root().join("r11.0.0")).expect("made");
    let catalog = store.catalog(&Scope::All).await.expect("a catalog");
    let ids: Vec<_> = catalog.builds().map(|(id, _)| id).collect();
    assert_eq!(ids, [sample_id(1), layer]);
}

#[tokio::test]
async fn createrepo_c_gives_the_same_metadata_twice() {
    let dir = tempdir().expect("a directory");
    let index = async |name: &str| {
        let repository = dir.path().join(name);
        fs::create_dir(&repository).expect("made");
        let indexed = CreaterepoC::new()
            .index(
                &repository,
                sample_id(1).date,
                fs::File::open("/dev/null")
                    .expect("it is there")
                    .into_parts()
                    .0,
            )
            .await;
        indexed.expect("createrepo_c of the package createrepo-c");
        fs::read_to_string(repository.join("repodata/repomd.xml")).expect("written")
    };
    let first = index("first").await;
    assert_eq!(first, index("second").await);
    assert!(
        first.contains(&format!(
            "<revision>{}</revision>",
            sample_id(1).date.time().timestamp()
        )),
        "{first}"
    );
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "children that are being started hold copies of open files"
)]
async fn a_lock_ends_with_its_writer_although_processes_are_being_started() {
    let (_dir, store) = mirror();
    let channel = sample_id(1).channel;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let starters: Vec<_> = (0..4)
        .map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    // With a variable set, starting a program forks, as starting a phase or `createrepo_c` does.
                    let mut child = std::process::Command::new("true");
                    drop(child.env("STX", "1").current_dir("/").status());
                }
            })
        })
        .collect();
    let mut busy = 0;
    for _ in 0..300 {
        busy += usize::from(store.lock(&channel).await.is_err());
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for starter in starters {
        starter.join().expect("a thread");
    }
    assert_eq!(busy, 0, "of 300 locks");
}

/// Two names, or two targets, that differ only in bytes that are not UTF-8 are never treated as equal.
#[tokio::test]
async fn a_name_that_is_not_utf_8_is_shown_by_its_bytes() {
    let (dir, store) = mirror();
    let tree = tree(dir.path());
    put(&store, 1, &tree).await;
    let id = sample_id(1);
    let root = dir.path().join("mirror");
    let odd = std::ffi::OsStr::from_bytes(b"caf\xe9");
    fs::create_dir(root.join(id.channel.to_string()).as_std_path().join(odd)).expect("made");
    let catalog = store.catalog(&Scope::All).await.expect("a catalog");
    assert_eq!(catalog.channels[&id.channel].strays, ["caf\\xe9"]);

    let outputs = root.join(id.to_string()).join("outputs");
    fs::write(outputs.join("caf\u{fffd}"), "").expect("written");
    fs::os::unix::fs::symlink(odd, outputs.join("link")).expect("linked");
    let found = store.inspect(&id, Depth::Listing).await.expect("looked at");
    let link = (
        "outputs/link".to_owned(),
        "the target of the symlink is not UTF-8".to_owned(),
    );
    assert!(found.unreadable.contains(&link), "{:?}", found.unreadable);
}

#[tokio::test]
async fn a_directory_at_the_path_of_a_page_is_not_replaced() {
    let (dir, store) = mirror();
    let page = PageId {
        channel: None,
        name: crate::index::PageName::IndexHtml,
    };
    let there = dir.path().join("mirror").join(page.path());
    fs::create_dir(&there).expect("made");
    assert_eq!(store.page(&page).await.expect("no page"), None);
    let pages = store.lock_pages().await.expect("a lock");
    let refused = pages.write(&page, Bytes::new()).await.expect_err("refused");
    assert!(
        matches!(refused, StoreError::Refused { .. })
            && refused.to_string().contains(there.as_str()),
        "{refused}"
    );
    assert!(there.is_dir());
}
