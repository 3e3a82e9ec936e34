//! Phases as jobs of a Slurm cluster.

use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;
use stx_layout::config::{PositiveDuration, Spanned, Within};
use stx_pipeline::{Env, Invocation};

use super::{
    Check, Executor, ExecutorTable, Job, JobFile, Lifeline, Placed, Slurm, launcher, trial,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SlurmTable {
    partition: Option<String>,
    cpus: Option<Within<u32, 1, { u32::MAX as u64 }>>,
    memory: Option<Spanned<String>>,
    time: Option<Spanned<PositiveDuration>>,
    account: Option<String>,
    conf: Option<Utf8PathBuf>,
    #[serde(default)]
    options: Vec<Spanned<String>>,
}

impl Slurm {
    pub(super) fn from_table(table: &mut ExecutorTable<'_>) -> Option<Arc<dyn Executor>> {
        let fields: SlurmTable = table.read()?;
        if let Some(memory) = &fields.memory {
            let text = memory.get_ref();
            let number = text.strip_suffix(['K', 'M', 'G', 'T']).unwrap_or(text);
            if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                let message =
                    format!("{text:?} is not a size: a number with K, M, G or T, as `4G`");
                table.fault(memory.span().start, message);
            }
        }
        let time = fields
            .time
            .map(|time| (time.span().start, time.into_inner().get()));
        if let Some((at, _)) = time.filter(|(_, time)| *time < Duration::from_secs(1)) {
            table.fault(at, "`time` is at least a second");
        }
        Some(Arc::new(Self {
            partition: fields.partition,
            cpus: fields.cpus.map(Within::get),
            memory: fields.memory.map(Spanned::into_inner),
            time: time.map(|(_, time)| time),
            account: fields.account,
            conf: fields.conf.map(|file| table.path(file)),
            options: table.options(fields.options),
        }))
    }
}

impl Executor for Slurm {
    fn rewrite(&self, invocation: &Invocation, job: &Job, tools: &Env) -> Placed {
        let tools = self.tools(tools);
        let mut args = vec!["--parsable".to_owned()];
        args.extend(self.options(job, invocation.timeout));
        let file = batch_script(job);
        args.push(file.path.to_string());
        let cancel = vec!["--quiet".to_owned(), format!("--name={}", job.name)];
        Placed::Submitted {
            files: vec![job.run_script(invocation), file],
            submit: launcher("sbatch", args, invocation, &tools),
            cancel: trial("scancel", cancel, &tools),
            slurm: self.clone(),
        }
    }

    fn check(&self, _: &Utf8Path, job: &Job, tools: &Env) -> Option<Check> {
        let file = batch_script(job);
        let mut args = vec!["--test-only".to_owned()];
        args.extend(self.options(job, None));
        args.push(file.path.to_string());
        Some(Check::Succeeds {
            file,
            invocation: trial("sbatch", args, &self.tools(tools)),
        })
    }
}

/// Slurm keeps a copy of this script, so it contains no environment. If the file system is not shared, the script reports that.
fn batch_script(job: &Job) -> JobFile {
    let script = shell_words::quote(job.script().as_str()).into_owned();
    let start = shell_words::join(job.start(Lifeline::None));
    JobFile {
        path: job.dir.join("batch"),
        text: format!(
            "#!/bin/sh\n\
             test -r {script} || {{\n    echo \"stx-builds: $SLURMD_NODENAME does not see \"{script} >&2\n    exit 78\n}}\n\
             exec {start} \"${{SLURM_RESTART_COUNT:-0}}\" \"$SLURMD_NODENAME\"\n"
        ),
    }
}
