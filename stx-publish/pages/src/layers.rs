//! The builds below, for a distribution in layers: the edges of the graph of channels.
//!
//! They are read from the records of the builds, not from the configuration: a copy of a mirror has its records and seldom the
//! configuration of its service, and a record names the build below even after the configuration changed. A channel that is
//! configured `after` another appears with its first success.

use std::collections::BTreeMap;

use stx_layout::index::{BelowState, BelowSummary};
use stx_layout::{BuildDate, BuildId, Catalog, Channel};

/// The newest success of a channel, and the build upon which it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Top {
    pub(super) newest: Option<BuildDate>,
    pub(super) upon: Option<BuildId>,
}

/// The top of each channel of a catalog.
pub(super) fn tops(catalog: &Catalog) -> BTreeMap<Channel, Top> {
    let channels = catalog.channels.keys();
    let tops = channels.map(|channel| {
        let newest = catalog.newest_success(channel);
        let upon = newest.as_ref().and_then(|newest| catalog.upon(newest));
        let top = Top {
            upon: upon.cloned(),
            newest: newest.map(|newest| newest.date),
        };
        (channel.clone(), top)
    });
    tops.collect()
}

/// The build below the newest success of each channel that has one.
pub(super) fn below(catalog: &Catalog) -> BTreeMap<Channel, BelowSummary> {
    below_tops(&tops(catalog), |build| catalog.build(build).is_some())
}

/// Like [`below`], from the tops of all channels; `has` tells which builds the mirror has.
pub(super) fn below_tops(
    tops: &BTreeMap<Channel, Top>,
    has: impl Fn(&BuildId) -> bool,
) -> BTreeMap<Channel, BelowSummary> {
    let below = tops.iter().filter_map(|(channel, top)| {
        let (date, build) = (top.newest?, top.upon.as_ref()?);
        let newest = tops.get(&build.channel).and_then(|top| top.newest);
        let state = if !has(build) {
            BelowState::Gone
        } else if newest == Some(build.date) {
            BelowState::Newest
        } else {
            BelowState::Older
        };
        let below = BelowSummary {
            date,
            build: build.clone(),
            state,
        };
        Some((channel.clone(), below))
    });
    below.collect()
}
