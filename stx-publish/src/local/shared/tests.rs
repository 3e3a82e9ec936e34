//! Equal files are stored once, and the copy to share is found.

use std::io::Write as _;
use std::sync::{Arc, Mutex};

use camino::Utf8Path;
use fs_err as fs;
use rustix::io::Errno;
use stx_layout::Sums;

use super::super::LocalStore;
use super::super::tests::{mirror, put, request, tree};
use super::*;
use crate::conformance::sample_id;
use crate::ingest::Stamp;
use crate::publish::{prepare, publish};
use crate::store::{
    Audit, ChannelWriter, Found, MirrorRead as _, MirrorStore as _, Scope, StoreError,
};
use crate::verify::FindingKind::{AliasNotNewest, Changed, Leftover};
use crate::verify::verify;

/// The bytes of [`tree`].
const BYTES: u64 = 9 + 8 + 10;

/// The same mirror, and a counter of its steps of a kind.
fn counted(store: &LocalStore, kind: &'static str) -> (LocalStore, Arc<Mutex<usize>>) {
    let count = Arc::new(Mutex::new(0));
    let steps = Arc::clone(&count);
    let counted = store.clone().with_crash_point(Arc::new(move |step| {
        *steps.lock().expect("not poisoned") += usize::from(step == kind);
        Ok(())
    }));
    (counted, count)
}

async fn is_right(store: &LocalStore) {
    let report = verify(store, &Scope::All).await.expect("verified");
    assert_eq!(report.findings, []);
}

/// Publishes the `day`th build; returns the number of files that were read for it, and of bytes that were shared.
async fn reads(store: &LocalStore, day: u32, tree: &Utf8Path) -> (usize, u64) {
    let (store, count) = counted(store, "read");
    let report = put(&store, day, tree).await;
    let count = *count.lock().expect("not poisoned");
    (count, report.shared)
}

/// Writes other bytes of the same length and restores the time of modification.
fn rewrite(path: &Utf8Path, text: &str) {
    let before = fs::metadata(path).expect("a file");
    assert_eq!(before.size(), text.len() as u64);
    fs::write(path, text).expect("written");
    let file = fs::OpenOptions::new().write(true).open(path);
    let file = file.expect("a file");
    let modified = before.modified().expect("a time");
    file.file().set_modified(modified).expect("set");
}

#[tokio::test]
async fn an_unchanged_file_is_not_read_again() {
    let (dir, store) = mirror();
    let tree = tree(dir.path());
    let image = tree.join("outputs/iso/bootimage.iso");
    let published = |day| {
        let build = store.inner.build_dir(&sample_id(day));
        fs::read_to_string(build.join("outputs/iso/bootimage.iso")).expect("a file")
    };
    std::thread::sleep(std::time::Duration::from_millis(3_100));
    assert_eq!(reads(&store, 1, &tree).await, (3, 0));
    assert_eq!(reads(&store, 2, &tree).await, (0, BYTES));

    rewrite(&image, "an IMAGE");
    assert_eq!(reads(&store, 3, &tree).await, (1, BYTES - 8));
    assert_eq!(published(3), "an IMAGE");
    // Too fresh to be remembered: another write could have left the same times.
    assert_eq!(reads(&store, 4, &tree).await, (1, BYTES));

    let cache = store.inner.channel_cache(&sample_id(1).channel, "inputs");
    fs::write(&cache, "damaged").expect("written");
    assert_eq!(reads(&store, 5, &tree).await, (3, BYTES));
    assert_eq!(reads(&store, 6, &tree).await.0, 1, "the image at most");
    fs::remove_dir_all(store.root().join(".stx/cache")).expect("removed");
    assert_eq!(reads(&store, 7, &tree).await, (3, BYTES));
    is_right(&store).await;
}

#[tokio::test]
async fn a_hint_never_names_bytes_that_the_mirror_lacks() {
    let (dir, store) = mirror();
    let tree = tree(dir.path());
    std::thread::sleep(std::time::Duration::from_millis(3_100));
    reads(&store, 1, &tree).await;
    fs::rename(store.root(), dir.path().join("old")).expect("moved");
    let store = LocalStore::create(store.root())
        .expect("a mirror")
        .with_metadata(Arc::clone(&store.inner.metadata));
    let cache = Utf8Path::new(".stx/cache/master/centos");
    fs::create_dir_all(store.root().join(cache)).expect("made");
    for name in fs::read_dir(dir.path().join("old").join(cache)).expect("a cache") {
        let name = name.expect("an entry");
        let to = store.root().join(cache);
        fs::copy(name.path(), to.as_std_path().join(name.file_name())).expect("copied");
    }
    assert_eq!(reads(&store, 2, &tree).await, (3, 0));
    is_right(&store).await;
}

#[tokio::test]
async fn a_file_that_was_damaged_after_its_publication_is_not_shared() {
    let (dir, store) = mirror();
    let tree = tree(dir.path());
    let image = "outputs/iso/bootimage.iso";
    put(&store, 1, &tree).await;
    put(&store, 2, &tree).await;
    let stored = store.inner.build_dir(&sample_id(1)).join(image);
    // Both builds have this file; its size and mode stay the same.
    let file = fs::OpenOptions::new().write(true).open(&stored);
    file.and_then(|mut file| file.write_all(b"AN"))
        .expect("written");
    let report = put(&store, 3, &tree).await;
    assert_eq!(report.shared, BYTES - 8);
    let published = |day| fs::read(store.inner.build_dir(&sample_id(day)).join(image));
    assert_eq!(published(2).expect("a file"), b"AN image");
    assert_eq!(published(3).expect("a file"), b"an image");
    // The next build shares the whole file of the newest one.
    assert_eq!(put(&store, 4, &tree).await.shared, BYTES);
    let report = verify(&store, &Scope::All).await.expect("verified");
    let mut damaged: Vec<_> = report
        .findings
        .into_iter()
        .map(|found| found.build)
        .collect();
    damaged.dedup();
    assert_eq!(damaged, [1, 2].map(|day| Some(sample_id(day))));
}

#[tokio::test]
async fn a_file_that_cannot_be_linked_is_copied() {
    for error in [Errno::MLINK, Errno::XDEV, Errno::NOENT, Errno::PERM] {
        let (dir, store) = mirror();
        let tree = tree(dir.path());
        put(&store, 1, &tree).await;
        let refusing = store.clone().with_crash_point(Arc::new(move |step| {
            if step == "link" {
                Err(error.into())
            } else {
                Ok(())
            }
        }));
        let report = put(&refusing, 2, &tree).await;
        assert!(
            report.shared == 0 || report.shared == BYTES,
            "cloned or copied"
        );
        is_right(&store).await;
        let inode = |day| {
            let build = store.inner.build_dir(&sample_id(day));
            let image = build.join("outputs/iso/bootimage.iso");
            fs::metadata(image).expect("a file").ino()
        };
        assert_ne!(inode(1), inode(2), "{error}");
        // From then on, the copy of the newest build is linked.
        assert_eq!(put(&store, 3, &tree).await.shared, BYTES);
        assert_eq!(inode(2), inode(3), "{error}");
    }
}

#[tokio::test]
async fn a_file_of_a_build_retired_meanwhile_is_taken_from_another_build() {
    let (dir, store) = mirror();
    let tree = tree(dir.path());
    for day in 1..=3 {
        put(&store, day, &tree).await;
    }
    let plan = prepare(&store, request(4, &tree)).await.expect("a plan");
    // All builds but the oldest are removed between the listing of the builds and the first link.
    let inner = Arc::clone(&store.inner);
    let retiring = store.clone().with_crash_point(Arc::new(move |step| {
        if step == "add" {
            for day in 2..=3 {
                drop(fs::remove_dir_all(inner.build_dir(&sample_id(day))));
            }
        }
        Ok(())
    }));
    let report = publish(&retiring, &plan).await.expect("published");
    assert_eq!(report.shared, BYTES);
}

#[tokio::test]
async fn bytes_are_shared_across_channels_and_names() {
    let (dir, store) = mirror();
    let tree = tree(dir.path());
    put(&store, 1, &tree).await;
    fs::rename(
        tree.join("outputs/RPMS/std/a.rpm"),
        tree.join("outputs/RPMS/std/b.rpm"),
    )
    .expect("renamed");
    let mut request = request(2, &tree);
    request.record.id = "feature/x/debian/20181102T060000Z"
        .parse()
        .expect("a build");
    let plan = prepare(&store, request).await.expect("a plan");
    let report = publish(&store, &plan).await.expect("published");
    assert_eq!(report.shared, BYTES);
    is_right(&store).await;
}

/// The index knows the sums that the build of another channel had; its files are other ones now, of the same names and sizes.
#[tokio::test]
async fn nothing_is_shared_with_a_build_that_was_replaced_by_hand() {
    let (dir, store) = mirror();
    let tree = tree(dir.path());
    put(&store, 1, &tree).await;
    let elsewhere = async |date: &str| {
        let mut request = request(2, &tree);
        let id = format!("feature/x/debian/{date}T060000Z");
        request.record.id = id.parse().expect("a build");
        request.now = request.record.id.date.time();
        let plan = prepare(&store, request).await.expect("a plan");
        publish(&store, &plan).await.expect("published").shared
    };
    assert_eq!(elsewhere("20181102").await, BYTES);
    let replaced = store.inner.build_dir(&sample_id(1));
    let image = replaced.join("outputs/iso/bootimage.iso");
    fs::remove_file(&image).expect("removed");
    fs::write(&image, "no image").expect("written");
    fs::remove_dir_all(replaced.join("outputs/RPMS")).expect("removed");
    let sums = replaced.join(Sums::FILE_NAME);
    let text = fs::read_to_string(&sums).expect("sums");
    fs::remove_file(&sums).expect("removed");
    fs::write(&sums, text.replace("bootimage.iso", "bootimage.old")).expect("written");
    fs::remove_dir_all(store.inner.root.join("feature/x/debian/20181102T060000Z"))
        .expect("removed");
    assert_eq!(elsewhere("20181103").await, 0, "no build has these files");
    assert_eq!(elsewhere("20181104").await, BYTES);
    // A publish to its own channel reads its new sums.
    put(&store, 3, &tree).await;
    let other = "feature/y/debian".parse().expect("a channel");
    let shared = Shared::new(Arc::clone(&store.inner), other);
    let builds = &shared.others().builds;
    assert_eq!(builds.len(), 4);
    assert!((0..4).all(|build| shared.others().is_current(build)));
}

/// Adds files with the same 5,000 bytes to a tree, every third of them executable.
fn add_equal(tree: &Utf8Path, count: u32) {
    for number in 0..count {
        let path = tree.join(format!("outputs/logs/{number}.bin"));
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(&path, [7; 5_000]).expect("written");
        let mode = if number % 3 == 0 { 0o755 } else { 0o644 };
        fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
    }
}

/// The inodes of the files that [`add_equal`] added.
fn inodes(store: &LocalStore, day: u32) -> std::collections::BTreeSet<u64> {
    let logs = store.inner.build_dir(&sample_id(day)).join("outputs/logs");
    let files = fs::read_dir(logs).expect("a directory");
    let inode = |file: io::Result<fs::DirEntry>| {
        let file = file.expect("an entry").path();
        fs::metadata(file).expect("a file").ino()
    };
    files.map(inode).collect()
}

#[tokio::test]
async fn equal_files_of_one_build_are_stored_once() {
    let (dir, store) = mirror();
    let tree = tree(dir.path());
    add_equal(&tree, 60);
    assert_eq!(put(&store, 1, &tree).await.shared, 58 * 5_000);
    assert_eq!(inodes(&store, 1).len(), 2, "one for each mode");
    is_right(&store).await;
    // The next build shares all of them, and so does one in which they have other names.
    let all = BYTES + 60 * 5_000;
    assert_eq!(put(&store, 2, &tree).await.shared, all);
    fs::rename(tree.join("outputs/logs"), tree.join("outputs/moved")).expect("moved");
    fs::rename(tree.join("outputs/moved"), tree.join("outputs/logs")).expect("moved");
    assert_eq!(put(&store, 3, &tree).await.shared, all);
    assert_eq!(inodes(&store, 1), inodes(&store, 3));
    // Nothing is shared with the workspace, so a write there does not change a build.
    fs::write(tree.join("outputs/logs/0.bin"), [8; 5_000]).expect("written");
    is_right(&store).await;
}

/// File systems limit the number of links of a file: when a twin has them all, the next file becomes the twin.
#[tokio::test]
async fn a_file_with_the_maximum_number_of_links_is_stored_again() {
    let (dir, store) = mirror();
    let tree = tree(dir.path());
    add_equal(&tree, 40);
    let links = Mutex::new(0);
    let full = store.clone().with_crash_point(Arc::new(move |step| {
        let mut links = links.lock().expect("not poisoned");
        *links += u32::from(step == "link");
        if step == "link" && links.is_multiple_of(10) {
            Err(Errno::MLINK.into())
        } else {
            Ok(())
        }
    }));
    put(&full, 1, &tree).await;
    let stored = inodes(&store, 1).len();
    assert!((3..20).contains(&stored), "{stored} of 40 are stored");
    is_right(&store).await;
}

#[tokio::test]
async fn the_candidates_among_equal_files_are_chosen_once() {
    let (dir, store) = mirror();
    let tree = tree(dir.path());
    add_equal(&tree, 300);
    put(&store, 1, &tree).await;
    let shared = Shared::new(Arc::clone(&store.inner), sample_id(2).channel);
    let digest = crate::incoming::digest_of(&[7; 5_000]);
    let tried = shared.own.equal(&digest);
    assert_eq!(tried.len(), TRIED);
    assert!(std::ptr::eq(tried, shared.own.equal(&digest)));
    assert_eq!(shared.size(&digest), Some(5_000));
}

/// 64 MiB of which 12 bytes are data.
fn sparse(path: &Utf8Path) -> Sha256 {
    const SIZE: u64 = 64 << 20;
    fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    let file = fs::File::create(path).expect("made").into_parts().0;
    let write = |text: &[u8], at| std::os::unix::fs::FileExt::write_all_at(&file, text, at);
    write(b"an imag", 5 << 20).expect("written");
    write(b"e dis", (40 << 20) + 4_093).expect("written");
    file.set_len(SIZE).expect("long");
    assert!(file.metadata().expect("a file").blocks() < 100);
    crate::ingest::hash_file(path).expect("hashed").0
}

#[tokio::test]
async fn a_sparse_file_keeps_its_holes_and_its_zeros_count() {
    let (dir, store) = mirror();
    let tree = tree(dir.path());
    let path: BuildPath = "outputs/iso/disk.img".parse().expect("a path");
    let digest = sparse(&tree.join(path.as_path()));
    put(&store, 1, &tree).await;
    let published = fs::metadata(store.inner.build_dir(&sample_id(1)).join(path.as_path()));
    let published = published.expect("a file");
    assert_eq!(published.size(), 64 << 20);
    assert!(published.blocks() < 100, "{} blocks", published.blocks());
    let sums = store.sums(&sample_id(1)).await.expect("sums");
    assert_eq!(sums.get(&path), Some(digest));
    is_right(&store).await;
}

#[tokio::test]
async fn a_crash_at_any_step_of_linking_and_copying_leaves_no_partial_build() {
    for at in 0.. {
        let (dir, store) = mirror();
        let tree = tree(dir.path());
        add_equal(&tree, 4);
        put(&store, 1, &tree).await;
        rewrite(&tree.join("outputs/iso/bootimage.iso"), "an IMAGE");
        let steps = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&steps);
        let crashing = store.clone().with_crash_point(Arc::new(move |step| {
            let mut seen = seen.lock().expect("not poisoned");
            seen.push(step);
            if seen.len() > at {
                Err(io::Error::other(step))
            } else {
                Ok(())
            }
        }));
        let plan = prepare(&store, request(2, &tree)).await.expect("a plan");
        let done = publish(&crashing, &plan).await;
        let report = verify(&store, &Scope::All).await.expect("verified");
        for finding in report.findings {
            let kind = finding.kind;
            assert!(
                matches!(kind, Leftover | AliasNotNewest),
                "step {at}: {finding}"
            );
        }
        put(&store, 2, &tree).await;
        is_right(&store).await;
        let steps = steps.lock().expect("not poisoned");
        if steps.len() <= at {
            done.expect("published");
            for step in ["read", "link"] {
                assert!(steps.contains(&step), "{steps:?}");
            }
            break;
        }
    }
}

#[tokio::test]
async fn a_damaged_inode_is_reported_in_each_build_and_each_run() {
    let (dir, store) = mirror();
    let tree = tree(dir.path());
    for day in 1..=3 {
        put(&store, day, &tree).await;
    }
    let image = |day| {
        let build = store.inner.build_dir(&sample_id(day));
        build.join("outputs/iso/bootimage.iso")
    };
    // One inode: its damage is found in each build, in each run.
    fs::write(image(1), "an IMAGE").expect("written");
    for _ in 0..2 {
        let report = verify(&store, &Scope::All).await.expect("verified");
        let kinds: Vec<_> = report.findings.iter().map(|found| found.kind).collect();
        // The image, and the symlink to it.
        assert_eq!(kinds, [Changed; 6]);
    }
    fs::write(image(1), "an image").expect("written");
    is_right(&store).await;
}

#[tokio::test]
async fn an_inode_is_read_once_per_run() {
    let (dir, store) = mirror();
    let tree = tree(dir.path());
    for day in 1..=2 {
        put(&store, day, &tree).await;
    }
    let path: BuildPath = "outputs/iso/bootimage.iso".parse().expect("a path");
    let file = store.inner.build_dir(&sample_id(1)).join(path.as_path());
    let run = Audit::default();
    let digest = async |day| {
        let inspection = store.audit(&sample_id(day), &run).await.expect("audited");
        let Some(Found::File { digest, .. }) = inspection.found.get(&path) else {
            panic!("{inspection:?}")
        };
        digest.clone().expect("a digest").expect("readable")
    };
    let right = digest(1).await;
    let stored = Stamp::at(&file).expect("a file").file();
    assert_eq!(run.digest(&stored), Some(right));
    // If the second build were read, its own digest would be found.
    run.note(stored, Sha256([7; 32]));
    assert_eq!(digest(2).await, Sha256([7; 32]));
    // Another run has not read it.
    is_right(&store).await;
}

#[tokio::test]
async fn a_build_is_purged_with_all_its_files() {
    let (dir, store) = mirror();
    let tree = tree(dir.path());
    put(&store, 1, &tree).await;
    put(&store, 2, &tree).await;
    let id = sample_id(1);
    let writer: Box<dyn ChannelWriter> = store.lock(&id.channel).await.expect("the lock");
    let retired = writer.retire(id.date, id.date.time()).await.expect("gone");
    writer.purge(&retired).await.expect("purged");
    let again = writer.purge(&retired).await;
    assert!(matches!(again, Err(StoreError::NotFound { .. })));
    let trash = fs::read_dir(store.inner.trash(&id.channel)).expect("a directory");
    assert_eq!(trash.count(), 0);
    is_right(&store).await;
}
