//! The metadata of repositories: what `dnf` reads before it reads a package, and, in [`apt`], what `apt` does.

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

/// Facts about a repository's packages that the publisher knows already, so that they need not be read again.
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
    /// Files that are called packages and are not listed, by path below the repository, and why. No client finds them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unlisted: BTreeMap<String, String>,
    /// Packages of which several files are listed, by name, epoch, version, release and architecture, and the paths of
    /// these files. Which of them a client takes is not defined.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub duplicates: BTreeMap<String, BTreeSet<String>>,
    /// Records of the build's own metadata that were carried over.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub carried: BTreeSet<String>,
    /// Records and files of the build's own metadata that were not, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub not_carried: BTreeMap<String, String>,
    /// Files of the build's own apt metadata in whose place others were made.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub replaced: BTreeSet<String>,
    /// Other things that the program which made the metadata warned of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Indexed {
    /// Whether everything is in the metadata that should be.
    pub fn is_complete(&self) -> bool {
        self.unlisted.is_empty() && self.not_carried.is_empty()
    }

    /// Takes in that a file of the package `nevra` is listed. Duplicates are known after [`Self::settle`].
    fn list(&mut self, nevra: String, href: String) {
        self.listed += 1;
        self.duplicates.entry(nevra).or_default().insert(href);
    }

    /// Keeps those packages of which there are several files.
    fn settle(mut self) -> Self {
        self.duplicates.retain(|_, files| files.len() > 1);
        self
    }

    /// The problems that a person should look at, a line each; `dir` is the repository.
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
/// - Writes below `dir/repodata/` only, and what it writes names files below `dir` only. What lies there already stays.
/// - Lists every package below `dir`. A file that is called one and is not listed is said to be
///   [unlisted](Indexed::unlisted), with the reason.
/// - The same files and the same date give the same metadata.
/// - `lock` is open, with all copies of it, as long as anything is written: a program that outlives this one has a copy, so
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

    /// Makes the same as [`index`](Self::index); what is known need not be found out again.
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
