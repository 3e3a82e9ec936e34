//! The contract of executors.

use std::fmt::{self, Display};
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use serde::de::DeserializeOwned;
use stx_layout::config::{self, Faults, Spanned};
use stx_pipeline::{Ended, Env, Invocation, Runner};
use toml::de::DeValue;

use crate::{Job, JobFile, Slurm};

/// Runs phases at a place of one kind.
///
/// An executor only rewrites: it names the process of the build server that runs a phase, and starts none itself. The runner
/// handles the log, the timeout, cancellation, and the end of all processes of the phase.
///
/// # Contract
/// - [`rewrite`](Self::rewrite) is a pure function of its arguments. The phase gets exactly the program, arguments, environment
///   and directory of the invocation.
/// - No command line contains a part of the phase's environment, because every user of a machine can read command lines.
///   [`Job::run_script`] puts the environment into a file of mode 0600.
/// - The place sees the directories of [`Job::shared`] and that of [`Job::dir`] under the same paths, or under those that its
///   [`PathMap`](crate::PathMap) gives them; in the latter case the phase's invocation is mapped too.
/// - When the named process has ended and the phase's lock is free, no process of the phase runs any more.
///
/// ```
/// use std::sync::Arc;
///
/// use stx_executors::{Check, Executor, Executors, Job, Placed};
/// use stx_pipeline::{Env, Invocation};
///
/// /// Runs phases on the build server, at a lower priority.
/// #[derive(Debug)]
/// struct Nice {
///     level: u8,
/// }
///
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct NiceTable {
///     level: u8,
/// }
///
/// impl Executor for Nice {
///     fn rewrite(&self, phase: &Invocation, _: &Job, _: &Env) -> Placed {
///         let level = format!("-n{}", self.level);
///         let words = [level, "--".to_owned(), phase.program.clone()];
///         Placed::Direct(Invocation {
///             program: "nice".to_owned(),
///             args: [&words[..], &phase.args].concat(),
///             ..phase.clone()
///         })
///     }
///
///     fn check(&self, _: &camino::Utf8Path, _: &Job, _: &Env) -> Option<Check> {
///         None
///     }
/// }
///
/// let mut executors = Executors::default();
/// executors.add("nice", |table| {
///     let NiceTable { level } = table.read()?;
///     Some(Arc::new(Nice { level }))
/// });
/// let config = "[place.idle]\nkind = \"nice\"\nlevel = 19\n[[place-rule]]\nphases = [\"*\"]\nplace = \"idle\"\n";
/// let places = executors.places(config, "/etc/stx".into())?;
/// assert_eq!(places.of("compile").map(|(name, _)| name), Some("idle"));
///
/// let error = executors.places("[place.idle]\nkind = \"nicer\"\n", "/etc/stx".into()).unwrap_err();
/// assert_eq!(error.to_string(), "line 2, column 8: unknown kind \"nicer\"; did you mean `nice`?");
/// # Ok::<(), stx_layout::config::ConfigErrors>(())
/// ```
pub trait Executor: fmt::Debug + Send + Sync {
    /// Rewrites `invocation` so that it runs here. `tools` is the environment for `ssh`, `podman` and the like: the builder's
    /// own `PATH`, `HOME` and so on.
    fn rewrite(&self, invocation: &Invocation, job: &Job, tools: &Env) -> Placed;

    /// The check, before the first phase, that a phase can run here; `marker` is a file of the shared file system. `None` if
    /// this place needs no check.
    fn check(&self, marker: &Utf8Path, job: &Job, tools: &Env) -> Option<Check>;

    /// Releases a resource that phases share, such as a connection, when no further phase runs here.
    fn close(&self, _job: &Job, _tools: &Env) -> Option<Invocation> {
        None
    }

    /// Explains why a process of [`Placed::Process`] ended without a result of the phase, if more is known than its end.
    fn explain(&self, _ended: &Ended) -> Option<String> {
        None
    }
}

/// A phase's invocation, rewritten for its place.
#[derive(Clone)]
#[non_exhaustive]
pub enum Placed {
    /// A process of the build server that becomes the phase: the end of the process is the end of the phase.
    Direct(Invocation),
    /// A process of the build server that lasts as long as the phase. The phase runs as [`Job::run_script`], and the job's
    /// result tells how the phase ended.
    Process {
        /// Files to write first.
        files: Vec<JobFile>,
        /// The process.
        invocation: Invocation,
        /// Ends leftover processes, after an end that was not the phase's own.
        end: Option<Invocation>,
    },
    /// A process of the build server that starts the phase, and may end before it. The phase runs as [`Job::run_script`] with
    /// [`Lifeline::Lock`](crate::Lifeline::Lock), and is followed by its files.
    Followed {
        /// Files to write first.
        files: Vec<JobFile>,
        /// Starts the phase.
        client: Invocation,
        /// Ends the processes of a phase whose script was killed; succeeds if none exists.
        sweeper: Invocation,
        /// The phase's command with the paths of the place, for the log.
        shown: String,
    },
    /// A job of a Slurm cluster, which is submitted and then followed.
    Submitted {
        /// Files to write first.
        files: Vec<JobFile>,
        /// Prints the job's number, as `sbatch --parsable` does: `12`, or `12;CLUSTER`.
        submit: Invocation,
        /// Ends every job of this name; succeeds if none exists.
        cancel: Invocation,
        /// The cluster.
        slurm: Slurm,
    },
    /// No process: code runs the phase, writes its log and its end. See the contract of [`Runner`].
    By(Arc<dyn Runner>),
}

/// The check of a place before the first phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// The process must print the contents of the marker.
    Prints(Invocation),
    /// The process must print the contents of the marker, which is locked meanwhile.
    PrintsBy {
        /// A file to write first.
        file: JobFile,
        /// The process.
        invocation: Invocation,
    },
    /// The process must succeed.
    Succeeds {
        /// A file to write first.
        file: JobFile,
        /// The process.
        invocation: Invocation,
    },
}

/// The table of a place, without its `kind`.
pub struct ExecutorTable<'a> {
    pub(crate) value: Spanned<DeValue<'a>>,
    pub(crate) dir: &'a Utf8Path,
    pub(crate) faults: &'a mut Faults,
}

impl ExecutorTable<'_> {
    /// The table as a value; mistakes are noted with their positions. Types of [`config`] and fields of type [`Spanned`] let
    /// [`fault`](Self::fault) add more of them.
    pub fn read<T: DeserializeOwned>(&mut self) -> Option<T> {
        config::read(self.value.clone(), self.faults)
    }

    /// Notes a mistake at the start of a [`Spanned`] value.
    pub fn fault(&mut self, at: usize, message: impl Display) {
        self.faults.add(at, message);
    }

    /// Resolves a path relative to the configuration file's directory.
    pub fn path(&self, path: impl AsRef<Utf8Path>) -> Utf8PathBuf {
        self.dir.join(path)
    }

    /// A word that is passed to a program unchanged, and must not look like an option of it.
    pub fn word(&mut self, what: &str, word: Spanned<String>) -> String {
        let at = word.span().start;
        let word = word.into_inner();
        if word.is_empty() || word.starts_with('-') || word.contains(char::is_whitespace) {
            self.fault(at, format!("{word:?} cannot be {what}"));
        }
        word
    }

    /// Options that carry their value, so that none can be taken for the value of another.
    pub fn options(&mut self, options: Vec<Spanned<String>>) -> Vec<String> {
        for option in &options {
            let text = option.get_ref();
            if !text.starts_with("--") {
                let message = format!("{text:?} is not of the form --name=value");
                self.fault(option.span().start, message);
            }
        }
        options.into_iter().map(Spanned::into_inner).collect()
    }
}
