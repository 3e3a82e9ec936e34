//! Repository metadata of a build in a bucket: made in a directory in which each file of the build is a symlink to its source.

use std::io::Read;

use camino::Utf8Path;
use fs_err as fs;
use futures_util::future::try_join_all;
use stx_layout::BuildPath;
use walkdir::WalkDir;

use super::staged::BucketStaged;
use stx_publish::incoming::Entry;
use stx_publish::ingest::blocking;
use stx_publish::metadata::apt::AptRepository;
use stx_publish::metadata::{CarriedRecord, Indexed, PackageCache, insert};
use stx_publish::seal::REPOMD_SIGNATURE;
use stx_publish::store::rules::{index_apt, known_packages, open_generated, sign_metadata};
use stx_publish::store::{StagedBuild as _, StoreError};

impl BucketStaged {
    /// Makes the metadata of a repository in a directory in which its files can be read, and sends it.
    pub(super) async fn make_metadata(
        &self,
        dir: &BuildPath,
        carried: &[CarriedRecord],
    ) -> Result<Indexed, StoreError> {
        let shadow = self.shadow().await?;
        let below = shadow.path().join(dir.as_path());
        let lock = blocking(|| {
            camino_tempfile::tempfile().map_err(|source| StoreError::Io {
                op: "make",
                path: "a temporary file".to_owned(),
                source,
            })
        })
        .await?;
        let metadata = &self.inner.metadata;
        let known = self.known(dir);
        let indexed = metadata.update(&below, self.id.date, known, lock).await?;
        {
            let (below, dir, carried) = (below.clone(), dir.clone(), carried.to_vec());
            blocking(move || {
                insert(&below, &dir, &carried).map_err(|source| StoreError::Io {
                    op: "add to the metadata of",
                    path: below.into_string(),
                    source,
                })
            })
            .await?;
        }
        self.sign_metadata(dir, &below.join("repodata")).await?;
        let made = files(shadow.path(), &below.join("repodata"))?;
        for (path, size) in made {
            // A file that is carried over was added like any other file.
            if self.added().taken.contains(&path) {
                continue;
            }
            let source = shadow.path().join(path.as_path());
            let sent = self.send_file(&path, &source, size, false).await?;
            let stored = Entry::File {
                source,
                size,
                executable: false,
                digest: Some(sent.digest),
            };
            let mut files = self.added();
            files.taken.insert(path.clone());
            files
                .modified
                .extend(sent.modified.map(|time| (path.clone(), time)));
            files.incoming.entries.insert(path, stored);
        }
        Ok(indexed)
    }

    /// Makes the metadata of an apt repository from the sources of its files, and sends it.
    pub(super) async fn make_apt_metadata(&self, dir: &BuildPath) -> Result<Indexed, StoreError> {
        let incoming = self.added().incoming.clone();
        let (seal, id, dir) = (self.inner.seal.clone(), self.id.clone(), dir.clone());
        let (files, indexed) = blocking(move || {
            let repository = AptRepository::of(&dir, &incoming);
            let generated = open_generated(&incoming);
            let open = |path: &BuildPath| match incoming.entries.get(path) {
                Some(Entry::File { source, .. }) => {
                    let file = fs::File::open(source)?;
                    Ok(Box::new(file) as Box<dyn Read>)
                }
                Some(Entry::Generated(_) | Entry::Symlink { .. }) | None => generated(path),
            };
            index_apt(&seal, &id, &repository, None, &open)
        })
        .await?;
        let files: Vec<_> = files
            .into_iter()
            .map(|(path, bytes)| (path, Entry::Generated(bytes)))
            .collect();
        let adds = files.iter().map(|(path, entry)| self.add(path, entry));
        try_join_all(adds).await?;
        Ok(indexed)
    }

    /// Signs the metadata of a repository if the mirror signs.
    async fn sign_metadata(&self, dir: &BuildPath, repodata: &Utf8Path) -> Result<(), StoreError> {
        let (seal, id) = (self.inner.seal.clone(), self.id.clone());
        let repomd = repodata.join("repomd.xml");
        let dir = dir.clone();
        blocking(move || {
            let failed = |op| {
                let path = repomd.to_string();
                move |source| StoreError::Io { op, path, source }
            };
            let bytes = fs::read(&repomd).map_err(failed("read"))?;
            let signature = sign_metadata(&seal, &id, &dir, &bytes)?;
            signature.map_or(Ok(()), |signature| {
                let path = repomd.with_file_name(REPOMD_SIGNATURE);
                fs::write(path, signature).map_err(failed("sign"))
            })
        })
        .await
    }

    /// Creates a symlink for each added file to its source, so that a program can read it.
    async fn shadow(&self) -> Result<camino_tempfile::Utf8TempDir, StoreError> {
        let incoming = self.added().incoming.clone();
        blocking(move || {
            let failed = |path: &Utf8Path| {
                let path = path.to_string();
                move |source| StoreError::Io {
                    op: "make",
                    path,
                    source,
                }
            };
            let dir = camino_tempfile::tempdir().map_err(failed("a directory".into()))?;
            for (path, entry) in &incoming.entries {
                let to = dir.path().join(path.as_path());
                let parent = to.parent().unwrap_or(dir.path());
                fs::create_dir_all(parent).map_err(failed(parent))?;
                let made = match entry {
                    Entry::File { source, .. } => {
                        let source = std::path::absolute(source);
                        source.and_then(|source| fs::os::unix::fs::symlink(source, &to))
                    }
                    Entry::Symlink { target } => fs::os::unix::fs::symlink(target, &to),
                    Entry::Generated(bytes) => fs::write(&to, bytes),
                };
                made.map_err(failed(&to))?;
            }
            Ok(dir)
        })
        .await
    }

    /// The digests of the packages of a repository.
    fn known(&self, dir: &BuildPath) -> PackageCache {
        PackageCache {
            digests: known_packages(dir, &self.added().incoming),
            earlier: None,
        }
    }
}

/// The files below a directory, by their paths relative to `root`.
fn files(root: &Utf8Path, dir: &Utf8Path) -> Result<Vec<(BuildPath, u64)>, StoreError> {
    let damaged = |what: String, source| StoreError::Damaged { what, source };
    let mut found = Vec::new();
    for entry in WalkDir::new(dir).sort_by_file_name() {
        let entry = entry.map_err(|error| StoreError::Io {
            op: "list",
            path: dir.to_string(),
            source: error.into(),
        })?;
        if !entry.file_type().is_file() {
            continue;
        }
        let shown = entry.path().display().to_string();
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let path = path.to_str().map(str::parse::<BuildPath>);
        let path = match path {
            None => return Err(damaged(shown, "the name is not UTF-8".into())),
            Some(path) => path.map_err(|error| damaged(shown.clone(), error.into()))?,
        };
        let size = entry
            .metadata()
            .map_err(|error| damaged(shown, error.into()))?;
        found.push((path, size.len()));
    }
    Ok(found)
}
