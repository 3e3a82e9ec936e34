//! Where the parts of a package file end, and whether its headers can be what they say.
//!
//! A package file is a lead of 96 bytes, the signature header, padded to 8 bytes, the main header and the payload. A header
//! is an intro of 16 bytes (a magic number, 4 reserved bytes, the number of index entries, the size of the data), the index
//! entries of 16 bytes each (tag, type, offset, count) and the data; all numbers are big-endian. That is the format of the
//! rpm project's reference manual, "RPM V4 Package format".
//!
//! Whatever is here was written by somebody else: a length that leads out of the header, and data that is counted more
//! than once, are refused before anything is made of them.

use std::ops::Range;

/// Longest signature header and main header together, in bytes. The longest of CentOS 7 has 6 MB.
pub const LONGEST_HEADER: usize = 32 << 20;

/// Size of the lead.
const LEAD: usize = 96;

/// Size of a header's intro, and of an index entry.
const INTRO: usize = 16;

/// A package file whose headers cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// It does not begin as a package does.
    #[error("not an RPM package: no {what} at byte {at}")]
    NotAPackage {
        /// What had to be there.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// It ends before its headers do.
    #[error("the file ends at byte {length}, its headers go to byte {needed} at least")]
    Truncated {
        /// Its length.
        length: usize,
        /// What its headers need.
        needed: usize,
    },
    /// Its headers are longer than any real ones.
    #[error("headers of {size} bytes; no more than {LONGEST_HEADER} are read")]
    TooLong {
        /// What they say.
        size: u64,
    },
    /// An index entry leads to where no data is.
    #[error("the header's tag {tag} leads out of the header, or into the data of another tag")]
    Lies {
        /// The tag.
        tag: u32,
    },
    /// What the headers say makes no package.
    #[cfg(feature = "rpm")]
    #[error("the header is damaged")]
    Damaged {
        /// Why.
        #[from]
        source: rpm::Error,
    },
}

/// What is known of a package file from its first bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// So many bytes from its beginning have to be there before more can be told.
    Needs(usize),
    /// Everything is there: where the two headers are.
    Whole {
        /// The signature header.
        signature: Range<usize>,
        /// The main header; the payload begins where it ends.
        header: Range<usize>,
    },
}

/// Looks at the first bytes of a package file.
pub fn frame(bytes: &[u8]) -> Result<Frame, HeaderError> {
    if !bytes.starts_with(&[0xed, 0xab, 0xee, 0xdb]) && bytes.len() >= 4 {
        return Err(HeaderError::NotAPackage {
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

/// The end of the header at `at`, or how many bytes are needed to tell.
fn header_at(bytes: &[u8], at: usize) -> Result<Result<usize, usize>, HeaderError> {
    let Some(intro) = bytes.get(at..at + INTRO) else {
        return Ok(Err(at + INTRO));
    };
    if !intro.starts_with(&[0x8e, 0xad, 0xe8, 0x01]) {
        return Err(HeaderError::NotAPackage { what: "header", at });
    }
    let size = INTRO as u64 * (1 + u64::from(number(intro, 8))) + u64::from(number(intro, 12));
    let end = at as u64 + size;
    match usize::try_from(end) {
        Ok(end) if end <= LONGEST_HEADER => Ok(Ok(end)),
        _ => Err(HeaderError::TooLong { size: end }),
    }
}

/// The big-endian number at `at`, which is there.
fn number(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(number)
}

/// Refuses a header whose entries lead out of its data, or have more data together than there is.
fn check(header: &[u8]) -> Result<(), HeaderError> {
    let entries = number(header, 8) as usize;
    let (index, data) = header[INTRO..].split_at(INTRO * entries);
    let mut left = data.len();
    for entry in index.chunks_exact(INTRO) {
        let lies = || HeaderError::Lies {
            tag: number(entry, 0),
        };
        let (kind, count) = (number(entry, 4), number(entry, 12) as usize);
        let rest = data.get(number(entry, 8) as usize..).ok_or_else(lies)?;
        // Data is never shared: what is left bounds what an entry may have, and the work of looking at it.
        let rest = &rest[..rest.len().min(left)];
        let size = match kind {
            0 => Some(0),
            1 | 2 | 7 => Some(count),
            3 => count.checked_mul(2),
            4 => count.checked_mul(4),
            5 => count.checked_mul(8),
            6 | 8 | 9 => strings(rest, count),
            _ => None,
        };
        let size = size.filter(|size| *size <= rest.len()).ok_or_else(lies)?;
        left -= size;
    }
    Ok(())
}

/// The size of so many strings with the zero byte that ends each; `None` if there are not as many.
fn strings(bytes: &[u8], count: usize) -> Option<usize> {
    if count == 0 {
        return Some(0);
    }
    let end = memchr::memchr_iter(0, bytes).nth(count - 1)?;
    Some(end + 1)
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
