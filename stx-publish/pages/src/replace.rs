//! Replaces the pages that differ.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use stx_layout::index::{PageId, PageName};
use stx_publish::store::StoreError;

use crate::locked::LockedPages;
use crate::site::{Made, PARALLEL};
use crate::{IndexSeal, signed};

/// Replaces those of some pages that differ, at the same time; returns the pages that were written.
pub(crate) async fn replace(
    pages: &LockedPages<'_>,
    seal: Option<&IndexSeal>,
    wanted: impl IntoIterator<Item = Made>,
) -> Result<Vec<PageId>, StoreError> {
    let replaced = wanted.into_iter().map(async |(page, bytes)| {
        if page.name == PageName::IndexJson {
            return signed::replace(pages, seal, &page, bytes).await;
        }
        if pages.page(&page).await?.as_ref() == Some(&bytes) {
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
