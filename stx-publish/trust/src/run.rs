//! A program that signs: bytes in, signature out.
#![expect(clippy::disallowed_methods, reason = "the backend that runs a signer")]

use std::io::{self, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStdin, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use stx_publish::incoming::CHUNK;
use stx_publish::seal::SignError;

/// The longest time for one signature. A signer that waits for a person to touch a token must be distinguishable from one that
/// hangs.
const LONGEST: Duration = Duration::from_mins(2);

/// Writes the input of a program; an error is one of reading the input.
fn feed(mut input: impl Read, stdin: Option<ChildStdin>) -> io::Result<()> {
    let Some(mut stdin) = stdin else {
        return Ok(());
    };
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = match input.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count?,
        };
        // A program that ends without reading all of its input explains the reason on standard error.
        if count == 0 || stdin.write_all(&buffer[..count]).is_err() {
            return Ok(());
        }
    }
}

/// Runs a program with `input` on its standard input; returns its standard output.
pub(crate) fn run(
    program: &str,
    packages: &str,
    args: &[String],
    env: &[(&str, String)],
    input: impl Read + Send,
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
    let (output, fed) = thread::scope(|scope| {
        let fed = scope.spawn(move || feed(input, stdin));
        scope.spawn(move || send.send(child.wait_with_output()));
        let output = ended.recv_timeout(LONGEST).unwrap_or_else(|_| {
            // With all its child processes, which would otherwise keep its pipes open.
            let _ = kill_process_group(pid, Signal::KILL);
            let limit = LONGEST.as_secs();
            let text = format!("no signature within {limit} s");
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        });
        let fed = fed.join();
        (output, fed)
    });
    // It may have signed only the part of the input that could be read.
    match fed {
        Ok(fed) => fed.map_err(io)?,
        Err(panic) => std::panic::resume_unwind(panic),
    }
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
