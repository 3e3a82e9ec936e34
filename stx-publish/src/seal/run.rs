//! A program that signs: bytes in, signature out.
#![expect(clippy::disallowed_methods, reason = "the backend that runs a signer")]

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::seal::SignError;

/// How long one signature may take. A signer that waits for somebody to touch a token has to be told apart from one that hangs.
const LONGEST: Duration = Duration::from_mins(2);

/// Runs a program with `input` on its standard input; what it writes to its standard output.
pub(crate) fn run(
    program: &str,
    packages: &str,
    args: &[String],
    env: &[(&str, String)],
    input: &[u8],
) -> Result<Vec<u8>, SignError> {
    let io = |source| SignError::Io {
        signer: program.to_owned(),
        source,
    };
    let child = Command::new(program)
        .args(args)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut child = match child {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(SignError::MissingTool {
                tool: program.to_owned(),
                packages: packages.to_owned(),
            });
        }
        child => child.map_err(io)?,
    };
    let pid = Pid::from_child(&child);
    let stdin = child.stdin.take();
    let (send, ended) = mpsc::channel();
    let output = thread::scope(|scope| {
        scope.spawn(move || {
            // A program that ends without reading all of it has its say on standard error.
            stdin.map(|mut stdin| stdin.write_all(input))
        });
        scope.spawn(move || send.send(child.wait_with_output()));
        ended.recv_timeout(LONGEST).unwrap_or_else(|_| {
            // With all that it started, or its pipes would stay open.
            let _ = kill_process_group(pid, Signal::KILL);
            let limit = LONGEST.as_secs();
            let text = format!("no signature within {limit} s");
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        })
    });
    let Output {
        status,
        stdout,
        stderr,
    } = output.map_err(io)?;
    if status.success() {
        return Ok(stdout);
    }
    let said = String::from_utf8_lossy(&stderr);
    let last: Vec<_> = said.lines().rev().take(3).collect();
    let lines = last.into_iter().rev().map(|line| format!("; {line}"));
    Err(SignError::Refused {
        signer: program.to_owned(),
        reason: format!("{status}{}", lines.collect::<String>()),
    })
}
