//! Which bytes the mirror has already.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use stx_layout::{Channel, Sha256};

use super::Inner;
use crate::store::{Scope, StoreError};

/// The files of all published builds by digest, from their `SHA256SUMS`.
#[derive(Debug, Default)]
pub(super) struct Shared {
    builds: Vec<Utf8PathBuf>,
    files: HashMap<Sha256, (usize, Box<str>)>,
    names: HashSet<Box<str>>,
}

impl Shared {
    /// Reads the sums of every build; of equal files the one of the newest build of `channel` is taken. A build whose sums
    /// cannot be read shares nothing.
    pub(super) fn read(inner: &Inner, channel: &Channel) -> Result<Self, StoreError> {
        let catalog = inner.catalog(&Scope::All)?;
        let mut ids: Vec<_> = catalog.builds().map(|(id, _)| id).collect();
        ids.sort_by_key(|id| (id.channel != *channel, std::cmp::Reverse(id.date)));
        let mut shared = Self::default();
        for id in ids {
            let Ok(sums) = inner.sums(&id) else { continue };
            let index = shared.builds.len();
            shared.builds.push(inner.build_dir(&id));
            for line in sums.lines() {
                shared.names.insert(line.path.file_name().into());
                shared
                    .files
                    .entry(line.digest)
                    .or_insert_with(|| (index, line.path.as_str().into()));
            }
        }
        Ok(shared)
    }

    /// Whether a file of this name is likely to be there already, so that hashing it before copying pays.
    pub(super) fn is_likely(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Links the mirror's copy to `to`, if there is one of this size and mode that can be linked.
    pub(super) fn link(
        &self,
        digest: Sha256,
        size: u64,
        mode: u32,
        to: &Utf8Path,
    ) -> Result<bool, StoreError> {
        let Some((build, path)) = self.files.get(&digest) else {
            return Ok(false);
        };
        let from = self.builds[*build].join(&**path);
        let fits = fs::symlink_metadata(&from).is_ok_and(|found| {
            found.is_file() && found.size() == size && found.permissions().mode() & 0o7777 == mode
        });
        if !fits || size == 0 {
            return Ok(false);
        }
        match fs::hard_link(&from, to) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(StoreError::AlreadyExists {
                    what: to.to_string(),
                })
            }
            // Retired meanwhile, too many links, another file system, or a file system without links: it is copied.
            Err(_) => Ok(false),
        }
    }
}
