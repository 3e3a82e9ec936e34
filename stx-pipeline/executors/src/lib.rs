//! Rewrites the invocation of a phase for the place where it runs, and runs it there.
//!
//! A recipe describes how a distribution is built; the build server decides where its phases run. [`Places`] holds that
//! decision: a table of places, and rules that assign phases to them. A phase that no rule names runs on the build server
//! itself.
//!
//! | kind | the phase runs | by |
//! |---|---|---|
//! | `local` | on the build server | its own invocation |
//! | `ssh` | on another host | `ssh` |
//! | `container` | in a container on the build server | `podman run` or `docker run` |
//! | `exec` | in something that already runs, for example a pod | a command that enters it: `kubectl exec`, `docker exec`, `nsenter` |
//! | `slurm` | on a node of a cluster | `sbatch`, `scontrol`, `scancel` |
//!
//! Every place sees the build's files, under the same paths or under those of a [`PathMap`]. At the place, a script on that
//! file system runs the phase; see [`Job`].
//!
//! | module | holds |
//! |---|---|
//! | `executor` | the contract of an [`Executor`] |
//! | `read` | the registry that other crates add their executors to: [`Executors`]; [`Places`] from a configuration file, with every mistake found at once |
//! | `script` | the script that runs one phase, and the files that it writes: [`Job`] |
//! | `paths` | directories that have other paths at a place: [`PathMap`] |
//! | `ssh`, `container`, `exec`, `slurm`, `submit` | the commands of each kind of place |
//! | `runner` | feature `process`: `PlacedRunner`, a [`Runner`](stx_pipeline::Runner) that runs each phase at its place; `end_orphans` |
//!
//! Without its feature the crate does no I/O: [`Executor::rewrite`] returns files and invocations, feature `process` writes and
//! runs them.

mod container;
mod exec;
mod executor;
mod paths;
mod read;
#[cfg(feature = "process")]
mod runner;
mod script;
mod slurm;
mod ssh;
mod submit;

use std::collections::BTreeMap;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use globset::GlobMatcher;

pub use container::Container;
pub use exec::Exec;
pub use executor::{Check, Executor, ExecutorTable, Placed};
pub use paths::PathMap;
pub use read::Executors;
#[cfg(feature = "process")]
pub use runner::{PlaceError, PlacedRunner, end_orphans};
pub use script::{GRACE, Job, JobFile, Lifeline, outcome};
pub use slurm::Slurm;
pub use ssh::Ssh;

use stx_layout::config::ConfigErrors;
use stx_pipeline::{Env, Invocation};

/// A rule: phases whose names match a glob run at this place.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    globs: Vec<GlobMatcher>,
    place: String,
}

/// The places of a build server, and the rules that assign phases to them.
#[derive(Debug, Clone, Default)]
pub struct Places {
    places: BTreeMap<String, Arc<dyn Executor>>,
    rules: Vec<Rule>,
}

impl Places {
    /// Reads the places of a configuration file that uses only built-in kinds of executors; see [`Executors::places`].
    ///
    /// # Errors
    /// All mistakes in them, at once.
    pub fn from_toml(text: &str, dir: &Utf8Path) -> Result<Self, ConfigErrors> {
        Executors::default().places(text, dir)
    }

    /// The place of a phase, with its name: that of the first rule that names the phase, or `None` if no rule does.
    pub fn of(&self, phase: &str) -> Option<(&str, &dyn Executor)> {
        let rule = self
            .rules
            .iter()
            .find(|rule| rule.globs.iter().any(|glob| glob.is_match(phase)))?;
        let (name, place) = self.places.get_key_value(&rule.place)?;
        Some((name, &**place))
    }

    /// Every place.
    pub fn all(&self) -> impl Iterator<Item = &dyn Executor> {
        self.places.values().map(|place| &**place)
    }

    /// Every place, with its name.
    pub fn named(&self) -> impl Iterator<Item = (&str, &dyn Executor)> {
        let places = self.places.iter();
        places.map(|(name, place)| (name.as_str(), &**place))
    }

    /// The globs that match none of these phases.
    pub fn idle<'a>(&'a self, phases: &[&str]) -> Vec<&'a str> {
        let globs = self.rules.iter().flat_map(|rule| &rule.globs);
        globs
            .filter(|glob| !phases.iter().any(|phase| glob.is_match(phase)))
            .map(|glob| glob.glob().glob())
            .collect()
    }
}

/// A process of the build server that brings a phase to its place.
pub fn launcher(
    program: &str,
    args: Vec<String>,
    invocation: &Invocation,
    tools: &Env,
) -> Invocation {
    let mut env = tools.clone();
    // These variables distinguish orphans from unrelated processes.
    for name in ["PHASE", "MY_WORKSPACE"] {
        if let Some(value) = invocation.env.get(name) {
            env.insert(name.into(), value.clone());
        }
    }
    Invocation {
        program: program.to_owned(),
        args,
        env,
        dir: Utf8PathBuf::from("/"),
        log: invocation.log.clone(),
        log_limit: invocation.log_limit,
        timeout: invocation.timeout,
        stop_grace: invocation.stop_grace,
    }
}

/// The same process with a standard input that stays open until the process group ends.
pub fn with_lifeline(mut invocation: Invocation) -> Invocation {
    let command = [
        "-c",
        r#"exec "$@" < <(exec sleep infinity 2> /dev/null)"#,
        "lifeline",
    ];
    let mut args: Vec<_> = command.map(str::to_owned).to_vec();
    args.push(std::mem::replace(
        &mut invocation.program,
        "bash".to_owned(),
    ));
    args.append(&mut invocation.args);
    invocation.args = args;
    // The sweep of a phase's processes spares this client, which runs the phase.
    invocation.env.insert("STX_CLIENT".into(), "1".into());
    invocation
}

/// A process that tests or queries a place, outside any phase.
pub fn trial(program: &str, args: Vec<String>, tools: &Env) -> Invocation {
    Invocation {
        program: program.to_owned(),
        args,
        env: tools.clone(),
        dir: Utf8PathBuf::from("/"),
        log: Utf8PathBuf::from("/dev/null"),
        log_limit: None,
        timeout: None,
        stop_grace: None,
    }
}

/// The same process without a phase, so that no phase's cleanup ends what it starts: for example, a shared connection.
fn of_no_phase(mut invocation: Invocation) -> Invocation {
    invocation.env.insert("PHASE".into(), "".into());
    invocation
}

/// A script for `sh -c` that checks for the programs that a place needs, and prints the marker.
pub fn marker_script(marker: &Utf8Path) -> String {
    format!(
        "test -x /bin/bash && command -v flock > /dev/null || {{ echo 'bash or flock is missing' >&2; exit 1; }}; \
         exec cat {}",
        shell_words::quote(marker.as_str())
    )
}

#[cfg(test)]
mod tests;
