use super::*;

/// Number, type, count and data.
type RawTag<'a> = (u32, u32, u32, &'a [u8]);

/// A header of these tags, laid out without gaps.
fn header(tags: &[RawTag<'_>]) -> Vec<u8> {
    let (mut index, mut data) = (Vec::new(), Vec::new());
    for (tag, kind, count, bytes) in tags {
        let offset = u32::try_from(data.len()).expect("small");
        index.extend([*tag, *kind, offset, *count].map(u32::to_be_bytes).concat());
        data.extend_from_slice(bytes);
    }
    let sizes = [tags.len(), data.len()].map(|size| u32::try_from(size).expect("small"));
    let intro = [0x8ead_e801, 0, sizes[0], sizes[1]].map(u32::to_be_bytes);
    [&intro.concat()[..], &index, &data].concat()
}

/// A package of these two headers, and a payload of three bytes.
fn package(signature: &[u8], main: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; LEAD];
    bytes[..4].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb]);
    bytes.extend_from_slice(signature);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend_from_slice(main);
    bytes.extend_from_slice(b"abc");
    bytes
}

fn small() -> Vec<u8> {
    package(
        &header(&[(1004, 7, 3, b"\x01\x02\x03")]),
        &header(&[
            (1000, 6, 1, b"caf\xe9\0"),
            (1047, 8, 2, b"one\0\0"),
            (1028, 4, 2, &[0, 0, 0, 1, 0, 0, 1, 0]),
            (1030, 3, 1, &[0x81, 0xed]),
            (5009, 5, 1, &[0, 0, 0, 1, 0, 0, 0, 0]),
        ]),
    )
}

#[test]
fn tags_are_read_as_bytes_and_numbers() {
    let bytes = small();
    let headers = Headers::parse(&bytes).expect("a package");
    assert_eq!(headers.signature.binary(1004), Some(&[1, 2, 3][..]));
    let main = headers.main;
    assert_eq!(main.string(1000), Some(&b"caf\xe9"[..]));
    assert_eq!(main.strings(1047), [&b"one"[..], b""]);
    assert_eq!(main.numbers(1028), [1, 256]);
    assert_eq!(main.number(1030), Some(0o100_755));
    assert_eq!(main.number(5009), Some(1 << 32));
    assert_eq!(&bytes[headers.payload..], b"abc");
    assert_eq!(main.bytes(), &bytes[headers.begin..headers.payload]);
    let tags: Vec<_> = main.tags().map(|tag| (tag.tag, tag.data.len())).collect();
    assert_eq!(
        tags,
        [(1000, 5), (1047, 5), (1028, 8), (1030, 2), (5009, 8)]
    );
    // These accessors return nothing for a tag of another type, or for one that is missing.
    assert_eq!(
        (main.string(1028), main.number(1000), main.binary(1000)),
        (None, None, None)
    );
    assert!(main.strings(7).is_empty() && main.numbers(1047).is_empty());
}

#[test]
fn a_head_is_read_to_its_last_byte_and_no_further() {
    let bytes = small();
    let payload = Headers::parse(&bytes).expect("a package").payload;
    let mut reader = &bytes[..];
    assert_eq!(read_head(&mut reader).expect("read"), bytes[..payload]);
    assert_eq!(reader, b"abc");
    for length in 0..payload {
        let cut = read_head(&mut &bytes[..length]);
        assert!(
            matches!(
                cut,
                Err(HeadError::Frame {
                    source: FrameError::Truncated { .. }
                })
            ),
            "{length}: {cut:?}"
        );
    }
}

#[test]
fn a_short_file_is_not_a_package() {
    let refused = read_head(&mut &b"<html>"[..]);
    assert!(matches!(
        refused,
        Err(HeadError::Frame {
            source: FrameError::NotAPackage { at: 0, .. }
        })
    ));
}

#[test]
fn excessive_sizes_are_refused_before_anything_is_read() {
    let bytes = small();
    let begin = Headers::parse(&bytes).expect("a package").begin;
    for begin in [LEAD, begin] {
        for field in [8, 12] {
            for value in [u32::MAX, 0x7fff_ffff, 0x0200_0000] {
                let mut bytes = bytes[..begin + INTRO].to_vec();
                bytes[begin + field..][..4].copy_from_slice(&value.to_be_bytes());
                let refused = frame(&bytes).expect_err("far too much");
                let expected = if field == 8 {
                    matches!(refused, FrameError::TooManyTags { .. })
                } else {
                    matches!(refused, FrameError::TooLong { .. })
                };
                assert!(expected, "{refused:?}");
            }
        }
    }
}

#[test]
fn as_many_tags_as_rpm_accepts_are_accepted() {
    let empty: &[u8] = &[];
    for (count, accepted) in [(MOST_TAGS, true), (MOST_TAGS + 1, false)] {
        let tags = vec![(1000, 0, 0, empty); count as usize];
        let bytes = package(&header(&[]), &header(&tags));
        assert_eq!(frame(&bytes).is_ok(), accepted, "{count}");
    }
}

#[test]
fn overlapping_data_is_refused() {
    // 64 entries that each claim the same 1 MiB.
    let mut main = [0x8ead_e801, 0, 64, 1 << 20].map(u32::to_be_bytes).concat();
    for tag in 1000..1064_u32 {
        main.extend([tag, 7, 0, 1 << 20].map(u32::to_be_bytes).concat());
    }
    main.resize(main.len() + (1 << 20), 0);
    let refused = frame(&package(&header(&[]), &main));
    assert_eq!(refused, Err(FrameError::Lies { tag: 1001 }));
}

#[test]
fn counts_without_data_are_refused() {
    for (kind, count) in [
        (8, 0x7fff_ffff),
        (9, 4),
        (6, 5),
        (5, 2),
        (4, u32::MAX),
        (7, 9),
        (11, 1),
    ] {
        let bytes = package(
            &header(&[]),
            &header(&[(1000, kind, count, b"1\0 2\0 3\0")]),
        );
        assert_eq!(frame(&bytes), Err(FrameError::Lies { tag: 1000 }), "{kind}");
    }
}

#[test]
fn every_tag_can_be_read_with_arbitrary_fields() {
    let whole = small();
    for at in LEAD..whole.len() {
        for value in [0, 1, 2, 6, 9, 100, 0x7f, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            let Ok(headers) = Headers::parse(&bytes) else {
                continue;
            };
            for header in [headers.signature, headers.main] {
                let data: usize = header.tags().map(|tag| tag.data.len()).sum();
                assert!(data <= header.bytes().len(), "byte {at}");
                for tag in header.tags() {
                    let strings = tag.strings().map_or(0, Iterator::count);
                    let numbers = tag.numbers().map_or(0, Iterator::count);
                    assert!(strings + numbers <= tag.data.len(), "byte {at}");
                }
            }
        }
    }
}

#[test]
fn a_file_with_a_wrong_magic_number_is_not_a_package() {
    let mut bytes = small();
    assert!(matches!(
        frame(b"<html>"),
        Err(FrameError::NotAPackage { at: 0, .. })
    ));
    bytes[LEAD] = 0;
    assert!(matches!(
        frame(&bytes),
        Err(FrameError::NotAPackage { at: 96, .. })
    ));
}

#[test]
fn a_text_is_utf_8_or_latin_1() {
    assert_eq!(text("Grüße".as_bytes()), "Grüße");
    assert_eq!(text(b"Gr\xfc\xdfe \xb0\x85"), "Grüße ");
}

#[test]
fn a_source_package_is_recognised() {
    let yes: &[u8] = &[0, 0, 0, 1];
    let cases: [(&[RawTag<'_>], bool); 5] = [
        (&[(1106, 4, 1, yes)], true),
        (&[(1044, 6, 1, b"a.src.rpm\0")], false),
        (&[(1044, 6, 1, b"a.src.rpm\0"), (1118, 8, 1, b"\0")], false),
        (&[(1118, 8, 1, b"\0")], true),
        (&[(1118, 8, 2, b"\0/etc/\0")], false),
    ];
    for (tags, expected) in cases {
        let bytes = package(&header(&[]), &header(tags));
        let main = Headers::parse(&bytes).expect("a package").main;
        assert_eq!(main.is_source(), expected, "{tags:?}");
    }
}
