//! The pages of a mirror while their lock is held. No other process changes them meanwhile, so each page that will be compared is
//! read once, and all of them at the same time: a remote mirror answers twenty questions in the time of one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use stx_layout::index::PageId;
use stx_publish::store::{MirrorStore, PageWriter, StoreError};

use crate::site::PARALLEL;

/// Some pages, and the right to change them.
pub(crate) struct LockedPages<'a> {
    pub(crate) store: &'a dyn MirrorStore,
    writer: &'a dyn PageWriter,
    /// The current state of the pages that were read ahead.
    known: Mutex<HashMap<PageId, Option<Bytes>>>,
}

impl<'a> LockedPages<'a> {
    pub(crate) fn new(store: &'a dyn MirrorStore, writer: &'a dyn PageWriter) -> Self {
        Self {
            store,
            writer,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<PageId, Option<Bytes>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads some pages ahead.
    pub(crate) async fn read_ahead(
        &self,
        pages: impl IntoIterator<Item = PageId>,
    ) -> Result<(), StoreError> {
        let read = pages.into_iter().map(async |page| {
            let text = self.store.page(&page).await?;
            Ok::<_, StoreError>((page, text))
        });
        let read: Vec<_> = stream::iter(read).buffered(PARALLEL).try_collect().await?;
        self.known().extend(read);
        Ok(())
    }

    /// The text of a page, if it exists.
    pub(crate) async fn page(&self, page: &PageId) -> Result<Option<Bytes>, StoreError> {
        let known = self.known().get(page).cloned();
        match known {
            Some(text) => Ok(text),
            None => self.store.page(page).await,
        }
    }

    pub(crate) async fn write(&self, page: &PageId, text: Bytes) -> Result<(), StoreError> {
        self.writer.write(page, text.clone()).await?;
        self.changed(page, Some(text));
        Ok(())
    }

    /// Removes a page, if it exists.
    pub(crate) async fn remove(&self, page: PageId) -> Result<Option<PageId>, StoreError> {
        if self.page(&page).await?.is_none() {
            return Ok(None);
        }
        self.writer.remove(&page).await?;
        self.changed(&page, None);
        Ok(Some(page))
    }

    fn changed(&self, page: &PageId, text: Option<Bytes>) {
        if let Some(known) = self.known().get_mut(page) {
            *known = text;
        }
    }
}
