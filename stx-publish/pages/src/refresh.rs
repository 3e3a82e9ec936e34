//! Reads the mirror, makes the pages and replaces those that differ.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::{try_join, try_join_all};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use stx_layout::index::{
    BelowSummary, BuildIndex, ChannelIndex, ChannelSummary, Media, PackageChanges, PageId,
    PageName, RootIndex, SCHEMA,
};
use stx_layout::{
    BuildDate, BuildId, BuildPath, BuildState, Catalog, Channel, ChannelEntry, VerdictEntry,
};
use stx_publish::seal::LONGEST_TEXT;
use stx_publish::store::{MirrorStore, PageWriter, StoreError};

use crate::build_pages::InTrash;
use crate::contents::Files;
use crate::locked::LockedPages;
use crate::replace::replace;
use crate::site::{PARALLEL, Refreshed, Site};
use crate::summary::summary;
use crate::{IndexSeal, build_pages, html, layers, signed, sources};

mod mirror_contents;

pub use mirror_contents::MirrorContents;

/// Makes the pages of a mirror again, and replaces those that differ.
///
/// Refreshes wait for each other, so the last one to end has seen everything that existed before it began.
pub async fn refresh(store: &dyn MirrorStore, site: &Site) -> Result<Refreshed, StoreError> {
    refresh_sealed(store, site, None).await
}

/// Like [`refresh`], and signs the indexes if there is a `seal`. Without one, signatures of earlier indexes are removed.
pub async fn refresh_sealed(
    store: &dyn MirrorStore,
    site: &Site,
    seal: Option<&IndexSeal>,
) -> Result<Refreshed, StoreError> {
    let pages = store.lock_pages().await?;
    let contents = MirrorContents::read(store).await?;
    refresh_locked(store, &*pages, contents, site, seal).await
}

/// Like [`refresh_sealed`], for a caller that has locked the pages and then read the contents. The stays of builds in `site` are
/// derived from these, and would be out of date if another refresh ran in between.
pub async fn refresh_locked(
    store: &dyn MirrorStore,
    pages: &dyn PageWriter,
    contents: MirrorContents,
    site: &Site,
    seal: Option<&IndexSeal>,
) -> Result<Refreshed, StoreError> {
    let kept = BTreeMap::new();
    let made = refresh_part(store, pages, contents, kept, site, seal).await?;
    Ok(made.refreshed)
}

/// A channel whose pages are kept.
#[derive(Debug)]
pub struct Kept {
    /// The channel in the index of the root.
    pub summary: ChannelSummary,
    /// Its newest success.
    pub newest_success: Option<BuildDate>,
    /// Its builds.
    pub builds: BTreeSet<BuildDate>,
}

/// The result of making the pages of some channels.
#[derive(Debug)]
pub struct MadePart {
    /// The pages that were written and removed.
    pub refreshed: Refreshed,
    /// The channels that were made.
    pub channels: Vec<MadeChannel>,
}

/// A channel whose pages were made.
#[derive(Debug)]
pub struct MadeChannel {
    /// The channel in the index of the root.
    pub summary: ChannelSummary,
    /// The time at which its index is signed again although nothing changed; `None` if the mirror does not sign.
    pub signed_until: Option<DateTime<Utc>>,
    /// Its pages, except those of its builds.
    pub pages: BTreeSet<PageName>,
    /// False if one of its pages is still out of date.
    pub is_whole: bool,
}

/// Like [`refresh_locked`], for the channels of these contents and the root. The pages of the channels in `kept` are not checked:
/// the caller knows that nothing on them changed. The result is then the same as that of making all pages.
///
/// # Errors
/// The errors of the store. Some pages of the channels may be new and others old by then.
pub async fn refresh_part(
    store: &dyn MirrorStore,
    pages: &dyn PageWriter,
    contents: MirrorContents,
    kept: BTreeMap<Channel, Kept>,
    site: &Site,
    seal: Option<&IndexSeal>,
) -> Result<MadePart, StoreError> {
    refresh_up_to(LONGEST_TEXT, store, pages, contents, kept, site, seal).await
}

/// Like [`refresh_part`]; leaves out an index of a channel that is longer than `longest` bytes.
pub(super) async fn refresh_up_to(
    longest: u64,
    store: &dyn MirrorStore,
    pages: &dyn PageWriter,
    contents: MirrorContents,
    kept: BTreeMap<Channel, Kept>,
    site: &Site,
    seal: Option<&IndexSeal>,
) -> Result<MadePart, StoreError> {
    let MirrorContents {
        catalog,
        verdicts,
        retired,
        aliases,
        unclear: _,
    } = contents;
    let mut below = below(&catalog, &kept);
    let refresh = Refresh {
        store,
        pages,
        site,
        seal,
        histories: histories(verdicts),
        in_trash: InTrash::new(retired),
        longest,
    };
    // The pages of the root are read while those of the channels are made.
    let of_root = LockedPages::new(store, pages);
    let read = of_root.read_ahead(OF_ROOT.map(|name| PageId {
        channel: None,
        name,
    }));
    let channels = catalog.channels.into_iter();
    let channels = channels.map(|(channel, entry)| refresh.channel(channel, entry));
    let channels = stream::iter(channels).buffered(CHANNELS);
    let (channels, ()): (Vec<_>, ()) = try_join(channels.try_collect(), read).await?;
    let mut done = Refreshed::default();
    let mut made = Vec::with_capacity(channels.len());
    for (mut channel, refreshed) in channels {
        done.written.extend(refreshed.written);
        done.removed.extend(refreshed.removed);
        done.too_long.extend(refreshed.too_long);
        channel.summary.after = below.remove(&channel.summary.channel);
        made.push(channel);
    }
    let kept = kept.into_values().map(|kept| ChannelSummary {
        after: below.remove(&kept.summary.channel),
        ..kept.summary
    });
    let mut summaries: Vec<_> = kept.collect();
    summaries.extend(made.iter().map(|made| made.summary.clone()));
    summaries.sort_by(|one, other| one.channel.cmp(&other.channel));
    let pages = of_root;
    let root_json = PageId {
        channel: None,
        name: PageName::IndexJson,
    };
    let old_text = pages.page(&root_json).await?;
    let old = old_text
        .as_ref()
        .and_then(|text| RootIndex::from_json(text).ok());
    let mut root = RootIndex {
        schema: SCHEMA,
        serial: None,
        expires: None,
        channels: summaries,
        aliases,
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
    // The root comes last, so that everything it names exists.
    let wanted = html::root_pages(site, &root).into_iter().chain(keys);
    let written = replace(&pages, seal, wanted).await?;
    done.written.extend(written);
    if seal.is_none() {
        for name in [PageName::IndexSignature, PageName::Keys] {
            let page = PageId {
                channel: None,
                name,
            };
            done.removed.extend(pages.remove(page).await?);
        }
    }
    let removed = remove_gone(&pages, old, &root).await?;
    done.removed.extend(removed);
    Ok(MadePart {
        refreshed: done,
        channels: made,
    })
}

/// The build below the newest success of each channel, made or kept.
fn below(catalog: &Catalog, kept: &BTreeMap<Channel, Kept>) -> BTreeMap<Channel, BelowSummary> {
    let mut tops = layers::tops(catalog);
    tops.extend(kept.iter().map(|(channel, kept)| {
        let after = kept.summary.after.as_ref();
        let top = layers::Top {
            newest: kept.newest_success,
            upon: after.map(|after| after.build.clone()),
        };
        (channel.clone(), top)
    }));
    layers::below_tops(&tops, |build| {
        let kept = kept.get(&build.channel);
        kept.is_some_and(|kept| kept.builds.contains(&build.date)) || catalog.build(build).is_some()
    })
}

/// The pages of the root.
const OF_ROOT: [PageName; 4] = [
    PageName::IndexJson,
    PageName::IndexSignature,
    PageName::IndexHtml,
    PageName::Keys,
];

/// The pages of a channel, except those of its builds.
const OF_CHANNEL: [PageName; 6] = [
    PageName::IndexJson,
    PageName::IndexSignature,
    PageName::IndexHtml,
    PageName::Feed,
    PageName::AptSources,
    PageName::DnfRepo,
];

/// The number of channels that are refreshed at the same time. The indexes of each are in memory, as text and as values.
const CHANNELS: usize = 8;

/// The inputs that all channels share.
struct Refresh<'a> {
    store: &'a dyn MirrorStore,
    pages: &'a dyn PageWriter,
    site: &'a Site,
    seal: Option<&'a IndexSeal>,
    histories: BTreeMap<BuildId, Vec<VerdictEntry>>,
    in_trash: InTrash,
    /// The largest index that readers accept, in bytes.
    longest: u64,
}

impl Refresh<'_> {
    /// Makes the pages of a channel again, the index last.
    async fn channel(
        &self,
        channel: Channel,
        entry: ChannelEntry,
    ) -> Result<(MadeChannel, Refreshed), StoreError> {
        let Self { site, seal, .. } = *self;
        let keys = seal.map(|seal| seal.keys.as_str());
        let pages = LockedPages::new(self.store, self.pages);
        let page = |name| PageId {
            channel: Some(channel.clone()),
            name,
        };
        pages.read_ahead(OF_CHANNEL.map(page)).await?;
        let before = Before::read(&pages, page(PageName::IndexJson)).await?;
        let old = before.index.as_ref();
        let (mut index, added) = channel_index(site, &channel, entry, &self.histories, old);
        let changed = build_pages::changed((site, keys), &self.in_trash, &mut index, old);
        // The first builds whose pages change are read at the same time as the files of the added builds. After a publish, these
        // are all of them.
        let early = changed.iter().take(PARALLEL).map(|&place| {
            let id = BuildId::new(channel.clone(), index.builds[place].date);
            let looked = build_pages::look_at(&pages, id, keys.is_some());
            async move { Ok::<_, StoreError>((place, looked.await?)) }
        });
        let early: Vec<_> = early.collect();
        let early = try_join_all(early);
        let files = files_of(self.store, &channel, &added);
        let (early, files) = try_join(early, files).await?;
        for (place, files) in files {
            let build = &mut index.builds[place];
            (build.iso, build.repositories, build.changes) = files;
            build.installs = installs(site, &channel, build);
        }
        let of_site = (site, keys);
        // Both precede the index that names them, and the files of the channel against which the files of builds are compared.
        let snippets = sources::replace_of_builds(&pages, of_site, &index, old);
        let early = (changed, early.into_iter().collect());
        let of_builds = build_pages::replace(&pages, of_site, &self.in_trash, (&index, old), early);
        let (mut done, made) = try_join(snippets, of_builds).await?;
        for (place, page) in made.of_builds {
            index.builds[place].page = page;
        }
        done.written.extend(made.done.written);
        done.removed.extend(made.done.removed);
        before.date(seal, &mut index);
        let mut made = html::channel_pages(site, &index, keys);
        let mut summary = summary(&index);
        made.retain(|(page, text)| {
            let fits = page.name != PageName::IndexJson || text.len() as u64 <= self.longest;
            if !fits {
                // The old index is kept, because readers can read it. All other pages are made.
                done.too_long.push(page.clone());
                summary.serial = old.and_then(|old| old.serial);
            }
            fits
        });
        let signature = seal.map(|_| PageName::IndexSignature);
        let names = made.iter().map(|(page, _)| page.name).chain(signature);
        let channel = MadeChannel {
            summary,
            signed_until: seal.and_then(|seal| signed::good_until(seal, index.expires)),
            pages: names.collect(),
            is_whole: done.too_long.is_empty(),
        };
        let of_machines = [PageName::AptSources, PageName::DnfRepo].map(page);
        let not_made = of_machines
            .into_iter()
            .filter(|page| made.iter().all(|(made, _)| made != page));
        let not_made: Vec<_> = not_made.collect();
        done.written.extend(replace(&pages, seal, made).await?);
        let unsigned = seal.is_none().then(|| page(PageName::IndexSignature));
        for page in not_made.into_iter().chain(unsigned) {
            done.removed.extend(pages.remove(page).await?);
        }
        Ok((channel, done))
    }
}

/// Removes the pages of deleted channels: those of an `old` root that are not in the new one.
async fn remove_gone(
    pages: &LockedPages<'_>,
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
        let text = pages.page(&page(PageName::IndexJson)).await?;
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
        // The index is removed last: until then, it names the pages that are still to be removed.
        for name in of_builds.into_iter().chain(PageName::ALL.into_iter().rev()) {
            removed.extend(pages.remove(page(name)).await?);
        }
    }
    Ok(removed)
}

/// The verdicts on each build.
fn histories(verdicts: Vec<VerdictEntry>) -> BTreeMap<BuildId, Vec<VerdictEntry>> {
    let mut histories = BTreeMap::<_, Vec<_>>::new();
    for entry in verdicts {
        let history = histories.entry(entry.build.clone()).or_default();
        history.push(entry);
    }
    histories
}

/// The index of a channel before a refresh.
struct Before {
    text: Option<Bytes>,
    index: Option<ChannelIndex>,
}

impl Before {
    async fn read(pages: &LockedPages<'_>, page: PageId) -> Result<Self, StoreError> {
        let text = pages.page(&page).await?;
        let index = text.as_ref();
        let index = index.and_then(|text| ChannelIndex::from_json(text).ok());
        Ok(Self { text, index })
    }

    /// Sets the serial and the expiry of the new index.
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

/// A success that is missing in the old index: its position in the new one, its date, and the date of the success before it.
type Added = (usize, BuildDate, Option<BuildDate>);

/// The entries about the files of a build.
type OfFiles = (Vec<Media>, Vec<BuildPath>, Option<PackageChanges>);

/// The index of one channel, without the facts that the pages add. The entries about a build's files are taken from the `old`
/// index: the files never change. The entries of new builds are added later.
fn channel_index(
    site: &Site,
    channel: &Channel,
    entry: ChannelEntry,
    histories: &BTreeMap<BuildId, Vec<VerdictEntry>>,
    old: Option<&ChannelIndex>,
) -> (ChannelIndex, Vec<Added>) {
    let known: BTreeMap<_, _> = old
        .into_iter()
        .flat_map(|old| &old.builds)
        .map(|build| (build.date, build))
        .collect();
    let count = entry.builds.len();
    let mut builds = Vec::with_capacity(count);
    let (mut added, mut before) = (Vec::new(), None);
    for (number, (date, build)) in entry.builds.into_iter().enumerate() {
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
            _ => {
                if success {
                    // The newest build comes first.
                    added.push((count - 1 - number, date, before));
                }
                OfFiles::default()
            }
        };
        let mut build = BuildIndex {
            date,
            record,
            unreadable,
            keep_file: build.keep_file,
            verdicts: histories.get(&id).cloned().unwrap_or_default(),
            stays: site.stays.get(&id).cloned(),
            iso,
            repositories,
            installs: Vec::new(),
            changes,
            page: None,
        };
        build.installs = installs(site, channel, &build);
        builds.push(build);
        if success {
            before = Some(date);
        }
    }
    builds.reverse();
    let index = ChannelIndex {
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
    };
    (index, added)
}

/// The names of the files that configure a machine to install from a build.
fn installs(site: &Site, channel: &Channel, build: &BuildIndex) -> Vec<String> {
    let files = sources::of_build(site, channel, build, None).into_iter();
    let files = files.filter(|(_, text)| text.is_some());
    files
        .map(|(name, _)| name.file_name().into_owned())
        .collect()
}

/// The entries about the files of the added builds, by their positions in the index.
async fn files_of(
    store: &dyn MirrorStore,
    channel: &Channel,
    added: &[Added],
) -> Result<Vec<(usize, OfFiles)>, StoreError> {
    let mut files = Files {
        store,
        channel,
        sums: BTreeMap::new(),
    };
    let mut found = Vec::with_capacity(added.len());
    for &(place, date, before) in added {
        files.load(before.into_iter().chain([date])).await?;
        let of_files = (
            files.iso(date).await?,
            files.repositories(date),
            files.changes(before, date),
        );
        found.push((place, of_files));
    }
    Ok(found)
}
