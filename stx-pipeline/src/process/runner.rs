//! Phases as processes of this machine.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use chrono::Utc;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use stx_layout::{redact_url_bytes, redact_urls};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::unix::pipe::Receiver;

use super::log::{DEFAULT_LOG_LIMIT, PhaseLog, stamp};
use super::orphan::Running;
use super::tools::command;
use super::tree::{Tree, adopt};
use crate::{Cancel, Ended, Invocation, Runner, Stream};

/// The time to wait for output that a process outside of the group may still hold open.
const DRAIN: Duration = Duration::from_millis(500);

/// The longest line, in bytes, that is passed on whole.
const LINE: usize = 16 * 1024;

/// Runs invocations as processes of this machine, each in a process group of its own. Needs a tokio runtime with I/O and time.
///
/// When a process ends, all processes that it left behind are ended too, including those in sessions of their own. For this,
/// the program becomes the reaper of its descendants. Processes that the program starts by other means are left alone, as long
/// as they stay in its session and have no `PHASE` in their environment.
///
/// Each line of a log begins with the time. If an attempt writes more than [`Invocation::log_limit`], or [`DEFAULT_LOG_LIMIT`],
/// the middle of its output is left out, and the log states the number of these bytes.
#[derive(Debug, Clone)]
pub struct ProcessRunner {
    /// The directory in which running groups are registered, for [`end_orphans`](super::end_orphans).
    state: Utf8PathBuf,
    /// The default time between asking a group to end and killing it.
    pub grace: Duration,
    running: Running,
}

/// A started process, with its group; killed when dropped before its end.
struct Started {
    child: Child,
    tree: Tree,
    over: bool,
}

impl Drop for Started {
    fn drop(&mut self) {
        if !self.over {
            self.tree.kill();
            // Only to leave no zombie; the status is not needed any more.
            self.child.wait().ok();
        }
    }
}

impl ProcessRunner {
    /// A runner that registers groups in `state`, with a grace period of ten seconds.
    pub fn new(state: Utf8PathBuf) -> Self {
        Self {
            running: Running::new(&state),
            state,
            grace: Duration::from_secs(10),
        }
    }

    /// The directory in which it registers running groups.
    pub fn state(&self) -> &Utf8Path {
        &self.state
    }

    async fn follow(
        &self,
        invocation: &Invocation,
        mut started: Started,
        reader: OwnedFd,
        mut lines: Lines<'_>,
        cancel: &Cancel,
    ) -> io::Result<Ended> {
        let mut pipe = Receiver::from_owned_fd(reader)?;
        let exited = exited(started.tree.leader())?;
        let limit = async {
            match invocation.timeout {
                Some(after) => {
                    tokio::time::sleep(after).await;
                    after
                }
                None => std::future::pending().await,
            }
        };
        let reason = {
            let reading = async {
                let result = lines.read(&mut pipe).await;
                match result {
                    Ok(()) => std::future::pending().await,
                    Err(error) => error,
                }
            };
            tokio::select! {
                biased;
                () = cancel.cancelled() => Some(Ended::Cancelled),
                after = limit => Some(Ended::TimedOut { after }),
                () = exited => None,
                error = reading => Some(Ended::Lost { reason: format!("cannot read its output: {error}") }),
            }
        };
        {
            // End and read concurrently: a process that writes its last output must not block on a full pipe.
            let grace = invocation.stop_grace.unwrap_or(self.grace);
            let ending = async {
                match reason {
                    None => started.tree.sweep(grace).await,
                    Some(_) => started.tree.end(grace).await,
                }
            };
            let draining = async {
                drop(lines.read(&mut pipe).await);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = ending => {}
                () = draining => {}
            }
        }
        if let Ok(result) = tokio::time::timeout(DRAIN, lines.read(&mut pipe)).await {
            result?;
        }
        let status = started.child.wait()?;
        started.over = true;
        let ended = reason.unwrap_or_else(|| ended(status));
        lines.finish(&ended)?;
        Ok(ended)
    }
}

/// Waits until a process ended. It remains a zombie until its group is gone, so that no other group can get its number.
fn exited(leader: i32) -> io::Result<impl Future<Output = ()>> {
    let pid = Pid::from_raw(leader).ok_or_else(|| io::Error::other("no process"))?;
    // Linux supports them since 5.3.
    let watched = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => Some(watched(fd)?),
        Err(_) => None,
    };
    Ok(async move {
        if let Some(process) = watched
            && process.readable().await.is_ok()
        {
            return;
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        drop(tokio::task::spawn_blocking(move || waitid(WaitId::Pid(pid), options)).await);
    })
}

#[expect(
    deprecated,
    reason = "safe for an `OwnedFd`, whose descriptor never changes; its successor is unsafe for all"
)]
fn watched(process: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(process, Interest::READABLE)
}

fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exited { code },
        (None, Some(signal)) => Ended::Signalled { signal },
        (None, None) => Ended::Lost {
            reason: status.to_string(),
        },
    }
}

fn start(invocation: &Invocation) -> io::Result<(Started, OwnedFd)> {
    let mut command = command(invocation)?;
    if !fs_err::metadata(&invocation.dir)?.is_dir() {
        return Err(io::Error::other(format!(
            "{} is not a directory",
            invocation.dir
        )));
    }
    let (reader, writer) = io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    let (child, tree) = Tree::start(&mut command, invocation)?;
    let started = Started {
        child,
        tree,
        over: false,
    };
    Ok((started, reader.into()))
}

#[async_trait]
impl Runner for ProcessRunner {
    async fn run(
        &self,
        invocation: &Invocation,
        output: &(dyn for<'l> Fn(Stream, &'l str) + Sync),
        cancel: &Cancel,
    ) -> Ended {
        self.run_shown(invocation, &invocation.to_string(), output, cancel)
            .await
    }
}

impl ProcessRunner {
    /// Runs a process whose log begins with the command `shown`.
    pub async fn run_shown(
        &self,
        invocation: &Invocation,
        shown: &str,
        output: &(dyn for<'l> Fn(Stream, &'l str) + Sync),
        cancel: &Cancel,
    ) -> Ended {
        if cancel.is_cancelled() {
            return Ended::Cancelled;
        }
        let not_started = |error: io::Error| Ended::NotStarted {
            reason: error.to_string(),
        };
        adopt();
        let mut lines = match Lines::open(invocation, shown, output) {
            Ok(lines) => lines,
            Err(error) => return not_started(error),
        };
        let (started, reader) = match start(invocation) {
            Ok(started) => started,
            Err(error) => {
                let ended = not_started(error);
                // The reason is in the record too, so a log that cannot be written loses nothing.
                lines.finish(&ended).ok();
                return ended;
            }
        };
        let registered = self.running.register(
            started.tree.leader(),
            invocation.variable("PHASE"),
            invocation.variable("MY_WORKSPACE"),
        );
        match registered {
            Err(error) => Ended::NotStarted {
                reason: format!("cannot register it in {}: {error}", self.state),
            },
            Ok(registered) => {
                let ended = self
                    .follow(invocation, started, reader, lines, cancel)
                    .await;
                drop(registered);
                ended.unwrap_or_else(|error| Ended::Lost {
                    reason: error.to_string(),
                })
            }
        }
    }
}

/// Copies output to the log and, line by line, to the events.
pub struct Lines<'a> {
    log: PhaseLog,
    output: &'a (dyn for<'l> Fn(Stream, &'l str) + Sync),
    line: Vec<u8>,
}

impl<'a> Lines<'a> {
    /// Opens the log of an invocation, which begins with the command `shown`.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn open(
        invocation: &Invocation,
        shown: &str,
        output: &'a (dyn for<'l> Fn(Stream, &'l str) + Sync),
    ) -> io::Result<Self> {
        let limit = invocation.log_limit.unwrap_or(DEFAULT_LOG_LIMIT);
        let mut log = PhaseLog::open(&invocation.log, limit)?;
        let mut text = String::new();
        for (at, line) in redact_urls(shown).lines().enumerate() {
            let prompt = if at == 0 { "$" } else { ">" };
            writeln!(text, "{}{prompt} {line}", now()).map_err(io::Error::other)?;
        }
        log.write(text.as_bytes())?;
        Ok(Self {
            log,
            output,
            line: Vec::new(),
        })
    }

    /// Reads to the end. If dropped before the end, no read output is lost.
    async fn read(&mut self, pipe: &mut Receiver) -> io::Result<()> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = pipe.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            self.take(&buffer[..count])?;
        }
    }

    /// Adds output, with the time before each line.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stamp = now();
        let mut text = Vec::with_capacity(2 * bytes.len());
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (piece, ends) = match piece.strip_suffix(b"\n") {
                Some(line) => (line, true),
                None => (piece, false),
            };
            let mut piece = piece;
            while !piece.is_empty() {
                if self.line.len() >= LINE {
                    self.emit_part(&stamp, &mut text);
                }
                let room = LINE - self.line.len();
                let (head, tail) = piece.split_at(room.min(piece.len()));
                self.line.extend_from_slice(head);
                piece = tail;
            }
            if ends {
                self.emit(&stamp, &mut text);
            }
        }
        self.log.write(&text)
    }

    /// Passes on the first part of a line that is too long, up to the end of a word if possible: a URL that was cut in two
    /// would not be recognized and redacted.
    fn emit_part(&mut self, stamp: &str, log: &mut Vec<u8>) {
        let half = self.line.len() / 2;
        let word = self.line[half..].iter().rposition(u8::is_ascii_whitespace);
        let rest = self
            .line
            .split_off(word.map_or(self.line.len(), |word| half + word + 1));
        self.emit(stamp, log);
        self.line = rest;
    }

    fn emit(&mut self, stamp: &str, log: &mut Vec<u8>) {
        let line = redact_url_bytes(&self.line);
        log.extend_from_slice(stamp.as_bytes());
        log.extend_from_slice(&line);
        log.push(b'\n');
        let text = String::from_utf8_lossy(&line);
        (self.output)(Stream::Merged, text.trim_end_matches('\r'));
        self.line.clear();
    }

    /// Writes the end of the process, and the lines that a limited log held back.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn finish(&mut self, ended: &Ended) -> io::Result<()> {
        let mut text = Vec::new();
        let stamp = now();
        if !self.line.is_empty() {
            self.emit(&stamp, &mut text);
        }
        text.extend_from_slice(format!("{stamp}= {ended}\n").as_bytes());
        self.log.write(&text)?;
        self.log.finish()
    }
}

/// Adds the phase's real end to a finished log, if the end of the process that ran it elsewhere says less.
///
/// # Errors
/// When the log cannot be written.
pub fn add_end(log: &Utf8Path, ended: &Ended) -> io::Result<()> {
    let mut log = fs_err::OpenOptions::new().append(true).open(log)?;
    log.write_all(format!("{}= {ended}\n", now()).as_bytes())
}

#[expect(clippy::disallowed_methods, reason = "a log says when, by the clock")]
fn now() -> String {
    stamp(Utc::now())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
