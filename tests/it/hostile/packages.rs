//! Packages with false headers: `publish` reads them in four places (the search for private data, the signing, the metadata, and the
//! bill of materials of an image that contains them), and none of these trusts a count.

use camino::Utf8Path;
use camino_tempfile::Utf8TempDir;
use stx_layout::rpm::Headers;

use super::watched;
use crate::harness::{assert_whole, package, run, stx, tool};
use crate::signing::key::Key;

const CHANNEL: &str = "master/centos";
const DATE: &str = "20200101T000000Z";
const STD: &str = "outputs/RPMS/std";

/// More than publishing these files needs, in bytes; debug builds need more memory.
const MEMORY: u64 = 500 << 20;

/// A header with these index entries, and so many bytes of data.
fn header(entries: &[[u32; 4]], data: usize) -> Vec<u8> {
    let sizes = [entries.len(), data].map(|size| u32::try_from(size).expect("it fits"));
    let words = [0x8ead_e801, 0, sizes[0], sizes[1]].into_iter();
    let words = words.chain(entries.iter().flatten().copied());
    let mut header: Vec<_> = words.flat_map(u32::to_be_bytes).collect();
    header.resize(header.len() + data, 0);
    header
}

/// A package with this main header.
fn with(main: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 96];
    bytes[..4].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb]);
    bytes.extend(header(&[], 0));
    bytes.extend_from_slice(main);
    bytes
}

/// Files that claim to be packages, each with a part of the reason for its refusal.
fn liars() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let huge = 0x7fff_ffff;
    let many: Vec<_> = (0..100_000).map(|tag| [tag, 0, 0, 0]).collect();
    let shared: Vec<_> = (1000..1500).map(|tag| [tag, 7, 0, 16 << 20]).collect();
    let sizes = |count: u32, size: u32| {
        let mut main = header(&[], 0);
        main[8..12].copy_from_slice(&count.to_be_bytes());
        main[12..16].copy_from_slice(&size.to_be_bytes());
        main
    };
    vec![
        // 29 KB.
        (
            "strings",
            with(&header(&[[1000, 8, 0, huge]], 29_000)),
            "tag 1000 points outside",
        ),
        (
            "numbers",
            with(&header(&[[1000, 5, 0, u32::MAX]], 100)),
            "tag 1000 points outside",
        ),
        (
            "offset",
            with(&header(&[[1000, 6, u32::MAX, 1]], 100)),
            "tag 1000 points outside",
        ),
        // 16 MB.
        (
            "shared",
            with(&header(&shared, 16 << 20)),
            "tag 1001 points outside",
        ),
        ("tags", with(&header(&many, 0)), "100000 tags"),
        ("count", with(&sizes(u32::MAX, 0)), "4294967295 tags"),
        ("size", with(&sizes(0, u32::MAX)), "no more than"),
        ("short", with(&sizes(0, 1 << 20)), "the file ends at byte"),
    ]
}

/// Packages with some changed bytes, always the same ones.
fn mutated() -> Vec<Vec<u8>> {
    let whole = fs_err::read(package()).expect("a package");
    let end = Headers::parse(&whole).expect("a package").payload;
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).expect("small")
    };
    let mutate = |_| {
        let mut bytes = whole.clone();
        for _ in 0..=random(3) {
            let at = random(end - 96) + 96;
            bytes[at] = match random(4) {
                0 => 0xff,
                1 => 0,
                2 => bytes[at] ^ (1 << random(8)),
                _ => u8::try_from(random(256)).expect("a byte"),
            };
        }
        bytes
    };
    (0..120).map(mutate).collect()
}

/// Publishes a tree with these files among its packages and in an ISO image.
fn publish(dir: &Utf8TempDir, config: &str, files: &[(String, Vec<u8>)]) -> serde_json::Value {
    let at = |path: &str| dir.path().join(path);
    for (name, bytes) in files {
        for to in [format!("tree/{STD}"), "disc/Packages".to_owned()] {
            fs_err::create_dir_all(at(&to)).expect("a directory");
            fs_err::write(at(&to).join(name), bytes).expect("a file");
        }
    }
    fs_err::create_dir_all(at("tree/outputs/iso")).expect("a directory");
    let (image, disc) = (at("tree/outputs/iso/bootimage.iso"), at("disc"));
    run(&mut tool(
        "xorriso",
        [
            "-outdev",
            image.as_str(),
            "-joliet",
            "on",
            "-map",
            disc.as_str(),
            "/",
            "-commit",
        ],
    ))
    .ok();
    let config = format!("mirror = \"mirror\"\n{config}\n");
    fs_err::write(at("stx-builds.toml"), config).expect("a file");
    let mut command = stx(["--format", "json", "publish", "tree", "--channel", CHANNEL]);
    command.args(["--date", DATE, "--result", "success"]);
    let (ran, peak) = watched(command.current_dir(dir.path()));
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    assert!(peak < MEMORY, "{} MiB of memory", peak >> 20);
    let report = ran.code(0).json();
    let build = at("mirror").join(CHANNEL).join(DATE);
    let bill = build.join("outputs/iso/bootimage.iso.cdx.json");
    let bill = fs_err::read_to_string(bill).expect("a bill of materials");
    for (name, _) in files {
        assert!(bill.contains(name.as_str()), "the bill leaves {name} out");
    }
    assert_whole(&at("mirror"), CHANNEL);
    report
}

/// Configurations with and without signing of packages.
fn configs(key: &Key, dir: &Utf8Path) -> [String; 2] {
    let secret = dir.join("secret.asc");
    key.export_secret(&secret);
    [String::new(), format!("[signing]\nkey_file = \"{secret}\"")]
}

#[test]
fn false_claims_of_a_package_header_are_refused() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    for config in configs(&key, key.home()) {
        let dir = Utf8TempDir::new().expect("a directory");
        let files: Vec<_> = liars()
            .into_iter()
            .map(|(name, bytes, _)| (format!("{name}.rpm"), bytes))
            .collect();
        let report = publish(&dir, &config, &files);
        let unlisted = report["metadata"][STD]["unlisted"].as_object();
        let unlisted = unlisted.expect("an object");
        for (name, _, why) in liars() {
            let reason = unlisted[&format!("{name}.rpm")].as_str().expect("a text");
            assert!(reason.contains(why), "{name}: {reason}");
        }
    }
}

#[test]
fn mutated_packages_are_listed_or_reported() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let files: Vec<_> = mutated()
        .into_iter()
        .enumerate()
        .map(|(number, bytes)| (format!("mutated-{number}.rpm"), bytes))
        .collect();
    for config in configs(&key, key.home()) {
        let dir = Utf8TempDir::new().expect("a directory");
        let report = publish(&dir, &config, &files);
        let metadata = &report["metadata"][STD];
        let unlisted = metadata["unlisted"]
            .as_object()
            .map_or(0, serde_json::Map::len);
        let listed = metadata["listed"].as_u64().expect("a number");
        assert_eq!(listed + unlisted as u64, files.len() as u64);
        assert!(listed > 20 && unlisted > 5, "{listed} and {unlisted}");
    }
}
