//! `build`, `resume` and `cancel`: one build, published.

mod events;

use std::time::Duration;

use serde::Serialize;
use stx_builds::build::{BuildOrder, Built, OnInterrupt};
use stx_builds::options::anywhere;
use stx_layout::{BuildId, BuildOutcome};
use stx_pipeline::Cancel;
use stx_service::ledger::LEFT_OUT;

pub(crate) use events::watched;

use super::Context;
use crate::args::{self, Build, Resume};
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) async fn run(context: &Context, args: &Build) -> Result<(), Failure> {
    let site = &context.site;
    let recipe = site.options.recipe(args.recipe.as_deref())?;
    let order = BuildOrder {
        date: args.date,
        reason: args.reason.clone(),
        set: args.set.iter().cloned().collect(),
        force: args.force,
        force_alias: args.force_alias,
        ..BuildOrder::new(args.branch.clone(), &recipe)?
    };
    if args.dry_run {
        let plan = site.plan_build(&order).await?;
        return output::print(context.format(), &plan, || plan.to_string());
    }
    let cancel = Cancel::new();
    let built = watched(context, args.events.as_deref(), &cancel, async |watch| {
        Ok(site.build(&order, watch).await?)
    });
    report(context, built.await?)
}

pub(crate) async fn resume(context: &Context, args: &Resume) -> Result<(), Failure> {
    let site = &context.site;
    let how = if args.as_failed {
        OnInterrupt::Fail
    } else {
        site.options.on_interrupt()
    };
    let (channel, only) = (&args.target.channel, args.target.build.as_ref());
    let cancel = Cancel::new();
    let built = watched(context, args.events.as_deref(), &cancel, async |watch| {
        Ok(site.resume(channel, only, how, watch).await?)
    });
    report(context, built.await?)
}

/// The build that was cancelled.
#[derive(Debug, Serialize)]
struct Cancelled {
    cancelled: BuildId,
}

pub(crate) async fn cancel(context: &Context, args: &args::Cancel) -> Result<(), Failure> {
    let wait = Duration::from_secs(args.wait);
    let cancelled = context.site.cancel(&args.target, wait).await?;
    let cancelled = Cancelled { cancelled };
    output::print(context.format(), &cancelled, || {
        format!(
            "{} was cancelled; nothing was published",
            cancelled.cancelled
        )
    })
}

/// Prints what came of a build; a failed one is a failure.
pub(crate) fn report(context: &Context, built: Built) -> Result<(), Failure> {
    output::print(context.format(), &built, || match &built {
        Built::Unchanged { .. } => String::new(),
        Built::Published { published, .. } => published.to_string(),
    })?;
    match built {
        Built::Unchanged {
            build,
            result,
            left_out,
        } => {
            let failed = match result {
                BuildOutcome::Success => "",
                BuildOutcome::Fail => ", which failed",
            };
            let why = if left_out {
                format!(": {LEFT_OUT}")
            } else {
                String::new()
            };
            context.say(&format!(
                "nothing changed since {build}{failed}{why}; --force builds it again"
            ));
            Ok(())
        }
        Built::Published {
            result: BuildOutcome::Success,
            ..
        } => Ok(()),
        Built::Published {
            result: BuildOutcome::Fail,
            published,
            first_failing_phase,
            missing_deliverables,
        } => {
            let id = &published.report.id;
            let reason = match first_failing_phase {
                Some(phase) => format!("phase {phase} failed"),
                None => format!("missing: {}", missing_deliverables.join(", ")),
            };
            Err(Failure::new(
                Exit::BuildFailed,
                format!("{id} was published as failed: {reason}"),
            )
            .hint(format!(
                "its logs are in {}",
                anywhere(&context.site.root()?)?
                    .join(id.to_string())
                    .join("outputs/logs")
            )))
        }
    }
}
