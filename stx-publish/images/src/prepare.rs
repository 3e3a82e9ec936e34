//! Plans a publish with its images.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use stx_layout::{AliasName, BuildId, BuildOutcome, ImageName, Qualifier};

use super::{
    FoundImage, ImageClash, ImagePlan, ImageRules, NameError, NamedImage, RegistryState, name,
    plan, recorded,
};
use crate::lists::add_lists;
use crate::registry::{ImageRegistry, RegistryError, shown};
use stx_publish::ErrorKind;
use stx_publish::plan::{AliasVerdict, PublishAction, PublishPlan, PublishRequest};
use stx_publish::publish::{PrepareError, prepare};
use stx_publish::store::MirrorRead;

/// A build with images for which no plan could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareImagesError {
    /// The plan for the files failed.
    #[error(transparent)]
    Files(#[from] PrepareError),
    /// An image has no name.
    #[error("{id}: an image cannot be named")]
    Name {
        /// The build.
        id: Box<BuildId>,
        /// The image, and the reason.
        source: NameError,
    },
    /// The registry could not be asked.
    #[error("{id}: the registry {registry} cannot be queried")]
    Registry {
        /// The build.
        id: Box<BuildId>,
        /// The registry.
        registry: String,
        /// The error that caused it.
        source: RegistryError,
    },
    /// Tags that never move would have to move.
    #[error("{id}: {}", list(clashes))]
    Clash {
        /// The build.
        id: Box<BuildId>,
        /// All such tags.
        clashes: Vec<ImageClash>,
    },
}

impl PrepareImagesError {
    /// Its kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Files(error) => error.kind(),
            Self::Registry { source, .. } => source.kind(),
            Self::Name { .. } | Self::Clash { .. } => ErrorKind::Mirror,
        }
    }
}

fn list(clashes: &[ImageClash]) -> String {
    let clashes: Vec<_> = clashes.iter().map(ToString::to_string).collect();
    clashes.join("; ")
}

/// The plans of a publish: for the mirror and for the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prepared {
    /// The plan for the mirror.
    #[serde(flatten)]
    pub plan: PublishPlan,
    /// The plan for the registry.
    pub images: ImagePlan,
    /// The images; for a published build, those that its record names.
    #[serde(skip)]
    pub named: Vec<NamedImage>,
    /// True if the build was published with images that its record does not name: these are ignored.
    pub unrecorded: bool,
}

impl Prepared {
    /// A build without images.
    pub fn of_files(plan: PublishPlan) -> Self {
        Self {
            images: ImagePlan {
                build: plan.id.clone(),
                images: Vec::new(),
                moving: Vec::new(),
            },
            plan,
            named: Vec::new(),
            unrecorded: false,
        }
    }

    /// True if the plans change nothing.
    pub fn is_noop(&self) -> bool {
        self.plan.is_noop() && self.images.is_noop()
    }
}

/// Names the images of a build, and adds them to its record and its lists.
pub fn add_images(
    rules: &ImageRules,
    found: Vec<FoundImage>,
    request: &mut PublishRequest,
) -> Result<Vec<NamedImage>, PrepareImagesError> {
    let id = request.record.id.clone();
    let named = name(&id, found, rules).map_err(|source| PrepareImagesError::Name {
        id: Box::new(id.clone()),
        source,
    })?;
    request.record.images = named.iter().map(NamedImage::record).collect();
    let latest =
        request.record.result == BuildOutcome::Success && rules.moving.contains(&Qualifier::Latest);
    add_lists(request.tree.incoming_mut(), &id, &named, latest);
    Ok(named)
}

/// Adds to the plan of a build the plan for its images, which [`add_images`] named.
pub async fn with_registry(
    store: &dyn MirrorRead,
    registry: &dyn ImageRegistry,
    rules: &ImageRules,
    files: PublishPlan,
    mut named: Vec<NamedImage>,
) -> Result<Prepared, PrepareImagesError> {
    let id = Box::new(files.id.clone());
    let mut unrecorded = false;
    if files.action == PublishAction::Same {
        let record = store.record(&id).await.map_err(|source| {
            PrepareImagesError::Files(PrepareError::Store {
                id: id.clone(),
                source,
            })
        })?;
        unrecorded = record.images.is_empty() && !named.is_empty();
        named = with_files(recorded(&record, &rules.registry), &named);
    }
    let latest = AliasName::latest_build();
    let latest = files.aliases.iter().find(|step| step.alias == latest);
    let (verdict, moving) = match latest {
        Some(step) => (step.verdict.clone(), rules.moving.as_slice()),
        // A publish that does not request `latest_build` does not request moving tags either.
        None => (AliasVerdict::Stays, &[][..]),
    };
    let seen = registry_state(registry, &named, moving).await;
    let seen = seen.map_err(|source| PrepareImagesError::Registry {
        id: id.clone(),
        registry: registry.host().to_owned(),
        source,
    })?;
    let images = plan(&id, &named, moving, &verdict, &seen)
        .map_err(|clashes| PrepareImagesError::Clash { id, clashes })?;
    Ok(Prepared {
        plan: files,
        images,
        named,
        unrecorded,
    })
}

/// Makes the plans for mirror and registry, like [`prepare`] for the mirror alone.
pub async fn prepare_with_images(
    store: &dyn MirrorRead,
    registry: &dyn ImageRegistry,
    rules: &ImageRules,
    found: Vec<FoundImage>,
    mut request: PublishRequest,
) -> Result<Prepared, PrepareImagesError> {
    let named = add_images(rules, found, &mut request)?;
    let plan = prepare(store, request).await?;
    with_registry(store, registry, rules, plan, named).await
}

/// The images of a record, with the files of those that were found.
pub fn with_files(recorded: Vec<NamedImage>, found: &[NamedImage]) -> Vec<NamedImage> {
    let images = recorded.into_iter().map(|image| {
        let same = found.iter().find(|found| found.digest == image.digest);
        NamedImage {
            image: same.and_then(|same| same.image.clone()),
            ..image
        }
    });
    images.collect()
}

/// Asks the registry for these images and their moving tags.
pub(crate) async fn registry_state(
    registry: &dyn ImageRegistry,
    images: &[NamedImage],
    moving: &[Qualifier],
) -> Result<RegistryState, RegistryError> {
    let mut tags: Vec<ImageName> = images.iter().map(|image| image.name.clone()).collect();
    for image in images {
        tags.extend(moving.iter().filter_map(|kind| image.name.moving(*kind)));
    }
    tags.sort();
    tags.dedup();
    let parallel = registry.parallel().max(1);
    let shown = tags.into_iter().map(|name| async move {
        let shown = shown(registry, &name).await?;
        Ok::<_, RegistryError>(shown.map(|shown| (name, shown)))
    });
    let shown = stream::iter(shown).buffer_unordered(parallel);
    let shown: Vec<_> = shown.try_collect().await?;
    let tags: BTreeMap<_, _> = shown.into_iter().flatten().collect();
    let untagged = images
        .iter()
        .filter(|image| !tags.contains_key(&image.name));
    let stored = untagged.map(|image| async move {
        let found = registry.manifest(&image.name, image.digest).await?;
        Ok::<_, RegistryError>(found.map(|_| (image.name.clone(), image.digest)))
    });
    let stored = stream::iter(stored).buffer_unordered(parallel);
    let stored: Vec<_> = stored.try_collect().await?;
    Ok(RegistryState {
        manifests: stored.into_iter().flatten().collect(),
        tags,
    })
}
