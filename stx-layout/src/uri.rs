//! Names within URLs and other URIs.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but the unreserved characters of RFC 3986, 2.3: those alone mean the same however they are written.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// [`RESERVED`], but for what separates the segments of a path.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// A path as it stands in a URL: all but letters, digits, `-`, `.`, `_`, `~` and `/` is percent-encoded.
///
/// A URL may hold more than that as it is, but not every server reads it so: many object stores take `+` for a space.
///
/// ```
/// # use stx_layout::encode_path;
/// assert_eq!(encode_path("outputs/RPMS/std/libstdc++-8^1.rpm"), "outputs/RPMS/std/libstdc%2B%2B-8%5E1.rpm");
/// ```
pub fn encode_path(path: &str) -> String {
    utf8_percent_encode(path, RESERVED_IN_PATH).to_string()
}

/// One part of a URI, as [`encode_path`], but `/` is encoded too.
///
/// ```
/// # use stx_layout::encode_segment;
/// assert_eq!(encode_segment("a/b c"), "a%2Fb%20c");
/// ```
pub fn encode_segment(segment: &str) -> String {
    utf8_percent_encode(segment, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn only_unreserved_characters_stand_bare_and_nothing_is_lost(text in any::<String>()) {
            let (path, segment) = (encode_path(&text), encode_segment(&text));
            let bare = |c: char| c.is_ascii_alphanumeric() || "-._~%".contains(c);
            prop_assert!(path.chars().all(|c| bare(c) || c == '/'), "{path}");
            prop_assert!(segment.chars().all(bare), "{segment}");
            for encoded in [path, segment] {
                let decoded = percent_decode_str(&encoded).decode_utf8();
                prop_assert_eq!(decoded.expect("UTF-8"), text.as_str());
            }
        }
    }
}
