//! The service's part of `stx-builds.toml`: `[service]`, `[[branch]]` and `[[milestone]]`.

use std::fmt;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use stx_layout::{Channel, ReleaseId};
use toml::de::{DeTable, DeValue};

use super::fields::{Faults, Fields, tables};
use super::{OnInterrupted, OnStop, Settings, Setup};
use crate::schedule::{Schedule, ScheduleError};
use crate::trigger::{PathRules, PathRulesError, Upstream, Watch, access, milestone_name};
use stx_pipeline::Finding;

/// The service's part of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceConfig {
    /// The limits and choices for all builds.
    pub settings: Settings,
    /// The command that is given notices, with its arguments; empty for none.
    pub hook: Vec<String>,
    /// How long it may take.
    pub hook_timeout: Duration,
    /// Where requests are left; `None` for beside the state directory.
    pub spool: Option<Utf8PathBuf>,
    /// The group whose members may cancel what others asked for; `None` for nobody but root and the service's user.
    pub cancel_group: Option<String>,
    /// The file that metrics are written to.
    pub metrics: Option<Utf8PathBuf>,
    /// The branches to build.
    pub branches: Vec<BranchConfig>,
}

/// The configuration of a branch, or of its milestones.
#[derive(Debug, Clone, PartialEq)]
pub struct BranchConfig {
    /// The git branch or tag.
    pub git: String,
    /// The recipe; `None` for that of the configuration.
    pub recipe: Option<Utf8PathBuf>,
    /// The release identifier; of a milestone that of the next one.
    pub release: ReleaseId,
    /// The line and column where it stands.
    pub at: (usize, usize),
    watch: Watch,
}

/// A configuration that is wrong: every mistake in it, in the order of the text. `Display` has one on each line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The mistakes; never empty.
    pub findings: Vec<Finding>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.findings.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

const HOUR: Duration = Duration::from_hours(1);

impl ServiceConfig {
    /// Reads the tables `service`, `branch` and `milestone` of a configuration, and leaves the rest alone.
    ///
    /// `None` without any of them.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn from_toml(text: &str) -> Result<Option<Self>, ConfigError> {
        let (config, findings) = Self::read(text);
        if findings.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError { findings })
        }
    }

    /// As [`from_toml`](Self::from_toml), but with what could be read beside every mistake, so that what it names can be
    /// searched for more of them.
    pub fn read(text: &str) -> (Option<Self>, Vec<Finding>) {
        let mut faults = Faults::default();
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            faults.add(error.span().map_or(0, |span| span.start), error.message());
        }
        if !faults.is_empty() {
            return (None, faults.findings(text));
        }
        let root = document.get_ref();
        let mine = ["service", "branch", "milestone"];
        if !root
            .keys()
            .any(|key| mine.contains(&key.get_ref().as_ref()))
        {
            return (None, Vec::new());
        }
        let empty = DeTable::new();
        let service = root.iter().find(|(name, _)| name.get_ref() == "service");
        let (at, service) = match service.map(|(_, value)| (value.span().start, value.get_ref())) {
            None => (0, &empty),
            Some((at, DeValue::Table(table))) => (at, table),
            Some((at, _)) => {
                faults.add(at, "`service` has to be a table");
                (at, &empty)
            }
        };
        let mut config = read_service(Fields::new(service, at, &mut faults));
        for (at, table) in tables(root, "branch", &mut faults) {
            let branch = read_branch(Fields::new(table, at, &mut faults));
            config
                .branches
                .extend(branch.map(|branch| branch.placed(text, at)));
        }
        for (at, table) in tables(root, "milestone", &mut faults) {
            let branch = read_milestone(Fields::new(table, at, &mut faults));
            config
                .branches
                .extend(branch.map(|branch| branch.placed(text, at)));
        }
        (Some(config), faults.findings(text))
    }

    /// Makes paths that are relative to the file's directory absolute: the hook's program, the spool, the metrics, recipes, and
    /// repositories and manifests that are not URLs.
    pub fn resolve(&mut self, dir: &Utf8Path) {
        // A program without a slash is one of the `PATH`.
        if let Some(program) = self.hook.first_mut().filter(|word| word.contains('/')) {
            *program = dir.join(&program).into_string();
        }
        for path in [&mut self.spool, &mut self.metrics].into_iter().flatten() {
            *path = dir.join(&path);
        }
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
    /// Branches that cannot be resolved, or that are published in the place of another one.
    pub fn setup(
        &self,
        resolve: impl Fn(&BranchConfig) -> Result<(Utf8PathBuf, Channel), String>,
    ) -> Result<Setup, ConfigError> {
        let mut watches: Vec<Watch> = Vec::new();
        let mut findings = Vec::new();
        for branch in &self.branches {
            let (line, column) = branch.at;
            let mut fault = |message| {
                findings.push(Finding {
                    message,
                    line,
                    column,
                });
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
                }
            }
        }
        if findings.is_empty() {
            let settings = self.settings.clone();
            Ok(Setup { settings, watches })
        } else {
            Err(ConfigError { findings })
        }
    }
}

impl BranchConfig {
    fn placed(mut self, text: &str, at: usize) -> Self {
        let finding = Finding::at(text, at, String::new());
        self.at = (finding.line, finding.column);
        self
    }
}

fn read_service(mut fields: Fields<'_, '_, '_>) -> ServiceConfig {
    let stop = [("finish", OnStop::Finish), ("interrupt", OnStop::Interrupt)];
    let config = ServiceConfig {
        settings: Settings {
            max_builds: fields.number("max_builds", 1000).unwrap_or(1),
            on_stop: fields.word("on_stop", &stop).unwrap_or_default(),
            on_interrupted: OnInterrupted::default(),
            prune: schedule(&mut fields, "prune", Duration::ZERO, "prune"),
            overdue: fields.duration("overdue").unwrap_or(12 * HOUR),
            min_free_percent: fields
                .number("min_free_percent", 99)
                .and_then(|percent| u8::try_from(percent).ok())
                .unwrap_or(10),
            tick: Duration::from_secs(1),
            survey: fields.duration("survey").unwrap_or(Duration::from_mins(1)),
        },
        hook: fields
            .texts("hook")
            .unwrap_or_default()
            .into_iter()
            .map(|(_, text)| text)
            .collect(),
        hook_timeout: fields
            .duration("hook_timeout")
            .unwrap_or(Duration::from_secs(30)),
        spool: fields.text("spool").map(|(_, path)| path.into()),
        cancel_group: fields.text("cancel_group").map(|(_, name)| name),
        metrics: fields.text("metrics").map(|(_, path)| path.into()),
        branches: Vec::new(),
    };
    fields.done();
    config
}

fn read_branch(mut fields: Fields<'_, '_, '_>) -> Option<BranchConfig> {
    let name = fields.needed("name");
    let (at, git) = name.unwrap_or((fields.at, "master".to_owned()));
    let release = ReleaseId::from_git(&git)
        .map_err(|error| fields.faults.add(at, error))
        .ok();
    let recipe = fields.text("recipe").map(|(_, path)| path.into());
    let jitter = fields.duration("jitter").unwrap_or_default();
    let schedule = schedule(&mut fields, "schedule", jitter, &git);
    let poll = fields.duration("poll");
    let upstream = read_upstream(&mut fields);
    if poll.is_some() && upstream.is_none() {
        let message = "`poll` needs `watch`, a list of repositories, or `manifest`";
        fields.faults.add(fields.at, message);
    }
    let paths = read_paths(&mut fields);
    let quiet = fields.duration("quiet").unwrap_or_default();
    let quiet_max = fields.duration("quiet_max").unwrap_or(quiet * 6);
    if quiet_max < quiet {
        fields
            .faults
            .add(fields.at, "`quiet_max` is shorter than `quiet`");
    }
    let retry_failed = fields.flag("retry_failed").unwrap_or(false);
    let max_age = fields.duration("max_age");
    fields.done();
    let release = release?;
    let watch = Watch {
        key: String::new(),
        git: git.clone(),
        channel: placeholder(&release),
        recipe: Utf8PathBuf::new(),
        milestone: None,
        schedule,
        poll,
        upstream,
        paths,
        quiet,
        quiet_max,
        retry_failed,
        max_age,
    };
    Some(BranchConfig {
        git,
        recipe,
        release,
        at: (0, 0),
        watch,
    })
}

fn read_milestone(mut fields: Fields<'_, '_, '_>) -> Option<BranchConfig> {
    let branch = fields.needed("branch");
    let name = fields.needed("name");
    let recipe = fields.text("recipe").map(|(_, path)| path.into());
    let jitter = fields.duration("jitter").unwrap_or_default();
    fields.needed("schedule");
    let seed = name.as_ref().map_or("", |(_, name)| name);
    let schedule = schedule(&mut fields, "schedule", jitter, seed);
    let milestone = name.and_then(|(at, pattern)| {
        // Any time does: all of them have the same fields.
        milestone_name(&pattern, chrono::DateTime::UNIX_EPOCH)
            .map_err(|error| fields.faults.add(at, error))
            .ok()
            .map(|name| (pattern, ReleaseId::Milestone(name)))
    });
    fields.done();
    let (_, git) = branch?;
    let (pattern, release) = milestone?;
    let watch = Watch {
        key: String::new(),
        git: git.clone(),
        channel: placeholder(&release),
        recipe: Utf8PathBuf::new(),
        milestone: Some(pattern),
        schedule: Some(schedule?),
        poll: None,
        upstream: None,
        paths: PathRules::default(),
        quiet: Duration::ZERO,
        quiet_max: Duration::ZERO,
        retry_failed: true,
        max_age: None,
    };
    Some(BranchConfig {
        git,
        recipe,
        release,
        at: (0, 0),
        watch,
    })
}

/// Makes a repository's path absolute. A URL, and `HOST:PATH` as git reads it, stay.
fn located(url: &mut String, dir: &Utf8Path) {
    let before_slash = url.split('/').next().unwrap_or_default();
    if !before_slash.contains(':') {
        *url = dir.join(&url).into_string();
    }
}

/// A channel until the recipe says which.
fn placeholder(release: &ReleaseId) -> Channel {
    Channel::new(release.clone(), "unknown".parse().expect("a distro"))
}

fn schedule(
    fields: &mut Fields<'_, '_, '_>,
    key: &'static str,
    jitter: Duration,
    seed: &str,
) -> Option<Schedule> {
    let (at, text) = fields.text(key)?;
    Schedule::new(&text, jitter, seed)
        .map_err(|error: ScheduleError| fields.faults.add(at, error))
        .ok()
}

fn read_upstream(fields: &mut Fields<'_, '_, '_>) -> Option<Upstream> {
    let watch = fields.texts("watch");
    let manifest = fields.text("manifest");
    let file = fields.text("manifest_file");
    let named = watch.iter().flatten().chain(manifest.iter());
    for (at, url) in named {
        if let Err(why) = access(url, 0) {
            fields.faults.add(*at, why);
        }
    }
    match (watch, manifest) {
        (Some(_), Some((at, _))) => {
            let message = "`watch` and `manifest` exclude each other";
            fields.faults.add(at, message);
            None
        }
        (Some(urls), None) if urls.is_empty() => {
            fields.faults.add(
                fields.at,
                "`watch` names no repository, so no commit is ever seen",
            );
            None
        }
        (Some(urls), None) => Some(Upstream::Repositories(
            urls.into_iter().map(|(_, url)| url).collect(),
        )),
        (None, Some((_, url))) => Some(Upstream::Manifest {
            url,
            file: file.map_or_else(|| "default.xml".to_owned(), |(_, file)| file),
        }),
        (None, None) => None,
    }
}

fn read_paths(fields: &mut Fields<'_, '_, '_>) -> PathRules {
    let Some(globs) = fields.texts("paths") else {
        return PathRules::default();
    };
    let texts: Vec<_> = globs.iter().map(|(_, glob)| glob.as_str()).collect();
    match PathRules::new(&texts) {
        Ok(rules) => rules,
        Err(error) => {
            let (PathRulesError::Malformed { glob, .. } | PathRulesError::Nothing { glob }) =
                &error;
            let at = globs.iter().find(|(_, text)| text == glob);
            fields
                .faults
                .add(at.map_or(fields.at, |(at, _)| *at), error);
            PathRules::default()
        }
    }
}
