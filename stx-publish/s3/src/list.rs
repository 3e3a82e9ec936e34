//! Lists the contents of a bucket, one level at a time and never all of it. Levels that do not depend on each other are listed at
//! the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;

use futures_util::future::{try_join, try_join3};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use stx_layout::{
    AliasName, BuildDate, BuildEntry, BuildId, BuildState, Catalog, Channel, ChannelEntry, Section,
    UndatedEntry,
};

use super::Inner;
use super::alias::Shown;
use super::keys::{self, PRIVATE};
use super::objects::{Level, PARALLEL};
use stx_publish::index::PageName;
use stx_publish::store::{Scope, StoreError};
use stx_publish::verify::chain;

/// Segments of the longest channel: release identifier, distro, codename, architecture, layer.
const DEEPEST: usize = 6;

/// The kinds of entries found at a prefix and below.
#[derive(Debug, Default)]
struct Visited {
    /// True if it contains a channel, or a present, past or future build.
    leads_on: bool,
    /// True if it contains anything other than pages.
    holds_files: bool,
}

/// The findings of a walk over the channels.
#[derive(Debug, Default)]
struct Walk {
    visited: Visited,
    /// The channels, with the dates that may be builds.
    channels: Vec<Candidate>,
    /// Entries above the channels that belong to no channel.
    strays: Vec<String>,
}

/// A channel, the dates that may be its builds, and what else is known about it.
type Candidate = (Channel, Vec<BuildDate>, ChannelEntry);

/// The sections that can be read without a date, by channel.
type Offered = BTreeMap<Channel, BTreeMap<Section, UndatedEntry>>;

/// The findings that a walk starts from.
#[derive(Debug, Default)]
struct Around {
    /// Prefixes that the walk leaves out: those of aliases of releases.
    aliases: BTreeSet<String>,
    /// Channels with sections that can be read without a date.
    undated: BTreeSet<Channel>,
    /// The aliases of each channel.
    shown: BTreeMap<Channel, Shown>,
    /// The levels above the channels that have an alias. A walk finds most of what it needs here, and requests the others one
    /// after the other.
    levels: BTreeMap<String, Level>,
}

impl Inner {
    pub(super) async fn catalog(&self, scope: &Scope) -> Result<Catalog, StoreError> {
        let (candidates, builds, mut aliases, mut offered) = match scope {
            Scope::All => {
                let around = self.around().await?;
                let walk = self.visit(String::new(), 0, &around).await?;
                let known = walk.channels.iter().map(|(channel, ..)| channel);
                let known = known.filter(|it| around.undated.contains(it));
                let asked = try_join(self.builds(&walk.channels), self.offered(known));
                let (builds, offered) = asked.await?;
                (walk.channels, builds, around.shown, offered)
            }
            Scope::Channel(channel) => {
                let found = async {
                    let level = self.objects.level(&channel.to_string()).await?;
                    let dates = level.prefixes.iter().filter_map(|name| name.parse().ok());
                    let entry = ChannelEntry {
                        strays: strays(&level.objects),
                        ..ChannelEntry::default()
                    };
                    let found = vec![(channel.clone(), dates.collect(), entry)];
                    let builds = self.builds(&found).await?;
                    Ok((found, builds))
                };
                let (aliases, offered) = (self.aliases(Some(channel)), self.offered([channel]));
                let ((found, builds), aliases, offered) =
                    try_join3(found, aliases, offered).await?;
                (found, builds, aliases, offered)
            }
            Scope::Build(BuildId { channel, date }) => {
                let found = (channel.clone(), vec![*date], ChannelEntry::default());
                let found = vec![found];
                let builds = self.builds(&found);
                let (aliases, offered) = (self.aliases(Some(channel)), self.offered([channel]));
                let (builds, aliases, offered) = try_join3(builds, aliases, offered).await?;
                (found, builds, aliases, offered)
            }
        };
        let mut entries = BTreeMap::<Channel, BTreeMap<_, _>>::new();
        for (id, build) in builds {
            let entries = entries.entry(id.channel).or_default();
            entries.extend(build.map(|build| (id.date, build)));
        }
        let mut catalog = Catalog::default();
        for (channel, _, mut entry) in candidates {
            entry.builds = entries.remove(&channel).unwrap_or_default();
            if let Some((shown, held)) = aliases.remove(&channel) {
                (entry.aliases, entry.held) = (shown, held);
            }
            entry.undated = offered.remove(&channel).unwrap_or_default();
            if entry != ChannelEntry::default() {
                catalog.channels.insert(channel, entry);
            }
        }
        for (channel, (shown, held)) in aliases {
            let entry = catalog.channels.entry(channel).or_default();
            (entry.aliases, entry.held) = (shown, held);
        }
        if *scope == Scope::All {
            let is_channel =
                |entry: &ChannelEntry| !entry.builds.is_empty() || !entry.aliases.is_empty();
            catalog.channels.retain(|_, entry| is_channel(entry));
        }
        Ok(catalog)
    }

    /// Reads the builds of these dates that exist.
    async fn builds(
        &self,
        candidates: &[Candidate],
    ) -> Result<Vec<(BuildId, Option<BuildEntry>)>, StoreError> {
        let builds = candidates.iter().flat_map(|(channel, dates, _)| {
            let dates = dates.iter();
            dates.map(|date| BuildId::new(channel.clone(), *date))
        });
        let builds: Vec<_> = builds.collect();
        let builds = builds.into_iter().map(|id| async move {
            let entry = self.entry(&id).await?;
            Ok::<_, StoreError>((id, entry))
        });
        let builds = stream::iter(builds).buffer_unordered(PARALLEL);
        builds.try_collect().await
    }

    /// The sections of some channels that can be read without a date.
    async fn offered(
        &self,
        channels: impl IntoIterator<Item = &Channel>,
    ) -> Result<Offered, StoreError> {
        let channels: Vec<_> = channels.into_iter().cloned().collect();
        let offered = channels.into_iter().map(|channel| async move {
            let offered = self.undated(&channel).await?;
            Ok::<_, StoreError>((channel, offered))
        });
        let offered = stream::iter(offered).buffer_unordered(PARALLEL);
        offered.try_collect().await
    }

    /// Asks for everything that a walk needs before it starts.
    async fn around(&self) -> Result<Around, StoreError> {
        let below = async {
            let listed = try_join3(
                self.alias_names(None),
                self.undated_channels(),
                self.objects.level(""),
            );
            let (names, undated, top) = listed.await?;
            let levels = self.levels(on_the_way(names.keys().map(|(channel, _)| channel)));
            let (shown, mut levels) = try_join(self.shown(names), levels).await?;
            levels.insert(String::new(), top);
            Ok((shown, undated, levels))
        };
        let (aliases, (shown, undated, levels)) = try_join(self.root_aliases(), below).await?;
        Ok(Around {
            aliases: aliases.keys().map(ToString::to_string).collect(),
            undated,
            shown,
            levels,
        })
    }

    /// The contents of these prefixes.
    async fn levels(
        &self,
        prefixes: BTreeSet<String>,
    ) -> Result<BTreeMap<String, Level>, StoreError> {
        let levels = prefixes.into_iter().map(|prefix| async move {
            let level = self.objects.level(&prefix).await?;
            Ok::<_, StoreError>((prefix, level))
        });
        let levels = stream::iter(levels).buffer_unordered(PARALLEL);
        levels.try_collect().await
    }

    /// The catalog entry of a build; `None` if it does not exist.
    async fn entry(&self, id: &BuildId) -> Result<Option<BuildEntry>, StoreError> {
        let Some((top, record)) = self.top_and_record(id).await? else {
            return Ok(None);
        };
        let state = match record {
            Ok(record) => BuildState::Known(Box::new(record)),
            // It was retired just now.
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error @ StoreError::Damaged { .. }) => BuildState::Unreadable(chain(&error)),
            Err(error) => return Err(error),
        };
        Ok(Some(BuildEntry {
            state,
            keep_file: top.keep_file,
        }))
    }

    /// Entries above the channels that belong to no channel, and builds that lost their record.
    pub(super) async fn strays(&self) -> Result<Vec<String>, StoreError> {
        let around = self.around().await?;
        let mut walk = self.visit(String::new(), 0, &around).await?;
        let foreign = self.foreign.below(self.objects.root()).into_iter();
        walk.strays
            .extend(foreign.filter(|name| !name.starts_with(&format!("{PRIVATE}/"))));
        walk.strays.extend(self.lost(&walk.channels).await?);
        walk.strays.sort();
        Ok(walk.strays)
    }

    /// Builds without a record that are neither in the trash nor in progress: their record was removed by hand.
    async fn lost(&self, candidates: &[Candidate]) -> Result<Vec<String>, StoreError> {
        let (entries, marks) = try_join(self.entries(None), self.marks(None)).await?;
        let ids = candidates.iter().flat_map(|(channel, dates, _)| {
            let dates = dates.iter();
            dates.map(|date| BuildId::new(channel.clone(), *date))
        });
        let others =
            ids.filter(|id| !entries.has(id) && !marks.iter().any(|(_, marked)| marked == id));
        // Asked last: a publisher that committed meanwhile has already removed its mark.
        let lost = others.map(|id| async move {
            let record = self.objects.head(&keys::record(&id)).await?;
            Ok::<_, StoreError>(record.is_none().then(|| id.to_string()))
        });
        let lost = stream::iter(lost.collect::<Vec<_>>()).buffer_unordered(PARALLEL);
        let lost: Vec<_> = lost.try_collect().await?;
        Ok(lost.into_iter().flatten().collect())
    }

    /// Visits a prefix that may be a channel or may hold channels.
    fn visit<'a>(
        &'a self,
        prefix: String,
        depth: usize,
        around: &'a Around,
    ) -> Pin<Box<dyn Future<Output = Result<Walk, StoreError>> + Send + 'a>> {
        Box::pin(async move {
            let level = match around.levels.get(&prefix) {
                Some(level) => level.clone(),
                None => self.objects.level(&prefix).await?,
            };
            let channel = prefix.parse::<Channel>().ok();
            let mut walk = Walk::default();
            walk.visited.holds_files = level.objects.iter().any(|it| !PageName::is(&it.name));
            let mut dates = Vec::new();
            let mut deeper = Vec::new();
            for name in level.prefixes {
                if name.starts_with('.') {
                    continue;
                }
                if channel.is_some() {
                    if let Ok(date) = name.parse() {
                        dates.push(date);
                        continue;
                    }
                    if name.parse::<AliasName>().is_ok() {
                        continue;
                    }
                    let is_offered = |channel| around.undated.contains(channel);
                    if Section::from_word(&name).is_some()
                        && channel.as_ref().is_some_and(is_offered)
                    {
                        continue;
                    }
                }
                let path = match prefix.as_str() {
                    "" => name.clone(),
                    prefix => format!("{prefix}/{name}"),
                };
                if !around.aliases.contains(&path) {
                    deeper.push((name, path));
                }
            }
            let deeper = deeper.into_iter().map(|(name, path)| async move {
                if depth < DEEPEST {
                    let found = self.visit(path, depth + 1, around).await?;
                    return Ok::<_, StoreError>((name, found));
                }
                let mut found = Walk::default();
                found.visited.holds_files = true;
                Ok((name, found))
            });
            // In the order of the names, not of the answers.
            let deeper = stream::iter(deeper).buffered(PARALLEL);
            let deeper: Vec<_> = deeper.try_collect().await?;
            let mut below = Vec::new();
            for (name, found) in deeper {
                walk.channels.extend(found.channels);
                walk.strays.extend(found.strays);
                let found = found.visited;
                walk.visited.leads_on |= found.leads_on;
                walk.visited.holds_files |= found.holds_files;
                if !found.leads_on && found.holds_files {
                    below.push(name);
                }
            }
            walk.visited.leads_on |= !dates.is_empty();
            let mut own = strays(&level.objects);
            own.extend(below);
            own.sort();
            match channel {
                Some(channel) if !dates.is_empty() => {
                    let entry = ChannelEntry {
                        strays: own,
                        ..ChannelEntry::default()
                    };
                    walk.channels.push((channel, dates, entry));
                }
                // An entry that leads to no channel is named as a whole, by the level above.
                Some(_) | None if walk.visited.leads_on || depth == 0 => {
                    let own = own.into_iter().filter(|name| !name.starts_with('.'));
                    walk.strays.extend(own.map(|name| match prefix.as_str() {
                        "" => name,
                        prefix => format!("{prefix}/{name}"),
                    }));
                }
                Some(_) | None => {}
            }
            Ok(walk)
        })
    }
}

/// The paths of some channels, and of all levels above them.
fn on_the_way<'a>(channels: impl Iterator<Item = &'a Channel>) -> BTreeSet<String> {
    let mut prefixes = BTreeSet::new();
    for channel in channels {
        let path = channel.to_string();
        let above = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
        prefixes.extend(above);
        prefixes.insert(path);
    }
    prefixes
}

/// The objects of a level that are not pages.
fn strays(objects: &[super::objects::Listed]) -> Vec<String> {
    let strays = objects.iter().filter(|it| !PageName::is(&it.name));
    strays.map(|it| it.name.clone()).collect()
}
