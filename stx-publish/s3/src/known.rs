//! The findings about a channel while its lock is held. No other publisher changes the channel, so the server need not be asked
//! again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use stx_layout::{AliasName, BuildDate, BuildId, BuildRecord};

/// The current state of an alias.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) generation: u64,
    pub(super) build: Option<BuildDate>,
}

/// The findings of a lock's holder. If the lock was lost and they are outdated, the condition of the next step makes it fail.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Facts>);

#[derive(Debug, Default)]
struct Facts {
    /// The aliases of the channel, once they were read; `None` for an alias that was moved since.
    aliases: Option<BTreeMap<AliasName, Option<State>>>,
    /// The build that was committed last: its record, and the record's text.
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

    /// Removes and returns the state of an alias before a change; `None` if it is unknown.
    pub(super) fn take_alias(&self, alias: &AliasName) -> Option<State> {
        self.with(
            |facts| match facts.aliases.as_mut()?.insert(alias.clone(), None) {
                Some(state) => state,
                // The alias never existed.
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

    /// Forgets everything: a build may be deleted, or an alias moved.
    pub(super) fn forget(&self) {
        self.with(|facts| *facts = Facts::default());
    }
}
