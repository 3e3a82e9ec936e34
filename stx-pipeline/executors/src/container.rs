//! A container on the build server, through `podman` or `docker`.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};

use super::script::start;
use super::{Job, Placed, launcher, marker_script, of_no_phase, trial, with_lifeline};
use stx_pipeline::{Env, Invocation};

/// A container that is made for each run of a phase, and removed after it. Its image has to have bash and `flock`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    /// `podman`, `docker`, or a program with the same arguments.
    pub engine: String,
    /// The image.
    pub image: String,
    /// The network that the phase sees; the engine's default if not said.
    pub network: Option<String>,
    /// Directories on top of the build's own, under the same path inside; `:ro` after one makes it read-only.
    pub mounts: Vec<String>,
    /// Arguments for `run`, before the image.
    pub options: Vec<String>,
}

impl Container {
    fn args(&self, job: &Job) -> Vec<String> {
        let words = [
            "run",
            "--rm",
            "--init",
            "--interactive",
            "--name",
            &job.name,
        ];
        let mut args: Vec<_> = words.map(str::to_owned).to_vec();
        // Files have to belong to the builder, not to the container's root.
        match self.engine.rsplit('/').next() {
            Some("podman") => args.push("--userns=keep-id".to_owned()),
            Some(_) | None => args.push(format!("--user={}:{}", job.owner.0, job.owner.1)),
        }
        if let Some(network) = &self.network {
            args.push(format!("--network={network}"));
        }
        let mut seen: BTreeSet<&Utf8Path> = BTreeSet::new();
        let jobs = job.dir.parent().unwrap_or(&job.dir);
        for dir in job.shared.iter().map(Utf8PathBuf::as_path).chain([jobs]) {
            let covered = seen.iter().any(|outer| dir.starts_with(outer));
            if !covered && seen.insert(dir) {
                args.push(format!("--volume={dir}:{dir}"));
            }
        }
        for mount in &self.mounts {
            let dir = mount.strip_suffix(":ro").unwrap_or(mount);
            let mode = &mount[dir.len()..];
            args.push(format!("--volume={dir}:{dir}{mode}"));
        }
        args.extend(self.options.iter().cloned());
        args.push(self.image.clone());
        args
    }

    pub(super) fn rewrite(&self, invocation: &Invocation, job: &Job, tools: &Env) -> Placed {
        let mut args = self.args(job);
        args.extend(start(&job.script(), true));
        args.push("0".to_owned());
        let kill = ["kill", &job.name].map(str::to_owned).to_vec();
        Placed::Process {
            files: vec![job.run_script(invocation)],
            invocation: with_lifeline(launcher(&self.engine, args, invocation, tools)),
            end: Some(trial(&self.engine, kill, tools)),
        }
    }

    pub(super) fn check(&self, marker: &Utf8Path, job: &Job, tools: &Env) -> Invocation {
        let mut args = self.args(job);
        args.extend(["/bin/sh".to_owned(), "-c".to_owned(), marker_script(marker)]);
        of_no_phase(trial(&self.engine, args, tools))
    }
}
