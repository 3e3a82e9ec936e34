use std::collections::BTreeMap;

use camino_tempfile::Utf8TempDir;
use stx_layout::{BuildId, BuildPath, Sha256};

use super::iso::{File, Image, Package};
use super::*;
use stx_publish::incoming::{Entry, Incoming};

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
        listed: Vec::new(),
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

/// An image with a published package, an unpublished one with odd fields, and a kernel.
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
fn a_bill_lists_the_packages_of_the_image_and_their_urls() {
    let at = path("outputs/iso/bootimage.iso");
    let write = || bill::write(&id(), &at, &image(), &published(), &[], "0.1.0");
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
        let text = bill::write(&build, &path(at), &image, &BTreeMap::new(), &[], "0.1.0");
        let json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
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
fn no_two_components_have_the_same_name() {
    let at = path("outputs/iso/bootimage.iso");
    let mut twice = image();
    twice.files.extend([file("isolinux/vmlinuz", 4, None)]);
    twice.files.push(file("isolinux/vmlinuz#2", 5, None));
    let list = &mut twice.files[2];
    list.listed = vec![package("kernel"), package("kernel")];
    let text = bill::write(&id(), &at, &twice, &BTreeMap::new(), &[], "0.1.0");
    let json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let components = json["components"].as_array().expect("components");
    let names = components.iter().map(|it| it["bom-ref"].as_str());
    let names: Vec<_> = names.map(|name| name.expect("a name")).collect();
    let expected = [
        "/Packages/libplatform++-1.0-2.el7.x86_64.rpm",
        "/Packages/odd-1.0-2.el7.x86_64.rpm",
        "/isolinux/vmlinuz",
        "/isolinux/vmlinuz#2",
        "/isolinux/vmlinuz#2#2",
        "listed:/isolinux/vmlinuz#kernel:x86_64",
        "listed:/isolinux/vmlinuz#kernel:x86_64#2",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        json["dependencies"][0]["dependsOn"],
        serde_json::json!(expected)
    );
}

/// A file with the name of an image that is not an image stops nothing; an image that has a bill keeps it.
#[test]
fn an_image_that_cannot_be_described_is_reported() {
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
    // A volume descriptor without contents.
    let mut torn = vec![0; 100_000];
    torn[16 * 2048..][..7].copy_from_slice(b"\x01CD001\x01");
    add("outputs/iso/torn.iso", &torn);
    let long = format!("outputs/iso/{}.iso", "a".repeat(245));
    add("outputs/iso/known.iso", b"");
    add("outputs/iso/known.iso.cdx.json", b"{}");
    // Not read: its bill could not have a name.
    let other = incoming.entries[&path("outputs/iso/empty.iso")].clone();
    incoming.entries.insert(path(&long), other);
    let before = incoming.clone();
    let failed = describe(&mut incoming, &id(), "0.1.0").failed;
    let names: Vec<_> = failed.iter().map(|(path, _)| path.as_str()).collect();
    let expected = ["empty", "short", "torn"].map(|name| format!("outputs/iso/{name}.iso"));
    let expected = [&[long][..], &expected].concat();
    assert_eq!(names, expected);
    assert!(matches!(failed[0].1, SbomError::Unnamed { .. }));
    for (path, error) in &failed[1..] {
        assert!(
            matches!(error, SbomError::NoImage { .. }),
            "{path}: {error}"
        );
    }
    assert_eq!(incoming, before);
}

/// A small ISO 9660 image, by sectors: descriptor, end of the descriptors, table of paths, root, a file.
struct Iso(Vec<u8>);

const PRIMARY: usize = 16;
const PATHS: usize = 18;
const ROOT: u32 = 19;
const FILE: u32 = 20;

/// A number as ISO 9660 writes it: little-endian, then big-endian.
fn both(number: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// A directory record.
fn record(name: &[u8], directory: bool, sector: u32, length: u32) -> Vec<u8> {
    let size = (33 + name.len()).next_multiple_of(2);
    let mut record = vec![0; size];
    record[0] = u8::try_from(size).expect("a short name");
    record[2..10].copy_from_slice(&both(sector));
    record[10..18].copy_from_slice(&both(length));
    record[25] = u8::from(directory) * 2;
    record[28..32].copy_from_slice(&[1, 0, 0, 1]);
    record[32] = u8::try_from(name.len()).expect("a short name");
    record[33..33 + name.len()].copy_from_slice(name);
    record
}

impl Iso {
    /// An image whose root has these records in addition to its own two.
    fn new(records: &[Vec<u8>]) -> Self {
        let mut iso = Self(vec![0; 21 * 2048]);
        iso.at(PRIMARY, 0, b"\x01CD001\x01");
        iso.at(PRIMARY, 80, &both(21));
        for at in [120, 124] {
            iso.at(PRIMARY, at, &[1, 0, 0, 1]);
        }
        iso.at(PRIMARY, 128, &[0, 8, 8, 0]);
        iso.at(PRIMARY, 132, &both(10));
        iso.at(PRIMARY, 140, &18_u32.to_le_bytes());
        iso.at(PRIMARY, 148, &18_u32.to_be_bytes());
        iso.at(PRIMARY, 156, &record(&[0], true, ROOT, 2048));
        iso.at(PRIMARY, 881, &[1]);
        iso.at(PRIMARY + 1, 0, b"\xffCD001\x01");
        iso.at(PATHS, 0, &[1, 0, 19, 0, 0, 0, 1, 0, 0, 0]);
        let own = [
            record(&[0], true, ROOT, 2048),
            record(&[1], true, ROOT, 2048),
        ];
        let root = own.iter().chain(records).flatten().copied();
        iso.at(ROOT as usize, 0, &root.collect::<Vec<_>>());
        iso.at(FILE as usize, 0, b"hello");
        iso
    }

    fn at(&mut self, sector: usize, offset: usize, bytes: &[u8]) {
        self.0[sector * 2048 + offset..][..bytes.len()].copy_from_slice(bytes);
    }

    /// Its files, or the error of reading it.
    fn files(self) -> Result<Vec<File>, String> {
        iso::files(std::io::Cursor::new(self.0)).map_err(|error| error.to_string())
    }
}

#[test]
fn an_image_that_claims_too_much_is_refused_before_it_is_read() {
    let file = || record(b"HELLO.TXT;1", false, FILE, 5);
    let files = Iso::new(&[file()]).files().expect("an image");
    assert_eq!(files.len(), 1);
    assert_eq!((files[0].path.as_str(), files[0].size), ("HELLO.TXT", 5));

    let mut long = Iso::new(&[file()]);
    long.at(PRIMARY, 156, &record(&[0], true, ROOT, u32::MAX - 2047));
    let inside = record(b"A", true, FILE, u32::MAX - 2047);
    let mut paths = Iso::new(&[file()]);
    paths.at(PRIMARY, 132, &both(u32::MAX));
    let mut descriptors = Iso::new(&[file()]);
    descriptors.0.resize(64 * 2048, 0);
    for sector in PRIMARY + 1..64 {
        descriptors.at(sector, 0, b"\x00CD001\x01");
    }
    let overlapping: Vec<_> = (0..10)
        .map(|n| record(&[b'A' + n], false, u32::from(n), 10 * 2048 + u32::from(n)))
        .collect();
    for (iso, reason) in [
        (long, "claims to be 4294965248 bytes long"),
        (Iso::new(&[inside]), "/A claims to be 4294965248 bytes long"),
        (
            paths,
            "its table of paths claims to be 4294967295 bytes long",
        ),
        (descriptors, "more than 32 volume descriptors"),
        (Iso::new(&overlapping), "more than 4 times its own bytes"),
        (
            Iso::new(&[record(b"A", true, ROOT, 2048)]),
            "its directory /A contains itself",
        ),
        (
            Iso::new(&[record(b"A", false, FILE, 1 << 30)]),
            "more than 4 times its own bytes",
        ),
        (
            Iso::new(&[record(b"A", false, FILE, 4096)]),
            "it ends too early",
        ),
    ] {
        let error = iso.files().expect_err(reason);
        assert!(error.contains(reason), "{error}, not {reason}");
    }
}
