//! `build`: one build, published.

mod events;
mod order;
mod outputs;
mod places;
mod run;
mod state;
mod unpublished;
mod work;

use serde::Serialize;
use stx_layout::{BuildId, BuildOutcome, Channel};
use stx_pipeline::{BuildPlan, Cancel, Journal, process};

pub(crate) use events::watched;
pub(crate) use order::{BuildOrder, Site, Watch};
pub(crate) use state::lock;
pub(crate) use unpublished::{UNPUBLISHED, logs as unpublished_logs};
pub(crate) use work::{read_recipe, recipe_findings};

use self::work::Work;
use super::Context;
use crate::args::Build;
use crate::commands::images::Published;
use crate::exit::{Exit, Failure};
use crate::output;

/// What came of a build.
#[derive(Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub(crate) enum Built {
    /// Nothing changed since this build.
    Unchanged {
        /// The last success, or where failures count, too, the last build.
        build: BuildId,
        /// How it ended.
        result: BuildOutcome,
    },
    /// It was published.
    Published {
        /// How it ended.
        result: BuildOutcome,
        /// What was published.
        published: Box<Published>,
        /// The first required phase that failed.
        first_failing_phase: Option<String>,
        /// Deliverables that are not there.
        missing_deliverables: Vec<String>,
    },
}

/// What is done with a build that was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnInterrupt {
    /// It goes on at its first unfinished phase.
    #[default]
    Resume,
    /// It is published as failed, with the reason `interrupted`.
    Fail,
}

/// Builds and publishes.
pub(crate) async fn build(
    site: &Site,
    order: &BuildOrder,
    watch: Watch<'_>,
) -> Result<Built, Failure> {
    Work::new(site, order)?.build(watch).await
}

/// What would be built, and how.
pub(crate) fn planned(site: &Site, order: &BuildOrder) -> Result<BuildPlan, Failure> {
    let work = Work::new(site, order)?;
    work.plan(match order.date {
        Some(date) => date,
        None => work.date_now()?,
    })
}

/// The build of a channel that was neither published nor given up, as far as it got; also one that still runs.
pub(crate) fn unfinished(site: &Site, channel: &Channel) -> Result<Option<Journal>, Failure> {
    process::read_journal(&site.channel(channel)).map_err(|error| {
        Failure::new(Exit::Bug, error).hint("a new `build` of the channel starts over")
    })
}

/// Goes on with the unfinished build of a channel, or publishes it as failed. `only` is the build it has to be.
pub(crate) async fn resume(
    site: &Site,
    channel: &Channel,
    only: Option<&BuildId>,
    how: OnInterrupt,
    watch: Watch<'_>,
) -> Result<Built, Failure> {
    work::resume(site, channel, only, how, watch).await
}

pub(crate) async fn run(context: &Context, args: &Build) -> Result<(), Failure> {
    let site = Site::new(context)?;
    let order = BuildOrder::new(context, args)?;
    if args.dry_run {
        let plan = planned(&site, &order)?;
        return output::print(context.format(), &plan, || plan.to_string());
    }
    let cancel = Cancel::new();
    let built = watched(context, args.events.as_deref(), &cancel, async |watch| {
        build(&site, &order, watch).await
    })
    .await?;
    report(context, &site, built)
}

/// Prints what came of a build; a failed one is a failure.
pub(crate) fn report(context: &Context, site: &Site, built: Built) -> Result<(), Failure> {
    output::print(context.format(), &built, || match &built {
        Built::Unchanged { .. } => String::new(),
        Built::Published { published, .. } => published.to_string(),
    })?;
    match built {
        Built::Unchanged { build, result } => {
            let failed = match result {
                BuildOutcome::Success => "",
                BuildOutcome::Fail => ", which failed",
            };
            context.say(&format!(
                "nothing changed since {build}{failed}; --force builds it again"
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
                site.mirror.join(id.to_string()).join("outputs/logs")
            )))
        }
    }
}
