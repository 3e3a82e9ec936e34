//! Finishes the tags that a killed publisher left unfinished on the registry.

use std::collections::BTreeSet;

use stx_layout::{AliasEntry, AliasName, BuildDate, BuildRecord, Channel, ChannelEntry};

use super::{ImageError, ImagePlan, ImageReport, ImageRules, NamedImage, plan, push, recorded};
use crate::prepare::registry_state;
use crate::registry::ImageRegistry;
use stx_publish::ErrorKind;
use stx_publish::plan::alias_verdict;
use stx_publish::store::{MirrorStore, Scope, StoreError};

/// Tags of a channel that could not be finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FinishError {
    /// The mirror could not be read or locked.
    #[error("{channel}: the tags of its images cannot be checked")]
    Store {
        /// The channel.
        channel: Box<Channel>,
        /// The error that caused it.
        source: StoreError,
    },
    /// The registry failed.
    #[error("{channel}: the tags of its images are not finished")]
    Images {
        /// The channel.
        channel: Box<Channel>,
        /// The error that caused it.
        source: ImageError,
    },
}

impl FinishError {
    /// Its kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store { source, .. } => source.kind(),
            Self::Images { source, .. } => source.kind(),
        }
    }
}

/// The builds of a channel whose tags are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishBuilds {
    /// The newest build and the newest success: the last publisher may have left them behind.
    Newest,
    /// Those and all older ones, which later publishers do not look at. An older build whose images are gone from the registry, or whose
    /// tags show other images, is passed over: no request mends that, and [`audit`](crate::audit) names it.
    All,
}

/// Makes the tags that a publisher did not make because it was killed after its commit. If another publisher is at work, they are
/// left to it.
pub async fn finish(
    store: &dyn MirrorStore,
    registry: &dyn ImageRegistry,
    rules: &ImageRules,
    channel: &Channel,
    builds: FinishBuilds,
) -> Result<ImageReport, FinishError> {
    let mirror = |source| FinishError::Store {
        channel: Box::new(channel.clone()),
        source,
    };
    let failed = |source| FinishError::Images {
        channel: Box::new(channel.clone()),
        source,
    };
    if left_over(store, registry, rules, channel, builds, &mirror, &failed)
        .await?
        .is_empty()
    {
        return Ok(ImageReport::default());
    }
    let _writer = match store.lock(channel).await {
        Ok(writer) => writer,
        Err(StoreError::Busy { .. }) => return Ok(ImageReport::default()),
        Err(source) => return Err(mirror(source)),
    };
    let mut report = ImageReport::default();
    for (images, plan) in
        left_over(store, registry, rules, channel, builds, &mirror, &failed).await?
    {
        let done = push(registry, &images, &plan).await.map_err(failed)?;
        report.tagged.extend(done.tagged);
        report.unchanged.extend(done.unchanged);
    }
    Ok(report)
}

/// The images whose tags are missing or wrong, with the plan for them.
async fn left_over(
    store: &dyn MirrorStore,
    registry: &dyn ImageRegistry,
    rules: &ImageRules,
    channel: &Channel,
    builds: FinishBuilds,
    mirror: &(dyn Fn(StoreError) -> FinishError + Sync),
    failed: &(dyn Fn(ImageError) -> FinishError + Sync),
) -> Result<Vec<(Vec<NamedImage>, ImagePlan)>, FinishError> {
    let scope = Scope::Channel(channel.clone());
    let mut catalog = store.catalog(&scope).await.map_err(mirror)?;
    let entry = catalog.channels.remove(channel).unwrap_or_default();
    let newest = entry.builds.keys().next_back().copied();
    let newest: BTreeSet<_> = newest.into_iter().chain(entry.newest_success()).collect();
    let looked_at = |date: &&BuildDate| builds == FinishBuilds::All || newest.contains(*date);
    let mut left = Vec::new();
    for date in entry.builds.keys().filter(looked_at) {
        let Some(record) = entry.builds.get(date).and_then(|build| build.record()) else {
            continue;
        };
        let images = recorded(record, &rules.registry);
        if images.is_empty() {
            continue;
        }
        let plan = plan_for(registry, rules, &entry, record, &images).await;
        let plan = if newest.contains(date) {
            plan.map_err(failed)?
        } else {
            let mut plan = match plan {
                Err(ImageError::Clash(_)) => continue,
                plan => plan.map_err(failed)?,
            };
            if !plan.images.iter().all(|step| step.stored) {
                continue;
            }
            // They are the newest success's, even while `latest_build` still shows this build.
            plan.moving.clear();
            plan
        };
        if !plan.is_noop() {
            left.push((images, plan));
        }
    }
    Ok(left)
}

/// The plan for the images of a published build. Moving tags follow `latest_build`; if that is held at an older build, they do
/// not move.
pub async fn plan_for(
    registry: &dyn ImageRegistry,
    rules: &ImageRules,
    channel: &ChannelEntry,
    record: &BuildRecord,
    images: &[NamedImage],
) -> Result<ImagePlan, ImageError> {
    let latest = AliasName::latest_build();
    let shown = channel.aliases.get(&latest);
    let verdict = alias_verdict(channel, shown, record, false);
    let here = shown == Some(&AliasEntry::Build(record.id.date));
    let moving = if channel.held.contains(&latest) && !here {
        &[][..]
    } else {
        &rules.moving
    };
    let seen = registry_state(registry, images, moving).await;
    let seen = seen.map_err(|source| ImageError::Registry {
        registry: registry.host().to_owned(),
        source,
    })?;
    let planned = plan(&record.id, images, moving, &verdict, &seen);
    planned.map_err(|mut clashes| ImageError::Clash(clashes.swap_remove(0)))
}
