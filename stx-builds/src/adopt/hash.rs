//! The digests of the files of many builds: each inode is read once, however many builds share it.
//!
//! A build is complete as soon as its last file is hashed. It is then adopted while other builds are still being read. A killed run
//! has therefore adopted the builds that it had finished. The digests of the other files are remembered by inode, size and times, so
//! that a later run does not read these files again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use camino::Utf8PathBuf;
use stx_layout::Sha256;
use stx_publish::ingest::{Hints, Source, Stamp, now};

use super::decide::Reason;
use super::look::Looked;

/// The number of attempts to hash a file that is written or linked to while it is read.
const TRIES: usize = 3;

/// A file that could not be hashed.
#[derive(Debug, Clone)]
pub(super) struct HashError {
    /// Being written to, or unreadable.
    pub(super) reason: Reason,
    /// The reason for people.
    pub(super) message: String,
}

/// A file to be hashed, and the builds that wait for it.
#[derive(Debug)]
struct Slot {
    path: Utf8PathBuf,
    stamp: Stamp,
    digest: OnceLock<Result<Sha256, HashError>>,
    waiting: Vec<usize>,
}

/// The files of builds, by inode.
#[derive(Debug)]
pub(super) struct Digests {
    slots: Vec<Slot>,
    /// For each build, the slots of its files in their order.
    builds: Vec<Vec<u32>>,
    /// For each build, the number of slots that it still waits for.
    left: Vec<AtomicUsize>,
    hints: Hints,
    /// The number of bytes read since the hints were last saved.
    unwritten: Mutex<u64>,
}

impl Digests {
    /// The files of these builds; `hints` are the digests that earlier runs computed.
    pub(super) fn of(builds: &[&Looked], hints: Hints) -> Self {
        let mut slots: Vec<Slot> = Vec::new();
        let mut by_inode: HashMap<(u64, u64), u32> = HashMap::new();
        let mut of_builds = Vec::with_capacity(builds.len());
        for (build, looked) in builds.iter().enumerate() {
            let files = looked.files.iter().map(|file| {
                let slot = *by_inode.entry(file.inode).or_insert_with(|| {
                    slots.push(Slot {
                        path: looked.dir.join(file.path.as_path()),
                        stamp: file.stamp,
                        digest: OnceLock::new(),
                        waiting: Vec::new(),
                    });
                    u32::try_from(slots.len() - 1).unwrap_or(u32::MAX)
                });
                let waiting = &mut slots[slot as usize].waiting;
                if waiting.last() != Some(&build) {
                    waiting.push(build);
                }
                slot
            });
            of_builds.push(files.collect());
        }
        let mut left = vec![0; builds.len()];
        for slot in &slots {
            for build in &slot.waiting {
                left[*build] += 1;
            }
        }
        Self {
            slots,
            builds: of_builds,
            left: left.into_iter().map(AtomicUsize::new).collect(),
            hints,
            unwritten: Mutex::new(0),
        }
    }

    /// The number of files to hash.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The size of these files in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.slots.iter().map(|slot| slot.stamp.size).sum()
    }

    /// The builds that do not wait for any file.
    pub(super) fn complete(&self) -> impl Iterator<Item = usize> {
        let left = self.left.iter().enumerate();
        left.filter(|(_, left)| left.load(Ordering::Relaxed) == 0)
            .map(|(build, _)| build)
    }

    /// Hashes a file. Returns its bytes, whether they were read, and the builds that are now complete.
    pub(super) fn hash(&self, slot: usize) -> (u64, bool, Vec<usize>) {
        let slot = &self.slots[slot];
        let known = self.hints.digest(&slot.stamp);
        let digest = match known {
            Some(digest) => {
                self.hints.keep(slot.stamp, digest);
                Ok(digest)
            }
            None => self.read(slot),
        };
        slot.digest.get_or_init(|| digest);
        // Release, so that the thread that counts the last slot sees all digests of a complete build.
        let is_last = |build: &&usize| self.left[**build].fetch_sub(1, Ordering::AcqRel) == 1;
        let complete = slot.waiting.iter().filter(is_last).copied().collect();
        (slot.stamp.size, known.is_none(), complete)
    }

    fn read(&self, slot: &Slot) -> Result<Sha256, HashError> {
        let fail = |error: std::io::Error| HashError {
            reason: Reason::Unreadable,
            message: error.to_string(),
        };
        for _ in 0..TRIES {
            let since = now();
            let mut source = Source::open(&slot.path).map_err(fail)?;
            let (digest, size) = source.hash(None).map_err(fail)?;
            if source.is_unchanged().map_err(fail)? {
                self.hints.remember(source.stamp, digest, since);
                *self
                    .unwritten
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) += size;
                return Ok(digest);
            }
        }
        Err(HashError {
            reason: Reason::BeingWritten,
            message: "changed while it was read; rerun the command later".to_owned(),
        })
    }

    /// The digest of a file of a build.
    pub(super) fn digest(&self, build: usize, file: usize) -> Option<Sha256> {
        let slot = *self.builds[build].get(file)?;
        let digest = self.slots[slot as usize].digest.get()?;
        digest.as_ref().ok().copied()
    }

    /// The first file of a build that could not be hashed, with the error.
    pub(super) fn failure(&self, build: usize) -> Option<(usize, &HashError)> {
        let mut slots = self.builds[build].iter().enumerate();
        slots.find_map(
            |(file, slot)| match self.slots[*slot as usize].digest.get()? {
                Ok(_) => None,
                Err(why) => Some((file, why)),
            },
        )
    }

    /// The hints, if at least `most` bytes were read since the last call, which would be costly to read again.
    pub(super) fn to_write_down(&self, most: u64) -> Option<&Hints> {
        let mut unwritten = self
            .unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *unwritten < most {
            return None;
        }
        *unwritten = 0;
        Some(&self.hints)
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;
    use fs_err as fs;
    use sha2::Digest as _;
    use stx_layout::ChannelEntry;

    use super::*;
    use crate::adopt::look::look;

    /// Three builds: one file that all share by hard links, twice in the first build, and one file that only the last build has.
    fn builds(root: &Utf8Path) -> Vec<Looked> {
        let dirs = ["20200105T060000Z", "20200106T060000Z", "20200107T060000Z"];
        for dir in dirs {
            fs::create_dir(root.join(dir)).expect("a directory");
        }
        let shared = root.join(dirs[0]).join("a");
        fs::write(&shared, "shared").expect("a file");
        for link in [
            root.join(dirs[0]).join("b"),
            root.join(dirs[1]).join("c"),
            root.join(dirs[2]).join("d"),
        ] {
            fs::hard_link(&shared, link).expect("a link");
        }
        fs::write(root.join(dirs[2]).join("e"), "its own").expect("a file");
        let looked = dirs.map(|dir| {
            let id = format!("master/centos/{dir}").parse().expect("a build");
            look(&id, &root.join(dir), &ChannelEntry::default(), 0).expect("a directory")
        });
        looked.into()
    }

    #[test]
    fn each_inode_is_hashed_once_and_completes_every_build_that_has_it() {
        let dir = camino_tempfile::tempdir().expect("a directory");
        let builds = builds(dir.path());
        let builds: Vec<_> = builds.iter().collect();
        let digests = Digests::of(&builds, Hints::default());
        assert_eq!((digests.len(), digests.bytes()), (2, 13));
        assert_eq!(digests.complete().count(), 0);
        // Opening a second name of the shared file fails.
        for name in [
            "20200105T060000Z/b",
            "20200106T060000Z/c",
            "20200107T060000Z/d",
        ] {
            fs::remove_file(dir.path().join(name)).expect("removed");
        }
        assert_eq!(digests.hash(0), (6, true, vec![0, 1]));
        assert_eq!(digests.complete().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(digests.hash(1), (7, true, vec![2]));
        let sum = |text: &str| Some(Sha256(sha2::Sha256::digest(text).into()));
        for (build, texts) in [
            (0, &["shared", "shared"][..]),
            (1, &["shared"]),
            (2, &["shared", "its own"]),
        ] {
            assert_eq!(builds[build].files.len(), texts.len());
            for (file, text) in texts.iter().enumerate() {
                assert_eq!(digests.digest(build, file), sum(text), "{build} {file}");
            }
            assert!(digests.failure(build).is_none());
        }
    }

    #[test]
    fn an_inode_that_cannot_be_read_fails_every_build_that_has_it() {
        let dir = camino_tempfile::tempdir().expect("a directory");
        let builds = builds(dir.path());
        let builds: Vec<_> = builds.iter().collect();
        let digests = Digests::of(&builds, Hints::default());
        fs::remove_file(dir.path().join("20200105T060000Z/a")).expect("removed");
        assert_eq!(digests.hash(0), (6, true, vec![0, 1]));
        assert_eq!(digests.hash(1).2, [2]);
        for build in 0..3 {
            let (file, why) = digests.failure(build).expect("it failed");
            assert_eq!((file, why.reason), (0, Reason::Unreadable));
        }
    }
}
