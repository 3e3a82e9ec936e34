//! The script that runs one phase at its place, and the files that it writes.
//!
//! A file that only the builder's user can read holds a phase's command and environment; every user of a machine could read a
//! command line. The script starts the phase in a process group of its own, and ends that group on a signal or at the end of
//! its lifeline. It writes the phase's result into a file, by rename. It needs bash and `flock`.

use std::fmt::Write as _;

use camino::Utf8PathBuf;

use stx_pipeline::invocation::is_name;
use stx_pipeline::{Ended, Env, Invocation, Recipe};

/// The last part of every script, after the function that runs the phase.
const BODY: &str = concat!(
    "# The rest is the same for every phase; the lines above say which one it is.\n\n",
    include_str!("sweep.sh"),
    "\n",
    include_str!("run.sh")
);

/// The functions that end the processes that a phase left behind.
const SWEEP: &str = include_str!("sweep.sh");

/// Variables that a shell reserves: it sets them itself, or refuses to have them set.
const OF_THE_SHELL: [&str; 22] = [
    "BASH",
    "BASHOPTS",
    "BASHPID",
    "BASH_ARGC",
    "BASH_ARGV",
    "BASH_ENV",
    "BASH_LINENO",
    "BASH_SOURCE",
    "BASH_VERSINFO",
    "DIRSTACK",
    "EUID",
    "FUNCNAME",
    "GROUPS",
    "IFS",
    "LD_PRELOAD",
    "OLDPWD",
    "POSIXLY_CORRECT",
    "PPID",
    "PWD",
    "SHELLOPTS",
    "UID",
    "_",
];

/// Variables that a shell exports on its own.
const UNASKED: [&str; 4] = ["OLDPWD", "PWD", "SHLVL", "_"];

/// Seconds between asking a phase to end and killing it, unless its recipe sets another time.
pub const GRACE: u32 = 10;

/// Seconds that a run waits for an earlier run of the same phase.
const PATIENCE: u32 = 900;

/// One run of a phase as files on the file system that the builder shares with its places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// A name that no other job of any builder has: letters, digits, `-`, `.` and `_`.
    pub name: String,
    /// The job's own directory, absolute.
    pub dir: Utf8PathBuf,
    /// The file that is locked while the phase runs.
    pub lock: Utf8PathBuf,
    /// User and group of the builder.
    pub owner: (u32, u32),
    /// Directories that must be visible at the place, absolute: workspace, sources, the recipe's.
    pub shared: Vec<Utf8PathBuf>,
    /// The variables that every phase of the build has.
    pub common: Env,
}

/// The event that ends a phase after its builder died or gave up on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifeline {
    /// None: the process that started the phase ends it.
    None,
    /// The phase ends when its standard input ends.
    Stdin,
    /// The phase ends when the lock of [`Job::alive`] is released. Its output is written to [`Job::output`].
    Lock,
}

/// A file of a job; mode 0600.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFile {
    /// Its absolute path.
    pub path: Utf8PathBuf,
    /// Its text.
    pub text: String,
}

impl Job {
    /// The script.
    pub fn script(&self) -> Utf8PathBuf {
        self.dir.join("run")
    }

    /// The file that the script writes at its end; see [`outcome`].
    pub fn result(&self) -> Utf8PathBuf {
        self.dir.join("result")
    }

    /// The file for all output of a job that is followed by its files, such as a job of a cluster.
    pub fn output(&self) -> Utf8PathBuf {
        self.dir.join("output")
    }

    /// The file of the output, empty.
    #[cfg(feature = "process")]
    pub(crate) fn empty_output(&self) -> JobFile {
        JobFile {
            path: self.output(),
            text: String::new(),
        }
    }

    /// The file that the builder locks as long as it wants the phase to continue; see [`Lifeline::Lock`].
    pub fn alive(&self) -> Utf8PathBuf {
        self.dir.join("alive")
    }

    /// The files that the script creates when the phase begins and when it is over. If only the first exists, the script may
    /// have been killed.
    #[cfg(feature = "process")]
    pub(crate) fn traces(&self) -> [Utf8PathBuf; 2] {
        [self.dir.join("began"), self.dir.join("over")]
    }

    /// The command line that runs the script, for a POSIX shell. The caller appends the number of earlier runs of the job: `0`
    /// if none was restarted.
    pub fn start(&self, lifeline: Lifeline) -> Vec<String> {
        let script = self.script();
        let lifeline = match lifeline {
            Lifeline::None => "none",
            Lifeline::Stdin => "stdin",
            Lifeline::Lock => "lock",
        };
        [
            "/usr/bin/env",
            "-i",
            "/bin/bash",
            "--noprofile",
            "--norc",
            script.as_str(),
            lifeline,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// The script that runs `invocation`; strings may contain any characters.
    pub fn run_script(&self, invocation: &Invocation) -> JobFile {
        self.run_script_keeping(invocation, &[])
    }

    /// The script that runs `invocation`, and keeps variables of the place that the patterns name. A pattern consists of
    /// letters, digits, `_` and `*`. Kept variables override the phase's own.
    pub(crate) fn run_script_keeping(&self, invocation: &Invocation, keep: &[String]) -> JobFile {
        JobFile {
            path: self.script(),
            text: script(self, invocation, keep),
        }
    }

    /// The text of a script that ends the processes that a phase left in `workspace`; those of all phases if `phase` is empty.
    pub(crate) fn sweep_script(workspace: &str, phase: &str, grace: u64) -> String {
        let quote = shell_words::quote;
        format!(
            "workspace={}\nstray={}\ngrace={grace}\n{SWEEP}\nsweep || exit 1\n",
            quote(workspace),
            quote(phase)
        )
    }
}

/// Seconds between asking a phase to end and killing it.
pub(crate) fn grace(invocation: &Invocation) -> u64 {
    match invocation.stop_grace {
        None => u64::from(GRACE),
        Some(grace) => grace.as_secs() + u64::from(grace.subsec_nanos() > 0),
    }
}

fn script(job: &Job, invocation: &Invocation, keep: &[String]) -> String {
    let quote = shell_words::quote;
    let mut text = String::from("# One run of a phase: its command and its environment.\n");
    for (name, value) in [
        ("job", job.dir.as_str()),
        ("lock", job.lock.as_str()),
        ("work", invocation.dir.as_str()),
        ("program", &invocation.program),
        ("path", invocation.variable("PATH")),
        ("workspace", invocation.variable("MY_WORKSPACE")),
        ("stray", invocation.variable("PHASE")),
    ] {
        let value = quote(value);
        writeln!(text, "{name}={value}").expect("a string takes all");
    }
    let grace = grace(invocation);
    let kept = |name: &str| {
        !Recipe::RESERVED.contains(&name) && keep.iter().any(|pattern| matches(pattern, name))
    };
    if kept("PATH") {
        text.push_str("[[ ! -v PATH || ${PATH@a} != *x* ]] || path=$PATH\n");
    }
    writeln!(text, "grace={grace} patience={PATIENCE}\nphase() {{").expect("a string takes all");
    if !keep.is_empty() {
        let keep = keep.join(" | ");
        text.push_str("    local name\n    for name in $(compgen -e); do\n");
        writeln!(
            text,
            "        case $name in {keep}) ;; *) unset -v \"$name\" ;; esac"
        )
        .expect("a string takes all");
        text.push_str("    done 2> /dev/null\n");
    }
    let mut words = vec!["/usr/bin/env".to_owned()];
    for name in UNASKED {
        words.extend(["-u".to_owned(), name.to_owned()]);
    }
    for (name, value) in &invocation.env {
        let own = OF_THE_SHELL.contains(&&**name) || UNASKED.contains(&&**name);
        if own || !is_name(name) {
            words.push(format!("{name}={value}"));
        } else {
            let unless = if kept(name) {
                format!("[[ -v {name} && ${{{name}@a}} == *x* ]] || ")
            } else {
                String::new()
            };
            writeln!(text, "    {unless}export {name}={}", quote(value))
                .expect("a string takes all");
        }
    }
    words.push(invocation.program.clone());
    words.extend(invocation.args.iter().cloned());
    writeln!(text, "    exec {}\n}}\n", shell_words::join(words)).expect("a string takes all");
    text + BODY
}

/// True if a pattern of letters, digits, `_` and `*` matches the name of a variable.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            (0..=name.len()).any(|at| name.is_char_boundary(at) && matches(rest, &name[at..]))
        }),
    }
}

/// The end of a phase as its script recorded it; `None` for a text that no script wrote.
pub fn outcome(text: &str) -> Option<Ended> {
    let (kind, rest) = text.lines().next()?.split_once(' ')?;
    match kind {
        "exit" => Some(Ended::Exited {
            code: rest.parse().ok()?,
        }),
        "signal" => Some(Ended::Signalled {
            signal: rest.parse().ok()?,
        }),
        "not-started" => Some(Ended::NotStarted {
            reason: rest.to_owned(),
        }),
        _ => None,
    }
}

#[cfg(all(test, feature = "process"))]
#[path = "script_tests.rs"]
mod tests;
