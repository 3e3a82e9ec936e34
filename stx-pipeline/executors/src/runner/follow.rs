//! Follows a job of a cluster from its submission to its end.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::time::Duration;

use camino::Utf8Path;
use rustix::fs::{FallocateFlags, fallocate};
use stx_layout::counted;
use stx_pipeline::process::{DEFAULT_LOG_LIMIT, Lines};
use stx_pipeline::{Cancel, Ended, Env, Invocation, Stream};
use tokio::time::Instant;
use tracing::debug;

use super::command::{Said, said};
use super::orphaned::{Registered, register};
use super::{end_of, files};
use crate::slurm::job::{JobState, Verdict, job_id, job_state, verdict};
use crate::{Job, Slurm};

/// The interval between reads of the job's output.
const READ: Duration = Duration::from_millis(100);

/// The interval between queries about a job: the first and the longest.
const ASK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// The time for the cluster to kill a job that ignores the request to end; Slurm's `KillWait` is 30 seconds.
const KILL: Duration = Duration::from_mins(1);

/// A job to submit and follow: its place, its commands and their environment.
pub(super) struct Following<'a> {
    pub(super) place: (&'a str, &'a Slurm),
    pub(super) state: &'a Utf8Path,
    pub(super) tools: &'a Env,
    pub(super) job: &'a Job,
    pub(super) submit: &'a Invocation,
    pub(super) end: &'a Invocation,
}

/// The cluster's answer about a job.
enum Answer {
    State(JobState),
    /// The cluster has forgotten the job, which happens some time after the job's end.
    Unknown,
    /// The cluster does not answer.
    Silent(String),
}

/// The disk space of the output is freed each time that this many further bytes were read.
const FREE: u64 = 4 * 1024 * 1024;

/// Copies the job's output to the log.
pub(super) struct Tail<'a> {
    lines: Lines<'a>,
    /// The most bytes by which the log may lag behind the output.
    limit: u64,
    read: u64,
    /// The number of bytes, from the start of the file, whose space was freed.
    freed: u64,
}

impl<'a> Tail<'a> {
    pub(super) fn new(lines: Lines<'a>, limit: Option<u64>) -> Self {
        Self {
            lines,
            limit: limit.unwrap_or(DEFAULT_LOG_LIMIT),
            read: 0,
            freed: 0,
        }
    }

    /// Adds lines that the job did not write.
    pub(super) fn add(&mut self, lines: &[u8]) -> io::Result<()> {
        self.lines.take(lines)
    }

    /// Ends the log of a job that is over.
    pub(super) fn finish(&mut self, ended: &Ended) -> io::Result<()> {
        self.lines.finish(ended)
    }

    /// Copies the output since the last call to the log. If a job writes faster than its output is read, and the unread rest is
    /// longer than the log may be, the middle of the rest is left out.
    pub(super) fn follow(&mut self, path: &Utf8Path) -> io::Result<()> {
        // Reopen the file each time: on a network file system, this shows its current contents.
        let mut file = match fs_err::File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        file.seek(SeekFrom::Start(self.read))?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            self.read += count as u64;
            self.lines.take(&buffer[..count])?;
            if self.read - self.freed >= FREE {
                let behind = file.metadata()?.len().saturating_sub(self.read);
                if behind > self.limit {
                    let left_out = behind - self.limit / 2;
                    let note = format!("\n[... {} left out here ...]\n", counted(left_out, "byte"));
                    self.lines.take(note.as_bytes())?;
                    self.read = file.seek(SeekFrom::Start(self.read + left_out))?;
                }
                self.free(path);
            }
        }
    }

    /// Frees the disk space of the output that was read: the log has a size limit, but this file has none. The file keeps its
    /// length, because its writer may be on another host and continues at its own offset.
    fn free(&mut self, path: &Utf8Path) {
        let punched = fs_err::OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|file| {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                Ok(fallocate(file, flags, 0, self.read)?)
            });
        if let Err(error) = punched {
            // A file system without holes keeps the whole file until the job is over.
            debug!(%error, "cannot free the space of output that was read");
        }
        // Set after a failure too, so that the next attempt waits for more output instead of the next read.
        self.freed = self.read;
    }
}

impl Following<'_> {
    pub(super) async fn run(
        &self,
        phase: &str,
        shown: &str,
        events: &(dyn for<'l> Fn(Stream, &'l str) + Sync),
        cancel: &Cancel,
    ) -> Ended {
        let not_started = |error: io::Error| Ended::NotStarted {
            reason: error.to_string(),
        };
        let lines = match Lines::open(self.submit, shown, events) {
            Ok(lines) => lines,
            Err(error) => return not_started(error),
        };
        let mut tail = Tail::new(lines, self.submit.log_limit);
        let registered = match register(self.state, self.job, phase, self.end) {
            Ok(registered) => registered,
            Err(error) => return not_started(error),
        };
        match self.submitted(registered, &mut tail, events, cancel).await {
            Ok(ended) => ended,
            Err(error) => Ended::Lost {
                reason: format!("cannot read its output: {error}"),
            },
        }
    }

    async fn submitted(
        &self,
        mut registered: Registered,
        tail: &mut Tail<'_>,
        events: &(dyn for<'l> Fn(Stream, &'l str) + Sync),
        cancel: &Cancel,
    ) -> io::Result<Ended> {
        let start = Instant::now();
        let limit = async {
            match self.submit.timeout {
                Some(after) => {
                    tokio::time::sleep_until(start + after).await;
                    after
                }
                None => std::future::pending().await,
            }
        };
        // Not interruptible: a job that is still being submitted cannot be cancelled.
        let id = match self.submission().await {
            Ok(id) => id,
            Err(reason) => {
                registered.over = self.end_job().await;
                return Ok(Ended::NotStarted { reason });
            }
        };
        let (ended, over) = tokio::select! {
            biased;
            () = cancel.cancelled() => (Ended::Cancelled, false),
            after = limit => (Ended::TimedOut { after }, false),
            over = self.until_over(id, tail, events) => over?,
        };
        registered.over = over || self.end_job().await;
        let ended = self.unless_it_ended(ended);
        tail.follow(&self.job.output())?;
        tail.finish(&ended)?;
        if registered.over {
            // The log has the output. If the file cannot be removed now, the next build removes it.
            fs_err::remove_file(self.job.output()).ok();
        }
        Ok(ended)
    }

    /// Submits the job and returns its number.
    async fn submission(&self) -> Result<u64, String> {
        let said = said(self.submit.clone())
            .await
            .map_err(|error| error.to_string())?;
        if let (true, Some(id)) = (said.ok(), job_id(&said.stdout)) {
            return Ok(id);
        }
        // The job may be in the cluster even if the answer was lost.
        let (name, slurm) = self.place;
        let found = self::said(slurm.find(self.job, self.tools)).await;
        match found.ok().filter(Said::ok).map(|said| said.stdout) {
            Some(text) if job_id(&text).is_some() => Ok(job_id(&text).unwrap_or_default()),
            Some(_) | None => Err(format!("place {name}: {}", said.failure("sbatch"))),
        }
    }

    async fn ask(&self, id: u64) -> Answer {
        let (_, slurm) = self.place;
        match said(slurm.ask(id, self.tools)).await {
            Ok(said) if said.ok() => match job_state(&said.stdout) {
                Some(state) => Answer::State(state),
                None => Answer::Silent(format!("scontrol prints {:?}", said.stdout)),
            },
            Ok(said) if said.stderr.contains("Invalid job id") => Answer::Unknown,
            Ok(said) => Answer::Silent(said.failure("scontrol")),
            Err(error) => Answer::Silent(error.to_string()),
        }
    }

    /// Follows the job to its end. Returns the phase's end, and true if nothing is left to cancel.
    async fn until_over(
        &self,
        id: u64,
        tail: &mut Tail<'_>,
        events: &(dyn for<'l> Fn(Stream, &'l str) + Sync),
    ) -> io::Result<(Ended, bool)> {
        let (name, slurm) = self.place;
        let output = self.job.output();
        let mut last = String::new();
        let mut between = ASK.0;
        loop {
            let answer = self.ask(id).await;
            let now = match &answer {
                Answer::State(job) => said_of(id, job),
                Answer::Unknown => format!("Slurm no longer knows job {id}"),
                Answer::Silent(reason) => format!("still following job {id}: {reason}"),
            };
            if now != last {
                // Shown to watchers only: the log is published, and contains only the phase's own output.
                events(Stream::Merged, &format!("stx-builds: {now}"));
                last = now;
                between = ASK.0;
            }
            match answer {
                Answer::State(job) => match verdict(id, &job, name, slurm) {
                    Verdict::GoesOn => {}
                    Verdict::Over => return Ok((self.result(id, &job).await, true)),
                    Verdict::Ended(ended) => return Ok((ended, true)),
                    Verdict::Held(ended) => return Ok((ended, false)),
                },
                Answer::Unknown => {
                    let ended = files::result(self.job).unwrap_or_else(|| Ended::Lost {
                        reason: format!(
                            "place {name}: Slurm has forgotten job {id}, and it left no result"
                        ),
                    });
                    return Ok((ended, true));
                }
                Answer::Silent(_) => {}
            }
            let next = Instant::now() + between;
            while Instant::now() < next {
                tokio::time::sleep(READ).await;
                tail.follow(&output)?;
            }
            between = (between * 3 / 2).min(ASK.1);
        }
    }

    /// Prefers the result that the phase left to the cluster's view of its job: a phase can end while `slurmctld` is down, and Slurm
    /// requeues the job if the node cannot report that.
    fn unless_it_ended(&self, ended: Ended) -> Ended {
        match ended {
            Ended::Lost { .. } | Ended::NotStarted { .. } => {
                files::result(self.job).unwrap_or(ended)
            }
            Ended::Exited { .. }
            | Ended::Signalled { .. }
            | Ended::TimedOut { .. }
            | Ended::Cancelled => ended,
        }
    }

    /// The result of a job whose script ran to its end.
    async fn result(&self, id: u64, job: &JobState) -> Ended {
        // A network file system may take a moment to show what a node wrote.
        for _ in 0..50 {
            if let Some(ended) = files::result(self.job) {
                return ended;
            }
            tokio::time::sleep(READ).await;
        }
        let node = job.node.as_deref().unwrap_or("its node");
        Ended::Lost {
            reason: format!(
                "place {}: Slurm job {id} ended as {} without a result: does {node} see {}?",
                self.place.0, job.state, self.job.dir
            ),
        }
    }

    /// Cancels the job and waits until it is gone; true if it is.
    async fn end_job(&self) -> bool {
        let (_, slurm) = self.place;
        let end = Instant::now() + KILL;
        let mut cancelled = false;
        loop {
            cancelled = cancelled || said(self.end.clone()).await.is_ok_and(|said| said.ok());
            let found = said(slurm.find(self.job, self.tools)).await;
            let none = found.is_ok_and(|said| said.ok() && said.stdout.trim().is_empty());
            if cancelled && none {
                return files::gone(&self.job.lock, end_of(self.submit)).await;
            }
            if Instant::now() >= end {
                return false;
            }
            tokio::time::sleep(ASK.0 * 3).await;
        }
    }
}

/// A line about a job's state for users.
fn said_of(id: u64, job: &JobState) -> String {
    let mut text = format!("Slurm job {id} is {}", job.state.to_ascii_lowercase());
    if let Some(node) = &job.node {
        text = format!("{text} on {node}");
    }
    if job.reason != "None" {
        text = format!("{text} ({})", job.reason);
    }
    if job.restarts > 0 {
        text = format!("{text}, started again {}", counted(job.restarts, "time"));
    }
    text
}
