//! Makes the plan of a publish: reads the relevant state of the mirror, and hashes the files to compare.

use std::error::Error;

use stx_layout::BuildId;

use crate::error::ErrorKind;
use crate::plan::{MirrorFiles, PlanError, PublishPlan, PublishRequest, plan};
#[cfg(feature = "local")]
use crate::scan::ScanError;
use crate::store::rules::check_channel_name;
use crate::store::{MirrorRead, Scope, StoreError};

/// A plan that could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The mirror could not be read.
    #[error("{id}: cannot be compared with the mirror")]
    Store {
        /// The build.
        id: Box<BuildId>,
        /// The error that caused it.
        source: StoreError,
    },
    /// The files could not be read.
    #[error("{id}: cannot be compared with the mirror")]
    Scan {
        /// The build.
        id: Box<BuildId>,
        /// The error that caused it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The build must not be published.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl PrepareError {
    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store { source, .. } => source.kind(),
            Self::Scan { .. } | Self::Plan(_) => ErrorKind::Mirror,
        }
    }
}

/// Reads the state of the mirror that a plan depends on, and makes the plan.
///
/// If the mirror has a build with that id, its sums are read and, with feature `local`, the files are hashed to compare.
pub async fn prepare(
    store: &dyn MirrorRead,
    mut request: PublishRequest,
) -> Result<PublishPlan, PrepareError> {
    let id = request.record.id.clone();
    let fail = |source| PrepareError::Store {
        id: Box::new(id.clone()),
        source,
    };
    check_channel_name(&id.channel).map_err(fail)?;
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

/// Makes the same plan as [`prepare`], and also finds the files that the mirror already has. The sums of every build are read
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
    request.known = Some(MirrorFiles::new(&id.channel, builds));
    prepare(store, request).await
}

/// The request with the digests of its files; this feature can read files.
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

/// The request, unchanged; without the feature, files cannot be read.
#[cfg(not(feature = "local"))]
#[expect(clippy::unused_async, reason = "with feature `local` files are read")]
async fn hashed(request: PublishRequest) -> Result<PublishRequest, PrepareError> {
    Ok(request)
}
