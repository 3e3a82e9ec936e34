//! The findings about a channel while its lock is held. Nobody else changes the channel, so the server need not be asked again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use stx_layout::{AliasName, BuildDate, BuildId, BuildRecord};

/// An alias as it is now.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) generation: u64,
    pub(super) build: Option<BuildDate>,
}

/// The findings of the holder of a lock. If the lock was lost and they are wrong, the next step fails by its own condition.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Facts>);

#[derive(Debug, Default)]
struct Facts {
    /// The aliases of the channel, once they were read; one that was moved since is `None`.
    aliases: Option<BTreeMap<AliasName, Option<State>>>,
    /// The build that was committed last: its record, and the text of that.
    committed: Option<(BuildRecord, Bytes)>,
}

impl Known {
    fn with<T>(&self, work: impl FnOnce(&mut Facts) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers all aliases of the channel.
    pub(super) fn see_aliases(&self, states: BTreeMap<AliasName, State>) {
        let states = states.into_iter();
        let states = states.map(|(alias, state)| (alias, Some(state)));
        self.with(|facts| facts.aliases = Some(states.collect()));
    }

    /// Takes the state of an alias before a change; `None` if it is not known.
    pub(super) fn take_alias(&self, alias: &AliasName) -> Option<State> {
        self.with(
            |facts| match facts.aliases.as_mut()?.insert(alias.clone(), None) {
                Some(state) => state,
                // There never was one.
                None => Some(State::default()),
            },
        )
    }

    /// Remembers the build that was committed.
    pub(super) fn commit(&self, record: BuildRecord, text: Bytes) {
        self.with(|facts| facts.committed = Some((record, text)));
    }

    /// The record of a build and its text, if it was committed last.
    pub(super) fn committed(&self, id: &BuildId) -> Option<(BuildRecord, Bytes)> {
        let is_it = |(record, _): &&(BuildRecord, Bytes)| record.id == *id;
        self.with(|facts| facts.committed.as_ref().filter(is_it).cloned())
    }

    /// Forgets everything: a build may be gone, or an alias another.
    pub(super) fn forget(&self) {
        self.with(|facts| *facts = Facts::default());
    }
}
