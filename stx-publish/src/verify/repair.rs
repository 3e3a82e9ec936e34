//! Repairs derived data: aliases, and leftovers of dead publishers.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use stx_layout::{AliasName, BuildDate, Channel};

use super::check::BY_HAND;
use super::green::check_green;
use super::{FindingKind, VerifyError, VerifyReport, check_aliases};
use crate::aliases::RootStep;
use crate::store::{Leftover, MirrorStore, Scope, StoreError, offer_latest};
use crate::verdicts::{newest_green, readable_verdicts};

/// One alias that was repaired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepairedAlias {
    /// The channel.
    pub channel: Channel,
    /// The alias.
    pub alias: AliasName,
    /// Its new target, the newest success or green build; `None` if no such build exists, and the alias was removed.
    pub to: Option<BuildDate>,
}

/// A name that is wrong and was not changed, because its target is unknown or has no build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftName {
    /// Its path on the mirror.
    pub name: String,
    /// The reason, and the next step.
    pub why: String,
}

/// The result of a repair.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RepairReport {
    /// The aliases of channels that were repaired.
    pub aliases: Vec<RepairedAlias>,
    /// The names that are wrong and were not changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<LeftName>,
    /// The aliases of releases and channels that were repaired.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<RootStep>,
    /// Channels whose paths without a date now lead to the newest build again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub offered: Vec<Channel>,
    /// The leftovers that were removed.
    pub swept: Vec<Leftover>,
    /// Channels that were not changed, because another publisher is working there.
    pub busy: Vec<Channel>,
    /// Catalog pages that were made again, by their paths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pages: Vec<String>,
    /// Catalog pages that were removed, because their builds or channels are gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed_pages: Vec<String>,
}

impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for RepairedAlias { channel, alias, to } in &self.aliases {
            match to {
                Some(to) => writeln!(f, "{channel}/{alias}: points at {to} now")?,
                None => writeln!(
                    f,
                    "{channel}/{alias}: removed, there is no build to point at"
                )?,
            }
        }
        self.left
            .iter()
            .try_for_each(|LeftName { name, why }| writeln!(f, "{name}: not changed, {why}"))?;
        self.names
            .iter()
            .try_for_each(|step| writeln!(f, "{step}"))?;
        self.offered.iter().try_for_each(|channel| {
            writeln!(f, "{channel}: paths without a date lead to latest_build")
        })?;
        self.swept.iter().try_for_each(|leftover| {
            writeln!(f, "{}: swept {}", leftover.channel, leftover.what)
        })?;
        self.busy.iter().try_for_each(|channel| {
            writeln!(f, "{channel}: skipped, another publisher is at work")
        })?;
        self.pages
            .iter()
            .try_for_each(|page| writeln!(f, "{page}: made again"))?;
        self.removed_pages.iter().try_for_each(|page| {
            writeln!(f, "{page}: removed, because its build or channel is gone")
        })
    }
}

/// Points the aliases of a channel at their right targets, for a publisher that died between a build and its alias.
pub async fn repair_aliases(
    store: &dyn MirrorStore,
    channel: &Channel,
) -> Result<RepairReport, VerifyError> {
    let scope = Scope::Channel(channel.clone());
    let catalog = store.catalog(&scope).await;
    let catalog = catalog.map_err(|source| VerifyError::new(&scope, source))?;
    let mut seen = VerifyReport::default();
    if let Some(entry) = catalog.channels.get(channel) {
        check_aliases(channel, entry, &mut seen);
        let checked = check_green(store, channel, entry, &mut seen).await;
        checked.map_err(|source| VerifyError::new(&scope, source))?;
    }
    repair(store, &seen).await
}

/// Repairs the findings of `report` about derived data: `latest_build` points to the newest success and, in channels with verdicts,
/// `latest_green_build` to the newest green build. The right target of other aliases of a channel is unknown, so they are not
/// changed; neither is an alias that has changed since the report.
pub async fn repair(
    store: &dyn MirrorStore,
    report: &VerifyReport,
) -> Result<RepairReport, VerifyError> {
    let mut done = RepairReport::default();
    let swept = report
        .findings
        .iter()
        .filter(|finding| finding.kind == FindingKind::Leftover);
    let swept: BTreeSet<_> = swept
        .filter_map(|finding| finding.channel.as_ref())
        .collect();
    let undated = report.findings.iter().filter(|finding| {
        matches!(
            finding.kind,
            FindingKind::UndatedDangling | FindingKind::UndatedNotLatest
        )
    });
    let undated: BTreeSet<_> = undated
        .filter_map(|finding| finding.channel.as_ref())
        .collect();
    let channels: BTreeSet<_> = report
        .aliases
        .iter()
        .map(|seen| &seen.channel)
        .chain(swept.iter().copied())
        .chain(undated.iter().copied())
        .collect();
    for channel in channels {
        let scope = Scope::Channel(channel.clone());
        let fail = |source| VerifyError::new(&scope, source);
        let writer = match store.lock(channel).await {
            Ok(writer) => writer,
            Err(StoreError::Busy { .. }) => {
                done.busy.push(channel.clone());
                continue;
            }
            Err(source) => return Err(fail(source)),
        };
        let catalog = store.catalog(&scope).await.map_err(fail)?;
        let entry = catalog.channels.get(channel);
        let newest = entry.and_then(stx_layout::ChannelEntry::newest_success);
        let (latest, latest_green) = (AliasName::latest_build(), AliasName::latest_green_build());
        let asked = report.aliases.iter();
        let mut asked = asked.filter(|seen| seen.channel == *channel);
        let history = if asked.any(|seen| seen.alias == latest_green) {
            let read = readable_verdicts(store, &scope, &catalog).await;
            let read = read.map_err(fail)?;
            // With some verdicts missing, another build could seem to be the newest green one.
            if read.unreadable.is_empty() {
                read.history
            } else {
                Vec::new()
            }
        } else {
            Vec::new()
        };
        for seen in report
            .aliases
            .iter()
            .filter(|seen| seen.channel == *channel)
        {
            let to = if seen.alias == latest {
                newest
            } else if seen.alias == latest_green && !history.is_empty() {
                entry.and_then(|entry| newest_green(channel, entry, &history))
            } else {
                // Only the program that made the alias knows its target. The newest success would be a guess that looks right.
                let shown = entry.and_then(|entry| entry.aliases.get(&seen.alias));
                if shown == seen.shown.as_ref() {
                    done.left.push(LeftName {
                        name: format!("{channel}/{}", seen.alias),
                        why: format!("no rule gives its target; {BY_HAND}"),
                    });
                }
                continue;
            };
            match writer.point(&seen.alias, seen.shown.as_ref(), to).await {
                Ok(()) => done.aliases.push(RepairedAlias {
                    channel: channel.clone(),
                    alias: seen.alias.clone(),
                    to,
                }),
                Err(StoreError::Conflict { .. }) => {}
                // An entry of another kind is in its place.
                Err(error @ StoreError::Refused { .. }) => done.left.push(LeftName {
                    name: format!("{channel}/{}", seen.alias),
                    why: error.to_string(),
                }),
                Err(source) => return Err(fail(source)),
            }
        }
        if undated.contains(channel) && newest.is_some() {
            offer_latest(store, &*writer).await.map_err(fail)?;
            done.offered.push(channel.clone());
        }
        if swept.contains(channel) {
            done.swept.extend(writer.sweep().await.map_err(fail)?);
        }
    }
    Ok(done)
}
