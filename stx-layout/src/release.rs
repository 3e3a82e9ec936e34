//! Release identifiers.

use std::fmt;
use std::str::FromStr;

use crate::text::serde_as_text;
use crate::words;
use crate::{Name, ParseError, nearest};

/// The first part of a mirror path: `master`, `feature/NAME`, `release/NAME`, `milestone/TAG`, `rc/VERSION`.
///
/// `Ord` is by kind in the order of the variants, then by name. `release/latest_release` is refused: it is an alias, and nothing
/// is written through an alias (paths that contain it are parsed by [`MirrorPath`](crate::MirrorPath)).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReleaseId {
    /// `master`.
    Master,
    /// `feature/NAME`, from branch `f/NAME`.
    Feature(Name),
    /// `release/NAME`, from branch `r/NAME`.
    Release(Name),
    /// `milestone/TAG`, from tag `mTAG` or `m/TAG`.
    Milestone(Name),
    /// `rc/VERSION`, a release candidate of the real mirror, from branch `r/stx.VERSION`.
    Rc(Name),
}

/// The kind of a [`ReleaseId`], without its name. Retention rules select by it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseKind {
    /// `master`.
    Master,
    /// `feature/…`.
    Feature,
    /// `release/…`.
    Release,
    /// `milestone/…`.
    Milestone,
    /// `rc/…`.
    Rc,
}

impl ReleaseKind {
    /// Every kind, in order.
    pub const ALL: [Self; 5] = [
        Self::Master,
        Self::Feature,
        Self::Release,
        Self::Milestone,
        Self::Rc,
    ];

    /// The first segment of such a release identifier.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Feature => "feature",
            Self::Release => "release",
            Self::Milestone => "milestone",
            Self::Rc => "rc",
        }
    }
}

impl fmt::Display for ReleaseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ReleaseId {
    /// The kind of this release identifier.
    pub fn kind(&self) -> ReleaseKind {
        match self {
            Self::Master => ReleaseKind::Master,
            Self::Feature(_) => ReleaseKind::Feature,
            Self::Release(_) => ReleaseKind::Release,
            Self::Milestone(_) => ReleaseKind::Milestone,
            Self::Rc(_) => ReleaseKind::Rc,
        }
    }

    /// The name after the kind; `master` has none.
    pub fn name(&self) -> Option<&Name> {
        match self {
            Self::Master => None,
            Self::Feature(name) | Self::Release(name) | Self::Milestone(name) | Self::Rc(name) => {
                Some(name)
            }
        }
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().as_str())?;
        self.name().map_or(Ok(()), |name| write!(f, "/{name}"))
    }
}

impl FromStr for ReleaseId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        const EXPECTED: &str =
            "`master`, `feature/NAME`, `release/NAME`, `milestone/TAG` or `rc/VERSION`";
        let (kind, rest) = text
            .split_once('/')
            .map_or((text, None), |(kind, rest)| (kind, Some(rest)));
        let Some(known) = ReleaseKind::ALL
            .into_iter()
            .find(|known| known.as_str() == kind)
        else {
            let error = ParseError::new(text, 0, EXPECTED);
            let near = near_kind(kind).map(|near| format!("{near}{}", &text[kind.len()..]));
            return Err(match near.filter(|near| near.parse::<Self>().is_ok()) {
                Some(near) => error.suggest(near),
                None => error,
            });
        };
        let name = || match rest {
            None => Err(ParseError::new(
                text,
                text.len(),
                format!("`/` and a name after `{kind}`"),
            )),
            Some(rest) => rest
                .parse::<Name>()
                .map_err(|error| error.within(text, kind.len() + 1)),
        };
        match (known, rest) {
            (ReleaseKind::Master, None) => Ok(Self::Master),
            (ReleaseKind::Master, Some(_)) => Err(ParseError::new(
                text,
                kind.len(),
                "the end: `master` has no name",
            )),
            (ReleaseKind::Feature, _) => name().map(Self::Feature),
            (ReleaseKind::Release, Some(words::LATEST_RELEASE)) => Err(ParseError::new(
                text,
                kind.len() + 1,
                "the name of a release; `latest_release` is an alias for one",
            )),
            (ReleaseKind::Release, _) => name().map(Self::Release),
            (ReleaseKind::Milestone, _) => name().map(Self::Milestone),
            (ReleaseKind::Rc, _) => name().map(Self::Rc),
        }
    }
}

serde_as_text!(ReleaseId);

/// The first word of a release identifier that was probably intended: in another case, or a letter or two different.
pub(crate) fn near_kind(word: &str) -> Option<&'static str> {
    nearest(word, ReleaseKind::ALL.into_iter().map(ReleaseKind::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_kinds_of_releases_are_suggested() {
        assert_eq!(near_kind("MASTER"), Some("master"));
        assert_eq!(near_kind("releases"), Some("release"));
        assert_eq!(near_kind("relaese"), Some("release"));
        assert_eq!(near_kind("mastre"), Some("master"));
        assert_eq!(near_kind("Rc"), Some("rc"));
        assert_eq!(near_kind("cr"), None);
        assert_eq!(near_kind("mirror"), None);
    }
}
