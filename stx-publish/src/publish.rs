//! Publishes a build as its plan says.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde::Serialize;
use stx_layout::{AliasEntry, AliasName, BuildDate, BuildId, BuildPath, Channel, counted};

use crate::error::ErrorKind;
use crate::metadata::Indexed;
use crate::plan::{
    AliasStep, AliasVerdict, Known, PlanError, PublishAction, PublishPlan, PublishRequest,
    alias_verdict, plan,
};
use crate::privacy::PrivacyReport;
#[cfg(feature = "local")]
use crate::scan::ScanError;
use crate::store::{Added, ChannelWriter, MirrorRead, MirrorStore, Scope, StagedBuild, StoreError};

/// The result of a publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublishReport {
    /// The build.
    pub id: BuildId,
    /// Whether its files were published.
    pub action: PublishAction,
    /// Files of the build, repository metadata among them; 0 where nothing was published.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that the mirror had already, or an equal file of the build, and that were not stored again.
    pub shared: u64,
    /// Aliases that point at the build now and did not before.
    pub moved: Vec<AliasName>,
    /// The decision about each alias, and why.
    pub aliases: Vec<AliasStep>,
    /// The texts that were redacted, and the files that were not searched.
    pub privacy: Box<PrivacyReport>,
    /// The packages that the metadata of each repository lists, and those that it leaves out; empty where nothing
    /// was published.
    pub metadata: BTreeMap<BuildPath, Indexed>,
}

impl PublishReport {
    /// The problems of the repositories that a person should look at, a line each.
    pub fn problems(&self) -> Vec<String> {
        let each = self.metadata.iter();
        each.flat_map(|(dir, indexed)| indexed.problems(dir))
            .collect()
    }
}

impl fmt::Display for PublishReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.action {
            PublishAction::New => {
                let Self {
                    id,
                    files,
                    bytes,
                    shared,
                    ..
                } = self;
                writeln!(
                    f,
                    "published {id}: {}, {}, of which {shared} were stored already",
                    counted(*files, "file"),
                    counted(*bytes, "byte")
                )?;
            }
            PublishAction::Same => {
                writeln!(f, "{} was published already, the same files", self.id)?;
            }
        }
        write!(f, "{}", self.privacy)?;
        for (dir, indexed) in &self.metadata {
            write!(f, "{dir}: {} listed", counted(indexed.listed, "package"))?;
            for (count, what) in [
                (indexed.unlisted.len(), ("file", " not listed")),
                (
                    indexed.duplicates.len(),
                    ("package", " listed more than once"),
                ),
                (indexed.carried.len(), ("record", " carried over")),
                (indexed.not_carried.len(), ("record", " left out")),
                (
                    indexed.replaced.len(),
                    ("file", " of the build's own metadata replaced"),
                ),
                (indexed.warnings.len(), ("warning", "")),
            ] {
                if count > 0 {
                    let (noun, done) = what;
                    write!(f, ", {}{done}", counted(count, noun))?;
                }
            }
            writeln!(f)?;
        }
        self.aliases.iter().try_for_each(|step| {
            if self.moved.contains(&step.alias) {
                writeln!(f, "{} -> {}", step.alias, self.id.date)
            } else {
                writeln!(f, "{step}")
            }
        })
    }
}

/// A publish that stopped. Before the commit nothing of the build can be seen; after it all of it can, whatever fails then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Another publisher is at work in the channel.
    #[error("{channel}: another publisher is at work in this channel")]
    Busy {
        /// The channel.
        channel: Box<Channel>,
    },
    /// The mirror is not as the plan saw it. Planning again helps.
    #[error("{id}: the mirror changed since the plan was made")]
    Outdated {
        /// The build.
        id: Box<BuildId>,
        /// The error that shows the change.
        source: StoreError,
    },
    /// A program that is needed is not installed.
    #[error("{id}: repository metadata of {dir}")]
    Metadata {
        /// The build.
        id: Box<BuildId>,
        /// The directory.
        dir: BuildPath,
        /// Why.
        source: StoreError,
    },
    /// The metadata of a repository would not be complete, and it has to be.
    #[error("{id}: the repository metadata is not complete: {}", problems.join("; "))]
    Incomplete {
        /// The build.
        id: Box<BuildId>,
        /// All that is left out, and why.
        problems: Vec<String>,
    },
    /// The build was not published.
    #[error("{id}: not published")]
    NotPublished {
        /// The build.
        id: Box<BuildId>,
        /// Why.
        source: StoreError,
    },
    /// The build is published, but its commit ended with an error: it may not be durable yet, and no alias was moved. A rerun
    /// helps.
    #[error("{id}: published, but its commit ended with an error")]
    AfterCommit {
        /// The build.
        id: Box<BuildId>,
        /// The error of the operation that failed.
        source: StoreError,
    },
    /// The commit ended with an error, and the mirror does not say whether it took effect. A rerun finds out.
    #[error("{id}: its commit ended with an error, and it is not known whether it is published")]
    Uncertain {
        /// The build.
        id: Box<BuildId>,
        /// The error of the operation that failed.
        source: StoreError,
    },
    /// A hook failed before the commit; nothing was published.
    #[error("{id}: not published")]
    HookBeforeCommit {
        /// The build.
        id: Box<BuildId>,
        /// Why.
        source: HookError,
    },
    /// The build is published, but a hook failed after the commit, and no alias was moved. A rerun helps.
    #[error("{id}: published, but not finished")]
    HookAfterCommit {
        /// The build.
        id: Box<BuildId>,
        /// Why.
        source: HookError,
    },
    /// The build is published, but moving an alias failed. A rerun helps.
    #[error("{id}: published, but {alias} could not be moved")]
    NotAliased {
        /// The build.
        id: Box<BuildId>,
        /// The alias.
        alias: AliasName,
        /// Why.
        source: StoreError,
    },
    /// The build is published and an alias points at it, but the move ended with an error: it may not be durable yet. A rerun
    /// helps.
    #[error("{id}: published, and {alias} points at it, but moving it ended with an error")]
    AliasAfterMove {
        /// The build.
        id: Box<BuildId>,
        /// The alias.
        alias: AliasName,
        /// The error of the operation that failed.
        source: StoreError,
    },
}

impl PublishError {
    /// Its kind. Before the commit a program that is missing counts as [`Usage`](ErrorKind::Usage): nothing happened, and
    /// installing it helps.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Busy { .. } => ErrorKind::Busy,
            Self::Metadata { source, .. } | Self::NotPublished { source, .. } => {
                match source.kind() {
                    ErrorKind::Usage => ErrorKind::Usage,
                    ErrorKind::Mirror | ErrorKind::NotFound | ErrorKind::Busy => ErrorKind::Mirror,
                }
            }
            Self::Outdated { .. }
            | Self::Incomplete { .. }
            | Self::AfterCommit { .. }
            | Self::Uncertain { .. }
            | Self::HookBeforeCommit { .. }
            | Self::HookAfterCommit { .. }
            | Self::NotAliased { .. }
            | Self::AliasAfterMove { .. } => ErrorKind::Mirror,
        }
    }
}

/// A plan that could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The mirror could not be read.
    #[error("{id}: cannot be compared with the mirror")]
    Store {
        /// The build.
        id: Box<BuildId>,
        /// Why.
        source: StoreError,
    },
    /// The files could not be read.
    #[error("{id}: cannot be compared with the mirror")]
    Scan {
        /// The build.
        id: Box<BuildId>,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The build must not be published.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl PrepareError {
    /// Its kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store { source, .. } => source.kind(),
            Self::Scan { .. } | Self::Plan(_) => ErrorKind::Mirror,
        }
    }
}

/// Reads what a plan needs to know of the mirror, and makes the plan.
///
/// Where the mirror has a build of that id, its sums are read and, with feature `local`, the files are hashed to compare.
pub async fn prepare(
    store: &dyn MirrorRead,
    mut request: PublishRequest,
) -> Result<PublishPlan, PrepareError> {
    let id = request.record.id.clone();
    let fail = |source| PrepareError::Store {
        id: Box::new(id.clone()),
        source,
    };
    let catalog = store
        .catalog(&Scope::Channel(id.channel.clone()))
        .await
        .map_err(fail)?;
    if catalog
        .build(&id)
        .is_some_and(|build| build.record().is_some())
    {
        request.existing = Some(store.sums(&id).await.map_err(fail)?);
        request = hashed(request).await?;
    }
    Ok(plan(&catalog, request)?)
}

/// Makes the plan that [`prepare`] makes, and says which files the mirror has already. The sums of every build are read
/// and, with feature `local`, every file.
pub async fn prepare_in_full(
    store: &dyn MirrorRead,
    request: PublishRequest,
) -> Result<PublishPlan, PrepareError> {
    let id = request.record.id.clone();
    let mut request = hashed(request).await?;
    let catalog = store.catalog(&Scope::All).await;
    let catalog = catalog.map_err(|source| PrepareError::Store {
        id: Box::new(id.clone()),
        source,
    })?;
    let mut builds = Vec::new();
    for (build, _) in catalog.builds() {
        // A build whose sums cannot be read shares nothing.
        if let Ok(sums) = store.sums(&build).await {
            builds.push((build, sums));
        }
    }
    request.known = Some(Known::new(&id.channel, builds));
    prepare(store, request).await
}

/// The request with the digests of its files, where files can be read.
#[cfg(feature = "local")]
async fn hashed(mut request: PublishRequest) -> Result<PublishRequest, PrepareError> {
    let incoming = std::mem::take(request.tree.incoming_mut());
    let hashed = crate::scan::hash(incoming).await;
    *request.tree.incoming_mut() = hashed.map_err(|error| {
        let id = Box::new(request.record.id.clone());
        match error {
            ScanError::Refused { problems, .. } => {
                PrepareError::Plan(PlanError::Refused { id, problems })
            }
            error => PrepareError::Scan {
                id,
                source: Box::new(error),
            },
        }
    })?;
    Ok(request)
}

/// The request as it is.
#[cfg(not(feature = "local"))]
#[expect(clippy::unused_async, reason = "with feature `local` files are read")]
async fn hashed(request: PublishRequest) -> Result<PublishRequest, PrepareError> {
    Ok(request)
}

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
pub async fn publish_observed(
    store: &dyn MirrorStore,
    plan: &PublishPlan,
    observe: &(dyn Fn(&BuildPath, Added) + Sync),
) -> Result<PublishReport, PublishError> {
    publish_with_hooks(store, plan, &NoHooks, observe).await
}

/// Why a hook failed.
pub type HookError = Box<dyn Error + Send + Sync>;

/// Work around the commit of a build, in one order with it, such as pushing the images that the build names.
///
/// A publish calls both hooks under the lock of the channel, or none. Either may be called again for a build that is
/// published already, when the publish is run again after an error or a crash: a hook that has nothing left to do returns
/// `Ok`.
#[async_trait]
pub trait CommitHooks: Sync {
    /// Whether there is nothing to do: a publish that has nothing to do either takes no lock then.
    fn is_noop(&self) -> bool;

    /// Runs before the build is visible, after its files are staged: makes what the build names. An error discards the
    /// staged files.
    async fn before_commit(&self) -> Result<(), HookError>;

    /// Runs when the build is visible, before an alias points at it: makes what names the build. After an error no alias
    /// is moved.
    async fn after_commit(&self) -> Result<(), HookError>;
}

/// Nothing to do around the commit.
struct NoHooks;

#[async_trait]
impl CommitHooks for NoHooks {
    fn is_noop(&self) -> bool {
        true
    }

    async fn before_commit(&self) -> Result<(), HookError> {
        Ok(())
    }

    async fn after_commit(&self) -> Result<(), HookError> {
        Ok(())
    }
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
            let filled = match fill(&*staged, plan, observe).await {
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
        report.moved.push(step.alias.clone());
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
        adds.push(add(staged, path, entry));
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
) -> (&'a BuildPath, Result<Added, StoreError>) {
    (path, staged.add(path, entry).await)
}

/// Whether a commit that ended with an error took effect: the mirror knows.
async fn not_committed(store: &dyn MirrorStore, id: &BuildId, source: StoreError) -> PublishError {
    // Another build has this name, or the channel is another's: it is not this one that can be seen.
    if let StoreError::AlreadyExists { .. } | StoreError::Busy { .. } = source {
        return stopped(id, source);
    }
    match store.record(id).await {
        Ok(_) => after_commit(id, source),
        Err(StoreError::NotFound { .. }) => stopped(id, source),
        Err(_) => PublishError::Uncertain {
            id: Box::new(id.clone()),
            source,
        },
    }
}

/// Whether an alias was moved although that ended with an error.
async fn not_moved(
    store: &dyn MirrorStore,
    id: &BuildId,
    alias: &AliasName,
    source: StoreError,
) -> PublishError {
    let (build, alias) = (Box::new(id.clone()), alias.clone());
    if let StoreError::Conflict { .. } = source {
        return PublishError::Outdated { id: build, source };
    }
    match store.alias(&id.channel, &alias).await {
        Ok(Some(AliasEntry::Build(date))) if date == id.date => PublishError::AliasAfterMove {
            id: build,
            alias,
            source,
        },
        Ok(_) | Err(_) => PublishError::NotAliased {
            id: build,
            alias,
            source,
        },
    }
}

fn after_commit(id: &BuildId, source: StoreError) -> PublishError {
    PublishError::AfterCommit {
        id: Box::new(id.clone()),
        source,
    }
}

fn stopped(id: &BuildId, source: StoreError) -> PublishError {
    match source {
        StoreError::Busy { channel } => PublishError::Busy { channel },
        StoreError::AlreadyExists { .. } => PublishError::Outdated {
            id: Box::new(id.clone()),
            source,
        },
        source => PublishError::NotPublished {
            id: Box::new(id.clone()),
            source,
        },
    }
}

#[cfg(test)]
mod tests;
