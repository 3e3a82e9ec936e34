//! Compares the registry with the image names in a mirror's records.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use stx_layout::{BuildId, Catalog, ImageName, Sha256};

use super::{ImageError, ImageRules, plan_for, recorded};
use crate::registry::{ImageRegistry, RegistryError};
use stx_publish::store::Scope;
use stx_publish::verify::{Finding, FindingKind, chain};

/// Compares the registry with the records, and returns the differences by build. Images that a record places on another registry
/// are not checked.
///
/// Moving tags are compared only for a channel or the whole mirror, like aliases.
pub async fn audit(
    registry: &dyn ImageRegistry,
    rules: &ImageRules,
    catalog: &Catalog,
    scope: &Scope,
) -> Vec<Finding> {
    match findings(registry, rules, catalog, scope).await {
        Ok(findings) => findings,
        Err(error) => {
            let kind = FindingKind::RegistryUnreachable;
            vec![Finding {
                channel: None,
                build: None,
                path: Some(registry.host().to_owned()),
                kind,
                severity: kind.severity(),
                message: format!("the images could not be checked: {}", chain(&error)),
            }]
        }
    }
}

async fn findings(
    registry: &dyn ImageRegistry,
    rules: &ImageRules,
    catalog: &Catalog,
    scope: &Scope,
) -> Result<Vec<Finding>, RegistryError> {
    let mut images: Vec<(BuildId, ImageName, Sha256)> = Vec::new();
    for (id, build) in catalog.builds() {
        let named = build
            .record()
            .map(|record| recorded(record, registry.host()));
        let named = named.into_iter().flatten();
        images.extend(named.map(|image| (id.clone(), image.name, image.digest)));
    }
    let looked = images.into_iter().map(|(id, name, digest)| async move {
        let shown = match registry.resolve(&name).await {
            Err(RegistryError::Unreadable { reason, .. }) => {
                let message = format!("exists, but the registry cannot read it: {reason}");
                let kind = FindingKind::ImageMissing;
                return Ok(Some(Finding::build(
                    &id,
                    Some(name.as_str()),
                    kind,
                    message,
                )));
            }
            shown => shown?,
        };
        Ok::<_, RegistryError>(difference(&id, &name, digest, shown))
    });
    let looked = stream::iter(looked).buffer_unordered(registry.parallel().max(1));
    let looked: Vec<_> = looked.try_collect().await?;
    let mut findings: Vec<_> = looked.into_iter().flatten().collect();
    match scope {
        Scope::All | Scope::Channel(_) => {
            findings.extend(moving(registry, rules, catalog).await?);
        }
        Scope::Build(_) => {}
    }
    findings.sort();
    Ok(findings)
}

fn difference(
    id: &BuildId,
    name: &ImageName,
    digest: Sha256,
    shown: Option<Sha256>,
) -> Option<Finding> {
    let (kind, message) = match shown {
        Some(shown) if shown == digest => return None,
        Some(shown) => (
            FindingKind::ImageChanged,
            format!("shows sha256:{shown} on the registry; build.json says sha256:{digest}"),
        ),
        None => (
            FindingKind::ImageMissing,
            format!("is not on the registry; build.json says sha256:{digest}"),
        ),
    };
    Some(Finding::build(id, Some(name.as_str()), kind, message))
}

/// The moving tags that do not name the image of their channel's newest success.
async fn moving(
    registry: &dyn ImageRegistry,
    rules: &ImageRules,
    catalog: &Catalog,
) -> Result<Vec<Finding>, RegistryError> {
    let mut findings = Vec::new();
    for (channel, entry) in &catalog.channels {
        let newest = entry.newest_success();
        let record = newest.and_then(|date| entry.builds.get(&date)?.record());
        let Some(record) = record else { continue };
        let images = recorded(record, registry.host());
        let plan = match plan_for(registry, rules, entry, record, &images).await {
            Ok(plan) => plan,
            // Already a finding of its build.
            Err(
                ImageError::Clash(_)
                | ImageError::Missing { .. }
                | ImageError::Registry {
                    source: RegistryError::Unreadable { .. },
                    ..
                },
            ) => continue,
            Err(ImageError::Registry { source, .. }) => return Err(source),
        };
        for step in plan.moving.iter().filter(|step| step.verdict.moves()) {
            let message = match step.shown {
                None => format!(
                    "is not on the registry; {} is the newest success",
                    record.id.date
                ),
                Some(shown) => format!(
                    "shows sha256:{shown} on the registry; sha256:{} of {} is the newest success",
                    step.digest, record.id.date
                ),
            };
            findings.push(Finding::channel(
                channel,
                Some(step.name.as_str()),
                FindingKind::ImageTagNotNewest,
                message,
            ));
        }
    }
    Ok(findings)
}
