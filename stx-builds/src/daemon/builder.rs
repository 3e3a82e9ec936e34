//! Builds of the service, with the same functions as `build` and `resume`.

mod apart;

use async_trait::async_trait;
use camino::Utf8Path;
use stx_layout::{BuildId, BuildRecord, Channel};
use stx_pipeline::Cancel;
use stx_pipeline::process;
use stx_publish::Scope;
use stx_service::ledger::{LEFT_OUT, RunEnd};
use stx_service::{Builder, Left, Order, Tell};

use self::apart::Work;
use crate::build::{self, BuildArea, BuildOrder, Built, Cancelled, OnInterrupt, UNPUBLISHED};
use crate::error::{Error, ErrorKind};

/// Builds in an area.
#[derive(Debug)]
pub(super) struct SiteBuilder {
    area: BuildArea,
}

impl SiteBuilder {
    pub(super) fn new(area: BuildArea) -> Self {
        Self { area }
    }

    /// The end of a build, as the ledger records it.
    async fn left(&self, channel: &Channel, built: Result<Built, Error>, cancel: &Cancel) -> Left {
        match built {
            Ok(Built::Unchanged {
                build,
                result,
                left_out,
            }) => Left::Over(RunEnd::Unchanged {
                since: build,
                result: Some(result),
                why: left_out.then(|| LEFT_OUT.to_owned()),
            }),
            Ok(Built::Published { published, .. }) => {
                match self.published(&published.report.id).await {
                    Ok(Some(end)) => Left::Over(end),
                    Ok(None) => refused(format!(
                        "{} was published, but is not on the mirror",
                        published.report.id
                    )),
                    Err(reason) => refused(reason),
                }
            }
            Err(_) if cancel.is_cancelled() => {
                // A cancelled build is not resumed, so its pin is released.
                build::release_below(&self.area, channel).await;
                match process::remove_journal(&self.area.channel(channel)) {
                    Ok(()) => Left::Over(RunEnd::Cancelled),
                    Err(error) => refused(error.to_string()),
                }
            }
            // Cancelled by the command `cancel`, which does not notify the service.
            Err(failure) if failure.error.is::<Cancelled>() => Left::Over(RunEnd::Cancelled),
            Err(failure) => {
                // An error after the commit: the build is on the mirror nevertheless, and the next build moves the alias.
                let busy = failure.kind == ErrorKind::Busy;
                if !busy && let Some(end) = self.published_anyway(channel).await {
                    self.area.site.note(&format!("note: {}", failure.line()));
                    return Left::Over(end);
                }
                let reason = failure.line();
                match self.over(channel).filter(|_| !build::is_spoilt(&failure)) {
                    Some(id) => Left::Unpublished {
                        build: id,
                        reason,
                        busy,
                    },
                    None if busy => Left::Busy(reason),
                    None => refused(reason),
                }
            }
        }
    }

    /// The unfinished build of a channel, if all of its phases are over.
    fn over(&self, channel: &Channel) -> Option<BuildId> {
        let journal = process::read_journal(&self.area.channel(channel)).ok()??;
        let is_over = journal.unfinished().is_empty();
        is_over.then_some(journal.started.plan.id)
    }

    /// The end of a channel's build that has an unfinished journal, if the mirror has the build.
    async fn published_anyway(&self, channel: &Channel) -> Option<RunEnd> {
        let state = self.area.channel(channel);
        let journal = process::read_journal(&state).ok()??;
        let end = self.published(&journal.started.plan.id).await.ok()??;
        // The build needs no resumption. If the journal cannot be removed, the next build removes it.
        process::remove_journal(&state).ok();
        Some(end)
    }
}

fn refused(reason: String) -> Left {
    Left::Over(RunEnd::Refused { reason })
}

#[async_trait]
impl Builder for SiteBuilder {
    async fn build(&self, order: &Order, tell: &Tell, cancel: &Cancel) -> Left {
        let channel = &order.target.channel;
        let work = Work::Build(BuildOrder {
            branch: order.target.git.clone(),
            release: Some(channel.release.clone()),
            recipe: order.target.recipe.clone(),
            after: order.after.clone(),
            paths: order.paths.texts().to_vec(),
            date: None,
            reason: order.trigger(),
            set: std::collections::BTreeMap::new(),
            force: order.force,
            skip_failed: !order.retry_failed,
            force_alias: false,
        });
        let built = apart::run(&self.area, channel, work, tell, cancel).await;
        self.left(channel, built, cancel).await
    }

    async fn resume(&self, id: &BuildId, tell: &Tell, cancel: &Cancel) -> Left {
        let work = Work::Resume(id.clone(), OnInterrupt::Resume);
        match apart::run(&self.area, &id.channel, work, tell, cancel).await {
            // The build cannot be resumed as it was started, or no longer exists: another build starts over.
            Err(failure)
                if failure.kind == ErrorKind::NotFound
                    || failure.kind == ErrorKind::Usage && self.over(&id.channel).is_none() =>
            {
                // Somebody else may have published it, by `resume` or a build by hand.
                match self.published(id).await {
                    Ok(Some(end)) => Left::Over(end),
                    Ok(None) | Err(_) => Left::Busy(failure.line()),
                }
            }
            built => self.left(&id.channel, built, cancel).await,
        }
    }

    async fn abandon(&self, id: &BuildId, _: &str) -> Left {
        let work = Work::Resume(id.clone(), OnInterrupt::Fail);
        let cancel = Cancel::new();
        let built = apart::run(&self.area, &id.channel, work, &|_| {}, &cancel).await;
        self.left(&id.channel, built, &cancel).await
    }

    async fn unfinished(&self) -> Result<Vec<BuildId>, String> {
        unfinished(&self.area)
    }

    async fn published(&self, id: &BuildId) -> Result<Option<RunEnd>, String> {
        let Some(store) = self.area.published().map_err(|failure| failure.line())? else {
            return Ok(None);
        };
        let scope = Scope::Channel(id.channel.clone());
        let catalog = store
            .catalog(&scope)
            .await
            .map_err(|error| error.to_string())?;
        Ok(catalog.build(id).and_then(|entry| entry.record()).map(end))
    }
}

fn end(record: &BuildRecord) -> RunEnd {
    RunEnd::Published {
        result: record.result,
        reason: record.failure(),
        sources: record.sources.clone(),
    }
}

/// The service's own entries of a channel's state directory.
const OWN: [&str; 6] = ["sources", "work", "logs", "running", "journal", UNPUBLISHED];

/// The builds of all channels that were neither published nor abandoned, including running ones.
pub(crate) fn unfinished(area: &BuildArea) -> Result<Vec<BuildId>, String> {
    let mut found = Vec::new();
    walk(&area.state, 0, &mut |dir| {
        let journal = process::read_journal(dir).map_err(|error| error.to_string())?;
        found.extend(journal.map(|journal| journal.started.plan.id));
        Ok(())
    })?;
    Ok(found)
}

/// Visits the state directories of channels, recognised by their lock file.
fn walk(
    dir: &Utf8Path,
    depth: usize,
    visit: &mut dyn FnMut(&Utf8Path) -> Result<(), String>,
) -> Result<(), String> {
    // A channel has at most six segments.
    if depth > 6 || !dir.exists() {
        return Ok(());
    }
    let channel = depth > 0 && dir.join("lock").exists();
    if channel {
        visit(dir)?;
    }
    let entries = dir
        .read_dir_utf8()
        .map_err(|error| format!("{dir}: {error}"))?;
    for entry in entries {
        let entry = entry.map_err(|error| format!("{dir}: {error}"))?;
        // The state of a layer is within the state of the channel without a layer.
        let own = channel && OWN.contains(&entry.file_name());
        // A channel's state may be a link to another disk.
        if !own && entry.path().is_dir() {
            walk(entry.path(), depth + 1, visit)?;
        }
    }
    Ok(())
}
