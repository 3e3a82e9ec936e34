//! Paths within a build.

use std::fmt;
use std::str::FromStr;

use camino::{Utf8Path, Utf8PathBuf};

use crate::ParseError;
use crate::segment::first_fault;
use crate::segment::open_segment;
use crate::text::serde_as_text;

open_segment! {
    /// A build phase, `std`, `rt`, `installer`, `container`; the set is open.
    BuildPhase
}

/// The longest path of a mirror, in bytes: `PATH_MAX`, less room for the path of the mirror itself.
pub(crate) const MAX_PATH: usize = 3072;

/// A file of a build, relative to the build's directory: `outputs/RPMS/std/hello-1.0-1.x86_64.rpm`.
///
/// One or more segments, each a [`Name`](crate::Name). `Ord` is byte order, the order of `SHA256SUMS`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildPath(String);

impl BuildPath {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path, for joining to the build's directory.
    pub fn as_path(&self) -> &Utf8Path {
        Utf8Path::new(&self.0)
    }

    /// The segments, first to last.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The last segment.
    pub fn file_name(&self) -> &str {
        self.segments().next_back().unwrap_or_default()
    }

    /// The path without its last segment; `None` for a file directly in the build.
    pub fn parent(&self) -> Option<Self> {
        self.0
            .rsplit_once('/')
            .map(|(parent, _)| Self(parent.to_owned()))
    }

    /// This path with `rest` below it.
    ///
    /// # Errors
    /// Refuses texts that the grammar refuses.
    pub fn join(&self, rest: &str) -> Result<Self, ParseError> {
        format!("{}/{rest}", self.0).parse()
    }
}

impl fmt::Display for BuildPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BuildPath {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.len() > MAX_PATH {
            return Err(ParseError::new(
                text,
                text.floor_char_boundary(MAX_PATH),
                "the end of the path: no path is longer than 3072 bytes",
            ));
        }
        match first_fault(text) {
            None => Ok(Self(text.to_owned())),
            Some((offset, expected)) => Err(ParseError::new(text, offset, expected)),
        }
    }
}

impl TryFrom<Utf8PathBuf> for BuildPath {
    type Error = ParseError;

    fn try_from(path: Utf8PathBuf) -> Result<Self, ParseError> {
        path.as_str().parse()
    }
}

serde_as_text!(BuildPath);
