//! Channels and builds in summary, and one build with its record.
//!
//! ```no_run
//! # async fn example() -> Result<(), stx_builds::Error> {
//! use stx_builds::listing::ListOptions;
//! use stx_builds::{Options, Site};
//!
//! let site = Site::open(Options::load(None)?);
//! let mut options = ListOptions::default();
//! options.limit = Some(10);
//! for build in site.list(&options).await?.builds {
//!     println!("{} {:?}", build.build, build.result);
//! }
//! # Ok(())
//! # }
//! ```

use std::cmp::Reverse;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildEntry, BuildId, BuildOutcome, BuildRecord, BuildState,
    Catalog, Channel, ChannelEntry, RootAlias, RootEntry, VerdictEntry,
};
use stx_publish::{Scope, ThinnedSection};
use stx_retention::{Bearing, Decision, PrunePlan};

use crate::decisions::{known_decisions, thinned};
use crate::error::Error;
use crate::pages::elsewhere;
use crate::verdicts::{by_build, verdicts};
use crate::{Reader, Site, build_ref, refused};

/// The builds to list; all of them by default.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ListOptions {
    /// Only the builds of this channel, which has to exist.
    pub channel: Option<Channel>,
    /// Only builds that began at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Only failed builds.
    pub failed: bool,
    /// The maximal number of builds; the newest are listed.
    pub limit: Option<usize>,
}

/// One build in summary.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ListedBuild {
    /// The build.
    pub build: BuildId,
    /// Absent if the record cannot be read.
    pub result: Option<BuildOutcome>,
    /// The reason why the record cannot be read; absent if it can be.
    pub unreadable: Option<String>,
    /// The verdicts on it, oldest first; the newest counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<VerdictEntry>,
    /// The aliases of its channel that point at it.
    pub aliases: Vec<AliasName>,
    /// The number of its files; absent if the record cannot be read.
    pub files: Option<u64>,
    /// The size of its files in bytes; absent if the record cannot be read.
    pub bytes: Option<u64>,
    /// The phase that caused its failure, if any.
    pub first_failing_phase: Option<String>,
    /// The sections that retention removed from the build; absent if it removed none, and in the list of a mirror behind a URL.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub thinned: Vec<ThinnedSection>,
    /// The decision of the retention policy about it; absent for a mirror behind a URL, whose pins and readers are unknown.
    pub retention: Option<Decision>,
}

impl ListedBuild {
    fn new(
        catalog: &Catalog,
        build: BuildId,
        entry: &BuildEntry,
        thinned: Vec<ThinnedSection>,
        verdicts: Vec<VerdictEntry>,
        retention: Option<Decision>,
    ) -> Self {
        let record = entry.record();
        let channel = catalog.channels.get(&build.channel);
        let aliases = channel.into_iter().flat_map(|channel| &channel.aliases);
        Self {
            result: record.map(|record| record.result),
            unreadable: match &entry.state {
                BuildState::Known(_) => None,
                BuildState::Unreadable(why) => Some(why.clone()),
            },
            aliases: aliases
                .filter(|(_, points_at)| **points_at == AliasEntry::Build(build.date))
                .map(|(name, _)| name.clone())
                .collect(),
            verdicts,
            files: record.map(|record| record.files),
            bytes: record.map(|record| record.bytes),
            first_failing_phase: record.and_then(|record| record.first_failing_phase.clone()),
            thinned,
            retention,
            build,
        }
    }
}

/// The builds of a mirror.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Listing {
    /// The root of the mirror: a directory or a URL.
    pub mirror: String,
    /// The builds, by channel, oldest first.
    pub builds: Vec<ListedBuild>,
    /// The names that point at releases and channels; in the list of one channel, those that lead to it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<RootAlias, RootEntry>,
}

/// One channel in summary.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ListedChannel {
    /// The channel.
    pub channel: Channel,
    /// The number of its builds.
    pub builds: usize,
    /// The number of failed builds.
    pub failed: usize,
    /// The date of the newest one.
    pub newest: Option<BuildDate>,
    /// The result of the newest build; absent if its record cannot be read.
    pub newest_result: Option<BuildOutcome>,
    /// The aliases.
    pub aliases: BTreeMap<AliasName, AliasEntry>,
}

/// The channels of a mirror.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ChannelListing {
    /// The root of the mirror: a directory or a URL.
    pub mirror: String,
    /// The channels, in the order of their names.
    pub channels: Vec<ListedChannel>,
}

/// One build with its record.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ShownBuild {
    /// The build in summary.
    #[serde(flatten)]
    pub listed: ListedBuild,
    /// Its record; absent if it cannot be read.
    pub record: Option<BuildRecord>,
}

impl Site {
    /// Lists builds. `NotFound` if the requested channel does not exist.
    pub async fn list(&self, options: &ListOptions) -> Result<Listing, Error> {
        let reader = self.reader()?;
        let (catalog, elsewhere) = match &options.channel {
            Some(channel) => one_channel(self, &reader, channel).await?,
            None => (whole_catalog(self, &reader).await?, BTreeMap::new()),
        };
        let plan = known_decisions(self, &reader, &catalog, elsewhere).await?;
        let mut aliases = reader.store().root_aliases().await.map_err(refused)?;
        if let Some(channel) = &options.channel {
            aliases.retain(|_, to| to.target().is_some_and(|to| to.holds(channel)));
        }
        let mut decisions = plan.as_ref().map(PrunePlan::decisions).unwrap_or_default();
        let mut verdicts = by_build(verdicts(self, &reader, &catalog).await?);
        let mut builds = Vec::new();
        for (id, entry) in chosen(&catalog, options) {
            let thinned = match &reader {
                Reader::Own(mirror) => thinned(&**mirror, &id).await?,
                // This would take a request for each build; `show` sends the one that it needs.
                Reader::Http(_) | Reader::Trusted(..) => Vec::new(),
            };
            let verdicts = verdicts.remove(&id).unwrap_or_default();
            let decision = decisions.remove(&id);
            let listed = ListedBuild::new(&catalog, id, entry, thinned, verdicts, decision);
            builds.push(listed);
        }
        let mirror = self.root()?.into_string();
        Ok(Listing {
            mirror,
            builds,
            aliases,
        })
    }

    /// Lists all channels, or only the requested one. `NotFound` if that does not exist.
    pub async fn list_channels(&self, only: Option<&Channel>) -> Result<ChannelListing, Error> {
        let reader = self.reader()?;
        let catalog = match only {
            Some(only) => catalog_of(&reader, only).await?,
            None => whole_catalog(self, &reader).await?,
        };
        let listed = catalog.channels.into_iter().map(|(channel, entry)| {
            let result = |build: &BuildEntry| Some(build.record()?.result);
            let newest = entry.builds.last_key_value();
            let results = entry.builds.values().filter_map(result);
            ListedChannel {
                channel,
                builds: entry.builds.len(),
                failed: results.filter(|it| *it == BuildOutcome::Fail).count(),
                newest: newest.map(|(date, _)| *date),
                newest_result: newest.and_then(|(_, build)| result(build)),
                aliases: entry.aliases,
            }
        });
        Ok(ChannelListing {
            channels: listed.collect(),
            mirror: self.root()?.into_string(),
        })
    }

    /// Shows one build, named in any form of [`build_ref`].
    pub async fn show(&self, build: &str) -> Result<ShownBuild, Error> {
        let reader = self.reader()?;
        let id = build_ref::resolve(reader.store(), build).await?;
        let (catalog, elsewhere) = one_channel(self, &reader, &id.channel).await?;
        let Some(entry) = catalog.build(&id) else {
            // The catalog may cover this channel only; the hint may name others.
            let all = reader.store().catalog(&Scope::All).await;
            return Err(build_ref::missing_build(&all.map_err(refused)?, &id));
        };
        let plan = known_decisions(self, &reader, &catalog, elsewhere).await?;
        let thinned = thinned(reader.store(), &id).await?;
        let mut verdicts = by_build(verdicts(self, &reader, &catalog).await?);
        let verdicts = verdicts.remove(&id).unwrap_or_default();
        let decision = plan.and_then(|plan| plan.decision(&id));
        Ok(ShownBuild {
            record: entry.record().cloned(),
            listed: ListedBuild::new(&catalog, id, entry, thinned, verdicts, decision),
        })
    }
}

/// The catalog of the whole mirror.
async fn whole_catalog(site: &Site, reader: &Reader) -> Result<Catalog, Error> {
    let catalog = reader.store().catalog(&Scope::All).await.map_err(refused)?;
    if catalog.channels.is_empty() {
        let mirror = site.root()?;
        site.note(&format!(
            "note: {mirror} holds no build yet; is it the root of the mirror?"
        ));
    }
    Ok(catalog)
}

/// The catalog of one channel, which has to exist.
async fn catalog_of(reader: &Reader, channel: &Channel) -> Result<Catalog, Error> {
    let scope = Scope::Channel(channel.clone());
    let mut catalog = reader.store().catalog(&scope).await.map_err(refused)?;
    // In a directory, a channel may have nothing but stray names, or channels below it.
    let is_there = |entry: &ChannelEntry| !entry.builds.is_empty() || !entry.aliases.is_empty();
    catalog.channels.retain(|_, entry| is_there(entry));
    if catalog.channels.is_empty() {
        // The hint names other channels.
        let all = reader.store().catalog(&Scope::All).await.map_err(refused)?;
        return Err(build_ref::missing_channel(&all, channel));
    }
    Ok(catalog)
}

/// The catalog of one channel, which has to exist, and the facts of other channels on which the retention of its builds depends: a
/// build of another channel keeps the build on which it is based, and a release keeps milestones. If these facts are not known
/// without the records of all builds, the catalog is that of the whole mirror. Behind a URL, where no decision is known, it is that
/// of the channel.
async fn one_channel(
    site: &Site,
    reader: &Reader,
    channel: &Channel,
) -> Result<(Catalog, BTreeMap<Channel, Bearing>), Error> {
    let known = match reader {
        Reader::Own(mirror) => elsewhere(&**mirror, channel, site.now).await?,
        Reader::Http(_) | Reader::Trusted(..) => Some(BTreeMap::new()),
    };
    if let Some(elsewhere) = known {
        return Ok((catalog_of(reader, channel).await?, elsewhere));
    }
    let all = reader.store().catalog(&Scope::All).await.map_err(refused)?;
    if !all.channels.contains_key(channel) {
        return Err(build_ref::missing_channel(&all, channel));
    }
    Ok((all, BTreeMap::new()))
}

/// The requested builds, in the order of the catalog: by channel, oldest first.
fn chosen<'a>(catalog: &'a Catalog, options: &ListOptions) -> Vec<(BuildId, &'a BuildEntry)> {
    let ListOptions {
        channel,
        since,
        failed,
        limit,
    } = options;
    let is_failed = |entry: &BuildEntry| {
        let record = entry.record();
        record.is_some_and(|record| record.result == BuildOutcome::Fail)
    };
    let builds = catalog.builds().filter(|(id, entry)| {
        channel
            .as_ref()
            .is_none_or(|channel| *channel == id.channel)
            && since.is_none_or(|since| id.date.time() >= since)
            && (!failed || is_failed(entry))
    });
    let mut builds: Vec<_> = builds.collect();
    if let Some(limit) = limit {
        let newest = |(id, _): &(BuildId, &BuildEntry)| Reverse((id.date, id.channel.clone()));
        builds.sort_by_key(newest);
        builds.truncate(*limit);
        builds.sort_by(|(one, _), (other, _)| one.cmp(other));
    }
    builds
}
