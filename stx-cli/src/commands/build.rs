//! `build`: one build, published.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use stx_layout::{
    BuildDate, BuildId, BuildOutcome, BuildPath, BuildRecord, Channel, ChannelEntry, PhaseRecord,
    ReleaseId,
};
use stx_pipeline::process::{PlaceError, PlacedRunner, ProcessRunner, Sources};
use stx_pipeline::{
    BuildPlan, BuildRequest, Cancel, Collection, Execution, Recipe, Step, conclude, execute, plan,
    process,
};
use stx_publish::{Entry, Incoming, LocalStore, MirrorRead as _, PublishReport, Scope, gather};

use super::publish::{publish, request};
use super::{Context, open_or_create, refused};
use crate::args::Build;
use crate::config::absolute;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::progress::Progress;

/// What came of a build.
#[derive(Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub(crate) enum Built {
    /// Nothing changed since this build.
    Unchanged {
        /// The last success.
        build: BuildId,
    },
    /// It was published.
    Published {
        /// How it ended.
        result: BuildOutcome,
        /// What was published.
        published: PublishReport,
        /// The first required phase that failed.
        first_failing_phase: Option<String>,
        /// Deliverables that are not there.
        missing_deliverables: Vec<String>,
    },
}

pub(crate) async fn run(context: &Context, args: &Build) -> Result<(), Failure> {
    let work = Work::new(context, args)?;
    if args.dry_run {
        let plan = work.plan(args.date.unwrap_or(work.date_now()?))?;
        return output::print(context.format(), &plan, || plan.to_string());
    }
    let built = work.build().await?;
    output::print(context.format(), &built, || match &built {
        Built::Unchanged { .. } => String::new(),
        Built::Published { published, .. } => published.to_string(),
    })?;
    match built {
        Built::Unchanged { build } => {
            context.say(&format!(
                "nothing changed since {build}; --force builds it again"
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
            let id = &published.id;
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
                work.mirror.join(id.to_string()).join("outputs/logs")
            )))
        }
    }
}

/// One build on its way.
pub(crate) struct Work<'a> {
    context: &'a Context,
    args: &'a Build,
    recipe: Recipe,
    recipe_dir: Utf8PathBuf,
    channel: Channel,
    mirror: Utf8PathBuf,
    state: Utf8PathBuf,
}

impl<'a> Work<'a> {
    /// Reads the recipe and finds the channel; changes nothing.
    pub(crate) fn new(context: &'a Context, args: &'a Build) -> Result<Self, Failure> {
        let file = absolute(&context.config.recipe(args.recipe.as_deref())?)?;
        let text = fs_err::read_to_string(&file).map_err(Failure::usage)?;
        let recipe = Recipe::from_toml(&text).map_err(|error| {
            let findings: Vec<_> = error
                .findings
                .iter()
                .map(|finding| {
                    format!(
                        "{file}:{}:{}: {}",
                        finding.line, finding.column, finding.message
                    )
                })
                .collect();
            Failure::usage(findings.join("\n")).hint("docs/recipe.md describes the form")
        })?;
        let release = ReleaseId::from_git(&args.branch).map_err(Failure::usage)?;
        let channel = recipe.channel(release);
        let mirror = absolute(&context.mirror()?)?;
        let state = absolute(&context.config.state(&mirror))?.join(channel.to_string());
        let recipe_dir = file.parent().map(Utf8Path::to_owned).unwrap_or_default();
        Ok(Self {
            context,
            args,
            recipe,
            recipe_dir,
            channel,
            mirror,
            state,
        })
    }

    /// The time: `--now`, else the clock's.
    fn now(&self) -> DateTime<Utc> {
        self.context.global.now.unwrap_or_else(Utc::now)
    }

    fn date_now(&self) -> Result<BuildDate, Failure> {
        BuildDate::at(self.now())
            .ok_or_else(|| Failure::usage("the clock shows a year that no build date can name"))
    }

    fn workspace(&self) -> Utf8PathBuf {
        self.state.join("work")
    }

    pub(crate) fn plan(&self, date: BuildDate) -> Result<BuildPlan, Failure> {
        let base_env = ["PATH", "HOME", "USER"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
            .collect();
        let request = BuildRequest {
            channel: self.channel.clone(),
            branch: self.args.branch.clone(),
            date,
            trigger: Some(self.args.reason.clone()),
            overrides: self.args.set.iter().cloned().collect(),
            recipe_dir: self.recipe_dir.clone(),
            source_root: self.state.join("sources"),
            workspace: self.workspace(),
            logs: self.state.join("logs"),
            jobs: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            base_env,
        };
        plan(&self.recipe, &request).map_err(|error| {
            Failure::usage(error).hint("--set gives values for the variables of the recipe")
        })
    }

    /// Builds and publishes.
    pub(crate) async fn build(&self) -> Result<Built, Failure> {
        let path = std::env::var("PATH").unwrap_or_default();
        let missing = process::missing_tools(&self.recipe, &path);
        if !missing.is_empty() {
            let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
            return Err(Failure::usage(missing.join("\n"))
                .hint("install them and run the same command again"));
        }
        let store = open_or_create(&self.mirror)?;
        let _lock = self.lock()?;
        let ended = process::end_orphans(&self.state, Duration::from_secs(5))
            .await
            .map_err(|error| Failure::new(Exit::Bug, error))?;
        if !ended.is_empty() {
            self.context.say(&format!(
                "ended {} phases of a build that was killed",
                ended.len()
            ));
        }
        let channel = store
            .catalog(&Scope::Channel(self.channel.clone()))
            .await
            .map_err(refused)?;
        let channel = channel.channels.into_values().next().unwrap_or_default();
        let runner = self.runner().await?;
        for dir in [self.workspace(), self.state.join("logs")] {
            remove_tree(&dir)?;
            fs_err::create_dir_all(&dir).map_err(|error| Failure::new(Exit::Bug, error))?;
        }
        fs_err::create_dir_all(self.state.join("sources"))
            .map_err(|error| Failure::new(Exit::Bug, error))?;

        let date = self.date(&channel).await?;
        let plan = self.plan(date)?;
        self.context.say(&format!("building {}", plan.id));
        let built = self.execute(&store, &channel, &plan, &runner).await;
        runner.close().await;
        built
    }

    /// What runs the phases, each at its place.
    async fn runner(&self) -> Result<PlacedRunner, Failure> {
        let places = self.context.config.places().clone();
        let plan = self.plan(self.date_now()?)?;
        let phases: Vec<_> = plan.phases.iter().map(|phase| &*phase.name).collect();
        for glob in places.idle(&phases) {
            self.context.say(&format!(
                "warning: place-rule: no phase of recipe {} is named {glob}",
                self.recipe.name
            ));
        }
        let local = ProcessRunner::new(self.state.clone());
        PlacedRunner::new(local, places, place_env(), &plan)
            .await
            .map_err(|error| match error {
                PlaceError::StillRunning { .. } => Failure::new(Exit::Busy, error)
                    .hint("end it there; the lock is free when it is gone"),
                PlaceError::Unusable { .. } | PlaceError::NotShared { .. } => {
                    Failure::usage(error).hint("docs/places.md says what a place needs")
                }
                PlaceError::Prepare { .. } => Failure::new(Exit::Bug, error),
            })
    }

    /// The lock of the channel's state, which ends with the process.
    fn lock(&self) -> Result<fs_err::File, Failure> {
        let bug = |error: std::io::Error| Failure::new(Exit::Bug, error);
        fs_err::create_dir_all(&self.state).map_err(bug)?;
        let lock = fs_err::File::create(self.state.join("lock")).map_err(bug)?;
        match lock.file().try_lock() {
            Ok(()) => Ok(lock),
            Err(std::fs::TryLockError::WouldBlock) => Err(Failure::new(
                Exit::Busy,
                format!("{}: another build of this channel is running", self.channel),
            )
            .hint("two builds of one channel never run together; try again when it is done")),
            Err(std::fs::TryLockError::Error(error)) => Err(bug(error)),
        }
    }

    /// The build date: the one that was asked for, else now, when the source sync starts.
    async fn date(&self, channel: &ChannelEntry) -> Result<BuildDate, Failure> {
        if let Some(date) = self.args.date {
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
            if self.context.global.now.is_some() {
                return Err(Failure::new(
                    Exit::Mirror,
                    format!("{}/{date}: is there already", self.channel),
                ));
            }
            // The build before took less than a second.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn execute(
        &self,
        store: &LocalStore,
        channel: &ChannelEntry,
        plan: &BuildPlan,
        runner: &PlacedRunner,
    ) -> Result<Built, Failure> {
        let progress = Progress::new(self.context.global.quiet, self.context.global.verbose);
        let cancel = Cancel::new();
        let interrupted = tokio::spawn(cancel_on_signal(cancel.clone()));
        let events = |event| progress.show(&event);
        let limit = plan
            .timeout
            .and_then(|timeout| TimeDelta::from_std(timeout).ok());
        // Phases are timed by the clock, whatever `--now` asks.
        let execution = Execution {
            runner,
            now: &Utc::now,
            events: &events,
            cancel: &cancel,
            deadline: limit.map(|limit| Utc::now() + limit),
        };
        let synced = execute(plan, Step::Source, &execution).await;
        let mut sources = Sources::default();
        if synced.first_failing.is_none() {
            sources = process::read_sources(plan).map_err(|error| {
                Failure::new(Exit::Usage, error)
                    .hint("`repositories` of the recipe names the git work trees")
            })?;
            if let Some(build) = self.unchanged(channel, &sources) {
                return Ok(Built::Unchanged { build });
            }
        }
        let rest = Step::Rest {
            done: &synced.records,
            source_date_epoch: sources.newest,
        };
        let executed = execute(plan, rest, &execution).await;
        interrupted.abort();
        if cancel.is_cancelled() {
            return Err(Failure::new(
                Exit::BuildFailed,
                format!("{}: cancelled; nothing was published", plan.id),
            ));
        }
        self.publish(store, channel, plan, &sources, &executed.records)
            .await
    }

    /// The last success, if it was built from the same commits and another build is not forced.
    fn unchanged(&self, channel: &ChannelEntry, sources: &Sources) -> Option<BuildId> {
        let date = channel.newest_success()?;
        let record = channel.builds.get(&date)?.record()?;
        let same = stx_pipeline::changed(&record.sources, &sources.records).is_empty();
        (same && !self.args.force).then(|| BuildId::new(self.channel.clone(), date))
    }

    async fn publish(
        &self,
        store: &LocalStore,
        channel: &ChannelEntry,
        plan: &BuildPlan,
        sources: &Sources,
        records: &[PhaseRecord],
    ) -> Result<Built, Failure> {
        let collection = process::collect(plan, records).map_err(|error| {
            Failure::new(Exit::Usage, error)
                .hint("`publish` of the recipe says which files go where")
        })?;
        let record = conclude(plan, &sources.records, records, &collection);
        let incoming = Self::incoming(channel, plan, sources, collection)?;
        let request = request(self.now(), record.clone(), incoming, self.args.force_alias);
        let published = publish(store, request).await?;
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

    /// The files of the build: what the phases made, their logs, `CONTEXT` and `CHANGELOG`.
    fn incoming(
        channel: &ChannelEntry,
        plan: &BuildPlan,
        sources: &Sources,
        collection: Collection,
    ) -> Result<Incoming, Failure> {
        let files = collection
            .deliverables
            .into_iter()
            .map(|file| (file.path, file.source));
        let mut incoming = gather(files).map_err(|error| {
            Failure::new(Exit::Mirror, error)
                .hint("nothing was published; the recipe's phases made what no mirror takes")
        })?;
        let mut add = |path: &str, text: String| {
            let path: BuildPath = path.parse().expect("a valid path");
            incoming
                .entries
                .entry(path)
                .or_insert(Entry::Generated(text.into()));
        };
        if !sources.records.is_empty() {
            add("outputs/CONTEXT", stx_pipeline::context(&sources.records));
            let last = channel
                .newest_success()
                .and_then(|date| channel.builds.get(&date)?.record());
            let last = last
                .map(|record| record.sources.as_slice())
                .unwrap_or_default();
            let changes = process::read_changes(plan, last, &sources.records)
                .map_err(|error| Failure::new(Exit::Bug, error))?;
            add("outputs/CHANGELOG", stx_pipeline::changelog(&changes));
        }
        Ok(incoming)
    }
}

/// What `ssh`, `podman`, `sbatch` and the like go by, from our own environment.
fn place_env() -> BTreeMap<String, String> {
    [
        "PATH",
        "HOME",
        "USER",
        "SSH_AUTH_SOCK",
        "SLURM_CONF",
        "DOCKER_HOST",
        "CONTAINER_HOST",
        "XDG_RUNTIME_DIR",
    ]
    .into_iter()
    .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
    .collect()
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

/// Switches `cancel` at the first SIGINT, SIGTERM or SIGHUP.
async fn cancel_on_signal(cancel: Cancel) {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else {
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    eprintln!("ending the phases that run");
    cancel.cancel();
}
