//! A build on its way: its phases run, its files published.

use std::sync::Mutex;

use camino::Utf8Path;
use chrono::TimeDelta;
use stx_executors::PlacedRunner;
use stx_layout::{
    BuildId, BuildOutcome, BuildRecord, Channel, ChannelEntry, PhaseRecord, PhaseStatus,
};
use stx_pipeline::journal::{Entry, Started};
use stx_pipeline::process::{JournalWriter, SourceRunner, Sources};
use stx_pipeline::{
    Cancel, Event, EventKind, Execution, Journal, Step, conclude, execute, process,
    reached_no_commit,
};
use stx_publish::MirrorStore;

use super::outputs::incoming;
use super::state::unwritten;
use super::{BuildArea, Built, Watch, unpublished};
use crate::cancel::requested;
use crate::error::{Error, ErrorKind};
use crate::images::Registry;
use crate::pages;
use crate::publish::publish;
use crate::site::clock;

/// A build whose channel is locked and whose journal is open.
pub(super) struct Run<'a> {
    pub(super) area: &'a BuildArea,
    pub(super) state: &'a Utf8Path,
    pub(super) store: &'a dyn MirrorStore,
    pub(super) channel: &'a ChannelEntry,
    pub(super) watch: Watch<'a>,
    pub(super) runner: &'a PlacedRunner,
    pub(super) writer: JournalWriter,
}

impl Run<'_> {
    /// Runs what is left, and publishes.
    pub(super) async fn go_on(&self, journal: Journal) -> Result<Built, Error> {
        let cancel = Cancel::new();
        let ran = {
            let _asked = [
                Task(tokio::spawn(forward(
                    self.watch.cancel.clone(),
                    cancel.clone(),
                ))),
                Task(tokio::spawn(requested(
                    self.state.to_owned(),
                    cancel.clone(),
                ))),
            ];
            self.run(&journal, &cancel).await?
        };
        let id = &journal.started.plan.id;
        let (sources, records) = match ran {
            Ran::Unchanged(build, result) => {
                self.finish_images(&build.channel).await?;
                self.finish_aliases(&build.channel).await?;
                process::remove_journal(self.state).map_err(unwritten)?;
                return Ok(Built::Unchanged { build, result });
            }
            Ran::Over(sources, records) => (sources, records),
        };
        if !cancel.is_cancelled() {
            return self.publish(&journal.started, &sources, &records).await;
        }
        if self.watch.cancel.is_cancelled() {
            return Err(Error::new(
                ErrorKind::BuildFailed,
                format!("{id}: interrupted; nothing was published"),
            )
            .hint(format!("`resume {}` continues it", id.channel)));
        }
        process::remove_journal(self.state).map_err(unwritten)?;
        Err(Error::new(
            ErrorKind::BuildFailed,
            format!("{id}: cancelled; nothing was published"),
        ))
    }

    async fn run(&self, journal: &Journal, cancel: &Cancel) -> Result<Ran, Error> {
        let plan = &journal.started.plan;
        let unwritable = Mutex::new(None);
        let write = |entry: &Entry| {
            if let Err(error) = self.writer.add(entry) {
                // A build that could not be resumed would break its promise.
                unwritable.lock().expect("no panic").get_or_insert(error);
                cancel.cancel();
            }
        };
        let events = |event: Event| {
            if let EventKind::Started { attempt, .. } = event.what {
                write(&Entry::Attempt {
                    phase: event.phase.clone(),
                    attempt,
                    time: event.time,
                });
            }
            (self.watch.events)(&event);
        };
        let finished = |record: &PhaseRecord| {
            write(&Entry::Phase {
                record: record.clone(),
            });
        };
        let limit = plan
            .timeout
            .and_then(|timeout| TimeDelta::from_std(timeout).ok());
        // Phases are timed by the clock, whatever `--now` asks.
        let execution = Execution {
            runner: self.runner,
            now: &clock,
            events: &events,
            finished: &finished,
            sleep: &|pause| Box::pin(tokio::time::sleep(pause)),
            cancel,
            deadline: limit.map(|limit| clock() + limit),
        };
        let mut done = journal.records.clone();
        if done.is_empty() {
            let execution = Execution {
                runner: &SourceRunner::new(self.runner, plan),
                ..execution
            };
            done = execute(plan, Step::Source, &execution).await.records;
        }
        let synced = done
            .iter()
            .all(|record| record.status == PhaseStatus::Succeeded || !record.required);
        let mut sources = journal.sources.clone().unwrap_or_default();
        if synced && !cancel.is_cancelled() {
            let now = process::read_sources(plan).map_err(|error| {
                Error::new(ErrorKind::Usage, error)
                    .hint("`repositories` of the recipe names the git work trees")
            })?;
            if journal.sources.is_none() {
                if let Some((build, result)) = self.unchanged(&journal.started, &now) {
                    return Ok(Ran::Unchanged(build, result));
                }
                write(&Entry::Sources {
                    sources: now.clone(),
                });
            } else if now != sources {
                return Err(Error::usage(format!(
                    "{}: the sources in {} are not those that it was started with",
                    plan.id, plan.source_root
                ))
                .hint("`resume --as-failed` publishes what there is, a new `build` starts over"));
            }
            sources = now;
        }
        let rest = Step::Rest {
            done: &done,
            source_date_epoch: sources.newest,
        };
        let executed = execute(plan, rest, &execution).await;
        match unwritable.into_inner().expect("no panic") {
            Some(error) => Err(unwritten(error)),
            None => Ok(Ran::Over(sources, executed.records)),
        }
    }

    /// The last success, if it was built from the same commits and another build is not forced; where failures count, too,
    /// the last build.
    fn unchanged(&self, started: &Started, sources: &Sources) -> Option<(BuildId, BuildOutcome)> {
        let date = if started.skip_failed {
            *self.channel.builds.keys().next_back()?
        } else {
            self.channel.newest_success()?
        };
        let record = self.channel.builds.get(&date)?.record()?;
        let same = stx_pipeline::changed(&record.sources, &sources.records).is_empty();
        let channel = &started.plan.id.channel;
        (same && !started.force).then(|| (BuildId::new(channel.clone(), date), record.result))
    }

    /// Makes the tags of images that a publisher that was killed left behind its build.
    async fn finish_images(&self, channel: &Channel) -> Result<(), Error> {
        let site = &self.area.site;
        match Registry::open(site)? {
            None => Ok(()),
            Some(registry) => registry.finish(site, self.store, channel).await,
        }
    }

    /// Moves the aliases that a publisher that was killed left behind its build.
    async fn finish_aliases(&self, channel: &Channel) -> Result<(), Error> {
        let repaired = stx_publish::repair_aliases(self.store, channel)
            .await
            .map_err(|error| Error::new(ErrorKind::Mirror, error))?;
        let repaired = repaired.to_string();
        // Also where no alias moved: a publisher that was killed later made no pages either.
        pages::renew(&self.area.site, self.store, self.area.now()).await;
        if !repaired.is_empty() {
            (self.watch.note)(repaired.trim_end());
        }
        Ok(())
    }

    pub(super) async fn publish(
        &self,
        started: &Started,
        sources: &Sources,
        records: &[PhaseRecord],
    ) -> Result<Built, Error> {
        let plan = &started.plan;
        if reached_no_commit(plan, &sources.records, records) {
            let why = unpublished::keep(self.area, &plan.id, records)?;
            process::remove_journal(self.state).map_err(unwritten)?;
            return Err(why);
        }
        let collection = process::collect(plan, records).map_err(|error| {
            Error::new(ErrorKind::Usage, error)
                .hint("`publish` of the recipe says which files go where")
        })?;
        let record = conclude(plan, &sources.records, records, &collection);
        let incoming = incoming(self.channel, plan, sources, &record, collection)?;
        if let Err(failure) = self.finish_images(&plan.id.channel).await {
            // What an older build lacks is no reason to hold this one back.
            (self.watch.note)(&format!("note: {}", failure.line()));
        }
        let mut site = self.area.site.clone();
        site.now = self.area.now();
        let force = started.force_alias;
        let published = publish(&site, self.store, record.clone(), incoming, force).await?;
        let published = Box::new(published);
        pages::renew(&self.area.site, self.store, self.area.now()).await;
        process::remove_journal(self.state).map_err(unwritten)?;
        let BuildRecord {
            result,
            first_failing_phase,
            missing_deliverables,
            ..
        } = record;
        Ok(Built::Published {
            result,
            published,
            first_failing_phase,
            missing_deliverables,
        })
    }
}

/// The result of the phases.
enum Ran {
    /// The last success has the same commits.
    Unchanged(BuildId, BuildOutcome),
    /// They are over.
    Over(Sources, Vec<PhaseRecord>),
}

/// A task that ends when it is dropped.
struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Switches `to` when `from` is.
async fn forward(from: Cancel, to: Cancel) {
    from.cancelled().await;
    to.cancel();
}
