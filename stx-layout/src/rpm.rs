//! The headers of RPM package files, from untrusted bytes.
//!
//! A package file is a lead of 96 bytes, the signature header, padded to 8 bytes, the main header and the payload. A header
//! is an intro of 16 bytes (a magic number, 4 reserved bytes, the number of index entries, the size of the data), the index
//! entries of 16 bytes each (tag, type, offset, count) and the data; all numbers are big-endian. That is the format of the
//! rpm project's reference manual, "RPM V4 Package format".
//!
//! Every reader of a package calls [`frame`] before it parses anything. The check refuses a length that leads out of the header,
//! data that is counted more than once, and more tags than rpm itself accepts. Accepted headers can be parsed in time and memory
//! proportional to the bytes that are present. [`Headers`] reads tags of headers that passed it.
//!
//! Texts are bytes here: the format does not define their encoding, and packages from the years before UTF-8 are still published.
//!
//! ```
//! use stx_layout::rpm::{Frame, FrameError, frame};
//!
//! assert_eq!(frame(b"")?, Frame::Needs(112));
//! assert!(matches!(frame(b"<html>"), Err(FrameError::NotAPackage { at: 0, .. })));
//! # Ok::<(), FrameError>(())
//! ```

use std::borrow::Cow;
use std::io::{self, Read};
use std::ops::Range;

#[cfg(test)]
mod tests;

/// The longest signature header and main header together, in bytes. The longest of CentOS 7 has 6 MB.
pub const LONGEST_HEADER: usize = 32 << 20;

/// The largest number of tags of one header: the limit of rpm. Real headers have about a hundred.
pub const MOST_TAGS: u32 = 0xffff;

/// The size of the lead, with which a package file begins.
pub const LEAD: usize = 96;

/// The size of a header's intro, and of an index entry.
const INTRO: usize = 16;

/// A package file whose headers must not be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// It does not begin like a package.
    #[error("not an RPM package: no {what} at byte {at}")]
    NotAPackage {
        /// The missing part: `lead` or `header`.
        what: &'static str,
        /// The byte at which that part should begin.
        at: usize,
    },
    /// It ends before its headers do.
    #[error("the file ends at byte {length}, its headers extend at least to byte {needed}")]
    Truncated {
        /// The length of the file, in bytes.
        length: usize,
        /// The smallest length that its headers need, in bytes from the beginning of the file.
        needed: usize,
    },
    /// Its headers are longer than any real ones.
    #[error("headers of {size} bytes; no more than {LONGEST_HEADER} are read")]
    TooLong {
        /// The byte at which the header that is too long would end.
        size: u64,
    },
    /// A header has more tags than rpm accepts.
    #[error("a header of {count} tags; no more than {MOST_TAGS} are read")]
    TooManyTags {
        /// The number of tags that the header states.
        count: u32,
    },
    /// An index entry points outside of the data.
    #[error("the header's tag {tag} points outside of the header, or into the data of another tag")]
    Lies {
        /// The tag.
        tag: u32,
    },
}

/// The first bytes of a package that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// The file cannot be read.
    #[error("the package cannot be read")]
    Io {
        /// The error that caused it.
        #[from]
        source: io::Error,
    },
    /// Its headers must not be parsed.
    #[error(transparent)]
    Frame {
        /// The reason.
        #[from]
        source: FrameError,
    },
}

/// The extent of a package's headers, as far as its first bytes show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// This number of bytes from the beginning is needed to continue.
    Needs(usize),
    /// All headers are present; their positions.
    Whole {
        /// The signature header.
        signature: Range<usize>,
        /// The main header; the payload begins where it ends.
        header: Range<usize>,
    },
}

/// Examines the first bytes of a package file.
///
/// # Errors
/// [`FrameError`] if the headers must not be parsed, never [`FrameError::Truncated`].
pub fn frame(bytes: &[u8]) -> Result<Frame, FrameError> {
    if !bytes.starts_with(&[0xed, 0xab, 0xee, 0xdb]) && bytes.len() >= 4 {
        return Err(FrameError::NotAPackage {
            what: "lead",
            at: 0,
        });
    }
    let signature = match header_at(bytes, LEAD)? {
        Ok(end) => LEAD..end,
        Err(needed) => return Ok(Frame::Needs(needed)),
    };
    let begin = signature.end.next_multiple_of(8);
    let header = match header_at(bytes, begin)? {
        Ok(end) => begin..end,
        Err(needed) => return Ok(Frame::Needs(needed)),
    };
    if bytes.len() < header.end {
        return Ok(Frame::Needs(header.end));
    }
    check(&bytes[signature.clone()])?;
    check(&bytes[header.clone()])?;
    Ok(Frame::Whole { signature, header })
}

/// Reads the lead and the headers of a package, and no byte more, after a check that they are sound.
///
/// # Errors
/// [`FrameError::Truncated`] if the file ends before its headers do, and the errors of [`frame`].
pub fn read_head(package: &mut impl Read) -> Result<Vec<u8>, HeadError> {
    let mut head = Vec::new();
    loop {
        match frame(&head)? {
            Frame::Whole { .. } => return Ok(head),
            Frame::Needs(needed) => {
                let more = (needed - head.len()) as u64;
                if package.take(more).read_to_end(&mut head)? as u64 != more {
                    // For a page of HTML, this reports that it is not a package, rather than that it is truncated.
                    frame(&head)?;
                    let length = head.len();
                    return Err(FrameError::Truncated { length, needed }.into());
                }
            }
        }
    }
}

/// The end of the header at `at`, or the number of bytes needed to find it.
fn header_at(bytes: &[u8], at: usize) -> Result<Result<usize, usize>, FrameError> {
    let Some(intro) = bytes.get(at..at + INTRO) else {
        return Ok(Err(at + INTRO));
    };
    if !intro.starts_with(&[0x8e, 0xad, 0xe8, 0x01]) {
        return Err(FrameError::NotAPackage { what: "header", at });
    }
    let count = number(intro, 8);
    let size = INTRO as u64 * (1 + u64::from(count)) + u64::from(number(intro, 12));
    let end = at as u64 + size;
    match usize::try_from(end) {
        Ok(_) if count > MOST_TAGS => Err(FrameError::TooManyTags { count }),
        Ok(end) if end <= LONGEST_HEADER => Ok(Ok(end)),
        _ => Err(FrameError::TooLong { size: end }),
    }
}

/// The big-endian number at `at`, which must be in range.
fn number(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(number)
}

/// Refuses a header whose entries point outside of its data, or together claim more data than it has.
fn check(header: &[u8]) -> Result<(), FrameError> {
    let (index, data) = parts(header);
    let mut left = data.len();
    for raw in index.chunks_exact(INTRO) {
        let lies = || FrameError::Lies {
            tag: number(raw, 0),
        };
        let rest = data.get(number(raw, 8) as usize..).ok_or_else(lies)?;
        // Data is never shared: the rest limits the size of an entry, and the work to examine it.
        let rest = &rest[..rest.len().min(left)];
        left -= size(raw, rest).ok_or_else(lies)?;
    }
    Ok(())
}

/// The index entries and the data of a complete header.
fn parts(header: &[u8]) -> (&[u8], &[u8]) {
    header[INTRO..].split_at(INTRO * number(header, 8) as usize)
}

/// The number of bytes at an entry's offset that belong to it; `None` if there are fewer than it states.
fn size(raw: &[u8], rest: &[u8]) -> Option<usize> {
    let (kind, count) = (number(raw, 4), number(raw, 12) as usize);
    let size = match kind {
        0 => Some(0),
        1 | 2 | 7 => Some(count),
        3 => count.checked_mul(2),
        4 => count.checked_mul(4),
        5 => count.checked_mul(8),
        // A string tag has at least one string, even if its count is 0.
        6 => strings(rest, count.max(1)),
        8 | 9 => strings(rest, count),
        _ => None,
    };
    size.filter(|size| *size <= rest.len())
}

/// The size of `count` strings, each with the zero byte that ends it; `None` if there are fewer.
fn strings(bytes: &[u8], count: usize) -> Option<usize> {
    if count == 0 {
        return Some(0);
    }
    let mut ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == 0);
    ends.nth(count - 1).map(|(end, _)| end + 1)
}

/// The headers of a package.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    /// The signature header: digests and signatures.
    pub signature: Header<'a>,
    /// The main header: everything else.
    pub main: Header<'a>,
    /// The offset of the main header.
    pub begin: usize,
    /// The offset of its end, where the payload begins.
    pub payload: usize,
}

impl<'a> Headers<'a> {
    /// The headers of the package that begins with `bytes`.
    ///
    /// # Errors
    /// The errors of [`frame`], and [`FrameError::Truncated`] if `bytes` end before the headers do.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        match frame(bytes)? {
            Frame::Whole { signature, header } => Ok(Self {
                signature: Header {
                    bytes: &bytes[signature],
                },
                begin: header.start,
                payload: header.end,
                main: Header {
                    bytes: &bytes[header],
                },
            }),
            Frame::Needs(needed) => Err(FrameError::Truncated {
                length: bytes.len(),
                needed,
            }),
        }
    }
}

/// Tags for sizes and digests of the main header and the payload, numbered as in rpm's `rpmtag.h`.
mod tag {
    /// In the signature header: the size of both, if it does not fit into four bytes.
    pub(super) const LONGSIZE: u32 = 270;
    /// In the signature header: the size of both.
    pub(super) const SIZE: u32 = 1000;
    /// In the signature header: the MD5 of both.
    pub(super) const MD5: u32 = 1004;
    /// In the main header: the digest of the payload, since rpm 4.14.
    pub(super) const PAYLOADDIGEST: u32 = 5092;
    /// In the main header: the algorithm of that digest.
    pub(super) const PAYLOADDIGESTALGO: u32 = 5093;
}

/// The size and the digests of the main header and the payload, as the headers state them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stated<'a> {
    /// The MD5 of both.
    pub md5: Option<&'a [u8]>,
    /// The digest of the payload, in hexadecimal digits.
    pub payload: Option<&'a [u8]>,
    /// The algorithm of that digest, as OpenPGP numbers them: 8 is SHA-256, 10 is SHA-512.
    pub algorithm: Option<u64>,
    /// The size of both, in bytes.
    pub size: Option<u64>,
}

impl<'a> Headers<'a> {
    /// Reads the size and the digests that the headers state. They reveal damage, but no forgery: a forger can write matching
    /// digests.
    pub fn stated(&self) -> Stated<'a> {
        let long = self.signature.number(tag::LONGSIZE);
        Stated {
            md5: self.signature.binary(tag::MD5),
            payload: self.main.string(tag::PAYLOADDIGEST),
            algorithm: self.main.number(tag::PAYLOADDIGESTALGO),
            size: long.or_else(|| self.signature.number(tag::SIZE)),
        }
    }
}

/// True if a text is the hexadecimal form of a digest, as written in headers.
pub fn is_hex(text: &[u8], digest: &[u8]) -> bool {
    text.len() == 2 * digest.len()
        && text.chunks_exact(2).zip(digest).all(|(pair, byte)| {
            let pair = str::from_utf8(pair).ok();
            pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) == Some(*byte)
        })
}

/// One header, which passed the check.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    bytes: &'a [u8],
}

impl<'a> Header<'a> {
    /// The header itself, byte for byte; signatures and digests cover that of the main header.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its tags, in the order of the index.
    pub fn tags(&self) -> impl Iterator<Item = Tag<'a>> + use<'a> {
        let (index, data) = parts(self.bytes);
        index.chunks_exact(INTRO).map(|raw| {
            let rest = data.get(number(raw, 8) as usize..).unwrap_or_default();
            let size = size(raw, rest).unwrap_or_default();
            Tag {
                tag: number(raw, 0),
                kind: number(raw, 4),
                count: number(raw, 12),
                data: &rest[..size],
            }
        })
    }

    /// A tag, the first one of that number.
    pub fn tag(&self, tag: u32) -> Option<Tag<'a>> {
        // Only the entry itself is measured: a header may have many tags with many strings.
        let (index, data) = parts(self.bytes);
        let raw = index
            .chunks_exact(INTRO)
            .find(|raw| number(raw, 0) == tag)?;
        let rest = data.get(number(raw, 8) as usize..)?;
        Some(Tag {
            tag,
            kind: number(raw, 4),
            count: number(raw, 12),
            data: &rest[..size(raw, rest)?],
        })
    }

    /// The first string of a tag; `None` if the tag does not exist, or contains no strings.
    pub fn string(&self, tag: u32) -> Option<&'a [u8]> {
        self.tag(tag)?.strings()?.next()
    }

    /// The strings of a tag; empty if the tag does not exist, or contains something else.
    pub fn strings(&self, tag: u32) -> Vec<&'a [u8]> {
        let strings = self.tag(tag).and_then(|tag| tag.strings());
        strings.into_iter().flatten().collect()
    }

    /// The first number of a tag; `None` if the tag does not exist, or contains no numbers.
    pub fn number(&self, tag: u32) -> Option<u64> {
        self.tag(tag)?.numbers()?.next()
    }

    /// The numbers of a tag; empty if the tag does not exist, or contains something else.
    pub fn numbers(&self, tag: u32) -> Vec<u64> {
        let numbers = self.tag(tag).and_then(|tag| tag.numbers());
        numbers.into_iter().flatten().collect()
    }

    /// True if this main header is that of a source package. Old source packages have no tag for that; their files are in one
    /// directory without a name.
    pub fn is_source(&self) -> bool {
        const SOURCERPM: u32 = 1044;
        const SOURCEPACKAGE: u32 = 1106;
        const DIRNAMES: u32 = 1118;
        match self.number(SOURCEPACKAGE) {
            Some(number) => number != 0,
            None => self.string(SOURCERPM).is_none() && self.strings(DIRNAMES) == [b""],
        }
    }

    /// The bytes of a binary tag.
    pub fn binary(&self, tag: u32) -> Option<&'a [u8]> {
        let tag = self.tag(tag)?;
        (tag.kind == 7).then_some(tag.data)
    }
}

/// A tag of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag<'a> {
    /// Its number.
    pub tag: u32,
    /// The type of its values, as numbered in the format: 6, 8 and 9 are strings, 2 to 5 are integers, 7 is bytes.
    pub kind: u32,
    /// The number of values; for type 7, the number of bytes.
    pub count: u32,
    /// The bytes of the values.
    pub data: &'a [u8],
}

impl<'a> Tag<'a> {
    /// The strings of the tag, without their terminating zero bytes; `None` if it contains something else.
    pub fn strings(&self) -> Option<impl Iterator<Item = &'a [u8]> + use<'a>> {
        let data = self.data.strip_suffix(&[0]);
        let strings = data
            .into_iter()
            .flat_map(|data| data.split(|byte| *byte == 0));
        matches!(self.kind, 6 | 8 | 9).then_some(strings)
    }

    /// The numbers of the tag; `None` if it contains something else.
    pub fn numbers(&self) -> Option<impl Iterator<Item = u64> + use<'a>> {
        let width = match self.kind {
            1 | 2 => 1,
            3 => 2,
            4 => 4,
            5 => 8,
            _ => return None,
        };
        let numbers = self.data.chunks_exact(width);
        Some(numbers.map(|bytes| {
            bytes
                .iter()
                .fold(0, |number, byte| number << 8 | u64::from(*byte))
        }))
    }
}

/// A text of a header: UTF-8 if it is valid, else converted like in `createrepo_c`, as Latin-1 without the bytes from 0x80 to
/// 0xbf. These are punctuation at best, and control characters if the text is Windows-1252.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    str::from_utf8(bytes).map_or_else(
        |_| {
            let kept = bytes.iter().filter(|byte| !(0x80..0xc0).contains(*byte));
            // Each byte of Latin-1 is the character with that number.
            Cow::Owned(kept.map(|byte| char::from(*byte)).collect())
        },
        Cow::Borrowed,
    )
}
