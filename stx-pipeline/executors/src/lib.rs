//! Where a phase runs: rewriting its invocation, and running it there.
//!
//! A recipe says how a distribution is built; where its phases run is the build server's own matter. [`Places`] says so: a
//! table of places, and rules that send phases to them. A phase that no rule names runs on the build server itself.
//!
//! | kind | the phase runs | by |
//! |---|---|---|
//! | `local` | on the build server | its own invocation |
//! | `ssh` | on another host | `ssh` |
//! | `container` | in a container on the build server | `podman run` or `docker run` |
//! | `slurm` | on a node of a cluster | `sbatch`, `scontrol`, `scancel` |
//!
//! Every place sees the build's files under the same paths. What runs there is a script on that file system; see [`Job`].
//!
//! | module | holds |
//! |---|---|
//! | `read` | [`Places`] from a configuration file, with every mistake found at once |
//! | `script` | the script that runs one phase, and what it leaves behind: [`Job`] |
//! | `ssh`, `container`, `slurm` | the commands of each kind of place |
//! | `runner` | feature `process`: `PlacedRunner`, a [`Runner`](stx_pipeline::Runner) that runs each phase at its place; `end_orphans` |
//!
//! Without its feature the crate does no I/O: [`Place::rewrite`] gives files and invocations, feature `process` writes and runs
//! them.

mod container;
mod read;
#[cfg(feature = "process")]
mod runner;
mod script;
mod slurm;
mod ssh;

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use globset::GlobMatcher;

pub use container::Container;
#[cfg(feature = "process")]
pub use runner::{PlaceError, PlacedRunner, end_orphans};
pub use script::{GRACE, Job, JobFile, outcome};
pub use slurm::{JobState, Slurm, Verdict, job_id, job_state, verdict};
pub use ssh::Ssh;

use stx_layout::config::ConfigErrors;
use stx_pipeline::{Env, Invocation};

/// Where a phase can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The build server.
    Local,
    /// Another host.
    Ssh(Ssh),
    /// A container on the build server.
    Container(Container),
    /// A cluster.
    Slurm(Slurm),
}

/// A phase's invocation, rewritten for its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// A process of the build server that lasts as long as the phase. When there is a job, its result says how the phase ended.
    Process {
        /// The files to write before the process starts.
        files: Vec<JobFile>,
        /// The process to start on the build server.
        invocation: Invocation,
        /// Ends everything that the phase left at the place, after an end that was not the phase's own.
        end: Option<Invocation>,
    },
    /// A job of a cluster, that is submitted and then followed.
    Submitted {
        /// The files to write before the job is submitted.
        files: Vec<JobFile>,
        /// Prints the job's number; see [`job_id`].
        submit: Invocation,
        /// Ends every job of this name; succeeds when there is none.
        cancel: Invocation,
        /// The place, whose cluster is asked for the job's state.
        slurm: Slurm,
    },
}

impl Place {
    /// Rewrites `invocation` so that it runs here. `tools` is the environment that `ssh`, `podman` and the like get:
    /// the builder's own `PATH`, `HOME` and so on. None of the phase's environment is in a command line.
    pub fn rewrite(&self, invocation: &Invocation, job: &Job, tools: &Env) -> Placed {
        match self {
            Self::Local => Placed::Process {
                files: Vec::new(),
                invocation: invocation.clone(),
                end: None,
            },
            Self::Ssh(ssh) => ssh.rewrite(invocation, job, tools),
            Self::Container(container) => container.rewrite(invocation, job, tools),
            Self::Slurm(slurm) => slurm.rewrite(invocation, job, tools),
        }
    }

    /// The check that a phase can run here: it succeeds, and prints the contents of `marker`, a file of the shared file
    /// system, if that can be known before a phase runs. `None` for the build server.
    pub fn check(&self, marker: &Utf8Path, job: &Job, tools: &Env) -> Option<Check> {
        match self {
            Self::Local => None,
            Self::Ssh(ssh) => Some(Check::Prints(ssh.check(marker, job, tools))),
            Self::Container(container) => Some(Check::Prints(container.check(marker, job, tools))),
            Self::Slurm(slurm) => Some(slurm.check(job, tools)),
        }
    }
}

/// How a place is tried before the first phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// It has to print the contents of the marker.
    Prints(Invocation),
    /// It has to succeed.
    Succeeds {
        /// The file to write before the process starts.
        file: JobFile,
        /// The process.
        invocation: Invocation,
    },
}

/// Phases of these names run at this place.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    globs: Vec<GlobMatcher>,
    place: String,
}

/// The places of a build server, and which phase runs where.
#[derive(Debug, Clone, Default)]
pub struct Places {
    places: BTreeMap<String, Place>,
    rules: Vec<Rule>,
}

impl Places {
    /// Reads the tables `place.NAME` and the list `place-rule` of a configuration file; other keys are left alone. Relative
    /// paths are relative to `dir`, the file's directory.
    ///
    /// # Errors
    /// Everything that is wrong with them, at once.
    pub fn from_toml(text: &str, dir: &Utf8Path) -> Result<Self, ConfigErrors> {
        read::read(text, dir)
    }

    /// Where a phase runs: the place of the first rule that names it, with its name; `None` on the build server.
    pub fn of(&self, phase: &str) -> Option<(&str, &Place)> {
        let rule = self
            .rules
            .iter()
            .find(|rule| rule.globs.iter().any(|glob| glob.is_match(phase)))?;
        let (name, place) = self.places.get_key_value(&rule.place)?;
        match place {
            Place::Local => None,
            Place::Ssh(_) | Place::Container(_) | Place::Slurm(_) => Some((name, place)),
        }
    }

    /// Every place.
    pub fn all(&self) -> impl Iterator<Item = &Place> {
        self.places.values()
    }

    /// The globs that name none of these phases.
    pub fn idle<'a>(&'a self, phases: &[&str]) -> Vec<&'a str> {
        let globs = self.rules.iter().flat_map(|rule| &rule.globs);
        globs
            .filter(|glob| !phases.iter().any(|phase| glob.is_match(phase)))
            .map(|glob| glob.glob().glob())
            .collect()
    }
}

/// A process of the build server that brings a phase to its place.
fn launcher(program: &str, args: Vec<String>, invocation: &Invocation, tools: &Env) -> Invocation {
    let mut env = tools.clone();
    // Orphans are told from strangers by these.
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
    }
}

/// The same process with a standard input that ends when the process's group does, and not before.
fn with_lifeline(mut invocation: Invocation) -> Invocation {
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
    invocation
}

/// A process that tries a place, with what it has to know of a phase.
fn trial(program: &str, args: Vec<String>, tools: &Env) -> Invocation {
    Invocation {
        program: program.to_owned(),
        args,
        env: tools.clone(),
        dir: Utf8PathBuf::from("/"),
        log: Utf8PathBuf::from("/dev/null"),
        log_limit: None,
        timeout: None,
    }
}

/// The same process, what it leaves behind being of no phase, so that it outlasts each: a connection that they share, say.
fn of_no_phase(mut invocation: Invocation) -> Invocation {
    invocation.env.insert("PHASE".into(), "".into());
    invocation
}

/// A script for `sh -c` that checks for the programs that a place needs, and prints the marker.
fn marker_script(marker: &Utf8Path) -> String {
    format!(
        "test -x /bin/bash && command -v flock > /dev/null || {{ echo 'bash and flock have to be there' >&2; exit 1; }}; \
         exec cat {}",
        shell_words::quote(marker.as_str())
    )
}

#[cfg(test)]
mod tests;
