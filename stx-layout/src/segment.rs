//! One segment of a mirror path.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::text::serde_as_text;
use crate::{ParseError, is_printable};

/// The longest segment, in bytes: the `NAME_MAX` of every file system that may hold a mirror.
pub(crate) const MAX_SEGMENT: usize = 255;

/// One segment of a mirror path: 1 to 255 bytes of UTF-8 that name one directory entry and nothing else.
///
/// Refused are the empty text, `.` and `..`, `/`, `\`, NUL and every other character that is not [printable](crate::is_printable)
/// (with control, bidirectional and zero-width characters, two names would look the same), and `%` followed by two hexadecimal
/// digits (an encoded text that was not decoded). The one exception is `%3a` in the name of a Debian package: apt writes the
/// colon of an epoch like that. `Ord` is byte order. A clone shares the text.
///
/// ```
/// # use stx_layout::Name;
/// assert!("2018.10".parse::<Name>().is_ok());
/// assert!("g++_4%3a12.2.0-3_amd64.deb".parse::<Name>().is_ok());
/// assert_eq!("a/b".parse::<Name>().unwrap_err().offset, 1);
/// assert_eq!("cen\u{200b}tos".parse::<Name>().unwrap_err().offset, 3);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

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
            None => Ok(Self(text.into())),
            Some((offset, expected)) => Err(ParseError::new(text, offset, expected)),
        }
    }
}

serde_as_text!(Name);

/// The first error of a segment: the byte offset, and the text expected there.
pub(crate) fn fault(text: &str) -> Option<(usize, &'static str)> {
    let bytes = text.as_bytes();
    match bytes {
        [] => return Some((0, "a name")),
        b"." | b".." => return Some((0, "a name; `.` and `..` are not part of any mirror path")),
        _ => {}
    }
    if bytes.len() > MAX_SEGMENT {
        // The byte may be within a character; the error reports the character that is too much.
        return Some((
            text.floor_char_boundary(MAX_SEGMENT),
            "the end of the name: no segment is longer than 255 bytes",
        ));
    }
    for (offset, character) in text.char_indices() {
        match character {
            '/' => return Some((offset, "one path segment, without `/`")),
            '\\' => return Some((offset, "a path without backslashes")),
            '%' if is_epoch(text, offset) => {}
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
            _ if !is_printable(character) => {
                return Some((
                    offset,
                    "a path without bidirectional and zero-width characters",
                ));
            }
            _ => {}
        }
    }
    None
}

/// True if this is the colon of an epoch, as written by `apt-get download` in the name of a package.
fn is_epoch(name: &str, offset: usize) -> bool {
    let mut extensions = [".deb", ".udeb"].iter();
    extensions.any(|extension| name.ends_with(extension)) && name[offset..].starts_with("%3a")
}

/// The first error of any segment of a path.
pub(crate) fn first_fault(path: &str) -> Option<(usize, &'static str)> {
    let mut start = 0;
    for segment in path.split('/') {
        if let Some((offset, expected)) = fault(segment) {
            return Some((start + offset, expected));
        }
        start += segment.len() + 1;
    }
    None
}

/// Declares an open set of path segments: any [`Name`](crate::Name) is valid.
///
/// With `not CHECK`, the check refuses words that have another meaning in the same place.
macro_rules! open_segment {
    ($(#[$doc:meta])* $name:ident) => {
        $crate::segment::open_segment! { $(#[$doc])* $name not $crate::segment::nothing }
    };
    ($(#[$doc:meta])* $name:ident not $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($crate::Name);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::ParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let name = text.parse()?;
                match $check(text) {
                    None => Ok(Self(name)),
                    Some(expected) => Err($crate::ParseError::new(text, 0, expected)),
                }
            }
        }

        $crate::text::serde_as_text!($name);
    };
}

/// The check that refuses nothing.
pub(crate) fn nothing(_: &str) -> Option<&'static str> {
    None
}

pub(crate) use open_segment;
