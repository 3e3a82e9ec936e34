//! Runs the command for notices: it may fail, hang or be slow without affecting the service.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use stx_service::Notice;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use crate::Site;

/// The maximal number of waiting notices; further ones are dropped, which is logged.
const WAITING: usize = 100;

/// A notice with its command and time limit.
type Call = (Vec<String>, Duration, Notice);

/// Runs the command for one notice after the other.
#[derive(Debug)]
pub(super) struct Hook {
    sender: Sender<Call>,
    task: JoinHandle<()>,
    site: Arc<Site>,
}

impl Hook {
    pub(super) fn new(site: Arc<Site>) -> Self {
        let (sender, receiver) = channel(WAITING);
        let task = tokio::spawn(serve(receiver, Arc::clone(&site)));
        Self { sender, task, site }
    }

    pub(super) fn call(&self, command: &[String], timeout: Duration, notice: Notice) {
        if command.is_empty() {
            return;
        }
        if self
            .sender
            .try_send((command.to_vec(), timeout, notice))
            .is_err()
        {
            self.site
                .log("hook: too many notices are waiting; one is discarded");
        }
    }

    /// Waits up to `limit` for the remaining calls.
    pub(super) async fn finish(self, limit: Duration) {
        drop(self.sender);
        if tokio::time::timeout(limit, self.task).await.is_err() {
            self.site.log("hook: not all notices were delivered");
        }
    }
}

async fn serve(mut calls: Receiver<Call>, site: Arc<Site>) {
    while let Some((command, timeout, notice)) = calls.recv().await {
        match tokio::time::timeout(timeout, call(&command, &notice)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => site.log(&format!("hook: {}: {why}", command[0])),
            Err(_) => site.log(&format!(
                "hook: {}: ended after more than {} s",
                command[0],
                timeout.as_secs()
            )),
        }
    }
}

/// Ends a process group when it is dropped.
struct Group(Option<rustix::process::Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // The group may already be gone.
            rustix::process::kill_process_group(pid, rustix::process::Signal::KILL).ok();
        }
    }
}

#[expect(
    clippy::disallowed_types,
    reason = "a hook is not a phase: it has no log and no place"
)]
async fn call(command: &[String], notice: &Notice) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut child = tokio::process::Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut group = Group(
        child
            .id()
            .and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())),
    );
    let mut text = serde_json::to_vec(notice).map_err(|error| error.to_string())?;
    text.push(b'\n');
    if let Some(mut stdin) = child.stdin.take() {
        // A command may ignore its input; its exit status decides.
        stdin.write_all(&text).await.ok();
    }
    let status = child.wait().await.map_err(failed)?;
    group.0 = None;
    if status.success() {
        Ok(())
    } else {
        Err(status.to_string())
    }
}
