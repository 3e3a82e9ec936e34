//! Brings images to the registry, in one order with the build on the mirror.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use stx_layout::{
    AliasEntry, AliasName, BuildId, BuildOutcome, BuildPath, BuildRecord, Channel, ChannelEntry,
    ImageName, Qualifier, Sha256,
};

use super::{
    FoundImage, ImageClash, ImagePlan, ImageRules, NameError, NamedImage, Seen, add_lists, name,
    plan, recorded,
};
use crate::plan::{AliasVerdict, PublishAction, PublishPlan, PublishRequest, alias_verdict};
use crate::publish::{Beside, PrepareError, PublishError, PublishReport, prepare, publish_beside};
use crate::registry::{Blob, ImageRegistry, Pushed, RegistryError, repository};
use crate::store::{Added, MirrorRead, MirrorStore, Scope, StoreError};

/// Images that could not be brought to the registry.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The registry did not do what was asked of it.
    #[error("registry {registry}")]
    Registry {
        /// The registry.
        registry: String,
        /// Why.
        source: RegistryError,
    },
    /// A tag that never moves would have to.
    #[error(transparent)]
    Clash(#[from] ImageClash),
    /// The registry does not have it, and its files are not at hand.
    #[error("{name}: the registry does not have sha256:{digest}")]
    Missing {
        /// The image.
        name: ImageName,
        /// Its manifest's digest.
        digest: Sha256,
    },
}

/// What was done with the images of a build.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ImageReport {
    /// Images that were stored and had not been.
    pub stored: Vec<ImageName>,
    /// Blobs that were sent.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that the registry had already, in this repository or in another one.
    pub shared: u64,
    /// Tags that show another image now, or were made.
    pub tagged: Vec<ImageName>,
    /// Tags that showed the right image already.
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
            "images: {} stored, {blobs} blobs of {bytes} bytes sent, {shared} were on the registry",
            stored.len()
        )?;
        for name in tagged {
            writeln!(f, "image {name}")?;
        }
        unchanged
            .iter()
            .try_for_each(|name| writeln!(f, "image {name}: was there already"))
    }
}

/// The images of a build on their way to a registry.
#[derive(Debug)]
struct Images<'a> {
    registry: &'a dyn ImageRegistry,
    images: &'a [NamedImage],
    plan: &'a ImagePlan,
    report: Mutex<ImageReport>,
}

impl<'a> Images<'a> {
    /// What `plan` says of `images`, about to be done.
    fn new(registry: &'a dyn ImageRegistry, images: &'a [NamedImage], plan: &'a ImagePlan) -> Self {
        Self {
            registry,
            images,
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

    /// Stores every image by its digest; no tag shows it yet.
    async fn store(&self) -> Result<(), ImageError> {
        let mut wanted = Vec::new();
        for step in self.plan.images.iter().filter(|step| !step.stored) {
            let image = self.images.iter().find(|image| image.name == step.name);
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

    /// Makes the tags that never move, and then moves those that do.
    async fn tag(&self) -> Result<(), ImageError> {
        let mut fixed = Vec::with_capacity(self.plan.images.len());
        for step in &self.plan.images {
            // What the plan saw is older than this moment.
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
        let shown = self.registry.resolve(name).await;
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

/// Whether a tag may be taken from another image.
#[derive(Clone, Copy)]
enum Moves {
    Never,
    Freely,
}

#[async_trait]
impl Beside for Images<'_> {
    fn is_noop(&self) -> bool {
        self.plan.is_noop()
    }

    async fn before_commit(&self) -> Result<(), ImageError> {
        self.store().await
    }

    async fn after_commit(&self) -> Result<(), ImageError> {
        self.tag().await
    }
}

/// A plan that could not be made for a build with its images.
#[derive(Debug, thiserror::Error)]
pub enum PrepareImagesError {
    /// Not for the files.
    #[error(transparent)]
    Files(#[from] PrepareError),
    /// An image has no name.
    #[error("{id}: an image cannot be named")]
    Name {
        /// The build.
        id: Box<BuildId>,
        /// Which, and why.
        source: NameError,
    },
    /// The registry could not be asked.
    #[error("{id}: the registry {registry} cannot be asked")]
    Registry {
        /// The build.
        id: Box<BuildId>,
        /// The registry.
        registry: String,
        /// Why.
        source: RegistryError,
    },
    /// Tags that never move would have to.
    #[error("{id}: {}", list(clashes))]
    Clash {
        /// The build.
        id: Box<BuildId>,
        /// All of them.
        clashes: Vec<ImageClash>,
    },
}

fn list(clashes: &[ImageClash]) -> String {
    let clashes: Vec<_> = clashes.iter().map(ToString::to_string).collect();
    clashes.join("; ")
}

/// What is to be published, on the mirror and on the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prepared {
    /// On the mirror.
    #[serde(flatten)]
    pub plan: PublishPlan,
    /// On the registry.
    pub images: ImagePlan,
    /// The images, those of a published build as its record names them.
    #[serde(skip)]
    pub named: Vec<NamedImage>,
    /// Whether the build was published with images that its record does not name: nothing is done with these.
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

    /// Whether there is nothing to do.
    pub fn is_noop(&self) -> bool {
        self.plan.is_noop() && self.images.is_noop()
    }
}

/// Names the images of a build, and puts them into its record and its lists.
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
    add_lists(&mut request.incoming, &id, &named, latest);
    Ok(named)
}

/// Adds to the plan of a build what is to be done with its images, which [`add_images`] named.
pub async fn with_registry(
    store: &dyn MirrorRead,
    registry: &dyn ImageRegistry,
    rules: &ImageRules,
    plan: PublishPlan,
    mut named: Vec<NamedImage>,
) -> Result<Prepared, PrepareImagesError> {
    let id = Box::new(plan.id.clone());
    let mut unrecorded = false;
    if plan.action == PublishAction::Same {
        let record = store.record(&id).await.map_err(|source| {
            PrepareImagesError::Files(PrepareError::Store {
                id: id.clone(),
                source,
            })
        })?;
        unrecorded = record.images.is_empty() && !named.is_empty();
        named = at_hand(recorded(&record, &rules.registry), &named);
    }
    let latest = AliasName::latest_build();
    let latest = plan.aliases.iter().find(|step| step.alias == latest);
    let (verdict, moving) = match latest {
        Some(step) => (step.verdict.clone(), rules.moving.as_slice()),
        // What does not ask for `latest_build` does not ask for moving tags either.
        None => (AliasVerdict::Stays, &[][..]),
    };
    let seen = look(registry, &named, moving).await;
    let seen = seen.map_err(|source| PrepareImagesError::Registry {
        id: id.clone(),
        registry: registry.host().to_owned(),
        source,
    })?;
    let images = super::plan(&id, &named, moving, &verdict, &seen)
        .map_err(|clashes| PrepareImagesError::Clash { id, clashes })?;
    Ok(Prepared {
        plan,
        images,
        named,
        unrecorded,
    })
}

/// Makes the plans for mirror and registry, as [`prepare`] does for the mirror alone.
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

/// The images of a record with the files of those that were found.
pub fn at_hand(recorded: Vec<NamedImage>, found: &[NamedImage]) -> Vec<NamedImage> {
    let images = recorded.into_iter().map(|image| {
        let same = found.iter().find(|found| found.digest == image.digest);
        NamedImage {
            image: same.and_then(|same| same.image.clone()),
            ..image
        }
    });
    images.collect()
}

/// What the registry shows of these images and their moving tags.
pub async fn look(
    registry: &dyn ImageRegistry,
    images: &[NamedImage],
    moving: &[Qualifier],
) -> Result<Seen, RegistryError> {
    let mut tags: Vec<ImageName> = images.iter().map(|image| image.name.clone()).collect();
    for image in images {
        tags.extend(moving.iter().filter_map(|kind| image.name.moving(*kind)));
    }
    tags.sort();
    tags.dedup();
    let parallel = registry.parallel().max(1);
    let shown = tags.into_iter().map(|name| async move {
        let shown = registry.resolve(&name).await?;
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
    Ok(Seen {
        manifests: stored.into_iter().flatten().collect(),
        tags,
    })
}

/// Does what [`prepare_with_images`] planned: images before the build is visible, their tags after it, aliases last.
///
/// After an error or a crash the mirror is as before and no tag was made, or the build is published and a rerun makes the
/// tags and moves the aliases.
pub async fn publish_with_images(
    store: &dyn MirrorStore,
    registry: &dyn ImageRegistry,
    prepared: &Prepared,
    observe: &(dyn Fn(&BuildPath, Added) + Sync),
) -> Result<(PublishReport, ImageReport), PublishError> {
    let images = Images::new(registry, &prepared.named, &prepared.images);
    let report = publish_beside(store, &prepared.plan, &images, observe).await?;
    Ok((report, images.report()))
}

/// Brings the images of a published build to the registry as `plan` says. The lock of its channel has to be held.
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

/// Tags of a channel that could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// The mirror could not be read or locked.
    #[error("{channel}: the tags of its images cannot be looked at")]
    Store {
        /// The channel.
        channel: Box<Channel>,
        /// Why.
        source: StoreError,
    },
    /// The registry did not do it.
    #[error("{channel}: the tags of its images are not finished")]
    Images {
        /// The channel.
        channel: Box<Channel>,
        /// Why.
        source: ImageError,
    },
}

/// Makes the tags that a publisher that was killed after its commit did not make: those of the newest build of a channel, and
/// of its newest success. Where another publisher is at work, they are left to it.
pub async fn finish(
    store: &dyn MirrorStore,
    registry: &dyn ImageRegistry,
    rules: &ImageRules,
    channel: &Channel,
) -> Result<ImageReport, FinishError> {
    let mirror = |source| FinishError::Store {
        channel: Box::new(channel.clone()),
        source,
    };
    let failed = |source| FinishError::Images {
        channel: Box::new(channel.clone()),
        source,
    };
    if left_over(store, registry, rules, channel, &mirror, &failed)
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
    for (images, plan) in left_over(store, registry, rules, channel, &mirror, &failed).await? {
        let done = push(registry, &images, &plan).await.map_err(failed)?;
        report.tagged.extend(done.tagged);
        report.unchanged.extend(done.unchanged);
    }
    Ok(report)
}

/// The images whose tags are not as they should be, with what is to be done.
async fn left_over(
    store: &dyn MirrorStore,
    registry: &dyn ImageRegistry,
    rules: &ImageRules,
    channel: &Channel,
    mirror: &(dyn Fn(StoreError) -> FinishError + Sync),
    failed: &(dyn Fn(ImageError) -> FinishError + Sync),
) -> Result<Vec<(Vec<NamedImage>, ImagePlan)>, FinishError> {
    let scope = Scope::Channel(channel.clone());
    let mut catalog = store.catalog(&scope).await.map_err(mirror)?;
    let entry = catalog.channels.remove(channel).unwrap_or_default();
    let newest = entry.builds.keys().next_back().copied();
    let mut dates: Vec<_> = newest.into_iter().chain(entry.newest_success()).collect();
    dates.sort();
    dates.dedup();
    let mut left = Vec::new();
    for date in dates {
        let Some(record) = entry.builds.get(&date).and_then(|build| build.record()) else {
            continue;
        };
        let images = recorded(record, &rules.registry);
        if images.is_empty() {
            continue;
        }
        let plan = plan_for(registry, rules, &entry, record, &images).await;
        let plan = plan.map_err(failed)?;
        if !plan.is_noop() {
            left.push((images, plan));
        }
    }
    Ok(left)
}

/// What is to be done with the images of a published build. Moving tags follow `latest_build`; where that is held at an older
/// build, they stay.
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
    let seen = look(registry, images, moving).await;
    let seen = seen.map_err(|source| ImageError::Registry {
        registry: registry.host().to_owned(),
        source,
    })?;
    let planned = plan(&record.id, images, moving, &verdict, &seen);
    planned.map_err(|mut clashes| ImageError::Clash(clashes.swap_remove(0)))
}
