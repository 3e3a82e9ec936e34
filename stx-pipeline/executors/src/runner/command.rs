//! Short processes that bring a phase to its place, query it or end it.

use std::io;
use std::process::{Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use stx_pipeline::Invocation;
use stx_pipeline::process::command;

/// The exit status and the output of a process that has ended.
#[derive(Debug)]
pub(super) struct Said {
    /// Its exit status; `None` if a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    /// Without surrounding white space.
    pub(super) stderr: String,
}

impl Said {
    pub(super) fn ok(&self) -> bool {
        self.code == Some(0)
    }

    /// A line about its failure.
    pub(super) fn failure(&self, program: &str) -> String {
        let code = self
            .code
            .map_or_else(|| "a signal".to_owned(), |code| format!("status {code}"));
        // ssh ends its lines with a carriage return, for terminals.
        let lines = self.stderr.lines().map(str::trim_end);
        let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
        format!("{program} ended with {code}: {}", lines.join("; "))
    }
}

/// Runs a process to its end.
pub(super) fn run(invocation: &Invocation) -> io::Result<Said> {
    Ok(told(&command(invocation)?.output()?))
}

fn told(output: &Output) -> Said {
    Said {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    }
}

/// Runs a process to its end, even when the future is dropped.
pub(super) async fn said(invocation: Invocation) -> io::Result<Said> {
    tokio::task::spawn_blocking(move || run(&invocation))
        .await
        .map_err(io::Error::other)?
}

/// Runs a process to its end, or kills its process group after `limit` and returns `None`.
pub(super) async fn said_within(
    invocation: Invocation,
    limit: Duration,
) -> io::Result<Option<Said>> {
    let run = move || {
        let mut command = command(&invocation)?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn()?;
        let group = Pid::from_child(&child);
        let (over, is_over) = channel::<()>();
        let watch = thread::spawn(move || {
            let late = is_over.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            if late {
                // The group may already be gone.
                kill_process_group(group, Signal::KILL).ok();
            }
            late
        });
        let output = child.wait_with_output();
        drop(over);
        let late = watch.join().unwrap_or(false);
        Ok((!late).then_some(told(&output?)))
    };
    let done = tokio::task::spawn_blocking(run).await;
    done.map_err(io::Error::other)?
}

#[cfg(test)]
#[test]
fn the_lines_of_a_failure_are_joined() {
    let said = Said {
        code: Some(255),
        stdout: String::new(),
        stderr: "no key is known.\r\n\r\nverification failed.".to_owned(),
    };
    let wanted = "ssh ended with status 255: no key is known.; verification failed.";
    assert_eq!(said.failure("ssh"), wanted);
}
