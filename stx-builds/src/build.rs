//! One build, from its recipe to its publication.

mod after;
pub(crate) mod cancellation;
mod order;
mod outputs;
mod places;
mod preview;
mod recipe;
mod run;
mod state;
mod unpublished;
mod work;

use serde::Serialize;
use stx_layout::{BuildId, BuildOutcome, Channel};
use stx_pipeline::{BuildPlan, Journal, process};
use tracing::{Instrument as _, info_span};

pub use crate::options::OnInterrupt;
pub(crate) use after::release_below;
pub use order::{BuildArea, BuildOrder, Watch};
pub(crate) use places::{place_env, place_hint};
pub use recipe::{RECIPE_FORM, read_recipe, recipe_files, recipe_findings};
pub(crate) use run::{Cancelled, is_spoilt, unchanged};
pub(crate) use state::{exclusive, lock};
pub use unpublished::NeverCommitted;
pub(crate) use unpublished::{UNPUBLISHED, logs as unpublished_logs};
pub(crate) use work::resume;

use self::work::Work;
use crate::Site;
use crate::error::{Error, ErrorKind};
use crate::images::Published;

/// The outcome of a build.
#[derive(Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Built {
    /// Nothing changed since this build.
    Unchanged {
        /// The last success; the last build if failures count, too.
        build: BuildId,
        /// The result.
        result: BuildOutcome,
        /// True if there are new commits, but only to files that `paths` leaves out.
        left_out: bool,
    },
    /// It was published.
    Published {
        /// The result.
        result: BuildOutcome,
        /// The report of the publish.
        published: Box<Published>,
        /// The reason why it failed, as [`BuildRecord::failure`](stx_layout::BuildRecord::failure) gives it.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The first required phase that failed.
        first_failing_phase: Option<String>,
        /// The missing deliverables.
        missing_deliverables: Vec<String>,
    },
}

impl Site {
    /// Builds a branch and publishes the result, even of a failed build.
    ///
    /// An order without a channel to build upon takes the channel from the configuration of its branch.
    pub async fn build(&self, order: &BuildOrder, watch: Watch<'_>) -> Result<Built, Error> {
        let order = after::configured(self, order)?;
        build(&BuildArea::new(self)?, &order, watch).await
    }

    /// Plans the build of an order; runs nothing.
    pub async fn plan_build(&self, order: &BuildOrder) -> Result<BuildPlan, Error> {
        let order = &after::configured(self, order)?;
        let area = BuildArea::new(self)?;
        area.check_known()?;
        let work = Work::new(&area, order)?;
        work.check_date()?;
        let date = match order.date {
            Some(date) => date,
            None => work.date_now()?,
        };
        let below = match (area.published()?, &order.after) {
            (Some(store), Some(channel)) => {
                Some(after::find(&area, &*store, work.channel(), channel).await?)
            }
            (Some(_) | None, None) | (None, Some(_)) => None,
        };
        work.plan(date, below)
    }

    /// Resumes the interrupted build of a channel, or publishes it as failed. `only` is the required build, if given.
    pub async fn resume(
        &self,
        channel: &Channel,
        only: Option<&BuildId>,
        how: OnInterrupt,
        watch: Watch<'_>,
    ) -> Result<Built, Error> {
        resume(&BuildArea::new(self)?, channel, only, how, watch).await
    }
}

/// Builds and publishes.
pub(crate) async fn build(
    area: &BuildArea,
    order: &BuildOrder,
    watch: Watch<'_>,
) -> Result<Built, Error> {
    let work = Work::new(area, order)?;
    let span = info_span!("channel", channel = %work.channel());
    // Boxed: a build is large, and so is each future that holds it.
    Box::pin(work.build(watch)).instrument(span).await
}

/// Abandons the interrupted build of a channel: ends its remaining processes, and removes its journal. The caller holds the lock of
/// its state.
pub(crate) async fn give_up(
    area: &BuildArea,
    channel: &Channel,
    note: &(dyn Fn(&str) + Sync),
) -> Result<(), Error> {
    let state = area.channel(channel);
    state::end_orphans(&state, note).await?;
    release_below(area, channel).await;
    process::remove_journal(&state).map_err(state::unwritten)
}

/// The journal of a channel's build that was neither published nor abandoned; it may still be running.
pub(crate) fn unfinished(area: &BuildArea, channel: &Channel) -> Result<Option<Journal>, Error> {
    process::read_journal(&area.channel(channel)).map_err(|error| {
        Error::new(ErrorKind::Bug, error).hint("a new `build` of the channel starts over")
    })
}
