//! `build`, `resume` and `cancel`: make and publish one build.

mod events;

use std::time::Duration;

use serde::Serialize;
use stx_builds::build::{BuildOrder, Built, NeverCommitted, OnInterrupt};
use stx_builds::log::LogEnd;
use stx_layout::{BuildId, BuildOutcome};
use stx_pipeline::Cancel;
use stx_service::ledger::LEFT_OUT;

pub(crate) use events::watched;

use super::{Context, published_as_failed};
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
    ended(context, built.await).await
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
    ended(context, built.await).await
}

/// The cancelled build.
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

/// Reports a build; shows the end of the log if it had no commit.
async fn ended(context: &Context, built: Result<Built, Failure>) -> Result<(), Failure> {
    match built {
        Ok(built) => report(context, built).await,
        Err(failure) => {
            let error = failure.error.as_deref();
            if let Some(never) = error.and_then(|it| it.downcast_ref::<NeverCommitted>()) {
                show_end(context, failing_log(context, &never.build).await.as_ref());
            }
            Err(failure)
        }
    }
}

/// The end of the log of the failed phase. A build that can no longer be read is reported without it.
async fn failing_log(context: &Context, build: &BuildId) -> Option<LogEnd> {
    context.site.failing_log(build).await.ok().flatten()
}

fn show_end(context: &Context, end: Option<&LogEnd>) {
    if let Some(LogEnd { phase, log, lines }) = end {
        let lines = lines.join("\n  ");
        context.say(&format!(
            "the end of the log of phase {phase}, {log}:\n  {lines}"
        ));
    }
}

/// The result of a build, for scripts.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    built: &'a Built,
    /// The end of the log of the failed phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_log: Option<LogEnd>,
}

/// Prints the outcome of a build; a failed one is a failure.
pub(crate) async fn report(context: &Context, built: Built) -> Result<(), Failure> {
    let failing_log = match &built {
        Built::Published {
            result: BuildOutcome::Fail,
            published,
            ..
        } => failing_log(context, &published.report.id).await,
        Built::Published { .. } | Built::Unchanged { .. } => None,
    };
    let report = Report {
        built: &built,
        failing_log,
    };
    output::print(context.format(), &report, || match &built {
        Built::Unchanged { .. } => String::new(),
        Built::Published { published, .. } => published.to_string(),
    })?;
    show_end(context, report.failing_log.as_ref());
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
            reason,
            ..
        } => {
            let id = &published.report.id;
            Err(Failure::new(
                Exit::BuildFailed,
                format!("{id} was {}", published_as_failed(reason.as_deref())),
            )
            .hint(format!("`stx-builds log {id}` shows its logs")))
        }
    }
}
