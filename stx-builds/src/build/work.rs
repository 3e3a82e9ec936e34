//! Prepares a build before its phases run: reads its recipe, locks its channel, and begins or reads its journal.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Datelike as _, Utc};
use stx_executors::PlacedRunner;
use stx_layout::{BuildDate, BuildId, Channel, ChannelEntry, RecipeFileRecord, ReleaseId, counted};
use stx_pipeline::journal::Started;
use stx_pipeline::process::Build;
use stx_pipeline::{
    Below, BuildPlan, BuildRequest, Ended, Journal, Recipe, Runner as _, plan, process,
};
use stx_publish::store::rules::check_channel_name;
use stx_publish::{MirrorStore, PlanError, Scope};
use tracing::{Instrument as _, info_span};

use super::after;
use super::cancellation::clear_request;
use super::recipe::{RECIPE_FORM, recipe_files, recorded};
use super::run::{self, Run, stopped};
use super::state::{end_orphans, lock, remove_tree, unwritten};
use super::{BuildArea, BuildOrder, Built, OnInterrupt, Watch, places, preview};
use crate::decisions::doubted_date;
use crate::error::{Error, ErrorKind, is_there, unusable};
use crate::images::check_pushed;
use crate::publish::unplanned;
use crate::refused;
use crate::site::clock;

/// A build that can be planned.
pub(super) struct Work<'a> {
    area: &'a BuildArea,
    order: &'a BuildOrder,
    recipe: Recipe,
    recipe_files: Vec<RecipeFileRecord>,
    /// Values of the recipe's variables that replace its own.
    set: BTreeMap<String, String>,
    channel: Channel,
    state: Utf8PathBuf,
}

impl<'a> Work<'a> {
    /// Reads the recipe and finds the channel; changes nothing.
    pub(super) fn new(area: &'a BuildArea, order: &'a BuildOrder) -> Result<Self, Error> {
        let files = recipe_files(&order.recipe)?;
        let mut set = area.site.options.variables.clone();
        set.extend(order.set.clone());
        let recipe = files.read(&set);
        let recipe = recipe.map_err(|errors| Error::config(errors, RECIPE_FORM))?;
        // A variable of the configuration may be for other recipes; one of the order is for this recipe.
        set.retain(|name, _| recipe.variables.contains_key(name) || order.set.contains_key(name));
        let release = match &order.release {
            Some(release) => release.clone(),
            None => ReleaseId::from_git(&order.branch).map_err(Error::usage)?,
        };
        let channel = recipe.channel(release);
        let state = area.channel(&channel);
        Ok(Self {
            area,
            order,
            recipe_files: recorded(&files, &order.recipe_dir()),
            recipe,
            set,
            channel,
            state,
        })
    }

    pub(super) fn date_now(&self) -> Result<BuildDate, Error> {
        BuildDate::at(self.area.now())
            .ok_or_else(|| Error::usage("the clock shows a year that a build date cannot express"))
    }

    /// Refuses to date a build by a clock that was never set. That build would never be the newest of its channel, and the first
    /// `prune` with the right time would retire it. Refuses a requested date with which the build could not be published, too: its
    /// phases may take hours.
    pub(super) fn check_date(&self) -> Result<(), Error> {
        let (now, is_given) = (self.area.now(), self.area.now.is_some());
        if let Some(date) = self.order.date {
            let id = BuildId::new(self.channel.clone(), date);
            return PlanError::check_date(&id, now).map_err(unplanned);
        }
        if is_given || !is_unset(now) {
            return Ok(());
        }
        let error = format!(
            "the clock is not set: it says {}, a time before the first version of this program",
            now.format("%Y-%m-%d %H:%M:%S")
        );
        Err(Error::usage(error).hint(
            "builds are dated by the clock: set it and let it be synchronised, `timedatectl set-ntp true`, or give the time with --now",
        ))
    }

    fn request(&self, date: BuildDate, below: Option<Below>) -> BuildRequest {
        let variable = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
        let mut overrides = self.set.clone();
        for (name, value) in self.recipe.inherit.iter().filter_map(|name| variable(name)) {
            if !self.order.set.contains_key(&name) {
                overrides.insert(name, value);
            }
        }
        BuildRequest {
            channel: self.channel.clone(),
            branch: self.order.branch.clone(),
            date,
            trigger: Some(self.order.reason.clone()),
            after: below,
            overrides,
            recipe_dir: self.order.recipe_dir(),
            source_root: self.state.join("sources"),
            workspace: self.state.join("work"),
            logs: self.state.join("logs"),
            state_dir: self.state.join("kept"),
            jobs: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            base_env: ["PATH", "HOME", "USER"]
                .into_iter()
                .filter_map(variable)
                .collect(),
        }
    }

    /// The channel to publish in.
    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The plan of a build that is based on `below`.
    pub(super) fn plan(&self, date: BuildDate, below: Option<Below>) -> Result<BuildPlan, Error> {
        let plan = planned(&self.recipe, &self.request(date, below))?;
        // Fail before the phases run, not after them.
        check_channel_name(&self.channel).map_err(refused)?;
        if let Some(pushed) = &plan.images {
            check_pushed(&self.area.site, pushed)?;
        }
        Ok(plan)
    }

    /// Builds and publishes.
    pub(super) async fn build(&self, watch: Watch<'_>) -> Result<Built, Error> {
        self.check_date()?;
        tools(&self.recipe)?;
        let store = self.area.create()?;
        let _lock = lock(&self.state, &self.channel)?;
        clear_request(&self.state)?;
        end_orphans(&self.state, watch.note).await?;
        match process::read_journal(&self.state) {
            Ok(None) => {}
            Ok(Some(journal)) if self.is_published(&*store, &journal).await? => {
                // It was killed before it removed its journal, which `start` does.
                let id = &journal.started.plan.id;
                (watch.note)(&format!(
                    "{id} was published by a run that was killed afterwards"
                ));
            }
            Ok(Some(journal)) if journal.unfinished().is_empty() => {
                let id = journal.started.plan.id.clone();
                match Box::pin(self.publish_finished(journal, watch)).await {
                    // A date identifies one build, and that build is published.
                    Ok(built) if self.wanted_date()? == Some(id.date) => return Ok(built),
                    Ok(_) => (watch.note)(&format!("{id} is published")),
                    Err(error) if run::is_spoilt(&error) => (watch.note)(&format!(
                        "warning: {id} cannot be published and is abandoned for a new build: {}",
                        error.chain()
                    )),
                    Err(error) => return Err(error),
                }
            }
            Ok(Some(journal)) => {
                let id = &journal.started.plan.id;
                (watch.note)(&format!(
                    "{id} was interrupted after {} of {}; it is abandoned for a new build (`resume` would have continued it)",
                    journal.records.len(),
                    counted(journal.started.plan.phases.len(), "phase")
                ));
            }
            Err(error) => (watch.note)(&format!(
                "warning: an interrupted build is abandoned for a new one, and its journal cannot be read: {}",
                crate::error::chain(&error)
            )),
        }
        let below = match &self.order.after {
            Some(channel) => Some(after::take(self.area, &*store, &self.channel, channel).await?),
            None => None,
        };
        let plan = self.plan(self.date_now()?, below.clone())?;
        // Before places are tried: containers mount them as volumes.
        let dirs = [&plan.workspace, &plan.source_root].into_iter();
        for dir in dirs.chain(&plan.state_dirs) {
            fs_err::create_dir_all(dir).map_err(|error| Error::new(ErrorKind::Bug, error))?;
        }
        let runner = places::runner(self.area, &self.state, &plan).await?;
        let built = async {
            places::check(self.area, &runner, &plan, watch).await?;
            // Boxed: a build is large, and so is each future that contains it.
            Box::pin(self.start(&*store, &runner, below, watch)).await
        };
        let built = built.await;
        runner.close().await;
        built
    }

    /// True if the mirror has the build of a journal.
    async fn is_published(
        &self,
        store: &dyn MirrorStore,
        journal: &Journal,
    ) -> Result<bool, Error> {
        let channel = channel_of(store, &self.channel).await?;
        Ok(channel.builds.contains_key(&journal.started.plan.id.date))
    }

    /// Publishes an earlier build whose phases have all ended: they may have taken hours, and a new build would empty the workspace.
    async fn publish_finished(&self, journal: Journal, watch: Watch<'_>) -> Result<Built, Error> {
        preview::clear(&self.state)?;
        check_workspace(&journal)?;
        let runner = places::runner(self.area, &self.state, &journal.started.plan).await?;
        let how = OnInterrupt::Resume;
        let built = Box::pin(go_on(self.area, &self.state, &runner, journal, how, watch)).await;
        runner.close().await;
        built
    }

    /// The build date of the order, or of the fixed clock (`--now`); `None` if the current time decides.
    fn wanted_date(&self) -> Result<Option<BuildDate>, Error> {
        match (self.order.date, self.area.now) {
            (Some(date), _) => Ok(Some(date)),
            (None, Some(_)) => self.date_now().map(Some),
            (None, None) => Ok(None),
        }
    }

    /// Begins a build in an empty workspace.
    async fn start(
        &self,
        store: &dyn MirrorStore,
        runner: &PlacedRunner,
        below: Option<Below>,
        watch: Watch<'_>,
    ) -> Result<Built, Error> {
        let channel = channel_of(store, &self.channel).await?;
        process::remove_journal(&self.state).map_err(unwritten)?;
        let [workspace, logs] = ["work", "logs"].map(|name| self.state.join(name));
        let made = |dir: &Utf8Path| {
            fs_err::create_dir_all(dir).map_err(|error| Error::new(ErrorKind::Bug, error))
        };
        preview::clear(&self.state)?;
        remove_tree(&logs)?;
        made(&logs)?;
        self.clean(&workspace, runner, watch).await?;
        remove_tree(&workspace)?;
        made(&workspace)?;
        made(&self.state.join("sources"))?;
        let date = self.date(&channel).await?;
        if self.order.date.is_none() {
            // Before the phases run, which may take hours.
            let id = BuildId::new(self.channel.clone(), date);
            if let Some(doubt) = doubted_date(&id, &channel, self.area.now()) {
                (watch.note)(&format!("warning: {doubt}"));
            }
        }
        let request = self.request(date, below);
        let plan = planned(&self.recipe, &request)?;
        (watch.note)(&format!("building {}", plan.id));
        let mut started = Started::new(self.order.recipe.clone(), request, plan, clock());
        started.recipe_files.clone_from(&self.recipe_files);
        started.force = self.order.force;
        started.force_alias = self.order.force_alias;
        started.skip_failed = self.order.skip_failed;
        started.paths.clone_from(&self.order.paths);
        let build = Build::new(started, &self.state).map_err(stopped)?;
        let run = Run {
            area: self.area,
            state: &self.state,
            store,
            channel: &channel,
            watch,
            runner,
        };
        // Boxed for the same reason.
        Box::pin(run.go_on(build, OnInterrupt::Resume)).await
    }

    /// Runs the recipe's commands that remove files that the builder cannot, if an earlier build left a workspace.
    async fn clean(
        &self,
        workspace: &Utf8Path,
        runner: &PlacedRunner,
        watch: Watch<'_>,
    ) -> Result<(), Error> {
        let mut entries = workspace
            .read_dir_utf8()
            .map_err(|error| unusable(workspace, error))?;
        if entries.next().is_none() {
            return Ok(());
        }
        for command in self.plan(self.date_now()?, None)?.clean {
            let ended = runner.run(&command, &|_, _| {}, watch.cancel).await;
            if ended != (Ended::Exited { code: 0 }) {
                let message = format!("`clean`: {command}: {ended}");
                return Err(Error::new(ErrorKind::BuildFailed, message)
                    .hint(format!("its output is in {}", command.log)));
            }
        }
        Ok(())
    }

    /// The build date: the requested one, else the current time, when the source sync starts.
    async fn date(&self, channel: &ChannelEntry) -> Result<BuildDate, Error> {
        if let Some(date) = self.order.date {
            if channel.builds.contains_key(&date) {
                return Err(Error::new(
                    ErrorKind::Mirror,
                    format!("{}/{date}: already exists", self.channel),
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
            if self.area.now.is_some() {
                return Err(Error::new(
                    ErrorKind::Mirror,
                    format!("{}/{date}: already exists", self.channel),
                ));
            }
            // The previous build took less than a second.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Resumes the unfinished build of a channel, or publishes it as failed. `only` is the required build, if given.
pub(crate) async fn resume(
    area: &BuildArea,
    channel: &Channel,
    only: Option<&BuildId>,
    how: OnInterrupt,
    watch: Watch<'_>,
) -> Result<Built, Error> {
    let span = info_span!("channel", %channel);
    // Boxed: a build is large, and so is each future that contains it.
    Box::pin(resume_in(area, channel, only, how, watch))
        .instrument(span)
        .await
}

async fn resume_in(
    area: &BuildArea,
    channel: &Channel,
    only: Option<&BuildId>,
    how: OnInterrupt,
    watch: Watch<'_>,
) -> Result<Built, Error> {
    let state = area.channel(channel);
    let none = || {
        Error::new(
            ErrorKind::NotFound,
            format!("{channel}: there is no unfinished build"),
        )
    };
    if !is_there(&state)? {
        return Err(none());
    }
    let _lock = lock(&state, channel)?;
    clear_request(&state)?;
    let journal = process::read_journal(&state).map_err(unwritten)?;
    let journal = journal.ok_or_else(none)?;
    let id = &journal.started.plan.id;
    if let Some(only) = only.filter(|only| *only != id) {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("{only}: not an unfinished build; {id} is"),
        ));
    }
    end_orphans(&state, watch.note).await?;
    for phase in &journal.started.plan.phases {
        process::settle_log(&phase.invocation.log)
            .map_err(|error| Error::new(ErrorKind::Bug, error))?;
    }
    // Without phases to run, only the publication is left, which does not depend on the recipe and its places.
    let runs = how == OnInterrupt::Resume && !journal.unfinished().is_empty();
    if runs {
        tools(&unchanged_recipe(&journal)?)?;
    }
    if how == OnInterrupt::Resume {
        check_workspace(&journal)?;
    }
    preview::clear(&state)?;
    let runner = places::runner(area, &state, &journal.started.plan).await?;
    let resumed = async {
        if runs {
            places::check(area, &runner, &journal.started.plan, watch).await?;
        }
        // Boxed for the same reason.
        Box::pin(go_on(area, &state, &runner, journal, how, watch)).await
    };
    let resumed = Box::pin(resumed).await;
    runner.close().await;
    resumed
}

/// Continues a build whose processes have all ended.
async fn go_on(
    area: &BuildArea,
    state: &Utf8Path,
    runner: &PlacedRunner,
    journal: Journal,
    how: OnInterrupt,
    watch: Watch<'_>,
) -> Result<Built, Error> {
    let id = &journal.started.plan.id;
    let store = area.create()?;
    let entry = channel_of(&*store, &id.channel).await?;
    let run = Run {
        area,
        state,
        store: &*store,
        channel: &entry,
        watch,
        runner,
    };
    let note = match (how, journal.unfinished().first()) {
        (OnInterrupt::Resume, Some(phase)) => format!("resuming {id} at phase {phase}"),
        (OnInterrupt::Resume, None) => format!("resuming {id} with its publication"),
        (OnInterrupt::Fail, _) => format!("publishing {id} as failed, because it was interrupted"),
    };
    let build = Build::resume(journal, state).map_err(stopped)?;
    (watch.note)(&note);
    Box::pin(run.go_on(build, how)).await
}

/// The workspace of an unfinished build is not there, or is empty: the fault is this machine's, not the branch's.
#[derive(Debug, thiserror::Error)]
#[error("{build}: its workspace {workspace} was {lost}, so it cannot be continued")]
pub(super) struct LostWorkspace {
    build: Box<BuildId>,
    workspace: Utf8PathBuf,
    /// The way in which it was lost.
    lost: &'static str,
}

/// Fails if a build cannot continue: its phases, or its missing files, would end it as a public failure of the branch.
fn check_workspace(journal: &Journal) -> Result<(), Error> {
    let plan = &journal.started.plan;
    let workspace = &plan.workspace;
    let lost = if is_there(workspace)? {
        let entries = workspace.read_dir_utf8();
        let mut entries = entries.map_err(|error| unusable(workspace, error))?;
        // A build begins with a file in its workspace.
        if entries.next().is_some() {
            return Ok(());
        }
        "emptied"
    } else {
        "removed"
    };
    let lost = LostWorkspace {
        build: Box::new(plan.id.clone()),
        workspace: workspace.clone(),
        lost,
    };
    Err(Error::usage(lost)
        .hint("put its content back and run `resume` again, or run `build` to start over"))
}

/// True if this is the time of a clock that was never set: one before the first version of this program.
fn is_unset(now: DateTime<Utc>) -> bool {
    now.year() < 2026
}

/// The recipe of an interrupted build, if the rest of the build can run as it was planned.
fn unchanged_recipe(journal: &Journal) -> Result<Recipe, Error> {
    let started = &journal.started;
    let files = recipe_files(&started.recipe)?;
    let recipe = files.read(&started.request.overrides);
    let recipe = recipe.map_err(|errors| Error::config(errors, RECIPE_FORM))?;
    if started.recipe_files == recorded(&files, &started.request.recipe_dir) {
        // Another version of this program may plan more, such as further variables; the build keeps the plan with which it began.
        return Ok(recipe);
    }
    let differences = journal.differences(&planned(&recipe, &started.request)?);
    if differences.is_empty() {
        return Ok(recipe);
    }
    // An early version did not record the files of the recipe.
    let changed = if started.recipe_files.is_empty() {
        ", or this program,"
    } else {
        ""
    };
    let (id, recipe) = (&started.plan.id, &started.recipe);
    let error = format!(
        "{id}: its recipe {recipe}{changed} changed since: {}",
        differences.join(", ")
    );
    Err(Error::usage(error).hint("run `resume --as-failed` to publish the existing files as a failed build, or `build` to start over"))
}

fn planned(recipe: &Recipe, request: &BuildRequest) -> Result<BuildPlan, Error> {
    plan(recipe, request).map_err(|error| {
        Error::usage(error).hint("--set gives values for the variables of the recipe")
    })
}

/// Fails if a program that the phases call is missing.
fn tools(recipe: &Recipe) -> Result<(), Error> {
    let path = std::env::var("PATH").unwrap_or_default();
    let missing = process::missing_tools(recipe, &path);
    if missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
    Err(Error::usage(missing.join("\n")).hint("install them and run the same command again"))
}

async fn channel_of(store: &dyn MirrorStore, channel: &Channel) -> Result<ChannelEntry, Error> {
    let catalog = store
        .catalog(&Scope::Channel(channel.clone()))
        .await
        .map_err(refused)?;
    Ok(catalog.channels.into_values().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_from_before_this_program_is_unset() {
        for (now, unset) in [
            ("1970-01-01T00:03:00Z", true),
            ("2025-12-31T23:59:59Z", true),
            ("2026-01-01T00:00:00Z", false),
        ] {
            assert_eq!(is_unset(now.parse().expect("a time")), unset, "{now}");
        }
    }
}
