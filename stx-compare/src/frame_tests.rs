//! Real package files, and what anybody may make of them.

use rpm::{BuildConfig, CompressionType, FileOptions, PackageBuilder, PackageMetadata};

use super::{Frame, HeaderError, LONGEST_HEADER, frame};
use crate::change::Change;
use crate::compare;
use crate::header::{package, read};

/// A package with files, dependencies and a scriptlet.
fn built(text: &str) -> Vec<u8> {
    let config = BuildConfig::default()
        .compression(CompressionType::Gzip)
        .source_date(1_577_836_800);
    let mut builder = PackageBuilder::new("hello", "1.0", "MIT", "noarch", "greets");
    builder.release("1").using_config(config);
    for name in ["a", "b"] {
        let options = FileOptions::new(format!("/usr/share/hello/{name}"));
        builder
            .with_file_contents(text.as_bytes().to_vec(), options)
            .expect("a file");
    }
    builder
        .requires(rpm::Dependency::any("bash"))
        .post_install_script("true\n");
    let mut bytes = Vec::new();
    let package = builder.build().expect("a package");
    package.write(&mut bytes).expect("written");
    bytes
}

/// Where the headers of a package are.
fn headers(bytes: &[u8]) -> [std::ops::Range<usize>; 2] {
    match frame(bytes).expect("a package") {
        Frame::Whole { signature, header } => [signature, header],
        Frame::Needs(needed) => panic!("{needed} bytes needed"),
    }
}

#[test]
fn a_package_is_read_from_as_many_bytes_as_it_asks_for() {
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
            matches!(cut, Err(HeaderError::Truncated { .. })),
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

#[test]
fn a_damaged_header_is_told_by_its_digests() {
    let bytes = built("one");
    let [_, header] = headers(&bytes);
    for at in header.start + 16..header.end {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        assert!(package(&bytes).is_err(), "byte {at} is not looked at");
    }
}

#[test]
fn whatever_the_index_says_nothing_panics_and_nothing_is_shared() {
    let bytes = built("one");
    for header in headers(&bytes) {
        let entries = u32::from_be_bytes(bytes[header.start + 8..][..4].try_into().expect("4"));
        for field in 0..entries as usize * 4 {
            let at = header.start + 16 + 4 * field;
            for value in [0, 1, 2, 6, 9, 100, 1000, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
                let mut bytes = bytes.clone();
                bytes[at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
                // As whoever makes it would make the digests too, they are not what protects.
                if frame(&bytes).is_ok()
                    && let Ok(metadata) = PackageMetadata::parse(&mut &bytes[..])
                {
                    drop(read(&metadata));
                }
            }
        }
    }
}

#[test]
fn sizes_beyond_reason_are_refused_before_anything_is_read() {
    let bytes = built("one");
    let [signature, header] = headers(&bytes);
    for begin in [signature.start, header.start] {
        for field in [8, 12] {
            for value in [
                u32::MAX,
                0x7fff_ffff,
                u32::try_from(LONGEST_HEADER).expect("fits"),
            ] {
                let mut bytes = bytes[..begin + 16].to_vec();
                bytes[begin + field..][..4].copy_from_slice(&value.to_be_bytes());
                let refused = frame(&bytes);
                assert!(
                    matches!(refused, Err(HeaderError::TooLong { .. })),
                    "{refused:?}"
                );
            }
        }
    }
}

#[test]
fn data_that_is_counted_twice_is_refused() {
    // 64 entries that each claim the same 1 MiB.
    let mut bytes = vec![0; 96];
    bytes[..4].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb]);
    let intro = |entries: u32, size: u32| {
        let words = [0x8ead_e801, 0, entries, size];
        words.map(u32::to_be_bytes).concat()
    };
    bytes.extend(intro(0, 0));
    bytes.extend(intro(64, 1 << 20));
    for tag in 1000..1064_u32 {
        bytes.extend([tag, 7, 0, 1 << 20].map(u32::to_be_bytes).concat());
    }
    bytes.resize(bytes.len() + (1 << 20), 0);
    let refused = frame(&bytes);
    assert!(
        matches!(refused, Err(HeaderError::Lies { tag: 1001 })),
        "{refused:?}"
    );
}

#[test]
fn what_is_no_package_is_said_so() {
    let mut bytes = built("one");
    assert!(matches!(
        frame(b"<html>"),
        Err(HeaderError::NotAPackage { at: 0, .. })
    ));
    bytes[96] = 0;
    assert!(matches!(
        frame(&bytes),
        Err(HeaderError::NotAPackage { at: 96, .. })
    ));
}
