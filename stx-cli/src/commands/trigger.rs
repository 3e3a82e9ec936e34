//! `trigger`: asks the service for a build, or takes that back.

mod wait;

use std::time::Duration;

use serde::Serialize;
use stx_builds::daemon::Asked;
use stx_layout::{Channel, GitMapping, ReleaseId, redact_urls};
use stx_service::trigger::Watch;
use stx_service::{Ask, Setup};

use super::Context;
use crate::args::Trigger;
use crate::exit::{Exit, Failure};
use crate::output;

/// The output of `trigger`: the message that was left, and the request in it.
#[derive(Debug, Serialize)]
struct Left<'a> {
    message: String,
    #[serde(flatten)]
    ask: &'a Ask,
    service_running: bool,
    /// The number of the request, once the service has filed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<u64>,
    /// True if an earlier request already waited for the same build.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    joined: bool,
}

/// How long the service has to file a request.
const ANSWER: Duration = Duration::from_secs(10);

pub(crate) async fn run(context: &Context, args: &Trigger) -> Result<(), Failure> {
    let service = context.service()?;
    let ask = match (args.cancel, &args.branch) {
        (Some(request), _) => Ask::Cancel { request },
        (None, Some(branch)) => build(&service.setup, branch, args)?,
        (None, None) => return Err(Failure::usage("neither a branch nor a request is named")),
    };
    if args.wait && !context.site.service_running(&service)? {
        return Err(
            Failure::new(Exit::NotFound, "no service runs, so nothing was requested")
                .hint("without --wait, the request is kept for the next start of the service"),
        );
    }
    let requested = context.site.request(&service, &ask).await?;
    if args.wait {
        let asked = Asked {
            message: &requested.message,
            ask: &ask,
            at: requested.at,
        };
        return wait::run(context, &service, &asked, args.timeout).await;
    }
    let answer = if requested.service_running {
        let answer = context.site.answer(&service, &requested.message, ANSWER);
        answer.await
    } else {
        None
    };
    let left = Left {
        message: requested.message,
        ask: &ask,
        service_running: requested.service_running,
        request: answer.as_ref().and_then(|answer| answer.request),
        joined: answer.as_ref().is_some_and(|answer| answer.joined),
    };
    if let Some(why) = answer.and_then(|answer| answer.refused) {
        return Err(Failure::usage(format!("the service refuses it: {why}")));
    }
    output::print(context.format(), &left, || said(&left))?;
    if !left.service_running {
        context.say("no service runs; it reads this when it starts");
    }
    Ok(())
}

fn said(left: &Left<'_>) -> String {
    match (left.ask, left.request) {
        (
            Ask::Build {
                release,
                git,
                channel,
                ..
            },
            request,
        ) => {
            let channel = channel.as_ref().map(ToString::to_string);
            let what = channel.unwrap_or_else(|| release.to_string());
            let request = match request {
                None => String::new(),
                Some(number) if left.joined => format!(": joined request {number}, which waits"),
                Some(number) => format!(": request {number}"),
            };
            format!("asked for {what} of {git}{request}")
        }
        (Ask::Cancel { request }, _) => format!("asked to cancel request {request}"),
        (Ask::Mark { build, verdict, .. }, _) => format!("asked to mark {build} {verdict}"),
    }
}

/// A branch as git has it, a release identifier as the mirror has it, or the channel of an entry of the configuration.
fn build(setup: &Setup, branch: &str, args: &Trigger) -> Result<Ask, Failure> {
    let entry = branch.parse().ok();
    let entry = entry.and_then(|channel: Channel| setup.entry_of(&channel));
    // A branch that is called as a channel is a branch.
    let entry = entry.filter(|_| setup.watches.iter().all(|watch| watch.git != branch));
    let ask = |release, git, channel| Ask::Build {
        release,
        git,
        reason: redact_urls(args.reason.as_deref().unwrap_or_default()).into_owned(),
        force: args.force,
        new_channel: args.new_channel,
        channel,
    };
    if let Some(Watch { channel, git, .. }) = entry {
        if let Some(tag) = args.tag.as_ref().filter(|tag| *tag != git) {
            let error = format!("{channel} is built of {git}, not of {tag}");
            return Err(Failure::usage(error).hint("leave out --tag"));
        }
        let release = channel.release.clone();
        return Ok(ask(release, git.clone(), Some(channel.clone())));
    }
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
    Ok(ask(release, git, None))
}
