//! Names above the builds that point to a release or to a channel.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::serde_as_text;
use crate::words::LATEST_RELEASE;
use crate::{Channel, LegacyRelease, ParseError, ReleaseId};

/// A name of the mirror that points to a release, or to a channel, by its path from the mirror's root.
///
/// `Ord` is by the variants, then by their names.
///
/// ```
/// # use stx_layout::RootAlias;
/// assert_eq!("release/latest_release".parse(), Ok(RootAlias::LatestRelease));
/// assert!(matches!("r2018.10".parse()?, RootAlias::Legacy(_)));
/// assert!(matches!("release/stable".parse()?, RootAlias::Release(_)));
/// assert!(matches!("release/11.0.0/debian/monolithic".parse()?, RootAlias::Channel(_)));
/// assert!("master/centos/latest_build".parse::<RootAlias>().is_err());
/// assert!("../release".parse::<RootAlias>().is_err());
/// # Ok::<(), stx_layout::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RootAlias {
    /// `release/latest_release`, which points to the newest release.
    LatestRelease,
    /// A name at the root that points to a release: `r2018.10`.
    Legacy(LegacyRelease),
    /// A name beside the releases that points to one of them: `release/stable`.
    Release(ReleaseId),
    /// A name beside the channels that points to one of them: `release/11.0.0/debian/monolithic`.
    Channel(Channel),
}

impl RootAlias {
    /// The alias in a path of the mirror, if its words alone identify it, and the rest of the path.
    ///
    /// ```
    /// # use stx_layout::RootAlias;
    /// let (alias, rest) = RootAlias::split("r2018.10/centos/latest_build").expect("one");
    /// assert_eq!((alias.to_string().as_str(), rest), ("r2018.10", "/centos/latest_build"));
    /// assert_eq!(RootAlias::split("release/2018.10/centos"), None);
    /// ```
    pub fn split(path: &str) -> Option<(Self, &str)> {
        let first = path.find('/').unwrap_or(path.len());
        if let Ok(legacy) = path[..first].parse() {
            return Some((Self::Legacy(legacy), &path[first..]));
        }
        let rest = path
            .strip_prefix("release/")?
            .strip_prefix(LATEST_RELEASE)?;
        (rest.is_empty() || rest.starts_with('/')).then_some((Self::LatestRelease, rest))
    }

    /// True if it may point there: a channel's name to a channel, the others to a release, and none to itself.
    pub fn fits(&self, target: &RootTarget) -> bool {
        match (self, target) {
            (Self::LatestRelease, RootTarget::Release(to)) => matches!(to, ReleaseId::Release(_)),
            (Self::Legacy(_), RootTarget::Release(_)) => true,
            (Self::Release(name), RootTarget::Release(to)) => name != to,
            (Self::Channel(name), RootTarget::Channel(to)) => name != to,
            (Self::LatestRelease | Self::Legacy(_) | Self::Release(_), RootTarget::Channel(_))
            | (Self::Channel(_), RootTarget::Release(_)) => false,
        }
    }
}

impl fmt::Display for RootAlias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LatestRelease => write!(f, "release/{LATEST_RELEASE}"),
            Self::Legacy(name) => name.fmt(f),
            Self::Release(name) => name.fmt(f),
            Self::Channel(name) => name.fmt(f),
        }
    }
}

impl FromStr for RootAlias {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if let Some((alias, "")) = Self::split(text) {
            return Ok(alias);
        }
        Ok(match text.parse()? {
            // `master` is reserved: an alias cannot take its name.
            RootTarget::Release(ReleaseId::Master) => {
                return Err(ParseError::new(
                    text,
                    0,
                    "the name of an alias, such as `r2018.10` or `release/latest_release`",
                ));
            }
            RootTarget::Release(name) => Self::Release(name),
            RootTarget::Channel(name) => Self::Channel(name),
        })
    }
}

serde_as_text!(RootAlias);

/// The possible targets of a [`RootAlias`].
///
/// ```
/// # use stx_layout::RootTarget;
/// assert!(matches!("release/2018.10".parse()?, RootTarget::Release(_)));
/// assert!(matches!("master/centos".parse()?, RootTarget::Channel(_)));
/// assert!("r2018.10".parse::<RootTarget>().is_err());
/// # Ok::<(), stx_layout::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RootTarget {
    /// A release, with all its channels.
    Release(ReleaseId),
    /// One channel.
    Channel(Channel),
}

impl RootTarget {
    /// True if a channel is the target, or one of its channels.
    pub fn holds(&self, channel: &Channel) -> bool {
        match self {
            Self::Release(release) => channel.release == *release,
            Self::Channel(target) => channel == target,
        }
    }
}

impl fmt::Display for RootTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release(release) => release.fmt(f),
            Self::Channel(channel) => channel.fmt(f),
        }
    }
}

impl FromStr for RootTarget {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let is_channel = match text.split_once('/') {
            None => false,
            Some(("master", _)) => true,
            Some((_, rest)) => rest.contains('/'),
        };
        if is_channel {
            text.parse().map(Self::Channel)
        } else {
            text.parse().map(Self::Release)
        }
    }
}

serde_as_text!(RootTarget);

/// The target of a [`RootAlias`], as found on the mirror. Its text is the path of the target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum RootEntry {
    /// A release or a channel, even if it does not exist.
    To(RootTarget),
    /// Something else; the text found on the mirror.
    Other(String),
}

impl RootEntry {
    /// The target, if it is a valid one.
    pub fn target(&self) -> Option<&RootTarget> {
        match self {
            Self::To(target) => Some(target),
            Self::Other(_) => None,
        }
    }
}

impl fmt::Display for RootEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(target) => target.fmt(f),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl From<String> for RootEntry {
    fn from(text: String) -> Self {
        match text.parse() {
            Ok(target) => Self::To(target),
            Err(_) => Self::Other(text),
        }
    }
}

impl From<RootEntry> for String {
    fn from(entry: RootEntry) -> Self {
        entry.to_string()
    }
}

impl From<RootTarget> for RootEntry {
    fn from(target: RootTarget) -> Self {
        Self::To(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_alias_points_to_a_target_of_its_own_kind() {
        for (alias, target, fits) in [
            ("r2018.10", "release/2018.10", true),
            ("r2018.10", "release/2018.10/centos", false),
            ("r2018.10", "master", true),
            ("release/latest_release", "release/9.0.0", true),
            ("release/latest_release", "rc/9.0", false),
            ("release/latest_release", "milestone/2019.05", false),
            ("release/stable", "release/9.0.0", true),
            ("release/stable", "release/stable", false),
            (
                "release/9/debian/flock",
                "release/9/debian/trixie/amd64/flock",
                true,
            ),
            ("release/9/debian/flock", "release/9", false),
        ] {
            let (parsed, to) = (alias.parse::<RootAlias>(), target.parse());
            assert_eq!(
                parsed.expect(alias).fits(&to.expect(target)),
                fits,
                "{alias} -> {target}"
            );
        }
        for wrong in [
            "",
            "master",
            "r",
            "latest_release",
            "release/latest_release/",
            "/r2018.10",
        ] {
            assert!(wrong.parse::<RootAlias>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_entry_is_the_text_of_its_target() {
        for (text, is_target) in [
            ("release/2018.10", true),
            ("master/debian/trixie/amd64/flock", true),
            ("../elsewhere", false),
            ("release/latest_release", false),
        ] {
            let entry = RootEntry::from(text.to_owned());
            assert_eq!(entry.target().is_some(), is_target, "{text}");
            let json = serde_json::to_string(&entry).expect("a text");
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(
                serde_json::from_str::<RootEntry>(&json).expect("an entry"),
                entry
            );
        }
    }
}
