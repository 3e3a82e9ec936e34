//! Checks the notes that a mirror keeps beside its builds: pins, and tags that still have to be removed.

use super::{Finding, FindingKind, VerifyReport};
use crate::error::chain;
use crate::store::rules::PinFile;
use crate::store::{MirrorStore, Scope, StoreError};

/// Adds the tags that still have to be removed to `report`, and findings for notes that cannot be parsed.
pub(super) async fn check_notes(
    store: &dyn MirrorStore,
    scope: &Scope,
    report: &mut VerifyReport,
) -> Result<(), StoreError> {
    let kind = FindingKind::Unreadable;
    let pins = store.pins(scope).await?;
    let unknown = pins.iter().filter(|pin| PinFile::is_unknown(pin));
    report.findings.extend(unknown.map(|pin| {
        let message = format!("its pins cannot be understood; {}", pin.reason);
        Finding::build(&pin.build, None, kind, message)
    }));
    match store.owed(scope).await {
        Ok(owed) => report.owed = owed,
        Err(error @ StoreError::Damaged { .. }) => {
            report.findings.push(Finding {
                channel: None,
                build: None,
                path: None,
                kind,
                severity: kind.severity(),
                message: format!(
                    "it is not known which tags of builds that are gone are still to be removed: {}",
                    chain(&error)
                ),
            });
        }
        Err(error) => return Err(error),
    }
    Ok(())
}
