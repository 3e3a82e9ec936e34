//! The digests that one run over many builds has read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use stx_layout::Sha256;

/// One run over many builds: the digests of the stored files that it has read, which several builds may share.
///
/// It knows nothing of earlier runs, so each run reads every byte once. Clones are the same run.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    digests: Arc<Mutex<HashMap<StoredFile, Sha256>>>,
}

/// The identity of a file of a store, the same for each of its paths, which changes when somebody writes to it: device,
/// inode, and the time of change in seconds and nanoseconds.
pub type StoredFile = (u64, u64, i64, i64);

impl Audit {
    /// The digest of a file that was read in this run.
    pub fn digest(&self, file: &StoredFile) -> Option<Sha256> {
        let digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        digests.get(file).copied()
    }

    /// Notes the digest of a file that was read now.
    pub fn note(&self, file: StoredFile, digest: Sha256) {
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        digests.insert(file, digest);
    }
}
