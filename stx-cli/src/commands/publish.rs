//! `publish`: a finished tree becomes a build of the mirror.

use std::io::ErrorKind;

use camino::Utf8Path;
use chrono::{DateTime, Utc};
use serde::Serialize;
use stx_images::Prepared;
use stx_layout::{BuildId, BuildRecord, counted};
use stx_publish::metadata::carry;
use stx_publish::{
    Cleared, Incoming, MemoryStore, MirrorRead, MirrorStore, PlanError, PrepareError, Problem,
    ProblemKind, PublishError, PublishPlan, PublishRequest, ScanError, Survey, clear, prepare,
    prepare_in_full, survey,
};

use super::images::{Published, Registry};
use super::{Context, Mirror, exit_of, provenance, signing};
use crate::args::{Format, Publish};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::users::{denied, is_there};

pub(crate) async fn run(context: &Context, args: &Publish) -> Result<(), Failure> {
    for root in &args.source_root {
        // Symlinks that lead there would be refused one by one, each as if no root was named.
        if !is_there(root)? {
            return Err(Failure::new(
                Exit::NotFound,
                format!("--source-root {root}: there is no such directory"),
            ));
        }
    }
    let roots = context.config.source_roots(&args.source_root);
    let Survey { incoming, problems } =
        survey(&args.dir, &roots).map_err(|error| unsurveyed(&args.dir, error))?;
    let mut record = BuildRecord::new(BuildId::new(args.channel.clone(), args.date), args.result);
    record.trigger = Some("publish".to_owned());
    let request = request(context.now, record, incoming, args.force_alias);
    if args.dry_run {
        let request = carried(context, request)?;
        let (request, _redacted) = guard(context, request, problems)?;
        let (request, _signed) = signing::packages(context, request)?;
        let request = provenance::describe(context, request)?;
        let (mirror, nothing);
        let store: &dyn MirrorRead = match context.open() {
            Ok(store) => {
                mirror = store;
                &*mirror
            }
            Err(failure) if failure.exit == Exit::NotFound => {
                Mirror::may_create(&context.mirror()?)?;
                nothing = MemoryStore::new();
                &nothing
            }
            Err(failure) => return Err(failure),
        };
        return show(context, store, request).await;
    }
    let request = carried(context, request)?;
    let guarded = guard(context, request, problems)?;
    let store = Mirror::open_or_create(context, &context.mirror()?)?;
    let report = publish_guarded(context, &*store, guarded).await?;
    output::print(context.format(), &report, || report.to_string())
}

/// Why there is nothing to publish, and where it probably is.
fn unsurveyed(dir: &Utf8Path, error: ScanError) -> Failure {
    let hint = match &error {
        ScanError::Empty { .. } => Some(near(dir)),
        ScanError::Unreadable { dir, source } => {
            (source.kind() == ErrorKind::PermissionDenied).then(|| denied(dir))
        }
        ScanError::NotADirectory { .. } => {
            Some("`publish` takes the directory that holds inputs/ and outputs/".to_owned())
        }
        ScanError::Missing { .. } | ScanError::Refused { .. } | ScanError::Unfinished { .. } => {
            None
        }
    };
    let failure = Failure::new(Exit::NotFound, error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// The directory near `dir` that holds a build, if there is one: the one above, or one in it.
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

/// Plans, and shows it.
async fn show(
    context: &Context,
    store: &dyn MirrorRead,
    mut request: PublishRequest,
) -> Result<(), Failure> {
    let registry = Registry::open(context)?;
    let named = match &registry {
        Some(registry) => registry.add_images(context, &mut request).await?,
        None => Vec::new(),
    };
    let plan = prepare_in_full(store, request).await;
    let plan = plan.map_err(|error| unprepared(context, error))?;
    let mut json = document(&plan)?;
    let mut text = plan.to_string();
    if let Some(registry) = registry {
        let images = registry.prepare(context, store, plan, named).await?.images;
        text.push_str(&images.to_string());
        json["images"] =
            serde_json::to_value(&images).map_err(|error| Failure::new(Exit::Bug, error))?;
    }
    output::print(context.format(), &json, || text)
}

/// A plan as JSON. Where a redacted copy lay while the plan was made is of no use to anybody afterwards.
fn document(plan: &PublishPlan) -> Result<serde_json::Value, Failure> {
    let mut json = serde_json::to_value(plan).map_err(|error| Failure::new(Exit::Bug, error))?;
    for path in plan.privacy.redacted.keys() {
        let entry = json["incoming"][path.as_str()].as_object_mut();
        entry.and_then(|entry| entry.remove("source"));
    }
    Ok(json)
}

/// What was refused, as JSON.
#[derive(Serialize)]
struct Refused<'a> {
    refused: &'a [Problem],
}

/// All that must not leave, a line each, and nothing else done.
fn refuse(context: &Context, id: &BuildId, problems: &[Problem]) -> Failure {
    let lines: Vec<_> = problems
        .iter()
        .map(|problem| format!("\n  {problem}"))
        .collect();
    let count = counted(problems.len(), "thing");
    let failure = match context.format() {
        Format::Human => Failure::new(
            Exit::Mirror,
            format!("{id}: {count} must not be published:{}", lines.concat()),
        ),
        Format::Json => {
            match output::print(Format::Json, &Refused { refused: problems }, String::new) {
                Ok(()) => {
                    Failure::new(Exit::Mirror, format!("{id}: {count} must not be published"))
                }
                Err(failure) => return failure,
            }
        }
    };
    let private = problems.iter().any(|problem| {
        matches!(
            problem.kind,
            ProblemKind::Private { .. }
                | ProblemKind::PrivateName { .. }
                | ProblemKind::Unsearchable { .. }
        )
    });
    failure.hint(if private {
        "nothing was published; mend the tree and run the same command again; \
         `allow` in [privacy] names files that may leave as they are"
    } else {
        "nothing was published; mend the tree and run the same command again"
    })
}

/// Searches what is to be published for what it tells of this machine. Everything that must not leave is refused at once,
/// with the `problems` that are known already.
fn guard(
    context: &Context,
    mut request: PublishRequest,
    mut problems: Vec<Problem>,
) -> Result<(PublishRequest, Option<Cleared>), Failure> {
    let Some(privacy) = context.config.privacy.compile()? else {
        context.say("nothing is searched for what it tells of this machine: [privacy] says so");
        return match problems.as_slice() {
            [] => Ok((request, None)),
            problems => Err(refuse(context, &request.record.id, problems)),
        };
    };
    if context.global.verbose {
        for name in privacy.plain_names() {
            context.say(&format!(
                "this machine's name {name} is a plain word, found after `@` and `://` only; `hosts` in [privacy] finds it anywhere"
            ));
        }
    }
    let incoming = std::mem::take(&mut request.incoming);
    let cleared = clear(incoming, &request.record, &request.carried, &privacy);
    let mut cleared = cleared.map_err(|error| {
        Failure::new(Exit::Mirror, error)
            .hint("nothing was published; redacted copies need room in TMPDIR")
    })?;
    problems.append(&mut cleared.problems);
    problems.sort_by(|a, b| a.path.cmp(&b.path));
    if !problems.is_empty() {
        return Err(refuse(context, &request.record.id, &problems));
    }
    request.incoming = std::mem::take(&mut cleared.incoming);
    request.privacy = std::mem::take(&mut cleared.report);
    Ok((request, Some(cleared)))
}

/// A request for `latest_build`.
pub(crate) fn request(
    now: DateTime<Utc>,
    record: BuildRecord,
    incoming: Incoming,
    force_alias: bool,
) -> PublishRequest {
    let mut request = PublishRequest::new(record, incoming, now);
    request.force_alias = force_alias;
    request
}

/// Finds what of the build's own repository metadata is carried over, and takes over what the configuration says of it.
fn carried(context: &Context, mut request: PublishRequest) -> Result<PublishRequest, Failure> {
    request.strict = context.config.metadata.strict();
    request.carried =
        carry(&mut request.incoming).map_err(|error| Failure::new(Exit::Mirror, error))?;
    Ok(request)
}

/// Searches, plans and publishes.
pub(crate) async fn publish(
    context: &Context,
    store: &dyn MirrorStore,
    request: PublishRequest,
) -> Result<Published, Failure> {
    let request = carried(context, request)?;
    let guarded = guard(context, request, Vec::new())?;
    publish_guarded(context, store, guarded).await
}

/// Signs packages, plans and publishes; once more if another publisher came between. The copies last until the end.
async fn publish_guarded(
    context: &Context,
    store: &dyn MirrorStore,
    (request, _redacted): (PublishRequest, Option<Cleared>),
) -> Result<Published, Failure> {
    let (request, _signed) = signing::packages(context, request)?;
    let mut request = provenance::describe(context, request)?;
    let registry = Registry::open(context)?;
    let named = match &registry {
        Some(registry) => registry.add_images(context, &mut request).await?,
        None => Vec::new(),
    };
    let planned = async || {
        let plan = prepare(store, request.clone()).await;
        let plan = plan.map_err(|error| unprepared(context, error))?;
        match &registry {
            None => Ok(Prepared::of_files(plan)),
            Some(registry) => registry.prepare(context, store, plan, named.clone()).await,
        }
    };
    let mut plan = planned().await?;
    loop {
        let published = match &registry {
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
                    return Err(Failure::new(
                        Exit::Mirror,
                        format!("{id}: the mirror cannot be brought to agree with the plan"),
                    ));
                }
                plan = again;
            }
            result => {
                let published = result.map_err(unpublished)?;
                for problem in published.report.problems() {
                    context.say(&format!("warning: {problem}"));
                }
                return Ok(published);
            }
        }
    }
}

fn unprepared(context: &Context, error: PrepareError) -> Failure {
    match error {
        PrepareError::Store { ref source, .. } => Failure::new(exit_of(source), error),
        PrepareError::Scan {
            id,
            source: ScanError::Refused { problems, .. },
        }
        | PrepareError::Plan(PlanError::Refused { id, problems }) => {
            refuse(context, &id, &problems)
        }
        PrepareError::Scan { .. } => Failure::new(Exit::Mirror, error),
        PrepareError::Plan(error) => unplanned(error),
    }
}

fn unplanned(error: PlanError) -> Failure {
    let hint = match &error {
        PlanError::Refused { .. } => {
            "nothing was published; mend the tree and run the same command again"
        }
        PlanError::Different { .. } => "builds never change; publish under another date",
        PlanError::Incomparable { .. } => {
            "`stx-builds verify` says what is wrong with the published build"
        }
        PlanError::Ahead { .. } => "is the date, or this machine's clock, wrong?",
    };
    Failure::new(Exit::Mirror, error).hint(hint)
}

fn unpublished(error: PublishError) -> Failure {
    match &error {
        PublishError::Busy { .. } => {
            Failure::new(Exit::Busy, error).hint("run the same command again when it is done")
        }
        PublishError::Metadata { source, .. } | PublishError::NotPublished { source, .. }
            if exit_of(source) == Exit::Usage =>
        {
            Failure::new(Exit::Usage, error)
                .hint("nothing was published; install it and run the same command again")
        }
        PublishError::Outdated { .. } => Failure::new(Exit::Mirror, error)
            .hint("run the same command again; it looks at the mirror anew"),
        PublishError::Metadata { .. } | PublishError::NotPublished { .. } => {
            Failure::new(Exit::Mirror, error)
                .hint("nothing of the build is visible; run the same command again to publish it")
        }
        PublishError::AfterCommit { .. } => Failure::new(Exit::Mirror, error).hint(
            "the build is visible, but a power failure may undo that; run the same command again to make it durable and \
             to move the aliases",
        ),
        PublishError::Uncertain { .. } => Failure::new(Exit::Mirror, error).hint(
            "run the same command again when the mirror can be reached; it publishes what is not there, and moves the \
             aliases",
        ),
        PublishError::Incomplete { .. } => Failure::new(Exit::Mirror, error).hint(
            "nothing was published; mend the packages, or let them be left out with `strict = false` in [metadata]",
        ),
        PublishError::HookBeforeCommit { .. } => Failure::new(Exit::Mirror, error).hint(
            "nothing of the build is visible; run the same command again to send what the registry lacks",
        ),
        PublishError::HookAfterCommit { .. } => {
            Failure::new(Exit::Mirror, error)
                .hint("the build is visible; run the same command again to make the tags")
        }
        PublishError::NotAliased { .. } | PublishError::AliasAfterMove { .. } => {
            Failure::new(Exit::Mirror, error)
                .hint("the build is visible; run the same command again to move the alias")
        }
    }
}
