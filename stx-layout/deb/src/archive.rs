//! The outer archive of a package: the bounds and the compression of its members.
//!
//! The framing is parsed here: deb(5) allows a small part of `ar`. The `ar` crate allocates as much memory as an extended name
//! claims, and does not tell where a member ends, which a reader of HTTP ranges must know.

use std::io::{self, BufReader, Read};

use liblzma::stream::{CONCATENATED, Stream};

use crate::paragraph::ControlError;

/// The largest control member, in bytes, packed and unpacked. The largest of Debian 12 has 9 MB.
pub const LONGEST_CONTROL: u64 = 64 << 20;

/// The largest dictionary for unpacking, in bytes. `xz -9` takes 64 MiB.
const MOST_MEMORY: u64 = 128 << 20;

const MAGIC: &[u8] = b"!<arch>\n";

/// The size of a member's header.
const HEADER: usize = 60;

/// A package that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DebError {
    /// The bytes cannot be read.
    #[error("the package cannot be read")]
    Io {
        /// The reader's error.
        #[source]
        source: io::Error,
    },
    /// It does not have the structure of a package.
    #[error("not a Debian package: expected {expected} at byte {at}")]
    NotAPackage {
        /// The part that was expected.
        expected: &'static str,
        /// The offset in the file.
        at: u64,
    },
    /// It ends too early.
    #[error("the file ends at byte {at}, in {within}")]
    Truncated {
        /// The part that is cut off.
        within: String,
        /// The length of the file.
        at: u64,
    },
    /// The member has a compression that dpkg does not know.
    #[error("`{member}` is not compressed by gzip, xz, zstd, bzip2 or lzma")]
    Compression {
        /// The name of the member.
        member: String,
    },
    /// The member is longer than any real one.
    #[error("`{member}` has more than {most} bytes")]
    TooLong {
        /// The name of the member.
        member: String,
        /// The largest number of bytes that are read.
        most: u64,
    },
    /// The member cannot be unpacked.
    #[error("`{member}` is damaged")]
    Damaged {
        /// The name of the member.
        member: String,
        /// The error of the decompressor.
        #[source]
        source: io::Error,
    },
    /// The control member has no file `control`.
    #[error("the control member has no file `control`")]
    NoControl,
    /// The file `control` cannot be read.
    #[error("the file `control` cannot be read")]
    Control {
        /// The problem, with its line.
        #[source]
        source: ControlError,
    },
    /// A required field is missing.
    #[error("the file `control` has no field `{field}`")]
    MissingField {
        /// The name of the field.
        field: &'static str,
    },
}

/// The part of a package that must be present to read its control member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The control member ends at this byte.
    Whole(u64),
    /// The first bytes up to this one are needed to find its end.
    More(u64),
}

/// Finds the end of the control member, from the first bytes of a package.
///
/// ```
/// # use stx_deb::{Extent, control_extent};
/// assert_eq!(control_extent(b"!<arch>\n")?, Extent::More(68));
/// assert!(control_extent(b"<html>").is_err());
/// # Ok::<(), stx_deb::DebError>(())
/// ```
///
/// # Errors
/// If the bytes are not those of a package.
pub fn control_extent(prefix: &[u8]) -> Result<Extent, DebError> {
    if !MAGIC.starts_with(&prefix[..prefix.len().min(MAGIC.len())]) {
        return Err(not_a_package("an `ar` archive", 0));
    }
    let mut at = MAGIC.len();
    loop {
        let Some(header) = prefix.get(at..at + HEADER) else {
            return Ok(Extent::More((at + HEADER) as u64));
        };
        let member = Header::parse(header, at as u64)?;
        let begin = (at + HEADER) as u64;
        if member.is_control() {
            member.check_control()?;
            return Ok(Extent::Whole(begin + member.size));
        }
        member.check_before_control(at as u64)?;
        // `check_before_control` limits the size, so the sum is small.
        at = usize::try_from(begin + member.size.next_multiple_of(2)).unwrap_or(usize::MAX);
    }
}

/// The header of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Header {
    name: String,
    size: u64,
}

impl Header {
    fn parse(bytes: &[u8], at: u64) -> Result<Self, DebError> {
        let text = |from: usize, to: usize| {
            let text = std::str::from_utf8(&bytes[from..to]).ok()?;
            Some(text.trim_end_matches(' '))
        };
        let expected = || not_a_package("the header of a member", at);
        if bytes.get(58..HEADER) != Some(b"`\n") {
            return Err(expected());
        }
        let name = text(0, 16).ok_or_else(expected)?;
        let name = name.strip_suffix('/').unwrap_or(name).to_owned();
        let size = text(48, 58).filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()));
        let size = size.and_then(|it| it.parse().ok()).ok_or_else(expected)?;
        Ok(Self { name, size })
    }

    fn is_control(&self) -> bool {
        is_tar(&self.name, "control.tar")
    }

    fn check_control(&self) -> Result<(), DebError> {
        if self.size <= LONGEST_CONTROL {
            return Ok(());
        }
        Err(DebError::TooLong {
            member: self.name.clone(),
            most: LONGEST_CONTROL,
        })
    }

    /// The control member may only follow `debian-binary`, at the beginning, and members whose name begins with `_`.
    fn check_before_control(&self, at: u64) -> Result<(), DebError> {
        let is_first = at == MAGIC.len() as u64;
        let is_expected = if is_first {
            self.name == "debian-binary"
        } else {
            self.name.starts_with('_')
        };
        if is_expected && self.size <= LONGEST_CONTROL {
            return Ok(());
        }
        let expected = if is_first {
            "the member `debian-binary`"
        } else {
            "the member `control.tar`"
        };
        Err(not_a_package(expected, at))
    }
}

fn is_tar(name: &str, stem: &str) -> bool {
    name == stem
        || name
            .strip_prefix(stem)
            .is_some_and(|it| it.starts_with('.'))
}

fn not_a_package(expected: &'static str, at: u64) -> DebError {
    DebError::NotAPackage { expected, at }
}

/// A package that is read from its beginning.
pub(crate) struct Members<R> {
    source: Source<R>,
}

/// The member to be read next.
pub(crate) struct Member<'a, R> {
    pub(crate) name: String,
    size: u64,
    source: &'a mut Source<R>,
}

impl<R: Read> Members<R> {
    /// Reads the bytes before the control member.
    pub(crate) fn open(package: R) -> Result<Self, DebError> {
        let mut source = Source {
            reader: package,
            at: 0,
            is_over: false,
            is_broken: false,
        };
        let mut magic = [0; MAGIC.len()];
        let read = source.fill(&mut magic)?;
        if magic[..read] != MAGIC[..read] {
            return Err(not_a_package("an `ar` archive", 0));
        }
        if read < MAGIC.len() {
            return Err(source.truncated("its first line"));
        }
        Ok(Self { source })
    }

    /// The control member.
    pub(crate) fn control(&mut self) -> Result<Member<'_, R>, DebError> {
        loop {
            let (header, at) = self.header()?;
            if header.is_control() {
                header.check_control()?;
                return Ok(self.member(header));
            }
            header.check_before_control(at)?;
            self.skip(&header)?;
        }
    }

    /// The data member; passes over the control member.
    pub(crate) fn data(&mut self) -> Result<Member<'_, R>, DebError> {
        let control = loop {
            let (header, at) = self.header()?;
            if header.is_control() {
                break header;
            }
            header.check_before_control(at)?;
            self.skip(&header)?;
        };
        self.skip(&control)?;
        loop {
            let (header, at) = self.header()?;
            if is_tar(&header.name, "data.tar") {
                return Ok(self.member(header));
            }
            if !header.name.starts_with('_') {
                return Err(not_a_package("the member `data.tar`", at));
            }
            self.skip(&header)?;
        }
    }

    fn member(&mut self, header: Header) -> Member<'_, R> {
        Member {
            name: header.name,
            size: header.size,
            source: &mut self.source,
        }
    }

    fn header(&mut self) -> Result<(Header, u64), DebError> {
        let at = self.source.at;
        let mut header = [0; HEADER];
        if self.source.fill(&mut header)? < HEADER {
            return Err(self.source.truncated("the header of a member"));
        }
        Ok((Header::parse(&header, at)?, at))
    }

    fn skip(&mut self, header: &Header) -> Result<(), DebError> {
        let size = header.size.next_multiple_of(2);
        let skipped = io::copy(&mut (&mut self.source).take(size), &mut io::sink());
        match skipped {
            Ok(skipped) if skipped == size => Ok(()),
            Ok(_) => Err(self.source.truncated(&format!("`{}`", header.name))),
            Err(source) => Err(DebError::Io { source }),
        }
    }
}

impl<R: Read> Member<'_, R> {
    /// Unpacks the member and passes it to `read`, which must read to its end: the checksums are compared only there.
    pub(crate) fn unpack<T>(
        self,
        read: impl FnOnce(&mut dyn Read) -> io::Result<T>,
    ) -> Result<T, DebError> {
        let Self { name, size, source } = self;
        let mut packed = source.by_ref().take(size);
        let unpacked = decoder(&name, &mut packed)?.and_then(|mut decoder| read(&mut decoder));
        // The member is complete only if its last byte is present.
        let unpacked = unpacked.and_then(|value| {
            io::copy(&mut packed, &mut io::sink())?;
            Ok(value)
        });
        if source.is_over {
            return Err(source.truncated(&format!("`{name}`")));
        }
        unpacked.map_err(|error| {
            if source.is_broken {
                DebError::Io { source: error }
            } else {
                DebError::Damaged {
                    member: name,
                    source: error,
                }
            }
        })
    }
}

/// The decompressor of a member; the outer error is for an unknown compression.
fn decoder<'a>(
    name: &str,
    packed: impl Read + 'a,
) -> Result<io::Result<Box<dyn Read + 'a>>, DebError> {
    let xz = |stream: Result<Stream, liblzma::stream::Error>, packed| {
        let stream = stream.map_err(io::Error::from)?;
        Ok(Box::new(liblzma::bufread::XzDecoder::new_stream(packed, stream)) as Box<dyn Read + 'a>)
    };
    let packed = BufReader::with_capacity(64 << 10, packed);
    Ok(match name.rsplit_once(".tar").map(|(_, kind)| kind) {
        Some("") => Ok(Box::new(packed)),
        Some(".gz") => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(packed))),
        Some(".xz") => xz(
            Stream::new_stream_decoder(MOST_MEMORY, CONCATENATED),
            packed,
        ),
        Some(".lzma") => xz(Stream::new_lzma_decoder(MOST_MEMORY), packed),
        Some(".bz2") => Ok(Box::new(bzip2::bufread::MultiBzDecoder::new(packed))),
        Some(".zst") => zstd::Decoder::with_buffer(packed)
            .map(|decoder| Box::new(decoder) as Box<dyn Read + 'a>),
        _ => {
            let member = name.to_owned();
            return Err(DebError::Compression { member });
        }
    })
}

/// The bytes of a package, with the failures of reading them.
struct Source<R> {
    reader: R,
    /// The offset of the next byte.
    at: u64,
    /// True if a read was attempted after the last byte.
    is_over: bool,
    /// True if the reader failed, in which case the contents are not to blame.
    is_broken: bool,
}

impl<R: Read> Source<R> {
    /// Fills `bytes`; returns fewer bytes at the end of the file.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize, DebError> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(DebError::Io { source }),
            }
        }
        Ok(filled)
    }

    fn truncated(&self, within: &str) -> DebError {
        DebError::Truncated {
            within: within.to_owned(),
            at: self.at,
        }
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(bytes).inspect_err(|error| {
            self.is_broken |= error.kind() != io::ErrorKind::Interrupted;
        })?;
        self.is_over |= read == 0 && !bytes.is_empty();
        self.at += read as u64;
        Ok(read)
    }
}
