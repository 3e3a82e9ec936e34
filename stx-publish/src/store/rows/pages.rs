//! The writer of pages and of the names above the channels.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::lock::Mutex;
use stx_layout::{RootAlias, RootEntry, RootTarget};

use super::facts::Result;
use super::key::{self, of_page};
use super::{Change, RowStore, Rows};
use crate::index::PageId;
use crate::store::rules::{check_root_alias, check_root_target, taken};
use crate::store::{PageWriter, RootWriter};

/// The lock of the pages, or that of the names above the channels.
pub(super) struct Pages<R: Rows> {
    store: RowStore<R>,
    /// One call at a time.
    lock: Mutex<R::Lock>,
}

impl<R: Rows> Pages<R> {
    pub(super) fn new(store: RowStore<R>, lock: R::Lock) -> Self {
        let lock = Mutex::new(lock);
        Self { store, lock }
    }

    /// Writes a row, or removes it.
    async fn set(&self, key: String, value: Option<Bytes>) -> Result<()> {
        let lock = self.lock.lock().await;
        self.store.apply(&lock, vec![Change::set(key, value)]).await
    }
}

impl<R: Rows> fmt::Debug for Pages<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}

#[async_trait]
impl<R: Rows> PageWriter for Pages<R> {
    async fn write(&self, page: &PageId, bytes: Bytes) -> Result<()> {
        self.set(of_page(page), Some(bytes)).await
    }

    async fn remove(&self, page: &PageId) -> Result<()> {
        self.set(of_page(page), None).await
    }

    async fn note(&self, note: Option<Bytes>) -> Result<()> {
        self.set(key::NOTE.to_owned(), note).await
    }
}

#[async_trait]
impl<R: Rows> RootWriter for Pages<R> {
    async fn link(
        &self,
        alias: &RootAlias,
        expected: Option<&RootEntry>,
        to: Option<&RootTarget>,
    ) -> Result<()> {
        let (store, lock) = (&self.store, self.lock.lock().await);
        let found = store.root_entries().await?;
        check_root_alias(alias, expected, found.get(alias))?;
        if let Some(to) = to {
            check_root_target(alias, to, store.has(to).await?)?;
            let own = match alias {
                RootAlias::Release(name) => Some(RootTarget::Release(name.clone())),
                RootAlias::Channel(name) => Some(RootTarget::Channel(name.clone())),
                RootAlias::LatestRelease | RootAlias::Legacy(_) => None,
            };
            if let Some(own) = own
                && store.has(&own).await?
            {
                return Err(taken(alias));
            }
        }
        let to = to.map(|to| Bytes::from(to.to_string()));
        let change = Change::set(key::key(key::ROOT, &[alias]), to);
        store.apply(&lock, vec![change]).await
    }
}
