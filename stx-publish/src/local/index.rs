//! An index of the `SHA256SUMS` of all builds, kept between publishes, with a file for each channel.
//!
//! A publish reads the index of its own channel; those of the others only if it has bytes that its own channel lacks. It reads the
//! sums of builds that were added to a channel since the index of the channel was last read. The index is a cache: its data about a
//! build is valid as long as the build's `SHA256SUMS` is the very file that was read. For builds of other channels, this is checked
//! only when one of their files is about to be shared ([`Shared`](super::shared::Shared)).

use std::collections::{HashMap, HashSet};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use stx_layout::{BuildDate, BuildId, BuildRecord, Channel, Sums};

use super::Inner;
use super::list::DEEPEST;
use crate::ingest::Stamp;
use crate::ingest::cache;

const NAME: &str = "digests";
const FORM: &str = "stx-builds digests 2";

/// The files of the builds of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Index {
    pub(super) builds: Vec<Indexed>,
    pub(super) files: Vec<IndexedFile>,
}

/// A build, and the stamp of its `SHA256SUMS` when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Indexed {
    pub(super) date: BuildDate,
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
    /// The current index of a channel for a publish to it.
    pub(super) fn own(inner: &Inner, channel: &Channel) -> Self {
        let (dates, _) = inner.dated(Utf8Path::new(&channel.to_string()));
        Self::read(inner, channel, channel, dates)
    }

    /// The current indexes of all channels but `own`, for a publish to `own`.
    pub(super) fn others(inner: &Inner, own: &Channel) -> Vec<(Channel, Self)> {
        let mut found = Vec::new();
        let mut dirs = vec![(Utf8PathBuf::new(), 0)];
        while let Some((dir, depth)) = dirs.pop() {
            let (dates, below) = inner.dated(&dir);
            if let Ok(channel) = dir.as_str().parse::<Channel>()
                && channel != *own
                && !dates.is_empty()
            {
                let index = Self::read(inner, own, &channel, dates);
                found.push((channel, index));
            }
            if depth < DEEPEST {
                dirs.extend(below.iter().map(|name| (dir.join(name), depth + 1)));
            }
        }
        found
    }

    /// The index of the builds of a channel with these dates, for a publish to `own`; updates the cache. Known builds of other channels
    /// are not looked at again.
    fn read(inner: &Inner, own: &Channel, channel: &Channel, dates: Vec<BuildDate>) -> Self {
        let path = inner.channel_cache(channel, NAME);
        let cached: Option<Self> = cache::read(&path, FORM);
        if cached.is_none() {
            // An older version kept one file for all channels, which it makes anew if it is used again.
            fs::remove_file(inner.cache(NAME)).ok();
        }
        let old = cached.unwrap_or_default();
        let known = old.builds.iter().filter(|_| channel != own);
        let known: HashMap<_, _> = known.map(|build| (build.date, build.sums)).collect();
        let dir = inner.root.join(channel.to_string());
        let look = |date: BuildDate| {
            let sums = known.get(&date).copied();
            let sums = sums.or_else(|| Stamp::at(&sums_of(&dir, date)).ok())?;
            Some(Indexed { date, sums })
        };
        let mut now: Vec<_> = dates.into_iter().filter_map(look).collect();
        now.sort_by_key(|build| build.date);
        if old.builds == now {
            return old;
        }
        let sums = |date| inner.sums(&BuildId::new(channel.clone(), date)).ok();
        let index = old.update(now, sums);
        cache::write(&path, &inner.temporary(own, NAME), FORM, &index);
        index
    }

    /// The index of the builds `now`; reads the sums of those that it does not contain yet. A build whose sums cannot be read
    /// shares nothing.
    fn update(mut self, now: Vec<Indexed>, sums: impl Fn(BuildDate) -> Option<Sums>) -> Self {
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
        let old: HashSet<_> = moved.into_iter().flatten().collect();
        for (build, place) in now.iter().zip(0_u32..) {
            if old.contains(&place) {
                continue;
            }
            let sums = sums(build.date);
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

/// The path of the sums of a build in the directory of its channel.
fn sums_of(channel: &Utf8Path, date: BuildDate) -> Utf8PathBuf {
    channel.join(format!("{date}/{}", Sums::FILE_NAME))
}

impl Indexed {
    /// True if the `SHA256SUMS` of the build in the directory of its channel is the file that the index describes.
    pub(super) fn is_current(&self, channel: &Utf8Path) -> bool {
        Stamp::at(&sums_of(channel, self.date)).is_ok_and(|sums| sums == self.sums)
    }
}

impl Inner {
    /// The builds in a directory, and the names of the other directories in it. One that cannot be listed shares nothing.
    fn dated(&self, relative: &Utf8Path) -> (Vec<BuildDate>, Vec<String>) {
        let (mut dates, mut others) = (Vec::new(), Vec::new());
        for item in self
            .names_but_files(&self.root.join(relative))
            .unwrap_or_default()
        {
            if !item.kind.is_dir() || item.name.starts_with('.') {
                continue;
            }
            match item.name.parse() {
                Ok(date) => dates.push(date),
                Err(_) => others.push(item.name),
            }
        }
        (dates, others)
    }
}

#[cfg(test)]
mod tests;
