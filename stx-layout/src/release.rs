//! Release identifiers: what a channel holds builds of.

use std::fmt;
use std::str::FromStr;

use crate::text::serde_as_text;
use crate::{Name, ParseError};

/// The first part of a mirror path: `master`, `feature/NAME`, `release/NAME`, `milestone/TAG`, `rc/VERSION`.
///
/// `Ord` is by kind in the order of the variants, then by name.
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

/// The kind of a [`ReleaseId`], without its name. Retention rules go by it.
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
    /// What kind of release identifier this is.
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

    /// The release identifier under which a git branch or tag is published.
    ///
    /// ```
    /// # use stx_layout::ReleaseId;
    /// assert_eq!(ReleaseId::from_git("r/2018.10")?.to_string(), "release/2018.10");
    /// assert_eq!(ReleaseId::from_git("r/stx.10.0")?.to_string(), "rc/10.0");
    /// # Ok::<(), stx_layout::ParseError>(())
    /// ```
    ///
    /// # Errors
    /// A name of any other form is refused with the list of the forms; there is no silent default.
    pub fn from_git(git: &str) -> Result<Self, ParseError> {
        const FORMS: &str = "`master`, `f/NAME`, `r/NAME`, `rNAME` (a year), `r/stx.VERSION`, `m/TAG` or `mTAG` (a year)";
        let refuse =
            |offset| ParseError::new(git, offset, format!("a branch or tag of the form {FORMS}"));
        let name = |from: usize| {
            git[from..]
                .parse::<Name>()
                .map_err(|error| error.within(git, from))
        };
        let dated = |text: &str| text.starts_with(|character: char| character.is_ascii_digit());
        if git == "master" {
            Ok(Self::Master)
        } else if git.starts_with("f/") {
            name(2).map(Self::Feature)
        } else if git.starts_with("r/stx.") {
            name(6).map(Self::Rc)
        } else if git.starts_with("r/") {
            name(2).map(Self::Release)
        } else if git.starts_with("m/") {
            name(2).map(Self::Milestone)
        } else if git.strip_prefix('r').is_some_and(dated) {
            name(1).map(Self::Release)
        } else if git.strip_prefix('m').is_some_and(dated) {
            name(1).map(Self::Milestone)
        } else {
            Err(refuse(0))
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
            return Err(ParseError::new(text, 0, EXPECTED));
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
            (ReleaseKind::Release, _) => name().map(Self::Release),
            (ReleaseKind::Milestone, _) => name().map(Self::Milestone),
            (ReleaseKind::Rc, _) => name().map(Self::Rc),
        }
    }
}

serde_as_text!(ReleaseId);
