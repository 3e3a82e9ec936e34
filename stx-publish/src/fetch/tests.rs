use camino_tempfile::tempdir;
use stx_layout::{AliasName, BuildOutcome};

use super::{FetchError, FetchOptions, FetchReport, SelectError, What, fetch, resolve, select};
use crate::conformance::{sample_id, sample_request};
use crate::memory::MemoryStore;
use crate::publish::{prepare, publish};
use crate::store::{MirrorRead as _, StoreError};

const OPTIONS: FetchOptions = FetchOptions {
    delta: true,
    seeds: Vec::new(),
    ranges: 3,
    parallel: 2,
    attempts: 2,
    wait: std::time::Duration::ZERO,
};

async fn mirror() -> MemoryStore {
    let store = MemoryStore::new();
    let request = sample_request(1, BuildOutcome::Success, "day 1");
    let plan = prepare(&store, request).await.expect("a plan");
    publish(&store, &plan).await.expect("published");
    store
}

fn what(words: &[&str]) -> Vec<What> {
    words
        .iter()
        .map(|word| word.parse().expect("a word"))
        .collect()
}

async fn get(store: &MemoryStore, words: &[&str], to: &camino::Utf8Path) -> FetchReport {
    let id = sample_id(1);
    let sums = store.sums(&id).await.expect("sums");
    let wanted = select(&sums, &what(words)).expect("files");
    fetch(store, &id, &wanted, to, &OPTIONS, &|_| {}).await
}

#[tokio::test]
async fn words_select_files_and_their_target_paths() {
    let sums = "outputs/CONTEXT
outputs/RPMS/rt/b.rpm
outputs/RPMS/std/a.rpm
outputs/RPMS/std/repodata/repomd.xml
outputs/SRPMS/std/a.src.rpm
outputs/docker-images/images.lst
outputs/helm-charts/c.tgz
outputs/installer/vmlinuz
outputs/iso/bootimage.iso
outputs/iso/bootimage.iso.sig
outputs/rt/packages/e.deb
outputs/std/packages/Packages.gz
outputs/std/packages/e.deb
outputs/std/sources/e/e.dsc
outputs/std/sources/e/e.tar.xz
outputs/packages/other.deb
inputs/downloads/d.tar";
    let mut lines: Vec<_> = sums.lines().collect();
    lines.sort_unstable();
    let digest = "0".repeat(64);
    let text = format!("{digest}  {}\n", lines.join(&format!("\n{digest}  ")));
    let sums = text.parse().expect("sums");
    let places = |words: &[&str]| {
        let wanted = select(&sums, &what(words)).expect("files");
        wanted
            .into_iter()
            .map(|wanted| wanted.to.into_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(places(&["iso", "context"]), ["CONTEXT", "bootimage.iso"]);
    assert_eq!(
        places(&["rpms"]),
        [
            "RPMS/rt/b.rpm",
            "RPMS/std/a.rpm",
            "RPMS/std/repodata/repomd.xml"
        ]
    );
    assert_eq!(
        places(&["debs"]),
        [
            "rt/packages/e.deb",
            "std/packages/Packages.gz",
            "std/packages/e.deb"
        ]
    );
    assert_eq!(
        places(&["debs:rt", "sources:std"]),
        [
            "rt/packages/e.deb",
            "std/sources/e/e.dsc",
            "std/sources/e/e.tar.xz"
        ]
    );
    assert_eq!(places(&["sources"]).len(), 2);
    for word in ["debs", "debs:std", "sources", "sources:rt"] {
        let parsed: What = word.parse().expect("a word");
        assert_eq!(parsed.to_string(), word);
    }
    assert_eq!(
        places(&["rpms:rt", "srpms:std"]),
        ["RPMS/rt/b.rpm", "SRPMS/std/a.src.rpm"]
    );
    assert_eq!(places(&["installer", "images", "charts"]).len(), 3);
    assert_eq!(
        places(&["outputs/iso/"]),
        ["iso/bootimage.iso", "iso/bootimage.iso.sig"]
    );
    assert_eq!(places(&["outputs/*/*/*.rpm"]).len(), 3);
    assert_eq!(places(&["**/d.tar"]), ["inputs/downloads/d.tar"]);
    assert_eq!(
        select(&sums, &what(&["rpms:none", "*.zip", "iso"])),
        Err(SelectError::Nothing {
            what: vec!["rpms:none".to_owned(), "*.zip".to_owned()]
        })
    );
    assert!("rpms:a/b".parse::<What>().is_err());
    assert!("[".parse::<What>().is_err());
}

#[test]
fn of_several_names_of_an_image_the_specified_one_is_used() {
    let select = |lines: &[(char, &str)]| {
        let line = |(digit, name): &(char, &str)| {
            format!("{}  outputs/iso/{name}", digit.to_string().repeat(64))
        };
        let text = lines.iter().map(line).collect::<Vec<_>>().join("\n");
        select(&text.parse().expect("sums"), &what(&["iso"]))
    };
    let chosen = |lines: &[(char, &str)]| {
        let chosen = select(lines).expect("a name");
        chosen
            .into_iter()
            .map(|wanted| wanted.path.to_string())
            .collect::<Vec<_>>()
    };
    // The alphabetically first one is another name.
    let names = [('1', "a.iso"), ('1', "bootimage.iso"), ('1', "c.iso")];
    assert_eq!(chosen(&names), ["outputs/iso/bootimage.iso"]);
    // Different images are different files.
    let images = [('1', "a.iso"), ('2', "b.iso")];
    assert_eq!(chosen(&images), ["outputs/iso/a.iso", "outputs/iso/b.iso"]);
    let Err(SelectError::Several { names }) = select(&[('1', "a.iso"), ('1', "b.iso")]) else {
        panic!("one of two names was picked");
    };
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["outputs/iso/a.iso", "outputs/iso/b.iso"]);
}

#[tokio::test]
async fn a_file_is_fetched_once_and_checked() {
    let store = mirror().await;
    let dir = tempdir().expect("a directory");
    let latest = AliasName::latest_build();
    let id = resolve(&store, &sample_id(1).channel, &latest)
        .await
        .expect("a build");
    assert_eq!(id, sample_id(1));
    let report = get(&store, &["iso"], dir.path()).await;
    assert_eq!((report.fetched.len(), report.failed.len()), (1, 0));
    assert_eq!(report.transferred(), 14);
    let iso = dir.path().join("bootimage.iso");
    assert_eq!(
        fs_err::read_to_string(&iso).expect("a file"),
        "image of day 1"
    );
    assert_eq!(get(&store, &["iso"], dir.path()).await.transferred(), 0);
    fs_err::write(&iso, "something else").expect("written");
    assert_eq!(get(&store, &["iso"], dir.path()).await.transferred(), 14);
}

#[tokio::test]
async fn a_killed_fetch_is_resumed() {
    let store = mirror().await;
    let digest = {
        let sums = store.sums(&sample_id(1)).await.expect("sums");
        select(&sums, &what(&["iso"])).expect("files")[0]
            .sha256
            .to_string()
    };
    // The first is a prefix of the file; the others are not, and are detected.
    for (left, transferred) in [
        ("image of", 6),
        ("no image", 20),
        ("longer than the whole image", 14),
    ] {
        let dir = tempdir().expect("a directory");
        let part = dir
            .path()
            .join(format!("bootimage.iso.{}.part", &digest[..16]));
        fs_err::write(&part, left).expect("written");
        let report = get(&store, &["iso"], dir.path()).await;
        assert_eq!(report.transferred(), transferred, "{left}");
        let iso = fs_err::read_to_string(dir.path().join("bootimage.iso")).expect("a file");
        assert_eq!(iso, "image of day 1");
        assert!(!part.exists(), "{left}");
    }
}

#[tokio::test]
async fn corrupt_and_missing_files_are_distinguished_and_not_stored() {
    for (bytes, corrupt) in [(Some("image of day 2"), true), (None, false)] {
        let store = mirror().await;
        let path = "outputs/iso/bootimage.iso".parse().expect("a path");
        store.tamper_file(&sample_id(1), &path, bytes.map(Into::into));
        let dir = tempdir().expect("a directory");
        let report = get(&store, &["outputs/iso/bootimage.iso"], dir.path()).await;
        match &report.failed[..] {
            [FetchError::Corrupt { .. }] => assert!(corrupt),
            [FetchError::Gone { .. }] => assert!(!corrupt),
            other => panic!("{other:?}"),
        }
        assert!(!dir.path().join("iso/bootimage.iso").exists());
    }
}

/// A file that a decision depends on is read exactly, or refused.
#[tokio::test]
async fn a_record_that_is_not_utf_8_is_damaged() {
    let store = mirror().await;
    let id = sample_id(1);
    let path = crate::store::record_path();
    let record = crate::store::read_all(&store, &id, &path, 1 << 20).await;
    let record = record.expect("a record");
    let sealed = crate::seal::Sealed::read(&store, &id).await;
    sealed.expect("it is right");
    let end = record.iter().rposition(|byte| *byte == b'}').expect("JSON");
    let odd = [&record[..end], b", \"trigger\": \"caf\xe9\"}"].concat();
    store.tamper_file(&id, &path, Some(odd.into()));
    let sealed = crate::seal::Sealed::read(&store, &id).await;
    let Err(StoreError::Damaged { source, .. }) = sealed else {
        panic!("it was read: {sealed:?}");
    };
    assert!(source.to_string().contains("utf-8"), "{source}");
}

/// A file that is mostly zeros, fetched from its beginning and resumed in its middle.
#[tokio::test]
async fn zeros_become_holes() {
    let mut image = vec![0; 4 << 20];
    image[1 << 20] = 1;
    let store = MemoryStore::new();
    let mut request = sample_request(1, BuildOutcome::Success, "day 1");
    let path = "outputs/iso/bootimage.iso".parse().expect("a path");
    let entry = crate::Entry::Generated(image.clone().into());
    request.tree.incoming_mut().entries.insert(path, entry);
    let plan = prepare(&store, request).await.expect("a plan");
    publish(&store, &plan).await.expect("published");
    let digest = crate::incoming::digest_of(&image).to_string();
    for left in [0, 5, (1 << 20) + 3, 3 << 20] {
        let dir = tempdir().expect("a directory");
        let part = format!("bootimage.iso.{}.part", &digest[..16]);
        fs_err::write(dir.path().join(part), &image[..left]).expect("written");
        let report = get(&store, &["iso"], dir.path()).await;
        assert_eq!(report.transferred(), (image.len() - left) as u64);
        let iso = dir.path().join("bootimage.iso");
        assert!(fs_err::read(&iso).expect("a file") == image, "{left}");
        let blocks = std::os::unix::fs::MetadataExt::blocks(&fs_err::metadata(&iso).expect("it"));
        let written = left as u64 / 512;
        assert!(blocks <= written + 32, "{left}: {blocks} blocks");
    }
}
