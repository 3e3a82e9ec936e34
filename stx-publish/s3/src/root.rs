//! The names above the channels: `r2018.10`, `release/latest_release`. As for the aliases of a channel, the newest of a sequence
//! of small objects counts.
//!
//! ```text
//! .stx/root/<alias, each / of it %2F>/<generation>   the target, or a note that the alias was removed
//! <alias>/<rest of the channel>/latest_build/build.json   the record of the target's `latest_build`, for plain HTTP
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::try_join;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use stx_layout::{BuildDate, RootAlias, RootEntry, RootTarget};

use super::Inner;
use super::keys;
use super::lease::Lease;
use super::nonce::nonce;
use super::objects::{Level, PARALLEL};
use stx_publish::store::rules::{check_root_alias, check_root_target, taken};
use stx_publish::store::{RootWriter, StoreError};

/// The text of a generation.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Text {
    schema: u32,
    /// Tells equal generations of two writers apart.
    nonce: String,
    /// Absent: the alias was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<RootEntry>,
}

/// The current state of an alias.
#[derive(Debug, Clone, Default)]
struct State {
    generation: u64,
    target: Option<RootEntry>,
}

/// The lock of the names above the channels.
#[derive(Debug)]
pub(super) struct BucketRoot {
    inner: Arc<Inner>,
    lease: Lease,
    /// Held while an alias is moved, so that its public objects change in the same order.
    linking: tokio::sync::Mutex<()>,
}

impl BucketRoot {
    pub(super) fn new(inner: Arc<Inner>, lease: Lease) -> Self {
        Self {
            inner,
            lease,
            linking: tokio::sync::Mutex::default(),
        }
    }
}

#[async_trait]
impl RootWriter for BucketRoot {
    async fn link(
        &self,
        alias: &RootAlias,
        expected: Option<&RootEntry>,
        to: Option<&RootTarget>,
    ) -> Result<(), StoreError> {
        let _linking = self.linking.lock().await;
        self.inner.link(&self.lease, alias, expected, to).await
    }
}

impl Inner {
    async fn root_state(&self, alias: &RootAlias) -> Result<State, StoreError> {
        let newest = self
            .objects
            .newest::<Text>(&keys::root_alias(alias))
            .await?;
        let state = newest.map(|(generation, text)| State {
            generation,
            target: text.target,
        });
        Ok(state.unwrap_or_default())
    }

    pub(super) async fn root_aliases(&self) -> Result<BTreeMap<RootAlias, RootEntry>, StoreError> {
        let listed = self.objects.list(keys::ROOT).await?;
        let names = listed.iter().filter_map(|it| {
            let (name, generation) = it.name.rsplit_once('/')?;
            Some((keys::parse_root_alias(name)?, keys::number(generation)?))
        });
        // Names are listed in order, so the newest generation of each alias comes last and replaces the others.
        let names: BTreeMap<RootAlias, u64> = names.collect();
        let read = names.into_iter().map(|(alias, generation)| async move {
            let prefix = keys::root_alias(&alias);
            let newest = self.objects.listed::<Text>(&prefix, generation).await?;
            let target = newest.and_then(|(_, text)| text.target);
            Ok::<_, StoreError>(target.map(|target| (alias, target)))
        });
        let read = stream::iter(read).buffer_unordered(PARALLEL);
        let read: Vec<_> = read.try_collect().await?;
        Ok(read.into_iter().flatten().collect())
    }

    async fn link(
        &self,
        lease: &Lease,
        alias: &RootAlias,
        expected: Option<&RootEntry>,
        to: Option<&RootTarget>,
    ) -> Result<(), StoreError> {
        let level = async {
            let Some(to) = to else {
                return Ok(Level::default());
            };
            self.objects.level(&to.to_string()).await
        };
        let (state, level) = try_join(self.root_state(alias), level).await?;
        check_root_alias(alias, expected, state.target.as_ref())?;
        if let Some(to) = to {
            check_root_target(alias, to, !level.prefixes.is_empty())?;
            if state.target.is_none() && self.is_taken(alias).await? {
                return Err(taken(alias));
            }
        }
        // The answers above may have taken long.
        lease.check_lately(&self.objects).await?;
        let wanted = to.cloned().map(RootEntry::To);
        if wanted == state.target {
            return self.show_root(alias, to).await;
        }
        let prefix = keys::root_alias(alias);
        let generation = state.generation + 1;
        let text = Text {
            schema: 1,
            nonce: nonce()?,
            target: wanted,
        };
        let text = serde_json::to_string(&text).expect("texts") + "\n";
        let name = keys::generation(&prefix, generation);
        let created = self.objects.create(&name, text).await?;
        // A writer whose state is outdated may have created a number that others have already passed.
        let known = self.objects.generations(&prefix).await?;
        if !created || known.last() != Some(&generation) {
            let found = self.root_state(alias).await?.target;
            check_root_alias(alias, expected, found.as_ref())?;
            return Err(StoreError::Conflict {
                what: alias.to_string(),
                expected: "an alias that no other writer moves".to_owned(),
                found: "one that was moved and moved back just then".to_owned(),
            });
        }
        self.show_root(alias, to).await?;
        self.objects.delete_older(&prefix, &known, generation).await
    }

    /// True if something other than an alias uses the name of an alias that does not exist. The public objects of an alias that a
    /// publisher removed before it died do not count: they may be replaced.
    async fn is_taken(&self, alias: &RootAlias) -> Result<bool, StoreError> {
        let listed = self.objects.list(&alias.to_string()).await?;
        let shows_alias = |name: &str| {
            let mut segments = name.split('/');
            let is_build = |segment: &str| segment.parse::<BuildDate>().is_ok();
            name.ends_with("/build.json") && !segments.any(is_build)
        };
        Ok(listed.iter().any(|it| !shows_alias(&it.name)))
    }

    /// Makes the public objects of an alias show what those of the channels of its target show.
    async fn show_root(
        &self,
        alias: &RootAlias,
        to: Option<&RootTarget>,
    ) -> Result<(), StoreError> {
        let mut wanted = BTreeMap::new();
        if let Some(to) = to {
            let target = to.to_string();
            let names = self.alias_names(None).await?;
            let held = names.into_keys().filter(|(channel, _)| to.holds(channel));
            for (channel, name) in held {
                let shown = keys::shown_alias(&channel, &name);
                if let Some(rest) = shown.strip_prefix(&target) {
                    wanted.insert(format!("{alias}{rest}"), shown.clone());
                }
            }
        }
        let copies = wanted.into_iter().map(|(to, from)| async move {
            // An alias that was removed shows nothing.
            let copied = self.objects.copy_small(&from, &to).await?;
            Ok::<_, StoreError>(copied.then_some(to))
        });
        let copies = stream::iter(copies).buffer_unordered(PARALLEL);
        let there: Vec<_> = copies.try_collect().await?;
        let there: BTreeSet<_> = there.into_iter().flatten().collect();
        let listed = self.objects.list(&alias.to_string()).await?;
        let listed = listed.iter().map(|it| format!("{alias}/{}", it.name));
        let old: Vec<_> = listed.filter(|name| !there.contains(name)).collect();
        self.objects.delete(old).await
    }
}
