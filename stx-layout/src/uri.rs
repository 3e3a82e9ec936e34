//! Names in URLs and other URIs.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::ParseError;

/// Everything but the unreserved characters of RFC 3986, 2.3: only those mean the same with and without encoding.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// [`RESERVED`] without the separator of path segments.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// A path encoded for a URL: all but letters, digits, `-`, `.`, `_`, `~` and `/` is percent-encoded.
///
/// A URL may contain more characters unencoded, but not every server agrees: many object stores read `+` as a space.
///
/// ```
/// # use stx_layout::encode_path;
/// assert_eq!(encode_path("outputs/RPMS/std/libstdc++-8^1.rpm"), "outputs/RPMS/std/libstdc%2B%2B-8%5E1.rpm");
/// ```
pub fn encode_path(path: &str) -> String {
    utf8_percent_encode(path, RESERVED_IN_PATH).to_string()
}

/// One part of a URI, like [`encode_path`], but `/` is encoded too.
///
/// ```
/// # use stx_layout::encode_segment;
/// assert_eq!(encode_segment("a/b c"), "a%2Fb%20c");
/// ```
pub fn encode_segment(segment: &str) -> String {
    utf8_percent_encode(segment, RESERVED).to_string()
}

/// Decodes the percent-encoded characters in the path of a URL, such as `g%2B%2B_12.2.0_amd64.deb`, as written by browsers and
/// other programs. A text that is not a URL is returned unchanged, because a path is not encoded. `+` remains `+`.
///
/// The inverse of [`encode_path`].
///
/// # Errors
/// Refuses `%` without two hexadecimal digits, and bytes that decode to `/`, to NUL or to invalid UTF-8, at the offset of the `%`.
///
/// ```
/// # use stx_layout::decode_url;
/// let of = |text: &'static str| decode_url(text).map_err(|error| error.offset);
/// assert_eq!(of("https://h/mirror/starlingx/g%2B%2B+x").as_deref(), Ok("https://h/mirror/starlingx/g+++x"));
/// assert_eq!(of("master/centos/g%2B%2B").as_deref(), Ok("master/centos/g%2B%2B"));
/// assert_eq!(of("https://h/mirror/starlingx/a%2Fb"), Err(28));
/// assert_eq!(of("https://h/mirror/starlingx/a%ffb"), Err(28));
/// ```
pub fn decode_url(text: &str) -> Result<Cow<'_, str>, ParseError> {
    let is_url = ["http://", "https://"].iter().any(|scheme| {
        let given = text.get(..scheme.len());
        given.is_some_and(|given| given.eq_ignore_ascii_case(scheme))
    });
    if !is_url || !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    // Host, query and fragment are not decoded: the parser refuses a query and a fragment.
    let start = path_start(text);
    let end = text[start..]
        .find(['?', '#'])
        .map_or(text.len(), |end| start + end);
    let mut bytes = text.as_bytes()[..start].to_vec();
    // The offset of each decoded byte, and of its `%` in `text`.
    let mut places = Vec::new();
    let mut at = start;
    while at < end {
        let byte = text.as_bytes()[at];
        if byte != b'%' {
            bytes.push(byte);
            at += 1;
            continue;
        }
        let refused = |expected: &str| Err(ParseError::new(text, at, expected));
        match encoded(text, at) {
            None => return refused("`%` and two hexadecimal digits, as URLs encode a byte"),
            Some(b'/') => return refused("a name without `/`, which would be another path"),
            Some(0) => return refused("a name without NUL"),
            Some(decoded) => {
                places.push((bytes.len(), at));
                bytes.push(decoded);
            }
        }
        at += 3;
    }
    bytes.extend_from_slice(&text.as_bytes()[end..]);
    match String::from_utf8(bytes) {
        Ok(decoded) => Ok(Cow::Owned(decoded)),
        Err(error) => {
            let bad = error.utf8_error().valid_up_to();
            let place = places.iter().rfind(|(decoded, _)| *decoded <= bad);
            let place = place.or(places.first()).map_or(start, |(_, place)| *place);
            Err(ParseError::new(text, place, "percent-encoded UTF-8"))
        }
    }
}

/// The offset of the path in a URL.
fn path_start(url: &str) -> usize {
    let host = url.find("//").map_or(0, |scheme| scheme + 2);
    let slash = url[host..].find('/');
    slash.map_or(url.len(), |slash| host + slash)
}

/// The byte that `%` and two hexadecimal digits at an offset encode.
fn encoded(text: &str, at: usize) -> Option<u8> {
    let digits = text.get(at..at + 3)?.strip_prefix('%')?;
    // `from_str_radix` also accepts a sign.
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

/// Moves an error about a decoded URL to its position in the given URL.
pub(crate) fn locate_encoded(text: &str, mut error: ParseError) -> ParseError {
    let mut decoded = path_start(text).min(error.offset);
    let mut at = decoded;
    while decoded < error.offset {
        at += if encoded(text, at).is_some() { 3 } else { 1 };
        decoded += 1;
    }
    error.offset = text.floor_char_boundary(at.min(text.len()));
    text.clone_into(&mut error.input);
    error
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn only_unreserved_characters_are_not_encoded(text in any::<String>()) {
            let (path, segment) = (encode_path(&text), encode_segment(&text));
            let bare = |c: char| c.is_ascii_alphanumeric() || "-._~%".contains(c);
            prop_assert!(path.chars().all(|c| bare(c) || c == '/'), "{path}");
            prop_assert!(segment.chars().all(bare), "{segment}");
            let url = format!("https://h/{path}");
            if text.contains('\0') {
                let error = decode_url(&url).expect_err("NUL");
                prop_assert!(url[error.offset..].starts_with("%00"), "{}", error);
            } else {
                let decoded = decode_url(&url).expect("what is encoded is decoded");
                prop_assert_eq!(decoded, format!("https://h/{text}"));
            }
            for encoded in [path, segment] {
                let decoded = percent_decode_str(&encoded).decode_utf8();
                prop_assert_eq!(decoded.expect("UTF-8"), text.as_str());
            }
        }
    }

    #[test]
    fn malformed_encodings_are_refused_at_their_offset() {
        let start = "https://h/mirror/starlingx/";
        for (path, offset) in [
            ("a%2fb", 1),
            ("a%2Fb", 1),
            ("%00", 0),
            ("a%", 1),
            ("a%4", 1),
            ("a%zz", 1),
            ("a%+1", 1),
            ("a%C3%A4%C3", 7),
            ("%C3b", 0),
            ("%2B%ff", 3),
            ("%ED%A0%80", 0),
        ] {
            let text = format!("{start}{path}");
            let error = decode_url(&text).expect_err(path);
            assert_eq!(error.offset, start.len() + offset, "{error}");
            assert_eq!(error.input, text);
        }
        for (path, decoded) in [
            ("g%2B%2B_4%3A12_amd64.deb", "g++_4:12_amd64.deb"),
            ("a+b%20c", "a+b c"),
            // Decoded once, and not again.
            ("a%252Fb", "a%2Fb"),
            ("%C3%A4", "\u{e4}"),
            ("a?b=%2F", "a?b=%2F"),
        ] {
            let decoded_text = decode_url(&format!("{start}{path}")).map(Cow::into_owned);
            assert_eq!(decoded_text.as_deref(), Ok(&*format!("{start}{decoded}")));
        }
    }
}
