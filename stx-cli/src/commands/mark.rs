//! `mark`: record the result of a build's tests.

use serde::Serialize;
use stx_builds::verdicts::NewVerdict;
use stx_layout::{AliasName, BuildId, Verdict, VerdictEntry, printable};

use super::Context;
use crate::args;
use crate::exit::Failure;
use crate::output;

/// The output of `mark --spool`: the message that was left.
#[derive(Debug, Serialize)]
struct Left {
    message: String,
    build: BuildId,
    verdict: Verdict,
    service_running: bool,
}

pub(crate) async fn run(context: &Context, args: &args::Mark) -> Result<(), Failure> {
    let wanted = NewVerdict {
        build: args.build.clone(),
        verdict: args.verdict,
        reason: args.reason.clone(),
        url: args.url.clone(),
        author: args.by.clone(),
    };
    if args.spool {
        return leave(context, &wanted).await;
    }
    let marked = context.site.mark(&wanted).await?;
    output::print(context.format(), &marked, || {
        let VerdictEntry {
            build,
            verdict,
            author,
            ..
        } = &marked.entry;
        let how = if marked.recorded {
            "marked"
        } else {
            "already marked"
        };
        let alias = AliasName::latest_green_build();
        let channel = &build.channel;
        let green = match marked.latest_green_build {
            Some(date) => format!("{channel}/{alias} points at {date}"),
            None => format!("no build of {channel} is green"),
        };
        format!(
            "{build} is {how} {verdict} by {}; {green}",
            printable(author)
        )
    })
}

/// Leaves the verdict in the spool of the service.
async fn leave(context: &Context, wanted: &NewVerdict) -> Result<(), Failure> {
    let service = context.readable_service()?;
    let requested = context.site.request_verdict(&service, wanted).await?;
    let left = Left {
        message: requested.request.message,
        build: requested.build,
        verdict: wanted.verdict,
        service_running: requested.request.service_running,
    };
    output::print(context.format(), &left, || {
        format!("asked to mark {} {}", left.build, left.verdict)
    })?;
    if !left.service_running {
        context.say("no service runs; it reads this when it starts");
    }
    Ok(())
}
