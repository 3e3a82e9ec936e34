//! The builds below, of a distribution in layers: the edges of the graph of channels.
//!
//! They are read from the records of the builds, not from the configuration: a copy of a mirror has its records and seldom the
//! configuration of its service, and a record says upon which build another was made, also after the configuration changed.
//! A channel that is configured `after` another appears with its first success.

use std::collections::BTreeMap;

use stx_layout::index::{BelowState, BelowSummary};
use stx_layout::{Catalog, Channel};

/// The build below the newest success of each channel that has one.
pub(super) fn below(catalog: &Catalog) -> BTreeMap<Channel, BelowSummary> {
    let channels = catalog.channels.keys();
    let below = channels.filter_map(|channel| {
        let newest = catalog.newest_success(channel)?;
        let build = catalog.upon(&newest)?;
        let state = if catalog.build(build).is_none() {
            BelowState::Gone
        } else if catalog.newest_success(&build.channel).as_ref() == Some(build) {
            BelowState::Newest
        } else {
            BelowState::Older
        };
        let below = BelowSummary {
            date: newest.date,
            build: build.clone(),
            state,
        };
        Some((channel.clone(), below))
    });
    below.collect()
}
