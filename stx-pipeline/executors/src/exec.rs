//! Runs phases inside something that already runs: a pod, a container, a namespace.

use std::collections::BTreeMap;
use std::sync::Arc;

use camino::Utf8Path;
use serde::Deserialize;
use stx_layout::config::Spanned;
use stx_pipeline::{Env, Invocation, Recipe};

use super::paths::{PathTable, expanded};
use super::script::grace;
use super::{
    Check, Executor, ExecutorTable, Job, JobFile, Lifeline, PathMap, Placed, launcher, of_no_phase,
    trial,
};

/// A pod, container or namespace that already runs, and that a command enters: `kubectl exec`, `docker exec`, `nsenter`,
/// `stx shell`.
///
/// The command only starts a phase. The phase often continues after the command ends or loses its connection. The builder
/// therefore follows the phase by its files, and ends it by releasing a lock. Both are on the file system that the builder
/// shares with the place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exec {
    /// The command; the words of another command are appended to it. `${NAME}` stands for a variable of the build.
    pub command: Vec<String>,
    /// True if the command takes those words as one argument, a text for a shell.
    pub one_argument: bool,
    /// The user that runs the phase inside; `runuser` switches to it.
    pub user: Option<String>,
    /// The directories of the build server that have other paths inside.
    pub paths: PathMap,
    /// Patterns for variables of the inside that phases see; they override the variables of the build.
    pub keep: Vec<String>,
    /// Variables for the command itself.
    pub env: BTreeMap<String, String>,
    /// True if a phase of the build starts the place, so that it cannot be tried before the first phase.
    pub late: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExecTable {
    command: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    one_argument: bool,
    user: Option<Spanned<String>>,
    #[serde(default)]
    paths: PathTable,
    #[serde(default)]
    keep: Vec<Spanned<String>>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    late: bool,
}

impl Exec {
    pub(super) fn from_table(table: &mut ExecutorTable<'_>) -> Option<Arc<dyn Executor>> {
        let fields: ExecTable = table.read()?;
        let at = fields.command.span().start;
        let mut command = Vec::new();
        for (index, word) in fields.command.into_inner().into_iter().enumerate() {
            command.push(match index {
                0 => table.word("a program", word),
                _ => word.into_inner(),
            });
        }
        match command.first_mut() {
            None => table.fault(at, "`command` names no program"),
            // A program without a slash is found through `PATH`.
            Some(program) if program.contains('/') => {
                *program = table.path(&*program).into_string();
            }
            Some(_) => {}
        }
        for pattern in &fields.keep {
            let text = pattern.get_ref();
            let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'*');
            if text.is_empty() || !text.bytes().all(known) {
                let message =
                    format!("{text:?} does not name variables: letters, digits, `_`, `*`");
                table.fault(pattern.span().start, message);
            } else if Recipe::RESERVED.contains(&text.as_str()) {
                let message = format!("`{text}` is set by the build");
                table.fault(pattern.span().start, message);
            }
        }
        let user = fields.user.map(|user| table.word("a user", user));
        Some(Arc::new(Self {
            command,
            one_argument: fields.one_argument,
            user,
            paths: PathMap::read(table, fields.paths),
            keep: fields.keep.into_iter().map(Spanned::into_inner).collect(),
            env: fields.env,
            late: fields.late,
        }))
    }

    /// The program and arguments that run `words` inside.
    fn enter(&self, words: Vec<String>, build: &Env) -> (String, Vec<String>) {
        let mut all: Vec<_> = self
            .command
            .iter()
            .map(|word| expanded(word, build))
            .collect();
        let mut inner = Vec::new();
        if let Some(user) = &self.user {
            inner.extend(["runuser", "-u", user, "--"].map(str::to_owned));
        }
        inner.extend(words);
        if self.one_argument {
            all.push(shell_words::join(inner));
        } else {
            all.extend(inner);
        }
        let program = if all.is_empty() {
            String::new()
        } else {
            all.remove(0)
        };
        (program, all)
    }

    fn tools(&self, tools: &Env) -> Env {
        let own = self.env.iter();
        let own = own.map(|(name, value)| (name.as_str().into(), value.as_str().into()));
        tools.clone().into_iter().chain(own).collect()
    }
}

/// The command line that runs a script without any environment.
fn bash(script: &Utf8Path) -> Vec<String> {
    [
        "/usr/bin/env",
        "-i",
        "/bin/bash",
        "--noprofile",
        "--norc",
        script.as_str(),
    ]
    .map(str::to_owned)
    .to_vec()
}

impl Executor for Exec {
    fn rewrite(&self, invocation: &Invocation, job: &Job, tools: &Env) -> Placed {
        let paths = self.paths.of_build(&job.common);
        let inside = paths.job(job);
        let phase = paths.invocation(invocation);
        let mut words = inside.start(Lifeline::Lock);
        if !self.keep.is_empty() {
            // Drop `env -i`, which would clear the variables to keep.
            words.drain(..2);
        }
        words.push("0".to_owned());
        let run = JobFile {
            path: job.script(),
            text: inside.run_script_keeping(&phase, &self.keep).text,
        };
        let sweep = JobFile {
            path: job.dir.join("sweep"),
            text: Job::sweep_script(
                phase.variable("MY_WORKSPACE"),
                phase.variable("PHASE"),
                grace(invocation),
            ),
        };
        let tools = self.tools(tools);
        let (program, args) = self.enter(words, &job.common);
        let client = launcher(&program, args, invocation, &tools);
        let (program, args) = self.enter(bash(&inside.dir.join("sweep")), &job.common);
        let sweeper = launcher(&program, args, invocation, &tools);
        let shown = match paths.note() {
            note if note.is_empty() => phase.to_string(),
            note => format!("{phase}  # {note}"),
        };
        Placed::Followed {
            files: vec![run, sweep],
            client,
            sweeper,
            shown,
        }
    }

    fn check(&self, marker: &Utf8Path, job: &Job, tools: &Env) -> Option<Check> {
        if self.late {
            return None;
        }
        let paths = self.paths.of_build(&job.common);
        let workspace = job.common.get("MY_WORKSPACE").map_or("", |value| value);
        let script = check_script(&paths.path(marker), &paths.text(workspace));
        let file = JobFile {
            path: job.dir.join("check"),
            text: script,
        };
        let (program, args) = self.enter(bash(&paths.path(&file.path)), &job.common);
        let invocation = of_no_phase(trial(&program, args, &self.tools(tools)));
        Some(Check::PrintsBy { file, invocation })
    }
}

/// A script that ends the processes that a killed build left inside, checks that the builder's lock is visible there, and
/// prints the marker.
fn check_script(marker: &Utf8Path, workspace: &str) -> String {
    let marker = shell_words::quote(marker.as_str()).into_owned();
    format!(
        "fail() {{ echo \"$1\" >&2; exit 1; }}\n\
         command -v flock > /dev/null || fail 'flock is missing'\n\
         command -v grep > /dev/null || fail 'grep is missing'\n\
         test -r {marker} || fail 'no file '{marker}\n\
         if flock --nonblock --shared {marker} true; then\n    \
             fail 'a lock of the build server has no effect here: the file system does not share locks'\n\
         fi\n\
         (\n{})\n\
         test $? = 0 || fail 'processes of an earlier build cannot be ended'\n\
         exec cat {marker}\n",
        Job::sweep_script(workspace, "", 10)
    )
}
