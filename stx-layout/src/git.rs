//! Converts git branches and tags to release identifiers, and back.

use crate::{Name, ParseError, ReleaseId, words};

/// The release identifiers under which the branches of a release, `r/stx.VERSION`, are published.
///
/// The specification has no release candidates; the real mirror publishes the builds of such a branch under `rc/` until they
/// become the release.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum GitMapping {
    /// `r/stx.10.0` is `rc/10.0`, as on the real mirror.
    #[default]
    Candidate,
    /// `r/stx.10.0` is `release/10.0`, as in the specification.
    Release,
}

const FORMS: &str = "a branch or tag of the form `master`, `f/NAME`, `r/NAME`, `rNAME` (a year), `r/stx.VERSION`, `m/TAG` or `mTAG` (a year)";

impl ReleaseId {
    /// The release identifier under which a git branch or tag is published, with [`GitMapping::Candidate`].
    ///
    /// ```
    /// # use stx_layout::ReleaseId;
    /// assert_eq!(ReleaseId::from_git("master")?.to_string(), "master");
    /// assert_eq!(ReleaseId::from_git("f/centos76")?.to_string(), "feature/centos76");
    /// assert_eq!(ReleaseId::from_git("r/2018.10")?.to_string(), "release/2018.10");
    /// assert_eq!(ReleaseId::from_git("r2018.10")?.to_string(), "release/2018.10");
    /// assert_eq!(ReleaseId::from_git("r/stx.10.0")?.to_string(), "rc/10.0");
    /// assert_eq!(ReleaseId::from_git("m2018.10.b3")?.to_string(), "milestone/2018.10.b3");
    /// assert!(ReleaseId::from_git("main").is_err());
    /// # Ok::<(), stx_layout::ParseError>(())
    /// ```
    ///
    /// # Errors
    /// A name of any other form is refused with a list of the forms; there is no silent default.
    pub fn from_git(git: &str) -> Result<Self, ParseError> {
        Self::from_git_as(git, GitMapping::Candidate)
    }

    /// The release identifier under which a git branch or tag is published.
    ///
    /// ```
    /// # use stx_layout::{GitMapping, ReleaseId};
    /// let id = ReleaseId::from_git_as("r/stx.10.0", GitMapping::Release)?;
    /// assert_eq!(id.to_string(), "release/10.0");
    /// # Ok::<(), stx_layout::ParseError>(())
    /// ```
    ///
    /// # Errors
    /// A name of any other form is refused with a list of the forms; there is no silent default.
    pub fn from_git_as(git: &str, mapping: GitMapping) -> Result<Self, ParseError> {
        read(git, mapping).map_err(|error| {
            let bare = ["refs/heads/", "refs/tags/", "origin/"]
                .into_iter()
                .find_map(|prefix| git.strip_prefix(prefix))
                .unwrap_or(git);
            [bare.to_owned(), bare.to_lowercase()]
                .into_iter()
                .find(|near| near != git && read(near, mapping).is_ok())
                .map_or_else(|| error.clone(), |near| error.clone().suggest(near))
        })
    }

    /// The git branch that is published under this release identifier; a tag, `m/TAG`, for a milestone.
    ///
    /// [`from_git_as`](Self::from_git_as) with the same mapping returns this release identifier again. `None` if the mapping
    /// assigns no branch to it, as [`GitMapping::Release`] does for `rc/`. Names with a version (`2.0`, up to three digits before
    /// the dot) are the stx branches, names with a year (`2018.10`) the plain ones.
    ///
    /// ```
    /// # use stx_layout::{GitMapping, ReleaseId};
    /// let id: ReleaseId = "release/2.0".parse()?;
    /// assert_eq!(id.to_git(GitMapping::Release).as_deref(), Some("r/stx.2.0"));
    /// assert_eq!(id.to_git(GitMapping::Candidate).as_deref(), Some("r/2.0"));
    /// # Ok::<(), stx_layout::ParseError>(())
    /// ```
    pub fn to_git(&self, mapping: GitMapping) -> Option<String> {
        let git = match (self, mapping) {
            (Self::Master, _) => "master".to_owned(),
            (Self::Feature(name), _) => format!("f/{name}"),
            (Self::Milestone(name), _) => format!("m/{name}"),
            (Self::Rc(name), GitMapping::Candidate) => format!("r/stx.{name}"),
            (Self::Rc(_), GitMapping::Release) => return None,
            (Self::Release(name), GitMapping::Release) if is_version(name.as_str()) => {
                format!("r/stx.{name}")
            }
            (Self::Release(name), _) => format!("r/{name}"),
        };
        (read(&git, mapping).as_ref() == Ok(self)).then_some(git)
    }
}

fn read(git: &str, mapping: GitMapping) -> Result<ReleaseId, ParseError> {
    let name = |from: usize| {
        git[from..]
            .parse::<Name>()
            .map_err(|error| error.within(git, from))
    };
    let release = |from: usize| match &git[from..] {
        words::LATEST_RELEASE => Err(ParseError::new(git, from, "a release, not an alias")),
        _ => name(from).map(ReleaseId::Release),
    };
    if git == "master" {
        Ok(ReleaseId::Master)
    } else if git.starts_with("f/") {
        name(2).map(ReleaseId::Feature)
    } else if git.starts_with("r/stx.") {
        match mapping {
            GitMapping::Candidate => name(6).map(ReleaseId::Rc),
            GitMapping::Release => release(6),
        }
    } else if git.starts_with("r/") {
        release(2)
    } else if git.starts_with("m/") {
        name(2).map(ReleaseId::Milestone)
    } else if words::is_dated(git, b'r') {
        release(1)
    } else if words::is_dated(git, b'm') {
        name(1).map(ReleaseId::Milestone)
    } else {
        Err(ParseError::new(git, 0, FORMS))
    }
}

/// True if a name is a version of StarlingX, `2.0` or `10.0`, not a year.
fn is_version(name: &str) -> bool {
    let digits = name.bytes().take_while(u8::is_ascii_digit).count();
    (1..=3).contains(&digits) && matches!(name.as_bytes().get(digits), None | Some(b'.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::strategies;

    #[test]
    fn near_names_are_suggested() {
        let near = |git| ReleaseId::from_git(git).unwrap_err().suggestion;
        assert_eq!(near("refs/heads/f/centos76").as_deref(), Some("f/centos76"));
        assert_eq!(near("origin/master").as_deref(), Some("master"));
        assert_eq!(near("Master").as_deref(), Some("master"));
        assert_eq!(near("main"), None);
    }

    #[test]
    fn the_error_of_an_unknown_branch_lists_the_forms() {
        let error = ReleaseId::from_git("devel").unwrap_err();
        assert_eq!(error.offset, 0);
        for form in ["master", "f/NAME", "r/NAME", "r/stx.VERSION", "m/TAG"] {
            assert!(error.expected.contains(form), "{error}");
        }
    }

    proptest! {
        #[test]
        fn releases_and_branches_round_trip(id in strategies::release_id(), real in any::<bool>()) {
            let mapping = if real { GitMapping::Candidate } else { GitMapping::Release };
            if let Some(git) = id.to_git(mapping) {
                prop_assert_eq!(ReleaseId::from_git_as(&git, mapping).unwrap(), id);
            } else {
                let stx = id.name().is_some_and(|name| name.as_str().starts_with("stx."));
                prop_assert!(stx || matches!((&id, mapping), (ReleaseId::Rc(_), GitMapping::Release)));
            }
        }

        #[test]
        fn parsing_any_text_causes_no_panic(text in strategies::any_text()) {
            if let Err(error) = ReleaseId::from_git(&text) {
                prop_assert!(error.offset <= text.len());
            }
        }
    }
}
