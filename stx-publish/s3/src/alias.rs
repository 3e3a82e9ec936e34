//! Aliases: a sequence of small objects, of which the newest counts.
//!
//! ```text
//! .stx/aliases/<channel>/<alias>/<generation>     the build, or a note that the alias was removed
//! <channel>/<alias>/build.json                    the record of that build, for readers over plain HTTP
//! ```
//!
//! A generation is created only where none exists, so only one writer can create it. Aliases are therefore compared and swapped
//! even on servers that support no other condition. The public object is written afterwards. After a crash in between, it still
//! shows the previous build, which exists until something sweeps it.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{join, try_join};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use stx_layout::{AliasEntry, AliasName, BuildDate, BuildId, BuildRecord, Channel};

use super::Inner;
use super::keys;
use super::known::{Known, State};
use super::lease::Lease;
use super::nonce::nonce;
use super::objects::{Keep, PARALLEL};
use stx_publish::store::StoreError;
use stx_publish::store::rules::{check_alias, check_target};

/// The text of a generation.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Text {
    schema: u32,
    /// Tells equal generations of two writers apart.
    nonce: String,
    /// Absent: the alias was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    build: Option<BuildDate>,
}

fn state(newest: Option<(u64, Text)>) -> State {
    let state = newest.map(|(generation, text)| State {
        generation,
        build: text.build,
    });
    state.unwrap_or_default()
}

/// Aliases by channel and name, each with the number of its newest generation.
pub(super) type Listed = BTreeMap<(Channel, AliasName), u64>;

/// The aliases whose public object differs from the alias, each with the build that it should show.
pub(super) type Outdated = Vec<(AliasName, Option<BuildDate>)>;

/// The aliases of a channel, and those of them that are held.
pub(super) type Shown = (BTreeMap<AliasName, AliasEntry>, BTreeSet<AliasName>);

impl Inner {
    async fn state(&self, channel: &Channel, alias: &AliasName) -> Result<State, StoreError> {
        let newest = self.objects.newest(&keys::alias(channel, alias)).await?;
        Ok(state(newest))
    }

    /// The state of an alias that was listed.
    async fn listed_state(
        &self,
        channel: &Channel,
        alias: &AliasName,
        generation: u64,
    ) -> Result<State, StoreError> {
        let prefix = keys::alias(channel, alias);
        let newest = self.objects.listed(&prefix, generation).await?;
        Ok(state(newest))
    }

    pub(super) async fn alias(
        &self,
        channel: &Channel,
        alias: &AliasName,
    ) -> Result<Option<AliasEntry>, StoreError> {
        let state = self.state(channel, alias).await?;
        Ok(state.build.map(AliasEntry::Build))
    }

    /// The aliases of one channel, or of all, and those of them that are held.
    pub(super) async fn aliases(
        &self,
        only: Option<&Channel>,
    ) -> Result<BTreeMap<Channel, Shown>, StoreError> {
        let listed = self.alias_names(only).await?;
        self.shown(listed).await
    }

    /// Reads the aliases that were listed, and those of them that are held.
    pub(super) async fn shown(
        &self,
        listed: Listed,
    ) -> Result<BTreeMap<Channel, Shown>, StoreError> {
        let read = listed
            .into_iter()
            .map(|((channel, alias), generation)| async move {
                let name = keys::held(&channel, &alias);
                let state = self.listed_state(&channel, &alias, generation);
                let (state, held) = try_join(state, self.objects.get(&name)).await?;
                let Some(build) = state.build else {
                    return Ok::<_, StoreError>(None);
                };
                let held =
                    held.and_then(|(bytes, _)| str::from_utf8(&bytes).ok()?.trim().parse().ok());
                Ok(Some((channel, alias, build, held == Some(build))))
            });
        let mut read = stream::iter(read).buffer_unordered(PARALLEL);
        let mut found = BTreeMap::new();
        while let Some(alias) = read.try_next().await? {
            let Some((channel, alias, build, is_held)) = alias else {
                continue;
            };
            let (aliases, held): &mut (BTreeMap<_, _>, BTreeSet<_>) =
                found.entry(channel).or_default();
            if is_held {
                held.insert(alias.clone());
            }
            aliases.insert(alias, AliasEntry::Build(build));
        }
        Ok(found)
    }

    /// The names of all aliases that ever existed, with their newest generations.
    pub(super) async fn alias_names(&self, only: Option<&Channel>) -> Result<Listed, StoreError> {
        let prefix = match only {
            None => keys::ALIASES.to_owned(),
            Some(channel) => format!("{}/{channel}", keys::ALIASES),
        };
        let listed = self.objects.list(&prefix).await?;
        let names = listed.iter().filter_map(|it| {
            let (name, generation) = it.name.rsplit_once('/')?;
            let generation = keys::number(generation)?;
            // Below a channel, deeper names belong to deeper channels.
            if let Some(channel) = only {
                return Some(((channel.clone(), name.parse().ok()?), generation));
            }
            let (channel, alias) = name.rsplit_once('/')?;
            let name = (channel.parse().ok()?, alias.parse().ok()?);
            Some((name, generation))
        });
        // Names are listed in order, so the newest generation of each alias comes last and replaces the others.
        Ok(names.collect())
    }

    /// Points an alias at a build, under the lock for which `known` was read.
    pub(super) async fn point(
        &self,
        (lease, known): (&Lease, &Known),
        channel: &Channel,
        alias: &AliasName,
        expected: Option<&AliasEntry>,
        to: Option<BuildDate>,
    ) -> Result<(), StoreError> {
        // These are only questions, so they are asked at the same time. The order in which errors are reported does not change.
        let record = async {
            let Some(date) = to else {
                return Ok(None);
            };
            let id = BuildId::new(channel.clone(), date);
            if let Some((record, text)) = known.committed(&id) {
                return Ok(Some((Ok(record), Some(text))));
            }
            Ok::<_, StoreError>(Some((self.record(&id).await, None)))
        };
        let state = async {
            match known.take_alias(alias) {
                Some(state) => Ok(state),
                None => self.state(channel, alias).await,
            }
        };
        let (state, record) = try_join(state, record).await?;
        let found = state.build.map(AliasEntry::Build);
        check_alias(channel, alias, expected, found.as_ref())?;
        let mut shown = None;
        if let Some((record, text)) = record {
            check_target(channel, alias, &record?)?;
            shown = text;
        }
        // The answers above may have taken long.
        lease.check_lately(&self.objects).await?;
        let prefix = keys::alias(channel, alias);
        let generation = state.generation + 1;
        let text = Text {
            schema: 1,
            nonce: nonce()?,
            build: to,
        };
        let text = serde_json::to_string(&text).expect("texts and a date") + "\n";
        let name = keys::generation(&prefix, generation);
        let created = self.objects.create(&name, text).await?;
        // A writer whose state is outdated may have created a number that others have already passed.
        // The public object is written while the server is asked if the new generation counts. Usually it does; otherwise the
        // object is corrected. An object that is to be removed waits for the answer.
        let early = async {
            match shown {
                _ if !created || to.is_none() => Ok(()),
                // The server need not copy a record that was just written; a copy may take longer.
                Some(text) => {
                    let public = keys::shown_alias(channel, alias);
                    self.objects.put(&public, text, Keep::Not).await
                }
                None => self.show_alias(channel, alias, to).await,
            }
        };
        let (known, early) = join(self.objects.generations(&prefix), early).await;
        let known = known?;
        if !created || known.last() != Some(&generation) {
            let newest = self.state(channel, alias).await?.build;
            if created && to.is_some() {
                self.show_alias(channel, alias, newest).await?;
            }
            let found = self.alias(channel, alias).await?;
            check_alias(channel, alias, expected, found.as_ref())?;
            return Err(StoreError::Conflict {
                what: format!("{channel}/{alias}"),
                expected: "an alias that no other writer moves".to_owned(),
                found: "one that was moved and moved back just then".to_owned(),
            });
        }
        // The older generations no longer count, whatever the public object shows.
        let older = known.into_iter().filter(|number| *number < generation);
        lease.delete_at_end(older.map(|number| keys::generation(&prefix, number)));
        match to {
            Some(_) => early,
            None => self.show_alias(channel, alias, to).await,
        }
    }

    /// Makes the public object of an alias show what the alias points at.
    async fn show_alias(
        &self,
        channel: &Channel,
        alias: &AliasName,
        to: Option<BuildDate>,
    ) -> Result<(), StoreError> {
        let public = keys::shown_alias(channel, alias);
        let Some(date) = to else {
            return self.objects.delete([public]).await;
        };
        let id = BuildId::new(channel.clone(), date);
        let copied = self.objects.copy_small(&keys::record(&id), &public).await?;
        if copied {
            return Ok(());
        }
        Err(StoreError::NotFound {
            what: id.to_string(),
        })
    }

    /// The aliases of a channel whose public object differs from the alias, each with the build that it should show.
    pub(super) async fn outdated_aliases(&self, channel: &Channel) -> Result<Outdated, StoreError> {
        let listed = self.alias_names(Some(channel)).await?;
        let (outdated, _) = self.alias_states(channel, listed).await?;
        Ok(outdated)
    }

    /// The aliases of a channel, and those whose public object differs from the alias.
    pub(super) async fn alias_states(
        &self,
        channel: &Channel,
        listed: Listed,
    ) -> Result<(Outdated, BTreeMap<AliasName, State>), StoreError> {
        let read = listed
            .into_iter()
            .map(|((_, alias), generation)| async move {
                let public = keys::shown_alias(channel, &alias);
                let state = self.listed_state(channel, &alias, generation);
                let (state, public) = try_join(state, self.objects.get(&public)).await?;
                Ok::<_, StoreError>((alias, state, public))
            });
        let mut read = stream::iter(read).buffered(PARALLEL);
        let (mut behind, mut states) = (Vec::new(), BTreeMap::new());
        while let Some((alias, state, public)) = read.try_next().await? {
            let build = state.build;
            states.insert(alias.clone(), state);
            let shown = public.map(|(bytes, _)| {
                let record = BuildRecord::from_json(str::from_utf8(&bytes).ok()?).ok();
                record.map(|record| record.id.date)
            });
            if shown != build.map(Some) {
                behind.push((alias, build));
            }
        }
        Ok((behind, states))
    }

    /// Makes the public objects of a channel's aliases show what the aliases point at; returns the names of those that did not.
    pub(super) async fn show_aliases(&self, channel: &Channel) -> Result<Vec<String>, StoreError> {
        let outdated = self.outdated_aliases(channel).await?;
        self.mend_aliases(channel, outdated).await
    }

    /// Like [`show_aliases`](Self::show_aliases), for outdated aliases that are already known.
    pub(super) async fn mend_aliases(
        &self,
        channel: &Channel,
        outdated: Outdated,
    ) -> Result<Vec<String>, StoreError> {
        let mut mended = Vec::new();
        for (alias, build) in outdated {
            match self.show_alias(channel, &alias, build).await {
                Ok(()) => mended.push(keys::shown_alias(channel, &alias)),
                // The alias dangles; another check reports that.
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(mended)
    }
}
