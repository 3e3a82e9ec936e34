//! The metadata of RPM repositories: what `dnf` reads before it reads a package.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;

use async_trait::async_trait;
use camino::Utf8Path;
use stx_layout::{BuildDate, BuildPath};

use crate::store::StoreError;

#[cfg(feature = "local")]
mod createrepo;
#[cfg(feature = "local")]
mod whole;

#[cfg(feature = "local")]
pub use createrepo::CreaterepoC;

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
