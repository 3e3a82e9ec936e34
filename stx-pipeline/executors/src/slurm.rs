//! A cluster, through Slurm's programs.
//!
//! A job is submitted, then asked after until it is over; `sbatch --wait` would not say why a job ended. Slurm starts a job again
//! when its node dies, so a job may run twice: the script of the second run waits until the first is really gone, and takes
//! its result if it came to its end after all. Slurm forgets a job `MinJobAge` after its end, so how a phase ended is in a file
//! of the job and not only in Slurm.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use stx_pipeline::{Ended, Env, Invocation};

use super::{Job, trial};

/// A cluster, and what a phase is given of it; what is not said is the cluster's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slurm {
    /// The partition.
    pub partition: Option<String>,
    /// Processors.
    pub cpus: Option<u32>,
    /// Memory of the node, in the form of `sbatch --mem`: `512M`, `4G`.
    pub memory: Option<String>,
    /// After how long Slurm ends the phase, counted from its start on a node.
    pub time: Option<Duration>,
    /// The account that is charged.
    pub account: Option<String>,
    /// `slurm.conf`, if it is not where Slurm looks by itself.
    pub conf: Option<Utf8PathBuf>,
    /// Further options of `sbatch`, in the form `--name=value`.
    pub options: Vec<String>,
}

impl Slurm {
    pub(super) fn tools(&self, tools: &Env) -> Env {
        let mut tools = tools.clone();
        if let Some(conf) = &self.conf {
            tools.insert("SLURM_CONF".into(), conf.as_str().into());
        }
        tools
    }

    /// The options of `sbatch`. The job's environment is that of `sbatch` itself, which is not the phase's: `--export=NONE` would
    /// have Slurm run a login shell on the node first.
    pub(super) fn options(&self, job: &Job, timeout: Option<Duration>) -> Vec<String> {
        let mut args = vec![
            format!("--job-name={}", job.name),
            "--chdir=/".to_owned(),
            format!("--output={}", pattern(&job.output())),
            "--open-mode=append".to_owned(),
            "--requeue".to_owned(),
            "--nodes=1".to_owned(),
            "--ntasks=1".to_owned(),
            "--export=ALL".to_owned(),
        ];
        let mut given = |name: &str, value: Option<String>| {
            args.extend(value.map(|value| format!("--{name}={value}")));
        };
        given("partition", self.partition.clone());
        given("cpus-per-task", self.cpus.map(|cpus| cpus.to_string()));
        given("mem", self.memory.clone());
        given("account", self.account.clone());
        // Should the builder die, the job ends by itself, a little after the builder would have ended it.
        let own = timeout.map(|timeout| timeout + Duration::from_mins(1));
        let time = self.time.into_iter().chain(own).min();
        given("time", time.map(limit));
        args.extend(self.options.iter().cloned());
        args
    }

    /// Prints what [`job_state`] reads.
    pub fn ask(&self, id: u64, tools: &Env) -> Invocation {
        let args = ["--oneliner", "show", "job", &id.to_string()].map(str::to_owned);
        trial("scontrol", args.to_vec(), &self.tools(tools))
    }

    /// Prints the number of every job with the job's name that is not over, a line each.
    pub fn find(&self, job: &Job, tools: &Env) -> Invocation {
        let args = ["--noheader", "--format=%A", "--name", &job.name].map(str::to_owned);
        trial("squeue", args.to_vec(), &self.tools(tools))
    }
}

/// A path as `sbatch` reads it, which puts numbers in for `%j` and takes a backslash for a request not to.
fn pattern(path: &Utf8Path) -> String {
    path.as_str().replace('%', "%%")
}

/// A limit as `sbatch --time` takes it, rounded up to seconds: `D-HH:MM:SS`.
fn limit(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let (days, hours) = (seconds / 86400, seconds / 3600 % 24);
    format!(
        "{days}-{hours:02}:{:02}:{:02}",
        seconds / 60 % 60,
        seconds % 60
    )
}

/// The number of a job that was submitted, from what `sbatch --parsable` prints: `12`, or `12;cluster`.
pub fn job_id(printed: &str) -> Option<u64> {
    printed.trim().split(';').next()?.parse().ok()
}

/// The state of a job, as Slurm reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobState {
    /// `RUNNING`, `COMPLETED` and so on; see `squeue(1)`.
    pub state: String,
    /// Why it waits or ended, in a word.
    pub reason: String,
    /// The node of its script.
    pub node: Option<String>,
    /// How often it was started again.
    pub restarts: u32,
}

/// Reads a line of `scontrol --oneliner show job`.
pub fn job_state(line: &str) -> Option<JobState> {
    let field = |name: &str| {
        line.split_ascii_whitespace()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    Some(JobState {
        state: field("JobState")?.to_owned(),
        reason: field("Reason").unwrap_or("None").to_owned(),
        node: field("BatchHost")
            .filter(|node| *node != "(null)")
            .map(str::to_owned),
        restarts: field("Restarts")?.parse().ok()?,
    })
}

/// The next step after a look at a job's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It waits or runs.
    GoesOn,
    /// Its script came to its end: the result says how the phase ended.
    Over,
    /// Slurm ended it.
    Ended(Ended),
    /// It will never run unless someone sets it free; it has to be cancelled.
    Held(Ended),
}

/// The next step for job `id` at the place `name`, which is in state `job`. A job in an unknown state is taken to wait
/// or run: the states that end a job have been the same for years, those in which it waits have not.
pub fn verdict(id: u64, job: &JobState, name: &str, slurm: &Slurm) -> Verdict {
    let node = job.node.as_deref().unwrap_or("no node");
    let lost = |what: &str| {
        Verdict::Ended(Ended::Lost {
            reason: format!("Slurm job {id} at place {name}, on {node}: {what}"),
        })
    };
    match job.state.as_str() {
        "COMPLETED" | "FAILED" => Verdict::Over,
        "TIMEOUT" => match slurm.time {
            Some(after) => Verdict::Ended(Ended::TimedOut { after }),
            None => lost("it ran into the partition's time limit"),
        },
        "DEADLINE" => lost("it ran into its deadline"),
        "OUT_OF_MEMORY" => lost(&match &slurm.memory {
            Some(memory) => format!("it needed more memory than the {memory} that `memory` gives"),
            None => {
                "it needed more memory than the partition's default; `memory` gives more".into()
            }
        }),
        "NODE_FAIL" => lost("the node failed, and Slurm did not start the job again"),
        "BOOT_FAIL" => lost("the node did not boot"),
        "PREEMPTED" => lost("it gave way to another job, and Slurm did not start it again"),
        "CANCELLED" => lost("someone else cancelled it"),
        "SPECIAL_EXIT" | "REQUEUE_HOLD" => held(id, job, name),
        "PENDING" if job.reason.to_ascii_lowercase().contains("held") => held(id, job, name),
        _ => Verdict::GoesOn,
    }
}

fn held(id: u64, job: &JobState, name: &str) -> Verdict {
    Verdict::Held(Ended::NotStarted {
        reason: format!(
            "Slurm job {id} at place {name}: Slurm holds it back ({})",
            job.reason
        ),
    })
}
