//! Puts right what is derived: aliases, and what dead publishers left behind.

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

/// One alias that was put right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepairedAlias {
    /// The channel.
    pub channel: Channel,
    /// The alias.
    pub alias: AliasName,
    /// The build to which it points now, the newest success or green build; `None`: there is none, and the alias was removed.
    pub to: Option<BuildDate>,
}

/// A name that is wrong and was left as it is, because nothing says where it has to point, or its target has no build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftName {
    /// Its path on the mirror.
    pub name: String,
    /// Why it was left, and what to do next.
    pub why: String,
}

/// The result of a repair.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RepairReport {
    /// Aliases.
    pub aliases: Vec<RepairedAlias>,
    /// The names that are wrong and were left as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<LeftName>,
    /// The aliases of releases and channels that were set right.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<RootStep>,
    /// Channels whose paths without a date lead to the newest build again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub offered: Vec<Channel>,
    /// The leftovers that were removed.
    pub swept: Vec<Leftover>,
    /// Channels in which another publisher is at work, left alone.
    pub busy: Vec<Channel>,
    /// Catalog pages that were made again, or removed, by their paths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pages: Vec<String>,
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
            .try_for_each(|LeftName { name, why }| writeln!(f, "{name}: left as it is, {why}"))?;
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
            writeln!(f, "{channel}: left alone, another publisher is at work")
        })?;
        self.pages
            .iter()
            .try_for_each(|page| writeln!(f, "{page}: made again"))
    }
}

/// Points the aliases of a channel where they belong: what a publisher that died between a build and its alias did not do.
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

/// Repairs what `report` found and what can be derived: `latest_build` shows the newest success, `latest_green_build` the newest
/// green build where anything was marked. Of other aliases of a channel nothing says where they belong, so they are left as they
/// are. An alias that is no longer as the report saw it is left alone.
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
            // Of all verdicts but some, another build could seem to be the newest green one.
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
                // Only the program that made the alias knows where it belongs. The newest success would be a guess that looks
                // right.
                let shown = entry.and_then(|entry| entry.aliases.get(&seen.alias));
                if shown == seen.shown.as_ref() {
                    done.left.push(LeftName {
                        name: format!("{channel}/{}", seen.alias),
                        why: format!("nothing says where it has to point; {BY_HAND}"),
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
                // Something of somebody else lies in its place.
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
