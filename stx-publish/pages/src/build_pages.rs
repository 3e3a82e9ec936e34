//! The page of each build: selects the pages to replace, and reads the facts that a page shows.
//!
//! A page is placed beside its build, like the files for `apt` and `dnf`: nothing is written into a build after its commit. The
//! index of the channel contains the digest of the page; `verify` compares it, and a signed index covers it. A page is a function
//! of the build's entry in the index, of the files of the build, and of [`look`]. If the index shows that none of these changed,
//! the page is not even read.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::future::{join, try_join};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use stx_layout::index::{BuildIndex, BuildPage, ChannelIndex, PageId, PageName};
use stx_layout::{BuildDate, BuildId, BuildPath, Channel, Sha256};
use stx_publish::incoming::digest_of;
use stx_publish::seal::signature_path;
use stx_publish::store::{ByteRange, Depth, Found, MirrorStore, Retired, StoreError};

use crate::html::build::{Facts, build_page, look};
use crate::locked::LockedPages;
use crate::site::{PARALLEL, Refreshed, Site};

/// The largest part of a `CHANGELOG` that a page shows, in bytes.
const LONGEST_CHANGELOG: u64 = 64 << 10;

/// The contents of the trash.
#[derive(Debug, Default)]
pub(super) struct InTrash {
    /// Sections, by the build from which they were retired.
    sections: BTreeMap<BuildId, BTreeSet<BuildPath>>,
    /// Whole builds.
    builds: BTreeSet<BuildId>,
}

impl InTrash {
    pub(super) fn new(all: Vec<Retired>) -> Self {
        let mut found = Self::default();
        for retired in all {
            match retired.section {
                Some(section) => {
                    found
                        .sections
                        .entry(retired.id)
                        .or_default()
                        .insert(section);
                }
                None => {
                    found.builds.insert(retired.id);
                }
            }
        }
        found
    }

    /// The sections of a build.
    fn sections(&self, channel: &Channel, date: BuildDate) -> BTreeSet<BuildPath> {
        let id = BuildId::new(channel.clone(), date);
        self.sections.get(&id).cloned().unwrap_or_default()
    }
}

fn page_id(channel: &Channel, date: BuildDate) -> PageId {
    PageId {
        channel: Some(channel.clone()),
        name: PageName::HtmlOf(date),
    }
}

/// The positions in the index of the builds whose pages must be made again. The others get their pages from the `old` index.
pub(super) fn changed(
    (site, keys): (&Site, Option<&str>),
    in_trash: &InTrash,
    index: &mut ChannelIndex,
    old: Option<&ChannelIndex>,
) -> Vec<usize> {
    let look = look(site, keys);
    index.look = Some(look);
    let same_look = old.filter(|old| old.look == Some(look));
    let known: BTreeMap<_, _> = same_look
        .into_iter()
        .flat_map(|old| &old.builds)
        .map(|build| (build.date, build))
        .collect();
    let mut changed = Vec::new();
    for (place, build) in index.builds.iter_mut().enumerate() {
        let old = known.get(&build.date);
        build.page = old.and_then(|old| old.page.clone());
        let retired = in_trash.sections(&index.channel, build.date);
        let same = build
            .page
            .as_ref()
            .is_some_and(|page| page.retired == retired);
        if !same || old.is_none_or(|old| **old != *build) {
            build.page = None;
            changed.push(place);
        }
    }
    changed
}

/// The state of a build and its page before the page is made again.
pub(super) struct Before {
    /// Absent if the build no longer exists.
    facts: Option<Facts>,
    page: Option<Bytes>,
}

/// Reads the facts that the page of a build shows, and the existing page.
pub(super) async fn look_at(
    pages: &LockedPages<'_>,
    id: BuildId,
    signs: bool,
) -> Result<Before, StoreError> {
    let page = page_id(&id.channel, id.date);
    let (facts, page) = try_join(facts(pages.store, &id, signs), pages.page(&page)).await?;
    Ok(Before { facts, page })
}

/// The pages of builds that were made.
pub(super) struct MadePages {
    /// For each position in the index, the current page of its build; absent if the build no longer exists.
    pub(super) of_builds: Vec<(usize, Option<BuildPage>)>,
    pub(super) done: Refreshed,
}

/// Replaces the pages of those builds that [`changed`], and removes those of deleted builds. `early` holds the builds that were
/// already read.
pub(super) async fn replace(
    pages: &LockedPages<'_>,
    (site, keys): (&Site, Option<&str>),
    in_trash: &InTrash,
    (index, old): (&ChannelIndex, Option<&ChannelIndex>),
    (mut changed, mut early): (Vec<usize>, BTreeMap<usize, Before>),
) -> Result<MadePages, StoreError> {
    let channel = &index.channel;
    if site.thorough {
        let rest = index.builds.iter().enumerate();
        let rest = rest.filter_map(|(place, build)| Some((place, build.date, build.page.clone()?)));
        let rest: Vec<_> = rest.collect();
        let damaged = rest.into_iter().map(async |(place, date, said)| {
            let text = pages.page(&page_id(channel, date)).await?;
            let right = text.is_some_and(|text| digest_of(&text) == said.sha256);
            Ok::<_, StoreError>((!right).then_some(place))
        });
        let damaged: Vec<_> = stream::iter(damaged)
            .buffered(PARALLEL)
            .try_collect()
            .await?;
        changed.extend(damaged.into_iter().flatten());
    }
    let changed = changed
        .into_iter()
        .map(|place| (place, early.remove(&place)));
    let changed: Vec<_> = changed.collect();
    let made = changed.into_iter().map(async |(place, early)| {
        let build = &index.builds[place];
        let before = if let Some(before) = early {
            before
        } else {
            let id = BuildId::new(channel.clone(), build.date);
            look_at(pages, id, keys.is_some()).await?
        };
        let Some(facts) = before.facts else {
            // Retired meanwhile: the process that retired it refreshes the pages as well.
            return Ok((place, None, None));
        };
        let text = Bytes::from(build_page(site, channel, build, keys, &facts));
        let sha256 = digest_of(&text);
        let retired = in_trash.sections(channel, build.date);
        let page = page_id(channel, build.date);
        let written = if before.page.as_ref() == Some(&text) {
            None
        } else {
            pages.write(&page, text).await?;
            Some(page)
        };
        Ok::<_, StoreError>((place, Some(BuildPage { sha256, retired }), written))
    });
    let made: Vec<_> = stream::iter(made).buffered(PARALLEL).try_collect().await?;
    let mut of_builds = Vec::with_capacity(made.len());
    let mut done = Refreshed::default();
    for (place, page, written) in made {
        of_builds.push((place, page));
        done.written.extend(written);
    }
    let mut gone = gone(old, index);
    if site.thorough {
        // Pages of builds that were retired after the page was written and before the index named it.
        let builds = in_trash.builds.iter();
        let builds = builds.filter(|id| id.channel == *channel);
        let there = |date: &BuildDate| index.builds.iter().any(|build| build.date == *date);
        gone.extend(builds.map(|id| id.date).filter(|date| !there(date)));
    }
    for gone in gone {
        let removed = pages.remove(page_id(channel, gone)).await?;
        done.removed.extend(removed);
    }
    Ok(MadePages { of_builds, done })
}

/// The builds that had a page and no longer exist.
fn gone(old: Option<&ChannelIndex>, index: &ChannelIndex) -> BTreeSet<BuildDate> {
    let there: BTreeSet<_> = index.builds.iter().map(|build| build.date).collect();
    let old = old.into_iter().flat_map(|old| &old.builds);
    let had = old.filter(|build| build.page.is_some());
    had.map(|build| build.date)
        .filter(|date| !there.contains(date))
        .collect()
}

/// The page of a build, with the digest in its index entry.
pub(super) fn page_of(index: &ChannelIndex, build: &BuildIndex) -> Option<(PageId, Sha256)> {
    let page = page_id(&index.channel, build.date);
    Some((page, build.page.as_ref()?.sha256))
}

/// Reads the facts of a build; `None` if it no longer exists.
async fn facts(
    store: &dyn MirrorStore,
    id: &BuildId,
    signs: bool,
) -> Result<Option<Facts>, StoreError> {
    let signed = async {
        match store.read(id, &signature_path(), 0).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    };
    let signed = async { Ok::<_, StoreError>(signs && signed.await?) };
    let asked = join(store.inspect(id, Depth::Listing), signed);
    let (inspection, is_signed) = asked.await;
    let inspection = match inspection {
        Err(StoreError::NotFound { .. }) => return Ok(None),
        inspection => inspection?,
    };
    let mut facts = Facts {
        taken: inspection.thinned.sections,
        is_signed: is_signed?,
        ..Facts::default()
    };
    for (path, found) in inspection.found {
        let size = match found {
            Found::File { size, .. } => Some(size),
            Found::Symlink { .. } => None,
            Found::Directory { .. } | Found::Other { .. } => continue,
        };
        facts.files.insert(path, size);
    }
    for name in ["outputs/CHANGELOG", "outputs/CHANGELOG.txt"] {
        let path: BuildPath = name.parse().expect("a path");
        if facts.commits.is_none() && facts.files.contains_key(&path) {
            let text = beginning(store, id, &path).await?;
            facts.commits = text.map(|(text, whole)| (path, text, whole));
        }
    }
    Ok(Some(facts))
}

/// The first lines of a text, and true if that is all of it.
async fn beginning(
    store: &dyn MirrorStore,
    id: &BuildId,
    path: &BuildPath,
) -> Result<Option<(String, bool)>, StoreError> {
    let range = ByteRange {
        from: 0,
        length: LONGEST_CHANGELOG,
    };
    let mut body = match store.read_ranges(id, path, &[range]).await {
        Err(StoreError::NotFound { .. }) => return Ok(None),
        body => body?,
    };
    let mut bytes = Vec::new();
    while let Some(chunk) = body.stream.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    let is_whole = bytes.len() as u64 >= body.size;
    if !is_whole {
        // The last line may be incomplete.
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0));
    }
    Ok(Some((
        String::from_utf8_lossy(&bytes).into_owned(),
        is_whole,
    )))
}
