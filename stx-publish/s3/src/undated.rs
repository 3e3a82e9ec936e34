//! Paths without a date: copies of the files of the build that `latest_build` points at.
//!
//! ```text
//! <channel>/outputs/…                     copies of <channel>/<date>/outputs/…, with `Cache-Control: no-cache`
//! .stx/undated/<channel>/%2Estate         the build, the sections, and a flag that they are complete
//! ```
//!
//! The files are read and sent again, because a copy by the server would tell caches to keep it for ever, like a file of a build.
//! Each file is whole at any time; while one build replaces another, readers see files of both.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use stx_layout::{AliasName, BuildDate, BuildId, Channel, Section, UndatedEntry};

use super::Inner;
use super::keys;
use super::lease::Lease;
use super::objects::Keep;
use stx_publish::store::StoreError;
use stx_publish::store::rules::check_offer;

/// The number of files in transfer at the same time.
const PARALLEL: usize = 8;

/// The text of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    schema: u32,
    /// The build whose files are copied.
    build: BuildDate,
    sections: BTreeSet<Section>,
    /// True if all of its files are present, and no others.
    complete: bool,
}

impl Inner {
    async fn undated_state(&self, channel: &Channel) -> Result<Option<State>, StoreError> {
        let name = keys::undated(channel);
        let Some((text, _)) = self.objects.get(&name).await? else {
            return Ok(None);
        };
        let state = serde_json::from_slice(&text).map_err(|error| StoreError::Damaged {
            what: name,
            source: error.into(),
        })?;
        Ok(Some(state))
    }

    /// The sections of a channel that can be read without a date.
    pub(super) async fn undated(
        &self,
        channel: &Channel,
    ) -> Result<BTreeMap<Section, UndatedEntry>, StoreError> {
        let Some(state) = self.undated_state(channel).await? else {
            return Ok(BTreeMap::new());
        };
        let entry = || {
            if state.complete {
                UndatedEntry::Build(state.build)
            } else {
                UndatedEntry::Other(format!("a part of {}", state.build))
            }
        };
        let sections = state.sections.iter();
        Ok(sections.map(|section| (*section, entry())).collect())
    }

    /// The channels that have, or had, sections without a date.
    pub(super) async fn undated_channels(&self) -> Result<BTreeSet<Channel>, StoreError> {
        let listed = self.objects.list(keys::UNDATED).await?;
        let channels = listed.iter().filter_map(|it| {
            let (channel, _) = it.name.rsplit_once('/')?;
            channel.parse().ok()
        });
        Ok(channels.collect())
    }

    pub(super) async fn offer(
        &self,
        lease: &Lease,
        channel: &Channel,
        sections: &BTreeSet<Section>,
    ) -> Result<(), StoreError> {
        let latest = self.alias(channel, &AliasName::latest_build()).await?;
        let build = check_offer(channel, latest.as_ref())?;
        let before = self.undated_state(channel).await?;
        let mut own = BTreeSet::new();
        for section in Section::ALL {
            let mine = before
                .as_ref()
                .is_some_and(|it| it.sections.contains(&section));
            let prefix = format!("{channel}/{}", section.as_str());
            // Files without a state come from an older publisher.
            if mine || self.objects.list(&prefix).await?.is_empty() {
                own.insert(section);
            }
        }
        let sections: BTreeSet<_> = sections.intersection(&own).copied().collect();
        let mut state = State {
            schema: 1,
            build,
            sections: sections.clone(),
            complete: true,
        };
        if before.as_ref() == Some(&state) || (before.is_none() && sections.is_empty()) {
            return Ok(());
        }
        lease.check(&self.objects).await?;
        let id = BuildId::new(channel.clone(), build);
        let listed = self.objects.list(&keys::build(&id)).await?;
        let wanted = listed.iter().filter(|it| {
            let word = it.name.split('/').next().unwrap_or_default();
            Section::from_word(word).is_some_and(|section| sections.contains(&section))
        });
        let wanted: BTreeMap<_, _> = wanted.map(|it| (it.name.clone(), it.size)).collect();
        state.complete = false;
        // Until all files are present, the previous sections also count as this program's.
        state
            .sections
            .extend(before.into_iter().flat_map(|it| it.sections));
        self.note_undated(channel, &state).await?;
        let mut copies = Vec::with_capacity(wanted.len());
        for (name, size) in &wanted {
            let (from, to) = (format!("{id}/{name}"), format!("{channel}/{name}"));
            copies.push(async move { self.objects.copy_anew(&from, &to, Keep::Not, *size).await });
        }
        let copies = stream::iter(copies).buffer_unordered(PARALLEL);
        copies.try_collect::<()>().await?;
        for section in &own {
            let prefix = format!("{channel}/{}", section.as_str());
            let there = self.objects.list(&prefix).await?;
            let there = there
                .iter()
                .map(|it| format!("{}/{}", section.as_str(), it.name));
            let old = there.filter(|name| !wanted.contains_key(name));
            let old: Vec<_> = old.map(|name| format!("{channel}/{name}")).collect();
            self.objects.delete(old).await?;
        }
        state.sections = sections;
        state.complete = true;
        self.note_undated(channel, &state).await
    }

    async fn note_undated(&self, channel: &Channel, state: &State) -> Result<(), StoreError> {
        let text = serde_json::to_string(state).expect("a date and words") + "\n";
        self.objects
            .put(&keys::undated(channel), text, Keep::Not)
            .await
    }
}
