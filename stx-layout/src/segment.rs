//! One segment of a mirror path.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::text::serde_as_text;
use crate::{ParseError, is_printable};

/// Longest segment in bytes: `NAME_MAX` of every file system a mirror stands on.
pub(crate) const MAX_SEGMENT: usize = 255;

/// One segment of a mirror path: 1 to 255 bytes of UTF-8 that name one directory entry and nothing else.
///
/// Refused: the empty text, `.` and `..`, `/`, `\`, NUL and every other character that is not
/// [printable](crate::is_printable) (control, bidirectional and zero-width characters: two names would look the same), and
/// `%` followed by two hexadecimal digits (a percent-encoded text was not decoded on its way here). `Ord` is byte order. A
/// clone shares the text.
///
/// ```
/// # use stx_layout::Name;
/// assert!("2018.10".parse::<Name>().is_ok());
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

/// The first thing wrong with a segment: byte offset and what was expected there.
pub(crate) fn fault(text: &str) -> Option<(usize, &'static str)> {
    let bytes = text.as_bytes();
    match bytes {
        [] => return Some((0, "a name")),
        b"." | b".." => return Some((0, "a name; `.` and `..` are not part of any mirror path")),
        _ => {}
    }
    if bytes.len() > MAX_SEGMENT {
        // The byte may lie within a character; the error tells of the character that is too much.
        return Some((
            text.floor_char_boundary(MAX_SEGMENT),
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

/// How many segments of a path the grammar tells apart at most; what follows is one rest.
const TOLD_APART: usize = 12;

/// Where the first segments of a path end.
#[derive(Debug)]
pub(crate) struct Segments {
    ends: [u16; TOLD_APART],
    count: usize,
}

impl Segments {
    /// No segment: the mirror's root.
    pub(crate) fn none() -> Self {
        Self {
            ends: [0; TOLD_APART],
            count: 0,
        }
    }

    /// How many segments there are, or [`TOLD_APART`] if there are more.
    pub(crate) fn len(&self) -> usize {
        self.count.min(TOLD_APART)
    }

    /// Where a segment begins and ends, in the path.
    pub(crate) fn bounds(&self, index: usize) -> (u16, u16) {
        let start = match index {
            0 => 0,
            _ => self.ends[index - 1] + 1,
        };
        (start, self.ends[index])
    }
}

/// The action of the scan at a byte: go on, end the segment, or have the path checked character by character.
const PLAIN: u8 = 0;
const SLASH: u8 = 1;
const CLOSER: u8 = 2;

static CLASS: [u8; 256] = {
    let mut class = [PLAIN; 256];
    let mut control = 0;
    while control < 32 {
        class[control] = CLOSER;
        control += 1;
    }
    class[0x7f] = CLOSER;
    class[b'\\' as usize] = CLOSER;
    class[b'%' as usize] = CLOSER;
    // Beyond ASCII there are control, bidirectional and zero-width characters; few paths go beyond it.
    let mut beyond = 0x80;
    while beyond < 256 {
        class[beyond] = CLOSER;
        beyond += 1;
    }
    class[b'/' as usize] = SLASH;
    class
};

/// Splits a path, which is not empty and at most [`MAX_PATH`](crate::path::MAX_PATH) bytes long, checking every segment on
/// the way; on failure the first fault.
pub(crate) fn scan(path: &str) -> Result<Segments, (usize, &'static str)> {
    let mut segments = Segments::none();
    let mut closer = 0;
    let mut start = 0;
    let bytes = path.as_bytes();
    for (offset, &byte) in bytes.iter().enumerate() {
        let class = CLASS[usize::from(byte)];
        if class == SLASH {
            closer |= segments.end(&bytes[start..offset], offset);
            start = offset + 1;
        }
        closer |= class & CLOSER;
    }
    closer |= segments.end(&bytes[start..], bytes.len());
    if closer == 0 {
        return Ok(segments);
    }
    match first_fault(path) {
        None => Ok(segments),
        Some(fault) => Err(fault),
    }
}

impl Segments {
    /// Notes that `segment` ends at `offset`; whether it has to be looked at closely.
    #[inline]
    fn end(&mut self, segment: &[u8], offset: usize) -> u8 {
        if let Some(end) = self.ends.get_mut(self.count) {
            *end = u16::try_from(offset).unwrap_or(u16::MAX);
        }
        self.count += 1;
        let dots = matches!(segment, [] | b"." | b"..");
        u8::from(dots || segment.len() > MAX_SEGMENT) * CLOSER
    }
}

/// The first thing wrong with any segment of a path.
#[cold]
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

/// Declares an open set of path segments: any [`Name`](crate::Name) is one.
///
/// With `not CHECK`, but for what the check refuses: words that stand for something else in the same place.
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
