//! Short processes that bring a phase to its place, ask after it or end it.

use std::io;

use stx_pipeline::Invocation;
use stx_pipeline::process::command;

/// The exit status and the output of a process that has ended.
#[derive(Debug)]
pub(super) struct Said {
    /// Its exit status; none if a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    /// Without white space around it.
    pub(super) stderr: String,
}

impl Said {
    pub(super) fn ok(&self) -> bool {
        self.code == Some(0)
    }

    /// How it failed, in a line.
    pub(super) fn failure(&self, program: &str) -> String {
        let code = self
            .code
            .map_or_else(|| "a signal".to_owned(), |code| format!("status {code}"));
        // ssh ends its lines as a terminal wants them.
        let said = self.stderr.lines().collect::<Vec<_>>().join("; ");
        format!("{program} ended with {code}: {said}")
    }
}

/// Runs a process to its end.
pub(super) fn run(invocation: &Invocation) -> io::Result<Said> {
    let output = command(invocation)?.output()?;
    Ok(Said {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Runs a process to its end, even when the future is dropped.
pub(super) async fn said(invocation: Invocation) -> io::Result<Said> {
    tokio::task::spawn_blocking(move || run(&invocation))
        .await
        .map_err(io::Error::other)?
}

#[cfg(test)]
#[test]
fn the_lines_of_a_failure_are_one() {
    let said = Said {
        code: Some(255),
        stdout: String::new(),
        stderr: "no key is known.\r\nverification failed.".to_owned(),
    };
    let wanted = "ssh ended with status 255: no key is known.; verification failed.";
    assert_eq!(said.failure("ssh"), wanted);
}
