//! Runs phases at their places.

mod check;
mod command;
mod detached;
mod files;
mod follow;
mod orphaned;

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use camino::Utf8PathBuf;
use stx_pipeline::process::{ProcessRunner, add_end, started, this_boot};
use stx_pipeline::{BuildPlan, Cancel, Ended, Env, Invocation, Runner, Stream};
use tracing::debug;

use self::command::said;
use self::detached::Detached;
use self::follow::Following;
pub use self::orphaned::end_orphans;
use crate::script::grace;
use crate::{Executor, GRACE, Job, JobFile, Placed, Places};

/// The time for a phase to end after it was asked to, at a place that can be reached.
const END: Duration = Duration::from_secs(GRACE as u64 + 20);

/// The time for a phase to end after it was asked to: the grace period of the phase, that of its leftover processes, and a
/// margin.
fn end_of(phase: &Invocation) -> Duration {
    Duration::from_secs(grace(phase) * 2 + 20)
}

/// An unusable place, or a phase of an earlier build that still runs.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The place cannot be reached, or lacks something.
    #[error("place {place}: {reason}")]
    Unusable {
        /// Its name.
        place: String,
        /// The program of the build server that tried to reach it.
        program: String,
        /// The check that failed, and its error.
        reason: String,
    },
    /// The place has other files under the build's paths.
    #[error("place {place} does not see {dir}, or not as the build server does")]
    NotShared {
        /// Its name.
        place: String,
        /// The directory that the check used.
        dir: Utf8PathBuf,
    },
    /// A phase of an earlier build did not end.
    #[error("a phase of an earlier build still runs at its place, and holds {lock}")]
    StillRunning {
        /// The file that it keeps locked.
        lock: Utf8PathBuf,
    },
    /// The files of the jobs cannot be written.
    #[error("cannot prepare {dir}")]
    Prepare {
        /// The directory of the jobs.
        dir: Utf8PathBuf,
        /// The error that caused it.
        #[source]
        source: io::Error,
    },
}

/// Runs each phase of a build at its place. A [`ProcessRunner`] runs the phases of the build server itself; a script in `jobs/`
/// of the state directory runs the others, and their places must see that directory under the same path.
///
/// The variable `PHASE` of an invocation names its phase.
#[derive(Debug)]
pub struct PlacedRunner {
    local: ProcessRunner,
    places: Places,
    tools: Env,
    /// Distinguishes the jobs of this runner from those of any other.
    series: String,
    shared: Vec<Utf8PathBuf>,
    common: Env,
    started: AtomicU32,
}

impl PlacedRunner {
    /// A runner for the phases of `plan`. [`end_orphans`] has asked the phases that a killed builder left at a place to end;
    /// this waits until they have. Call [`check`](Self::check) before the first phase, to test the places.
    ///
    /// `tools` is the environment of `ssh`, `podman`, `sbatch` and the like.
    ///
    /// # Errors
    /// See [`PlaceError`].
    pub async fn new(
        local: ProcessRunner,
        places: Places,
        tools: Env,
        plan: &BuildPlan,
    ) -> Result<Self, PlaceError> {
        static RUNNERS: AtomicU32 = AtomicU32::new(0);
        let start = started(own()).unwrap_or(0);
        let number = RUNNERS.fetch_add(1, Ordering::Relaxed);
        let boot: String = this_boot().chars().take(8).collect();
        let variable = |name| Some(Utf8PathBuf::from(&**plan.env.get(name)?));
        let runner = Self {
            series: format!("{boot}.{}.{start}.{number}", own()),
            shared: [plan.workspace.clone(), plan.source_root.clone()]
                .into_iter()
                .chain(variable("MY_REPO_ROOT"))
                .chain(variable("STATE_DIR").filter(|_| !plan.state_dirs.is_empty()))
                .chain(variable("RECIPE_DIR"))
                .collect(),
            local,
            places,
            tools,
            common: plan.env.clone(),
            started: AtomicU32::new(0),
        };
        runner.clear().await?;
        Ok(runner)
    }

    /// Releases resources that phases share, such as connections.
    pub async fn close(&self) {
        if !self.dir().is_dir() {
            return;
        }
        for place in self.places.all() {
            if let Some(close) = place.close(&self.job("close"), &self.tools) {
                // A remaining connection ends by itself half a day later, or with the next build.
                said(close).await.ok();
            }
        }
    }

    /// The directory of the jobs.
    fn dir(&self) -> Utf8PathBuf {
        self.local.state().join("jobs")
    }

    fn job(&self, phase: &str) -> Job {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let dir = self.dir();
        Job {
            name: format!("{phase}.{}.{number}", self.series),
            lock: dir.join(format!("{phase}.lock")),
            dir: dir.join(format!("{phase}.{number}")),
            owner: (
                rustix::process::getuid().as_raw(),
                rustix::process::getgid().as_raw(),
            ),
            shared: self.shared.clone(),
            common: self.common.clone(),
        }
    }

    /// The end of a phase, derived from the end `ended` of its process on the build server.
    async fn conclude(
        &self,
        (name, place): (&str, &dyn Executor),
        job: &Job,
        ended: Ended,
        end: Option<Invocation>,
        limit: Duration,
    ) -> Ended {
        let ours = match &ended {
            Ended::Cancelled | Ended::TimedOut { .. } | Ended::NotStarted { .. } => true,
            Ended::Exited { .. } | Ended::Signalled { .. } | Ended::Lost { .. } => false,
        };
        if let (false, Some(outcome)) = (ours, files::result(job)) {
            return outcome;
        }
        if let Some(end) = end {
            // Ignored: it fails if the engine never started the phase, and then nothing is left to end.
            drop(said(end).await);
        }
        let gone = files::gone(&job.lock, limit).await;
        if ours {
            return ended;
        }
        let why = place
            .explain(&ended)
            .unwrap_or_else(|| format!("{ended}, before the phase reported how it ended"));
        let still = if gone {
            ""
        } else {
            "; the phase may still run there, and is started again only after it has ended"
        };
        Ended::Lost {
            reason: format!("place {name}: {why}{still}"),
        }
    }
}

#[async_trait]
impl Runner for PlacedRunner {
    async fn run(
        &self,
        invocation: &Invocation,
        output: &(dyn for<'l> Fn(Stream, &'l str) + Sync),
        cancel: &Cancel,
    ) -> Ended {
        let phase = invocation.variable("PHASE");
        let Some((name, place)) = self.places.of(phase) else {
            return self.local.run(invocation, output, cancel).await;
        };
        if cancel.is_cancelled() {
            return Ended::Cancelled;
        }
        let job = self.job(phase);
        debug!(place = name, job = job.name, "phase sent to its place");
        let limit = end_of(invocation);
        let shown = format!("{invocation}  # at place {name}");
        match place.rewrite(invocation, &job, &self.tools) {
            Placed::Direct(process) if process == *invocation => {
                self.local.run(invocation, output, cancel).await
            }
            Placed::Direct(process) => self.local.run_shown(&process, &shown, output, cancel).await,
            Placed::By(runner) => runner.run(invocation, output, cancel).await,
            Placed::Process {
                files,
                invocation,
                end,
            } => {
                if let Err(error) = prepare(&job, &files, limit) {
                    return not_started(&error);
                }
                let ended = self
                    .local
                    .run_shown(&invocation, &shown, output, cancel)
                    .await;
                let here = ended.clone();
                let ended = self.conclude((name, place), &job, ended, end, limit).await;
                if ended != here {
                    // The record also has the end, so a failed write to the log loses nothing.
                    add_end(&invocation.log, &ended).ok();
                }
                // The script may hold secrets, and is not needed again.
                fs_err::remove_file(job.script()).ok();
                ended
            }
            Placed::Followed {
                files,
                client,
                sweeper,
                shown,
            } => {
                if let Err(error) = prepare(&job, &files, limit) {
                    return not_started(&error);
                }
                let detached = Detached {
                    place: (name, place),
                    local: &self.local,
                    job: &job,
                    client,
                    sweeper,
                };
                let shown = format!("{shown}  # at place {name}");
                detached.run(invocation, &shown, output, cancel).await
            }
            Placed::Submitted {
                files,
                submit,
                cancel: end,
                slurm,
            } => {
                if let Err(error) = prepare(&job, &files, limit) {
                    return not_started(&error);
                }
                let following = Following {
                    place: (name, &slurm),
                    state: self.local.state(),
                    tools: &self.tools,
                    job: &job,
                    submit: &submit,
                    end: &end,
                };
                following.run(phase, &shown, output, cancel).await
            }
        }
    }
}

/// Writes the files of a job, and the time that its phase may take to end.
fn prepare(job: &Job, files: &[JobFile], end: Duration) -> io::Result<()> {
    files::write(&job.dir, files)?;
    files::note_end(&job.lock, end.as_secs())
}

fn not_started(error: &io::Error) -> Ended {
    Ended::NotStarted {
        reason: error.to_string(),
    }
}

/// The process id of this program.
fn own() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

#[cfg(test)]
pub(crate) mod tests;
