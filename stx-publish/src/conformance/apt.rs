//! The metadata that a store makes for Debian packages.

use std::collections::BTreeMap;

use bytes::Bytes;
use stx_layout::{BuildOutcome, BuildPath, Sha256};

use super::{path, sample_id, sample_request, test_seal};
use crate::incoming::{Entry, Incoming, digest_of};
use crate::metadata::apt::AptRepository;
use crate::plan::PublishRequest;
use crate::publish::{prepare, publish};
use crate::store::rules::{index_apt, open_generated};
use crate::store::{MirrorStore, read_all};

/// A binary package with `control` as its control file, and no other files.
pub fn sample_deb(control: &str) -> Bytes {
    let end = [0; 1024];
    let mut package = b"!<arch>\n".to_vec();
    for (name, bytes) in [
        ("debian-binary", b"2.0\n".to_vec()),
        (
            "control.tar",
            [&tar_file("./control", control.as_bytes())[..], &end].concat(),
        ),
        ("data.tar", end.to_vec()),
    ] {
        let length = bytes.len();
        let header = format!(
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{length:<10}`\n",
            0, 0, 0, "100644"
        );
        package.extend_from_slice(header.as_bytes());
        package.extend_from_slice(&bytes);
        if length % 2 == 1 {
            package.push(b'\n');
        }
    }
    package.into()
}

/// A file of a `tar` archive, padded to whole blocks.
fn tar_file(name: &str, bytes: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut header = [0; BLOCK];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", bytes.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut file = [&header[..], bytes].concat();
    file.resize(file.len().next_multiple_of(BLOCK), 0);
    file
}

/// The control file of a package.
pub fn sample_control(name: &str, version: &str) -> String {
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: A <a@example.org>\n\
         Description: sample\n verbatim:\n   x\n .\n end\n"
    )
}

/// The `.dsc` of a source package of one file.
pub fn sample_dsc(name: &str, version: &str, file: &str, bytes: &[u8]) -> String {
    format!(
        "Format: 3.0 (native)\nSource: {name}\nBinary: {name}\nVersion: {version}\n\
         Checksums-Sha256:\n {} {} {file}\n",
        digest_of(bytes),
        bytes.len()
    )
}

const STD: &str = "outputs/std/packages";
const SOURCES: &str = "outputs/std/sources";

/// A build with packages, one of them broken, with sources, and with metadata that it brings itself.
fn request(day: u32) -> PublishRequest {
    let mut request = sample_request(day, BuildOutcome::Success, &format!("day {day}"));
    let tar = b"no archive".as_slice();
    let dsc = sample_dsc("hello", "1.0", "hello_1.0.tar.xz", tar);
    let daily = sample_deb(&sample_control("daily", &format!("1.{day}")));
    for (name, bytes) in [
        (
            "outputs/std/packages/hello_1%3a1.0-1_all.deb",
            sample_deb(&sample_control("hello", "1:1.0-1")),
        ),
        ("outputs/std/packages/daily_1_all.deb", daily),
        ("outputs/std/packages/broken.deb", tar.into()),
        ("outputs/std/packages/Packages.gz", tar.into()),
        ("outputs/std/packages/Release", tar.into()),
        ("outputs/std/sources/hello/hello_1.0.dsc", dsc.into()),
        ("outputs/std/sources/hello/hello_1.0.tar.xz", tar.into()),
    ] {
        let entry = Entry::Generated(bytes);
        request
            .tree
            .incoming_mut()
            .entries
            .insert(path(name), entry);
    }
    request
}

/// The metadata that [`request`] gets on every store.
fn expected(day: u32) -> BTreeMap<BuildPath, Bytes> {
    let mut request = request(day);
    let added: &mut Incoming = request.tree.incoming_mut();
    added.entries.remove(&path("outputs/std/packages/Release"));
    added
        .entries
        .remove(&path("outputs/std/packages/Packages.gz"));
    let mut all = BTreeMap::new();
    for dir in [STD, SOURCES] {
        let repository = AptRepository::of(&path(dir), added);
        let open = open_generated(added);
        let made = index_apt(&test_seal(), &sample_id(day), &repository, None, &open);
        all.extend(made.expect("made").0);
    }
    all
}

/// Every store makes the same metadata of apt repositories, with or without an earlier build.
pub(super) async fn run(store: &dyn MirrorStore) {
    for day in [4, 5] {
        let id = sample_id(day);
        let plan = prepare(store, request(day)).await.expect("a plan");
        let report = publish(store, &plan).await.expect("published");
        let indexed = &report.metadata[&path(STD)];
        assert_eq!(indexed.listed, 2);
        let unlisted: Vec<_> = indexed.unlisted.keys().collect();
        assert_eq!(unlisted, ["broken.deb"], "{indexed:?}");
        let replaced: Vec<_> = indexed.replaced.iter().collect();
        assert_eq!(replaced, ["Packages.gz", "Release"]);
        assert_eq!(report.metadata[&path(SOURCES)].listed, 1);

        let sums = store.sums(&id).await.expect("sums");
        let expected = expected(day);
        // Lists in three forms, each also named by its digest; `Release` and two signatures.
        assert_eq!(expected.len(), 2 * (3 + 3 + 3));
        for (path, bytes) in &expected {
            let read = read_all(store, &id, path, 1 << 20).await.expect("there");
            assert_eq!(Bytes::from(read), *bytes, "{path}");
            assert_eq!(sums.get(path), Some(digest_of(bytes)), "{path}");
        }
        let is_made = |name: &str| {
            let dirs = [STD, SOURCES]
                .iter()
                .filter_map(|dir| name.strip_prefix(dir));
            dirs.filter(|rest| !rest.ends_with("deb")).count() > 0 && !name.contains("hello")
        };
        let lines = sums.lines().iter();
        let made: BTreeMap<_, _> = lines
            .filter(|line| is_made(line.path.as_str()))
            .map(|line| (&line.path, line.digest))
            .collect();
        let expected: BTreeMap<&BuildPath, Sha256> = expected
            .iter()
            .map(|(path, bytes)| (path, digest_of(bytes)))
            .collect();
        assert_eq!(made, expected, "nothing else is made");
        let again = prepare(store, request(day)).await.expect("a plan");
        assert!(again.is_noop(), "{again}");
    }
}
