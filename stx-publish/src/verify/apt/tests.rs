use bytes::Bytes;
use stx_layout::BuildOutcome;

use super::*;
use crate::conformance::{
    sample_control, sample_deb, sample_dsc, sample_id, sample_request, test_seal,
};
use crate::incoming::{Entry, digest_of};
use crate::memory::MemoryStore;
use crate::publish::{prepare, publish};
use crate::store::MirrorStore as _;
use crate::verify::{Severity, VerifyReport, verify_repositories};

fn path(text: &str) -> BuildPath {
    text.parse().expect("a path")
}

/// A published build with these files.
async fn published(files: &[(&str, Bytes)]) -> MemoryStore {
    let store = MemoryStore::new().with_seal(test_seal());
    let mut request = sample_request(1, BuildOutcome::Success, "text");
    for (name, bytes) in files {
        let entry = Entry::Generated(bytes.clone());
        request
            .tree
            .incoming_mut()
            .entries
            .insert(path(name), entry);
    }
    let plan = prepare(&store, request).await.expect("a plan");
    publish(&store, &plan).await.expect("published");
    store
}

fn deb(name: &str) -> Bytes {
    sample_deb(&sample_control(name, "1"))
}

async fn verified(store: &MemoryStore) -> Vec<(FindingKind, String)> {
    let mut report = VerifyReport::default();
    let scope = crate::store::Scope::All;
    let verified = verify_repositories(store, &scope, &mut report).await;
    verified.expect("verified");
    let findings = report.findings.into_iter();
    findings
        .map(|it| {
            (
                it.kind,
                format!("{}: {}", it.path.unwrap_or_default(), it.message),
            )
        })
        .collect()
}

#[tokio::test]
async fn lists_of_the_publisher_are_correct_and_broken_packages_are_found() {
    let tar = b"no archive".as_slice();
    let dsc = sample_dsc("hello", "1.0", "hello_1.0.tar.xz", tar);
    let store = published(&[
        ("outputs/std/packages/a_1_all.deb", deb("a")),
        ("outputs/std/packages/b/a_1_all.deb", deb("b")),
        ("outputs/std/packages/a.udeb", deb("c")),
        ("outputs/std/sources/hello/hello_1.0.dsc", dsc.into()),
        ("outputs/std/sources/hello/hello_1.0.tar.xz", tar.into()),
        ("outputs/std/sources/dsc.dsc", tar.into()),
        ("inputs/packages/broken.deb", tar.into()),
    ])
    .await;
    let said = |name: &str| {
        let text = format!("{name}: is not in the repository metadata: no client finds it");
        (FindingKind::NotInRepodata, text)
    };
    let expected = [
        said("inputs/packages/broken.deb"),
        said("outputs/std/sources/dsc.dsc"),
    ];
    assert_eq!(verified(&store).await, expected);
}

/// The same build with some files changed, and with sums that match the changes.
async fn tampered(store: &MemoryStore, changes: &[(String, Option<String>)]) -> MemoryStore {
    let id = sample_id(1);
    let record = store.record(&id).await.expect("a record");
    let mut files = BTreeMap::new();
    for line in store.sums(&id).await.expect("sums").lines() {
        if line.path.parent().is_some() {
            let bytes = read_all(store, &id, &line.path, 1 << 20).await;
            files.insert(line.path.to_string(), Bytes::from(bytes.expect("there")));
        }
    }
    for (name, text) in changes {
        match text {
            Some(text) => drop(files.insert(name.clone(), text.clone().into())),
            None => drop(files.remove(name)),
        }
    }
    let other = MemoryStore::new();
    let writer = other.lock(&id.channel).await.expect("locked");
    let staged = writer.begin(id.date).await.expect("begun");
    for (name, bytes) in files {
        let added = staged.add(&path(&name), &Entry::Generated(bytes)).await;
        added.expect("added");
    }
    staged.commit(record).await.expect("committed");
    other
}

const STD: &str = "outputs/std/packages";

/// A change of a file, by its name in the repository; if `true`, `Release` is changed to name the new file.
type Change = (&'static str, Option<String>, bool);

/// The findings after a change, without those that only follow from the changed `Release`.
async fn found_after((name, text, is_named): &Change) -> Vec<(FindingKind, String)> {
    let names = ["a.deb", "b.deb"].map(|name| (format!("{STD}/{name}"), deb(&name[..1])));
    let files: Vec<_> = names
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.clone()))
        .collect();
    let store = published(&files).await;
    let mut changes = vec![(format!("{STD}/{name}"), text.clone())];
    if *is_named {
        let text = text.clone().unwrap_or_default();
        let line = format!(" {} {} {name}", digest_of(text.as_bytes()), text.len());
        let release = read(&store, "Release").await;
        let lines = release.lines();
        let lines: Vec<_> = lines
            .map(|it| {
                if it.ends_with(&format!(" {name}")) {
                    &*line
                } else {
                    it
                }
            })
            .collect();
        changes.push((format!("{STD}/Release"), Some(lines.join("\n") + "\n")));
    }
    let found = verified(&tampered(&store, &changes).await).await;
    let found = found.into_iter();
    found
        .filter(|(_, text)| {
            let of_another_release =
                text.contains("InRelease: holds") || text.contains("Packages: by-hash/");
            !of_another_release || (*name != "Release" && !is_named)
        })
        .collect()
}

async fn read(store: &MemoryStore, name: &str) -> String {
    let bytes = read_all(
        store,
        &sample_id(1),
        &path(&format!("{STD}/{name}")),
        1 << 20,
    )
    .await;
    String::from_utf8(bytes.expect("there")).expect("UTF-8")
}

#[tokio::test]
async fn each_link_of_the_chain_is_checked() {
    use FindingKind::{NotInRepodata, RepodataDiffers, RepodataUnreadable};
    let text = |text: &str| Some(text.to_owned());
    for (name, change, kind, said) in [
        (
            "Release",
            None,
            RepodataUnreadable,
            "outputs/std/packages: it has packages and no metadata",
        ),
        (
            "Release",
            text("no field"),
            RepodataUnreadable,
            "Release: line 1",
        ),
        (
            "Release",
            text("Origin: x\n"),
            RepodataUnreadable,
            "Release: it names no readable list",
        ),
        (
            "Packages.xz",
            None,
            RepodataDiffers,
            "Packages.xz: is in Release, but missing",
        ),
        (
            "Packages.xz",
            text("x"),
            RepodataDiffers,
            "Packages.xz: has other bytes than Release says",
        ),
        (
            "by-hash/SHA256/00",
            text("x"),
            RepodataDiffers,
            "00: has other bytes than its name says",
        ),
        (
            "InRelease",
            text("x"),
            RepodataDiffers,
            "InRelease: holds another text than Release",
        ),
        (
            "a.deb",
            None,
            RepodataDiffers,
            "a.deb: is in the repository metadata, but missing",
        ),
        (
            "c.deb",
            text("x"),
            NotInRepodata,
            "c.deb: is not in the repository metadata",
        ),
    ] {
        let found = found_after(&(name, change, false)).await;
        let [(found_kind, found)] = &found[..] else {
            panic!("{said}: {found:?}");
        };
        assert!(
            *found_kind == kind && found.contains(said),
            "{said}: {found}"
        );
    }
    let found = found_after(&("a.deb", text("x"), false)).await;
    let said = found
        .iter()
        .map(|(_, text)| text.as_str())
        .collect::<String>();
    assert!(
        found.len() == 2 && said.contains("has 1 bytes") && said.contains("has other bytes"),
        "{said}"
    );
}

#[tokio::test]
async fn entries_of_lists_are_compared_with_the_files() {
    use FindingKind::{NotInRepodata, RepodataDiffers, RepodataUnreadable};
    let names = [
        ("outputs/std/packages/a.deb", deb("a")),
        ("outputs/std/packages/b.deb", deb("b")),
    ];
    let store = published(&names).await;
    let list = read(&store, "Packages").await;
    let size = format!("Size: {}", deb("a").len());
    for (changed, expected) in [
        (list.clone(), vec![]),
        (
            list.replace("a.deb", "c.deb"),
            vec![
                (NotInRepodata, "a.deb: is not in the repository metadata"),
                (
                    RepodataDiffers,
                    "c.deb: is in the repository metadata, but missing",
                ),
            ],
        ),
        (
            list.replacen(&size, "Size: 5", 1),
            vec![(RepodataDiffers, "bytes, and the repository metadata says 5")],
        ),
        (
            list.replacen(&digest_of(&deb("a")).to_string(), &"0".repeat(64), 1),
            vec![(
                RepodataDiffers,
                "a.deb: has other bytes than the repository metadata says",
            )],
        ),
        (
            "Package: x\nVersion: 1\n".to_owned(),
            vec![(RepodataUnreadable, "Packages: it does not say where x is")],
        ),
    ] {
        let found = found_after(&("Packages", Some(changed), true)).await;
        assert_eq!(found.len(), expected.len(), "{expected:?}: {found:?}");
        for ((kind, text), (expected, said)) in found.iter().zip(expected) {
            assert!(*kind == expected && text.contains(said), "{said}: {text}");
        }
    }
}

#[tokio::test]
async fn a_tree_with_its_own_lists_is_published_unchanged_and_checked() {
    const ROOT: &str = "outputs/aptly/deb-local-build";
    let packages = |name: &str, bytes: &Bytes| {
        format!(
            "Package: {name}\nVersion: 1\nArchitecture: all\nFilename: pool/main/{name}.deb\nSize: {}\nSHA256: {}\n\n",
            bytes.len(),
            digest_of(bytes)
        )
    };
    let list = packages("a", &deb("a")) + &packages("b", &deb("b"));
    let release = |list: &str| {
        let digest = digest_of(list.as_bytes());
        format!(
            "Codename: trixie\nSHA256:\n {digest} {} main/binary-amd64/Packages\n {digest} 7 main/binary-arm64/Packages\n",
            list.len()
        )
    };
    let file = |name: &str, bytes: Bytes| (format!("{ROOT}/{name}"), bytes);
    let all = [
        file("pool/main/a.deb", deb("a")),
        file("pool/main/b.deb", deb("b")),
        file(
            "dists/trixie/main/binary-amd64/Packages",
            list.clone().into(),
        ),
        file("dists/trixie/Release", release(&list).into()),
        file(
            "dists/trixie/main/binary-amd64/Release",
            "Component: main\n".into(),
        ),
    ];
    let all: Vec<_> = all
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.clone()))
        .collect();
    let store = published(&all).await;
    for (name, bytes) in &all {
        let read = read_all(&store, &sample_id(1), &path(name), 1 << 20).await;
        assert_eq!(Bytes::from(read.expect("there")), *bytes);
    }
    let sums = store.sums(&sample_id(1)).await.expect("sums");
    assert_eq!(
        sums.lines()
            .iter()
            .filter(|it| it.path.as_str().starts_with(ROOT))
            .count(),
        5
    );
    assert_eq!(verified(&store).await, []);

    let one = packages("a", &deb("b"));
    let short = release(&one);
    let list = format!("{ROOT}/dists/trixie/main/binary-amd64/Packages");
    let index = format!("{ROOT}/dists/trixie/Release");
    let store = tampered(&store, &[(list, Some(one)), (index, Some(short))]).await;
    let found = verified(&store).await;
    let expected = [
        (
            FindingKind::RepodataDiffers,
            "pool/main/a.deb: has other bytes",
        ),
        (FindingKind::NotInRepodata, "pool/main/b.deb: is not in"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((kind, text), (expected, said)) in found.iter().zip(expected) {
        assert!(*kind == expected && text.contains(said), "{found:?}");
        assert!(kind.severity() >= Severity::Warning);
    }
}
