//! Container images: pushed to the registry with their build or by `image push`, and removed from it with a purge.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use camino_tempfile::Utf8TempDir;
use serde::Serialize;
use stx_images::{
    self as images, FinishBuilds, FinishError, ImageError, ImagePlan, ImageReport, ImageRules,
    ImageUser, NamedImage, OciRegistry, PrepareImagesError, Prepared, PushedRules, RegistryError,
    TagJudge, UntagReport,
};
use stx_layout::derived::IMAGE_DIRECTORY;
use stx_layout::{
    BuildId, BuildOutcome, BuildRecord, BuildState, Channel, ImageName, Sha256, SumLine,
};
use stx_pipeline::PushedImages;
use stx_publish::aliases::RootStep;
use stx_publish::fetch::{FetchEvent, FetchOptions, Wanted, fetch};
use stx_publish::{
    Entry, Finding, MirrorRead, MirrorStore, OwedTag, OwedTags, PublishError, PublishPlan,
    PublishReport, PublishRequest, Retired, Scope, StoreError, Survey, survey,
};

use crate::error::registry::{image_remedy, remedy};
use crate::error::{Error, ErrorKind};
use crate::{Mirror, Site, build_ref, refused};

/// The registry of the configuration, and the rules for image names there.
pub(crate) struct Registry {
    pub(crate) client: OciRegistry,
    pub(crate) rules: ImageRules,
    /// The failure after which the registry is not asked again: a dead one costs seconds or minutes for each build.
    silent: OnceLock<String>,
}

impl Registry {
    /// The registry; `None` if the configuration names none.
    pub(crate) fn open(site: &Site) -> Result<Option<Self>, Error> {
        let Some(table) = &site.options.registry else {
            return Ok(None);
        };
        Ok(Some(Self {
            rules: table.rules()?,
            client: table.open()?,
            silent: OnceLock::new(),
        }))
    }

    /// Adds the steps for the images of a build to its plan.
    pub(crate) async fn prepare(
        &self,
        site: &Site,
        store: &dyn MirrorRead,
        plan: PublishPlan,
        named: Vec<NamedImage>,
    ) -> Result<Prepared, Error> {
        let (client, rules) = (&self.client, &self.rules);
        let prepared = images::with_registry(store, client, rules, plan, named).await;
        let prepared = prepared.map_err(unprepared)?;
        if prepared.unrecorded {
            let id = &prepared.plan.id;
            site.note(&format!(
                "note: {id} was published without a registry, its build.json names no images; `image push {id}` pushes them"
            ));
        }
        Ok(prepared)
    }

    /// Names the images among the files of a request, and adds them to it.
    pub(crate) async fn add_images(
        &self,
        site: &Site,
        request: &mut PublishRequest,
    ) -> Result<Vec<NamedImage>, Error> {
        let found = images::read::read_images(request.tree.incoming().clone()).await;
        let found = found.map_err(|error| {
            Error::new(ErrorKind::Mirror, error)
                .hint("nothing was published; build the image again")
        })?;
        for place in &found.empty {
            site.note(&format!(
                "warning: {place} names no image; nothing from it is pushed to the registry"
            ));
        }
        images::add_images(&self.rules, found.images, request).map_err(unprepared)
    }

    /// Names the images that the build of a request pushed, and adds them to the request. Images that a failed build did not push
    /// are left out.
    pub(crate) async fn add_pushed(
        &self,
        site: &Site,
        request: &mut PublishRequest,
        pushed: &PushedRules,
    ) -> Result<BuildImages, Error> {
        let id = request.record.id.clone();
        let wrong = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(ErrorKind::Mirror, error)
                .hint("nothing was published; docs/registry.md describes the lists of a build that pushes its images itself")
        };
        let lists = images::read::read_lists(request.tree.incoming());
        let lists = lists.map_err(|error| wrong(error.into()))?;
        if lists.is_empty() {
            site.note(&format!(
                "warning: {id} has no outputs/docker-images/images-*.lst, though its phases push images: none is recorded"
            ));
        }
        let names = images::pushed_names(&lists, &self.rules, pushed);
        let names = names.map_err(|error| wrong(error.into()))?;
        let found = images::pushed_images(&self.client, &names.names).await;
        let found = found.map_err(|error| unreachable(&self.rules.registry, error))?;
        let missing: Vec<_> = found.missing.iter().map(ToString::to_string).collect();
        if !missing.is_empty() {
            let missing = format!("the registry does not have {}", missing.join(", "));
            if request.record.result == BuildOutcome::Success {
                return Err(Error::new(ErrorKind::Mirror, format!("{id}: {missing}")).hint(
                    "nothing was published; push the images that the lists of the build name, and run the same command again",
                ));
            }
            site.note(&format!("note: {id}: {missing}: the build failed before"));
        }
        request.record.images = found.images.iter().map(NamedImage::record).collect();
        let incoming = request.tree.incoming_mut();
        for (path, text) in names.lists {
            if lists.get(&path) != Some(&text) {
                incoming.entries.insert(path, Entry::Generated(text.into()));
            }
        }
        Ok(BuildImages {
            named: found.images,
            staged: found.staged,
        })
    }

    /// Removes the staging tags of published images. A tag that cannot be removed is only noted, as it does no harm.
    pub(crate) async fn unstage(&self, site: &Site, staged: &[(ImageName, Sha256)]) {
        if let Err(error) = images::unstage(&self.client, staged).await {
            let error = crate::error::chain(&error).to_string();
            site.note(&format!(
                "warning: staging tags are left on the registry: {error}"
            ));
        }
    }

    /// Publishes as planned.
    pub(crate) async fn publish(
        &self,
        store: &dyn MirrorStore,
        prepared: &Prepared,
    ) -> Result<Published, PublishError> {
        let published =
            images::publish_with_images(store, &self.client, prepared, &|_, _| {}).await;
        let (report, images) = published?;
        Ok(Published {
            report,
            images: Some(images),
            names: Vec::new(),
        })
    }

    /// Makes the tags that a killed publisher left unfinished in a channel.
    pub(crate) async fn finish(
        &self,
        site: &Site,
        store: &dyn MirrorStore,
        channel: &Channel,
        builds: FinishBuilds,
    ) -> Result<(), Error> {
        let finished = images::finish(store, &self.client, &self.rules, channel, builds).await;
        let finished = finished.map_err(|error| match &error {
            FinishError::Images { source, .. } => {
                let hint = image_remedy(source).unwrap_or_else(|| {
                    "run `image push BUILD` to push the missing images".to_owned()
                });
                Error::new(ErrorKind::Mirror, error).hint(hint)
            }
            _ => Error::new(error.kind().into(), error),
        })?;
        for name in &finished.tagged {
            site.note(&format!("image {name}: created the missing tag"));
        }
        Ok(())
    }

    /// The same for all builds of every channel of `scope`.
    pub(crate) async fn finish_all(
        &self,
        site: &Site,
        store: &dyn MirrorStore,
        scope: &Scope,
    ) -> Result<(), Error> {
        let catalog = store.catalog(scope).await.map_err(refused)?;
        for channel in catalog.channels.keys() {
            self.finish(site, store, channel, FinishBuilds::All).await?;
        }
        Ok(())
    }

    /// Compares the registry with the records of builds.
    pub(crate) async fn audit(
        &self,
        store: &dyn MirrorRead,
        scope: &Scope,
    ) -> Result<Vec<Finding>, Error> {
        let catalog = store.catalog(scope).await.map_err(refused)?;
        Ok(images::audit(&self.client, &self.rules, &catalog, scope).await)
    }

    /// Removes the tags of a build that is about to be purged.
    pub(crate) async fn untag(
        &self,
        site: &Site,
        store: &Mirror,
        retired: &Retired,
    ) -> Result<UntagReport, Error> {
        let record = store.retired_record(retired).await.map_err(refused)?;
        if images::recorded(&record, &self.rules.registry).is_empty() {
            return Ok(UntagReport::default());
        }
        if let Some(before) = self.silent.get() {
            let why = format!("the registry was not asked again after {before}");
            return Err(Error::new(ErrorKind::Mirror, why));
        }
        let mut judges = [TagJudge::of_record(&record, &self.rules)];
        add_users(site, store, Some(retired), &mut judges).await?;
        let [judge] = judges;
        let untagged = images::untag(&self.client, &judge.decide()).await;
        untagged.map_err(|error| {
            let silent = matches!(error, RegistryError::Network { .. });
            let error = unreachable(&self.rules.registry, error);
            if silent {
                self.silent.get_or_init(|| error.line());
            }
            error
        })
    }

    /// Removes the tags of purged builds that were still needed at the time of the purge and no longer are. Locked channels are
    /// skipped.
    pub(crate) async fn settle(&self, site: &Site, store: &Mirror) -> Result<UntagReport, Error> {
        let mut owed = store.owed(&Scope::All).await.map_err(refused)?;
        owed.retain(|owed| !TagJudge::of_owed(owed, &self.rules).is_empty());
        let mut writers = BTreeMap::new();
        for channel in owed.iter().map(|owed| &owed.build.channel) {
            if writers.contains_key(channel) {
                continue;
            }
            match store.lock(channel).await {
                Ok(writer) => drop(writers.insert(channel.clone(), writer)),
                Err(StoreError::Busy { .. }) => {}
                Err(error) => return Err(refused(error)),
            }
        }
        owed.retain(|owed| writers.contains_key(&owed.build.channel));
        let judges = owed.iter().map(|owed| TagJudge::of_owed(owed, &self.rules));
        let mut judges: Vec<_> = judges.collect();
        if judges.is_empty() {
            return Ok(UntagReport::default());
        }
        add_users(site, store, None, &mut judges).await?;
        // All at once: if a registry cannot remove a single tag, an image is only removed if all of its tags may be.
        let decisions: Vec<_> = judges.into_iter().flat_map(TagJudge::decide).collect();
        let report = images::untag(&self.client, &decisions).await;
        let report = report.map_err(|error| unreachable(&self.rules.registry, error))?;
        for before in owed {
            let Some(writer) = writers.get(&before.build.channel) else {
                continue;
            };
            let left = before.tags.iter().filter_map(|tag| {
                let known = |left: &&OwedTag| left.name == tag.name && left.digest == tag.digest;
                let elsewhere = tag.name.parts().registry != Some(self.rules.registry.as_str());
                let left = report.owed.iter().find(known);
                left.or_else(|| elsewhere.then_some(tag)).cloned()
            });
            let after = OwedTags {
                build: before.build.clone(),
                tags: left.collect(),
            };
            if after != before {
                writer.owe(&after).await.map_err(refused)?;
            }
        }
        Ok(report)
    }
}

/// The images of a build to be published.
#[derive(Debug, Clone, Default)]
pub(crate) struct BuildImages {
    /// The images, under the names that they get.
    pub(crate) named: Vec<NamedImage>,
    /// The staging tags under which the phases pushed them.
    pub(crate) staged: Vec<(ImageName, Sha256)>,
}

/// Checks that the images which the phases of a build push can be recorded.
pub(crate) fn check_pushed(site: &Site, pushed: &PushedImages) -> Result<(), Error> {
    let Some(table) = &site.options.registry else {
        return if pushed.optional {
            Ok(())
        } else {
            Err(no_registry())
        };
    };
    let configured = table.rules()?.registry;
    match &pushed.host {
        Some(host) if *host != configured => Err(Error::usage(format!(
            "the phases push images to {host}, and `host` of [registry] is {configured}"
        ))
        .hint("name the same registry in both: in the variables that the recipe's `host` consists of, and in [registry]")),
        Some(_) | None => Ok(()),
    }
}

/// The error about a build that pushes its images without a configured registry.
pub(crate) fn no_registry() -> Error {
    Error::usage("the build pushes its images itself, and no registry is named")
        .hint("give `host` in [registry]; docs/registry.md describes it")
}

/// The result of a publish, on the mirror and on the registry.
#[derive(Debug, Serialize)]
pub struct Published {
    /// On the mirror.
    #[serde(flatten)]
    pub report: PublishReport,
    /// Absent if the configuration names no registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<ImageReport>,
    /// The aliases of releases and channels that were moved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<RootStep>,
}

impl From<PublishReport> for Published {
    fn from(report: PublishReport) -> Self {
        Self {
            report,
            images: None,
            names: Vec::new(),
        }
    }
}

impl std::fmt::Display for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.report.fmt(f)?;
        self.images
            .as_ref()
            .map_or(Ok(()), |images| images.fmt(f))?;
        self.names.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

/// Adds all remaining users of images to the judges of tags: builds and their charts, pins, and retired builds that can still be
/// restored, except `going`.
async fn add_users(
    site: &Site,
    store: &Mirror,
    going: Option<&Retired>,
    judges: &mut [TagJudge<'_>],
) -> Result<(), Error> {
    let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
    for (build, entry) in catalog.builds() {
        let charts = images::read::charts::charts(&**store, &build).await;
        let record = match (&entry.state, &charts) {
            (BuildState::Unreadable(reason), _) => Err(reason.clone()),
            // An unreadable chart may name any image.
            (_, Err(error)) => Err(crate::error::chain(error).to_string()),
            (BuildState::Known(record), Ok(_)) => Ok((**record).clone()),
        };
        stays(
            judges,
            &ImageUser {
                build: build.clone(),
                record,
                pin: false,
            },
        );
        // Sequentially: a chart may be large.
        for path in charts.iter().flatten() {
            let text = images::read::charts::read_chart(&**store, &build, path).await;
            let text = text.as_deref().map_err(String::as_str);
            for judge in &mut *judges {
                judge.add_chart(&build, path, text);
            }
        }
    }
    for other in store.retired().await.map_err(refused)? {
        if other.section.is_some() || Some(&other) == going {
            continue;
        }
        let record = store.retired_record(&other).await;
        stays(
            judges,
            &ImageUser {
                record: record.map_err(|error| crate::error::chain(&error).to_string()),
                build: other.id,
                pin: false,
            },
        );
    }
    let pins = store.pins(&Scope::All).await.map_err(refused)?;
    for pin in pins.into_iter().filter(|pin| pin.holds(site.now)) {
        stays(
            judges,
            &ImageUser {
                record: Ok(BuildRecord::new(pin.build.clone(), BuildOutcome::Success)),
                build: pin.build,
                pin: true,
            },
        );
    }
    Ok(())
}

fn stays(judges: &mut [TagJudge<'_>], user: &ImageUser) {
    for judge in judges {
        judge.add_user(user);
    }
}

/// The error about a plan that failed because of its images.
pub(crate) fn unprepared(error: PrepareImagesError) -> Error {
    match error {
        PrepareImagesError::Registry {
            registry, source, ..
        } => unreachable(&registry, source),
        PrepareImagesError::Clash { .. } => Error::new(ErrorKind::Mirror, error).hint(
            "nothing was published; a dated or static tag never moves: give the image another tag",
        ),
        PrepareImagesError::Name { .. } => Error::new(ErrorKind::Mirror, error)
            .hint("nothing was published; docs/registry.md says how images are named"),
        PrepareImagesError::Files(_) => Error::new(ErrorKind::Mirror, error),
        error => Error::new(error.kind().into(), error),
    }
}

fn unreachable(registry: &str, error: RegistryError) -> Error {
    let hint = remedy(registry, &error);
    let hint = hint.unwrap_or_else(|| {
        "run the same command again when the registry answers; it resumes".to_owned()
    });
    let error = ImageError::Registry {
        registry: registry.to_owned(),
        source: error,
    };
    // Regardless of the registry's answer, mirror and registry still differ.
    Error::new(ErrorKind::Mirror, error).hint(hint)
}

/// The result of a push of images, or its plan.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Push {
    /// The planned push.
    Plan(ImagePlan),
    /// The completed push.
    Done(ImageReport),
}

impl Site {
    /// Pushes the images of a published build to the registry, or plans it.
    pub async fn push_images(&self, build: &str, dry_run: bool) -> Result<Push, Error> {
        let Registry { client, rules, .. } = Registry::open(self)?.ok_or_else(|| {
            Error::usage("no registry is named")
                .hint("give `host` in [registry]; docs/registry.md describes it")
        })?;
        let store = self.mirror()?;
        let id = &build_ref::resolve(&*store, build).await?;
        let _writer = store.lock(&id.channel).await.map_err(refused)?;
        let scope = Scope::Channel(id.channel.clone());
        let mut catalog = store.catalog(&scope).await.map_err(refused)?;
        let entry = catalog.channels.remove(&id.channel).unwrap_or_default();
        let record = store.record(id).await.map_err(refused)?;
        let (named, _fetched) = images_of(self, &store, &rules, &record).await?;
        let plan = images::plan_for(&client, &rules, &entry, &record, &named).await;
        let plan = plan.map_err(unpushed)?;
        if dry_run {
            return Ok(Push::Plan(plan));
        }
        let done = images::push(&client, &named, &plan).await;
        done.map(Push::Done).map_err(unpushed)
    }
}

fn unpushed(error: ImageError) -> Error {
    match error {
        ImageError::Registry { registry, source } => unreachable(&registry, source),
        ImageError::Clash(_) => {
            Error::new(ErrorKind::Mirror, error).hint("a dated or static tag never moves")
        }
        ImageError::Missing { .. } => Error::new(ErrorKind::Mirror, error).hint(
            "the build does not have it either: its images are missing from the mirror, or changed",
        ),
        error => Error::new(error.kind().into(), error),
    }
}

/// Fetches the image files of a build into a temporary directory, each completely and verified.
async fn fetch_images(
    site: &Site,
    store: &dyn MirrorRead,
    id: &BuildId,
) -> Result<Utf8TempDir, Error> {
    let sums = store.sums(id).await.map_err(refused)?;
    let below = format!("{IMAGE_DIRECTORY}/");
    let is_image = |line: &&SumLine| line.path.as_str().starts_with(&below);
    let wanted = sums.lines().iter().filter(is_image).map(|line| Wanted {
        path: line.path.clone(),
        sha256: line.digest,
        to: line.path.as_str().into(),
        control: None,
    });
    let wanted: Vec<_> = wanted.collect();
    let dir = Utf8TempDir::new().map_err(Error::usage)?;
    let observe = |event: FetchEvent<'_>| site.progress().fetching(event);
    let options = FetchOptions::default();
    let report = fetch(store, id, &wanted, dir.path(), &options, &observe).await;
    site.progress().finished();
    match report.failed.into_iter().next() {
        Some(error) => Err(Error::new(error.kind().into(), error).hint(
            "nothing was pushed; the files are fetched into TMPDIR, which needs room for them",
        )),
        None => Ok(dir),
    }
}

/// The images of a published build, under the names of its record, with the image files on the mirror. For a mirror in a bucket, also
/// the temporary directory of the files, which exists as long as the returned value.
async fn images_of(
    site: &Site,
    store: &Mirror,
    rules: &ImageRules,
    record: &BuildRecord,
) -> Result<(Vec<NamedImage>, Option<Utf8TempDir>), Error> {
    let id: &BuildId = &record.id;
    let (dir, fetched) = match store {
        Mirror::Directory(store) => (store.root().join(id.to_string()), None),
        Mirror::Bucket(store) => {
            let fetched = fetch_images(site, store, id).await?;
            (fetched.path().to_owned(), Some(fetched))
        }
    };
    let Survey { incoming, .. } =
        survey(&dir, &[]).map_err(|error| Error::new(ErrorKind::NotFound, error))?;
    let found = images::read::read_images(incoming).await;
    let found = found.map_err(|error| Error::new(ErrorKind::Mirror, error))?;
    let named = images::name(id, found.images, rules);
    let named = named.map_err(|error| Error::new(ErrorKind::Mirror, error))?;
    if record.images.is_empty() {
        if named.is_empty() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("{id}: has no images"),
            ));
        }
        site.note(&format!(
            "note: build.json of {id} names no images; neither `verify` nor `prune` will know their tags"
        ));
        return Ok((named, fetched));
    }
    let recorded = images::recorded(record, &rules.registry);
    if recorded.is_empty() {
        return Err(Error::new(
            ErrorKind::Mirror,
            format!(
                "{id}: its images are of another registry than {}",
                rules.registry
            ),
        ));
    }
    Ok((images::with_files(recorded, &named), fetched))
}
