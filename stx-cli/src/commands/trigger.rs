//! `trigger`: asks the service for a build, or takes that back.

use serde::Serialize;
use stx_layout::{GitMapping, ReleaseId, redact_urls};
use stx_pipeline::process::GitUpstream;
use stx_pipeline::service::{Ask, AskError, Setup, Upstream as _, unnamed};

use super::Context;
use super::build::Site;
use super::daemon::{Service, spool};
use crate::args::Trigger;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::users::is_there;

/// What was asked for.
#[derive(Debug, Serialize)]
struct Left<'a> {
    message: String,
    #[serde(flatten)]
    ask: &'a Ask,
    service_running: bool,
}

pub(crate) async fn run(context: &Context, args: &Trigger) -> Result<(), Failure> {
    let service = Service::load(&context.global)?;
    let dir = service.spool(&Site::new(context)?);
    let ask = match (args.cancel, &args.branch) {
        (Some(request), _) => Ask::Cancel { request },
        (None, Some(branch)) => build(branch, args)?,
        (None, None) => return Err(Failure::usage("neither a branch nor a request is named")),
    };
    ask.check().map_err(|error| {
        let failure = Failure::usage(error.clone());
        match error {
            AskError::LongReason { .. } => {
                failure.hint("say in a line why the build is needed, and where to read more")
            }
            _ => failure,
        }
    })?;
    if !is_there(&dir)? {
        return Err(
            Failure::usage(format!("{dir}: there is no directory for requests"))
                .hint("the service makes it when it starts for the first time"),
        );
    }
    if let Ask::Build {
        release,
        git,
        new_channel,
        ..
    } = &ask
    {
        look(context, &service, release, git, *new_channel).await?;
    }
    let message = spool::leave(&dir, &ask, context.now).map_err(|error| {
        let failure = Failure::usage(format!("{dir}: {error}"));
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                failure.hint("only members of the build group may ask for builds")
            }
            _ => failure,
        }
    })?;
    let service_running = spool::is_alive(&dir);
    let left = Left {
        message,
        ask: &ask,
        service_running,
    };
    output::print(context.format(), &left, || match &ask {
        Ask::Build { release, git, .. } => format!("asked for {release} of {git}"),
        Ask::Cancel { request } => format!("asked to cancel request {request}"),
    })?;
    if !service_running {
        context.say("no service runs; it reads this when it starts");
    }
    Ok(())
}

/// Finds a typo at once. The service looks again: it need not see what the caller sees.
async fn look(
    context: &Context,
    service: &Service,
    release: &ReleaseId,
    git: &str,
    new_channel: bool,
) -> Result<(), Failure> {
    let setup = &service.setup;
    if setup.watch_of(release, git).is_some() {
        return Ok(());
    }
    let target = service.target(release, git).map_err(Failure::usage)?;
    if !new_channel && !setup.names(&target) {
        return Err(Failure::usage(unnamed(&target)).hint(named(setup)));
    }
    for upstream in setup.upstreams(&target) {
        // Nothing is fetched, so nothing is kept.
        match GitUpstream::new("/".into()).has(&upstream, git).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(why) => {
                context.say(&format!("note: the service will look for {git}: {why}"));
                return Ok(());
            }
        }
    }
    if setup.upstreams(&target).is_empty() {
        return Ok(());
    }
    let error = format!("there is no branch or tag {git} upstream");
    Err(Failure::new(Exit::NotFound, error).hint(named(setup)))
}

/// What is built without being a new channel.
fn named(setup: &Setup) -> String {
    let mut names: Vec<_> = setup
        .watches
        .iter()
        .map(|watch| watch.git.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    format!("the configuration names {}", names.join(", "))
}

/// A branch as git has it, or a release identifier as the mirror has it.
fn build(branch: &str, args: &Trigger) -> Result<Ask, Failure> {
    let (release, git) = match (branch.parse::<ReleaseId>(), ReleaseId::from_git(branch)) {
        (Ok(release), _) => {
            let git = args
                .tag
                .clone()
                .or_else(|| release.to_git(GitMapping::Candidate));
            let git = git.ok_or_else(|| {
                Failure::usage(format!("{release}: no branch or tag is known for it"))
                    .hint("name it by --tag")
            })?;
            (release, git)
        }
        (Err(_), Ok(release)) => (
            release,
            args.tag.clone().unwrap_or_else(|| branch.to_owned()),
        ),
        (Err(_), Err(error)) => return Err(Failure::usage(error)),
    };
    Ok(Ask::Build {
        release,
        git,
        reason: redact_urls(args.reason.as_deref().unwrap_or_default()).into_owned(),
        force: args.force,
        new_channel: args.new_channel,
    })
}
