//! `mark`: records the result of a build's tests.

use stx_builds::verdicts::NewVerdict;
use stx_layout::{AliasName, VerdictEntry, printable};

use super::Context;
use crate::args;
use crate::exit::Failure;
use crate::output;

pub(crate) async fn run(context: &Context, args: &args::Mark) -> Result<(), Failure> {
    let marked = context
        .site
        .mark(&NewVerdict {
            build: args.build.clone(),
            verdict: args.verdict,
            reason: args.reason.clone(),
            url: args.url.clone(),
            author: args.by.clone(),
        })
        .await?;
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
