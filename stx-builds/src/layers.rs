//! The channels of a distribution in layers: the order in which they are built, and their state.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use stx_layout::{BuildId, Catalog, Channel};
use stx_publish::Scope;
use stx_service::Setup;
use stx_service::ledger::State;

use crate::daemon::Service;
use crate::error::Error;
use crate::{Site, refused};

/// The state of a channel compared with the channel below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerState {
    /// A build of the channel is running.
    Runs,
    /// A build of the channel is in the queue.
    Waits,
    /// The newest success is based on the newest success below; for the lowest layer, a success exists.
    UpToDate,
    /// The newest success is based on an older build below, or the channel has no success.
    Behind,
    /// The channel below has no success.
    NothingBelow,
}

/// A channel of a distribution in layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// The channel.
    pub channel: Channel,
    /// The channel below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Channel>,
    /// The channels that are built after a success of this channel.
    pub starts: BTreeSet<Channel>,
    /// The newest success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<BuildId>,
    /// The build on which the newest success is based.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upon: Option<BuildId>,
    /// The state compared with the channel below.
    pub state: LayerState,
}

/// The channels that are built after others, and the channels below them; lower channels come first.
pub fn layers(setup: &Setup, state: &State, catalog: &Catalog) -> Vec<Layer> {
    let branches = setup.watches.iter();
    let branches = branches.filter(|watch| watch.milestone.is_none());
    let after: BTreeMap<_, _> = branches
        .filter_map(|watch| Some((&watch.channel, watch.after.as_ref()?)))
        .collect();
    let newest = |channel: &Channel| catalog.newest_success(channel);
    let layer = |channel: &Channel| {
        let below = after.get(channel).copied();
        let own = newest(channel);
        let upon = own.as_ref().and_then(|own| catalog.upon(own)).cloned();
        let waits = || {
            let mut queue = state.queue.values();
            queue.any(|request| request.target.channel == *channel)
        };
        let stands = if state.is_busy(channel) {
            LayerState::Runs
        } else if waits() {
            LayerState::Waits
        } else {
            match below.map(newest) {
                Some(None) => LayerState::NothingBelow,
                Some(wanted) if wanted == upon => LayerState::UpToDate,
                None if own.is_some() => LayerState::UpToDate,
                Some(_) | None => LayerState::Behind,
            }
        };
        let starts = after.iter().filter(|(_, below)| **below == channel);
        Layer {
            channel: channel.clone(),
            after: below.cloned(),
            starts: starts.map(|(upper, _)| (*upper).clone()).collect(),
            newest: own,
            upon,
            state: stands,
        }
    };
    let depth = |channel: &Channel| {
        // The configuration has no cycles; the counter bounds the loop in any case.
        let mut at = channel;
        (0..=after.len())
            .take_while(|_| match after.get(at) {
                Some(below) => {
                    at = below;
                    true
                }
                None => false,
            })
            .count()
    };
    let all: BTreeSet<_> = after
        .iter()
        .flat_map(|(upper, below)| [*upper, *below])
        .collect();
    let mut found: Vec<_> = all.into_iter().map(layer).collect();
    found.sort_by_key(|layer| depth(&layer.channel));
    found
}

impl Site {
    /// The layers that the configuration of the service names; empty if it names none.
    pub async fn layers(&self, service: &Service, state: &State) -> Result<Vec<Layer>, Error> {
        let setup = &service.setup;
        if setup.watches.iter().all(|watch| watch.after.is_none()) {
            return Ok(Vec::new());
        }
        let catalog = match crate::build::BuildArea::new(self)?.published()? {
            Some(store) => store.catalog(&Scope::All).await.map_err(refused)?,
            None => Catalog::default(),
        };
        Ok(layers(setup, state, &catalog))
    }
}
