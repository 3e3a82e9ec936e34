use std::collections::BTreeMap;

use camino_tempfile::Utf8TempDir;
use stx_layout::{BuildId, BuildPath, Sha256};

use super::iso::{File, Image, Package};
use super::*;
use crate::incoming::{Entry, Incoming};

fn id() -> BuildId {
    "master/centos/20181105T060000Z".parse().expect("a build")
}

fn path(text: &str) -> BuildPath {
    text.parse().expect("a path")
}

fn file(path: &str, digest: u8, package: Option<Package>) -> File {
    File {
        path: path.to_owned(),
        size: 1,
        digest: Sha256([digest; 32]),
        package,
    }
}

fn package(name: &str) -> Package {
    Package {
        name: name.to_owned(),
        version: "1.0".to_owned(),
        release: "2.el7".to_owned(),
        arch: "x86_64".to_owned(),
        ..Package::default()
    }
}

/// An image of a package that is published, one that is not and says odd things of itself, and a kernel.
fn image() -> Image {
    let whole = Package {
        epoch: Some(2),
        license: Some("MIT OR Apache-2.0".to_owned()),
        vendor: Some("StarlingX".to_owned()),
        url: Some("https://www.starlingx.io/".to_owned()),
        summary: Some("A platform".to_owned()),
        source: Some("libplatform++-1.0-2.el7.src.rpm".to_owned()),
        ..package("libplatform++")
    };
    let odd = Package {
        license: Some("GPLv2+ and\nsomething".to_owned()),
        vendor: Some("A\tvendor".to_owned()),
        url: Some("not a URL".to_owned()),
        summary: Some("Two\nlines".to_owned()),
        ..package("odd")
    };
    Image {
        digest: Sha256([9; 32]),
        files: vec![
            file(
                "Packages/libplatform++-1.0-2.el7.x86_64.rpm",
                1,
                Some(whole),
            ),
            file("Packages/odd-1.0-2.el7.x86_64.rpm", 2, Some(odd)),
            file("isolinux/vmlinuz", 3, None),
        ],
    }
}

fn published() -> bill::Published {
    let at = path("outputs/RPMS/std/libplatform++-1.0-2.el7.x86_64.rpm");
    BTreeMap::from([(Sha256([1; 32]), vec![(at, Sha256([7; 32]))])])
}

#[test]
fn a_bill_says_what_is_in_the_image_and_where_it_is_published() {
    let at = path("outputs/iso/bootimage.iso");
    let write = || bill::write(&id(), &at, &image(), &published(), "0.1.0").expect("a bill");
    let text = write();
    assert_eq!(text, write());
    insta::assert_snapshot!(str::from_utf8(&text).expect("UTF-8"));
}

#[test]
fn each_image_of_each_build_has_a_number_of_its_own() {
    let number = |build: &str, at: &str, digest: u8| -> serde_json::Value {
        let image = Image {
            digest: Sha256([digest; 32]),
            ..image()
        };
        let build = build.parse().expect("a build");
        let text = bill::write(&build, &path(at), &image, &BTreeMap::new(), "0.1.0");
        let json: serde_json::Value = serde_json::from_slice(&text.expect("a bill")).expect("JSON");
        json["serialNumber"].clone()
    };
    let (build, at) = (
        "master/centos/20181105T060000Z",
        "outputs/iso/bootimage.iso",
    );
    let first = number(build, at, 9);
    assert_eq!(first, number(build, at, 9));
    assert_ne!(first, number(build, at, 8));
    assert_ne!(first, number(build, "outputs/iso/other.iso", 9));
    assert_ne!(first, number("master/centos/20181106T060000Z", at, 9));
}

#[test]
fn images_are_known_by_their_names_and_bills_by_those_of_images() {
    for (name, image) in [
        ("outputs/iso/bootimage.iso", true),
        ("outputs/x.iso", true),
        ("inputs/downloads/x.iso", false),
        ("outputs/iso/bootimage.sig", false),
    ] {
        assert_eq!(is_image(&path(name)), image, "{name}");
        let bill = path(&format!("{name}{SUFFIX}"));
        assert_eq!(image_of(&bill).is_some(), image, "{name}");
        assert_eq!(image_of(&path(name)), None, "{name}");
    }
}

/// What is called an image and is none does not stop anything; what has a bill keeps it.
#[test]
fn what_cannot_be_described_is_said() {
    let dir = Utf8TempDir::new().expect("a directory");
    let mut incoming = Incoming::default();
    let mut add = |name: &str, bytes: &[u8]| {
        let source = dir.path().join(name.replace('/', "_"));
        fs_err::write(&source, bytes).expect("a file");
        let entry = Entry::File {
            source,
            size: bytes.len() as u64,
            executable: false,
            digest: None,
        };
        incoming.entries.insert(path(name), entry);
    };
    add("outputs/iso/empty.iso", b"");
    add("outputs/iso/short.iso", &vec![0; 100_000]);
    // A volume descriptor that says nothing.
    let mut torn = vec![0; 100_000];
    torn[16 * 2048..][..7].copy_from_slice(b"\x01CD001\x01");
    add("outputs/iso/torn.iso", &torn);
    add("outputs/iso/known.iso", b"");
    add("outputs/iso/known.iso.cdx.json", b"{}");
    let before = incoming.clone();
    let failed = describe(&mut incoming, &id(), "0.1.0");
    let names: Vec<_> = failed.iter().map(|(path, _)| path.file_name()).collect();
    assert_eq!(names, ["empty.iso", "short.iso", "torn.iso"]);
    for (path, error) in &failed {
        assert!(
            matches!(error, SbomError::NoImage { .. }),
            "{path}: {error}"
        );
    }
    assert_eq!(incoming, before);
}
