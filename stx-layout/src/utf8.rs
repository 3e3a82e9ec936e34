//! Converts texts that may not be UTF-8, so that no two of them become equal.
//!
//! Old packages have names and changelogs in Latin-1 and other encodings, without a declaration. Each byte that is not part of a
//! character becomes U+FFFD and its two digits, and an existing U+FFFD is written as its own three bytes in that form. The
//! results are equal exactly if the bytes are.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The mark before the two digits of a byte; the next constant is its own bytes in that form.
const MARK: char = char::REPLACEMENT_CHARACTER;
const MARK_ITSELF: &str = "\u{fffd}ef\u{fffd}bf\u{fffd}bd";

/// The bytes in UTF-8; different bytes remain different.
///
/// ```
/// # use stx_layout::in_utf8;
/// assert_eq!(&*in_utf8(b"caf\xe9"), "caf\u{fffd}e9".as_bytes());
/// ```
pub fn in_utf8(bytes: &[u8]) -> Cow<'_, [u8]> {
    match str::from_utf8(bytes) {
        Ok(text) if !text.contains(MARK) => return Cow::Borrowed(bytes),
        Ok(_) | Err(_) => {}
    }
    let mut text = String::with_capacity(bytes.len() * 2);
    for chunk in bytes.utf8_chunks() {
        text.push_str(&chunk.valid().replace(MARK, MARK_ITSELF));
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{MARK}{byte:02x}");
        }
    }
    Cow::Owned(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes from which [`in_utf8`] made a text.
    fn back(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(MARK) {
            bytes.extend_from_slice(before.as_bytes());
            let (digits, behind) = after.split_at(2);
            bytes.push(u8::from_str_radix(digits, 16).expect("two digits"));
            rest = behind;
        }
        bytes.extend_from_slice(rest.as_bytes());
        bytes
    }

    #[test]
    fn bytes_are_shown() {
        assert_eq!(&*in_utf8(b"caf\xe9"), "caf\u{fffd}e9".as_bytes());
        assert_eq!(&*in_utf8("café".as_bytes()), "café".as_bytes());
        assert_ne!(in_utf8(b"caf\xe9"), in_utf8("caf\u{fffd}e9".as_bytes()));
    }

    proptest! {
        #[test]
        fn different_bytes_are_shown_differently(
            bytes in proptest::collection::vec(
                prop_oneof![any::<u8>().prop_map(|byte| vec![byte]), Just("\u{fffd}e9".into()), Just(b"ef".to_vec())],
                0..8,
            )
        ) {
            let bytes = bytes.concat();
            let text = String::from_utf8(in_utf8(&bytes).into_owned()).expect("UTF-8");
            prop_assert_eq!(back(&text), bytes);
        }
    }
}
