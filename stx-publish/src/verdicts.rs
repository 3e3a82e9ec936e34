//! Verdicts on builds, and the alias that follows them.
//!
//! ```text
//! mark ─> ChannelWriter::mark ─> the history of the build
//!      └> point_green ─────────> latest_green_build, to the newest green build
//! ```
//!
//! The history is authoritative, and the alias is derived from it: after a crash between the two, the same call completes the work,
//! and [`verify`](crate::verify()) reports what is left to do.

use std::collections::BTreeMap;

use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildId, BuildOutcome, Catalog, Channel, ChannelEntry,
    Verdict, VerdictEntry,
};

use crate::error::chain;
use crate::index::{ChannelIndex, PageId, PageName};
use crate::store::rules::is_within;
use crate::store::{ChannelWriter, MirrorRead, MirrorStore, Scope, StoreError};

/// The verdict in force for each build: the newest.
pub fn newest_verdicts(history: &[VerdictEntry]) -> BTreeMap<&BuildId, &VerdictEntry> {
    history.iter().map(|entry| (&entry.build, entry)).collect()
}

/// The newest build of a channel that is a success and whose newest verdict is green.
pub fn newest_green(
    channel: &Channel,
    entry: &ChannelEntry,
    history: &[VerdictEntry],
) -> Option<BuildDate> {
    let newest = newest_verdicts(history);
    let builds = entry.builds.iter().rev().filter(|(_, it)| it.is_success());
    let mut dates = builds.map(|(date, _)| *date);
    dates.find(|date| {
        let id = BuildId::new(channel.clone(), *date);
        newest
            .get(&id)
            .is_some_and(|entry| entry.verdict == Verdict::Green)
    })
}

/// The result of [`mark`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// True if the history changed; false if the verdict repeats the one before it.
    pub is_new: bool,
    /// The new target of `latest_green_build`.
    pub latest_green_build: Option<BuildDate>,
}

/// Records a verdict on a build, and points `latest_green_build` at the newest green build of the channel. Other aliases do not
/// move.
///
/// # Errors
/// [`StoreError::NotFound`] for a build that does not exist or is in the trash; [`StoreError::Refused`] for a failed one, which was
/// never complete. A build that lost sections may be marked: it is still the build that was tested.
pub async fn mark(store: &dyn MirrorStore, entry: &VerdictEntry) -> Result<Marked, StoreError> {
    let id = &entry.build;
    let writer = store.lock(&id.channel).await?;
    check_marked(id, store.record(id).await?.result)?;
    let scope = Scope::Build(id.clone());
    let before = store.verdicts(&scope).await?.len();
    writer.mark(entry).await?;
    let is_new = store.verdicts(&scope).await?.len() > before;
    Ok(Marked {
        is_new,
        latest_green_build: point_green(store, &*writer).await?,
    })
}

/// Refuses a verdict on a failed build.
fn check_marked(id: &BuildId, result: BuildOutcome) -> Result<(), StoreError> {
    match result {
        BuildOutcome::Success => Ok(()),
        BuildOutcome::Fail => Err(StoreError::Refused {
            what: id.to_string(),
            reason: "it is a failed build; only a success can be tested".to_owned(),
        }),
    }
}

/// Points `latest_green_build` at the newest green build of the channel, or removes it if no build is green. Call this after
/// adding builds or verdicts to a channel. In a channel without any verdict, the alias belongs to another program, and is not
/// changed.
pub async fn point_green(
    store: &dyn MirrorStore,
    writer: &dyn ChannelWriter,
) -> Result<Option<BuildDate>, StoreError> {
    let (channel, alias) = (writer.channel(), AliasName::latest_green_build());
    let scope = Scope::Channel(channel.clone());
    let catalog = store.catalog(&scope).await?;
    let Some(entry) = catalog.channels.get(channel) else {
        return Ok(None);
    };
    let history = store.verdicts(&scope).await?;
    let to = newest_green(channel, entry, &history);
    let shown = entry.aliases.get(&alias);
    if !history.is_empty() && shown != to.map(AliasEntry::Build).as_ref() {
        writer.point(&alias, shown, to).await?;
    }
    Ok(to)
}

/// True if `latest_green_build` of a channel agrees with the verdicts; takes no lock.
pub async fn is_green_right(
    store: &dyn MirrorStore,
    channel: &Channel,
) -> Result<bool, StoreError> {
    let scope = Scope::Channel(channel.clone());
    let catalog = store.catalog(&scope).await?;
    let Some(entry) = catalog.channels.get(channel) else {
        return Ok(true);
    };
    let history = store.verdicts(&scope).await?;
    let to = newest_green(channel, entry, &history);
    let shown = entry.aliases.get(&AliasName::latest_green_build());
    Ok(history.is_empty() || shown == to.map(AliasEntry::Build).as_ref())
}

/// The verdicts that can be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadableVerdicts {
    /// The verdicts, by build, those on one build oldest first.
    pub history: Vec<VerdictEntry>,
    /// The builds whose verdicts cannot be read, with the reason in one line.
    pub unreadable: BTreeMap<BuildId, String>,
}

/// Reads the verdicts on the builds of `catalog` within `scope`. A damaged file hides only the verdicts on its build: pages, lists and
/// retention of a whole mirror must not fail because of it.
pub async fn readable_verdicts(
    store: &dyn MirrorStore,
    scope: &Scope,
    catalog: &Catalog,
) -> Result<ReadableVerdicts, StoreError> {
    let mut read = ReadableVerdicts::default();
    match store.verdicts(scope).await {
        Err(StoreError::Damaged { .. }) => {}
        history => {
            read.history = history?;
            return Ok(read);
        }
    }
    for (id, _) in catalog.builds().filter(|(id, _)| is_within(id, scope)) {
        match store.verdicts(&Scope::Build(id.clone())).await {
            Err(error @ StoreError::Damaged { .. }) => {
                read.unreadable.insert(id, chain(&error));
            }
            history => read.history.extend(history?),
        }
    }
    Ok(read)
}

/// The verdicts on the builds of a channel in its `index.json`, for readers who cannot ask the store.
pub async fn listed_verdicts(
    store: &dyn MirrorRead,
    channel: &Channel,
) -> Result<Vec<VerdictEntry>, StoreError> {
    let page = PageId {
        channel: Some(channel.clone()),
        name: PageName::IndexJson,
    };
    let Some(text) = store.page(&page).await? else {
        return Ok(Vec::new());
    };
    let index = ChannelIndex::from_json(&text).map_err(|error| StoreError::Damaged {
        what: page.path(),
        source: error.into(),
    })?;
    let builds = index.builds.into_iter().rev();
    Ok(builds.flat_map(|build| build.verdicts).collect())
}
