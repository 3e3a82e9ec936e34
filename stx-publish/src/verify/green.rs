//! Checks `latest_green_build` against the verdicts.

use stx_layout::{AliasEntry, AliasName, Channel, ChannelEntry, VerdictEntry};

use super::{Finding, FindingKind, SeenAlias, VerifyReport};
use crate::error::chain;
use crate::store::{MirrorStore, Scope, StoreError};
use crate::verdicts::newest_green;

/// Adds a finding to `report` if `latest_green_build` of a channel does not agree with the verdicts. An alias that does not point at a
/// build is reported by [`check_aliases`](super::check_aliases).
pub(super) async fn check_green(
    store: &dyn MirrorStore,
    channel: &Channel,
    seen: &ChannelEntry,
    report: &mut VerifyReport,
) -> Result<(), StoreError> {
    let scope = Scope::Channel(channel.clone());
    let history = match store.verdicts(&scope).await {
        Err(error @ StoreError::Damaged { .. }) => {
            let kind = FindingKind::Unreadable;
            let message = format!("its verdicts cannot be read: {}", chain(&error));
            report
                .findings
                .push(Finding::channel(channel, None, kind, message));
            return Ok(());
        }
        history => history?,
    };
    let mut wrong = fault(channel, seen, &history);
    if wrong.is_some() {
        // A verdict may have been recorded and its alias not moved yet: check again under the lock.
        match store.lock(channel).await {
            Ok(_writer) => {
                let catalog = store.catalog(&scope).await?;
                let history = store.verdicts(&scope).await?;
                let entry = catalog.channels.get(channel);
                wrong = entry.and_then(|entry| fault(channel, entry, &history));
            }
            Err(StoreError::Busy { .. }) => return Ok(()),
            // A mirror that cannot be locked, such as one on a read-only mount, has no publisher.
            Err(_) => {}
        }
    }
    if let Some((shown, kind, message)) = wrong {
        let alias = AliasName::latest_green_build();
        report.findings.push(Finding::channel(
            channel,
            Some(alias.as_str()),
            kind,
            message,
        ));
        report.aliases.push(SeenAlias {
            channel: channel.clone(),
            alias,
            shown,
        });
    }
    Ok(())
}

type Fault = (Option<AliasEntry>, FindingKind, String);

fn fault(channel: &Channel, entry: &ChannelEntry, history: &[VerdictEntry]) -> Option<Fault> {
    if history.is_empty() {
        // Without any verdict here, the alias belongs to another program.
        return None;
    }
    let shown = entry.aliases.get(&AliasName::latest_green_build());
    let (kind, message) = match (shown, newest_green(channel, entry, history)) {
        (None, None) | (Some(AliasEntry::Other(_)), _) => return None,
        (Some(AliasEntry::Build(date)), _)
            if !entry
                .builds
                .get(date)
                .is_some_and(stx_layout::BuildEntry::is_success) =>
        {
            return None;
        }
        (Some(AliasEntry::Build(date)), Some(green)) if *date == green => return None,
        (None, Some(green)) => (
            FindingKind::AliasMissing,
            format!("is missing, the newest green build is {green}"),
        ),
        (Some(AliasEntry::Build(date)), Some(green)) => (
            FindingKind::AliasNotNewest,
            format!("points at {date}, the newest green build is {green}"),
        ),
        (Some(AliasEntry::Build(date)), None) => (
            FindingKind::AliasNotNewest,
            format!("points at {date}, and no build is green"),
        ),
    };
    Some((shown.cloned(), kind, message))
}
