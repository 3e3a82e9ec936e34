//! A mirror in a directory: reading it, publishing to it, and the largest number of links to one file.

use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use stx_layout::{BuildId, SumLine, Sums};
use stx_publish::{Added, Entry, LocalStore, MirrorRead as _, MirrorStore as _, Scope, Seal};
use walkdir::WalkDir;

use super::builds::copy_build;
use super::{EACH, Settings, build, peak, record, seconds, sizes};

/// Packages of each build. The builds of a channel share theirs as links.
const FILES: u32 = 10;
/// More links to one file than ext4 allows.
const LINKS: u32 = 70_000;

pub(super) fn measure(settings: &Settings) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let source = settings.dir.join("source");
    fs_err::write(&source, "the same in every build").expect("written");
    println!(
        "\n| builds in a directory | read the catalog | memory | publish a small build, without pages | memory | pages, first | pages, one more build | indexes of sums | inodes a build |\n\
         |---|---|---|---|---|---|---|---|---|"
    );
    for (channels, builds) in sizes(settings) {
        let root = settings.dir.join(format!("mirror-{builds}"));
        let store = LocalStore::create(&root).expect("a mirror");
        for number in 0..channels {
            let first = write(&root, build(number, 1));
            for days in 2..=EACH {
                copy_build(&first, &root.join(build(number, days).to_string()), &root);
            }
        }
        let catalog = || runtime.block_on(store.catalog(&Scope::All)).expect("read");
        let (read, read_memory) = peak(|| seconds(settings.runs, catalog));
        let mut next = EACH;
        let mut publish = || {
            next += 1;
            runtime.block_on(publish(&store, build(0, next), &source))
        };
        // The first publish reads the sums of all builds.
        publish();
        let (published, memory) = peak(|| seconds(settings.runs, &mut publish));
        let site = stx_builds::Site::open(stx_builds::Options::default()).at(super::now());
        let renewed = || runtime.block_on(stx_builds::pages::renew(&site, &store, super::now()));
        let first = seconds(1, renewed);
        let mut more = Vec::new();
        for _ in 0..settings.runs.max(1) {
            publish();
            more.push(seconds(1, renewed));
        }
        let more = super::settings::median(more);
        let caches = WalkDir::new(root.join(".stx/cache")).into_iter();
        let caches = caches.map(|entry| entry.expect("readable"));
        let indexes = caches.filter(|entry| entry.file_name() == "%2Edigests");
        let index: u64 = indexes
            .map(|entry| entry.metadata().expect("a file").len())
            .sum();
        println!(
            "| {builds} | {read:.2} s | {read_memory:.0} MiB | {published:.2} s | {memory:.0} MiB | {first:.2} s | {more:.2} s | {} KiB | {} |",
            index / 1024,
            inodes(&root.join(build(channels - 1, EACH).to_string())),
        );
        fs_err::remove_dir_all(&root).expect("removed");
    }
    links(&settings.dir, &source, &runtime);
}

/// Writes a build as a publisher leaves it; returns its directory.
fn write(root: &Utf8Path, id: BuildId) -> Utf8PathBuf {
    let dir = root.join(id.to_string());
    let package =
        |number| format!("outputs/RPMS/a-package-of-the-usual-length-1.0-{number}.tis.x86_64.rpm");
    fs_err::create_dir_all(dir.join("outputs/RPMS")).expect("made");
    let mut lines = Vec::new();
    for number in 0..FILES {
        let (path, text) = (package(number), format!("{} {number}", id.channel));
        fs_err::write(dir.join(&path), &text).expect("written");
        lines.push(SumLine {
            path: path.parse().expect("a path"),
            digest: stx_publish::incoming::digest_of(text.as_bytes()),
        });
    }
    let sums = lines.into_iter().collect::<Sums>();
    let sealed = Seal::default()
        .seal(&sums, 100, record(id))
        .expect("sealed");
    for (path, bytes) in sealed.files {
        fs_err::write(dir.join(path.as_path()), bytes).expect("written");
    }
    dir
}

/// Publishes a build of one file.
async fn publish(store: &LocalStore, id: BuildId, source: &Utf8Path) -> Added {
    let writer = store.lock(&id.channel).await.expect("the lock");
    let staged = writer.begin(id.date).await.expect("begun");
    let path = "outputs/file".parse().expect("a path");
    let entry = Entry::File {
        source: source.to_owned(),
        size: fs_err::metadata(source).expect("a file").len(),
        executable: false,
        digest: None,
    };
    let added = staged.add(&path, &entry).await.expect("added");
    staged.commit(record(id)).await.expect("committed");
    added
}

/// The number of inodes that only this build uses.
fn inodes(build: &Utf8Path) -> usize {
    let entries = WalkDir::new(build).into_iter();
    let own = entries.filter(|entry| {
        let found = entry.as_ref().expect("readable").metadata().expect("there");
        found.is_dir() || found.nlink() == 1
    });
    own.count()
}

/// Links a file until the file system refuses more; then publishes the same content again.
fn links(dir: &Utf8Path, source: &Utf8Path, runtime: &tokio::runtime::Runtime) {
    let store = LocalStore::create(dir.join("links")).expect("a mirror");
    let add = |channel, days| runtime.block_on(publish(&store, build(channel, days), source));
    let all = [add(0, 9), add(1, 9)];
    assert!(
        matches!(all, [Added::Stored(_), Added::Shared(_)]),
        "{all:?}"
    );
    let first = dir.join(format!("links/{}/outputs/file", build(0, 9)));
    let more = dir.join("links/.stx/more");
    fs_err::create_dir(&more).expect("made");
    let link = |number: u32| fs_err::hard_link(&first, more.join(number.to_string()));
    let links = (3..=LINKS).find(|number| link(*number).is_err());
    match links {
        None => println!("\nthis file system allows {LINKS} links to a file"),
        Some(full) => println!(
            "\nthis file system allows {} links to a file; the next builds of two channels: {:?}",
            full - 1,
            [add(0, 8), add(0, 7), add(1, 8), add(1, 7)]
        ),
    }
}
