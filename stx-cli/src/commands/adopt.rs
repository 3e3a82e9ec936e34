//! `adopt`: builds of an older publisher become full builds.

use stx_builds::adopt::AdoptOptions;
use stx_layout::{BuildId, Channel};
use stx_publish::Scope;

use super::Context;
use crate::args::Adopt;
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) async fn run(context: &Context, args: &Adopt) -> Result<(), Failure> {
    let mut options = AdoptOptions::default();
    for text in &args.scopes {
        options.scopes.push(scope(text)?);
    }
    options.assume = args.assume;
    options.fix_modes = args.fix_modes;
    options.link = args.link;
    options.jobs = args.jobs;
    let plan = context.site.plan_adoption(&options).await?;
    if args.dry_run {
        output::print(context.format(), &plan, || plan.to_string())?;
        return left(plan.needs_somebody());
    }
    for alias in &plan.aliases {
        context.say(&format!(
            "note: {}/{} points at no build",
            alias.channel, alias.alias
        ));
    }
    let report = context.site.adopt(plan).await?;
    output::print(context.format(), &report, || report.to_string())?;
    match report.failures().as_slice() {
        [] => left(report.needs_somebody()),
        failures => {
            let exit = if report.is_only_busy() {
                Exit::Busy
            } else {
                Exit::Mirror
            };
            let text = format!("not everything was adopted: {}", failures.join("; "));
            Err(Failure::new(exit, text)
                .hint("what was adopted stays; rerun the command to resume"))
        }
    }
}

fn scope(text: &str) -> Result<Scope, Failure> {
    let text = text.strip_suffix('/').unwrap_or(text);
    match (text.parse::<BuildId>(), text.parse::<Channel>()) {
        (Ok(build), _) => Ok(Scope::Build(build)),
        (Err(_), Ok(channel)) => Ok(Scope::Channel(channel)),
        (Err(_), Err(error)) => {
            Err(Failure::usage(error).hint("expected CHANNEL or CHANNEL/BUILD-DATE"))
        }
    }
}

/// A build that is left because of something that a person has to decide fails the command, so that it is seen.
fn left(needs_somebody: bool) -> Result<(), Failure> {
    if !needs_somebody {
        return Ok(());
    }
    Err(Failure::said(Exit::Mirror).hint("each build that is left has its reason above"))
}
