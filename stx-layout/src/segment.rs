//! One segment of a mirror path.

use std::fmt;
use std::str::FromStr;

use crate::ParseError;
use crate::text::serde_as_text;

/// Longest segment in bytes: `NAME_MAX` of every file system a mirror stands on.
pub(crate) const MAX_SEGMENT: usize = 255;

/// One segment of a mirror path: 1 to 255 bytes of UTF-8 that name one directory entry and nothing else.
///
/// Refused: the empty text, `.` and `..`, `/`, `\`, NUL and every control character, and `%` followed by two hexadecimal
/// digits (a percent-encoded text was not decoded on its way here). `Ord` is byte order.
///
/// ```
/// # use stx_layout::Name;
/// assert!("2018.10".parse::<Name>().is_ok());
/// assert_eq!("a/b".parse::<Name>().unwrap_err().offset, 1);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match fault(text) {
            None => Ok(Self(text.to_owned())),
            Some((offset, expected)) => Err(ParseError::new(text, offset, expected)),
        }
    }
}

serde_as_text!(Name);

/// The first thing wrong with a segment: byte offset and what was expected there.
pub(crate) fn fault(text: &str) -> Option<(usize, &'static str)> {
    let bytes = text.as_bytes();
    match bytes {
        [] => return Some((0, "a name")),
        b"." | b".." => return Some((0, "a name; `.` and `..` are not part of any mirror path")),
        _ => {}
    }
    if bytes.len() > MAX_SEGMENT {
        return Some((
            MAX_SEGMENT,
            "the end of the name: no segment is longer than 255 bytes",
        ));
    }
    for (offset, character) in text.char_indices() {
        match character {
            '/' => return Some((offset, "one path segment, without `/`")),
            '\\' => return Some((offset, "a path without backslashes")),
            '%' if matches!(bytes.get(offset + 1..offset + 3), Some([a, b]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()) =>
            {
                return Some((
                    offset,
                    "plain text: percent-encoding is not part of a mirror path",
                ));
            }
            _ if character.is_control() => {
                return Some((offset, "a path without control characters"));
            }
            _ => {}
        }
    }
    None
}
