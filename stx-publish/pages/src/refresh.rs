//! Reads the mirror, makes the pages and replaces those that differ.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use stx_layout::index::{
    BuildIndex, ChannelIndex, ChannelSummary, PageId, PageName, RootIndex, SCHEMA,
};
use stx_layout::{BuildId, BuildState, Catalog, Channel, ChannelEntry, VerdictEntry};
use stx_publish::store::{MirrorStore, PageWriter, Scope, StoreError};

use crate::contents::Files;
use crate::replace::replace;
use crate::site::{Refreshed, Site};
use crate::summary::summary;
use crate::{IndexSeal, build_pages, html, layers, signed, sources};

/// Makes the pages of a mirror anew, and replaces those that differ.
///
/// Refreshes wait for each other, so the last one to end has seen everything that was there before it began.
pub async fn refresh(store: &dyn MirrorStore, site: &Site) -> Result<Refreshed, StoreError> {
    refresh_sealed(store, site, None).await
}

/// As [`refresh`], and signs the indexes where there is a `seal`. Without one, signatures of earlier indexes are removed.
pub async fn refresh_sealed(
    store: &dyn MirrorStore,
    site: &Site,
    seal: Option<&IndexSeal>,
) -> Result<Refreshed, StoreError> {
    let pages = store.lock_pages().await?;
    let catalog = store.catalog(&Scope::All).await?;
    refresh_locked(store, &*pages, catalog, site, seal).await
}

/// As [`refresh_sealed`], for a caller that has locked the pages already, and read the catalog since: the stays of builds in
/// `site` follow from this catalog, and would be out of date if another refresh came between.
pub async fn refresh_locked(
    store: &dyn MirrorStore,
    pages: &dyn PageWriter,
    catalog: Catalog,
    site: &Site,
    seal: Option<&IndexSeal>,
) -> Result<Refreshed, StoreError> {
    let mut verdicts = histories(store).await?;
    let in_trash = build_pages::InTrash::read(store).await?;
    let keys = seal.map(|seal| seal.keys.as_str());
    let mut done = Refreshed::default();
    let mut summaries = Vec::with_capacity(catalog.channels.len());
    let mut wanted = Vec::new();
    let mut below = layers::below(&catalog);
    for (channel, entry) in catalog.channels {
        let before = Before::read(store, &channel).await?;
        let old = before.index.as_ref();
        let mut index = channel_index(store, site, &channel, entry, &mut verdicts, old).await?;
        // Before the index that names them, and before the files of the channel that they are compared by.
        let snippets = sources::replace_of_builds(store, pages, (site, keys), &index, old).await?;
        let of_builds = (store, pages);
        let of_builds =
            build_pages::replace(of_builds, (site, keys), &in_trash, &mut index, old).await?;
        for made in [snippets, of_builds] {
            done.written.extend(made.written);
            done.removed.extend(made.removed);
        }
        before.date(seal, &mut index);
        summaries.push(ChannelSummary {
            after: below.remove(&index.channel),
            ..summary(&index)
        });
        let made = html::channel_pages(site, &index, keys);
        for name in [PageName::AptSources, PageName::DnfRepo] {
            let page = PageId {
                channel: Some(index.channel.clone()),
                name,
            };
            if made.iter().all(|(made, _)| *made != page) {
                done.removed
                    .extend(sources::remove(store, pages, page).await?);
            }
        }
        wanted.extend(made);
    }
    let root_json = PageId {
        channel: None,
        name: PageName::IndexJson,
    };
    let old_text = store.page(&root_json).await?;
    let old = old_text
        .as_ref()
        .and_then(|text| RootIndex::from_json(text).ok());
    let mut root = RootIndex {
        schema: SCHEMA,
        serial: None,
        expires: None,
        channels: summaries,
        aliases: store.root_aliases().await?,
    };
    let dates = old.as_ref().map(|old| (old.serial, old.expires));
    (root.serial, root.expires) =
        signed::dated(seal, old_text.as_ref().zip(dates), |(serial, expires)| {
            let root = RootIndex {
                serial,
                expires,
                ..root.clone()
            };
            root.to_json()
        });
    let keys = seal.map(|seal| {
        let page = PageId {
            channel: None,
            name: PageName::Keys,
        };
        (page, Bytes::from(seal.keys.clone()))
    });
    done.written
        .extend(replace(store, pages, seal, wanted).await?);
    // The root comes last: what it names is there.
    let wanted = html::root_pages(site, &root).into_iter().chain(keys);
    let written = replace(store, pages, seal, wanted).await?;
    done.written.extend(written);
    if seal.is_none() {
        let channels = root.channels.iter().map(|known| Some(&known.channel));
        let signatures = channels
            .chain([None])
            .map(|channel| (channel, PageName::IndexSignature));
        for (channel, name) in signatures.chain([(None, PageName::Keys)]) {
            let channel = channel.cloned();
            let page = PageId { channel, name };
            done.removed
                .extend(sources::remove(store, pages, page).await?);
        }
    }
    let removed = remove_gone(store, pages, old, &root).await?;
    done.removed.extend(removed);
    Ok(done)
}

/// Removes the pages of the channels that are gone: those of an `old` root that are not in the new one.
async fn remove_gone(
    store: &dyn MirrorStore,
    pages: &dyn PageWriter,
    old: Option<RootIndex>,
    root: &RootIndex,
) -> Result<Vec<PageId>, StoreError> {
    let known: BTreeSet<_> = root.channels.iter().map(|known| &known.channel).collect();
    let mut removed = Vec::new();
    for gone in old.into_iter().flat_map(|old| old.channels) {
        if known.contains(&gone.channel) {
            continue;
        }
        let page = |name| PageId {
            channel: Some(gone.channel.clone()),
            name,
        };
        let text = store.page(&page(PageName::IndexJson)).await?;
        let index = text.and_then(|text| ChannelIndex::from_json(&text).ok());
        let builds = index.into_iter().flat_map(|index| index.builds);
        let of_builds = builds.flat_map(|build| {
            let snippets = build.installs.into_iter();
            let snippets = snippets.filter_map(|name| PageName::of(&name));
            snippets
                .chain([PageName::HtmlOf(build.date)])
                .collect::<Vec<_>>()
        });
        let of_builds: Vec<_> = of_builds.collect();
        // The index comes last: until then it says what is left to remove.
        for name in of_builds.into_iter().chain(PageName::ALL.into_iter().rev()) {
            removed.extend(sources::remove(store, pages, page(name)).await?);
        }
    }
    Ok(removed)
}

/// The verdicts on each build.
async fn histories(
    store: &dyn MirrorStore,
) -> Result<BTreeMap<BuildId, Vec<VerdictEntry>>, StoreError> {
    let mut histories = BTreeMap::<_, Vec<_>>::new();
    for entry in store.verdicts(&Scope::All).await? {
        let history = histories.entry(entry.build.clone()).or_default();
        history.push(entry);
    }
    Ok(histories)
}

/// The index of a channel before a refresh.
struct Before {
    text: Option<Bytes>,
    index: Option<ChannelIndex>,
}

impl Before {
    async fn read(store: &dyn MirrorStore, channel: &Channel) -> Result<Self, StoreError> {
        let page = PageId {
            channel: Some(channel.clone()),
            name: PageName::IndexJson,
        };
        let text = store.page(&page).await?;
        let index = text.as_ref();
        let index = index.and_then(|text| ChannelIndex::from_json(text).ok());
        Ok(Self { text, index })
    }

    /// Sets the serial and the end of the new index.
    fn date(&self, seal: Option<&IndexSeal>, index: &mut ChannelIndex) {
        let dates = self.index.as_ref().map(|old| (old.serial, old.expires));
        let before = self.text.as_ref().zip(dates);
        (index.serial, index.expires) = signed::dated(seal, before, |(serial, expires)| {
            let index = ChannelIndex {
                serial,
                expires,
                ..index.clone()
            };
            index.to_json()
        });
    }
}

/// The index of one channel, without the facts that the pages add. The entries about a build's files are taken from the `old`
/// index: the files never change.
async fn channel_index(
    store: &dyn MirrorStore,
    site: &Site,
    channel: &Channel,
    entry: ChannelEntry,
    verdicts: &mut BTreeMap<BuildId, Vec<VerdictEntry>>,
    old: Option<&ChannelIndex>,
) -> Result<ChannelIndex, StoreError> {
    let known: BTreeMap<_, _> = old
        .into_iter()
        .flat_map(|old| &old.builds)
        .map(|build| (build.date, build))
        .collect();
    let mut files = Files {
        store,
        channel,
        sums: BTreeMap::new(),
    };
    let mut builds = Vec::with_capacity(entry.builds.len());
    let mut before = None;
    for (date, build) in entry.builds {
        let id = BuildId::new(channel.clone(), date);
        let success = build.is_success();
        let (record, unreadable) = match build.state {
            BuildState::Known(record) => (Some(*record), None),
            BuildState::Unreadable(why) => (None, Some(why)),
        };
        let (iso, repositories, changes) = match known.get(&date) {
            Some(old) if old.record == record => (
                old.iso.clone(),
                old.repositories.clone(),
                old.changes.clone(),
            ),
            _ if success => (
                files.iso(date).await?,
                files.repositories(date).await?,
                files.changes(before, date).await?,
            ),
            _ => (Vec::new(), Vec::new(), None),
        };
        let mut build = BuildIndex {
            date,
            record,
            unreadable,
            keep_file: build.keep_file,
            verdicts: verdicts.remove(&id).unwrap_or_default(),
            stays: site.stays.get(&id).cloned(),
            iso,
            repositories,
            installs: Vec::new(),
            changes,
            page: None,
        };
        let files = sources::of_build(site, channel, &build, None).into_iter();
        let files = files.filter(|(_, text)| text.is_some());
        build.installs = files
            .map(|(name, _)| name.file_name().into_owned())
            .collect();
        builds.push(build);
        if success {
            before = Some(date);
        }
    }
    builds.reverse();
    Ok(ChannelIndex {
        schema: SCHEMA,
        serial: None,
        expires: None,
        channel: channel.clone(),
        aliases: entry.aliases,
        held: entry.held,
        undated: entry.undated,
        look: None,
        builds,
        strays: entry.strays,
    })
}
