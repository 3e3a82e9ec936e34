//! Executes the plan of a publish.
//!
//! ```text
//! PublishRequest ──prepare──> PublishPlan ──publish──> PublishReport
//! lock ── begin ── add* ── index* ── before_commit ── commit ── after_commit ── aliases ── offer
//! ```
//!
//! | module | contains |
//! |---|---|
//! | `prepare` | reads from the mirror what a plan depends on |
//! | `hooks` | [`CommitHooks`]: additional work around the commit |
//! | `error` | [`PublishError`]: the state in which a publish stopped |
//! | `promote` | the promotion of a build to a release: its plan, and its files |
//! | `report` | [`PublishReport`] |

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use stx_layout::{BuildDate, BuildPath};
use tracing::debug;

use crate::metadata::Indexed;
use crate::plan::{
    AliasStep, AliasVerdict, PublishAction, PublishPlan, alias_verdict, latest_leads,
};
use crate::store::{Added, ChannelWriter, MirrorStore, Scope, StagedBuild, StoreError};

mod error;
mod hooks;
mod prepare;
mod promote;
mod report;
#[cfg(test)]
mod tests;

pub use error::PublishError;
use error::{after_commit, not_committed, not_moved, not_offered, stopped};
use hooks::NoHooks;
pub use hooks::{CommitHooks, HookError};
pub use prepare::{PrepareError, prepare, prepare_in_full};
pub use promote::{prepare_promotion, read_original};
pub use report::PublishReport;

/// Executes `plan`.
///
/// After an error or a crash, either the mirror is unchanged, or the build is published and a rerun moves the aliases. The error
/// says which of the two applies: see [`PublishError`].
pub async fn publish(
    store: &dyn MirrorStore,
    plan: &PublishPlan,
) -> Result<PublishReport, PublishError> {
    publish_observed(store, plan, &|_, _| {}).await
}

/// Executes `plan`, and calls `observe` for each file that was added.
pub(crate) async fn publish_observed(
    store: &dyn MirrorStore,
    plan: &PublishPlan,
    observe: &(dyn Fn(&BuildPath, Added) + Sync),
) -> Result<PublishReport, PublishError> {
    publish_with_hooks(store, plan, &NoHooks, observe).await
}

/// Executes `plan`, runs `hooks` around the commit, and calls `observe` for each file that was added.
pub async fn publish_with_hooks(
    store: &dyn MirrorStore,
    plan: &PublishPlan,
    hooks: &dyn CommitHooks,
    observe: &(dyn Fn(&BuildPath, Added) + Sync),
) -> Result<PublishReport, PublishError> {
    let id = &plan.id;
    let mut report = PublishReport {
        id: id.clone(),
        action: plan.action,
        files: 0,
        bytes: 0,
        shared: 0,
        moved: Vec::new(),
        aliases: plan.aliases.clone(),
        privacy: Box::new(plan.privacy.clone()),
        metadata: BTreeMap::new(),
    };
    if plan.is_noop() && hooks.is_noop() {
        // The earlier publish may have died before the build was durable, and after success the caller may delete its files.
        let settled = store.settle(&id.channel).await;
        return settled
            .map(|()| report)
            .map_err(|source| after_commit(id, source));
    }
    let writer = store
        .lock(&id.channel)
        .await
        .map_err(|source| stopped(id, source))?;
    debug!(channel = %id.channel, "channel locked");
    let failed_before = |source| PublishError::HookBeforeCommit {
        id: Box::new(id.clone()),
        source,
    };
    let failed_after = |source| PublishError::HookAfterCommit {
        id: Box::new(id.clone()),
        source,
    };
    match plan.action {
        PublishAction::New => {
            let staged = writer
                .begin(id.date)
                .await
                .map_err(|source| stopped(id, source))?;
            let filled = match fill(store, &*staged, plan, observe).await {
                Ok(filled) => hooks
                    .before_commit()
                    .await
                    .map(|()| filled)
                    .map_err(failed_before),
                Err(error) => Err(error),
            };
            let record = match filled {
                Ok((shared, metadata)) => {
                    report.shared = shared;
                    report.metadata = metadata;
                    match staged.commit(plan.record.clone()).await {
                        Ok(record) => record,
                        Err(source) => return Err(not_committed(store, id, source).await),
                    }
                }
                Err(error) => {
                    // Report the first error; the next publisher sweeps what a failed discard leaves.
                    drop(staged.discard().await);
                    return Err(error);
                }
            };
            debug!(build = %id, files = record.files, bytes = record.bytes, "committed");
            report.files = record.files;
            report.bytes = record.bytes;
        }
        PublishAction::Same => {
            let settled = store.settle(&id.channel).await;
            settled.map_err(|source| after_commit(id, source))?;
            hooks.before_commit().await.map_err(failed_after)?;
        }
    }
    hooks.after_commit().await.map_err(failed_after)?;
    for step in report
        .aliases
        .iter_mut()
        .filter(|step| step.verdict.moves())
    {
        let mut moved = move_alias(&*writer, step, id.date).await;
        if let Err(StoreError::Conflict { .. }) = moved {
            // Another publisher moved it between the plan and the lock. Under the lock no other publisher can; and because the lock is
            // kept, readers see the build without its alias only for this short time.
            moved = match decide_again(store, plan, step).await {
                Ok(()) if step.verdict.moves() => move_alias(&*writer, step, id.date).await,
                Ok(()) => continue,
                Err(source) => Err(source),
            };
        }
        if let Err(source) = moved {
            return Err(not_moved(store, id, &step.alias, source).await);
        }
        debug!(build = %id, alias = %step.alias, "alias moved");
        report.moved.push(step.alias.clone());
    }
    if let Some(sections) = &plan.undated
        && latest_leads(&report.aliases)
    {
        let offered = writer.offer(sections).await;
        offered.map_err(|source| not_offered(id, source))?;
    }
    Ok(report)
}

/// Decides about an alias again, by the current contents of the channel.
async fn decide_again(
    store: &dyn MirrorStore,
    plan: &PublishPlan,
    step: &mut AliasStep,
) -> Result<(), StoreError> {
    let channel = &plan.id.channel;
    let mut catalog = store.catalog(&Scope::Channel(channel.clone())).await?;
    let entry = catalog.channels.remove(channel).unwrap_or_default();
    step.shown = entry.aliases.get(&step.alias).cloned();
    step.verdict = alias_verdict(&entry, step.shown.as_ref(), &plan.record, plan.force_alias);
    Ok(())
}

/// Points an alias at the build. An alias that moves to an older build is held there first, so that it is not taken for one that
/// a crash left behind.
async fn move_alias(
    writer: &dyn ChannelWriter,
    step: &AliasStep,
    to: BuildDate,
) -> Result<(), StoreError> {
    if let AliasVerdict::Force { .. } = step.verdict {
        writer.hold_alias(&step.alias, to).await?;
    }
    let shown = step.shown.as_ref();
    writer.point(&step.alias, shown, Some(to)).await
}

/// Adds every file, then the metadata; returns the number of bytes that the mirror already had, and the result of each metadata.
async fn fill(
    store: &dyn MirrorStore,
    staged: &dyn StagedBuild,
    plan: &PublishPlan,
    observe: &(dyn Fn(&BuildPath, Added) + Sync),
) -> Result<(u64, BTreeMap<BuildPath, Indexed>), PublishError> {
    let stop = AtomicBool::new(false);
    let mut entries: Vec<_> = plan.incoming.entries.iter().collect();
    // The largest first, so that no large file is read alone at the end.
    entries.sort_by_key(|(_, entry)| Reverse(entry.size()));
    let mut adds = Vec::with_capacity(entries.len());
    for (path, entry) in entries {
        adds.push(add(staged, path, entry, plan.controls.contains(path)).boxed());
    }
    if let Some(promotion) = &plan.promotion {
        let brought = promotion.files.iter();
        adds.extend(brought.map(|(path, file)| {
            promote::bring(store, staged, &promotion.from, path, file).boxed()
        }));
    }
    let pending = adds
        .into_iter()
        .take_while(|_| !stop.load(Ordering::Relaxed));
    let mut running = stream::iter(pending).buffer_unordered(staged.parallel().max(1));
    let mut shared = 0;
    let mut first_error = None;
    // After an error, wait for the running tasks, so that none writes into a directory that is being removed.
    while let Some((path, added)) = running.next().await {
        match added {
            Ok(added) => {
                observe(path, added);
                match added {
                    Added::Shared(bytes) => shared += bytes,
                    Added::Stored(_) | Added::Link => {}
                }
            }
            Err(error) => {
                stop.store(true, Ordering::Relaxed);
                first_error = first_error.or(Some(error));
            }
        }
    }
    if let Some(source) = first_error {
        return Err(stopped(&plan.id, source));
    }
    debug!(build = %plan.id, files = plan.incoming.entries.len(), shared, "files added");
    let mut metadata = BTreeMap::new();
    for dir in &plan.repositories {
        let carried = plan.carried.get(dir).cloned().unwrap_or_default();
        let indexed = staged.index(dir, &carried.records).await;
        let mut indexed = indexed.map_err(|source| PublishError::Metadata {
            id: Box::new(plan.id.clone()),
            dir: dir.clone(),
            source,
        })?;
        let kinds = carried.records.into_iter().map(|record| record.kind);
        indexed.carried = kinds.collect();
        indexed.not_carried = carried.left_out;
        debug!(%dir, listed = indexed.listed, "RPM metadata made");
        metadata.insert(dir.clone(), indexed);
    }
    for dir in &plan.apt_repositories {
        let indexed = staged.index_apt(dir).await;
        let mut indexed = indexed.map_err(|source| PublishError::Metadata {
            id: Box::new(plan.id.clone()),
            dir: dir.clone(),
            source,
        })?;
        let prefix = format!("{dir}/");
        let replaced = plan.left_out.iter();
        let replaced = replaced.filter_map(|path| path.as_str().strip_prefix(&prefix));
        indexed.replaced = replaced.map(str::to_owned).collect();
        debug!(%dir, listed = indexed.listed, "apt lists made");
        metadata.insert(dir.clone(), indexed);
    }
    if plan.strict {
        let incomplete = metadata.iter().filter(|(_, it)| !it.is_complete());
        let problems: Vec<_> = incomplete
            .flat_map(|(dir, indexed)| indexed.problems(dir))
            .collect();
        if !problems.is_empty() {
            return Err(PublishError::Incomplete {
                id: Box::new(plan.id.clone()),
                problems,
            });
        }
    }
    Ok((shared, metadata))
}

async fn add<'a>(
    staged: &dyn StagedBuild,
    path: &'a BuildPath,
    entry: &crate::Entry,
    control: bool,
) -> (&'a BuildPath, Result<Added, StoreError>) {
    let added = if control {
        staged.add_with_control(path, entry).await
    } else {
        staged.add(path, entry).await
    };
    (path, added)
}
