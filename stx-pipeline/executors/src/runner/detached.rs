//! Follows a phase that may outlive the process that started it.
//!
//! The client, for example `kubectl exec`, may lose its connection or end while the phase continues. So only three facts count.
//! All of them are on the file system that the builder shares with the place:
//!
//! | | is |
//! |---|---|
//! | the lock of `alive` | held by the builder as long as it wants the phase; the kernel releases it when the builder dies |
//! | the lock of the phase | held by its script as long as it runs |
//! | `result` | how the phase ended |

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use stx_pipeline::process::{Lines, ProcessRunner};
use stx_pipeline::{Cancel, Ended, Invocation, Stream};
use tokio::time::Instant;

use super::follow::Tail;
use super::{end_of, files};
use crate::{Executor, Job};

/// The interval between checks for output and a result.
const READ: Duration = Duration::from_millis(100);

/// The time for a phase to take its lock after its client ended; after that, the phase counts as not started.
const SETTLE: Duration = Duration::from_secs(1);

/// The number of lines of the client's own output that are kept.
const SAID: usize = 20;

type Events<'a> = &'a (dyn for<'l> Fn(Stream, &'l str) + Sync);

/// A phase to start and follow: its place, its job, the client that starts it, and the sweeper that ends its leftover
/// processes.
pub(super) struct Detached<'a> {
    pub(super) place: (&'a str, &'a dyn Executor),
    pub(super) local: &'a ProcessRunner,
    pub(super) job: &'a Job,
    pub(super) client: Invocation,
    pub(super) sweeper: Invocation,
}

impl Detached<'_> {
    pub(super) async fn run(
        mut self,
        phase: &Invocation,
        shown: &str,
        events: Events<'_>,
        cancel: &Cancel,
    ) -> Ended {
        let not_started = |error: io::Error| Ended::NotStarted {
            reason: error.to_string(),
        };
        // The client's output is not the phase's, and the client's end does not end the phase.
        self.client.log = self.job.dir.join("client");
        self.client.timeout = None;
        // The stop grace is the phase's; the client has nothing to clean up.
        self.client.stop_grace = None;
        self.sweeper.stop_grace = None;
        self.sweeper.log = self.job.dir.join("sweeper");
        self.sweeper.timeout = Some(end_of(phase));
        let lines = match Lines::open(phase, shown, events) {
            Ok(lines) => lines,
            Err(error) => return not_started(error),
        };
        let mut tail = Tail::new(lines, phase.log_limit);
        // Create the file here, so that the builder owns it even if another user writes it.
        if let Err(error) = files::write(&self.job.dir, &[self.job.empty_output()]) {
            return not_started(error);
        }
        let alive = match files::hold(&self.job.alive()) {
            Ok(alive) => alive,
            Err(error) => return not_started(error),
        };
        let over = Cancel::new();
        let said = Mutex::new(Vec::new());
        let hear = |_, line: &str| {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            if said.len() == SAID {
                said.remove(0);
            }
            said.push(line.to_owned());
        };
        let client = self.client.to_string();
        // Boxed, because it is polled from two places.
        let mut client = Box::pin(self.local.run_shown(&self.client, &client, &hear, &over));
        let mut client_ended = None;
        let limit = async {
            match phase.timeout {
                Some(after) => {
                    tokio::time::sleep(after).await;
                    after
                }
                None => std::future::pending().await,
            }
        };
        let why = {
            let following = async {
                loop {
                    tokio::select! {
                        ended = &mut client => {
                            client_ended = Some(ended);
                            break;
                        }
                        () = tokio::time::sleep(READ) => {}
                    }
                    tail.follow(&self.job.output())?;
                    if let Some(ended) = files::result(self.job) {
                        return Ok(Some(ended));
                    }
                }
                self.follow_alone(&mut tail, events).await
            };
            tokio::select! {
                biased;
                () = cancel.cancelled() => Ok(Some(Ended::Cancelled)),
                after = limit => Ok(Some(Ended::TimedOut { after })),
                ended = following => ended,
            }
        };
        // With the lock released, the script starts nothing further and ends what runs.
        drop(alive);
        fs_err::remove_file(self.job.script()).ok();
        let gone = self.until_gone(phase, &mut tail).await;
        let swept = gone && (!self.was_cut_off() || self.sweep().await);
        over.cancel();
        let client_ended = match client_ended {
            Some(ended) => ended,
            None => client.await,
        };
        let ended = match why {
            Ok(Some(ended)) => ended,
            // The phase may have ended meanwhile.
            Ok(None) => match files::result(self.job) {
                Some(ended) => ended,
                None => self.lost(&client_ended, swept),
            },
            Err(error) => Ended::Lost {
                reason: format!("cannot read its output: {error}"),
            },
        };
        let said = std::mem::take(&mut *said.lock().unwrap_or_else(PoisonError::into_inner));
        let unexplained = matches!(ended, Ended::Lost { .. });
        let shown = if unexplained { &*said } else { &[] };
        match self.end_log(&mut tail, shown, &ended, swept) {
            Ok(()) => ended,
            Err(error) => Ended::Lost {
                reason: format!("cannot read its output: {error}"),
            },
        }
    }

    /// Writes the end of the log: the last output of the phase, and these lines of its client.
    fn end_log(
        &self,
        tail: &mut Tail<'_>,
        client: &[String],
        ended: &Ended,
        gone: bool,
    ) -> io::Result<()> {
        tail.follow(&self.job.output())?;
        for line in client {
            tail.add(format!("stx-builds: {line}\n").as_bytes())?;
        }
        if gone {
            // The log has the output. If the file cannot be removed now, the next build removes it.
            fs_err::remove_file(self.job.output()).ok();
        }
        tail.finish(ended)
    }

    /// Follows the phase without its client; `None` if no part of it runs.
    async fn follow_alone(
        &self,
        tail: &mut Tail<'_>,
        events: Events<'_>,
    ) -> io::Result<Option<Ended>> {
        let mut settled = Instant::now() + SETTLE;
        let mut told = false;
        loop {
            let free = files::is_free(&self.job.lock);
            // Read the result after the lock: the script writes the result before it releases the lock.
            if let Some(ended) = files::result(self.job) {
                return Ok(Some(ended));
            }
            if free && (told || Instant::now() >= settled) {
                return Ok(None);
            }
            if !free && !told {
                let (name, _) = self.place;
                let text = format!(
                    "stx-builds: the connection to place {name} ended; still following the phase through its files"
                );
                events(Stream::Merged, &text);
                told = true;
                settled = Instant::now();
            }
            tokio::time::sleep(READ).await;
            tail.follow(&self.job.output())?;
        }
    }

    /// Waits until no script holds the phase's lock, and reads its last output meanwhile; false if that takes too long.
    async fn until_gone(&self, phase: &Invocation, tail: &mut Tail<'_>) -> bool {
        let end = Instant::now() + end_of(phase);
        while !files::is_free(&self.job.lock) {
            if Instant::now() >= end {
                return false;
            }
            tokio::time::sleep(READ / 4).await;
            // `end_log` reports an error of the log.
            tail.follow(&self.job.output()).ok();
        }
        true
    }

    /// True if the script started the phase but did not see its end: the phase's processes may continue without it.
    fn was_cut_off(&self) -> bool {
        let [began, over] = self.job.traces();
        began.exists() && !over.exists() && files::result(self.job).is_none()
    }

    /// Ends the processes that the script left; true if none is left.
    async fn sweep(&self) -> bool {
        let shown = self.sweeper.to_string();
        let never = Cancel::new();
        let ended = self
            .local
            .run_shown(&self.sweeper, &shown, &|_, _| {}, &never);
        matches!(ended.await, Ended::Exited { code: 0 })
    }

    fn lost(&self, client: &Ended, gone: bool) -> Ended {
        let (name, place) = self.place;
        let [began, _] = self.job.traces();
        let why = place.explain(client).unwrap_or_else(|| {
            let when = if began.exists() {
                "before the phase reported how it ended"
            } else {
                "before the phase started"
            };
            format!("the connection ended with {client}, {when}")
        });
        let still = if gone {
            ""
        } else {
            "; the phase may still run there, and is started again only after it has ended"
        };
        Ended::Lost {
            reason: format!("place {name}: {why}{still}"),
        }
    }
}
