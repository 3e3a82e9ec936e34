//! Derived pages of a mirror in a bucket.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::Inner;
use super::lease::Lease;
use super::objects::Keep;
use stx_publish::index::PageId;
use stx_publish::store::{PageWriter, StoreError};

/// The lock of the pages.
#[derive(Debug)]
pub(super) struct BucketPages {
    inner: Arc<Inner>,
    lease: Lease,
}

impl BucketPages {
    pub(super) fn new(inner: Arc<Inner>, lease: Lease) -> Self {
        Self { inner, lease }
    }
}

#[async_trait]
impl PageWriter for BucketPages {
    async fn write(&self, page: &PageId, bytes: Bytes) -> Result<(), StoreError> {
        let objects = &self.inner.objects;
        self.lease.check_lately(objects).await?;
        objects.put(&page.path(), bytes, Keep::Not).await
    }

    async fn remove(&self, page: &PageId) -> Result<(), StoreError> {
        let objects = &self.inner.objects;
        self.lease.check_lately(objects).await?;
        objects.delete([page.path()]).await
    }
}
