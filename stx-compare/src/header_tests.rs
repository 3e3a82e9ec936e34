//! Real package files, and crafted ones.

use rpm::{BuildConfig, CompressionType, FileOptions, PackageBuilder, PackageMetadata};

use stx_layout::rpm::{Frame, FrameError, Headers, frame};

use super::{HeaderError, package, read, told_apart};
use crate::change::Change;
use crate::compare;

/// A package with files, dependencies and a scriptlet.
fn built(text: &str) -> Vec<u8> {
    built_with(text, "b")
}

/// The same, with a given name for one of the files, which is also in the provides and the changelog.
fn built_with(text: &str, name: &str) -> Vec<u8> {
    let config = BuildConfig::default()
        .compression(CompressionType::Gzip)
        .source_date(1_577_836_800);
    let mut builder = PackageBuilder::new("hello", "1.0", "MIT", "noarch", "greets");
    builder.release("1").using_config(config);
    for name in ["a", name] {
        let options = FileOptions::new(format!("/usr/share/hello/{name}"));
        builder
            .with_file_contents(text.as_bytes().to_vec(), options)
            .expect("a file");
    }
    builder
        .requires(rpm::Dependency::any("bash"))
        .provides(rpm::Dependency::any(name))
        .add_changelog_entry(name, name, 1_577_836_800_u32)
        .post_install_script("true\n");
    let mut bytes = Vec::new();
    let package = builder.build().expect("a package");
    package.write(&mut bytes).expect("written");
    bytes
}

/// The ranges of the headers of a package.
fn headers(bytes: &[u8]) -> [std::ops::Range<usize>; 2] {
    match frame(bytes).expect("a package") {
        Frame::Whole { signature, header } => [signature, header],
        Frame::Needs(needed) => panic!("{needed} bytes needed"),
    }
}

#[test]
fn a_package_is_read_from_the_bytes_that_it_requests() {
    let bytes = built("one");
    let [_, header] = headers(&bytes);
    let mut needed = 0;
    let mut asked = 0;
    while let Frame::Needs(more) = frame(&bytes[..needed]).expect("a package") {
        assert!(more > needed && more <= header.end, "{more} after {needed}");
        needed = more;
        asked += 1;
    }
    assert_eq!((needed, asked), (header.end, 3));
    assert_eq!(package(&bytes[..needed]).expect("a package").files.len(), 2);
    for length in 0..header.end {
        let cut = package(&bytes[..length]);
        assert!(
            matches!(
                cut,
                Err(HeaderError::Frame {
                    source: FrameError::Truncated { .. }
                })
            ),
            "{length}: {cut:?}"
        );
    }
}

#[test]
fn real_packages_are_compared() {
    let (one, two) = (built("one"), built("two"));
    let (one, two) = (package(&one).expect("one"), package(&two).expect("two"));
    assert!(compare(&one, &one).is_empty());
    let changed: Vec<_> = compare(&one, &two)
        .changes
        .into_iter()
        .map(|change| match change {
            Change::FileChanged { path, .. } => path,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(changed, ["/usr/share/hello/a", "/usr/share/hello/b"]);
}

/// The package with `old` replaced in its main header; the digests are then wrong, and are not checked.
fn patched(old: &str, new: &[u8]) -> crate::Package {
    let mut bytes = built_with("one", old);
    let [_, header] = headers(&bytes);
    let found = bytes[header.clone()].windows(old.len()).enumerate();
    let at: Vec<_> = found
        .filter(|(_, window)| *window == old.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(at.len() >= 3, "name, provides and changelog");
    for at in at {
        bytes[header.start + at..][..new.len()].copy_from_slice(new);
    }
    let headers = Headers::parse(&bytes).expect("sound");
    let metadata = PackageMetadata::parse(&mut &bytes[..headers.payload]).expect("parsed");
    let metadata = told_apart(metadata, &bytes, &headers);
    read(&metadata.expect("told apart")).expect("a package")
}

#[test]
fn texts_that_are_not_utf_8_differ_as_their_bytes_do() {
    let (one, two) = (patched("caf_", b"caf\xe9"), patched("caf_", b"caf\xe8"));
    assert!(compare(&one, &one).is_empty());
    assert!(one.files.contains_key("/usr/share/hello/caf\u{fffd}e9"));
    let kinds: Vec<_> = compare(&one, &two)
        .changes
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = [
        "+ /usr/share/hello/caf?e8 (100644, root:root, 3 bytes)",
        "- /usr/share/hello/caf?e9 (100644, root:root, 3 bytes)",
        "+ provides caf?e8",
        "- provides caf?e9",
        "+ changelog 2020-01-01 caf?e8: caf?e8\n- changelog 2020-01-01 caf?e9: caf?e9",
    ];
    assert_eq!(kinds, expected.map(|line| line.replace('?', "\u{fffd}")));
    // The replacement character and the digits after it do not collide with the same literal text.
    let literal = patched("caf_12345", "caf\u{fffd}e9_".as_bytes());
    let byte = patched("caf_12345", b"caf\xe9_1234");
    assert_ne!(literal.files.keys().nth(1), byte.files.keys().nth(1));
}

/// Changes the count of a tag of the main header.
fn recounted(bytes: &mut [u8], tag: u32, count: u32) {
    let [_, header] = headers(bytes);
    let entries = bytes[header.clone()].chunks_exact(16);
    let at = entries
        .skip(1)
        .position(|entry| entry[..4] == tag.to_be_bytes());
    let at = header.start + 16 * (1 + at.expect("the tag"));
    bytes[at + 12..at + 16].copy_from_slice(&count.to_be_bytes());
}

#[test]
fn triggers_without_a_program_are_read_without_one() {
    let mut builder = PackageBuilder::new("hello", "1.0", "MIT", "noarch", "greets");
    for name in ["bash", "sed"] {
        builder
            .trigger_in(name, None, "true\n")
            .file_trigger_in(name, None, "true\n")
            .trans_file_trigger_in(name, None, "true\n");
    }
    let mut bytes = Vec::new();
    let whole = builder.build().expect("a package");
    whole.write(&mut bytes).expect("written");
    let named = |bytes: &[u8]| {
        let metadata = PackageMetadata::parse(&mut &*bytes).expect("parsed");
        read(&metadata).expect("a package").scriptlets
    };
    let before = named(&bytes);
    assert_eq!(before.len(), 6);
    assert!(before.values().all(|trigger| trigger.program.len() == 1));
    for (number, programs) in [1092, 5067, 5077].into_iter().enumerate() {
        recounted(&mut bytes, programs, 1);
        let after = named(&bytes);
        assert!(after.keys().eq(before.keys()), "{after:?}");
        let without = after.values().filter(|trigger| trigger.program.is_empty());
        assert_eq!(without.count(), number + 1);
    }
}

#[test]
fn a_damaged_header_is_detected_by_its_digests() {
    let bytes = built("one");
    let [_, header] = headers(&bytes);
    for at in header.start + 16..header.end {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        assert!(package(&bytes).is_err(), "byte {at} is not looked at");
    }
}

#[test]
fn an_arbitrary_index_causes_no_panic_and_no_overlap() {
    let bytes = built("one");
    for header in headers(&bytes) {
        let entries = u32::from_be_bytes(bytes[header.start + 8..][..4].try_into().expect("4"));
        for field in 0..entries as usize * 4 {
            let at = header.start + 16 + 4 * field;
            for value in [0, 1, 2, 6, 9, 100, 1000, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
                let mut bytes = bytes.clone();
                bytes[at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
                // Digests are not checked here: a crafted package can have valid digests, so they are no protection.
                if frame(&bytes).is_ok()
                    && let Ok(metadata) = PackageMetadata::parse(&mut &bytes[..])
                {
                    drop(read(&metadata));
                }
            }
        }
    }
}
