use proptest::prelude::*;

use super::*;
use crate::Maker;

/// A control file of three blocks, made by zsyncmake 0.6.2 from `seq 1 1000`, cut to its header and sums.
const HEADER: &str = "zsync: 0.6.2\nFilename: a.iso\nMTime: Sun, 29 Nov 2026 08:00:00 +0000\nBlocksize: 2048\nLength: 4097\nHash-Lengths: 2,2,3\nURL: a.iso\nSHA-1: 2fd4e1c67a2d28fced849ee1bb76e7391b93eb12\n\n";

fn bytes(header: &str, sums: usize) -> Vec<u8> {
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(bytes.len() + sums, 7);
    bytes
}

fn refused(from: &str, to: &str) -> String {
    assert!(HEADER.contains(from), "{from}");
    let error = Control::parse(&bytes(&HEADER.replace(from, to), 15));
    error.expect_err(to).to_string()
}

#[test]
fn a_control_file_of_zsyncmake_is_read() {
    let control = Control::parse(&bytes(HEADER, 15)).expect("a control file");
    assert_eq!((control.length(), control.block_size()), (4097, 2048));
    assert_eq!((control.blocks(), &*control.url), (3, "a.iso"));
    let lengths = HashLengths {
        run: 2,
        weak: 2,
        strong: 3,
    };
    assert_eq!(control.lengths(), lengths);
    assert_eq!(control.sha1.expect("a digest")[..2], [0x2f, 0xd4]);
    let own = Control::parse(&control.to_bytes()).expect("its own form");
    assert_eq!(own, control);
}

#[test]
fn an_optional_header_is_ignored() {
    let safe = HEADER.replace("URL", "Safe: X-New X-Other\nX-New: 1\nURL");
    Control::parse(&bytes(&safe, 15)).expect("it is safe");
    assert!(refused("URL", "X-New: 1\nURL").contains("`X-New:`"));
}

#[test]
fn an_impossible_value_is_refused_with_its_line() {
    for (from, to, why) in [
        (
            "Length: 4097",
            "Length: 18446744073709551615",
            "too many blocks",
        ),
        (
            "Length: 4097",
            "Length: 99999999999999999999",
            "not a number",
        ),
        ("Length: 4097", "Length: -1", "not a number"),
        ("Length: 4097", "Length: +4097", "not a number"),
        ("Length: 4097", "Length: 1000000", "need 2445"),
        ("Length: 4097", "Length: 4096", "need 10"),
        ("Blocksize: 2048", "Blocksize: 0", "power of two"),
        ("Blocksize: 2048", "Blocksize: 1", "power of two"),
        ("Blocksize: 2048", "Blocksize: 2047", "power of two"),
        ("Blocksize: 2048", "Blocksize: 2147483648", "power of two"),
        ("Blocksize: 2048", "Blocksize: 4294967296", "not a number"),
        ("2,2,3", "0,2,3", "three numbers"),
        ("2,2,3", "3,2,3", "three numbers"),
        ("2,2,3", "2,5,3", "three numbers"),
        ("2,2,3", "2,2,17", "three numbers"),
        ("2,2,3", "2,2", "three numbers"),
        ("2,2,3", "2,2,3,4", "three numbers"),
        ("2,2,3", "2,2,900", "not a number"),
        ("URL: a.iso", "Z-URL: a.iso.gz", "compressed"),
        ("URL: a.iso", "Z-Map2: 5", "compressed"),
        ("SHA-1: 2f", "SHA-1: xf", "hexadecimal"),
        ("SHA-1: 2f", "SHA-1: +f", "hexadecimal"),
        ("zsync: 0.6.2\n", "", "no line `zsync:`"),
        ("Length: 4097\n", "", "no line `Length:`"),
        ("Blocksize: 2048\n", "", "no line `Blocksize:`"),
        ("URL: a.iso\n", "", "no line `URL:`"),
        ("URL: a.iso", "URL", "header of lines"),
    ] {
        let error = refused(from, to);
        assert!(error.contains(why), "{to}: {error}");
    }
    for length in [0, 10, 14, 16, 1 << 20] {
        let error = Control::parse(&bytes(HEADER, length)).expect_err("other sums");
        assert!(
            matches!(error, ControlError::Sums { expected: 15, .. }),
            "{error}"
        );
    }
    for bytes in [&b""[..], b"\n\n", b"zsync: 0.6.2\n", &[0xff; 100]] {
        Control::parse(bytes).expect_err("no control file");
    }
    let endless = "X".repeat(1 << 20);
    Control::parse(endless.as_bytes()).expect_err("a header without end");
}

#[test]
fn a_hostile_value_does_not_reach_the_terminal() {
    let error = refused("2048", "\u{1b}[2J20\u{7f}48");
    assert!(
        !error.contains('\u{1b}') && error.contains("\\u{1b}"),
        "{error}"
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_cause_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        Control::parse(&bytes).ok();
    }

    #[test]
    fn a_control_file_round_trips(content in prop::collection::vec(any::<u8>(), 0..20_000), step in 1_usize..5_000) {
        let mut maker = Maker::new("name", "a%20url", content.len() as u64);
        for part in content.chunks(step) {
            maker.update(part);
        }
        let made = maker.finish().expect("as long as was said");
        let control = Control::parse(&made).expect("it is one");
        prop_assert_eq!(control.to_bytes(), made.clone());
        let mut whole = Maker::new("name", "a%20url", content.len() as u64);
        whole.update(&content);
        prop_assert_eq!(whole.finish().expect("as long"), made);
    }
}

#[test]
fn other_lengths_than_announced_are_an_error() {
    for length in [0, 4, 6, 1 << 40] {
        let mut maker = Maker::new("name", "url", length);
        maker.update(b"hello");
        assert_eq!(maker.finish().expect_err("another length").found, 5);
    }
}

#[test]
fn the_sums_of_any_file_are_small() {
    for (length, size) in [
        (1, 2 << 10),
        (99_999_999, 2 << 10),
        (100_000_000, 4 << 10),
        (4 << 30, 4 << 10),
        ((4 << 30) + 1, 8 << 10),
        (1 << 40, 1 << 20),
        (1 << 50, 16 << 20),
    ] {
        assert_eq!(crate::block_size(length), size, "{length}");
    }
}
