//! The service's part of `stx-builds.toml`: `[service]`, `[[branch]]` and `[[milestone]]`.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;
use stx_layout::config::{
    ConfigError, ConfigErrors, Faults, Position, PositiveDuration, Within, from_toml,
};
use stx_layout::{Channel, ReleaseId};
use toml::Spanned;

use super::lab::{Lab, LabTable, labs};
use super::{OnInterrupted, OnStop, Settings, Setup};
use crate::schedule::{Schedule, ScheduleError};
use crate::trigger::{
    PathRules, PathRulesError, Target, Upstream, Watch, access, circle, milestone_name,
};

/// The service's part of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceConfig {
    /// The limits and choices for all builds.
    pub settings: Settings,
    /// The command that receives notices, with its arguments; empty for none.
    pub hook: Vec<String>,
    /// The time limit of the hook.
    pub hook_timeout: Duration,
    /// The directory for requests; `None` for one beside the state directory.
    pub spool: Option<Utf8PathBuf>,
    /// True if members of the spool's group may read the logs of running builds, redacted like published ones.
    pub running_logs: bool,
    /// The group whose members may cancel requests of others; `None` if only root and the service's user may.
    pub cancel_group: Option<String>,
    /// The file that metrics are written to.
    pub metrics: Option<Utf8PathBuf>,
    /// The file that the dashboard is written to.
    pub dashboard: Option<Utf8PathBuf>,
    /// The branches to build.
    pub branches: Vec<BranchConfig>,
    /// The labs that test published builds.
    pub labs: Vec<Lab>,
}

/// The configuration of a branch, or of its milestones.
#[derive(Debug, Clone, PartialEq)]
pub struct BranchConfig {
    /// The git branch or tag.
    pub git: String,
    /// The recipe; `None` for the default recipe of the configuration.
    pub recipe: Option<Utf8PathBuf>,
    /// The release identifier; for milestones, that of the next one.
    pub release: ReleaseId,
    /// Its position in the configuration.
    pub at: Position,
    watch: Watch,
}

/// The part of a configuration file that concerns the service.
#[derive(Deserialize)]
struct File {
    service: Option<ServiceTable>,
    branch: Option<Vec<Spanned<BranchTable>>>,
    milestone: Option<Vec<Spanned<MilestoneTable>>>,
    lab: Option<Vec<Spanned<LabTable>>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ServiceTable {
    max_builds: Option<Within<usize, 1, 1000>>,
    on_stop: OnStop,
    prune: Option<Spanned<String>>,
    overdue: Option<PositiveDuration>,
    min_free_percent: Option<Within<u8, 1, 99>>,
    survey: Option<PositiveDuration>,
    hook: Vec<String>,
    hook_timeout: Option<PositiveDuration>,
    spool: Option<Utf8PathBuf>,
    running_logs: Option<bool>,
    cancel_group: Option<String>,
    metrics: Option<Utf8PathBuf>,
    dashboard: Option<Utf8PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BranchTable {
    name: Option<Spanned<String>>,
    recipe: Option<Utf8PathBuf>,
    jitter: Option<PositiveDuration>,
    schedule: Option<Spanned<String>>,
    poll: Option<PositiveDuration>,
    watch: Option<Spanned<Vec<Spanned<String>>>>,
    manifest: Option<Spanned<String>>,
    manifest_file: Option<String>,
    #[serde(default)]
    paths: Vec<Spanned<String>>,
    quiet: Option<PositiveDuration>,
    quiet_max: Option<PositiveDuration>,
    #[serde(default)]
    retry_failed: bool,
    max_age: Option<PositiveDuration>,
    after: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MilestoneTable {
    branch: Option<String>,
    name: Option<Spanned<String>>,
    recipe: Option<Utf8PathBuf>,
    jitter: Option<PositiveDuration>,
    schedule: Option<Spanned<String>>,
}

const HOUR: Duration = Duration::from_hours(1);

impl ServiceConfig {
    /// Reads the tables `service`, `branch`, `milestone` and `lab` of a configuration, and ignores the rest. `None` if it has
    /// none of them.
    ///
    /// # Errors
    /// All mistakes in them.
    pub fn from_toml(text: &str) -> Result<Option<Self>, ConfigErrors> {
        let (config, errors) = Self::read(text);
        errors.or(Some(config))
    }

    /// Like [`from_toml`](Self::from_toml), but also returns the readable part in spite of mistakes, so that the recipes and
    /// paths that it names can be checked as well.
    pub fn read(text: &str) -> (Option<Self>, ConfigErrors) {
        let mut faults = Faults::default();
        let file = from_toml::<File>(text, &mut faults);
        let config = file.and_then(|file| file.config(text, &mut faults));
        (config, faults.locate(text))
    }

    /// Makes relative paths absolute, based on the file's directory: the hook's program, the spool, the metrics, the dashboard,
    /// recipes, and repositories and manifests that are not URLs.
    pub fn resolve(&mut self, dir: &Utf8Path) {
        // A program without a slash is found through `PATH`.
        if let Some(program) = self.hook.first_mut().filter(|word| word.contains('/')) {
            *program = dir.join(&program).into_string();
        }
        let paths = [&mut self.spool, &mut self.metrics, &mut self.dashboard];
        for path in paths.into_iter().flatten() {
            *path = dir.join(&path);
        }
        self.labs.iter_mut().for_each(|lab| lab.resolve(dir));
        for branch in &mut self.branches {
            if let Some(recipe) = &mut branch.recipe {
                *recipe = dir.join(&recipe);
            }
            match &mut branch.watch.upstream {
                Some(Upstream::Repositories(urls)) => {
                    for url in urls {
                        located(url, dir);
                    }
                }
                Some(Upstream::Manifest { url, .. }) => located(url, dir),
                None => {}
            }
        }
    }

    /// The setup that the service runs with; `resolve` finds the recipe of a branch, and its channel.
    ///
    /// # Errors
    /// Branches that cannot be resolved, or that would be published in the channel of another one.
    pub fn setup(
        &self,
        resolve: impl Fn(&BranchConfig) -> Result<(Utf8PathBuf, Channel), String>,
    ) -> Result<Setup, ConfigErrors> {
        let mut watches: Vec<Watch> = Vec::new();
        let mut places = Vec::new();
        let mut errors = ConfigErrors::default();
        for branch in &self.branches {
            let mut fault = |message| {
                errors.extend([ConfigError {
                    file: None,
                    at: Some(branch.at),
                    message,
                }]);
            };
            match resolve(branch) {
                Err(why) => fault(why),
                Ok((recipe, channel)) => {
                    let mut watch = branch.watch.clone();
                    watch.key = match &watch.milestone {
                        Some(pattern) => {
                            format!("milestone {pattern} of {} ({})", watch.git, channel.distro)
                        }
                        None => channel.to_string(),
                    };
                    (watch.recipe, watch.channel) = (recipe, channel);
                    if watches.iter().any(|known| known.key == watch.key) {
                        fault(format!("{} is built by another entry already", watch.key));
                    }
                    watches.push(watch);
                    places.push(branch.at);
                }
            }
        }
        errors.extend(circular(&watches, &places));
        let settings = self.settings.clone();
        let labs = self.labs.clone();
        errors.or(Some(Setup {
            settings,
            watches,
            labs,
        }))
    }
}

/// The mistake of channels that are built after each other in a circle, reported at an entry of the circle.
fn circular(watches: &[Watch], places: &[Position]) -> Option<ConfigError> {
    let after = |watch: &Watch| Some((watch.channel.clone(), watch.after.clone()?));
    let circle = circle(&watches.iter().filter_map(after).collect())?;
    let names: Vec<_> = circle.iter().map(ToString::to_string).collect();
    let mut entries = watches.iter().zip(places);
    let entry = entries.find(|(watch, _)| watch.channel == circle[0]);
    Some(ConfigError {
        file: None,
        at: entry.map(|(_, at)| *at),
        message: format!(
            "`after` forms a circle, so no build could be the first: {}",
            names.join(" after ")
        ),
    })
}

impl File {
    fn config(self, text: &str, faults: &mut Faults) -> Option<ServiceConfig> {
        let is_empty = self.service.is_none() && self.lab.is_none();
        if is_empty && self.branch.is_none() && self.milestone.is_none() {
            return None;
        }
        let mut config = self.service.unwrap_or_default().config(faults);
        for table in self.branch.unwrap_or_default() {
            let at = table.span().start;
            let branch = table.into_inner().branch(at, faults);
            config
                .branches
                .extend(branch.map(|branch| branch.at(text, at)));
        }
        for table in self.milestone.unwrap_or_default() {
            let at = table.span().start;
            let branch = table.into_inner().branch(at, faults);
            config
                .branches
                .extend(branch.map(|branch| branch.at(text, at)));
        }
        config.labs = labs(self.lab.unwrap_or_default(), faults);
        Some(config)
    }
}

impl ServiceTable {
    fn config(self, faults: &mut Faults) -> ServiceConfig {
        ServiceConfig {
            settings: Settings {
                max_builds: self.max_builds.map_or(1, Within::get),
                on_stop: self.on_stop,
                on_interrupted: OnInterrupted::default(),
                prune: schedule(self.prune.as_ref(), Duration::ZERO, "prune", faults),
                overdue: or(self.overdue, 12 * HOUR),
                min_free_percent: self.min_free_percent.map_or(10, Within::get),
                tick: Duration::from_secs(1),
                survey: or(self.survey, Duration::from_mins(1)),
            },
            hook: self.hook,
            hook_timeout: or(self.hook_timeout, Duration::from_secs(30)),
            spool: self.spool,
            running_logs: self.running_logs.unwrap_or(true),
            cancel_group: self.cancel_group,
            metrics: self.metrics,
            dashboard: self.dashboard,
            branches: Vec::new(),
            labs: Vec::new(),
        }
    }
}

impl BranchConfig {
    /// A branch whose recipe determines the channel.
    fn new(git: String, recipe: Option<Utf8PathBuf>, release: ReleaseId) -> Self {
        let watch = Watch::new(Target {
            channel: Channel::new(release.clone(), "unknown".parse().expect("a distro")),
            git: git.clone(),
            recipe: Utf8PathBuf::new(),
        });
        Self {
            git,
            recipe,
            release,
            at: Position { line: 1, column: 1 },
            watch,
        }
    }

    /// The channel below: each new success there starts a build, and builds are built upon its newest success.
    pub fn after(&self) -> Option<&Channel> {
        self.watch.after.as_ref()
    }

    /// The globs of the changed files that start a build.
    pub fn paths(&self) -> &PathRules {
        &self.watch.paths
    }

    fn at(mut self, text: &str, at: usize) -> Self {
        self.at = Position::of(text, at);
        self
    }
}

impl BranchTable {
    fn branch(self, at: usize, faults: &mut Faults) -> Option<BranchConfig> {
        let release = match &self.name {
            None => {
                faults.missing(at, "name");
                None
            }
            Some(name) => ReleaseId::from_git(name.get_ref())
                .map_err(|error| faults.add(name.span().start, error))
                .ok(),
        };
        let git = self.name.as_ref().map_or("", |name| name.get_ref());
        let jitter = or(self.jitter, Duration::ZERO);
        let schedule = schedule(self.schedule.as_ref(), jitter, git, faults);
        let upstream = self.upstream(at, faults);
        if self.poll.is_some() && upstream.is_none() {
            let message = "`poll` needs `watch`, a list of repositories, or `manifest`";
            faults.add(at, message);
        }
        let paths = read_paths(&self.paths, at, faults);
        let quiet = or(self.quiet, Duration::ZERO);
        let quiet_max = or(self.quiet_max, quiet * 6);
        if quiet_max < quiet {
            faults.add(at, "`quiet_max` is shorter than `quiet`");
        }
        let after = self.after.as_ref().and_then(|after| {
            let read = after.get_ref().parse();
            read.map_err(|error| faults.add(after.span().start, error))
                .ok()
        });
        let mut branch = BranchConfig::new(git.to_owned(), self.recipe, release?);
        branch.watch = Watch {
            schedule,
            poll: self.poll.map(PositiveDuration::get),
            upstream,
            after,
            paths,
            quiet,
            quiet_max,
            retry_failed: self.retry_failed,
            max_age: self.max_age.map(PositiveDuration::get),
            ..branch.watch
        };
        Some(branch)
    }

    fn upstream(&self, at: usize, faults: &mut Faults) -> Option<Upstream> {
        let watch = self.watch.as_ref();
        let named = watch.into_iter().flat_map(Spanned::get_ref);
        for url in named.chain(&self.manifest) {
            if let Err(why) = access(url.get_ref(), 0) {
                faults.add(url.span().start, why);
            }
        }
        match (watch, &self.manifest) {
            (Some(_), Some(manifest)) => {
                let message = "`watch` and `manifest` exclude each other";
                faults.add(manifest.span().start, message);
                None
            }
            (Some(urls), None) if urls.get_ref().is_empty() => {
                if !faults.is_damaged(urls.span().start) {
                    let message = "`watch` names no repository, so no commit is ever seen";
                    faults.add(at, message);
                }
                None
            }
            (Some(urls), None) => {
                let urls = urls.get_ref().iter().map(|url| url.get_ref().clone());
                Some(Upstream::Repositories(urls.collect()))
            }
            (None, Some(url)) => Some(Upstream::Manifest {
                url: url.get_ref().clone(),
                file: self
                    .manifest_file
                    .clone()
                    .unwrap_or_else(|| "default.xml".to_owned()),
            }),
            (None, None) => None,
        }
    }
}

impl MilestoneTable {
    fn branch(self, at: usize, faults: &mut Faults) -> Option<BranchConfig> {
        for (key, is_there) in [
            ("branch", self.branch.is_some()),
            ("name", self.name.is_some()),
            ("schedule", self.schedule.is_some()),
        ] {
            if !is_there {
                faults.missing(at, key);
            }
        }
        let pattern = self.name.as_ref().map_or("", |name| name.get_ref());
        let jitter = or(self.jitter, Duration::ZERO);
        let schedule = schedule(self.schedule.as_ref(), jitter, pattern, faults);
        // Any time works: all of them have the same fields.
        let release = self.name.as_ref().and_then(|name| {
            milestone_name(name.get_ref(), chrono::DateTime::UNIX_EPOCH)
                .map_err(|error| faults.add(name.span().start, error))
                .ok()
        });
        let release = ReleaseId::Milestone(release?);
        let mut branch = BranchConfig::new(self.branch?, self.recipe, release);
        branch.watch.milestone = Some(pattern.to_owned());
        branch.watch.schedule = Some(schedule?);
        branch.watch.retry_failed = true;
        Some(branch)
    }
}

fn or(duration: Option<PositiveDuration>, default: Duration) -> Duration {
    duration.map_or(default, PositiveDuration::get)
}

/// Makes a repository's path absolute. A URL, and git's form `HOST:PATH`, are unchanged.
fn located(url: &mut String, dir: &Utf8Path) {
    let before_slash = url.split('/').next().unwrap_or_default();
    if !before_slash.contains(':') {
        *url = dir.join(&url).into_string();
    }
}

fn schedule(
    text: Option<&Spanned<String>>,
    jitter: Duration,
    seed: &str,
    faults: &mut Faults,
) -> Option<Schedule> {
    let text = text?;
    Schedule::new(text.get_ref(), jitter, seed)
        .map_err(|error: ScheduleError| faults.add(text.span().start, error))
        .ok()
}

fn read_paths(globs: &[Spanned<String>], at: usize, faults: &mut Faults) -> PathRules {
    let texts: Vec<_> = globs.iter().map(|glob| glob.get_ref().as_str()).collect();
    if texts.is_empty() {
        return PathRules::default();
    }
    match PathRules::new(&texts) {
        Ok(rules) => rules,
        Err(error) => {
            let (PathRulesError::Malformed { glob, .. } | PathRulesError::Nothing { glob }) =
                &error;
            let named = globs.iter().find(|text| text.get_ref() == glob);
            faults.add(named.map_or(at, |glob| glob.span().start), error);
            PathRules::default()
        }
    }
}
