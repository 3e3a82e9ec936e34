//! The real contents of a build behind a web server: each file that the sums name is requested.
//!
//! Files that the sums do not name, modes and symlinks cannot be seen through a web server.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use sha2::Digest as _;
use stx_layout::{BuildId, BuildPath, Sha256};

use super::HttpStore;
use crate::error::chain;
use crate::store::{Depth, Found, Inspection, MirrorRead as _, StoreError};

impl HttpStore {
    pub(super) async fn inspect_files(
        &self,
        id: &BuildId,
        depth: Depth,
    ) -> Result<Inspection, StoreError> {
        let sums = match self.sums(id).await {
            // A build without sums exists if its record exists.
            Err(StoreError::NotFound { .. } | StoreError::Damaged { .. }) => {
                self.record(id).await?;
                stx_layout::Sums::default()
            }
            sums => sums?,
        };
        let paths: Vec<_> = sums.lines().iter().map(|line| line.path.clone()).collect();
        let found = paths.into_iter().map(|path| async move {
            let found = self.find(id, &path, depth).await?;
            Ok::<_, StoreError>(found.map(|found| (path, found)))
        });
        let found = stream::iter(found)
            .buffer_unordered(self.options.connections.max(1))
            .try_filter_map(|found| std::future::ready(Ok(found)));
        Ok(Inspection {
            found: found.try_collect().await?,
            unreadable: Vec::new(),
            thinned: crate::store::thinned(self, id).await?,
        })
    }

    /// A file; `None` if it does not exist.
    async fn find(
        &self,
        id: &BuildId,
        path: &BuildPath,
        depth: Depth,
    ) -> Result<Option<Found>, StoreError> {
        let body = match self.read(id, path, 0).await {
            Err(StoreError::NotFound { .. }) => return Ok(None),
            body => body?,
        };
        let size = body.size;
        let digest = match depth {
            Depth::Listing => None,
            Depth::Digests => Some(digest(body.stream).await.map_err(|error| chain(&error))),
        };
        Ok(Some(Found::File {
            size,
            mode: None,
            modified: None,
            digest,
        }))
    }
}

async fn digest(mut bytes: crate::store::ByteStream) -> Result<Sha256, StoreError> {
    let mut hash = sha2::Sha256::new();
    while let Some(chunk) = bytes.try_next().await? {
        hash.update(&chunk);
    }
    Ok(Sha256(hash.finalize().into()))
}
