//! A job of a cluster, as Slurm reports it.

use stx_pipeline::{Ended, Env, Invocation};

use super::Slurm;
use crate::{Job, trial};

impl Slurm {
    /// A process that prints the line that [`job_state`] reads.
    pub(crate) fn ask(&self, id: u64, tools: &Env) -> Invocation {
        let args = ["--oneliner", "show", "job", &id.to_string()].map(str::to_owned);
        trial("scontrol", args.to_vec(), &self.tools(tools))
    }

    /// A process that prints the number of every unfinished job with this job's name, one per line.
    pub(crate) fn find(&self, job: &Job, tools: &Env) -> Invocation {
        let args = ["--noheader", "--format=%A", "--name", &job.name].map(str::to_owned);
        trial("squeue", args.to_vec(), &self.tools(tools))
    }
}

/// The number of a submitted job, from the output of `sbatch --parsable`: `12`, or `12;cluster`.
pub(crate) fn job_id(printed: &str) -> Option<u64> {
    printed.trim().split(';').next()?.parse().ok()
}

/// The state of a job, as Slurm reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobState {
    /// `RUNNING`, `COMPLETED` and so on; see `squeue(1)`.
    pub(crate) state: String,
    /// The reason for its waiting or its end, as one word.
    pub(crate) reason: String,
    /// The node that runs its script.
    pub(crate) node: Option<String>,
    /// The number of times that Slurm restarted it.
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

/// The next step after a query of a job's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It waits or runs.
    GoesOn,
    /// Its script ran to its end; the result tells how the phase ended.
    Over,
    /// Slurm ended it.
    Ended(Ended),
    /// Slurm holds it back until somebody releases it; it must be cancelled.
    Held(Ended),
}

/// The next step for job `id`, which is in state `job` at the place `name`. A job in an unknown state counts as waiting or
/// running: the states that end a job have been the same for years, those of waiting jobs have not.
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
            None => lost("it exceeded the partition's time limit"),
        },
        "DEADLINE" => lost("it exceeded its deadline"),
        "OUT_OF_MEMORY" => lost(&match &slurm.memory {
            Some(memory) => format!("it needed more memory than the {memory} that `memory` gives"),
            None => {
                "it needed more memory than the partition's default; `memory` gives more".into()
            }
        }),
        "NODE_FAIL" => lost("the node failed, and Slurm did not start the job again"),
        "BOOT_FAIL" => lost("the node did not boot"),
        "PREEMPTED" => lost("it was preempted by another job, and Slurm did not start it again"),
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
