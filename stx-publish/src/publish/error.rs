//! The errors of a publish, by the state in which it stopped.

use stx_layout::{AliasEntry, AliasName, BuildId, BuildPath, Channel};

use super::hooks::HookError;
use crate::error::ErrorKind;
use crate::store::{MirrorStore, StoreError};

/// A publish that stopped. Before the commit, no part of the build is visible; after it, all of it is, whatever fails then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Another publisher is working in the channel.
    #[error("{channel}: another publisher is at work in this channel")]
    Busy {
        /// The channel.
        channel: Box<Channel>,
    },
    /// The mirror has changed since the plan was made. Make a new plan.
    #[error("{id}: the mirror changed since the plan was made")]
    Outdated {
        /// The build.
        id: Box<BuildId>,
        /// The error that shows the change.
        source: StoreError,
    },
    /// A required program is not installed.
    #[error("{id}: cannot make the repository metadata of {dir}")]
    Metadata {
        /// The build.
        id: Box<BuildId>,
        /// The directory.
        dir: BuildPath,
        /// The error that caused it.
        source: StoreError,
    },
    /// The metadata of a repository would be incomplete, and the request does not allow that.
    #[error("{id}: the repository metadata is not complete: {}", problems.join("; "))]
    Incomplete {
        /// The build.
        id: Box<BuildId>,
        /// Everything that is left out, with the reason.
        problems: Vec<String>,
    },
    /// The build was not published.
    #[error("{id}: not published")]
    NotPublished {
        /// The build.
        id: Box<BuildId>,
        /// The error that caused it.
        source: StoreError,
    },
    /// The build is published, but its commit ended with an error: it may not be durable yet, and no alias was moved. Rerun the
    /// publish.
    #[error("{id}: published, but its commit ended with an error")]
    AfterCommit {
        /// The build.
        id: Box<BuildId>,
        /// The error of the operation that failed.
        source: StoreError,
    },
    /// The commit ended with an error, and the mirror does not report whether it took effect. A rerun finds out.
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
        /// The error that caused it.
        source: HookError,
    },
    /// The build is published, but a hook failed after the commit, and no alias was moved. Rerun the publish.
    #[error("{id}: published, but not finished")]
    HookAfterCommit {
        /// The build.
        id: Box<BuildId>,
        /// The error that caused it.
        source: HookError,
    },
    /// The build is published, but moving an alias failed. Rerun the publish.
    #[error("{id}: published, but {alias} could not be moved")]
    NotAliased {
        /// The build.
        id: Box<BuildId>,
        /// The alias.
        alias: AliasName,
        /// The error that caused it.
        source: StoreError,
    },
    /// The build is published and its aliases are moved, but paths without a date may still lead to an older build. Rerun the
    /// publish.
    #[error("{id}: published, but its paths without a date could not be made")]
    NotOffered {
        /// The build.
        id: Box<BuildId>,
        /// The error that caused it.
        source: StoreError,
    },
    /// The build is published and an alias points at it, but the move ended with an error: it may not be durable yet. Rerun the
    /// publish.
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
    /// The kind of the error. Before the commit, a missing program counts as [`Usage`](ErrorKind::Usage): nothing was changed, and
    /// installing it solves the problem.
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
            | Self::NotOffered { .. }
            | Self::AliasAfterMove { .. } => ErrorKind::Mirror,
        }
    }
}

/// The error of a commit that failed: asks the mirror whether it took effect.
pub(super) async fn not_committed(
    store: &dyn MirrorStore,
    id: &BuildId,
    source: StoreError,
) -> PublishError {
    // Another build has this id, or another publisher has the channel: the visible build is not this one. A refusal changes nothing.
    if let StoreError::AlreadyExists { .. } | StoreError::Busy { .. } | StoreError::Refused { .. } =
        source
    {
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

/// The error of a move that failed: asks the mirror whether the alias was moved.
pub(super) async fn not_moved(
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

pub(super) fn not_offered(id: &BuildId, source: StoreError) -> PublishError {
    PublishError::NotOffered {
        id: Box::new(id.clone()),
        source,
    }
}

pub(super) fn after_commit(id: &BuildId, source: StoreError) -> PublishError {
    PublishError::AfterCommit {
        id: Box::new(id.clone()),
        source,
    }
}

pub(super) fn stopped(id: &BuildId, source: StoreError) -> PublishError {
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
