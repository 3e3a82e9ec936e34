//! `pages`, and what every command that changes a mirror does at its end: the catalog pages are made anew.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures_util::future::try_join;
use serde::Serialize;
use stx_layout::{BuildId, Catalog};
use stx_pages::{MirrorContents, Refreshed, Site as PageSite, refresh_locked};
use stx_publish::index::{PageName, Stay};
use stx_publish::{MirrorStore, PageId, Scope};
use stx_retention::{Decision, PrunePlan};

use crate::decisions::{decided, protected, tell_verdicts};
use crate::error::Error;
use crate::{Site, refused, signing};

/// The pages that were written or removed, by their paths in the mirror.
#[derive(Debug, Serialize)]
pub struct Rewritten {
    /// Those that were not right.
    pub written: Vec<String>,
    /// Those of channels that are gone.
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
        Ok(make(self, &*store, self.now, true).await?.into())
    }
}

/// Makes the pages of a mirror that has some, or is meant to; the paths of those that were not right.
pub async fn made(site: &Site, store: &dyn MirrorStore) -> Result<Vec<String>, Error> {
    let root = PageId {
        channel: None,
        name: PageName::IndexJson,
    };
    if !site.options.makes_pages() && store.page(&root).await.map_err(refused)?.is_none() {
        return Ok(Vec::new());
    }
    let Rewritten { written, removed } = make(site, store, site.now, true).await?.into();
    Ok([written, removed].concat())
}

/// Makes the pages after a command that may have changed the mirror, if there is one. What keeps them from being made is
/// not said again where the command `failed` by it.
pub async fn after(site: &Site, failed: Option<&str>) {
    let Ok(store) = site.mirror() else {
        return;
    };
    if let Some(why) = stale(site, &*store, site.now).await
        && failed.is_none_or(|failed| failed != why)
    {
        site.note(&warning(&why));
    }
}

/// Makes the pages of a mirror that was just changed. They are derived, so what keeps them from being made is said and
/// fails nothing.
pub async fn renew(site: &Site, store: &dyn MirrorStore, now: DateTime<Utc>) {
    if let Some(why) = stale(site, store, now).await {
        site.note(&warning(&why));
    }
}

fn warning(why: &str) -> String {
    format!("warning: the catalog pages are not up to date: {why}; `stx-builds pages` makes them")
}

/// Makes the pages, or says why that failed.
async fn stale(site: &Site, store: &dyn MirrorStore, now: DateTime<Utc>) -> Option<String> {
    if !site.options.makes_pages() {
        return None;
    }
    let failure = make(site, store, now, false).await.err()?;
    Some(failure.chain())
}

async fn make(
    site: &Site,
    store: &dyn MirrorStore,
    now: DateTime<Utc>,
    thorough: bool,
) -> Result<Refreshed, Error> {
    // Two builds of the service may end at one time: how long each build stays is found and written under one lock, or the
    // later pages would not say it of the other's build.
    let pages = store.lock_pages().await.map_err(refused)?;
    let all = try_join(MirrorContents::read(store), store.pins(&Scope::All));
    let (contents, pins) = all.await.map_err(refused)?;
    let mut site = site.clone();
    site.now = now;
    let site = &site;
    let catalog = &contents.catalog;
    let mut facts = protected(store, pins, catalog).await?;
    tell_verdicts(catalog, &contents.verdicts, &mut facts);
    let plan = decided(site, catalog, &facts)?;
    let shown = PageSite {
        stays: stays(catalog, &plan),
        thorough,
        ..site.options.site()
    };
    let seal = signing::index_seal(site, now)?;
    refresh_locked(store, &*pages, contents, &shown, seal.as_ref())
        .await
        .map_err(refused)
}

/// How long each build stays, in words.
fn stays(catalog: &Catalog, plan: &PrunePlan) -> BTreeMap<BuildId, Stay> {
    let builds = catalog.builds().filter_map(|(id, _)| {
        let stay = match plan.decision(&id)? {
            Decision::Keep { reasons, until } => Stay {
                until,
                reasons: reasons.iter().map(ToString::to_string).collect(),
            },
            Decision::Expire { rule, since } => Stay {
                until: Some(since),
                reasons: vec![rule.to_string()],
            },
        };
        Some((id, stay))
    });
    builds.collect()
}
