//! Reads any bytes as a package file. There is no panic. The end of the headers does not depend on the number of bytes that
//! were read. An accepted package equals itself after it is written and read again, has no differences from itself, and has the
//! name of its header.
//!
//! Digests of the main header in the signature header are corrected first, because the author of a package sets them too.

use std::ops::Range;

use sha2::Digest as _;
use stx_compare::compare;
use stx_compare::header::package;
use stx_compare::package::Package;
use stx_layout::Sha256;
use stx_layout::rpm::{Frame, Headers, frame, read_head};

/// The type of 32-bit numbers.
const INT32: u32 = 4;

/// Reads `bytes` as the beginning of a package file.
pub(crate) fn check(bytes: &[u8]) {
    let (signature, header) = match frame(bytes) {
        Ok(Frame::Whole { signature, header }) => (signature, header),
        Ok(Frame::Needs(needed)) => {
            assert!(needed > bytes.len());
            package(bytes).expect_err("what is cut off is no package");
            return;
        }
        Err(_) => {
            package(bytes).expect_err("what has no frame is no package");
            return;
        }
    };
    assert!(signature.end <= header.start && header.end <= bytes.len());
    assert!(
        matches!(frame(&bytes[..header.end - 1]), Ok(Frame::Needs(needed)) if needed == header.end)
    );
    let head = read_head(&mut &bytes[..]).expect("the same head");
    assert_eq!(head, bytes[..header.end]);
    let mut bytes = head;
    put_right(&mut bytes, &signature, &header);
    let Ok(found) = package(&bytes) else {
        return;
    };
    let json = serde_json::to_string(&found).expect("JSON");
    let again: Package = serde_json::from_str(&json).expect("a package that was written");
    assert_eq!(again, found);
    assert!(compare(&found, &again).is_empty());
    let main = Headers::parse(&bytes).expect("the same headers").main;
    for (tag, text) in [
        (1000, &found.name),
        (1001, &found.version),
        (1002, &found.release),
    ] {
        let said = main.string(tag).expect("what was found");
        // Bytes that are not UTF-8 are shown as numbers, and so is the replacement character.
        if let Some(said) = str::from_utf8(said)
            .ok()
            .filter(|said| !said.contains('\u{fffd}'))
        {
            assert_eq!(said, text, "tag {tag}");
        }
    }
    // rpm accepts only 32-bit epochs, and so does the library.
    let epoch = main.tag(1003).filter(|tag| tag.kind == INT32);
    let said = epoch
        .and_then(|tag| tag.numbers()?.next())
        .map(u32::try_from);
    assert_eq!(found.epoch, said.and_then(Result::ok), "the epoch");
}

/// Writes the SHA-256 of the main header into the signature header, if that has room for it. Renames the tag of the SHA-1 to an
/// unused one.
fn put_right(bytes: &mut [u8], signature: &Range<usize>, header: &Range<usize>) {
    const SHA1: u32 = 269;
    const SHA256: u32 = 273;
    let digest = Sha256(sha2::Sha256::digest(&bytes[header.clone()]).into()).to_string();
    if let Some(room) = place(&bytes[signature.clone()], SHA256) {
        let room = signature.start + room.start..signature.start + room.end;
        if room.len() == digest.len() {
            bytes[room].copy_from_slice(digest.as_bytes());
        }
    }
    if let Some(at) = entry(&bytes[signature.clone()], SHA1) {
        bytes[signature.start + at..][..4].copy_from_slice(&9999_u32.to_be_bytes());
    }
}

/// The big-endian number at `at`, which must exist.
fn number(header: &[u8], at: usize) -> u32 {
    let bytes = header[at..at + 4].try_into().expect("four bytes");
    u32::from_be_bytes(bytes)
}

/// The position of the first index entry of a tag in a header.
fn entry(header: &[u8], tag: u32) -> Option<usize> {
    let entries = number(header, 8) as usize;
    let mut places = (1..=entries).map(|entry| 16 * entry);
    places.find(|at| number(header, *at) == tag)
}

/// The range of the text of a tag's first entry in a header, without the final zero byte.
fn place(header: &[u8], tag: u32) -> Option<Range<usize>> {
    let at = entry(header, tag)?;
    // A string, or the first of several languages.
    if !matches!(number(header, at + 4), 6 | 9) {
        return None;
    }
    let data = 16 * (1 + number(header, 8) as usize);
    let start = data + number(header, at + 8) as usize;
    let length = header.get(start..)?.iter().position(|byte| *byte == 0)?;
    Some(start..start + length)
}
