//! `trigger`: request a build from the service, or withdraw a request.

mod wait;

use std::time::Duration;

use serde::Serialize;
use stx_builds::daemon::{Asked, WantedBuild};
use stx_service::Ask;

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

/// The longest time to wait for the service to file a request.
const ANSWER: Duration = Duration::from_secs(10);

pub(crate) async fn run(context: &Context, args: &Trigger) -> Result<(), Failure> {
    let service = context.readable_service()?;
    let ask = match (args.cancel, &args.branch) {
        (Some(request), _) => Ask::Cancel { request },
        (None, Some(branch)) => {
            let mut wanted = WantedBuild::new(branch);
            wanted.tag.clone_from(&args.tag);
            wanted.reason.clone_from(&args.reason);
            wanted.force = args.force;
            wanted.new_channel = args.new_channel;
            wanted.ask(&service.setup)?
        }
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
