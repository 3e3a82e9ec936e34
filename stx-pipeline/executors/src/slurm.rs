//! A cluster, through Slurm's programs.
//!
//! A job is submitted, then asked after until it is over; `sbatch --wait` would not say why a job ended. Slurm starts a job again
//! when its node dies, so a job may run twice: the script of the second run waits until the first is really gone, and takes
//! its result if it came to its end after all. Slurm forgets a job `MinJobAge` after its end, so how a phase ended is in a file
//! of the job and not only in Slurm.

#[cfg(any(test, feature = "process"))]
pub(crate) mod job;

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use stx_pipeline::Env;

use super::Job;

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
