//! The metadata of repositories: the files that `dnf` reads before it reads a package and, in [`apt`], those that `apt` reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;
use stx_layout::{BuildDate, BuildPath, Sha256};

use crate::error::StoreError;

pub mod apt;
mod carried;
#[cfg(feature = "local")]
mod createrepo;
#[cfg(feature = "local")]
pub(crate) mod listing;
#[cfg(feature = "local")]
mod repodata;
#[cfg(feature = "local")]
mod whole;

pub(crate) use carried::is_carried;
pub use carried::{Carried, CarriedRecord};
#[cfg(feature = "local")]
pub use carried::{carry, insert};
#[cfg(feature = "local")]
pub use createrepo::CreaterepoC;
#[cfg(feature = "local")]
pub use repodata::Repodata;
#[cfg(feature = "local")]
pub(crate) use whole::location;

/// Facts about a repository's packages that the publisher already knows, so that the packages need not be read again.
#[derive(Debug, Clone, Default)]
pub struct PackageCache {
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

/// The packages that the metadata of a repository lists, and those that it leaves out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Indexed {
    /// Packages that it lists.
    pub listed: u64,
    /// Files with the name of a package that are not listed, by path below the repository, with the reason. Clients do not find them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unlisted: BTreeMap<String, String>,
    /// Packages for which several files are listed, by name, epoch, version, release and architecture, with the paths of
    /// these files. It is undefined which file a client takes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub duplicates: BTreeMap<String, BTreeSet<String>>,
    /// Records of the build's own metadata that were carried over.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub carried: BTreeSet<String>,
    /// Records and files of the build's own metadata that were not carried over, with the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub not_carried: BTreeMap<String, String>,
    /// Files of the build's own apt metadata that were replaced by new ones.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub replaced: BTreeSet<String>,
    /// Other warnings of the program that made the metadata.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Indexed {
    /// True if the metadata contains everything that it should.
    pub fn is_complete(&self) -> bool {
        self.unlisted.is_empty() && self.not_carried.is_empty()
    }

    /// Counts a listed file of the package `nevra`. Duplicates are known after [`Self::settle`].
    fn list(&mut self, nevra: String, href: String) {
        self.listed += 1;
        self.duplicates.entry(nevra).or_default().insert(href);
    }

    /// Keeps only the packages that have several files.
    fn settle(mut self) -> Self {
        self.duplicates.retain(|_, files| files.len() > 1);
        self
    }

    /// The problems that need a person's attention, one line each; `dir` is the repository.
    pub fn problems(&self, dir: &BuildPath) -> Vec<String> {
        let unlisted = self.unlisted.iter().map(|(file, reason)| {
            format!("{dir}/{file} is not in the repository metadata: {reason}")
        });
        let duplicates = self.duplicates.iter().map(|(nevra, files)| {
            let files: Vec<_> = files.iter().map(String::as_str).collect();
            format!("{dir} lists {nevra} more than once: {}", files.join(", "))
        });
        let not_carried = self.not_carried.iter().map(|(what, reason)| {
            format!("{dir}: `{what}` of the build's own repository metadata is left out: {reason}")
        });
        let warnings = self.warnings.iter().map(|text| format!("{dir}: {text}"));
        unlisted
            .chain(duplicates)
            .chain(not_carried)
            .chain(warnings)
            .collect()
    }
}

/// Makes the metadata of RPM repositories.
///
/// # Contract
/// - It writes only below `dir/repodata/`, and its files name only files below `dir`. Existing files there stay.
/// - It lists every package below `dir`. A file with the name of a package that is not listed is reported as
///   [unlisted](Indexed::unlisted), with the reason.
/// - The same files and the same date give the same metadata.
/// - `lock` and all copies of it stay open as long as anything is written: a program that outlives this one has a copy, so
///   that the channel stays locked until it is done.
#[async_trait]
pub trait RepoMetadata: fmt::Debug + Send + Sync {
    /// Makes the metadata of the packages below `dir`, dated `date`.
    async fn index(
        &self,
        dir: &Utf8Path,
        date: BuildDate,
        lock: File,
    ) -> Result<Indexed, StoreError>;

    /// Makes the same as [`index`](Self::index), but uses known facts instead of reading the packages again.
    async fn update(
        &self,
        dir: &Utf8Path,
        date: BuildDate,
        known: PackageCache,
        lock: File,
    ) -> Result<Indexed, StoreError> {
        drop(known);
        self.index(dir, date, lock).await
    }
}
