//! An index of the `SHA256SUMS` of all builds, kept between publishes.
//!
//! A publish reads only the sums of builds that were added since the last publish, of any channel. The index is a cache: its data
//! about a build is valid as long as the build's `SHA256SUMS` is the very file that was read. For builds of other channels, this is
//! checked only when one of their files is about to be shared ([`Inner::is_indexed`]).

use std::collections::HashMap;

use camino::Utf8Path;
use fs_err as fs;
use serde::{Deserialize, Serialize};
use stx_layout::{BuildDate, BuildId, BuildRecord, Channel, Sums};

use super::Inner;
use super::list::DEEPEST;
use crate::ingest::Stamp;
use crate::ingest::cache;

const FORM: &str = "stx-builds digests 1";

/// The files of all builds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Index {
    pub(super) builds: Vec<Indexed>,
    pub(super) files: Vec<IndexedFile>,
}

/// A build, and the stamp of its `SHA256SUMS` when it was read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Indexed {
    pub(super) id: BuildId,
    pub(super) sums: Stamp,
}

/// Equal bytes under the same path, in one build or many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IndexedFile {
    pub(super) digest: [u8; 32],
    pub(super) path: String,
    /// Indices into [`Index::builds`].
    pub(super) builds: Vec<u32>,
}

impl IndexedFile {
    pub(super) fn file_name(&self) -> &str {
        self.path
            .rsplit_once('/')
            .map_or(&*self.path, |(_, name)| name)
    }
}

impl Index {
    /// The current index of the mirror for a publish to `channel`; updates the cache by way of `temporary`.
    pub(super) fn read(inner: &Inner, channel: &Channel, temporary: &Utf8Path) -> Self {
        let path = inner.cache("digests");
        let cached = cache::read(&path, FORM);
        let old: Self = cached.unwrap_or_default();
        let now = inner.indexable(channel, &old.builds);
        if old.builds == now {
            return old;
        }
        let index = old.update(now, |id| inner.sums(id).ok());
        cache::write(&path, temporary, FORM, &index);
        index
    }

    /// The index of the builds `now`; reads the sums of those that it does not contain yet. A build whose sums cannot be read
    /// shares nothing.
    fn update(mut self, now: Vec<Indexed>, sums: impl Fn(&BuildId) -> Option<Sums>) -> Self {
        let places: HashMap<_, _> = now.iter().zip(0_u32..).collect();
        let moved: Vec<_> = self
            .builds
            .iter()
            .map(|build| places.get(build).copied())
            .collect();
        self.files.retain_mut(|file| {
            file.builds = file
                .builds
                .iter()
                .filter_map(|&build| moved.get(build as usize).copied().flatten())
                .collect();
            !file.builds.is_empty() && file.path != BuildRecord::FILE_NAME
        });
        let mut known: HashMap<([u8; 32], String), usize> = HashMap::new();
        for (place, file) in self.files.iter().enumerate() {
            known.insert((file.digest, file.path.clone()), place);
        }
        let old: std::collections::HashSet<_> = moved.into_iter().flatten().collect();
        for (build, place) in now.iter().zip(0_u32..) {
            if old.contains(&place) {
                continue;
            }
            let sums = sums(&build.id);
            let lines = sums.iter().flat_map(Sums::lines);
            // A record contains the id of its build, so it never equals that of another one.
            for line in lines.filter(|line| line.path.as_str() != BuildRecord::FILE_NAME) {
                let path = line.path.as_str().to_owned();
                let file =
                    *known
                        .entry((line.digest.0, path))
                        .or_insert_with_key(|(digest, path)| {
                            self.files.push(IndexedFile {
                                digest: *digest,
                                path: path.clone(),
                                builds: Vec::new(),
                            });
                            self.files.len() - 1
                        });
                self.files[file].builds.push(place);
            }
        }
        self.builds = now;
        self
    }
}

impl Inner {
    /// The builds that have a `SHA256SUMS`, by id. Those of other channels that are `known` are not looked at again. A directory that
    /// cannot be listed shares nothing.
    fn indexable(&self, channel: &Channel, known: &[Indexed]) -> Vec<Indexed> {
        let others = known.iter().filter(|build| build.id.channel != *channel);
        let known = others.map(|build| (&build.id, build.sums)).collect();
        let mut found = Vec::new();
        self.collect(Utf8Path::new(""), 0, &known, &mut found);
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found
    }

    /// True if the `SHA256SUMS` of a build is the file that the index describes.
    pub(super) fn is_indexed(&self, build: &Indexed) -> bool {
        let sums = Stamp::at(&self.build_dir(&build.id).join(Sums::FILE_NAME));
        sums.is_ok_and(|sums| sums == build.sums)
    }

    fn collect(
        &self,
        relative: &Utf8Path,
        depth: usize,
        known: &HashMap<&BuildId, Stamp>,
        found: &mut Vec<Indexed>,
    ) {
        let channel = relative.as_str().parse::<Channel>().ok();
        let Ok(entries) = fs::read_dir(self.root.join(relative)) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
                continue;
            };
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            match (&channel, name.parse::<BuildDate>()) {
                (Some(channel), Ok(date)) => {
                    let id = BuildId::new(channel.clone(), date);
                    let sums = known.get(&id).copied();
                    let read = || Stamp::at(&self.build_dir(&id).join(Sums::FILE_NAME)).ok();
                    let sums = sums.or_else(read);
                    found.extend(sums.map(|sums| Indexed { id, sums }));
                }
                (_, Err(_)) if depth < DEEPEST => {
                    self.collect(&relative.join(name), depth + 1, known, found);
                }
                (None, Ok(_)) | (_, Err(_)) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
