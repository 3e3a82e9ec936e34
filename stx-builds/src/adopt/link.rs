//! Equal files of several builds become hard links of one.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;
use stx_layout::{Sha256, Sums};
use stx_publish::local::Kept;

use super::apply::Locks;
use super::look::Looked;
use crate::error::chain;

/// The files that became hard links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Linked {
    /// Their number.
    pub files: u64,
    /// The bytes that are stored once instead of twice.
    pub bytes: u64,
}

/// Equal by these: owner and mode are those of the inode.
type Likeness = (Sha256, u64, u32, u32, u64);

/// Replaces files of builds by links to equal ones, the first of which stays. Goes by the sums that were written, and compares
/// the bytes of both files before one is replaced.
pub(super) fn link(locks: &Locks<'_>, builds: &[&Looked], problems: &mut Vec<String>) -> Linked {
    let mut linked = Linked::default();
    let mut first: HashMap<Likeness, (u64, Utf8PathBuf)> = HashMap::new();
    for looked in builds {
        let text = fs_err::read_to_string(looked.dir.join(Sums::FILE_NAME));
        let Some(sums) = text.ok().and_then(|text| text.parse::<Sums>().ok()) else {
            continue;
        };
        let result = locks
            .take(&looked.id.channel)
            .and_then(|(adopter, _alone)| {
                for file in &looked.files {
                    let path = looked.dir.join(file.path.as_path());
                    let (Some(digest), Some((likeness, inode))) =
                        (sums.get(&file.path), likeness(&path))
                    else {
                        continue;
                    };
                    let key = (digest, likeness.0, likeness.1, likeness.2, likeness.3);
                    let Some((kept, like)) = first.get(&key) else {
                        first.insert(key, (inode, path));
                        continue;
                    };
                    if *kept == inode {
                        continue;
                    }
                    match adopter.link(&looked.id, &file.path, like)? {
                        Kept::Linked => {
                            linked.files += 1;
                            linked.bytes += likeness.0;
                        }
                        Kept::Apart => {
                            // It takes no more links, or was changed: the next equal file is linked to this one.
                            first.insert(key, (inode, path));
                        }
                    }
                }
                Ok(())
            });
        if let Err(error) = result {
            problems.push(format!("{}: {}", looked.id, chain(&error)));
        }
    }
    linked
}

/// Size, mode, owner and device of a file that may be linked, and its inode.
fn likeness(path: &Utf8Path) -> Option<((u64, u32, u32, u64), u64)> {
    let found = fs_err::symlink_metadata(path).ok()?;
    let fits = found.is_file() && found.size() > 0;
    fits.then(|| {
        let key = (
            found.size(),
            found.mode() & 0o7777,
            found.uid(),
            found.dev(),
        );
        (key, found.ino())
    })
}
