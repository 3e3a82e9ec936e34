//! Runs the phases of a started build, and publishes its files.

use camino::Utf8Path;
use stx_executors::PlacedRunner;
use stx_layout::{BuildId, BuildOutcome, BuildRecord, Channel, ChannelEntry, SourceRecord};
use stx_pipeline::journal::Started;
use stx_pipeline::process::{
    self, Build, BuildError, BuildResult, CollectError, SourceError, Sources,
};
use stx_pipeline::{Cancel, Event, PathRules};
use stx_publish::{MirrorStore, PlanError, PublishError, ScanError};

use super::after;
use super::cancellation::wait_for_request;
use super::outputs::incoming;
use super::preview::Preview;
use super::state::unwritten;
use super::work::LostWorkspace;
use super::{BuildArea, Built, NeverCommitted, OnInterrupt, Watch, unpublished};
use crate::error::{Error, ErrorKind};
use crate::images::Registry;
use crate::pages;
use crate::publish::{Refused, publish};
use stx_images::{FinishBuilds, PrepareImagesError, PushedRules};

/// A build whose channel is locked and whose journal is open.
pub(super) struct Run<'a> {
    pub(super) area: &'a BuildArea,
    pub(super) state: &'a Utf8Path,
    pub(super) store: &'a dyn MirrorStore,
    pub(super) channel: &'a ChannelEntry,
    pub(super) watch: Watch<'a>,
    pub(super) runner: &'a PlacedRunner,
}

/// The earlier build, if nothing changed since.
pub(crate) struct Same {
    build: BuildId,
    result: BuildOutcome,
    /// True if there are new commits, but only of files that [`BuildOrder::paths`](super::BuildOrder::paths) leaves out.
    left_out: bool,
}

/// The last success of a channel, if it was built upon the same build and from the same commits. Commits that change only files that
/// `paths` leaves out do not count. `None` if the build is forced. If failures count, too, the last build is compared instead.
pub(crate) fn unchanged(
    channel: &ChannelEntry,
    started: &Started,
    sources: &[SourceRecord],
) -> Option<Same> {
    let date = if started.skip_failed {
        *channel.builds.keys().next_back()?
    } else {
        channel.newest_success()?
    };
    let record = channel.builds.get(&date)?.record()?;
    let below = started.request.after.as_ref().map(|below| &below.after);
    if started.force || record.after.as_ref() != below {
        return None;
    }
    let left_out = !stx_pipeline::changed(&record.sources, sources).is_empty();
    if left_out {
        // A journal of a later version may have globs that this version does not know: then every file counts.
        let rules = PathRules::new(&started.paths).ok()?;
        let files = process::changed_files(&started.plan, &record.sources, sources)?;
        if rules.is_empty() || rules.any(&files) {
            return None;
        }
    }
    Some(Same {
        build: BuildId::new(started.plan.id.channel.clone(), date),
        result: record.result,
        left_out,
    })
}

/// A build that a user has cancelled with the command `cancel`.
#[derive(Debug, thiserror::Error)]
#[error("{build}: cancelled; nothing was published")]
pub(crate) struct Cancelled {
    build: Box<BuildId>,
}

impl Run<'_> {
    /// Runs the remaining phases, or only those that always run, and publishes.
    pub(super) async fn go_on(&self, build: Build<'_>, how: OnInterrupt) -> Result<Built, Error> {
        let started = build.started().clone();
        let cancel = Cancel::new();
        let result = {
            let _asked = [
                Task(tokio::spawn(forward(
                    self.watch.cancel.clone(),
                    cancel.clone(),
                ))),
                Task(tokio::spawn(wait_for_request(
                    self.state.to_owned(),
                    cancel.clone(),
                ))),
            ];
            let same = |now: &Sources| unchanged(self.channel, &started, &now.records).is_some();
            let build = build.cancel(&cancel).interrupt(self.watch.cancel);
            let build = build.unless(&same);
            // Boxed: a build's future is large, and so is each future that contains it.
            match how {
                OnInterrupt::Resume if started.plan.preview.is_some() => {
                    Box::pin(self.run_previewed(build)).await?
                }
                OnInterrupt::Resume => {
                    let build = build.runner(self.runner).listen(self.watch.events);
                    Box::pin(build.run()).await.map_err(stopped)?
                }
                OnInterrupt::Fail => {
                    let build = build.runner(self.runner).listen(self.watch.events);
                    let given_up = Box::pin(build.give_up("interrupted"));
                    given_up.await.map_err(stopped)?
                }
            }
        };
        let id = &started.plan.id;
        match result {
            BuildResult::Unchanged { sources } => {
                let Same {
                    build,
                    result,
                    left_out,
                } = unchanged(self.channel, &started, &sources.records)
                    .expect("the same catalog says the same");
                self.finish_images(&build.channel).await?;
                self.finish_aliases(&build.channel).await?;
                self.release(&started).await;
                process::remove_journal(self.state).map_err(unwritten)?;
                Ok(Built::Unchanged {
                    build,
                    result,
                    left_out,
                })
            }
            BuildResult::Cancelled if self.watch.cancel.is_cancelled() => Err(Error::new(
                ErrorKind::BuildFailed,
                format!("{id}: interrupted; nothing was published"),
            )
            .hint(format!("`resume {}` continues it", id.channel))),
            BuildResult::Cancelled => {
                self.release(&started).await;
                process::remove_journal(self.state).map_err(unwritten)?;
                let build = Box::new(id.clone());
                Err(Error::new(ErrorKind::BuildFailed, Cancelled { build }))
            }
            over => self.publish(&started, over).await,
        }
    }

    /// Runs the remaining phases, with a preview of the finished ones.
    async fn run_previewed(&self, build: Build<'_>) -> Result<BuildResult, Error> {
        let plan = &build.started().plan;
        let preview = Preview::open(self.area, self.state, plan, build.records()).await?;
        let over = {
            let runner = preview.runner(self.runner);
            let events = |event: &Event| {
                preview.hear(event);
                (self.watch.events)(event);
            };
            Box::pin(build.runner(&runner).listen(&events).run()).await
        };
        // The preview ends before the build is published.
        preview.close().await?;
        over.map_err(stopped)
    }

    /// Lets the pin on the build below expire.
    async fn release(&self, started: &Started) {
        let (channel, below) = (&started.plan.id.channel, started.request.after.as_ref());
        after::release(self.area, self.store, channel, below).await;
    }

    /// Completes the tags of images that a killed publisher left unfinished for its build.
    async fn finish_images(&self, channel: &Channel) -> Result<(), Error> {
        let site = &self.area.site;
        match Registry::open(site)? {
            None => Ok(()),
            Some(registry) => {
                let newest = FinishBuilds::Newest;
                registry.finish(site, self.store, channel, newest).await
            }
        }
    }

    /// Completes the aliases that a killed publisher left unfinished for its build.
    async fn finish_aliases(&self, channel: &Channel) -> Result<(), Error> {
        let repaired = stx_publish::repair_aliases(self.store, channel)
            .await
            .map_err(|error| Error::new(ErrorKind::Mirror, error))?;
        let repaired = repaired.to_string();
        // Even if no alias moved: a killed publisher may not have made the pages either.
        pages::renew(&self.area.site, self.store, self.area.now()).await;
        if !repaired.is_empty() {
            (self.watch.note)(repaired.trim_end());
        }
        Ok(())
    }

    /// Publishes a build whose phases have ended.
    async fn publish(&self, started: &Started, result: BuildResult) -> Result<Built, Error> {
        let plan = &started.plan;
        // Its file system may have been unmounted while the phases ran.
        self.area.check_known()?;
        let built = match result {
            BuildResult::Built(built) => *built,
            BuildResult::NoCommit { records } => {
                let why = unpublished::keep(self.area, &plan.id, &records)?;
                self.release(started).await;
                process::remove_journal(self.state).map_err(unwritten)?;
                return Err(why);
            }
            other => unreachable!("{other:?} has nothing to publish"),
        };
        let mut record = built.record.clone();
        record.recipe_files.clone_from(&started.recipe_files);
        let incoming = incoming(self.channel, built)?;
        if let Err(failure) = self.finish_images(&plan.id.channel).await {
            // A failure about an older build must not hold this one back.
            (self.watch.note)(&format!("note: {}", failure.line()));
        }
        let mut site = self.area.site.clone();
        site.now = self.area.now();
        let force = started.force_alias;
        let has_registry = site.options.registry.is_some();
        let pushed = plan.images.as_ref();
        let pushed = pushed.filter(|images| has_registry || !images.optional);
        let pushed = pushed.map(|images| PushedRules::new(images.staging.clone()));
        let published = publish(
            &site,
            self.store,
            record.clone(),
            incoming,
            force,
            pushed.as_ref(),
        );
        // Running the same command again would start a new build.
        let resume = format!("run `stx-builds resume {}`", plan.id.channel);
        let published = published.await.map_err(|error| error.rerun_by(&resume))?;
        let published = Box::new(published);
        pages::renew(&self.area.site, self.store, self.area.now()).await;
        self.release(started).await;
        process::remove_journal(self.state).map_err(unwritten)?;
        let reason = record.failure();
        let BuildRecord {
            result,
            first_failing_phase,
            missing_deliverables,
            ..
        } = record;
        Ok(Built::Published {
            result,
            published,
            reason,
            first_failing_phase,
            missing_deliverables,
        })
    }
}

/// The error of a build that stopped, with a hint.
pub(super) fn stopped(error: BuildError) -> Error {
    match error {
        BuildError::Journal(error) => unwritten(error),
        BuildError::Sources(error) => Error::new(ErrorKind::Usage, error)
            .hint("`repositories` of the recipe names the git work trees"),
        BuildError::SourcesChanged { .. } => Error::usage(error)
            .hint("run `resume --as-failed` to publish the existing files as a failed build, or `build` to start over"),
        BuildError::Collect(error) => uncollected(error),
        other => Error::new(ErrorKind::Bug, other),
    }
}

/// True if a build whose phases have ended is not published because of its output, or the lack of it: another attempt would end the
/// same.
pub(crate) fn is_spoilt(error: &Error) -> bool {
    let error = &error.error;
    if let Some(error) = error.downcast_ref::<CollectError>() {
        return !matches!(error, CollectError::Walk { .. } | CollectError::List { .. });
    }
    matches!(
        error.downcast_ref(),
        Some(PrepareImagesError::Clash { .. } | PrepareImagesError::Name { .. })
    ) || matches!(error.downcast_ref(), Some(PublishError::Incomplete { .. }))
        || error.is::<NeverCommitted>()
        || error.is::<LostWorkspace>()
        || error.is::<BuildError>()
        || error.is::<SourceError>()
        || matches!(error.downcast_ref(), Some(ScanError::Refused { .. }))
        || error.is::<Refused>()
        || error.is::<PlanError>()
}

fn uncollected(error: CollectError) -> Error {
    let hint = match error {
        // The phases have ended, and need not run again.
        CollectError::Walk { .. } | CollectError::List { .. } => {
            "make it readable, then `resume` the build; its phases have ended"
        }
        CollectError::Conflict { .. }
        | CollectError::Name { .. }
        | CollectError::NotUtf8 { .. }
        | CollectError::Glob { .. } => {
            "correct `publish` of the recipe, which selects the files and their places"
        }
    };
    Error::new(ErrorKind::Usage, error).hint(hint)
}

/// A task that ends when it is dropped.
struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Triggers `to` when `from` is triggered.
async fn forward(from: Cancel, to: Cancel) {
    from.cancelled().await;
    to.cancel();
}
