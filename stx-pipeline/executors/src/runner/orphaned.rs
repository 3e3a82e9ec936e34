//! Cluster jobs that outlive a killed builder.
//!
//! Each job is registered in a file `running/job.NAME` of the state directory before it is submitted. The file holds the
//! command that cancels the job by its name: a builder that dies while `sbatch` runs never learns the job's number.

use std::io;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use stx_pipeline::Invocation;
use stx_pipeline::process::{self, Orphan, OrphanKind, started, this_boot};

use super::command::{run, said};
use super::own;
use crate::Job;

/// The file `running/job.NAME` of a job: its builder, its phase, and the command that cancels it.
#[derive(Debug, Serialize, Deserialize)]
struct Registration {
    boot: String,
    builder: i32,
    builder_started: u64,
    phase: String,
    cancel: Invocation,
}

/// A job that may be in the cluster; it is cancelled if this is dropped before the job is over.
#[derive(Debug)]
pub(super) struct Registered {
    file: Utf8PathBuf,
    script: Utf8PathBuf,
    cancel: Invocation,
    /// True if the cluster no longer has the job.
    pub(super) over: bool,
}

impl Drop for Registered {
    fn drop(&mut self) {
        // If the cluster accepts the job only now, the job finds no script to run.
        fs_err::remove_file(&self.script).ok();
        // A job that cannot be cancelled stays registered, and the next build ends it.
        if self.over || run(&self.cancel).is_ok_and(|said| said.ok()) {
            fs_err::remove_file(&self.file).ok();
        }
    }
}

pub(super) fn register(
    state: &Utf8Path,
    job: &Job,
    phase: &str,
    cancel: &Invocation,
) -> io::Result<Registered> {
    let builder = own();
    let registration = Registration {
        boot: this_boot(),
        builder,
        builder_started: started(builder).unwrap_or(0),
        phase: phase.to_owned(),
        cancel: cancel.clone(),
    };
    let text = toml::to_string(&registration).map_err(io::Error::other)?;
    let dir = state.join("running");
    fs_err::create_dir_all(&dir)?;
    let file = dir.join(format!("job.{}", job.name));
    fs_err::write(&file, text)?;
    Ok(Registered {
        file,
        script: job.script(),
        cancel: cancel.clone(),
        over: false,
    })
}

/// Ends the processes and jobs that a killed builder left behind: first the processes of this machine, as
/// [`stx_pipeline::process::end_orphans`] does, then the builder's jobs on a cluster. No other builder may use the directory
/// meanwhile. Returns the ended processes and jobs.
///
/// # Errors
/// When the directory cannot be read, or a job cannot be cancelled. A directory without registrations is not an error.
pub async fn end_orphans(
    dir: &Utf8Path,
    workspace: &Utf8Path,
    grace: Duration,
) -> io::Result<Vec<Orphan>> {
    let mut ended = process::end_orphans(dir, workspace, grace).await?;
    if dir.join("running").is_dir() {
        // After the processes of this machine, so that no remaining `sbatch` can submit another job.
        ended.extend(end_jobs(dir).await?);
    }
    Ok(ended)
}

/// Cancels the registered jobs of the state directory whose builder is gone, and those of this process that it could not cancel
/// at the end of a build.
async fn end_jobs(state: &Utf8Path) -> io::Result<Vec<Orphan>> {
    let mut ended = Vec::new();
    for entry in state.join("running").read_dir_utf8()? {
        let entry = entry?;
        let Some(name) = entry.file_name().strip_prefix("job.") else {
            continue;
        };
        let text = fs_err::read_to_string(entry.path())?;
        // A builder that died while it wrote this file had not submitted the job yet.
        if let Ok(registration) = toml::from_str::<Registration>(&text) {
            let alive = registration.builder != own()
                && registration.boot == this_boot()
                && started(registration.builder) == Some(registration.builder_started);
            if alive {
                continue;
            }
            // A reboot of this machine does not end jobs of the cluster.
            let program = registration.cancel.program.clone();
            let said = said(registration.cancel).await?;
            if !said.ok() {
                return Err(io::Error::other(format!(
                    "job {name} of a build that was killed cannot be cancelled: {}",
                    said.failure(&program)
                )));
            }
            ended.push(Orphan {
                kind: OrphanKind::Job(name.to_owned()),
                phase: registration.phase,
            });
        }
        fs_err::remove_file(entry.path())?;
    }
    Ok(ended)
}
