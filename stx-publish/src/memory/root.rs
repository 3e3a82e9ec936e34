//! The names above the channels of the mirror in memory, and paths without a date.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::lock::OwnedMutexGuard;
use stx_layout::{Channel, RootAlias, RootEntry, RootTarget, Section};

use super::{MemoryStore, State};
use crate::store::rules::{check_root_alias, check_root_target, taken};
use crate::store::{RootWriter, StoreError};

impl MemoryStore {
    /// The names that point to releases and channels.
    pub(super) fn root_entries(&self) -> BTreeMap<RootAlias, RootEntry> {
        self.state().root_aliases.clone()
    }
}

impl State {
    /// True if a release or a channel has a build.
    fn has(&self, target: &RootTarget) -> bool {
        self.builds.keys().any(|id| target.holds(&id.channel))
    }

    /// Offers these sections of the newest build without a date, and removes other offers.
    pub(super) fn offer(
        &mut self,
        channel: &Channel,
        sections: std::collections::BTreeSet<Section>,
    ) {
        self.undated.insert(channel.clone(), sections);
    }
}

/// The lock of the names above the channels.
pub(super) struct MemoryRoot {
    store: MemoryStore,
    _lock: OwnedMutexGuard<()>,
}

impl MemoryRoot {
    pub(super) fn new(store: MemoryStore, lock: OwnedMutexGuard<()>) -> Self {
        Self { store, _lock: lock }
    }
}

impl std::fmt::Debug for MemoryRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryRoot").finish_non_exhaustive()
    }
}

#[async_trait]
impl RootWriter for MemoryRoot {
    async fn link(
        &self,
        alias: &RootAlias,
        expected: Option<&RootEntry>,
        to: Option<&RootTarget>,
    ) -> Result<(), StoreError> {
        let mut state = self.store.state();
        check_root_alias(alias, expected, state.root_aliases.get(alias))?;
        let Some(to) = to else {
            state.root_aliases.remove(alias);
            return Ok(());
        };
        check_root_target(alias, to, state.has(to))?;
        let own = match alias {
            RootAlias::Release(name) => Some(RootTarget::Release(name.clone())),
            RootAlias::Channel(name) => Some(RootTarget::Channel(name.clone())),
            RootAlias::LatestRelease | RootAlias::Legacy(_) => None,
        };
        if own.is_some_and(|own| state.has(&own)) {
            return Err(taken(alias));
        }
        state.root_aliases.insert(alias.clone(), to.clone().into());
        Ok(())
    }
}
