//! The programs that a recipe's phases call.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::{fmt, io};

use camino::{Utf8Path, Utf8PathBuf};

use crate::{Invocation, Recipe};

/// A missing program, and the packages that contain it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingTool {
    /// The program.
    pub program: String,
    /// The Debian package.
    pub apt: String,
    /// The package of Fedora and related distributions.
    pub dnf: String,
}

impl fmt::Display for MissingTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, apt, dnf } = self;
        write!(
            f,
            "{program} is not in PATH: `apt install {apt}` or `dnf install {dnf}` installs it"
        )
    }
}

/// The recipe's tools that are not found in `path`, which has the form of `PATH`.
pub fn missing_tools(recipe: &Recipe, path: &str) -> Vec<MissingTool> {
    recipe
        .tools
        .iter()
        .filter(|(program, _)| find(program, path).is_none())
        .map(|(program, tool)| MissingTool {
            program: program.clone(),
            apt: tool.apt.clone(),
            dnf: tool.dnf.clone(),
        })
        .collect()
}

/// The process of an invocation, in a process group of its own: a signal from the terminal ends only the builder, not the
/// process.
#[expect(clippy::disallowed_methods, reason = "this is what runners start")]
pub fn command(invocation: &Invocation) -> io::Result<Command> {
    let program = if invocation.program.contains('/') {
        invocation.dir.join(&invocation.program)
    } else {
        find(&invocation.program, invocation.variable("PATH"))
            .ok_or_else(|| io::Error::other(format!("{} is not in PATH", invocation.program)))?
    };
    let env = invocation.env.iter();
    let mut command = Command::new(program);
    command
        .args(&invocation.args)
        .env_clear()
        .envs(env.map(|(name, value)| (&**name, &**value)))
        .current_dir(&invocation.dir)
        .stdin(Stdio::null())
        .process_group(0);
    Ok(command)
}

/// The executable file that `program` names in `path`.
pub(super) fn find(program: &str, path: &str) -> Option<Utf8PathBuf> {
    path.split(':')
        .filter(|dir| !dir.is_empty())
        .map(|dir| Utf8Path::new(dir).join(program))
        .find(|file| {
            fs_err::metadata(file)
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
}
