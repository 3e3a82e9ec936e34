//! `pages`, and the last step of every command that changes a mirror: rewriting the catalog pages.

use chrono::{DateTime, Utc};
use serde::Serialize;
use stx_pages::Refreshed;
use stx_publish::index::PageName;
use stx_publish::seal::LONGEST_TEXT;
use stx_publish::{MirrorStore, PageId};

use crate::error::{Error, ErrorKind};
use crate::{Site, refused};
pub(crate) use elsewhere::elsewhere;
use maker::Maker;

mod elsewhere;
mod maker;
mod note;
#[cfg(test)]
mod tests;

/// The pages that were written or removed, by their paths in the mirror.
#[derive(Debug, Default, Serialize)]
pub struct Rewritten {
    /// The pages that were outdated.
    pub written: Vec<String>,
    /// The pages of removed channels.
    pub removed: Vec<String>,
}

impl From<Refreshed> for Rewritten {
    fn from(done: Refreshed) -> Self {
        let paths = |pages: Vec<PageId>| pages.iter().map(PageId::path).collect();
        Self {
            written: paths(done.written),
            removed: paths(done.removed),
        }
    }
}

impl Site {
    /// Rewrites the catalog pages of the mirror.
    pub async fn rewrite_pages(&self) -> Result<Rewritten, Error> {
        let store = self.mirror()?;
        all_of(make(self, &*store, self.now, true).await?)
    }
}

/// Makes the pages of a mirror that has some, or is configured to; returns those that were outdated.
pub async fn made(site: &Site, store: &dyn MirrorStore) -> Result<Rewritten, Error> {
    let root = PageId {
        channel: None,
        name: PageName::IndexJson,
    };
    if !site.options.makes_pages() && store.page(&root).await.map_err(refused)?.is_none() {
        return Ok(Rewritten::default());
    }
    all_of(make(site, store, site.now, true).await?)
}

/// The pages that were written; an error if an index was too long.
fn all_of(done: Refreshed) -> Result<Rewritten, Error> {
    match too_long(&done) {
        Some(why) => Err(Error::new(ErrorKind::Mirror, why).hint(SHORTER)),
        None => Ok(done.into()),
    }
}

/// The hint for a channel whose index is too long.
const SHORTER: &str = "keep fewer builds in the channel by a shorter age and `prune`, or publish new builds to another channel; docs/scale.md";

/// The message that names the indexes that readers would reject; `None` if there are none.
fn too_long(done: &Refreshed) -> Option<String> {
    let paths: Vec<_> = done.too_long.iter().map(PageId::path).collect();
    let limit = LONGEST_TEXT >> 20;
    (!paths.is_empty()).then(|| {
        format!(
            "{} would have more than {limit} MiB, which no reader accepts; the previous version stays, without the newest builds, and \
             all other pages are up to date",
            paths.join(", ")
        )
    })
}

/// Makes the pages after a command that may have changed the mirror, if the mirror exists. If the pages fail by the same cause as the
/// command (`failed`), the failure is not reported again: the objects of a bucket often fail for one reason.
pub async fn after(site: &Site, failed: Option<&str>) {
    let Ok(store) = site.mirror() else {
        return;
    };
    if let Some((why, warning)) = stale(site, &*store, site.now).await
        && failed.is_none_or(|failed| !failed.ends_with(cause(&why)))
    {
        site.note(&warning);
    }
}

/// The last cause of a chain of errors.
fn cause(chain: &str) -> &str {
    chain.rsplit("the request failed: ").next().unwrap_or(chain)
}

/// Makes the pages of a mirror that was just changed. Pages are derived data, so a failure is only reported.
pub async fn renew(site: &Site, store: &dyn MirrorStore, now: DateTime<Utc>) {
    if let Some((_, warning)) = stale(site, store, now).await {
        site.note(&warning);
    }
}

/// Makes the pages. If some remain outdated, returns the reason, and a warning that contains it.
async fn stale(
    site: &Site,
    store: &dyn MirrorStore,
    now: DateTime<Utc>,
) -> Option<(String, String)> {
    if !site.options.makes_pages() {
        return None;
    }
    match make(site, store, now, false).await {
        Ok(done) => {
            let why = too_long(&done)?;
            let warning = format!("warning: {why}; {SHORTER}");
            Some((why, warning))
        }
        Err(failure) => {
            let why = failure.chain();
            let makes = match &failure.hint {
                Some(hint) => format!("{hint}; `stx-builds pages` makes them afterwards"),
                None => "`stx-builds pages` makes them".to_owned(),
            };
            let warning = format!("warning: the catalog pages are not up to date: {why}; {makes}");
            Some((why, warning))
        }
    }
}

async fn make(
    site: &Site,
    store: &dyn MirrorStore,
    now: DateTime<Utc>,
    thorough: bool,
) -> Result<Refreshed, Error> {
    // Two builds of the service may end at the same time. The retention of each build is determined and written under one lock;
    // otherwise the later pages would lack that of the other build.
    let pages = site.locked("the pages", store.lock_pages()).await?;
    let mut site = site.clone();
    site.now = now;
    Maker::new(&site, store, &*pages)?.renew(thorough).await
}
