//! What of a mirror a keyring does not vouch for, as findings.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use stx_layout::Sums;

use super::{Keyring, Seen, Vouched};
use crate::store::{MirrorRead, Scope, StoreError};
use crate::verify::{Finding, FindingKind, VerifyError, VerifyReport, chain};

/// Looks for builds whose sums no key of `keyring` has signed, and, unless one build is meant, for indexes that no key has
/// signed or that are expired; adds what it finds to `report`.
pub async fn verify_signatures(
    store: Arc<dyn MirrorRead>,
    keyring: Keyring,
    scope: &Scope,
    now: DateTime<Utc>,
    report: &mut VerifyReport,
) -> Result<(), VerifyError> {
    let fail = |source| VerifyError {
        scope: Box::new(scope.clone()),
        source,
    };
    let catalog = store.catalog(scope).await.map_err(fail)?;
    let vouched = Vouched::new(store, keyring, Seen::default(), now, false);
    let mut found = Vec::new();
    for (id, _) in catalog.builds() {
        match vouched.sums(&id).await {
            // What cannot be read is found where the build is looked at.
            Ok(_) | Err(StoreError::NotFound { .. } | StoreError::Damaged { .. }) => {}
            Err(error @ StoreError::Untrusted { .. }) => {
                let why = reason(&error);
                let kind = FindingKind::Untrusted;
                found.push(Finding::build(&id, Some(Sums::FILE_NAME), kind, why));
            }
            Err(error) => return Err(fail(error)),
        }
    }
    let mut indexes = Vec::new();
    match scope {
        Scope::All => {
            indexes.push((None, vouched.root().await.map(drop)));
            for channel in catalog.channels.keys() {
                indexes.push((Some(channel), vouched.channel(channel).await.map(drop)));
            }
        }
        Scope::Channel(channel) => {
            indexes.push((Some(channel), vouched.channel(channel).await.map(drop)));
        }
        Scope::Build(_) => {}
    }
    for (channel, checked) in indexes {
        let kind = match &checked {
            Ok(()) => continue,
            Err(StoreError::Stale { .. }) => FindingKind::Stale,
            Err(
                StoreError::Untrusted { .. }
                | StoreError::NotFound { .. }
                | StoreError::Damaged { .. },
            ) => FindingKind::Untrusted,
            Err(_) => return Err(fail(checked.expect_err("an error"))),
        };
        let why = checked.map_or_else(|error| reason(&error), |()| String::new());
        let finding = Finding {
            channel: channel.cloned(),
            build: None,
            path: Some("index.json".to_owned()),
            kind,
            severity: kind.severity(),
            message: why,
        };
        // What is wrong with the root's is said once.
        if !found.contains(&finding) {
            found.push(finding);
        }
    }
    report.findings.append(&mut found);
    report.findings.sort();
    Ok(())
}

/// Why something is not believed, without what it is.
fn reason(error: &StoreError) -> String {
    use std::error::Error as _;
    error.source().map_or_else(|| error.to_string(), chain)
}
