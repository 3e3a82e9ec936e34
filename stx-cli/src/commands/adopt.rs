//! `adopt`: turn builds of an older publisher into full builds.

use stx_builds::adopt::{AdoptOptions, MISNAMED};

use super::Context;
use crate::args::Adopt;
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) async fn run(context: &Context, args: &Adopt) -> Result<(), Failure> {
    let mut options = AdoptOptions::default();
    for text in &args.scopes {
        options.scopes.push(context.site.scope(text).await?);
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
    for path in &plan.misnamed {
        context.say(&format!("note: {path} is left: {MISNAMED}"));
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
                .hint("adopted builds are kept; rerun the command to resume"))
        }
    }
}

/// Fails the command if a build was skipped because a person has to decide something, so that it is noticed.
fn left(needs_somebody: bool) -> Result<(), Failure> {
    if !needs_somebody {
        return Ok(());
    }
    Err(Failure::said(Exit::Mirror).hint("each build that is left has its reason above"))
}
