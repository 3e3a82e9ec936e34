//! The releases that only paths contain: aliases, and branches without a mapping.

use std::fmt;
use std::str::FromStr;

use crate::text::serde_as_text;
use crate::{GitMapping, Name, ParseError, ReleaseId, words};

/// An alias of a release identifier at the mirror's root: `r2018.10` for `release/2018.10`. Any `r` followed by a digit is valid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegacyRelease(Name);

impl LegacyRelease {
    /// The one alias in the specification.
    pub const SPEC: &'static str = "r2018.10";

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The release that it points to: `release/2018.10` for `r2018.10`.
    pub fn target(&self) -> ReleaseId {
        ReleaseId::Release(self.as_str()[1..].parse().expect("a part of a name is one"))
    }
}

impl fmt::Display for LegacyRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LegacyRelease {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if !words::is_dated(text, b'r') {
            return Err(ParseError::new(
                text,
                0,
                "`r` and a year, such as `r2018.10`",
            ));
        }
        text.parse().map(Self)
    }
}

serde_as_text!(LegacyRelease);

/// A git branch or tag in place of a release identifier: `f/antelope`, `r/stx.9.0`, `m/2018.10.b3`, `m2018.10.b3`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BranchRelease(String);

impl BranchRelease {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The release identifier under which such a branch is published.
    pub fn target(&self, mapping: GitMapping) -> Option<ReleaseId> {
        ReleaseId::from_git_as(&self.0, mapping).ok()
    }
}

impl fmt::Display for BranchRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BranchRelease {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let from = match text.as_bytes() {
            [b'f' | b'r' | b'm', b'/', ..] => 2,
            _ if words::is_dated(text, b'm') => 0,
            _ => {
                return Err(ParseError::new(
                    text,
                    0,
                    "a branch, `f/NAME`, `r/NAME`, `m/TAG` or `mTAG`",
                ));
            }
        };
        text[from..]
            .parse::<Name>()
            .map_err(|error| error.within(text, from))?;
        Ok(Self(text.to_owned()))
    }
}

serde_as_text!(BranchRelease);

/// Everything that a path can have in place of its release identifier.
///
/// ```
/// # use stx_layout::{GitMapping, PathRelease};
/// let pasted: PathRelease = "f/antelope".parse()?;
/// let id = pasted.resolve(GitMapping::Candidate);
/// assert_eq!(id.map(|id| id.to_string()).as_deref(), Some("feature/antelope"));
/// # Ok::<(), stx_layout::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathRelease {
    /// A release identifier.
    Id(ReleaseId),
    /// `release/latest_release`, the alias for the newest release.
    Latest,
    /// `r2018.10`.
    Legacy(LegacyRelease),
    /// `f/antelope`.
    Branch(BranchRelease),
}

impl PathRelease {
    /// The release identifier that the text alone determines: for all but [`Latest`](Self::Latest).
    pub fn resolve(&self, mapping: GitMapping) -> Option<ReleaseId> {
        match self {
            Self::Id(id) => Some(id.clone()),
            Self::Latest => None,
            Self::Legacy(legacy) => Some(legacy.target()),
            Self::Branch(branch) => branch.target(mapping),
        }
    }
}

impl fmt::Display for PathRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Latest => f.write_str("release/latest_release"),
            Self::Legacy(legacy) => legacy.fmt(f),
            Self::Branch(branch) => branch.fmt(f),
        }
    }
}

impl FromStr for PathRelease {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.as_bytes() {
            _ if text == "release/latest_release" => Ok(Self::Latest),
            [b'f' | b'r' | b'm', b'/', ..] => text.parse().map(Self::Branch),
            _ if words::is_dated(text, b'm') => text.parse().map(Self::Branch),
            _ if words::is_dated(text, b'r') => text.parse().map(Self::Legacy),
            _ => text.parse().map(Self::Id),
        }
    }
}

serde_as_text!(PathRelease);
