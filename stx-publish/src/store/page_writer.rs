//! The right to change the derived pages.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use super::StoreError;
use crate::index::PageId;

/// The lock of the derived pages, and with it the right to change them. Channels have their own locks.
///
/// # Contract
/// - **Atomicity.** A reader sees either the old page or the new one, even after a crash.
/// - **May be lost.** A page need not be durable when the call returns: it can be made again.
#[async_trait]
pub trait PageWriter: fmt::Debug + Send + Sync {
    /// Writes a page, and replaces an existing one. Its channel must exist.
    async fn write(&self, page: &PageId, bytes: Bytes) -> Result<(), StoreError>;

    /// Removes a page, if it exists.
    async fn remove(&self, page: &PageId) -> Result<(), StoreError>;

    /// Keeps a [note](super::MirrorStore::noted) beside the pages, hidden from readers; `None` removes it. A note that was removed before a page was written does not
    /// reappear, not even after a power failure.
    async fn note(&self, note: Option<Bytes>) -> Result<(), StoreError> {
        drop(note);
        Ok(())
    }
}
