//! The note beside the pages: the inputs of the pages of each channel.
//!
//! The pages of a channel depend on
//! - the catalog, verdicts and pins of the channel, its sections in the trash, and its existing pages: [`Outline`];
//! - the configuration, the policy, the key and the program: [`Note::key`];
//! - the time: the note has the next instant at which a build reaches its age, a pin ends, or the index has to be signed again;
//! - facts of other channels, in [`Bearing`]: release days, builds that are based on one of this channel, aliases that cannot be
//!   understood. A doubted clock concerns all channels: while it is doubted, the note does not vouch for any pages.
//!
//! Readers of builds are not noted. The pages of a channel that name a reader are made again each time; a reader who begins to hold a
//! build of another channel appears with the next change of that channel. `verify` finds a page that was edited by hand; a change of
//! its channel replaces it. The outlines of a directory do not look into builds, which do not change; a file in one that somebody
//! changes by hand, such as `KEEP`, appears with the next change of its channel, or of any channel after [`TRUSTED`].

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use stx_layout::{BuildDate, Channel, Sha256};
use stx_publish::incoming::digest_of;
use stx_publish::index::{ChannelSummary, PageName};
use stx_publish::store::Outline;
use stx_publish::{MirrorStore, PageWriter};
use stx_retention::Bearing;

use crate::error::Error;
use crate::refused;

/// The time after which the pages of a channel are made again without a known change.
pub(super) const TRUSTED: TimeDelta = TimeDelta::days(1);

/// The inputs of the pages of all channels.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    /// The digest of the inputs that all channels share.
    pub(super) key: Sha256,
    /// The time at which pages were last made.
    pub(super) now: DateTime<Utc>,
    /// True if the clock was doubted then, which concerns all pages.
    pub(super) doubted: bool,
    pub(super) channels: BTreeMap<Channel, Noted>,
}

/// The inputs of the pages of a channel, and the facts of it that the pages of other channels need.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Noted {
    /// The digest of the inputs of this channel alone; absent if the pages have to be made again each time.
    pub(super) of: Option<Sha256>,
    /// The next instant at which the time alone changes a page.
    pub(super) until: Option<DateTime<Utc>>,
    pub(super) summary: ChannelSummary,
    pub(super) newest_success: Option<BuildDate>,
    pub(super) bearing: Bearing,
}

impl Note {
    pub(super) async fn read(store: &dyn MirrorStore) -> Result<Option<Self>, Error> {
        let text = store.noted().await.map_err(refused)?;
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// True if the inputs that all channels share are unchanged, and the clock was not set back.
    pub(super) fn is_of(&self, key: Sha256, now: DateTime<Utc>) -> bool {
        self.key == key && !self.doubted && self.now <= now
    }

    /// The facts of a channel that others need, if the channel has not changed since. They depend neither on the policy nor on a doubt.
    pub(super) fn bearing(
        &self,
        channel: &Channel,
        seen: &Seen,
        now: DateTime<Utc>,
    ) -> Option<&Bearing> {
        let is_same = self.now <= now && self.vouches_for(channel, seen, now);
        is_same.then(|| &self.channels[channel].bearing)
    }

    pub(super) async fn keep(&self, pages: &dyn PageWriter) -> Result<(), Error> {
        let text = serde_json::to_vec(self).expect("a note has no map without text keys");
        pages.note(Some(text.into())).await.map_err(refused)
    }

    /// True if the pages of a channel are up to date.
    pub(super) fn vouches_for(&self, channel: &Channel, seen: &Seen, now: DateTime<Utc>) -> bool {
        let (noted, outline) = (self.channels.get(channel), seen.outlines.get(channel));
        noted.zip(outline).is_some_and(|(noted, outline)| {
            let is_same = noted.of.is_some() && noted.of == seen.of(channel, &outline.pages);
            is_same && noted.until.is_none_or(|until| now < until)
        })
    }
}

/// The state of the mirror, without its records.
pub(super) struct Seen {
    pub(super) outlines: BTreeMap<Channel, Outline>,
}

impl Seen {
    /// Reads the state of the mirror; `None` if the store has no outlines.
    pub(super) async fn look(store: &dyn MirrorStore) -> Result<Option<Self>, Error> {
        let outlines = store.outlines().await.map_err(refused)?;
        Ok(outlines.map(|outlines| Self { outlines }))
    }

    /// The digest of the inputs of a channel with these pages; `None` if the channel did not exist.
    pub(super) fn of<'a>(
        &self,
        channel: &Channel,
        pages: impl IntoIterator<Item = &'a PageName>,
    ) -> Option<Sha256> {
        let outline = self.outlines.get(channel)?;
        let pages: Vec<_> = pages.into_iter().collect();
        let text = format!("{} {pages:?}", outline.digest);
        Some(digest_of(text.as_bytes()))
    }
}
