//! Verifies the chain of builds that a build was built upon, down to the first layer.

use std::collections::BTreeSet;

use stx_layout::{After, BuildId, BuildRecord, Catalog, Sums};

use super::{Finding, FindingKind, VerifyError, VerifyReport};
use crate::incoming::digest_of;
use crate::seal::{LONGEST_TEXT, sums_path};
use crate::store::{MirrorRead, Scope, StoreError, read_all};

/// Checks that each build that a build of `scope` was built upon is unchanged, by the digest of its `SHA256SUMS`, and so on down to
/// the first layer. If such a lower build is not on the mirror any more, the finding is a note.
///
/// Reads only the `SHA256SUMS` and the record of a lower build; its files are checked when that build is verified itself.
pub async fn verify_after(
    store: &dyn MirrorRead,
    scope: &Scope,
    report: &mut VerifyReport,
) -> Result<(), VerifyError> {
    let fail = |source| VerifyError::new(scope, source);
    let catalog = store.catalog(scope).await.map_err(fail)?;
    let mut seen = BTreeSet::new();
    let mut links = links(&catalog);
    while let Some((upper, after)) = links.pop() {
        if !seen.insert((upper.clone(), after.clone())) {
            continue;
        }
        let below = &after.build;
        let sums = read_all(store, below, &sums_path(), LONGEST_TEXT).await;
        let (kind, message) = match sums {
            Ok(sums) if digest_of(&sums) == after.sums => {
                match store.record(below).await {
                    Ok(record) => links.extend(link(below, &record)),
                    // The build was retired in the meantime, or its own check reports the damage.
                    Err(StoreError::NotFound { .. } | StoreError::Damaged { .. }) => {}
                    Err(error) => return Err(fail(error)),
                }
                continue;
            }
            Ok(_) => (
                FindingKind::AfterDiffers,
                format!(
                    "{below}, which it was built upon, has another {} now",
                    Sums::FILE_NAME
                ),
            ),
            Err(StoreError::NotFound { .. }) => (
                FindingKind::AfterGone,
                format!("{below}, which it was built upon, is not on the mirror"),
            ),
            Err(error) => return Err(fail(error)),
        };
        let path = BuildRecord::FILE_NAME;
        let finding = Finding::build(&upper, Some(path), kind, message);
        report.findings.push(finding);
    }
    report.findings.sort();
    Ok(())
}

fn link(upper: &BuildId, record: &BuildRecord) -> Option<(BuildId, After)> {
    Some((upper.clone(), record.after.clone()?))
}

fn links(catalog: &Catalog) -> Vec<(BuildId, After)> {
    let builds = catalog.builds();
    builds
        .filter_map(|(id, entry)| link(&id, entry.record()?))
        .collect()
}

#[cfg(test)]
mod tests;
