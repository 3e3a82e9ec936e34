//! Publishes a build as its plan says.
//!
//! ```text
//! PublishRequest ──prepare──> PublishPlan ──publish──> PublishReport
//! lock ── begin ── add* ── index* ── before_commit ── commit ── after_commit ── aliases ── offer
//! ```
//!
//! | module | has |
//! |---|---|
//! | `prepare` | what a plan needs to know of the mirror |
//! | `hooks` | [`CommitHooks`]: work of others around the commit |
//! | `error` | [`PublishError`]: how far a publish came |
//! | `promote` | a build of the mirror that becomes a release: its plan, and its files |
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

/// Does what `plan` says.
///
/// After an error or a crash the mirror is as before, or the build is published and a rerun moves the aliases. Which of the
/// two it is, the error says: see [`PublishError`].
pub async fn publish(
    store: &dyn MirrorStore,
    plan: &PublishPlan,
) -> Result<PublishReport, PublishError> {
    publish_observed(store, plan, &|_, _| {}).await
}

/// Does what `plan` says, and tells `observe` of each file that was added.
pub(crate) async fn publish_observed(
    store: &dyn MirrorStore,
    plan: &PublishPlan,
    observe: &(dyn Fn(&BuildPath, Added) + Sync),
) -> Result<PublishReport, PublishError> {
    publish_with_hooks(store, plan, &NoHooks, observe).await
}

/// Does what `plan` says, runs `hooks` around the commit, and tells `observe` of each file that was added.
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
        // Whoever published it may have died before it was durable, and now the caller may throw away what he has.
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
                    // The first error is the one to report; what stays behind is swept by the next publisher.
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
            // Another publisher moved it between the plan and the lock. Under the lock nobody can, and without giving the
            // lock back nobody sees the build without its alias for longer than this takes.
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

/// Decides about an alias by what the channel holds now.
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

/// Points an alias at the build; one that goes back is held there first, so that nobody takes it for one that a crash
/// left behind.
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

/// Adds every file, then the metadata; returns the bytes that the mirror had already, and what the metadata lists.
async fn fill(
    store: &dyn MirrorStore,
    staged: &dyn StagedBuild,
    plan: &PublishPlan,
    observe: &(dyn Fn(&BuildPath, Added) + Sync),
) -> Result<(u64, BTreeMap<BuildPath, Indexed>), PublishError> {
    let stop = AtomicBool::new(false);
    let mut entries: Vec<_> = plan.incoming.entries.iter().collect();
    // The largest first, so that none is left over to be read alone in the end.
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
    // After an error those that run are waited for, so that none writes into a directory that is being removed.
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
