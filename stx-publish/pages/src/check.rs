//! Compares the pages of a mirror with the mirror.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use stx_layout::index::{ChannelIndex, PageId, PageName, RootIndex};
use stx_layout::{AliasName, Catalog, Channel, ChannelEntry, counted};
use stx_publish::incoming::digest_of;
use stx_publish::store::{MirrorStore, Scope, StoreError};
use stx_publish::verdicts::readable_verdicts;
use stx_publish::verify::{Finding, FindingKind, VerifyError, VerifyReport};

use crate::html::{MADE_OF, PAGES_OF_CHANNEL, PAGES_OF_ROOT, digest_of_channel, digest_of_root};
use crate::site::PARALLEL;
use crate::summary::latest_of;
use crate::{build_pages, layers};

/// The wait before the pages are checked again.
const PAUSE: Duration = Duration::from_millis(200);

/// Adds to a report the catalog pages that are missing, and those that are older than the mirror.
///
/// `makes` is true if the mirror should have pages; a mirror that has an index should have the others too. Pages follow a change
/// after a moment, so differences are checked again until `patience` has passed.
///
/// # Errors
/// The mirror cannot be read.
pub async fn verify_pages(
    store: &dyn MirrorStore,
    scope: &Scope,
    makes: bool,
    patience: Duration,
    report: &mut VerifyReport,
) -> Result<(), VerifyError> {
    let fail = |source| VerifyError::new(scope, source);
    if let Scope::Build(_) = scope {
        return Ok(());
    }
    let mut found = wrong_pages(store, scope, makes).await.map_err(fail)?;
    let mut waited = Duration::ZERO;
    while !found.is_empty() && waited < patience {
        tokio::time::sleep(PAUSE).await;
        waited += PAUSE;
        let again = wrong_pages(store, scope, makes).await.map_err(fail)?;
        // A difference that has disappeared was being fixed by a running refresh.
        found.retain(|finding| again.contains(finding));
    }
    report
        .findings
        .extend(found.into_iter().map(|(finding, _)| finding));
    report.findings.sort();
    Ok(())
}

/// The problem of a page, and the bytes that it should have.
type Wrong = (Finding, Option<Bytes>);

async fn wrong_pages(
    store: &dyn MirrorStore,
    scope: &Scope,
    makes: bool,
) -> Result<Vec<Wrong>, StoreError> {
    let catalog = store.catalog(scope).await?;
    let root = page(None, PageName::IndexJson);
    let has_root = store.page(&root).await?.is_some();
    let mut has = makes || has_root;
    for channel in catalog.channels.keys() {
        let index = page(Some(channel), PageName::IndexJson);
        has = has || store.page(&index).await?.is_some();
    }
    let mut found = Vec::new();
    if !has {
        return Ok(found);
    }
    for (channel, entry) in &catalog.channels {
        of_channel(store, channel, entry, &mut found).await?;
    }
    // A new mirror has no pages yet; one that has lost all of its channels has.
    if *scope == Scope::All && (has_root || !catalog.channels.is_empty()) {
        of_root(store, &catalog, &mut found).await?;
    }
    Ok(found)
}

fn page(channel: Option<&Channel>, name: PageName) -> PageId {
    PageId {
        channel: channel.cloned(),
        name,
    }
}

fn wrong(page: &PageId, kind: FindingKind, message: impl Into<String>) -> Finding {
    Finding {
        channel: page.channel.clone(),
        build: None,
        path: Some(page.name.file_name().into_owned()),
        kind,
        severity: kind.severity(),
        message: message.into(),
    }
}

async fn of_channel(
    store: &dyn MirrorStore,
    channel: &Channel,
    entry: &ChannelEntry,
    found: &mut Vec<Wrong>,
) -> Result<(), StoreError> {
    let json = page(Some(channel), PageName::IndexJson);
    let Some(text) = store.page(&json).await? else {
        found.push((wrong(&json, FindingKind::PageMissing, "is missing"), None));
        return others(store, Some(channel), None, found).await;
    };
    let index = match ChannelIndex::from_json(&text) {
        Ok(index) => index,
        Err(error) => {
            let message = format!("cannot be read: {error}");
            let finding = wrong(&json, FindingKind::PageStale, message);
            found.push((finding, Some(text)));
            return Ok(());
        }
    };
    let digest = digest_of_channel(&index);
    if let Some(message) = differs(&index.clone().entry(), entry) {
        let finding = wrong(&json, FindingKind::PageStale, message);
        found.push((finding, Some(text.clone())));
    }
    // Builds that cannot be read are a finding of their own.
    let catalog = Catalog {
        channels: [(channel.clone(), entry.clone())].into(),
    };
    let scope = Scope::Channel(channel.clone());
    let there = readable_verdicts(store, &scope, &catalog).await?;
    let there = there
        .history
        .iter()
        .filter(|it| entry.builds.contains_key(&it.build.date));
    let said = index.builds.iter().rev().flat_map(|build| &build.verdicts);
    if !said.eq(there) {
        let message = "is older than the mirror: its verdicts differ";
        found.push((wrong(&json, FindingKind::PageStale, message), Some(text)));
    }
    of_builds(store, &index, found).await?;
    others(store, Some(channel), Some(digest.to_string()), found).await
}

/// The pages of a channel's builds, by the digests in the index. An index from an earlier version has none.
async fn of_builds(
    store: &dyn MirrorStore,
    index: &ChannelIndex,
    found: &mut Vec<Wrong>,
) -> Result<(), StoreError> {
    let pages = index.builds.iter();
    let pages = pages.filter_map(|build| build_pages::page_of(index, build));
    let looked = pages.map(async |(page, sha256)| {
        let text = store.page(&page).await?;
        let (kind, message) = match &text {
            None => (FindingKind::PageMissing, "is missing"),
            Some(text) if digest_of(text) == sha256 => return Ok(None),
            Some(_) => {
                let message = "does not have the digest that index.json states";
                (FindingKind::PageStale, message)
            }
        };
        Ok::<_, StoreError>(Some((wrong(&page, kind, message), text)))
    });
    let looked = stream::iter(looked).buffered(PARALLEL);
    let looked: Vec<Option<Wrong>> = looked.try_collect().await?;
    found.extend(looked.into_iter().flatten());
    Ok(())
}

/// The first difference between an index and its channel, in words; `None` if they agree.
fn differs(index: &ChannelEntry, entry: &ChannelEntry) -> Option<String> {
    let dates = |entry: &ChannelEntry| entry.builds.keys().copied().collect::<BTreeSet<_>>();
    let (said, there) = (dates(index), dates(entry));
    if let Some(date) = there.difference(&said).next() {
        return Some(format!("is older than the mirror: it does not name {date}"));
    }
    if let Some(date) = said.difference(&there).next() {
        let message = format!("is older than the mirror: it names {date}, which does not exist");
        return Some(message);
    }
    let records = entry.builds.iter().zip(index.builds.values());
    let mut changed = records.filter(|((_, there), said)| there.record() != said.record());
    if let Some(((date, _), _)) = changed.next() {
        return Some(format!("contradicts build.json of {date}"));
    }
    if index.aliases != entry.aliases {
        return Some("is older than the mirror: its aliases differ".to_owned());
    }
    None
}

/// The first difference between the root's index and the mirror, in words; `None` if they agree.
fn root_differs(index: &RootIndex, catalog: &Catalog) -> Option<String> {
    let gone = index.channels.iter();
    let gone = gone.filter(|known| !catalog.channels.contains_key(&known.channel));
    let (lost, empty): (Vec<_>, Vec<_>) = gone.partition(|known| known.builds > 0);
    if !lost.is_empty() {
        let lost = lost.iter();
        let lost =
            lost.map(|known| format!("{} with {}", known.channel, counted(known.builds, "build")));
        return Some(format!(
            "names {}, which the mirror does not have; if nobody removed that, restore it first: a repair forgets it",
            lost.collect::<Vec<_>>().join(", ")
        ));
    }
    if let Some(known) = empty.first() {
        let channel = &known.channel;
        return Some(format!(
            "is older than the mirror: it names {channel}, which does not exist"
        ));
    }
    let said = index.channels.iter().map(|known| (&known.channel, known));
    let said: BTreeMap<_, _> = said.collect();
    let latest = AliasName::latest_build();
    let mut below = layers::below(catalog);
    let differs = catalog.channels.iter().find_map(|(channel, entry)| {
        let Some(known) = said.get(channel) else {
            return Some(format!("it does not name {channel}"));
        };
        let newest = known.newest.as_ref().map(|newest| newest.date);
        if (known.builds, newest)
            != (
                entry.builds.len() as u64,
                entry.builds.keys().next_back().copied(),
            )
        {
            return Some(format!("the builds of {channel} differ"));
        }
        if known.latest_build != latest_of(entry.aliases.get(&latest)) {
            return Some(format!("`latest_build` of {channel} differs"));
        }
        let below = below.remove(channel);
        (known.after != below).then(|| format!("the build below {channel} differs"))
    });
    differs.map(|how| format!("is older than the mirror: {how}"))
}

async fn of_root(
    store: &dyn MirrorStore,
    catalog: &Catalog,
    found: &mut Vec<Wrong>,
) -> Result<(), StoreError> {
    let json = page(None, PageName::IndexJson);
    let Some(text) = store.page(&json).await? else {
        found.push((wrong(&json, FindingKind::PageMissing, "is missing"), None));
        return others(store, None, None, found).await;
    };
    let index = match RootIndex::from_json(&text) {
        Ok(index) => index,
        Err(error) => {
            let message = format!("cannot be read: {error}");
            let finding = wrong(&json, FindingKind::PageStale, message);
            found.push((finding, Some(text)));
            return Ok(());
        }
    };
    let digest = digest_of_root(&index);
    if let Some(message) = root_differs(&index, catalog) {
        let finding = wrong(&json, FindingKind::PageStale, message);
        found.push((finding, Some(text)));
    }
    others(store, None, Some(digest.to_string()), found).await
}

/// The pages that were made from an index, which contain its digest. Pages of an earlier version do not.
async fn others(
    store: &dyn MirrorStore,
    channel: Option<&Channel>,
    digest: Option<String>,
    found: &mut Vec<Wrong>,
) -> Result<(), StoreError> {
    let names = match channel {
        Some(_) => &PAGES_OF_CHANNEL[..],
        None => &PAGES_OF_ROOT,
    };
    for name in names {
        let page = page(channel, *name);
        let Some(text) = store.page(&page).await? else {
            found.push((wrong(&page, FindingKind::PageMissing, "is missing"), None));
            continue;
        };
        let said = made_of(&text);
        if let (Some(said), Some(digest)) = (said, &digest)
            && said != digest.as_bytes()
        {
            let message = "was made of another index.json than the one beside it";
            let finding = wrong(&page, FindingKind::PageStale, message);
            found.push((finding, Some(text)));
        }
    }
    Ok(())
}

/// The digest of the index from which a page was made.
fn made_of(text: &[u8]) -> Option<&[u8]> {
    let mark = MADE_OF.as_bytes();
    let at = memchr::memmem::find(text, mark)? + mark.len();
    text.get(at..at + 64)
}
