//! A channel in the index of the root.

use stx_layout::index::{ChannelIndex, ChannelSummary, NewestBuild};
use stx_layout::{AliasEntry, AliasName, BuildDate};

/// A channel, from its index; the build below is derived from all channels.
pub(crate) fn summary(index: &ChannelIndex) -> ChannelSummary {
    let latest_build = latest_of(index.aliases.get(&AliasName::latest_build()));
    let newest = index.builds.first().map(|build| NewestBuild {
        date: build.date,
        result: build.record.as_ref().map(|record| record.result),
    });
    let latest = index
        .builds
        .iter()
        .find(|build| Some(build.date) == latest_build);
    let records = index
        .builds
        .iter()
        .filter_map(|build| build.record.as_ref());
    ChannelSummary {
        channel: index.channel.clone(),
        serial: index.serial,
        builds: index.builds.len() as u64,
        bytes: records.map(|record| record.bytes).sum(),
        newest,
        latest_build,
        latest_green_build: latest_of(index.aliases.get(&AliasName::latest_green_build())),
        iso: latest.map(|build| build.iso.clone()).unwrap_or_default(),
        after: None,
    }
}

/// The build that an alias points at.
pub(crate) fn latest_of(shown: Option<&AliasEntry>) -> Option<BuildDate> {
    match shown {
        Some(AliasEntry::Build(date)) => Some(*date),
        Some(AliasEntry::Other(_)) | None => None,
    }
}
