//! Runs phases on another host, through the program `ssh`.

use camino::{Utf8Path, Utf8PathBuf};

use std::sync::Arc;

use serde::Deserialize;
use stx_layout::config::Spanned;
use stx_pipeline::{Ended, Env, Invocation};

use super::{
    Check, Executor, ExecutorTable, Job, Lifeline, Placed, launcher, marker_script, of_no_phase,
    trial, with_lifeline,
};

/// The longest path of a socket, less the suffix that `ssh` appends while it creates one.
const SOCKET: usize = 107 - 18;

/// Another host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ssh {
    /// `[user@]host`, or a name of `ssh`'s own configuration.
    pub host: String,
    /// The port.
    pub port: Option<u16>,
    /// The file of the private key.
    pub identity: Option<Utf8PathBuf>,
    /// `Key=value` pairs in the form of `ssh_config(5)`; they precede the built-in options and override them.
    pub options: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SshTable {
    host: Spanned<String>,
    port: Option<u16>,
    identity: Option<Utf8PathBuf>,
    #[serde(default)]
    options: Vec<Spanned<String>>,
}

impl Ssh {
    /// The command line up to the host; `opens` is true if it opens the connection that later commands share.
    fn args(&self, job: &Job, opens: bool) -> Vec<String> {
        let mut args = vec!["-T".to_owned()];
        let mut option = |text: String| args.extend(["-o".to_owned(), text]);
        for text in &self.options {
            option(text.clone());
        }
        for text in [
            "BatchMode=yes",
            "ConnectTimeout=20",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=4",
            "EscapeChar=none",
            "ClearAllForwardings=yes",
            "LogLevel=ERROR",
        ] {
            option(text.to_owned());
        }
        for text in sharing(job.dir.parent().unwrap_or(&job.dir), opens) {
            option(text);
        }
        if let Some(port) = self.port {
            args.extend(["-p".to_owned(), port.to_string()]);
        }
        if let Some(identity) = &self.identity {
            let own = ["-o", "IdentitiesOnly=yes", "-i", identity.as_str()];
            args.extend(own.map(str::to_owned));
        }
        args.extend(["--".to_owned(), self.host.clone()]);
        args
    }

    pub(super) fn from_table(table: &mut ExecutorTable<'_>) -> Option<Arc<dyn Executor>> {
        let fields: SshTable = table.read()?;
        let host = table.word("a host", fields.host);
        for option in &fields.options {
            let (at, option) = (option.span().start, option.get_ref());
            let key = option.split_once('=').map_or("", |(key, _)| key);
            if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                table.fault(at, format!("{option:?} is not of the form Key=value"));
            }
        }
        Some(Arc::new(Self {
            host,
            port: fields.port,
            identity: fields.identity.map(|file| table.path(file)),
            options: fields
                .options
                .into_iter()
                .map(Spanned::into_inner)
                .collect(),
        }))
    }
}

impl Executor for Ssh {
    fn rewrite(&self, invocation: &Invocation, job: &Job, tools: &Env) -> Placed {
        let mut words = job.start(Lifeline::Stdin);
        words.push("0".to_owned());
        // A connection that a phase opens would end with the phase.
        let mut args = self.args(job, false);
        args.push(format!("exec {}", shell_words::join(words)));
        Placed::Process {
            files: vec![job.run_script(invocation)],
            invocation: with_lifeline(launcher("ssh", args, invocation, tools)),
            end: None,
        }
    }

    fn check(&self, marker: &Utf8Path, job: &Job, tools: &Env) -> Option<Check> {
        let mut args = self.args(job, true);
        let words = ["exec", "/bin/sh", "-c", &marker_script(marker)];
        args.push(shell_words::join(words));
        Some(Check::Prints(of_no_phase(trial("ssh", args, tools))))
    }

    /// Ends the shared connection of a build, if one exists.
    fn close(&self, job: &Job, tools: &Env) -> Option<Invocation> {
        let mut args = vec!["-O".to_owned(), "exit".to_owned()];
        args.extend(self.args(job, false));
        Some(trial("ssh", args, tools))
    }

    fn explain(&self, ended: &Ended) -> Option<String> {
        matches!(ended, Ended::Exited { code: 255 })
            .then(|| "the connection was refused, or it broke".to_owned())
    }
}

/// Options that share a build's connection through a socket in `dir`, unless the path is too long for a socket.
fn sharing(dir: &Utf8Path, opens: bool) -> Vec<String> {
    // `%C` becomes a digest of 40 digits.
    if dir.as_str().len() + "/".len() + 40 > SOCKET {
        return vec!["ControlPath=none".to_owned()];
    }
    let dir = dir.as_str().replace('%', "%%").replace('"', "\\\"");
    let mut options = vec![format!("ControlPath=\"{dir}/%C\"")];
    if opens {
        // Longer than a build idles; a phase that finds no shared connection opens its own.
        options.extend(["ControlMaster=auto", "ControlPersist=12h"].map(str::to_owned));
    } else {
        options.push("ControlMaster=no".to_owned());
    }
    options
}
