//! The facts of a channel that affect decisions on the builds of other channels.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildEntry, BuildId, Catalog, Channel, ChannelEntry, Origin,
    ReleaseId,
};

/// The facts of a channel that affect decisions on the builds of other channels, at one moment. Nothing else of a channel is used
/// when builds of another one are judged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bearing {
    /// Its newest build that is not dated in the future. The clock is doubted if the newest one of all channels is old.
    pub newest: Option<BuildDate>,
    /// For a channel of a release: the success that was introduced first, and the time; the release day is learned from it.
    pub introduced: Option<(DateTime<Utc>, BuildDate)>,
    /// The builds of other channels upon which its builds were made, each with the oldest such build.
    pub upon: BTreeMap<BuildId, BuildDate>,
    /// Its aliases that cannot be parsed: they keep the builds that their texts name.
    pub unclear: BTreeMap<AliasName, String>,
}

impl Bearing {
    /// The facts of a channel at `now`.
    pub fn of(channel: &Channel, entry: &ChannelEntry, now: DateTime<Utc>) -> Self {
        let mut upon = BTreeMap::new();
        for (date, build) in &entry.builds {
            let after = build.record().and_then(|record| record.after.as_ref());
            if let Some(after) = after {
                upon.entry(after.build.clone()).or_insert(*date);
            }
        }
        let introductions = introductions(channel, entry);
        let unclear = entry.aliases.iter();
        let unclear = unclear.filter_map(|(alias, target)| match target {
            AliasEntry::Other(text) => Some((alias.clone(), text.clone())),
            AliasEntry::Build(_) => None,
        });
        Self {
            newest: entry
                .builds
                .keys()
                .rfind(|date| date.time() <= now)
                .copied(),
            introduced: introductions.filter(|(at, _)| *at <= now).min(),
            upon,
            unclear: unclear.collect(),
        }
    }
}

/// The times at which the successes of a channel of a release were introduced; empty for another channel.
pub(crate) fn introductions<'a>(
    channel: &Channel,
    entry: &'a ChannelEntry,
) -> impl Iterator<Item = (DateTime<Utc>, BuildDate)> + use<'a> {
    let is_release = match channel.release {
        ReleaseId::Release(_) => true,
        ReleaseId::Master | ReleaseId::Feature(_) | ReleaseId::Milestone(_) | ReleaseId::Rc(_) => {
            false
        }
    };
    let builds = entry.builds.iter().filter(move |_| is_release);
    let successes = builds.filter(|(_, build)| build.is_success());
    successes.map(|(date, build)| (introduction(*date, build), *date))
}

/// The time at which a build was introduced into its channel: its own date. For a promoted build, whose date may be that of the
/// tested build, it is the time of the promotion.
pub(crate) fn introduction(date: BuildDate, build: &BuildEntry) -> DateTime<Utc> {
    let own = date.time();
    match build.record().and_then(|record| record.origin.as_ref()) {
        // A wrong clock at the promotion must not introduce a build before its own date.
        Some(Origin::Promoted { at, .. }) => own.max(*at),
        Some(_) | None => own,
    }
}

/// The facts of each channel of a catalog, and of the channels that are `elsewhere`.
pub(crate) fn bearings(
    catalog: &Catalog,
    elsewhere: &BTreeMap<Channel, Bearing>,
    now: DateTime<Utc>,
) -> BTreeMap<Channel, Bearing> {
    let mut all = elsewhere.clone();
    let channels = catalog.channels.iter();
    all.extend(
        channels.map(|(channel, entry)| (channel.clone(), Bearing::of(channel, entry, now))),
    );
    all
}
