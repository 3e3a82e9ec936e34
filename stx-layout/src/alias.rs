//! Names that point at a build.

use std::fmt;
use std::str::FromStr;

use crate::text::serde_as_text;
use crate::{Name, ParseError};

/// A name in a channel's directory that points at one of its builds: `latest_build`, `latest_green_build`, ….
///
/// Any `latest_…` is one. `Ord` is byte order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AliasName(Name);

impl AliasName {
    /// The specification's alias, "a symlink to the last successful build date": `latest_build`.
    pub fn latest_build() -> Self {
        "latest_build".parse().expect("a valid alias")
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
        if !text.starts_with("latest_") {
            return Err(ParseError::new(text, 0, "an alias, such as `latest_build`"));
        }
        text.parse().map(Self)
    }
}

serde_as_text!(AliasName);
