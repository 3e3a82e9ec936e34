//! Checks the names above the channels.

use std::collections::BTreeMap;

use stx_layout::{Catalog, ReleaseOrder, RootAlias, RootEntry, RootTarget};

use super::{Finding, FindingKind};
use crate::aliases::AliasPolicy;
use crate::store::rules::{newest_release, root_targets};

/// Checks the aliases of releases and channels against the contents of the mirror, and against the `policy` if it is known.
pub fn check_root_aliases(
    catalog: &Catalog,
    aliases: &BTreeMap<RootAlias, RootEntry>,
    policy: Option<&AliasPolicy>,
) -> Vec<Finding> {
    let targets = root_targets(catalog);
    let newest = newest_release(catalog).map(RootTarget::Release);
    let mut findings = Vec::new();
    let mut find = |alias: &RootAlias, kind: FindingKind, message: String| {
        findings.push(Finding {
            channel: None,
            build: None,
            path: Some(alias.to_string()),
            kind,
            severity: kind.severity(),
            message,
        });
    };
    for (alias, shown) in aliases {
        let fixed = policy.and_then(|policy| policy.links.get(alias));
        let follows = policy.is_none_or(AliasPolicy::follows_releases);
        match shown {
            RootEntry::To(to) if !alias.fits(to) => {
                let message = format!("points at {to}, which is of another kind");
                find(alias, FindingKind::AliasMalformed, message);
            }
            RootEntry::Other(text) => {
                let message = format!("points at {text:?}, no release or channel of the mirror");
                find(alias, FindingKind::AliasMalformed, message);
            }
            RootEntry::To(to) if !targets.contains(to) => {
                let message = format!("points at {to}, which has no build");
                find(alias, FindingKind::AliasDangling, message);
            }
            RootEntry::To(to) if fixed.is_some_and(|fixed| fixed != to) => {
                let fixed = fixed.map(ToString::to_string).unwrap_or_default();
                let message = format!("points at {to}, the configuration says {fixed}");
                find(alias, FindingKind::AliasDiffers, message);
            }
            RootEntry::To(to) if *alias == RootAlias::LatestRelease && follows => {
                if let Some(newest) = &newest
                    && is_newer(newest, to)
                {
                    let message = format!("points at {to}, the newest release is {newest}");
                    find(alias, FindingKind::AliasNotNewest, message);
                }
            }
            RootEntry::To(_) => {}
        }
        if policy.is_some_and(|policy| policy.exclusive && !policy.names(alias)) {
            let message = "made by hand: [aliases] of the configuration does not name it";
            find(alias, FindingKind::AliasUnconfigured, message.to_owned());
        }
    }
    let Some(policy) = policy else {
        return findings;
    };
    let latest = RootAlias::LatestRelease;
    let newest = newest.filter(|_| policy.follows_releases());
    let wanted = policy.links.iter();
    let wanted = wanted.chain(newest.iter().map(|newest| (&latest, newest)));
    for (alias, to) in wanted {
        if targets.contains(to) && !aliases.contains_key(alias) {
            let message = format!("is missing, it must point at {to}");
            find(alias, FindingKind::AliasMissing, message);
        }
    }
    findings
}

/// True if a release is newer than the one that `release/latest_release` points to.
fn is_newer(newest: &RootTarget, shown: &RootTarget) -> bool {
    let place = |target: &RootTarget| match target {
        RootTarget::Release(release) => ReleaseOrder::of(release),
        RootTarget::Channel(_) => None,
    };
    place(newest) > place(shown)
}
