//! `pages`, and what every command that changes a mirror does at its end: the catalog pages are made anew.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use stx_layout::{BuildId, Catalog};
use stx_publish::index::{PageName, Stay};
use stx_publish::site::{Refreshed, Site, refresh_locked};
use stx_publish::{MirrorStore, PageId, Scope};
use stx_retention::{PrunePlan, Verdict};

use super::retention::verdicts;
use super::{Context, refused, signing};
use crate::exit::Failure;
use crate::output;

/// The pages that were written or removed, by their paths in the mirror.
#[derive(Serialize)]
struct Report {
    written: Vec<String>,
    removed: Vec<String>,
}

impl From<Refreshed> for Report {
    fn from(done: Refreshed) -> Self {
        let paths = |pages: Vec<PageId>| pages.iter().map(PageId::path).collect();
        Self {
            written: paths(done.written),
            removed: paths(done.removed),
        }
    }
}

pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let store = context.open()?;
    let report = Report::from(make(context, &*store, context.now).await?);
    output::print(context.format(), &report, || {
        let lines = report.written.iter().map(|path| format!("wrote {path}"));
        let gone = report.removed.iter().map(|path| format!("removed {path}"));
        let mut lines: Vec<_> = lines.chain(gone).collect();
        lines.push(String::new());
        lines.join("\n")
    })
}

/// Makes the pages of a mirror that has some, or is meant to; the paths of those that were not right.
pub(crate) async fn made(
    context: &Context,
    store: &dyn MirrorStore,
) -> Result<Vec<String>, Failure> {
    let root = PageId {
        channel: None,
        name: PageName::IndexJson,
    };
    if !context.config.makes_pages() && store.page(&root).await.map_err(refused)?.is_none() {
        return Ok(Vec::new());
    }
    let Report { written, removed } = make(context, store, context.now).await?.into();
    Ok([written, removed].concat())
}

/// Makes the pages after a command that may have changed the mirror, if there is one. What keeps them from being made is
/// not said again where the command `failed` by it.
pub(crate) async fn after(context: &Context, failed: Option<&Failure>) {
    let Ok(store) = context.open() else {
        return;
    };
    if let Some(why) = stale(context, &*store, context.now).await
        && failed.is_none_or(|failed| failed.words() != why)
    {
        context.say(&warning(&why));
    }
}

/// Makes the pages of a mirror that was just changed. They are derived, so what keeps them from being made is said and
/// fails nothing.
pub(crate) async fn renew(context: &Context, store: &dyn MirrorStore, now: DateTime<Utc>) {
    if let Some(why) = stale(context, store, now).await {
        context.say(&warning(&why));
    }
}

fn warning(why: &str) -> String {
    format!("warning: the catalog pages are not up to date: {why}; `stx-builds pages` makes them")
}

/// Makes the pages, or says why that failed.
async fn stale(context: &Context, store: &dyn MirrorStore, now: DateTime<Utc>) -> Option<String> {
    if !context.config.makes_pages() {
        return None;
    }
    let failure = make(context, store, now).await.err()?;
    Some(failure.words())
}

async fn make(
    context: &Context,
    store: &dyn MirrorStore,
    now: DateTime<Utc>,
) -> Result<Refreshed, Failure> {
    // Two builds of the service may end at one time: how long each build stays is found and written under one lock, or the
    // later pages would not say it of the other's build.
    let pages = store.lock_pages().await.map_err(refused)?;
    let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
    let context = Context {
        now,
        ..context.clone()
    };
    let plan = verdicts(&context, store, &catalog).await?;
    let site = Site {
        stays: stays(&catalog, &plan),
        ..context.config.site()
    };
    let seal = signing::index_seal(&context, now)?;
    refresh_locked(store, &*pages, &site, seal.as_ref())
        .await
        .map_err(refused)
}

/// How long each build stays, in words.
fn stays(catalog: &Catalog, plan: &PrunePlan) -> BTreeMap<BuildId, Stay> {
    let builds = catalog.builds().filter_map(|(id, _)| {
        let stay = match plan.verdict(&id)? {
            Verdict::Keep { reasons, until } => Stay {
                until,
                reasons: reasons.iter().map(ToString::to_string).collect(),
            },
            Verdict::Expire { rule, since } => Stay {
                until: Some(since),
                reasons: vec![rule.to_string()],
            },
        };
        Some((id, stay))
    });
    builds.collect()
}
