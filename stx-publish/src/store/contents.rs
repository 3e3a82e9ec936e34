//! The contents of a build in memory, for stores that keep or move whole files.

use std::collections::BTreeMap;

use bytes::Bytes;
use stx_layout::{BuildId, BuildPath};

use super::rules::{
    control_maker, control_path, file_mode, index_apt, known_packages, open_generated,
    sign_metadata,
};
use super::{Added, Depth, Found, StoreError};
use crate::incoming::{Entry, Incoming, LinkEnd, digest_of};
use crate::metadata::Indexed;
use crate::metadata::apt::AptRepository;
use crate::seal::{REPOMD_SIGNATURE, Seal};
use crate::thinning::lies_in;

/// A file or symlink of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file.
    File {
        /// Its bytes.
        bytes: Bytes,
        /// True if its owner may execute it.
        executable: bool,
    },
    /// A symlink.
    Symlink {
        /// Its target, as written.
        target: String,
    },
}

impl Content {
    /// A file that is not executable.
    pub fn file(bytes: impl Into<Bytes>) -> Self {
        Self::File {
            bytes: bytes.into(),
            executable: false,
        }
    }
}

/// The files and symlinks of a build, by path, without those that the [sums never list](crate::seal::is_beyond_sums).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents(pub BTreeMap<BuildPath, Content>);

impl Contents {
    /// Adds a file or symlink to the build `id`, each path once.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] for a path that already exists.
    pub fn add(
        &mut self,
        id: &BuildId,
        path: &BuildPath,
        content: Content,
    ) -> Result<(), StoreError> {
        match self.0.insert(path.clone(), content) {
            None => Ok(()),
            Some(_) => Err(StoreError::AlreadyExists {
                what: format!("{id}/{path}"),
            }),
        }
    }

    /// Adds an entry to the build `id`; `source` contains the bytes if it is a file of the workspace.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the bytes of a file are missing, [`StoreError::Changed`] if they have another size, otherwise those
    /// of [`add`](Self::add).
    pub fn add_entry(
        &mut self,
        id: &BuildId,
        path: &BuildPath,
        entry: &Entry,
        source: Option<Bytes>,
    ) -> Result<Added, StoreError> {
        let (bytes, executable) = match entry {
            Entry::Symlink { target } => {
                let target = target.clone();
                self.add(id, path, Content::Symlink { target })?;
                return Ok(Added::Link);
            }
            Entry::Generated(bytes) => (bytes.clone(), false),
            Entry::File {
                source: from,
                executable,
                ..
            } => {
                let missing = || StoreError::NotFound {
                    what: from.to_string(),
                };
                (source.ok_or_else(missing)?, *executable)
            }
        };
        if bytes.len() as u64 != entry.size() {
            return Err(StoreError::Changed {
                path: path.to_string(),
            });
        }
        self.add(id, path, Content::File { bytes, executable })?;
        Ok(Added::Stored(entry.size()))
    }

    /// Adds a file like [`add_entry`](Self::add_entry), and its zsync control file beside it.
    ///
    /// # Errors
    /// Those of [`add_entry`](Self::add_entry).
    pub fn add_with_control(
        &mut self,
        id: &BuildId,
        path: &BuildPath,
        entry: &Entry,
        source: Option<Bytes>,
    ) -> Result<Added, StoreError> {
        let control = control_path(path)?;
        let added = self.add_entry(id, path, entry, source)?;
        if let Some(Content::File { bytes, .. }) = self.0.get(path) {
            let mut maker = control_maker(path, bytes.len() as u64);
            maker.update(bytes);
            let made = maker.finish().expect("all of it, and nothing else");
            self.add(id, &control, Content::file(Bytes::from(made)))?;
        }
        Ok(added)
    }

    /// The contents as entries, for sums, counts and symlinks.
    pub fn incoming(&self) -> Incoming {
        let entries = self.0.iter().map(|(path, content)| {
            let entry = match content {
                Content::File { bytes, .. } => Entry::Generated(bytes.clone()),
                Content::Symlink { target } => Entry::Symlink {
                    target: target.clone(),
                },
            };
            (path.clone(), entry)
        });
        Incoming {
            entries: entries.collect(),
        }
    }

    /// The bytes of a file, with symlinks followed; `None` if it does not exist.
    pub fn read(&self, path: &BuildPath) -> Option<Bytes> {
        match self.0.get(path)? {
            Content::File { bytes, .. } => Some(bytes.clone()),
            Content::Symlink { .. } => match self.incoming().links().get(path)? {
                LinkEnd::File(end) => self.read(end),
                LinkEnd::Directory | LinkEnd::Wrong(_) => None,
            },
        }
    }

    /// The contents in the form of an [inspection](super::Inspection).
    pub fn found(&self, depth: Depth) -> BTreeMap<BuildPath, Found> {
        let found = self.0.iter().map(|(path, content)| {
            let found = match content {
                Content::File { bytes, executable } => Found::File {
                    size: bytes.len() as u64,
                    mode: Some(file_mode(*executable)),
                    modified: None,
                    digest: match depth {
                        Depth::Listing => None,
                        Depth::Digests => Some(Ok(digest_of(bytes))),
                    },
                },
                Content::Symlink { target } => Found::Symlink {
                    target: target.clone(),
                },
            };
            (path.clone(), found)
        });
        found.collect()
    }

    /// Removes a section, and returns it.
    #[must_use]
    pub fn take(&mut self, section: &BuildPath) -> Self {
        let all = std::mem::take(&mut self.0).into_iter();
        let (taken, rest) = all.partition(|(path, _)| lies_in(path, section));
        self.0 = rest;
        Self(taken)
    }

    /// Adds metadata of the RPM repository `dir` that only lists the names of packages, signed if the mirror signs. Clients cannot
    /// read it: it is for stores under test, not for stores that are served.
    ///
    /// # Errors
    /// Those of [`sign_metadata`] and [`add`](Self::add).
    pub fn index_names(
        &mut self,
        seal: &Seal,
        id: &BuildId,
        dir: &BuildPath,
    ) -> Result<Indexed, StoreError> {
        let packages = known_packages(dir, &self.incoming()).into_keys();
        let is_package = |name: &String| camino::Utf8Path::new(name).extension() == Some("rpm");
        let packages: Vec<_> = packages.filter(is_package).collect();
        let repomd = Bytes::from(packages.join("\n") + "\n");
        let signature = sign_metadata(seal, id, dir, &repomd)?;
        for (name, bytes) in [("repomd.xml", Some(repomd)), (REPOMD_SIGNATURE, signature)] {
            let path = dir.join(&format!("repodata/{name}"));
            let path = path.map_err(|source| StoreError::Damaged {
                what: dir.to_string(),
                source: source.into(),
            })?;
            if let Some(bytes) = bytes {
                self.add(id, &path, Content::file(bytes))?;
            }
        }
        Ok(Indexed {
            listed: packages.len() as u64,
            ..Indexed::default()
        })
    }

    /// Adds the metadata of the apt repository `dir`, made by [`index_apt`].
    ///
    /// # Errors
    /// Those of [`index_apt`] and [`add`](Self::add).
    pub fn index_apt(
        &mut self,
        seal: &Seal,
        id: &BuildId,
        dir: &BuildPath,
    ) -> Result<Indexed, StoreError> {
        let added = self.incoming();
        let repository = AptRepository::of(dir, &added);
        let open = open_generated(&added);
        let (files, indexed) = index_apt(seal, id, &repository, None, &open)?;
        for (path, bytes) in files {
            self.add(id, &path, Content::file(bytes))?;
        }
        Ok(indexed)
    }
}
