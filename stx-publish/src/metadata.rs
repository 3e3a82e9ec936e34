//! The metadata of RPM repositories: what `dnf` reads before it reads a package.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use stx_layout::{BuildDate, BuildPath, Sha256};

use crate::store::StoreError;

#[cfg(feature = "local")]
mod createrepo;
#[cfg(feature = "local")]
mod repodata;
#[cfg(feature = "local")]
mod whole;

#[cfg(feature = "local")]
pub use createrepo::CreaterepoC;
#[cfg(feature = "local")]
pub use repodata::Repodata;

/// What the publisher of a repository knows already.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The digests of the packages, by path below the repository.
    pub digests: BTreeMap<String, Sha256>,
    /// The metadata that the repository had in an earlier build.
    pub earlier: Option<Earlier>,
}

/// The metadata of an earlier build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// The directory `repodata`.
    pub repodata: Utf8PathBuf,
    /// The digest of `repomd.xml` in it.
    pub repomd: Sha256,
}

/// Makes the metadata of RPM repositories.
///
/// # Contract
/// - Writes below `dir/repodata/` only, and what it writes names files below `dir` only.
/// - The same files and the same date give the same metadata.
/// - `lock` is open, with all copies of it, as long as anything is written: a program that outlives this one has a copy, so
///   that the channel stays locked until it is done.
#[async_trait]
pub trait RepoMetadata: fmt::Debug + Send + Sync {
    /// Makes the metadata of the packages below `dir`, dated `date`.
    async fn index(&self, dir: &Utf8Path, date: BuildDate, lock: File) -> Result<(), StoreError>;

    /// Makes the same as [`index`](Self::index); what is known need not be found out again.
    async fn update(
        &self,
        dir: &Utf8Path,
        date: BuildDate,
        known: Known,
        lock: File,
    ) -> Result<(), StoreError> {
        drop(known);
        self.index(dir, date, lock).await
    }
}

/// The directories among `paths` that are RPM repositories: `outputs/RPMS/<phase>`, `outputs/SRPMS/<phase>`,
/// `inputs/RPMS` and `inputs/SRPMS`, where there is a package below them.
pub fn repositories<'a>(paths: impl IntoIterator<Item = &'a BuildPath>) -> BTreeSet<BuildPath> {
    let mut found = BTreeSet::new();
    for path in paths
        .into_iter()
        .filter(|path| path.as_path().extension() == Some("rpm"))
    {
        let segments: Vec<_> = path.segments().collect();
        let depth = match *segments.as_slice() {
            ["outputs", "RPMS" | "SRPMS", _, _, ..] => 3,
            ["inputs", "RPMS" | "SRPMS", _, ..] => 2,
            _ => continue,
        };
        found.extend(segments[..depth].join("/").parse::<BuildPath>());
    }
    found
}

/// Whether `path` is metadata of one of `repositories`.
pub(crate) fn is_metadata(repositories: &BTreeSet<BuildPath>, path: &BuildPath) -> bool {
    repositories.iter().any(|dir| {
        let rest = path.as_str().strip_prefix(dir.as_str());
        rest.is_some_and(|rest| rest.starts_with("/repodata/"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_with_packages_are_repositories() {
        let paths = [
            "inputs/RPMS/a.rpm",
            "inputs/downloads/b.rpm",
            "outputs/RPMS/loose.rpm",
            "outputs/RPMS/rt/README",
            "outputs/RPMS/std/x86_64/c.rpm",
            "outputs/SRPMS/std/c.src.rpm",
        ]
        .map(|path| path.parse::<BuildPath>().expect("a path"));
        let found: Vec<_> = repositories(&paths)
            .into_iter()
            .map(|dir| dir.to_string())
            .collect();
        assert_eq!(
            found,
            ["inputs/RPMS", "outputs/RPMS/std", "outputs/SRPMS/std"]
        );
        assert!(is_metadata(
            &repositories(&paths),
            &"inputs/RPMS/repodata/repomd.xml".parse().expect("a path")
        ));
    }
}
