//! Names that point at a build.

use std::fmt;
use std::str::FromStr;

use crate::text::serde_as_text;
use crate::words::{self, LATEST};
use crate::{LegacyRelease, Name, ParseError};

/// A name in a channel's directory that points at one of its builds: `latest_build`, `latest_green_build`, ….
///
/// Any `latest_…` is valid. `Ord` is byte order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AliasName(Name);

impl AliasName {
    /// The specification's alias, "a symlink to the last successful build date": `latest_build`.
    pub fn latest_build() -> Self {
        "latest_build".parse().expect("a valid alias")
    }

    /// The alias that follows the verdicts, to the newest build that passed its tests: `latest_green_build`.
    pub fn latest_green_build() -> Self {
        "latest_green_build".parse().expect("a valid alias")
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for AliasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AliasName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if !text.starts_with(LATEST) {
            let error = ParseError::new(text, 0, "an alias, such as `latest_build`");
            return Err(match words::repaired_alias(text) {
                Some(near) => error.suggest(near).plausible::<Self>(),
                None => error,
            });
        }
        text.parse().map(Self)
    }
}

serde_as_text!(AliasName);

/// Any name of the mirror that points at something else.
///
/// ```
/// # use stx_layout::Alias;
/// assert!(matches!("latest_green_build".parse()?, Alias::Build(_)));
/// assert!(matches!("release/latest_release".parse()?, Alias::LatestRelease));
/// assert!(matches!("r2018.10".parse()?, Alias::Legacy(_)));
/// # Ok::<(), stx_layout::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alias {
    /// A name in a channel that points to one of its builds: `latest_build`.
    Build(AliasName),
    /// `release/latest_release`, which points to the newest release.
    LatestRelease,
    /// A name at the root that points to a release: `r2018.10`.
    Legacy(LegacyRelease),
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(name) => name.fmt(f),
            Self::LatestRelease => f.write_str("release/latest_release"),
            Self::Legacy(name) => name.fmt(f),
        }
    }
}

impl FromStr for Alias {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text == "release/latest_release" {
            Ok(Self::LatestRelease)
        } else if text.starts_with(LATEST) {
            text.parse().map(Self::Build)
        } else if text.starts_with('r') && !text.starts_with("re") {
            text.parse().map(Self::Legacy)
        } else {
            let error = ParseError::new(
                text,
                0,
                "an alias: `latest_build`, `release/latest_release` or `r2018.10`",
            );
            Err(match words::repaired_alias(text) {
                Some(near) => error.suggest(near).plausible::<Self>(),
                None => error,
            })
        }
    }
}

serde_as_text!(Alias);
