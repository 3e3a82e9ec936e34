//! The records of retired builds.

use std::sync::Arc;

use fs_err as fs;
use stx_layout::BuildRecord;

use super::LocalStore;
use super::disk::io_error;
use crate::ingest::blocking;
use crate::store::{Retired, StoreError};

impl LocalStore {
    /// The record of a retired build.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the build was restored or purged since; [`StoreError::Damaged`].
    pub async fn retired_record(&self, retired: &Retired) -> Result<BuildRecord, StoreError> {
        let (inner, retired) = (Arc::clone(&self.inner), retired.clone());
        blocking(move || {
            let path = inner.trashed(&retired).join(BuildRecord::FILE_NAME);
            let text = fs::read_to_string(&path).map_err(|source| match source.kind() {
                std::io::ErrorKind::NotFound => StoreError::NotFound {
                    what: retired.id.to_string(),
                },
                _ => io_error("read", &path)(source),
            })?;
            BuildRecord::from_json(&text).map_err(|error| StoreError::Damaged {
                what: retired.id.to_string(),
                source: error.into(),
            })
        })
        .await
    }
}
