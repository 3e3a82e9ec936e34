//! A cluster, through Slurm's programs.
//!
//! A job is submitted, and then polled until it is over; `sbatch --wait` would not report the reason for its end. Slurm
//! restarts a job when its node dies, so a job may run twice. The script of the second run waits until the first is really
//! gone, and takes its result if the first completed nevertheless. Slurm forgets a job `MinJobAge` after its end, so the result
//! of a phase is also in a file of the job.

#[cfg(any(test, feature = "process"))]
pub(crate) mod job;

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use stx_pipeline::Env;

use super::Job;

/// A cluster, and the resources that a phase requests; unset fields leave the cluster's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slurm {
    /// The partition.
    pub partition: Option<String>,
    /// Processors.
    pub cpus: Option<u32>,
    /// Memory of the node, in the form of `sbatch --mem`: `512M`, `4G`.
    pub memory: Option<String>,
    /// The time limit that Slurm enforces, counted from the start of the phase on a node.
    pub time: Option<Duration>,
    /// The account that is charged.
    pub account: Option<String>,
    /// The path of `slurm.conf`, if it differs from Slurm's default.
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

    /// The options of `sbatch`. The job inherits the environment of `sbatch`, not that of the phase: with `--export=NONE`,
    /// Slurm would first run a login shell on the node.
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
        // If the builder dies, Slurm ends the job a little after the builder would have.
        let own = timeout.map(|timeout| timeout + Duration::from_mins(1));
        let time = self.time.into_iter().chain(own).min();
        given("time", time.map(limit));
        args.extend(self.options.iter().cloned());
        args
    }
}

/// Escapes a path for `sbatch`, which replaces patterns such as `%j` and treats a backslash as an escape.
fn pattern(path: &Utf8Path) -> String {
    path.as_str().replace('%', "%%")
}

/// Formats a limit for `sbatch --time`, rounded up to seconds: `D-HH:MM:SS`.
fn limit(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let (days, hours) = (seconds / 86400, seconds / 3600 % 24);
    format!(
        "{days}-{hours:02}:{:02}:{:02}",
        seconds / 60 % 60,
        seconds % 60
    )
}
