use std::collections::BTreeSet;
use std::io::Cursor;
use std::sync::Mutex;

use proptest::prelude::*;
use stx_deb::paragraphs;

use super::*;
use crate::conformance::{sample_control, sample_deb, sample_dsc, sample_id};
use crate::incoming::Entry;
use crate::store::rules::open_generated;

const DIR: &str = "outputs/std/packages";

fn path(text: &str) -> BuildPath {
    text.parse().expect("a path")
}

/// A repository of these files.
fn files(files: &[(&str, Bytes)]) -> Incoming {
    let entries = files.iter().map(|(name, bytes)| {
        let entry = match name.strip_suffix("@") {
            Some(_) => Entry::Symlink {
                target: String::from_utf8_lossy(bytes).into_owned(),
            },
            None => Entry::Generated(bytes.clone()),
        };
        (
            path(&format!("{DIR}/{}", name.trim_end_matches('@'))),
            entry,
        )
    });
    Incoming {
        entries: entries.collect(),
    }
}

fn make(added: &Incoming, earlier: Option<&EarlierPackages>) -> AptMetadata {
    let repository = AptRepository::of(&path(DIR), added);
    let made = repository.make(&sample_id(5), earlier, &open_generated(added));
    made.expect("made")
}

fn text<'a>(made: &'a AptMetadata, name: &str) -> &'a str {
    str::from_utf8(&made.files[name]).expect("UTF-8")
}

fn deb(name: &str, version: &str) -> Bytes {
    sample_deb(&sample_control(name, version))
}

#[test]
fn fields_keep_their_values_and_their_order() {
    let control = "Package: x\nX-Odd: 1\nVersion: 1:2.0~rc1+b1-3\nSize: 4\nmd5SUM: 00\nFilename: ../y\nArchitecture: amd64\n\
                   Installed-Size: 7\nConffiles:\n /etc/x 00\nDescription: one\n two\n  .three\n .\n four\n";
    let package = sample_deb(control);
    let name = "x_1%3a2.0~rc1+b1-3_amd64.deb";
    let made = make(&files(&[(name, package.clone())]), None);
    let expected = format!(
        "Package: x\nX-Odd: 1\nVersion: 1:2.0~rc1+b1-3\nArchitecture: amd64\nInstalled-Size: 7\nConffiles:\n /etc/x 00\n\
         Description: one\n two\n  .three\n .\n four\nFilename: {name}\nSize: {}\nSHA256: {}\n\n",
        package.len(),
        digest_of(&package)
    );
    assert_eq!(text(&made, PACKAGES), expected);
    assert_eq!(made.indexed.listed, 1);
    assert!(made.indexed.is_complete());
}

#[test]
fn release_names_every_list_under_both_names() {
    let made = make(
        &files(&[("a.deb", deb("a", "1")), ("s.dsc", Bytes::new())]),
        None,
    );
    let release = text(&made, RELEASE);
    let (head, lists) = release.split_once("SHA256:\n").expect("a list");
    assert_eq!(
        head,
        "Origin: starlingx\nLabel: master/centos\nSuite: master\nCodename: centos\nDate: Mon, 05 Nov 2018 06:00:00 UTC\n\
         Acquire-By-Hash: yes\nArchitectures: all\nDescription: StarlingX master/centos, outputs/std/packages\n\
         Generator: stx-builds, form 1\n"
    );
    let mut named = BTreeSet::from([RELEASE.to_owned()]);
    for line in lists.lines() {
        let [digest, size, name] = *line.split_whitespace().collect::<Vec<_>>() else {
            panic!("{line}");
        };
        let by_hash = format!("by-hash/SHA256/{digest}");
        for name in [name, &by_hash] {
            let bytes = &made.files[name];
            assert_eq!(digest_of(bytes).to_string(), digest, "{name}");
            assert_eq!(bytes.len().to_string(), size, "{name}");
            named.insert(name.to_owned());
        }
    }
    let there: BTreeSet<_> = made.files.keys().cloned().collect();
    assert_eq!(there, named);
    for name in ["Packages.gz", "Packages.xz", "Sources", "Sources.gz"] {
        assert!(named.contains(name), "{name}");
    }
    let mut unpacked = String::new();
    let mut packed = liblzma::read::XzDecoder::new(Cursor::new(&made.files["Packages.xz"]));
    packed.read_to_string(&mut unpacked).expect("xz");
    assert_eq!(unpacked, text(&made, PACKAGES));
    let mut unpacked = String::new();
    let mut packed = flate2::read::GzDecoder::new(Cursor::new(&made.files["Packages.gz"]));
    packed.read_to_string(&mut unpacked).expect("gzip");
    assert_eq!(unpacked, text(&made, PACKAGES));
}

#[test]
fn packages_for_the_installer_come_last_and_are_marked() {
    let marked = format!("Package-Type: udeb\n{}", sample_control("c", "1"));
    let made = make(
        &files(&[
            ("a.udeb", deb("a", "1")),
            ("b.deb", deb("b", "1")),
            ("c.udeb", sample_deb(&marked)),
            ("z/b.deb", deb("b", "2")),
        ]),
        None,
    );
    let found = paragraphs(text(&made, PACKAGES)).expect("a list");
    let found: Vec<_> = found
        .iter()
        .map(|it| (it.get("Filename").expect("a path"), it.get("Package-Type")))
        .collect();
    assert_eq!(
        found,
        [
            ("b.deb", None),
            ("z/b.deb", None),
            ("a.udeb", Some("udeb")),
            ("c.udeb", Some("udeb"))
        ]
    );
    assert_eq!(text(&made, PACKAGES).matches("Package-Type").count(), 2);
}

#[test]
fn broken_packages_are_left_out_with_their_reason() {
    let whole = deb("a", "1");
    let without_data = whole.len() - 1024 - 60;
    let blank = sample_control("a", "1").replace("sample", "sample\n .\n   \nPackage: evil");
    for (bytes, said) in [
        (Bytes::from_static(b"no package"), "not a Debian package"),
        (Bytes::new(), "the file ends at byte 0"),
        (
            whole.slice(..whole.len() - 1),
            "its data member ends at byte",
        ),
        (whole.slice(..without_data), "before its data member"),
        (whole.slice(..without_data + 59), "before its data member"),
        (whole.slice(..100), "the file ends at byte 100"),
        (
            sample_deb("Package: a\nVersion: 1\n"),
            "no field `Architecture`",
        ),
        (
            sample_deb(&sample_control("a b", "1")),
            "the field `Package`",
        ),
        (
            sample_deb(&sample_control("a", "1 2")),
            "the field `Version`",
        ),
        (sample_deb(&blank), "one paragraph"),
    ] {
        let added = files(&[("a.deb", bytes), ("b.deb", deb("b", "1"))]);
        let made = make(&added, None);
        let unlisted: Vec<_> = made.indexed.unlisted.iter().collect();
        let [(name, reason)] = &unlisted[..] else {
            panic!("{said}: {unlisted:?}");
        };
        assert_eq!(*name, "a.deb");
        assert!(reason.contains(said), "{reason}");
        assert_eq!(made.indexed.listed, 1, "{said}");
        assert_eq!(text(&made, PACKAGES).matches("Package: ").count(), 1);
    }
}

#[test]
fn duplicates_of_a_package_are_reported_and_symlinks_followed() {
    let added = files(&[
        ("a.deb", deb("a", "1")),
        ("b/a.deb@", Bytes::from_static(b"../a.deb")),
        ("c.deb", deb("a", "2")),
        ("d@", Bytes::from_static(b"b")),
    ]);
    let made = make(&added, None);
    assert_eq!(made.indexed.listed, 3);
    let expected = BTreeSet::from(["a.deb".to_owned(), "b/a.deb".to_owned()]);
    assert_eq!(
        made.indexed.duplicates,
        [("a_1_all".to_owned(), expected)].into()
    );
}

#[test]
fn a_read_error_is_not_a_broken_package() {
    let added = files(&[("a.deb", deb("a", "1"))]);
    let repository = AptRepository::of(&path(DIR), &added);
    let fails = |_: &BuildPath| Err(io::Error::other("a bad disk"));
    let error = repository.make(&sample_id(5), None, &fails);
    let error = crate::error::chain(&error.expect_err("not read"));
    assert!(
        error.contains("a.deb") && error.contains("a bad disk"),
        "{error}"
    );
}

#[test]
fn only_entries_of_unchanged_packages_are_reused() {
    let old = files(&[
        ("a.deb", deb("a", "1")),
        ("b.deb", deb("b", "1")),
        ("c.deb", deb("c", "1")),
    ]);
    let before = make(&old, None);
    let packages = before.files[PACKAGES].to_vec();
    let earlier = EarlierPackages::new(&before.files[RELEASE], packages.clone()).expect("it fits");
    // Changed, moved, new.
    let new = files(&[
        ("a.deb", deb("a", "1")),
        ("b.deb", deb("b", "2")),
        ("d/c.deb", deb("c", "1")),
        ("e.deb", deb("e", "1")),
    ]);
    let opened = Mutex::new(BTreeSet::new());
    let open = |path: &BuildPath| {
        opened.lock().expect("no panic").insert(path.to_string());
        open_generated(&new)(path)
    };
    let repository = AptRepository::of(&path(DIR), &new);
    let made = repository.make(&sample_id(5), Some(&earlier), &open);
    assert_eq!(made.expect("made"), make(&new, None));
    let expected = ["b.deb", "d/c.deb", "e.deb"].map(|name| format!("{DIR}/{name}"));
    assert_eq!(*opened.lock().expect("no panic"), expected.into());

    let release = text(&before, RELEASE);
    let other_form = release.replace("form 1", "form 0");
    assert_eq!(
        EarlierPackages::new(other_form.as_bytes(), packages.clone()),
        None
    );
    let mut other = packages;
    other[9] ^= 1;
    assert_eq!(EarlierPackages::new(release.as_bytes(), other), None);
}

#[test]
fn source_entries_are_completed_from_the_files() {
    let tar = Bytes::from_static(b"an archive");
    let plain = sample_dsc("hello", "1.0-1", "hello.tar.xz", &tar);
    let md5 = "a".repeat(32);
    let more = format!("{plain}Files:\n {md5} 10 hello.tar.xz\nX-Odd: 1\n");
    let signed = format!(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{more}\n-----BEGIN PGP SIGNATURE-----\n\nabc\n\
         -----END PGP SIGNATURE-----\n"
    );
    let added = files(&[
        ("h/hello.dsc", signed.clone().into()),
        ("h/hello.tar.xz", tar.clone()),
        ("hello.tar.xz", tar.clone()),
        ("plain.dsc", plain.clone().into()),
    ]);
    let made = make(&added, None);
    assert_eq!(made.indexed.unlisted, BTreeMap::new());
    let own = |text: &str| format!("{} {}", digest_of(text.as_bytes()), text.len());
    let tar_line = format!("{} {} hello.tar.xz", digest_of(&tar), tar.len());
    let signed_md5 = sources::hex(&<md5::Md5 as md5::Digest>::digest(signed.as_bytes()));
    let expected = format!(
        "Format: 3.0 (native)\nPackage: hello\nBinary: hello\nVersion: 1.0-1\nChecksums-Sha256:\n {} hello.dsc\n {tar_line}\n\
         Files:\n {signed_md5} {} hello.dsc\n {md5} 10 hello.tar.xz\nX-Odd: 1\nDirectory: h\n\n\
         Format: 3.0 (native)\nPackage: hello\nBinary: hello\nVersion: 1.0-1\nChecksums-Sha256:\n {} plain.dsc\n {tar_line}\n\
         Directory: .\n\n",
        own(&signed),
        signed.len(),
        own(&plain)
    );
    assert_eq!(text(&made, SOURCES), expected);
    assert_eq!(made.indexed.duplicates.len(), 1);
    assert!(!text(&made, RELEASE).contains("Architectures"));
}

#[test]
fn broken_sources_are_left_out_with_their_reason() {
    let tar = Bytes::from_static(b"an archive");
    let plain = sample_dsc("hello", "1.0-1", "hello.tar.xz", &tar);
    let other = sample_dsc("hello", "1.0-1", "hello.tar.xz", b"an ARCHIVE");
    for (dsc, said) in [
        (
            plain.replace("hello.tar.xz", "gone.tar"),
            "gone.tar, which it names, is missing",
        ),
        (other, "hello.tar.xz has other bytes than it says"),
        (plain.replace(" 10 ", " 11 "), "has other bytes"),
        (
            plain.replace(" hello.tar", " ../hello.tar"),
            "without the digest, size and name",
        ),
        (
            plain.replace(" 10 ", " ten "),
            "without the digest, size and name",
        ),
        (plain.replace("Source: hello\n", ""), "no field `Source`"),
        (plain.replace("Version: 1.0-1\n", ""), "no field `Version`"),
        (
            plain.replace("Source: hello", "Source: a b"),
            "its field `Source`",
        ),
        (
            "Source: hello\nVersion: 1\n".to_owned(),
            "no field `Checksums-Sha256`",
        ),
        ("no field".to_owned(), "it cannot be read: line 1"),
        (String::new(), "no field `Source`"),
    ] {
        let added = files(&[("a.dsc", dsc.into()), ("hello.tar.xz", tar.clone())]);
        let made = make(&added, None);
        let reason = made
            .indexed
            .unlisted
            .get("a.dsc")
            .cloned()
            .unwrap_or_default();
        assert!(reason.contains(said), "{said}: {reason:?}");
        assert_eq!(text(&made, SOURCES), "", "{said}");
    }
}

proptest! {
    /// The order in which files were added, and an earlier build, do not change the metadata.
    #[test]
    fn the_same_packages_give_the_same_bytes(
        old in prop::collection::btree_map("[a-e]/?[a-c]\\.u?deb", "[0-9]{1,2}", 0..6),
        new in prop::collection::btree_map("[a-e]/?[a-c]\\.u?deb", "[0-9]{1,2}", 1..6),
    ) {
        let added = |versions: &BTreeMap<String, String>| {
            let all: Vec<_> = versions.iter().map(|(name, version)| (name.as_str(), deb("p", version))).collect();
            files(&all)
        };
        let before = make(&added(&old), None);
        let earlier = before.files.get(PACKAGES).and_then(|packages| {
            EarlierPackages::new(&before.files[RELEASE], packages.to_vec())
        });
        prop_assert_eq!(earlier.is_some(), !old.is_empty());
        let new = added(&new);
        prop_assert_eq!(make(&new, earlier.as_ref()), make(&new, None));
    }
}
