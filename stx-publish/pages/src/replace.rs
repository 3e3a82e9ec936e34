//! Replaces the pages that differ.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use stx_layout::index::{PageId, PageName};
use stx_publish::store::{MirrorStore, PageWriter, StoreError};

use crate::site::{Made, PARALLEL};
use crate::{IndexSeal, signed};

/// Replaces those of some pages that differ, side by side; the pages that were written.
pub(crate) async fn replace(
    store: &dyn MirrorStore,
    pages: &dyn PageWriter,
    seal: Option<&IndexSeal>,
    wanted: impl IntoIterator<Item = Made>,
) -> Result<Vec<PageId>, StoreError> {
    let replaced = wanted.into_iter().map(async |(page, bytes)| {
        if page.name == PageName::IndexJson {
            return signed::replace(store, pages, seal, &page, bytes).await;
        }
        if store.page(&page).await?.as_ref() == Some(&bytes) {
            return Ok(Vec::new());
        }
        pages.write(&page, bytes).await?;
        Ok(vec![page])
    });
    let written: Vec<_> = stream::iter(replaced)
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    Ok(written.concat())
}
