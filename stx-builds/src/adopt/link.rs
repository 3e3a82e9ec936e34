//! Replaces equal files of several builds by hard links to one inode.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;
use stx_layout::{BuildId, Sha256, Sums};
use stx_publish::StoreError;
use stx_publish::local::Kept;

use super::apply::Locks;
use crate::error::chain;

/// The files that became hard links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Linked {
    /// Their number.
    pub files: u64,
    /// The bytes that are stored once instead of twice.
    pub bytes: u64,
}

/// Files with equal values here may be linked: owner and mode belong to the inode.
type Likeness = (Sha256, u64, u32, u32, u64);

/// Replaces files of builds by links to equal ones; the first of them stays. Candidates are found by their written sums, and the
/// bytes of both files are compared before one is replaced. The lock of a channel is held for one file at a time.
pub(super) fn link(
    root: &Utf8Path,
    locks: &Locks<'_>,
    builds: &BTreeSet<BuildId>,
    problems: &mut Vec<String>,
) -> Linked {
    let mut linked = Linked::default();
    let mut first: HashMap<Likeness, (u64, Utf8PathBuf)> = HashMap::new();
    for id in builds {
        let dir = root.join(id.to_string());
        let text = fs_err::read_to_string(dir.join(Sums::FILE_NAME));
        let Some(sums) = text.ok().and_then(|text| text.parse::<Sums>().ok()) else {
            // `verify` reports it.
            continue;
        };
        if let Err(error) = link_build(locks, id, &dir, &sums, &mut first, &mut linked) {
            problems.push(format!("{id}: {}", chain(&error)));
        }
    }
    linked
}

fn link_build(
    locks: &Locks<'_>,
    id: &BuildId,
    dir: &Utf8Path,
    sums: &Sums,
    first: &mut HashMap<Likeness, (u64, Utf8PathBuf)>,
    linked: &mut Linked,
) -> Result<(), StoreError> {
    for line in sums.lines() {
        let path = dir.join(line.path.as_path());
        let Some((size, likeness, inode)) = likeness(line.digest, &path) else {
            continue;
        };
        let Some((kept, like)) = first.get(&likeness) else {
            first.insert(likeness, (inode, path));
            continue;
        };
        if *kept == inode {
            continue;
        }
        let (adopter, _alone) = locks.take(&id.channel)?;
        match adopter.link(id, &line.path, like)? {
            Kept::Linked => {
                linked.files += 1;
                linked.bytes += size;
            }
            Kept::Apart => {
                // It has the maximal number of links, or was changed: link the next equal file to this one.
                first.insert(likeness, (inode, path));
            }
        }
    }
    Ok(())
}

/// The size of a file that may be linked, the properties that an equal file must share, and its inode. Does not follow symlinks.
fn likeness(digest: Sha256, path: &Utf8Path) -> Option<(u64, Likeness, u64)> {
    let found = fs_err::symlink_metadata(path).ok()?;
    let fits = found.is_file() && found.size() > 0;
    fits.then(|| {
        let mode = found.mode() & 0o7777;
        let key = (digest, found.size(), mode, found.uid(), found.dev());
        (found.size(), key, found.ino())
    })
}
