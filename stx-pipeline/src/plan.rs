//! Build plans: a recipe and a request, made into commands with nothing left to choose.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use camino::Utf8PathBuf;
use chrono::SubsecRound as _;
use serde::{Deserialize, Serialize};
use stx_layout::{BuildDate, BuildId, BuildPath, Channel};

use crate::Invocation;
use crate::recipe::{Command, Phase, Publish, Recipe};
use crate::scope::{Scope, ScopeFault};

/// What is to be built, where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRequest {
    /// The channel, as [`Recipe::channel`] gives it.
    pub channel: Channel,
    /// The git branch or tag.
    pub branch: String,
    /// When the source sync starts.
    pub date: BuildDate,
    /// Why it is built.
    pub trigger: Option<String>,
    /// Values that replace those of the recipe's variables.
    pub overrides: BTreeMap<String, String>,
    /// The recipe file's directory, absolute.
    pub recipe_dir: Utf8PathBuf,
    /// Where the sources are, absolute; kept between builds.
    pub source_root: Utf8PathBuf,
    /// The build's own directory, absolute and empty.
    pub workspace: Utf8PathBuf,
    /// The directory of the phases' logs, absolute.
    pub logs: Utf8PathBuf,
    /// The machine's processors.
    pub jobs: usize,
    /// `PATH`, `HOME` and `USER` of the phases; other variables are left out.
    pub base_env: BTreeMap<String, String>,
}

/// Everything a build does. `Display` is for people, as `--dry-run` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildPlan {
    /// The build.
    pub id: BuildId,
    /// The recipe's name.
    pub recipe: String,
    /// The git branch or tag.
    pub branch: String,
    /// Why it is built.
    pub trigger: Option<String>,
    /// Where the sources are.
    pub source_root: Utf8PathBuf,
    /// Git work trees, as globs below the source root.
    pub repositories: Vec<String>,
    /// The build's own directory.
    pub workspace: Utf8PathBuf,
    /// How many phases run side by side at most.
    pub jobs: usize,
    /// How long the whole build may take.
    #[serde(with = "crate::duration_text", default)]
    pub timeout: Option<Duration>,
    /// What every phase has in its environment.
    pub env: BTreeMap<String, String>,
    /// The phases, each after those it needs; the first is the source phase.
    pub phases: Vec<PhasePlan>,
}

/// One phase of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhasePlan {
    /// Its name.
    pub name: String,
    /// Whether it syncs the sources.
    pub source: bool,
    /// The process.
    pub invocation: Invocation,
    /// The phases before it, the source phase among them.
    pub needs: Vec<String>,
    /// Attempts after the first.
    pub retries: u32,
    /// Whether its failure fails the build.
    pub required: bool,
    /// The files it publishes.
    pub publish: Vec<PublishRule>,
}

/// Files that a phase publishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishRule {
    /// The glob as the recipe has it.
    pub from: String,
    /// The longest directory before any wildcard, absolute.
    pub base: Utf8PathBuf,
    /// The glob below [`base`](Self::base).
    pub glob: String,
    /// Globs, by the path below [`base`](Self::base) or the file's name, of files that are left out.
    pub except: Vec<String>,
    /// Where the paths below [`base`](Self::base) go.
    pub to: BuildPath,
    /// How many files there are at least.
    pub min: usize,
}

/// A request that cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The channel is not one of the recipe's.
    #[error("channel {channel} is not of recipe {recipe}, which builds {expected}")]
    Channel {
        /// As requested.
        channel: Box<Channel>,
        /// The recipe's name.
        recipe: String,
        /// The recipe's channel of the same release.
        expected: Box<Channel>,
    },
    /// A path of the request is relative.
    #[error("{what} {path} is not an absolute path")]
    Relative {
        /// Which.
        what: &'static str,
        /// The path.
        path: Utf8PathBuf,
    },
    /// An override of a variable that the recipe does not have.
    #[error("recipe {recipe} has no variable {name}; it has {}", known.join(", "))]
    NoSuchVariable {
        /// The recipe's name.
        recipe: String,
        /// As requested.
        name: String,
        /// The recipe's variables.
        known: Vec<String>,
    },
    /// A text cannot be expanded, because of an override or a base variable that is missing.
    #[error("phase {phase}: {text:?}: {reason}")]
    Expand {
        /// The phase.
        phase: String,
        /// The text.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// Phases that need each other, or one that is not there; a recipe that was read has none.
    #[error("phases {} need each other, or a phase that is not there", phases.join(", "))]
    Order {
        /// Those that are left.
        phases: Vec<String>,
    },
}

/// Plans a build.
///
/// # Errors
/// See [`PlanError`].
pub fn plan(recipe: &Recipe, request: &BuildRequest) -> Result<BuildPlan, PlanError> {
    let expected = recipe.channel(request.channel.release.clone());
    if expected != request.channel {
        return Err(PlanError::Channel {
            channel: Box::new(request.channel.clone()),
            recipe: recipe.name.clone(),
            expected: Box::new(expected),
        });
    }
    for (what, path) in [
        ("recipe directory", &request.recipe_dir),
        ("source root", &request.source_root),
        ("workspace", &request.workspace),
        ("log directory", &request.logs),
    ] {
        if !path.is_absolute() {
            return Err(PlanError::Relative {
                what,
                path: path.clone(),
            });
        }
    }
    let mut variables = recipe.variables.clone();
    for (name, value) in &request.overrides {
        match variables.get_mut(name) {
            Some(variable) => variable.clone_from(value),
            None => {
                return Err(PlanError::NoSuchVariable {
                    recipe: recipe.name.clone(),
                    name: name.clone(),
                    known: recipe.variables.keys().cloned().collect(),
                });
            }
        }
    }
    let base = base_env(recipe, request);
    let mut phases = Vec::new();
    for phase in ordered(recipe)? {
        phases.push(Planner::new(recipe, request, &base, &variables, phase).phase()?);
    }
    let mut env = phases
        .first()
        .map(|phase| phase.invocation.env.clone())
        .unwrap_or_default();
    env.retain(|name, value| {
        name != "PHASE"
            && phases
                .iter()
                .all(|phase| phase.invocation.env.get(name) == Some(value))
    });
    Ok(BuildPlan {
        id: BuildId::new(request.channel.clone(), request.date),
        recipe: recipe.name.clone(),
        branch: request.branch.clone(),
        trigger: request.trigger.clone(),
        source_root: request.source_root.clone(),
        repositories: recipe.repositories.clone(),
        workspace: request.workspace.clone(),
        jobs: recipe.jobs.unwrap_or(request.jobs).max(1),
        timeout: recipe.timeout,
        env,
        phases,
    })
}

/// The variables that the build itself sets, without `PHASE`.
fn base_env(recipe: &Recipe, request: &BuildRequest) -> BTreeMap<String, String> {
    let publish_root = request.workspace.join("publish");
    let mut env: BTreeMap<_, _> = [
        ("LANG", "C.UTF-8".to_owned()),
        ("TZ", "UTC".to_owned()),
        ("PROJECT", recipe.name.clone()),
        ("BRANCH", request.branch.clone()),
        ("TIMESTAMP", request.date.to_string()),
        ("PUBLISH_TIMESTAMP", request.date.to_string()),
        ("DISTRO", recipe.distro.to_string()),
        ("MY_REPO_ROOT", request.source_root.to_string()),
        ("MY_WORKSPACE", request.workspace.to_string()),
        (
            "PUBLISH_DISTRO_BASE",
            format!("{publish_root}/{}", request.channel),
        ),
        ("PUBLISH_ROOT", publish_root.into_string()),
        ("RECIPE_DIR", request.recipe_dir.to_string()),
        ("JOBS", request.jobs.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    for name in ["PATH", "HOME", "USER"] {
        if let Some(value) = request.base_env.get(name) {
            env.insert(name.to_owned(), value.clone());
        }
    }
    env
}

/// The phases, the source phase first, each after its needs, else in the order of the recipe.
fn ordered(recipe: &Recipe) -> Result<Vec<&Phase>, PlanError> {
    let mut left: Vec<&Phase> = recipe.phases.iter().collect();
    left.sort_by_key(|phase| phase.name != recipe.source_phase);
    let mut order: Vec<&Phase> = Vec::new();
    while !left.is_empty() {
        let ready = left.iter().position(|phase| {
            phase
                .needs
                .iter()
                .all(|need| order.iter().any(|done| done.name == *need))
        });
        let Some(ready) = ready else {
            return Err(PlanError::Order {
                phases: left.iter().map(|phase| phase.name.clone()).collect(),
            });
        };
        order.push(left.remove(ready));
    }
    Ok(order)
}

struct Planner<'a> {
    recipe: &'a Recipe,
    request: &'a BuildRequest,
    base: BTreeMap<String, String>,
    variables: &'a BTreeMap<String, String>,
    phase: &'a Phase,
}

impl<'a> Planner<'a> {
    fn new(
        recipe: &'a Recipe,
        request: &'a BuildRequest,
        base: &BTreeMap<String, String>,
        variables: &'a BTreeMap<String, String>,
        phase: &'a Phase,
    ) -> Self {
        let mut base = base.clone();
        base.insert("PHASE".to_owned(), phase.name.clone());
        // Put in when the sources are known.
        base.insert(
            Invocation::SOURCE_DATE_EPOCH.to_owned(),
            "${SOURCE_DATE_EPOCH}".to_owned(),
        );
        Self {
            recipe,
            request,
            base,
            variables,
            phase,
        }
    }

    fn expand(&self, text: &str, escape: fn(&str) -> String) -> Result<String, PlanError> {
        let layers = [&self.base, self.variables, &self.phase.env];
        Scope { layers: &layers }
            .expand_with(text, escape)
            .map_err(|fault: ScopeFault| PlanError::Expand {
                phase: self.phase.name.clone(),
                text: text.to_owned(),
                reason: fault.to_string(),
            })
    }

    fn plain(&self, text: &str) -> Result<String, PlanError> {
        self.expand(text, str::to_owned)
    }

    fn phase(&self) -> Result<PhasePlan, PlanError> {
        let source = self.phase.name == self.recipe.source_phase;
        let mut env = BTreeMap::new();
        for name in self
            .base
            .keys()
            .chain(self.variables.keys())
            .chain(self.phase.env.keys())
        {
            env.insert(name.clone(), self.plain(&format!("${{{name}}}"))?);
        }
        env.remove(Invocation::SOURCE_DATE_EPOCH);
        let mut words = match &self.phase.command {
            Command::Run(words) => words
                .iter()
                .map(|word| self.plain(word))
                .collect::<Result<Vec<_>, _>>()?,
            Command::Script(script) => ["bash", "-euo", "pipefail", "-c", script]
                .map(str::to_owned)
                .to_vec(),
        };
        let program = if words.is_empty() {
            String::new()
        } else {
            words.remove(0)
        };
        let dir = match &self.phase.dir {
            None => self.request.workspace.clone(),
            Some(dir) => self.request.workspace.join(self.plain(dir)?),
        };
        let mut needs = self.phase.needs.clone();
        if !source && !needs.contains(&self.recipe.source_phase) {
            needs.insert(0, self.recipe.source_phase.clone());
        }
        Ok(PhasePlan {
            name: self.phase.name.clone(),
            source,
            invocation: Invocation {
                program,
                args: words,
                env,
                dir,
                log: self.request.logs.join(format!("{}.log", self.phase.name)),
                timeout: self.phase.timeout,
            },
            needs,
            retries: self.phase.retries,
            required: self.phase.required,
            publish: self
                .phase
                .publish
                .iter()
                .map(|publish| self.publish(publish))
                .collect::<Result<_, _>>()?,
        })
    }

    fn publish(&self, publish: &Publish) -> Result<PublishRule, PlanError> {
        let (base, glob) = match split(&publish.from) {
            (prefix, Some(glob)) => (
                self.request.workspace.join(self.plain(prefix)?),
                self.expand(glob, globset::escape)?,
            ),
            (whole, None) => {
                let path = self.request.workspace.join(self.plain(whole)?);
                let name = path.file_name().unwrap_or_default().to_owned();
                (
                    path.parent().map(Utf8PathBuf::from).unwrap_or_default(),
                    globset::escape(&name),
                )
            }
        };
        // A workspace joined to an empty prefix ends in a slash.
        let base = base.components().collect();
        Ok(PublishRule {
            from: publish.from.clone(),
            base,
            glob,
            except: publish.except.clone(),
            to: publish.to.clone(),
            min: publish.min,
        })
    }
}

/// A glob as the directories before its first wildcard and the rest; no rest without a wildcard.
fn split(from: &str) -> (&str, Option<&str>) {
    let mut start = 0;
    for segment in from.split('/') {
        let mut text = segment.to_owned();
        for part in crate::scope::parts(segment).unwrap_or_default() {
            if let crate::scope::Part::Variable(name) = part {
                text = text.replace(&format!("${{{name}}}"), "");
            }
        }
        if text.contains(['*', '?', '[', '{', '\\']) {
            return (from[..start].trim_end_matches('/'), Some(&from[start..]));
        }
        start += segment.len() + 1;
    }
    (from, None)
}

impl fmt::Display for BuildPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "build {} of branch {}, recipe {}",
            self.id, self.branch, self.recipe
        )?;
        writeln!(
            f,
            "  started {}",
            self.id
                .date
                .time()
                .trunc_subsecs(0)
                .format("%Y-%m-%d %H:%M:%S UTC")
        )?;
        if let Some(trigger) = &self.trigger {
            writeln!(f, "  trigger {trigger}")?;
        }
        if let Some(timeout) = self.timeout {
            writeln!(f, "  timeout {}", humantime::format_duration(timeout))?;
        }
        writeln!(f, "  up to {} phases side by side", self.jobs)?;
        writeln!(
            f,
            "  sources {} in {}",
            self.repositories.join(" "),
            self.source_root
        )?;
        writeln!(f, "\nevery phase has")?;
        for (name, value) in &self.env {
            writeln!(f, "  {name}={}", shell_words::quote(value))?;
        }
        for (index, phase) in self.phases.iter().enumerate() {
            writeln!(f)?;
            phase.write(f, index + 1, &self.env)?;
        }
        Ok(())
    }
}

impl PhasePlan {
    fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        number: usize,
        common: &BTreeMap<String, String>,
    ) -> fmt::Result {
        write!(f, "{number}. {}", self.name)?;
        if self.source {
            f.write_str(" (source phase)")?;
        }
        if !self.required {
            f.write_str(" (optional)")?;
        }
        if !self.needs.is_empty() {
            write!(f, " after {}", self.needs.join(", "))?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "   in {}",
            shell_words::quote(self.invocation.dir.as_str())
        )?;
        for (name, value) in &self.invocation.env {
            if name != "PHASE" && common.get(name) != Some(value) {
                writeln!(f, "   {name}={}", shell_words::quote(value))?;
            }
        }
        writeln!(
            f,
            "   $ {}",
            self.invocation
                .to_string()
                .trim_end()
                .replace('\n', "\n     ")
        )?;
        if let Some(timeout) = self.invocation.timeout {
            writeln!(f, "   timeout {}", humantime::format_duration(timeout))?;
        }
        if self.retries > 0 {
            writeln!(f, "   up to {} attempts", self.retries + 1)?;
        }
        for rule in &self.publish {
            write!(f, "   publishes {} to {}", rule.from, rule.to)?;
            if !rule.except.is_empty() {
                write!(f, " except {}", rule.except.join(" "))?;
            }
            if rule.min > 0 {
                write!(f, ", at least {}", rule.min)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
