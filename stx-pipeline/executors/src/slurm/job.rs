//! A job of a cluster, as Slurm reports it.

use stx_pipeline::{Ended, Env, Invocation};

use super::Slurm;
use crate::{Job, trial};

impl Slurm {
    /// Prints what [`job_state`] reads.
    pub(crate) fn ask(&self, id: u64, tools: &Env) -> Invocation {
        let args = ["--oneliner", "show", "job", &id.to_string()].map(str::to_owned);
        trial("scontrol", args.to_vec(), &self.tools(tools))
    }

    /// Prints the number of every job with the job's name that is not over, a line each.
    pub(crate) fn find(&self, job: &Job, tools: &Env) -> Invocation {
        let args = ["--noheader", "--format=%A", "--name", &job.name].map(str::to_owned);
        trial("squeue", args.to_vec(), &self.tools(tools))
    }
}

/// The number of a job that was submitted, from what `sbatch --parsable` prints: `12`, or `12;cluster`.
pub(crate) fn job_id(printed: &str) -> Option<u64> {
    printed.trim().split(';').next()?.parse().ok()
}

/// The state of a job, as Slurm reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobState {
    /// `RUNNING`, `COMPLETED` and so on; see `squeue(1)`.
    pub(crate) state: String,
    /// Why it waits or ended, in a word.
    pub(crate) reason: String,
    /// The node of its script.
    pub(crate) node: Option<String>,
    /// How often it was started again.
    pub(crate) restarts: u32,
}

/// Reads a line of `scontrol --oneliner show job`.
pub(crate) fn job_state(line: &str) -> Option<JobState> {
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
pub(crate) enum Verdict {
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
pub(crate) fn verdict(id: u64, job: &JobState, name: &str, slurm: &Slurm) -> Verdict {
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
