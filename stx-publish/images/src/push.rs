//! Pushes images to the registry, in a fixed order with the build on the mirror.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use stx_layout::{BuildPath, ImageName, Sha256, counted, size};

use super::{ImageClash, ImagePlan, NamedImage, Prepared};
use crate::registry::{Blob, ImageRegistry, Pushed, RegistryError, repository, shown};
use stx_publish::ErrorKind;
use stx_publish::plan::AliasVerdict;
use stx_publish::publish::{
    CommitHooks, HookError, PublishError, PublishReport, publish_with_hooks,
};
use stx_publish::store::{Added, MirrorStore};

/// Images that could not be pushed to the registry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A request to the registry failed.
    #[error("registry {registry}")]
    Registry {
        /// The registry.
        registry: String,
        /// The error that caused it.
        source: RegistryError,
    },
    /// A tag that never moves would have to move.
    #[error(transparent)]
    Clash(#[from] ImageClash),
    /// The registry does not have the image, and its files are not available.
    #[error("{name}: the registry does not have sha256:{digest}")]
    Missing {
        /// The image.
        name: ImageName,
        /// Its manifest's digest.
        digest: Sha256,
    },
}

impl ImageError {
    /// Its kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Registry { source, .. } => source.kind(),
            Self::Clash(_) | Self::Missing { .. } => ErrorKind::Mirror,
        }
    }
}

/// Images that stopped a publish: the error of a [`CommitHooks`] of images.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageHookError {
    /// Some images are not on the registry.
    #[error("its images are not on the registry")]
    NotPushed(#[source] ImageError),
    /// Some images do not have their tags.
    #[error("its images are not tagged")]
    NotTagged(#[source] ImageError),
}

/// The result of pushing the images of a build to the registry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ImageReport {
    /// Images that were stored because the registry did not have them.
    pub stored: Vec<ImageName>,
    /// Blobs that were sent.
    pub blobs: u64,
    /// The bytes of these blobs.
    pub bytes: u64,
    /// Blobs that the registry already had, in this repository or in another one.
    pub shared: u64,
    /// Tags that were made or moved.
    pub tagged: Vec<ImageName>,
    /// Tags that already named the right image.
    pub unchanged: Vec<ImageName>,
}

impl fmt::Display for ImageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stored,
            blobs,
            bytes,
            shared,
            tagged,
            unchanged,
        } = self;
        if tagged.is_empty() && unchanged.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "images: {} stored, {} of {} sent, {shared} were on the registry",
            stored.len(),
            counted(*blobs, "blob"),
            size(*bytes)
        )?;
        for name in tagged {
            writeln!(f, "image {name}")?;
        }
        unchanged
            .iter()
            .try_for_each(|name| writeln!(f, "image {name}: already existed"))
    }
}

/// The images of a build while they are pushed to a registry.
#[derive(Debug)]
struct Images<'a> {
    registry: &'a dyn ImageRegistry,
    named: &'a [NamedImage],
    plan: &'a ImagePlan,
    report: Mutex<ImageReport>,
}

impl<'a> Images<'a> {
    /// The steps of `plan` for `images`.
    fn new(registry: &'a dyn ImageRegistry, images: &'a [NamedImage], plan: &'a ImagePlan) -> Self {
        Self {
            registry,
            named: images,
            plan,
            report: Mutex::default(),
        }
    }

    fn note(&self, change: impl FnOnce(&mut ImageReport)) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut report);
    }

    fn report(self) -> ImageReport {
        let report = self.report.into_inner();
        let mut report = report.unwrap_or_else(PoisonError::into_inner);
        for names in [
            &mut report.stored,
            &mut report.tagged,
            &mut report.unchanged,
        ] {
            names.sort();
        }
        report
    }

    fn fail(&self, source: RegistryError) -> ImageError {
        ImageError::Registry {
            registry: self.registry.host().to_owned(),
            source,
        }
    }

    /// Stores every image by its digest; no tag names it yet.
    async fn store(&self) -> Result<(), ImageError> {
        let mut wanted = Vec::new();
        for step in self.plan.images.iter().filter(|step| !step.stored) {
            let image = self.named.iter().find(|image| image.name == step.name);
            let image = image.and_then(|image| Some((&image.name, image.image.as_ref()?)));
            wanted.push(image.ok_or_else(|| ImageError::Missing {
                name: step.name.clone(),
                digest: step.digest,
            })?);
        }
        // A blob that several repositories need is sent to the first, and mounted in the others.
        let mut blobs: BTreeMap<Sha256, (&Blob, BTreeMap<String, &ImageName>)> = BTreeMap::new();
        for (name, image) in &wanted {
            for blob in &image.blobs {
                let (_, repositories) = blobs.entry(blob.digest).or_insert((blob, BTreeMap::new()));
                repositories.insert(repository(name), name);
            }
        }
        let mut sends = Vec::with_capacity(blobs.len());
        for (blob, repositories) in blobs.into_values() {
            sends.push(self.send(blob, repositories));
        }
        stream::iter(sends)
            .buffer_unordered(self.registry.parallel().max(1))
            .try_collect::<()>()
            .await?;
        for (name, image) in wanted {
            for manifest in image.parts.iter().chain([&image.manifest]) {
                let stored = self.registry.push_manifest(name, manifest).await;
                stored.map_err(|error| self.fail(error))?;
            }
            let digest = image.digest();
            let found = self.registry.manifest(name, digest).await;
            if found.map_err(|error| self.fail(error))?.is_none() {
                return Err(ImageError::Missing {
                    name: name.clone(),
                    digest,
                });
            }
            self.note(|report| report.stored.push(name.clone()));
        }
        Ok(())
    }

    async fn send(
        &self,
        blob: &Blob,
        repositories: BTreeMap<String, &ImageName>,
    ) -> Result<(), ImageError> {
        let mut from = None;
        for name in repositories.into_values() {
            let pushed = self.registry.push_blob(name, blob, from).await;
            let pushed = pushed.map_err(|error| self.fail(error))?;
            self.note(|report| match pushed {
                Pushed::Sent(bytes) => {
                    report.blobs += 1;
                    report.bytes += bytes;
                }
                Pushed::Mounted | Pushed::There => report.shared += 1,
            });
            from = Some(name);
        }
        Ok(())
    }

    /// Makes the tags that never move, then moves the others.
    async fn tag(&self) -> Result<(), ImageError> {
        let mut fixed = Vec::with_capacity(self.plan.images.len());
        for step in &self.plan.images {
            // The plan's view of the registry is older than this moment.
            fixed.push(self.set(&step.name, step.digest, Moves::Never));
        }
        stream::iter(fixed)
            .buffer_unordered(self.registry.parallel().max(1))
            .try_collect::<()>()
            .await?;
        for step in &self.plan.moving {
            match &step.verdict {
                AliasVerdict::Create
                | AliasVerdict::Move
                | AliasVerdict::Force { .. }
                | AliasVerdict::Stays => self.set(&step.name, step.digest, Moves::Freely).await?,
                AliasVerdict::Failed | AliasVerdict::Older { .. } => {}
            }
        }
        Ok(())
    }

    async fn set(&self, name: &ImageName, digest: Sha256, moves: Moves) -> Result<(), ImageError> {
        let shown = shown(self.registry, name).await;
        match (shown.map_err(|error| self.fail(error))?, moves) {
            (Some(shown), _) if shown == digest => {
                self.note(|report| report.unchanged.push(name.clone()));
                return Ok(());
            }
            (Some(shown), Moves::Never) => {
                return Err(ImageError::Clash(ImageClash {
                    name: name.clone(),
                    shown,
                    expected: digest,
                }));
            }
            (Some(_) | None, Moves::Freely) | (None, Moves::Never) => {}
        }
        let tagged = self.registry.tag(name, digest).await;
        tagged.map_err(|error| self.fail(error))?;
        self.note(|report| report.tagged.push(name.clone()));
        Ok(())
    }
}

/// The permission to take a tag from another image.
#[derive(Clone, Copy)]
enum Moves {
    Never,
    Freely,
}

#[async_trait]
impl CommitHooks for Images<'_> {
    fn is_noop(&self) -> bool {
        self.plan.is_noop()
    }

    async fn before_commit(&self) -> Result<(), HookError> {
        Ok(self.store().await.map_err(ImageHookError::NotPushed)?)
    }

    async fn after_commit(&self) -> Result<(), HookError> {
        Ok(self.tag().await.map_err(ImageHookError::NotTagged)?)
    }
}

/// Executes the plans of [`prepare_with_images`](super::prepare_with_images): images before the build is visible, their tags
/// after it, aliases last.
///
/// After an error or a crash, either the mirror is unchanged and no tag was made, or the build is published and a rerun makes the
/// tags and moves the aliases.
pub async fn publish_with_images(
    store: &dyn MirrorStore,
    registry: &dyn ImageRegistry,
    prepared: &Prepared,
    observe: &(dyn Fn(&BuildPath, Added) + Sync),
) -> Result<(PublishReport, ImageReport), PublishError> {
    let images = Images::new(registry, &prepared.named, &prepared.images);
    let report = publish_with_hooks(store, &prepared.plan, &images, observe).await?;
    Ok((report, images.report()))
}

/// Pushes the images of a published build according to `plan`. The caller must hold the lock of the build's channel.
pub async fn push(
    registry: &dyn ImageRegistry,
    images: &[NamedImage],
    plan: &ImagePlan,
) -> Result<ImageReport, ImageError> {
    let images = Images::new(registry, images, plan);
    images.store().await?;
    images.tag().await?;
    Ok(images.report())
}
