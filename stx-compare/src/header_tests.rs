//! Real package files, and what anybody may make of them.

use rpm::{BuildConfig, CompressionType, FileOptions, PackageBuilder, PackageMetadata};

use stx_layout::rpm::{Frame, FrameError, frame};

use super::{HeaderError, package, read};
use crate::change::Change;
use crate::compare;

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
