//! Lists the contents of a bucket, one level at a time and never all of it.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use stx_layout::{
    AliasName, BuildDate, BuildEntry, BuildId, BuildState, Catalog, Channel, ChannelEntry, Section,
};

use super::Inner;
use super::objects::PARALLEL;
use stx_publish::index::PageName;
use stx_publish::store::{Scope, StoreError};
use stx_publish::verify::chain;

/// Segments of the longest channel: release identifier, distro, codename, architecture, layer.
const DEEPEST: usize = 6;

/// The kinds of entries found at a prefix and below.
#[derive(Debug, Default)]
struct Visited {
    /// There is a channel, or what was or will be a build.
    leads_on: bool,
    /// There is something other than pages.
    holds_files: bool,
}

/// The findings of a walk over the channels.
#[derive(Debug, Default)]
struct Walk {
    /// The channels, with the dates that may be builds.
    channels: Vec<(Channel, Vec<BuildDate>, ChannelEntry)>,
    /// Entries above the channels that belong to none.
    strays: Vec<String>,
    /// Prefixes that are left out: what aliases of releases show.
    aliases: BTreeSet<String>,
    /// Channels of which sections can be read without a date.
    undated: BTreeSet<Channel>,
}

impl Inner {
    pub(super) async fn catalog(&self, scope: &Scope) -> Result<Catalog, StoreError> {
        let (only, candidates) = match scope {
            Scope::All => {
                let mut walk = self.walk().await?;
                self.visit(String::new(), 0, &mut walk).await?;
                (None, walk.channels)
            }
            Scope::Channel(channel) => {
                let level = self.objects.level(&channel.to_string()).await?;
                let dates = level.prefixes.iter().filter_map(|name| name.parse().ok());
                let entry = ChannelEntry {
                    strays: strays(&level.objects),
                    ..ChannelEntry::default()
                };
                let found = (channel.clone(), dates.collect(), entry);
                (Some(channel), vec![found])
            }
            Scope::Build(id) => {
                let found = (id.channel.clone(), vec![id.date], ChannelEntry::default());
                (Some(&id.channel), vec![found])
            }
        };
        let mut aliases = self.aliases(only).await?;
        let undated = match only {
            None => self.undated_channels().await?,
            Some(channel) => BTreeSet::from([channel.clone()]),
        };
        let mut catalog = Catalog::default();
        for (channel, dates, mut entry) in candidates {
            let builds = dates.into_iter().map(|date| {
                let id = BuildId::new(channel.clone(), date);
                async move { Ok::<_, StoreError>((id.date, self.entry(&id).await?)) }
            });
            let mut builds = stream::iter(builds).buffer_unordered(PARALLEL);
            while let Some((date, build)) = builds.try_next().await? {
                entry.builds.extend(build.map(|build| (date, build)));
            }
            drop(builds);
            if let Some((shown, held)) = aliases.remove(&channel) {
                (entry.aliases, entry.held) = (shown, held);
            }
            if undated.contains(&channel) {
                entry.undated = self.undated(&channel).await?;
            }
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

    /// A walk that has not begun.
    async fn walk(&self) -> Result<Walk, StoreError> {
        let aliases = self.root_aliases().await?;
        Ok(Walk {
            aliases: aliases.keys().map(ToString::to_string).collect(),
            undated: self.undated_channels().await?,
            ..Walk::default()
        })
    }

    /// A build as the catalog has it; `None` where there is none.
    async fn entry(&self, id: &BuildId) -> Result<Option<BuildEntry>, StoreError> {
        let Some(top) = self.top(id).await? else {
            return Ok(None);
        };
        let state = match self.record_of(id, &top).await {
            Ok(record) => BuildState::Known(Box::new(record)),
            // Retired just now.
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error @ StoreError::Damaged { .. }) => BuildState::Unreadable(chain(&error)),
            Err(error) => return Err(error),
        };
        Ok(Some(BuildEntry {
            state,
            keep_file: top.keep_file,
        }))
    }

    /// The channels, with the dates that may be builds, by date.
    pub(super) async fn dates(&self) -> Result<Vec<(Channel, Vec<BuildDate>)>, StoreError> {
        let mut walk = self.walk().await?;
        self.visit(String::new(), 0, &mut walk).await?;
        let channels = walk.channels.into_iter();
        Ok(channels
            .map(|(channel, dates, _)| (channel, dates))
            .collect())
    }

    /// Entries above the channels that belong to none.
    pub(super) async fn strays(&self) -> Result<Vec<String>, StoreError> {
        let mut walk = self.walk().await?;
        self.visit(String::new(), 0, &mut walk).await?;
        walk.strays.sort();
        Ok(walk.strays)
    }

    /// Visits a prefix that may be a channel or may hold channels.
    fn visit<'a>(
        &'a self,
        prefix: String,
        depth: usize,
        walk: &'a mut Walk,
    ) -> Pin<Box<dyn Future<Output = Result<Visited, StoreError>> + Send + 'a>> {
        Box::pin(async move {
            let level = self.objects.level(&prefix).await?;
            let channel = prefix.parse::<Channel>().ok();
            let mut visited = Visited {
                holds_files: level.objects.iter().any(|it| !PageName::is(&it.name)),
                leads_on: false,
            };
            let mut dates = Vec::new();
            let mut below = Vec::new();
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
                    let is_offered = |channel| walk.undated.contains(channel);
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
                if walk.aliases.contains(&path) {
                    continue;
                }
                let found = if depth < DEEPEST {
                    self.visit(path, depth + 1, walk).await?
                } else {
                    Visited {
                        holds_files: true,
                        leads_on: false,
                    }
                };
                visited.leads_on |= found.leads_on;
                visited.holds_files |= found.holds_files;
                if !found.leads_on && found.holds_files {
                    below.push(name);
                }
            }
            visited.leads_on |= !dates.is_empty();
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
                // What leads on nowhere is named as a whole, by the level above.
                Some(_) | None if visited.leads_on || depth == 0 => {
                    let own = own.into_iter().filter(|name| !name.starts_with('.'));
                    walk.strays.extend(own.map(|name| match prefix.as_str() {
                        "" => name,
                        prefix => format!("{prefix}/{name}"),
                    }));
                }
                Some(_) | None => {}
            }
            Ok(visited)
        })
    }
}

/// The objects of a level that are no pages.
fn strays(objects: &[super::objects::Listed]) -> Vec<String> {
    let strays = objects.iter().filter(|it| !PageName::is(&it.name));
    strays.map(|it| it.name.clone()).collect()
}
