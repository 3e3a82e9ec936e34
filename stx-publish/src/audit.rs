//! The digests of the files that one run over many builds has read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use stx_layout::Sha256;

/// The digests of the stored files that one run over many builds has read; several builds may share a file.
///
/// It keeps nothing from earlier runs, so each run reads every byte once. Clones belong to the same run.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    digests: Arc<Mutex<HashMap<StoredFile, Sha256>>>,
}

/// The identity of a file of a store: device, inode, and the time of change in seconds and nanoseconds. It is the same for each
/// path of the file, and changes when the file is written to.
pub type StoredFile = (u64, u64, i64, i64);

impl Audit {
    /// The digest of a file that was read in this run.
    pub fn digest(&self, file: &StoredFile) -> Option<Sha256> {
        let digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        digests.get(file).copied()
    }

    /// Notes the digest of a file that was read in this run.
    pub fn note(&self, file: StoredFile, digest: Sha256) {
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        digests.insert(file, digest);
    }
}
