//! A publish that stopped, and how far it came.

use stx_layout::{AliasEntry, AliasName, BuildId, BuildPath, Channel};

use super::hooks::HookError;
use crate::error::ErrorKind;
use crate::store::{MirrorStore, StoreError};

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
    #[error("{id}: cannot make the repository metadata of {dir}")]
    Metadata {
        /// The build.
        id: Box<BuildId>,
        /// The directory.
        dir: BuildPath,
        /// The error that caused it.
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
        /// The error that caused it.
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
        /// The error that caused it.
        source: HookError,
    },
    /// The build is published, but a hook failed after the commit, and no alias was moved. A rerun helps.
    #[error("{id}: published, but not finished")]
    HookAfterCommit {
        /// The build.
        id: Box<BuildId>,
        /// The error that caused it.
        source: HookError,
    },
    /// The build is published, but moving an alias failed. A rerun helps.
    #[error("{id}: published, but {alias} could not be moved")]
    NotAliased {
        /// The build.
        id: Box<BuildId>,
        /// The alias.
        alias: AliasName,
        /// The error that caused it.
        source: StoreError,
    },
    /// The build is published and its aliases are moved, but paths without a date may still lead to an older build. A rerun
    /// helps.
    #[error("{id}: published, but its paths without a date could not be made")]
    NotOffered {
        /// The build.
        id: Box<BuildId>,
        /// The error that caused it.
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
            | Self::NotOffered { .. }
            | Self::AliasAfterMove { .. } => ErrorKind::Mirror,
        }
    }
}

/// Whether a commit that ended with an error took effect: the mirror knows.
pub(super) async fn not_committed(
    store: &dyn MirrorStore,
    id: &BuildId,
    source: StoreError,
) -> PublishError {
    // Another build has this name, or the channel is another's: it is not this one that can be seen. Who is refused has changed nothing.
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

/// Whether an alias was moved although that ended with an error.
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
