//! The files of a running build, in a directory for a web server: as they will be published, with the metadata of their
//! repositories.
//!
//! ```text
//! files of finished phases ──> gather ──> Incoming ─┬─> symlinks to the files, by their paths in the build
//!                                                   └─> metadata, made elsewhere and moved in; index files last
//! ```
//!
//! Nothing is copied: a reader of the preview reads the workspace. Nothing is signed, because a signature states that a build was
//! published. Files that a mirror refuses are refused here by the same functions.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::os::unix::fs::symlink;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use stx_layout::derived::Repositories;
use stx_layout::{BuildId, BuildPath, Sha256};

use crate::error::StoreError;
use crate::incoming::{Entry, Incoming, LinkEnd, digest_of};
use crate::ingest::{Stamp, blocking, io_error};
use crate::metadata::apt::{self, AptRepository, EarlierPackages};
use crate::metadata::{Carried, Earlier, PackageCache, RepoMetadata, carry, insert, is_carried};
use crate::scan::{GatherError, ScanError, gather_so_far, hash};
use crate::store::rules::known_packages;

/// Files that cannot be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreviewError {
    /// A mirror would refuse them.
    #[error(transparent)]
    Refused(#[from] GatherError),
    /// They cannot be read, or changed in the meantime.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The metadata cannot be made.
    #[error(transparent)]
    Metadata(#[from] StoreError),
}

/// The directory of a preview, which belongs to one build.
#[derive(Debug)]
pub struct PreviewTree {
    dir: Utf8PathBuf,
    /// The directory of the build below the served directory.
    build: Utf8PathBuf,
    id: BuildId,
    metadata: Arc<dyn RepoMetadata>,
    /// The digests of files, each valid while the stamp of its file is the same.
    digests: BTreeMap<BuildPath, (Stamp, Sha256)>,
    /// The entries that are shown, as symlinks.
    shown: BTreeMap<BuildPath, Utf8PathBuf>,
    /// The packages that each repository listed.
    listed: BTreeMap<BuildPath, BTreeMap<String, Sha256>>,
}

impl PreviewTree {
    /// An empty preview in `dir`, which is emptied first; it is served with the build at `below`, such as `mirror/CHANNEL/DATE`.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn create(
        dir: &Utf8Path,
        below: &Utf8Path,
        id: BuildId,
        metadata: Arc<dyn RepoMetadata>,
    ) -> Result<Self, StoreError> {
        remove(dir)?;
        let build = dir.join(SERVED).join(below);
        fs::create_dir_all(&build).map_err(io_error("make", &build))?;
        Ok(Self {
            dir: dir.to_owned(),
            build,
            id,
            metadata,
            digests: BTreeMap::new(),
            shown: BTreeMap::new(),
            listed: BTreeMap::new(),
        })
    }

    /// The directory to serve.
    pub fn root(&self) -> Utf8PathBuf {
        self.dir.join(SERVED)
    }

    /// Shows exactly these files, each with its path in the build, and the metadata of the repositories among them. Returns the
    /// repositories.
    ///
    /// # Errors
    /// See [`PreviewError`]; some of the files may be shown nevertheless.
    pub async fn show(
        &mut self,
        files: Vec<(BuildPath, Utf8PathBuf)>,
    ) -> Result<Repositories, PreviewError> {
        let gathered = blocking(move || {
            Ok(gather_so_far(files).map(|mut incoming| {
                let carried = carry(&mut incoming);
                (incoming, carried)
            }))
        });
        let (mut incoming, carried) = gathered.await??;
        let carried = carried.map_err(io_error("read the metadata of", &self.build))?;
        let repositories = Repositories::of(incoming.entries.keys());
        let is_made =
            |path: &BuildPath| repositories.is_metadata(path) && !is_carried(&carried, path);
        incoming.entries.retain(|path, _| !is_made(path));
        let problems = incoming.loops(&repositories.rpm);
        if !problems.is_empty() {
            return Err(GatherError { problems }.into());
        }
        let listed = self.hashed(&incoming, &repositories).await?;
        self.place(&incoming)?;
        for dir in &repositories.rpm {
            if self.is_listed(dir, &listed) {
                continue;
            }
            self.index_rpms(dir, &listed, carried.get(dir)).await?;
            self.listed
                .insert(dir.clone(), known_packages(dir, &listed));
        }
        for dir in &repositories.apt {
            if self.is_listed(dir, &listed) {
                continue;
            }
            self.index_debs(dir, &listed).await?;
            self.listed
                .insert(dir.clone(), known_packages(dir, &listed));
        }
        Ok(repositories)
    }

    /// Writes a file beside the build.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_beside(&self, name: &str, text: &str) -> Result<(), StoreError> {
        self.write(&self.build.with_file_name(name), text.as_bytes())
    }

    /// Writes a file; readers see either the old content or the new one, never a part of it.
    fn write(&self, to: &Utf8Path, bytes: &[u8]) -> Result<(), StoreError> {
        let new = self.dir.join("new");
        fs::write(&new, bytes).map_err(io_error("write", &new))?;
        fs::rename(&new, to).map_err(io_error("move over", to))
    }

    /// True if the metadata of a repository lists its current files.
    fn is_listed(&self, dir: &BuildPath, files: &Incoming) -> bool {
        self.listed.get(dir) == Some(&known_packages(dir, files))
    }

    /// The files of repositories and the targets of their symlinks, with digests.
    async fn hashed(
        &mut self,
        incoming: &Incoming,
        repositories: &Repositories,
    ) -> Result<Incoming, PreviewError> {
        let dirs = || repositories.rpm.iter().chain(&repositories.apt);
        let is_below = |path: &BuildPath| {
            let below = |dir: &BuildPath| path.as_str().strip_prefix(dir.as_str());
            dirs().any(|dir| below(dir).is_some_and(|rest| rest.starts_with('/')))
        };
        let links = incoming.links();
        let mut wanted: BTreeSet<&BuildPath> = incoming.entries.keys().collect();
        wanted.retain(|path| is_below(path));
        let ends = wanted.iter().filter_map(|path| match links.get(path)? {
            LinkEnd::File(end) => Some(end),
            LinkEnd::Directory | LinkEnd::Wrong(_) => None,
        });
        let ends: Vec<_> = ends.collect();
        wanted.extend(ends);
        let mut files = Incoming::default();
        let mut stamps = BTreeMap::new();
        for (path, entry) in &incoming.entries {
            if !wanted.contains(path) {
                continue;
            }
            let mut entry = entry.clone();
            if let Entry::File { source, digest, .. } = &mut entry
                && let Ok(stamp) = Stamp::at(source)
            {
                let known = self.digests.get(path);
                let known = known.filter(|(then, _)| *then == stamp);
                *digest = digest.or(known.map(|(_, digest)| *digest));
                stamps.insert(path.clone(), stamp);
            }
            files.entries.insert(path.clone(), entry);
        }
        let files = hash(files).await?;
        for (path, stamp) in stamps {
            if let Some(digest) = files.entries.get(&path).and_then(Entry::digest) {
                self.digests.insert(path, (stamp, digest));
            }
        }
        Ok(files)
    }

    /// Makes a symlink for each entry, and removes those of entries that no longer exist.
    fn place(&mut self, incoming: &Incoming) -> Result<(), StoreError> {
        let targets = incoming.entries.iter().filter_map(|(path, entry)| {
            let target = match entry {
                Entry::File { source, .. } => source.clone(),
                Entry::Symlink { target } => target.into(),
                // A running build has no generated files.
                Entry::Generated(_) => return None,
            };
            Some((path.clone(), target))
        });
        let targets: BTreeMap<_, _> = targets.collect();
        for path in self.shown.keys().filter(|path| !targets.contains_key(path)) {
            let link = self.build.join(path.as_path());
            fs::remove_file(&link).map_err(io_error("remove", &link))?;
        }
        for (path, target) in &targets {
            if self.shown.get(path) == Some(target) {
                continue;
            }
            let link = self.build.join(path.as_path());
            let parent = link.parent().unwrap_or(&self.build);
            fs::create_dir_all(parent).map_err(io_error("make", parent))?;
            let new = self.dir.join("new");
            symlink(target, &new).map_err(io_error("make", &new))?;
            // A rename, so that a reader sees either the old link or the new one.
            fs::rename(&new, &link).map_err(io_error("move over", &link))?;
        }
        self.shown = targets;
        Ok(())
    }

    /// Makes the metadata of an RPM repository.
    async fn index_rpms(
        &self,
        dir: &BuildPath,
        files: &Incoming,
        carried: Option<&Carried>,
    ) -> Result<(), StoreError> {
        let served = self.build.join(dir.as_path());
        let aside = self.dir.join("aside");
        remove(&aside)?;
        fs::create_dir(&aside).map_err(io_error("make", &aside))?;
        let entries = served.read_dir_utf8().map_err(io_error("list", &served))?;
        for entry in entries {
            let entry = entry.map_err(io_error("list", &served))?;
            if entry.file_name() != REPODATA {
                let link = aside.join(entry.file_name());
                symlink(entry.path(), &link).map_err(io_error("make", &link))?;
            }
        }
        let repodata = served.join(REPODATA);
        let repomd = fs::read(repodata.join(REPOMD)).ok();
        let known = PackageCache {
            digests: known_packages(dir, files),
            earlier: repomd.map(|repomd| Earlier {
                repodata: repodata.clone(),
                repomd: digest_of(&repomd),
            }),
        };
        let lock = self.dir.join("lock");
        let lock = fs::File::create(&lock).map_err(io_error("make", &lock))?;
        let lock = lock.into_parts().0;
        self.metadata
            .update(&aside, self.id.date, known, lock)
            .await?;
        if let Some(carried) = carried {
            insert(&aside, dir, &carried.records)
                .map_err(io_error("add to the metadata of", &aside))?;
        }
        let made = aside.join(REPODATA);
        fs::create_dir_all(&repodata).map_err(io_error("make", &repodata))?;
        let entries = made.read_dir_utf8().map_err(io_error("list", &made))?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_owned()));
        let mut names: Vec<_> = names
            .collect::<io::Result<_>>()
            .map_err(io_error("list", &made))?;
        // The lists of the earlier metadata stay for readers that have the earlier `repomd.xml`.
        names.sort_by_key(|name| name == REPOMD);
        for name in names {
            let to = repodata.join(&name);
            fs::rename(made.join(&name), &to).map_err(io_error("move over", &to))?;
        }
        remove(&aside)
    }

    /// Makes the metadata of an apt repository.
    async fn index_debs(&self, dir: &BuildPath, files: &Incoming) -> Result<(), StoreError> {
        let served = self.build.join(dir.as_path());
        let repository = AptRepository::of(dir, files);
        let (id, added, earlier) = (self.id.clone(), files.clone(), earlier_packages(&served));
        let made = blocking(move || {
            let open = |path: &BuildPath| match added.entries.get(path) {
                Some(Entry::File { source, .. }) => {
                    Ok(Box::new(fs::File::open(source)?) as Box<dyn Read>)
                }
                Some(Entry::Symlink { .. } | Entry::Generated(_)) | None => {
                    Err(io::ErrorKind::NotFound.into())
                }
            };
            repository.make(&id, earlier.as_ref(), &open)
        });
        // Lists that are named by digest stay for readers that have an earlier `Release`; the new `Release` is moved last.
        let mut files: Vec<_> = made.await?.files.into_iter().collect();
        files.sort_by_key(|(name, _)| name == apt::RELEASE);
        for (name, bytes) in files {
            let to = served.join(&name);
            let parent = to.parent().unwrap_or(&served);
            fs::create_dir_all(parent).map_err(io_error("make", parent))?;
            self.write(&to, &bytes)?;
        }
        Ok(())
    }

    /// Removes the preview, but not the files of the build.
    ///
    /// # Errors
    /// If part of it cannot be removed.
    pub fn remove(&self) -> Result<(), StoreError> {
        remove(&self.dir)
    }
}

/// The directory that is served.
const SERVED: &str = "served";

const REPODATA: &str = "repodata";

const REPOMD: &str = "repomd.xml";

/// The list of packages that a repository has in the served directory.
fn earlier_packages(served: &Utf8Path) -> Option<EarlierPackages> {
    let release = fs::read(served.join(apt::RELEASE)).ok()?;
    let packages = fs::read(served.join(apt::PACKAGES)).ok()?;
    EarlierPackages::new(&release, packages)
}

/// Removes a directory; symlinks in it are not followed.
fn remove(dir: &Utf8Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("remove", dir)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
