//! Build plans: commands made from a recipe and a request, with nothing left to choose.

mod order;
mod planner;
mod show;

use std::collections::BTreeMap;
use std::time::Duration;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};
use stx_layout::{BuildDate, BuildId, BuildPath, Channel};

use crate::recipe::{On, PushedImages, Recipe};
use crate::{Below, Env, Invocation};
use order::ordered;
use planner::Planner;

/// A build to make: its channel, its date, and its directories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRequest {
    /// The channel, as [`Recipe::channel`] returns it.
    pub channel: Channel,
    /// The git branch or tag.
    pub branch: String,
    /// The start of the source sync.
    pub date: BuildDate,
    /// The reason for the build.
    pub trigger: Option<String>,
    /// The build below, for a build of a layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Below>,
    /// Values that replace those of the recipe's variables.
    pub overrides: BTreeMap<String, String>,
    /// The recipe file's directory, absolute.
    pub recipe_dir: Utf8PathBuf,
    /// The directory of the sources, absolute; kept between builds.
    pub source_root: Utf8PathBuf,
    /// The build's own directory, absolute and empty.
    pub workspace: Utf8PathBuf,
    /// The directory of the phases' logs, absolute.
    pub logs: Utf8PathBuf,
    /// The directory that is kept between builds of the channel, absolute: `STATE_DIR`.
    #[serde(default)]
    pub state_dir: Utf8PathBuf,
    /// The number of the machine's processors.
    pub jobs: usize,
    /// `PATH`, `HOME` and `USER` of the phases; other variables are left out.
    pub base_env: BTreeMap<String, String>,
}

impl BuildRequest {
    /// A build in the directories `sources`, `work` and `logs` below `dir`, an absolute path that is also the directory of the
    /// recipe. One phase runs at a time, with the recipe's environment only; set the fields to change this.
    pub fn new(
        channel: Channel,
        branch: impl Into<String>,
        date: BuildDate,
        dir: impl Into<Utf8PathBuf>,
    ) -> Self {
        let dir = dir.into();
        Self {
            channel,
            branch: branch.into(),
            date,
            trigger: None,
            after: None,
            overrides: BTreeMap::new(),
            source_root: dir.join("sources"),
            workspace: dir.join("work"),
            logs: dir.join("logs"),
            state_dir: dir.join("kept"),
            recipe_dir: dir,
            jobs: 1,
            base_env: BTreeMap::new(),
        }
    }
}

/// Everything that a build does. `Display` writes it for people, as `--dry-run` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildPlan {
    /// The build.
    pub id: BuildId,
    /// The recipe's name.
    pub recipe: String,
    /// The git branch or tag.
    pub branch: String,
    /// The reason for the build.
    pub trigger: Option<String>,
    /// The build below, for a build of a layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Below>,
    /// The directory of the sources.
    pub source_root: Utf8PathBuf,
    /// Git work trees, as globs below the source root.
    pub repositories: Vec<String>,
    /// The build's own directory.
    pub workspace: Utf8PathBuf,
    /// The most phases that run at the same time.
    pub jobs: usize,
    /// The time limit of the whole build.
    #[serde(with = "crate::duration_text", default)]
    pub timeout: Option<Duration>,
    /// The variables that every phase has in its environment, with the same value.
    pub env: Env,
    /// Directories that exist when the build starts, and are kept after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state_dirs: Vec<Utf8PathBuf>,
    /// Commands that remove leftovers of an earlier build that the builder itself cannot remove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clean: Vec<Invocation>,
    /// The phases whose files are offered, once they are over, while the build runs; `None` without a preview.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Vec<String>>,
    /// The container images that the phases push; `None` if the publisher sends the images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<PushedImages>,
    /// Phases of the recipe whose `if` is false.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<String>,
    /// The phases, each after those it needs; the first is the source phase.
    pub phases: Vec<PhasePlan>,
}

/// One phase of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhasePlan {
    /// Its name.
    pub name: String,
    /// True if it syncs the sources.
    pub source: bool,
    /// The process.
    pub invocation: Invocation,
    /// The phases that must end before it, including the source phase.
    pub needs: Vec<String>,
    /// Attempts after the first.
    pub retries: u32,
    /// The pause before the second attempt; it doubles before each further one, up to an hour.
    #[serde(
        with = "crate::duration_text",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub backoff: Option<Duration>,
    /// True if its failure fails the build.
    pub required: bool,
    /// True if it also runs after a failure, and when the build is cancelled.
    #[serde(default, skip_serializing_if = "is_false")]
    pub always: bool,
    /// The files it publishes.
    pub publish: Vec<PublishRule>,
}

/// Files that a phase publishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishRule {
    /// The glob as written in the recipe.
    pub from: String,
    /// The longest directory before any wildcard, absolute.
    pub base: Utf8PathBuf,
    /// The glob below [`base`](Self::base).
    pub glob: String,
    /// Globs of files to leave out, matched against the path below [`base`](Self::base) or the file name.
    pub except: Vec<String>,
    /// The directory for the paths below [`base`](Self::base).
    pub to: BuildPath,
    /// The least number of files.
    pub min: usize,
    /// True if only the names of the files are kept, without their directories.
    #[serde(default, skip_serializing_if = "is_false")]
    pub flat: bool,
    /// A file that lists the files to publish, of which none may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<Utf8PathBuf>,
    /// The result of the phase for which they are published.
    #[serde(default)]
    pub on: On,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

/// A request that cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The channel does not belong to the recipe.
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
        /// The name of the path: workspace, sources, and so on.
        what: &'static str,
        /// The path.
        path: Utf8PathBuf,
    },
    /// An override of a variable that the recipe does not have.
    #[error("recipe {recipe} has no variable {name}; it has {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
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
        /// The error of the expansion.
        reason: String,
    },
    /// The value of the `if` of a phase is neither true nor false.
    #[error(
        "phase {phase}: `if = {condition:?}` is {value:?}; expected true, yes, on, 1, or false, no, off, 0, or nothing"
    )]
    Condition {
        /// The phase.
        phase: String,
        /// The text.
        condition: String,
        /// Its value.
        value: String,
    },
    /// Phases that need each other or an unknown phase; a recipe that was read has none.
    #[error("phases {} need each other, or a phase that does not exist", phases.join(", "))]
    Order {
        /// The phases that cannot be ordered.
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
    let planner = Planner::new(recipe, request, &variables);
    let mut phases = Vec::new();
    let mut omitted: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for phase in ordered(recipe)? {
        // A phase that needs an omitted phase needs that phase's needs instead.
        let mut needs = Vec::new();
        for need in &phase.needs {
            match omitted.get(need.as_str()) {
                None => needs.push(need.clone()),
                Some(instead) => needs.extend(instead.iter().cloned()),
            }
        }
        needs.sort_by_key(|need| phase.needs.iter().position(|own| own == need));
        needs.dedup();
        if planner.runs(phase)? {
            phases.push(planner.phase(phase, needs)?);
        } else {
            omitted.insert(&phase.name, needs);
        }
    }
    let env = planner.common_env(&phases);
    let preview = recipe.preview.as_ref().map(|preview| {
        let names = phases.iter().map(|phase| &phase.name);
        let offered = names.filter(|name| preview.offers(name));
        offered.cloned().collect()
    });
    Ok(BuildPlan {
        id: BuildId::new(request.channel.clone(), request.date),
        recipe: recipe.name.clone(),
        branch: request.branch.clone(),
        trigger: request.trigger.clone(),
        after: request.after.clone(),
        source_root: planner.source_root()?,
        repositories: recipe.repositories.clone(),
        workspace: request.workspace.clone(),
        jobs: recipe.jobs.unwrap_or(request.jobs).max(1),
        timeout: recipe.timeout,
        env,
        state_dirs: recipe
            .state_dirs
            .iter()
            .map(|dir| request.state_dir.join(dir))
            .collect(),
        clean: planner.clean()?,
        preview,
        images: planner.images(&phases)?,
        omitted: omitted.into_keys().map(str::to_owned).collect(),
        phases,
    })
}

impl PhasePlan {
    /// The longest pause between attempts.
    const LONGEST_PAUSE: Duration = Duration::from_hours(1);

    /// The time limit of a phase that always runs, unless its recipe sets one.
    pub const LAST: Duration = Duration::from_mins(10);

    /// The pause after the failed attempt `attempt`, counted from 1.
    pub(crate) fn pause_after(&self, attempt: u32) -> Duration {
        let first = self.backoff.unwrap_or_default();
        let factor = 2_u32.saturating_pow(attempt.saturating_sub(1));
        first.saturating_mul(factor).min(Self::LONGEST_PAUSE)
    }
}

#[cfg(test)]
mod tests;
