//! One build on its way: its channel locked, its phases run, its files published.

use std::sync::Mutex;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{TimeDelta, Utc};
use stx_layout::{
    BuildDate, BuildId, BuildRecord, Channel, ChannelEntry, PhaseRecord, PhaseStatus, ReleaseId,
};
use stx_pipeline::journal::{Entry, Started};
use stx_pipeline::process::{JournalError, JournalWriter, ProcessRunner, Sources};
use stx_pipeline::{
    BuildPlan, BuildRequest, Cancel, Event, EventKind, Execution, Finding, Journal, Recipe, Step,
    conclude, execute, plan, process,
};
use stx_publish::{LocalStore, MirrorRead as _, Scope};

use super::outputs::incoming;
use super::{BuildOrder, Built, OnInterrupt, Site, Watch};
use crate::commands::publish::{publish, request};
use crate::commands::resume::{requested, unrequested};
use crate::commands::{open_or_create, refused};
use crate::exit::{Exit, Failure};

/// How long orphans have between being asked to end and being killed.
const GRACE: Duration = Duration::from_secs(5);

/// Reads a recipe file, or finds what is wrong with it.
pub(crate) fn recipe_findings(file: &Utf8Path) -> Result<Result<Recipe, Vec<Finding>>, Failure> {
    let text = fs_err::read_to_string(file).map_err(Failure::usage)?;
    Ok(Recipe::from_toml(&text).map_err(|error| error.findings))
}

/// Reads a recipe file.
pub(crate) fn read_recipe(file: &Utf8Path) -> Result<Recipe, Failure> {
    recipe_findings(file)?.map_err(|findings| {
        let findings: Vec<_> = findings
            .iter()
            .map(|finding| {
                format!(
                    "{file}:{}:{}: {}",
                    finding.line, finding.column, finding.message
                )
            })
            .collect();
        Failure::usage(findings.join("\n")).hint("docs/recipe.md describes the form")
    })
}

/// A build that can be planned.
pub(super) struct Work<'a> {
    site: &'a Site,
    order: &'a BuildOrder,
    recipe: Recipe,
    channel: Channel,
    state: Utf8PathBuf,
}

impl<'a> Work<'a> {
    /// Reads the recipe and finds the channel; changes nothing.
    pub(super) fn new(site: &'a Site, order: &'a BuildOrder) -> Result<Self, Failure> {
        let recipe = read_recipe(&order.recipe)?;
        let release = match &order.release {
            Some(release) => release.clone(),
            None => ReleaseId::from_git(&order.branch).map_err(Failure::usage)?,
        };
        let channel = recipe.channel(release);
        let state = site.channel(&channel);
        Ok(Self {
            site,
            order,
            recipe,
            channel,
            state,
        })
    }

    pub(super) fn date_now(&self) -> Result<BuildDate, Failure> {
        BuildDate::at(self.site.now())
            .ok_or_else(|| Failure::usage("the clock shows a year that no build date can name"))
    }

    fn request(&self, date: BuildDate) -> BuildRequest {
        let variable = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
        let mut overrides = self.order.set.clone();
        for (name, value) in self.recipe.inherit.iter().filter_map(|name| variable(name)) {
            overrides.entry(name).or_insert(value);
        }
        BuildRequest {
            channel: self.channel.clone(),
            branch: self.order.branch.clone(),
            date,
            trigger: Some(self.order.reason.clone()),
            overrides,
            recipe_dir: self.order.recipe_dir(),
            source_root: self.state.join("sources"),
            workspace: self.state.join("work"),
            logs: self.state.join("logs"),
            jobs: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            base_env: ["PATH", "HOME", "USER"]
                .into_iter()
                .filter_map(variable)
                .collect(),
        }
    }

    pub(super) fn plan(&self, date: BuildDate) -> Result<BuildPlan, Failure> {
        planned(&self.recipe, &self.request(date))
    }

    /// Builds and publishes.
    pub(super) async fn build(&self, watch: Watch<'_>) -> Result<Built, Failure> {
        tools(&self.recipe)?;
        let store = open_or_create(&self.site.mirror)?;
        let _lock = lock(&self.state, &self.channel)?;
        unrequested(&self.state)?;
        end_orphans(&self.state, watch).await?;
        if let Ok(Some(journal)) = process::read_journal(&self.state) {
            let id = &journal.started.plan.id;
            (watch.say)(&format!(
                "{id} was interrupted with {} of {} phases over; it is given up for a new build (`resume` would have gone on)",
                journal.records.len(),
                journal.started.plan.phases.len()
            ));
        }
        let channel = channel_of(&store, &self.channel).await?;
        process::remove_journal(&self.state).map_err(unwritten)?;
        for dir in [self.state.join("work"), self.state.join("logs")] {
            remove_tree(&dir)?;
            fs_err::create_dir_all(&dir).map_err(|error| Failure::new(Exit::Bug, error))?;
        }
        fs_err::create_dir_all(self.state.join("sources"))
            .map_err(|error| Failure::new(Exit::Bug, error))?;
        let date = self.date(&channel).await?;
        let request = self.request(date);
        let plan = planned(&self.recipe, &request)?;
        (watch.say)(&format!("building {}", plan.id));
        let started = Started {
            schema: Started::SCHEMA,
            time: Utc::now(),
            boot: process::this_boot(),
            recipe: self.order.recipe.clone(),
            force: self.order.force,
            force_alias: self.order.force_alias,
            skip_failed: self.order.skip_failed,
            request,
            plan,
        };
        let writer = JournalWriter::start(&self.state, &started).map_err(unwritten)?;
        let run = Run {
            site: self.site,
            state: &self.state,
            store: &store,
            channel: &channel,
            watch,
            writer,
        };
        run.go_on(Journal::new(started, "", "")).await
    }

    /// The build date: the one that was asked for, else now, when the source sync starts.
    async fn date(&self, channel: &ChannelEntry) -> Result<BuildDate, Failure> {
        if let Some(date) = self.order.date {
            if channel.builds.contains_key(&date) {
                return Err(Failure::new(
                    Exit::Mirror,
                    format!("{}/{date}: is there already", self.channel),
                )
                .hint("builds never change; build under another date"));
            }
            return Ok(date);
        }
        loop {
            let date = self.date_now()?;
            if !channel.builds.contains_key(&date) {
                return Ok(date);
            }
            if self.site.now.is_some() {
                return Err(Failure::new(
                    Exit::Mirror,
                    format!("{}/{date}: is there already", self.channel),
                ));
            }
            // The build before took less than a second.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Goes on with an unfinished build, or publishes it as failed.
pub(super) async fn resume(
    site: &Site,
    channel: &Channel,
    only: Option<&BuildId>,
    how: OnInterrupt,
    watch: Watch<'_>,
) -> Result<Built, Failure> {
    let state = site.channel(channel);
    let none = || Failure::new(Exit::NotFound, format!("{channel}: no build is unfinished"));
    if !state.exists() {
        return Err(none());
    }
    let _lock = lock(&state, channel)?;
    unrequested(&state)?;
    let journal = process::read_journal(&state).map_err(unwritten)?;
    let journal = journal.ok_or_else(none)?;
    let id = &journal.started.plan.id;
    if let Some(only) = only.filter(|only| *only != id) {
        return Err(Failure::new(
            Exit::NotFound,
            format!("{only}: is not unfinished; {id} is"),
        ));
    }
    end_orphans(&state, watch).await?;
    for phase in &journal.started.plan.phases {
        process::settle_log(&phase.invocation.log)
            .map_err(|error| Failure::new(Exit::Bug, error))?;
    }
    if how == OnInterrupt::Resume {
        let recipe = read_recipe(&journal.started.recipe)?;
        let now = planned(&recipe, &journal.started.request)?;
        let differences = journal.differences(&now);
        if !differences.is_empty() {
            return Err(Failure::usage(format!(
                "{id}: its recipe {} changed since: {}",
                journal.started.recipe,
                differences.join(", ")
            ))
            .hint("`resume --as-failed` publishes what there is, a new `build` starts over"));
        }
        tools(&recipe)?;
    }
    let store = open_or_create(&site.mirror)?;
    let entry = channel_of(&store, channel).await?;
    let writer = JournalWriter::resume(&state, &journal).map_err(unwritten)?;
    let run = Run {
        site,
        state: &state,
        store: &store,
        channel: &entry,
        watch,
        writer,
    };
    match how {
        OnInterrupt::Resume => {
            let from = match journal.unfinished().first() {
                Some(phase) => format!("at phase {phase}"),
                None => "with its publication".to_owned(),
            };
            (watch.say)(&format!("going on with {id} {from}"));
            run.go_on(journal).await
        }
        OnInterrupt::Fail => {
            let records = journal.given_up("interrupted");
            let sources = journal.sources.clone().unwrap_or_default();
            run.publish(&journal.started, &sources, &records).await
        }
    }
}

/// A build whose channel is locked and whose journal is open.
struct Run<'a> {
    site: &'a Site,
    state: &'a Utf8Path,
    store: &'a LocalStore,
    channel: &'a ChannelEntry,
    watch: Watch<'a>,
    writer: JournalWriter,
}

impl Run<'_> {
    /// Runs what is left, and publishes.
    async fn go_on(&self, journal: Journal) -> Result<Built, Failure> {
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
            Ran::Unchanged(build) => {
                process::remove_journal(self.state).map_err(unwritten)?;
                return Ok(Built::Unchanged { build });
            }
            Ran::Over(sources, records) => (sources, records),
        };
        if !cancel.is_cancelled() {
            return self.publish(&journal.started, &sources, &records).await;
        }
        if self.watch.cancel.is_cancelled() {
            return Err(Failure::new(
                Exit::BuildFailed,
                format!("{id}: interrupted; nothing was published"),
            )
            .hint(format!("`resume {}` goes on with it", id.channel)));
        }
        process::remove_journal(self.state).map_err(unwritten)?;
        Err(Failure::new(
            Exit::BuildFailed,
            format!("{id}: cancelled; nothing was published"),
        ))
    }

    async fn run(&self, journal: &Journal, cancel: &Cancel) -> Result<Ran, Failure> {
        let plan = &journal.started.plan;
        let runner = ProcessRunner::new(self.state.to_owned());
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
            runner: &runner,
            now: &Utc::now,
            events: &events,
            finished: &finished,
            sleep: &|pause| Box::pin(tokio::time::sleep(pause)),
            cancel,
            deadline: limit.map(|limit| Utc::now() + limit),
        };
        let mut done = journal.records.clone();
        if done.is_empty() {
            done = execute(plan, Step::Source, &execution).await.records;
        }
        let synced = done
            .iter()
            .all(|record| record.status == PhaseStatus::Succeeded || !record.required);
        let mut sources = journal.sources.clone().unwrap_or_default();
        if synced && !cancel.is_cancelled() {
            let now = process::read_sources(plan).map_err(|error| {
                Failure::new(Exit::Usage, error)
                    .hint("`repositories` of the recipe names the git work trees")
            })?;
            if journal.sources.is_none() {
                if let Some(build) = self.unchanged(&journal.started, &now) {
                    return Ok(Ran::Unchanged(build));
                }
                write(&Entry::Sources {
                    sources: now.clone(),
                });
            } else if now != sources {
                return Err(Failure::usage(format!(
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
    fn unchanged(&self, started: &Started, sources: &Sources) -> Option<BuildId> {
        let date = if started.skip_failed {
            *self.channel.builds.keys().next_back()?
        } else {
            self.channel.newest_success()?
        };
        let record = self.channel.builds.get(&date)?.record()?;
        let same = stx_pipeline::changed(&record.sources, &sources.records).is_empty();
        (same && !started.force).then(|| BuildId::new(started.plan.id.channel.clone(), date))
    }

    async fn publish(
        &self,
        started: &Started,
        sources: &Sources,
        records: &[PhaseRecord],
    ) -> Result<Built, Failure> {
        let plan = &started.plan;
        let collection = process::collect(plan, records).map_err(|error| {
            Failure::new(Exit::Usage, error)
                .hint("`publish` of the recipe says which files go where")
        })?;
        let record = conclude(plan, &sources.records, records, &collection);
        let incoming = incoming(self.channel, plan, sources, &record, collection)?;
        let request = request(
            self.site.now(),
            record.clone(),
            incoming,
            started.force_alias,
        );
        let published = publish(self.store, request).await?;
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

/// What came of the phases.
enum Ran {
    /// The last success has the same commits.
    Unchanged(BuildId),
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

fn planned(recipe: &Recipe, request: &BuildRequest) -> Result<BuildPlan, Failure> {
    plan(recipe, request).map_err(|error| {
        Failure::usage(error).hint("--set gives values for the variables of the recipe")
    })
}

/// Fails if a program is not there that the phases call.
fn tools(recipe: &Recipe) -> Result<(), Failure> {
    let path = std::env::var("PATH").unwrap_or_default();
    let missing = process::missing_tools(recipe, &path);
    if missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
    Err(Failure::usage(missing.join("\n")).hint("install them and run the same command again"))
}

async fn channel_of(store: &LocalStore, channel: &Channel) -> Result<ChannelEntry, Failure> {
    let catalog = store
        .catalog(&Scope::Channel(channel.clone()))
        .await
        .map_err(refused)?;
    Ok(catalog.channels.into_values().next().unwrap_or_default())
}

async fn end_orphans(state: &Utf8Path, watch: Watch<'_>) -> Result<(), Failure> {
    let ended = process::end_orphans(state, &state.join("work"), GRACE)
        .await
        .map_err(|error| Failure::new(Exit::Bug, error))?;
    if !ended.is_empty() {
        (watch.say)(&format!(
            "ended {} phases of a build that was killed",
            ended.len()
        ));
    }
    Ok(())
}

/// The lock of a channel's state, which ends with the process.
pub(crate) fn lock(state: &Utf8Path, channel: &Channel) -> Result<fs_err::File, Failure> {
    let bug = |error: std::io::Error| Failure::new(Exit::Bug, error);
    fs_err::create_dir_all(state).map_err(bug)?;
    let lock = fs_err::File::create(state.join("lock")).map_err(bug)?;
    match lock.file().try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(Failure::new(
            Exit::Busy,
            format!("{channel}: another build of this channel is running"),
        )
        .hint("two builds of one channel never run together; try again when it is done")),
        Err(std::fs::TryLockError::Error(error)) => Err(bug(error)),
    }
}

fn unwritten(error: JournalError) -> Failure {
    Failure::new(Exit::Bug, error).hint("is the disk full? a new `build` starts over")
}

/// Removes a tree of an earlier build, if it is there; directories that it left unwritable are made writable first.
fn remove_tree(dir: &Utf8Path) -> Result<(), Failure> {
    match fs_err::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::new(Exit::Bug, error).hint(format!(
                "remove {dir} by hand, then run the same command again"
            )))
        }
        _ => Ok(()),
    }
}
