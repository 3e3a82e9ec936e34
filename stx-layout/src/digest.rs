//! SHA-256 digests and the `SHA256SUMS` of a build.

use std::fmt;
use std::str::FromStr;

use crate::text::serde_as_text;
use crate::{BuildPath, ParseError};

/// A SHA-256 digest; the text form is 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

impl FromStr for Sha256 {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        const EXPECTED: &str = "64 lower-case hexadecimal digits";
        let digit = |offset: usize| match text.as_bytes().get(offset) {
            Some(byte @ b'0'..=b'9') => Ok(byte - b'0'),
            Some(byte @ b'a'..=b'f') => Ok(byte - b'a' + 10),
            _ => Err(ParseError::new(text, offset, EXPECTED)),
        };
        let mut digest = [0; 32];
        for (index, byte) in digest.iter_mut().enumerate() {
            *byte = digit(2 * index)? << 4 | digit(2 * index + 1)?;
        }
        if text.len() > 64 {
            return Err(ParseError::new(text, 64, "the end of the digest"));
        }
        Ok(Self(digest))
    }
}

serde_as_text!(Sha256);

/// One line of a [`Sums`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SumLine {
    /// The file.
    pub path: BuildPath,
    /// Its digest.
    pub digest: Sha256,
}

/// The `SHA256SUMS` of a build: every file but itself, sorted by path, without duplicates.
///
/// The text form is that of `sha256sum -c`, one `DIGEST  PATH` per line. `sha256sum` escapes only names that contain a backslash
/// or a newline, and no [`BuildPath`] does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sums(Vec<SumLine>);

/// A `SHA256SUMS` that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("SHA256SUMS line {line}")]
pub struct SumsError {
    /// The line, counted from 1.
    pub line: usize,
    /// The first error in that line, with its byte offset.
    #[source]
    pub source: ParseError,
}

impl Sums {
    /// The name of the file in a build's directory.
    pub const FILE_NAME: &'static str = "SHA256SUMS";

    /// The lines, sorted by path.
    pub fn lines(&self) -> &[SumLine] {
        &self.0
    }

    /// The digest of a file.
    pub fn get(&self, path: &BuildPath) -> Option<Sha256> {
        let index = self.0.binary_search_by(|line| line.path.cmp(path)).ok()?;
        Some(self.0[index].digest)
    }
}

impl FromIterator<SumLine> for Sums {
    /// Sorts by path; of two lines for one path, keeps the first.
    fn from_iter<T: IntoIterator<Item = SumLine>>(lines: T) -> Self {
        let mut lines: Vec<_> = lines.into_iter().collect();
        lines.sort_by(|a, b| a.path.cmp(&b.path));
        lines.dedup_by(|later, earlier| later.path == earlier.path);
        Self(lines)
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|SumLine { path, digest }| writeln!(f, "{digest}  {path}"))
    }
}

impl FromStr for Sums {
    type Err = SumsError;

    /// Parses the text form; `*` before the path (a binary sum) is read like a blank. Lines may be in any order.
    fn from_str(text: &str) -> Result<Self, SumsError> {
        let mut lines = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let fail = |source| SumsError {
                line: index + 1,
                source,
            };
            let (Some(digest), Some(separator), Some(path)) =
                (line.get(..64), line.get(64..66), line.get(66..))
            else {
                return Err(fail(ParseError::new(
                    line,
                    line.len().min(64),
                    "DIGEST, two blanks, PATH",
                )));
            };
            if separator != "  " && separator != " *" {
                return Err(fail(ParseError::new(
                    line,
                    64,
                    "two blanks, or a blank and `*`",
                )));
            }
            lines.push(SumLine {
                digest: digest
                    .parse()
                    .map_err(|error: ParseError| fail(error.within(line, 0)))?,
                path: path
                    .parse()
                    .map_err(|error: ParseError| fail(error.within(line, 66)))?,
            });
        }
        let sums: Self = lines.iter().cloned().collect();
        if sums.0.len() < lines.len() {
            let mut seen = std::collections::BTreeSet::new();
            for (index, line) in lines.iter().enumerate() {
                if !seen.insert(&line.path) {
                    return Err(SumsError {
                        line: index + 1,
                        source: ParseError::new(
                            line.path.as_str(),
                            0,
                            "a path that no earlier line has",
                        ),
                    });
                }
            }
        }
        Ok(sums)
    }
}
