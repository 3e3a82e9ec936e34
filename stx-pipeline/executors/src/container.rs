//! Runs phases in a container on the build server, through `podman` or `docker`.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};

use std::sync::Arc;

use serde::Deserialize;
use stx_layout::config::Spanned;
use stx_pipeline::{Env, Invocation};

use super::paths::PathTable;
use super::{
    Check, Executor, ExecutorTable, Job, JobFile, Lifeline, PathMap, Placed, launcher,
    marker_script, of_no_phase, trial, with_lifeline,
};

/// A container that is created for each run of a phase, and removed after it. Its image must have bash and `flock`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    /// `podman`, `docker`, or a program with the same arguments.
    pub engine: String,
    /// The image.
    pub image: String,
    /// The network that the phase sees; if unset, the engine's default.
    pub network: Option<String>,
    /// Directories in addition to the build's own, under the same path inside; the suffix `:ro` makes one read-only.
    pub mounts: Vec<String>,
    /// Arguments for `run`, before the image.
    pub options: Vec<String>,
    /// The directories of the build that have other paths inside.
    pub paths: PathMap,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContainerTable {
    engine: Option<Spanned<String>>,
    image: Spanned<String>,
    network: Option<String>,
    #[serde(default)]
    mounts: Vec<Spanned<String>>,
    #[serde(default)]
    options: Vec<Spanned<String>>,
    #[serde(default)]
    paths: PathTable,
}

impl Container {
    fn args(&self, job: &Job, paths: &PathMap) -> Vec<String> {
        let words = [
            "run",
            "--rm",
            "--init",
            "--interactive",
            "--name",
            &job.name,
        ];
        let mut args: Vec<_> = words.map(str::to_owned).to_vec();
        // Files must belong to the builder, not to the container's root.
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
            // The volume of a parent directory does not contain a mapped directory at its new path.
            let mapped = paths.path(dir);
            let covered = covered && mapped == dir;
            if !covered && seen.insert(dir) {
                args.push(format!("--volume={dir}:{mapped}"));
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

    pub(super) fn from_table(table: &mut ExecutorTable<'_>) -> Option<Arc<dyn Executor>> {
        let fields: ContainerTable = table.read()?;
        let mut engine = match fields.engine {
            Some(engine) => table.word("a container engine", engine),
            None => "podman".to_owned(),
        };
        // A program without a slash is found through `PATH`.
        if engine.contains('/') {
            engine = table.path(engine).into_string();
        }
        let image = table.word("an image", fields.image);
        let mut mounts = Vec::new();
        for mount in fields.mounts {
            let at = mount.span().start;
            let mount = table.path(mount.into_inner()).into_string();
            if mount.strip_suffix(":ro").unwrap_or(&mount).contains(':') {
                table.fault(at, "expected a directory, or a directory followed by `:ro`");
            }
            mounts.push(mount);
        }
        Some(Arc::new(Self {
            engine,
            image,
            network: fields.network,
            mounts,
            options: table.options(fields.options),
            paths: PathMap::read(table, fields.paths),
        }))
    }
}

impl Executor for Container {
    fn rewrite(&self, invocation: &Invocation, job: &Job, tools: &Env) -> Placed {
        let paths = self.paths.of_build(&job.common);
        let inside = paths.job(job);
        let mut args = self.args(job, &paths);
        args.extend(inside.start(Lifeline::Stdin));
        args.push("0".to_owned());
        let kill = ["kill", &job.name].map(str::to_owned).to_vec();
        Placed::Process {
            files: vec![JobFile {
                path: job.script(),
                text: inside.run_script(&paths.invocation(invocation)).text,
            }],
            invocation: with_lifeline(launcher(&self.engine, args, invocation, tools)),
            end: Some(trial(&self.engine, kill, tools)),
        }
    }

    fn check(&self, marker: &Utf8Path, job: &Job, tools: &Env) -> Option<Check> {
        let paths = self.paths.of_build(&job.common);
        let mut args = self.args(job, &paths);
        let script = marker_script(&paths.path(marker));
        args.extend(["/bin/sh".to_owned(), "-c".to_owned(), script]);
        Some(Check::Prints(of_no_phase(trial(&self.engine, args, tools))))
    }
}
