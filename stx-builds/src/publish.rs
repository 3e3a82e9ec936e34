//! `publish`: turns a finished tree into a build of the mirror.

use std::collections::BTreeMap;
use std::{fmt, io};

use camino::{Utf8Path, Utf8PathBuf};
use stx_images::{ImagePlan, Prepared};
use stx_layout::{
    AliasEntry, AliasName, BuildId, BuildOutcome, BuildPath, BuildRecord, counted, printable,
};
use stx_publish::aliases::RootStep;
use stx_publish::metadata::{Carried, carry};
use stx_publish::{
    ClearError, Cleared, Incoming, MemoryStore, MirrorStore, PlanError, PrepareError, Problem,
    ProblemKind, PublishError, PublishPlan, PublishRequest, ScanError, Survey, clear, prepare,
    prepare_in_full, survey,
};
use tracing::{Instrument as _, debug, info, info_span};

use crate::aliases::{planned_root_aliases, settle_root_aliases};
use crate::decisions::short_lived;
use crate::error::registry::hook_remedy;
use crate::error::{DONE, Error, ErrorKind, answer_below, hint_below, is_there};
pub use stx_images::PushedRules;

use crate::images::{BuildImages, Published, Registry, no_registry};
use crate::users::denied;
use crate::{Mirror, Site, provenance, refused, signing};

/// A finished tree to publish.
#[derive(Debug, Clone)]
pub struct Tree {
    /// The directory that holds `inputs/` and `outputs/`.
    pub dir: Utf8PathBuf,
    /// The build to publish it as.
    pub build: BuildId,
    /// The outcome to record.
    pub result: BuildOutcome,
    /// Directories outside of the tree whose files are accepted if a symlink of the tree leads there, besides those of the options.
    pub source_roots: Vec<Utf8PathBuf>,
    /// Move `latest_build` even if it points at a newer build.
    pub force_alias: bool,
    /// The rules for images that the build pushed itself; `None` if the images are among the files of the tree.
    pub pushed: Option<PushedRules>,
}

impl Tree {
    /// Publishes a tree as a success.
    pub fn new(dir: impl Into<Utf8PathBuf>, build: BuildId) -> Self {
        Self {
            dir: dir.into(),
            build,
            result: BuildOutcome::Success,
            source_roots: Vec::new(),
            force_alias: false,
            pushed: None,
        }
    }
}

/// The plan of publishing a tree.
#[derive(Debug)]
pub struct Planned {
    /// On the mirror.
    pub plan: PublishPlan,
    /// On the registry, if one is named.
    pub images: Option<ImagePlan>,
    /// The aliases of releases and channels that would move.
    pub names: Vec<RootStep>,
    /// The `latest_green_build` of the channel. It does not move, since only verdicts move it.
    pub latest_green_build: Option<AliasEntry>,
    /// The reason why the build does not last, if one is known: the policy retires it at once.
    pub short_lived: Option<String>,
}

impl Planned {
    /// Adds the names that would move to a plan.
    pub(crate) async fn of(
        site: &Site,
        store: &dyn MirrorStore,
        plan: PublishPlan,
        images: Option<ImagePlan>,
    ) -> Result<Self, Error> {
        let (channel, green) = (&plan.id.channel, AliasName::latest_green_build());
        Ok(Self {
            names: planned_root_aliases(site, store, &plan).await?,
            latest_green_build: store.alias(channel, &green).await.map_err(refused)?,
            short_lived: lasting(site, store, &plan).await.unwrap_or_else(Some),
            plan,
            images,
        })
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plan.fmt(f)?;
        let green = AliasName::latest_green_build();
        match &self.latest_green_build {
            Some(AliasEntry::Build(date)) => {
                writeln!(f, "  {green}: stays at {date}, `mark` moves it")?;
            }
            Some(AliasEntry::Other(_)) | None => {}
        }
        self.names
            .iter()
            .try_for_each(|step| writeln!(f, "  {step}"))?;
        if let Some(why) = &self.short_lived {
            writeln!(f, "  warning: {why}")?;
        }
        self.images.as_ref().map_or(Ok(()), |images| images.fmt(f))
    }
}

/// A refused tree: some of its files must not leave this machine, or cannot be on a mirror.
#[derive(Debug, thiserror::Error)]
#[error("{id}: {} must not be published:{}", counted(problems.len(), "thing"), lines(problems))]
pub struct Refused {
    /// The build that was refused.
    pub id: BuildId,
    /// All problems of the tree.
    pub problems: Vec<Problem>,
}

fn lines(problems: &[Problem]) -> String {
    let lines = problems.iter().map(|problem| format!("\n  {problem}"));
    lines.collect()
}

impl Site {
    /// Publishes a finished tree: searches it for confidential data, signs, describes, names the images, plans, stages, commits, tags
    /// and moves the alias. The same tree again changes nothing, or completes an interrupted publish.
    pub async fn publish(&self, tree: &Tree) -> Result<Published, Error> {
        let request = requested(self, tree)?;
        let store = Mirror::open_or_create(self, &self.root()?)?;
        publish_request(self, &*store, request, tree.pushed.as_ref()).await
    }

    /// Plans a publish, and changes nothing.
    pub async fn plan_publish(&self, tree: &Tree) -> Result<Planned, Error> {
        let request = requested(self, tree)?;
        let (mirror, nothing);
        let store: &dyn MirrorStore = match self.mirror() {
            Ok(store) => {
                mirror = store;
                &*mirror
            }
            Err(error) if error.kind == ErrorKind::NotFound => {
                Mirror::may_create(&self.root()?)?;
                nothing = MemoryStore::new();
                &nothing
            }
            Err(error) => return Err(error),
        };
        planned(self, store, request, tree.pushed.as_ref()).await
    }
}

/// Surveys a tree, and makes a request from it.
fn requested(site: &Site, tree: &Tree) -> Result<PublishRequest, Error> {
    for root in &tree.source_roots {
        // Otherwise each symlink that leads there would be refused, as if the root had not been named.
        if !is_there(root)? {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("--source-root {root}: there is no such directory"),
            ));
        }
    }
    let roots = site.options.source_roots(&tree.source_roots);
    let Survey { incoming, problems } =
        survey(&tree.dir, &roots).map_err(|error| unsurveyed(&tree.dir, error))?;
    let beside = beside(&tree.dir);
    if !beside.is_empty() {
        // Without this check, a build with a directory `output/` instead of `outputs/` would look complete.
        let (dir, names) = (&tree.dir, printable(&beside.join(", ")).into_owned());
        let problem = format!("{dir}: only inputs/ and outputs/ are published, and not {names}");
        site.note(&format!("warning: {problem}"));
    }
    let mut record = BuildRecord::new(tree.build.clone(), tree.result);
    record.trigger = Some("publish".to_owned());
    let mut request = request(site, record, incoming, problems)?;
    request.force_alias = tree.force_alias;
    Ok(request)
}

/// The names in a tree beside `inputs` and `outputs`.
fn beside(dir: &Utf8Path) -> Vec<String> {
    let entries = dir.read_dir().into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names
        .filter(|name| !["inputs", "outputs"].contains(&name.as_str()))
        .collect();
    names.sort();
    names
}

/// Makes a request from files that were not searched yet, with the known `problems`.
fn request(
    site: &Site,
    record: BuildRecord,
    mut incoming: Incoming,
    problems: Vec<Problem>,
) -> Result<PublishRequest, Error> {
    // The build's own comps, modules and updateinfo are published, so they are searched as well.
    let carried = carry(&mut incoming).map_err(|error| Error::new(ErrorKind::Mirror, error))?;
    debug!(build = %record.id, carried = carried.len(), "searching the files");
    let tree = guard(site, &record, incoming, &carried, problems)?;
    let mut request = PublishRequest::new(record, tree, site.now);
    request.carried = carried;
    request.strict = site.options.metadata.strict();
    request.controls = site.options.zsync.rules().clone();
    request.undated = site.options.aliases.is_undated(&request.record.id.channel);
    debug!("signing packages, describing images");
    // Signatures change packages, so they come before anything that takes their digests.
    let request = signing::packages(site, request)?;
    let request = provenance::describe(site, request)?;
    let mismatched = provenance::mismatched(&request);
    if !mismatched.is_empty() {
        return Err(refuse(&request.record.id, mismatched));
    }
    Ok(request)
}

/// The error that there is nothing to publish, with the probable place of the build.
fn unsurveyed(dir: &Utf8Path, error: ScanError) -> Error {
    let hint = match &error {
        ScanError::Empty { .. } => Some(near(dir)),
        ScanError::Unreadable { dir, source } => {
            (source.kind() == io::ErrorKind::PermissionDenied).then(|| denied(dir))
        }
        ScanError::NotADirectory { .. } => {
            Some("`publish` takes the directory that holds inputs/ and outputs/".to_owned())
        }
        // The error names the file and its fault.
        _ => None,
    };
    let failure = Error::new(ErrorKind::NotFound, error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// The directory near `dir` that contains a build, if one exists: the parent, or a child.
fn near(dir: &Utf8Path) -> String {
    let holds = |dir: &Utf8Path| dir.join("outputs").is_dir() || dir.join("inputs").is_dir();
    let above = dir.canonicalize_utf8().ok();
    let above = above.and_then(|dir| Some(dir.parent()?.to_owned()));
    let in_it = dir.read_dir_utf8().into_iter().flatten();
    let in_it = in_it.filter_map(|entry| Some(entry.ok()?.into_path()));
    match above.into_iter().chain(in_it).find(|dir| holds(dir)) {
        Some(near) => format!("{near} does"),
        None => "`publish` takes the directory that holds inputs/ and outputs/".to_owned(),
    }
}

async fn planned(
    site: &Site,
    store: &dyn MirrorStore,
    mut request: PublishRequest,
    pushed: Option<&PushedRules>,
) -> Result<Planned, Error> {
    let registry = Registry::open(site)?;
    let BuildImages { named, .. } =
        images_of(site, registry.as_ref(), &mut request, pushed).await?;
    let plan = prepare_in_full(store, request).await.map_err(unprepared)?;
    let images = match registry {
        None => None,
        Some(registry) => {
            let prepared = registry.prepare(site, store, plan.clone(), named).await?;
            Some(prepared.images)
        }
    };
    Planned::of(site, store, plan, images).await
}

fn refuse(id: &BuildId, problems: Vec<Problem>) -> Error {
    let private = problems.iter().any(|problem| {
        matches!(
            problem.kind,
            ProblemKind::Private { .. }
                | ProblemKind::PrivateName { .. }
                | ProblemKind::PrivateInPackage { .. }
                | ProblemKind::Unsearchable { .. }
        )
    });
    let mismatched = |it: &Problem| matches!(it.kind, ProblemKind::Mismatched { .. });
    let is_mismatched = problems.iter().any(mismatched);
    let refused = Refused {
        id: id.clone(),
        problems,
    };
    Error::new(ErrorKind::Mirror, refused).hint(if is_mismatched {
        "nothing was published; remove the bill of materials, of which `publish` then makes a new one, or make one of the files as \
         they are published, and run the same command again"
    } else if private {
        "nothing was published; correct the tree and run the same command again; \
         `allow` in [privacy] names files that may leave as they are"
    } else {
        "nothing was published; correct the tree and run the same command again"
    })
}

/// Searches the files to publish for names and secrets of this machine. Reports all findings at once, with the known `problems`.
fn guard(
    site: &Site,
    record: &BuildRecord,
    incoming: Incoming,
    carried: &BTreeMap<BuildPath, Carried>,
    mut problems: Vec<Problem>,
) -> Result<Cleared, Error> {
    let cleared = match site.options.privacy.compile()? {
        None => {
            site.note(
                "files are not searched for names of this machine, because [privacy] disables it",
            );
            Ok(Cleared::unsearched(
                incoming,
                "`enabled` of [privacy] is false",
            ))
        }
        Some(privacy) => {
            for name in privacy.plain_names() {
                site.progress().detail(&format!(
                    "this machine's name {name} is a plain word, found after `@` and `://` only; `hosts` in [privacy] finds it anywhere"
                ));
            }
            clear(incoming, record, carried, &privacy)
        }
    };
    match cleared {
        Ok(cleared) if problems.is_empty() => return Ok(cleared),
        Ok(_) => {}
        Err(ClearError::Problems(found)) => problems.extend(found),
        Err(error) => {
            return Err(Error::new(ErrorKind::Mirror, error)
                .hint("nothing was published; redacted copies need room in TMPDIR"));
        }
    }
    problems.sort_by(|a, b| a.path.cmp(&b.path));
    Err(refuse(&record.id, problems))
}

/// Publishes the files of a build, which were not searched yet.
pub(crate) async fn publish(
    site: &Site,
    store: &dyn MirrorStore,
    record: BuildRecord,
    incoming: Incoming,
    force_alias: bool,
    pushed: Option<&PushedRules>,
) -> Result<Published, Error> {
    let mut request = request(site, record, incoming, Vec::new())?;
    request.force_alias = force_alias;
    publish_request(site, store, request, pushed).await
}

/// Names the images of a request: the images among its files, or the images that its build pushed.
async fn images_of(
    site: &Site,
    registry: Option<&Registry>,
    request: &mut PublishRequest,
    pushed: Option<&PushedRules>,
) -> Result<BuildImages, Error> {
    match (registry, pushed) {
        (Some(registry), Some(pushed)) => registry.add_pushed(site, request, pushed).await,
        (Some(registry), None) => Ok(BuildImages {
            named: registry.add_images(site, request).await?,
            staged: Vec::new(),
        }),
        (None, Some(_)) => Err(no_registry()),
        (None, None) => Ok(BuildImages::default()),
    }
}

/// Names the images, plans and publishes; repeats this once if another publisher interfered.
async fn publish_request(
    site: &Site,
    store: &dyn MirrorStore,
    request: PublishRequest,
    pushed: Option<&PushedRules>,
) -> Result<Published, Error> {
    let span = info_span!("publish", build = %request.record.id);
    // Boxed: its future is large, and callers contain it.
    let published = Box::pin(publish_planned(site, store, request, pushed));
    published.instrument(span).await
}

async fn publish_planned(
    site: &Site,
    store: &dyn MirrorStore,
    mut request: PublishRequest,
    pushed: Option<&PushedRules>,
) -> Result<Published, Error> {
    let registry = Registry::open(site)?;
    let BuildImages { named, staged } =
        images_of(site, registry.as_ref(), &mut request, pushed).await?;
    let planned = async || {
        debug!("planning");
        // The data that the lock needs is read while the plan is made; both share the connections that this opens.
        let channel = &request.record.id.channel;
        let ((), plan) = tokio::join!(store.expect(channel), prepare(store, request.clone()));
        if plan.is_err() {
            // The lock is not taken, so its preparations are removed. An error here would hide the more important one.
            store.settle(channel).await.ok();
        }
        let plan = plan.map_err(unprepared)?;
        match &registry {
            None => Ok(Prepared::of_files(plan)),
            Some(registry) => registry.prepare(site, store, plan, named.clone()).await,
        }
    };
    let published = carry_out(site, store, registry.as_ref(), planned).await?;
    if let Some(registry) = &registry {
        registry.unstage(site, &staged).await;
    }
    Ok(published)
}

/// Executes `planned`; plans again once if another publisher interfered.
pub(crate) async fn carry_out(
    site: &Site,
    store: &dyn MirrorStore,
    registry: Option<&Registry>,
    planned: impl AsyncFn() -> Result<Prepared, Error>,
) -> Result<Published, Error> {
    let mut plan = planned().await?;
    loop {
        debug!("staging and committing");
        let published = match registry {
            None => {
                let report = stx_publish::publish(store, &plan.plan).await;
                report.map(Published::from)
            }
            Some(registry) => registry.publish(store, &plan).await,
        };
        match published {
            Err(PublishError::Outdated { id, .. }) => {
                let again = planned().await?;
                if again == plan {
                    return Err(Error::new(
                        ErrorKind::Mirror,
                        format!("{id}: the mirror still differs from the plan after a new plan"),
                    ));
                }
                plan = again;
            }
            result => {
                let mut published = result.map_err(unpublished)?;
                info!("published");
                published.names = settle_names(site, store, &plan.plan).await?;
                for problem in published.report.problems() {
                    site.note(&format!("warning: {problem}"));
                }
                warn_if_short_lived(site, store, &plan.plan).await;
                return Ok(published);
            }
        }
    }
}

/// Warns of a published build that retention retires at once, as after a wrong date.
async fn warn_if_short_lived(site: &Site, store: &dyn MirrorStore, plan: &PublishPlan) {
    match lasting(site, store, plan).await {
        Ok(None) => {}
        // The pages show how long builds stay, so they fail by the same cause and report it.
        Err(_) if site.options.makes_pages() => {}
        Ok(Some(why)) | Err(why) => site.note(&format!("warning: {why}")),
    }
}

/// The reason why a build does not last, if one is known; the error is the reason why that is unknown.
async fn lasting(
    site: &Site,
    store: &dyn MirrorStore,
    plan: &PublishPlan,
) -> Result<Option<String>, String> {
    let why = short_lived(site, store, plan).await;
    why.map_err(|failure| {
        let (id, failure) = (&plan.id, failure.line());
        format!("{id}: it is not known how long retention keeps it: {failure}")
    })
}

/// Moves the aliases of releases after a success.
async fn settle_names(
    site: &Site,
    store: &dyn MirrorStore,
    plan: &PublishPlan,
) -> Result<Vec<RootStep>, Error> {
    match plan.result {
        BuildOutcome::Fail => Ok(Vec::new()),
        BuildOutcome::Success => {
            let settled = settle_root_aliases(site, store, &plan.id.channel).await;
            settled.map_err(|error| {
                error
                    .hint("the build is visible; run the same command again to move the aliases of releases")
            })
        }
    }
}

pub(crate) fn unprepared(error: PrepareError) -> Error {
    match error {
        PrepareError::Plan(PlanError::Refused { id, problems }) => refuse(&id, problems),
        PrepareError::Plan(error) => unplanned(error),
        error => Error {
            hint: hint_below(&error),
            ..Error::new(error.kind().into(), error)
        },
    }
}

/// The error of a build that cannot be published, with a hint.
pub(crate) fn unplanned(error: PlanError) -> Error {
    let hint = match &error {
        PlanError::Different { .. } => "builds never change; publish under another date",
        PlanError::Incomparable { .. } => {
            "`stx-builds verify` says what is wrong with the published build"
        }
        PlanError::Ahead { .. } => "is the date, or this machine's clock, wrong?",
        // The other errors come from planning: the tree has to change.
        _ => "nothing was published; correct the tree and run the same command again",
    };
    Error::new(ErrorKind::Mirror, error).hint(hint)
}

fn unpublished(error: PublishError) -> Error {
    let kind = ErrorKind::from(error.kind());
    let hook = match &error {
        PublishError::HookBeforeCommit { source, .. } => {
            hook_remedy(source).map(|remedy| ("nothing of the build is visible", remedy))
        }
        PublishError::HookAfterCommit { source, .. } => {
            hook_remedy(source).map(|remedy| ("the build is visible", remedy))
        }
        _ => None,
    };
    if let Some((state, remedy)) = hook {
        let hint = format!("{state}; {remedy}; then run the same command again");
        return Error::new(kind, error).hint(hint);
    }
    let hint = match &error {
        PublishError::Outdated { .. } => "run the same command again; it reads the mirror again",
        PublishError::AfterCommit { .. } => {
            "the build is visible, but a power failure may undo that; run the same command again to make it durable and \
             to move the aliases"
        }
        PublishError::Uncertain { .. } => {
            "run the same command again when the mirror can be reached; it publishes the build if it is missing, and moves the aliases"
        }
        PublishError::Incomplete { .. } => {
            "nothing was published; correct the packages, or set `strict = false` in [metadata] to leave them out"
        }
        PublishError::HookBeforeCommit { .. } => {
            "nothing of the build is visible; run the same command again to send the missing images"
        }
        PublishError::HookAfterCommit { .. } => {
            "the build is visible; run the same command again to make the tags"
        }
        PublishError::NotAliased { .. } | PublishError::AliasAfterMove { .. } => {
            "the build is visible; run the same command again to move the alias"
        }
        PublishError::NotOffered { .. } => {
            "the build is visible; run the same command again to make its paths without a date"
        }
        // It stopped before the commit.
        _ => match error.kind() {
            stx_publish::ErrorKind::Busy => DONE,
            stx_publish::ErrorKind::Usage => {
                "nothing was published; install it and run the same command again"
            }
            stx_publish::ErrorKind::Mirror | stx_publish::ErrorKind::NotFound => {
                if let Some(hint) = answer_below(&error) {
                    let hint = format!("nothing of the build is visible; {hint}");
                    return Error::new(kind, error).hint(hint);
                }
                "nothing of the build is visible; run the same command again to publish it"
            }
        },
    };
    Error::new(kind, error).hint(hint)
}
