//! `trigger`: asks the service for a build, or takes that back.

use serde::Serialize;
use stx_layout::{GitMapping, ReleaseId, redact_urls};
use stx_service::Ask;

use super::Context;
use crate::args::Trigger;
use crate::exit::Failure;
use crate::output;

/// The output of `trigger`: the message that was left, and the request in it.
#[derive(Debug, Serialize)]
struct Left<'a> {
    message: String,
    #[serde(flatten)]
    ask: &'a Ask,
    service_running: bool,
}

pub(crate) async fn run(context: &Context, args: &Trigger) -> Result<(), Failure> {
    let service = context.service()?;
    let ask = match (args.cancel, &args.branch) {
        (Some(request), _) => Ask::Cancel { request },
        (None, Some(branch)) => build(branch, args)?,
        (None, None) => return Err(Failure::usage("neither a branch nor a request is named")),
    };
    let requested = context.site.request(&service, &ask).await?;
    let left = Left {
        message: requested.message,
        ask: &ask,
        service_running: requested.service_running,
    };
    output::print(context.format(), &left, || match &ask {
        Ask::Build { release, git, .. } => format!("asked for {release} of {git}"),
        Ask::Cancel { request } => format!("asked to cancel request {request}"),
        Ask::Mark { build, verdict, .. } => format!("asked to mark {build} {verdict}"),
    })?;
    if !left.service_running {
        context.say("no service runs; it reads this when it starts");
    }
    Ok(())
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
