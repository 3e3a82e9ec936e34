//! Turns phases of a recipe into processes.

use std::collections::BTreeMap;
use std::sync::Arc;

use camino::Utf8PathBuf;
use stx_layout::Channel;
use stx_layout::derived::IMAGE_DIRECTORY;

use super::{BuildRequest, PhasePlan, PlanError, PublishRule};
use crate::Below;
use crate::invocation::{Env, Invocation};
use crate::recipe::{CLEAN, Command, Phase, Preview, Publish, PushedImages, Recipe};
use crate::scope::{Part, Scope, ScopeFault, parts};

/// A placeholder for the value that is known once the sources are.
const EPOCH: &str = "${SOURCE_DATE_EPOCH}";

/// A placeholder for the value that is known once the preview's server listens.
const PREVIEW: &str = "${PREVIEW_URL}";

pub(super) struct Planner<'a> {
    recipe: &'a Recipe,
    request: &'a BuildRequest,
    /// The variables that the build sets, without `PHASE`.
    base: BTreeMap<String, String>,
    variables: &'a BTreeMap<String, String>,
    /// The environment of a phase without variables of its own, without `PHASE`; `None` if it depends on the phase's name.
    shared: Option<Env>,
    /// The name `PHASE`.
    phase: Arc<str>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        recipe: &'a Recipe,
        request: &'a BuildRequest,
        variables: &'a BTreeMap<String, String>,
    ) -> Self {
        let mut base = base_env(recipe, request);
        base.insert(Invocation::SOURCE_DATE_EPOCH.to_owned(), EPOCH.to_owned());
        if recipe.preview.is_some() {
            base.insert(Preview::URL.to_owned(), PREVIEW.to_owned());
        }
        // An error of a variable is reported later, for the phase that has it.
        let shared = Scope {
            layers: &[&base, variables],
        }
        .environment()
        .ok()
        .map(shared);
        Self {
            recipe,
            request,
            base,
            variables,
            shared,
            phase: "PHASE".into(),
        }
    }

    /// Expands a text of a phase; `escape` is applied to the values.
    fn expand(
        &self,
        phase: &Phase,
        text: &str,
        escape: fn(&str) -> String,
    ) -> Result<String, PlanError> {
        if !text.contains("${") {
            return Ok(text.to_owned());
        }
        if let Some(shared) = self.shared.as_ref().filter(|_| phase.env.is_empty()) {
            let value = |name: &str| match name {
                "PHASE" => Some(phase.name.as_str()),
                name => shared.get(name).map(|value| &**value),
            };
            if let Some(text) = from_values(text, value, escape) {
                return Ok(text);
            }
        }
        let mut base = self.base.clone();
        base.insert("PHASE".to_owned(), phase.name.clone());
        let layers = [&base, self.variables, &phase.env];
        Scope { layers: &layers }
            .expand_with(text, escape)
            .map_err(|fault| failed(phase, text, &fault))
    }

    fn plain(&self, phase: &Phase, text: &str) -> Result<String, PlanError> {
        self.expand(phase, text, str::to_owned)
    }

    /// Expands a text that must be known before the phase runs.
    fn planned(&self, phase: &Phase, text: &str) -> Result<String, PlanError> {
        let planned = self.plain(phase, text)?;
        if planned.contains(PREVIEW) {
            return Err(PlanError::Expand {
                phase: phase.name.clone(),
                text: text.to_owned(),
                reason:
                    "`${PREVIEW_URL}` is known only when the phase runs, in `run` and in variables"
                        .to_owned(),
            });
        }
        Ok(planned)
    }

    fn env(&self, phase: &Phase) -> Result<Env, PlanError> {
        let mut env = match &self.shared {
            Some(shared) if phase.env.is_empty() => shared.clone(),
            Some(_) | None => {
                let mut base = self.base.clone();
                base.insert("PHASE".to_owned(), phase.name.clone());
                let scope = Scope {
                    layers: &[&base, self.variables, &phase.env],
                };
                let env = scope.environment();
                shared(env.map_err(|(text, fault)| failed(phase, &text, &fault))?)
            }
        };
        env.remove(Invocation::SOURCE_DATE_EPOCH);
        env.remove(Preview::URL);
        env.insert(Arc::clone(&self.phase), phase.name.as_str().into());
        Ok(env)
    }

    /// The variables that all phases have in their environment, with the same value.
    pub(super) fn common_env(&self, phases: &[PhasePlan]) -> Env {
        let mut env = phases
            .first()
            .map(|phase| phase.invocation.env.clone())
            .unwrap_or_default();
        env.remove("PHASE");
        let own: Vec<_> = match &self.shared {
            // Phases without variables of their own share the same environment.
            Some(_) => self
                .recipe
                .phases
                .iter()
                .filter(|phase| !phase.env.is_empty())
                .map(|phase| &phase.name)
                .collect(),
            None => self.recipe.phases.iter().map(|phase| &phase.name).collect(),
        };
        let own: std::collections::HashSet<_> = own.into_iter().collect();
        for phase in phases.iter().filter(|phase| own.contains(&phase.name)) {
            env.retain(|name, value| phase.invocation.env.get(name) == Some(value));
        }
        if let Some(shared) = &self.shared {
            env.retain(|name, value| shared.get(name) == Some(value));
        }
        env
    }

    /// True if a phase is in the plan.
    pub(super) fn runs(&self, phase: &Phase) -> Result<bool, PlanError> {
        let Some(condition) = &phase.condition else {
            return Ok(true);
        };
        let (text, wanted) = match condition.strip_prefix('!') {
            Some(text) => (text, false),
            None => (condition.as_str(), true),
        };
        let value = self.planned(phase, text)?;
        match value.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(wanted),
            "false" | "no" | "off" | "0" | "" => Ok(!wanted),
            _ => Err(PlanError::Condition {
                phase: phase.name.clone(),
                condition: condition.clone(),
                value,
            }),
        }
    }

    /// The environment of a phase of this name, without variables of its own.
    fn env_of(&self, name: &str) -> Result<(BTreeMap<String, String>, Env), PlanError> {
        let mut base = self.base.clone();
        base.insert("PHASE".to_owned(), name.to_owned());
        let scope = Scope {
            layers: &[&base, self.variables],
        };
        let env = scope.environment();
        let env = env.map_err(|(text, fault)| PlanError::Expand {
            phase: name.to_owned(),
            text,
            reason: fault.to_string(),
        });
        let mut env = shared(env?);
        env.remove(Invocation::SOURCE_DATE_EPOCH);
        env.remove(Preview::URL);
        Ok((base, env))
    }

    /// Expands a text that belongs to no phase.
    fn common(
        &self,
        of: &str,
        text: &str,
        base: &BTreeMap<String, String>,
    ) -> Result<String, PlanError> {
        let layers = [base, self.variables];
        let expanded = Scope { layers: &layers }.expand_with(text, str::to_owned);
        expanded.map_err(|fault| PlanError::Expand {
            phase: of.to_owned(),
            text: text.to_owned(),
            reason: fault.to_string(),
        })
    }

    /// The images that the phases push; `None` if the plan omits the phases that publish the lists of images.
    pub(super) fn images(&self, phases: &[PhasePlan]) -> Result<Option<PushedImages>, PlanError> {
        let Some(mut images) = self.recipe.images.clone() else {
            return Ok(None);
        };
        let lists = |to: &str| to.starts_with(IMAGE_DIRECTORY);
        let mut of_recipe = self.recipe.phases.iter().flat_map(|phase| &phase.publish);
        let mut planned = phases.iter().flat_map(|phase| &phase.publish);
        if of_recipe.any(|rule| lists(rule.to.as_str()))
            && !planned.any(|rule| lists(rule.to.as_str()))
        {
            return Ok(None);
        }
        if let Some(host) = &images.host {
            images.host = Some(self.common(&self.recipe.source_phase, host, &self.base)?);
        }
        Ok(Some(images))
    }

    /// The directory that the paths of the work trees are relative to.
    pub(super) fn source_root(&self) -> Result<Utf8PathBuf, PlanError> {
        let root = &self.request.source_root;
        match &self.recipe.source_root {
            None => Ok(root.clone()),
            Some(text) => {
                Ok(root.join(self.common(&self.recipe.source_phase, text, &self.base)?))
            }
        }
    }

    /// The commands that remove leftovers of an earlier build.
    pub(super) fn clean(&self) -> Result<Vec<Invocation>, PlanError> {
        let mut commands = Vec::new();
        for words in &self.recipe.clean {
            let (base, env) = self.env_of(CLEAN)?;
            let mut words = words
                .iter()
                .map(|word| self.common(CLEAN, word, &base))
                .collect::<Result<Vec<_>, _>>()?;
            commands.push(Invocation {
                program: words.remove(0),
                args: words,
                env,
                dir: self.request.workspace.clone(),
                log: self.request.logs.join(format!("{CLEAN}.log")),
                log_limit: None,
                timeout: None,
                stop_grace: None,
            });
        }
        Ok(commands)
    }

    pub(super) fn phase(
        &self,
        phase: &Phase,
        mut needs: Vec<String>,
    ) -> Result<PhasePlan, PlanError> {
        let source = phase.name == self.recipe.source_phase;
        let mut words = match &phase.command {
            Command::Run(words) => words
                .iter()
                .map(|word| self.plain(phase, word))
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
        let dir = match &phase.dir {
            None => self.request.workspace.clone(),
            Some(dir) => self.request.workspace.join(self.planned(phase, dir)?),
        };
        if !source && !needs.contains(&self.recipe.source_phase) {
            needs.insert(0, self.recipe.source_phase.clone());
        }
        Ok(PhasePlan {
            name: phase.name.clone(),
            source,
            invocation: Invocation {
                program,
                args: words,
                env: self.env(phase)?,
                dir,
                log: self.request.logs.join(format!("{}.log", phase.name)),
                log_limit: phase.log_limit,
                timeout: phase.timeout,
                stop_grace: phase.stop_grace,
            },
            needs,
            retries: phase.retries,
            backoff: phase.backoff,
            required: phase.required,
            always: phase.always,
            publish: phase
                .publish
                .iter()
                .map(|publish| self.publish(phase, publish))
                .collect::<Result<_, _>>()?,
        })
    }

    fn publish(&self, phase: &Phase, publish: &Publish) -> Result<PublishRule, PlanError> {
        let (base, glob) = match split(&publish.from) {
            (prefix, Some(glob)) => (
                self.request.workspace.join(self.planned(phase, prefix)?),
                self.expand(phase, glob, globset::escape)?,
            ),
            (whole, None) => {
                let path = self.request.workspace.join(self.planned(phase, whole)?);
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
            flat: publish.flat,
            list: match &publish.from_list {
                None => None,
                Some(list) => Some(self.request.workspace.join(self.planned(phase, list)?)),
            },
            on: publish.on,
        })
    }
}

fn failed(phase: &Phase, text: &str, fault: &ScopeFault) -> PlanError {
    PlanError::Expand {
        phase: phase.name.clone(),
        text: text.to_owned(),
        reason: fault.to_string(),
    }
}

/// An environment that phases can share.
fn shared(env: BTreeMap<String, String>) -> Env {
    let shared = |(name, value): (String, String)| (name.into(), value.into());
    env.into_iter().map(shared).collect()
}

/// Expands a text with the given values; `None` if one is missing.
fn from_values<'v>(
    text: &str,
    value: impl Fn(&str) -> Option<&'v str>,
    escape: fn(&str) -> String,
) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    for part in parts(text).ok()? {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Variable(name) => out.push_str(&escape(value(name)?)),
        }
    }
    Some(out)
}

/// The variables that the build itself sets, without `PHASE`.
fn base_env(recipe: &Recipe, request: &BuildRequest) -> BTreeMap<String, String> {
    let publish_root = request.workspace.join("publish");
    let platform = recipe.platform.as_ref();
    let below = request.after.as_ref();
    let mut env: BTreeMap<_, _> = [
        ("LANG", "C.UTF-8".to_owned()),
        ("TZ", "UTC".to_owned()),
        ("PROJECT", project(&request.channel)),
        ("BRANCH", request.branch.clone()),
        ("MUNGED_BRANCH", munged(&request.branch)),
        ("CHANNEL", request.channel.to_string()),
        (
            "CODENAME",
            platform.map_or_else(String::new, |it| it.codename.to_string()),
        ),
        (
            "ARCH",
            platform.map_or_else(String::new, |it| it.arch.to_string()),
        ),
        (
            "LAYER",
            recipe
                .layer
                .as_ref()
                .map_or_else(String::new, ToString::to_string),
        ),
        (
            Below::BUILD,
            below.map_or_else(String::new, |it| it.after.build.to_string()),
        ),
        (
            Below::URL,
            below.map_or_else(String::new, |it| it.url.clone()),
        ),
        ("STATE_DIR", request.state_dir.to_string()),
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

/// A branch name as a part of other names, such as those of images: invalid characters become `-`.
fn munged(branch: &str) -> String {
    let keep = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '-');
    branch
        .chars()
        .map(|it| if keep(it) { it } else { '-' })
        .collect()
}

/// The name of a channel's project: unique for the channel, and valid as a namespace of Kubernetes.
fn project(channel: &Channel) -> String {
    let plain = channel.to_string().to_ascii_lowercase();
    let keep = |it: char| if it.is_ascii_alphanumeric() { it } else { '-' };
    plain.chars().map(keep).collect()
}

/// Splits a glob into the directories before its first wildcard and the rest; `None` as the rest if it has no wildcard.
pub(super) fn split(from: &str) -> (&str, Option<&str>) {
    let mut start = 0;
    for segment in from.split('/') {
        let mut text = segment.to_owned();
        for part in parts(segment).unwrap_or_default() {
            if let Part::Variable(name) = part {
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
