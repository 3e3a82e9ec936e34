//! The trait that runs processes, and its contract.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use stx_layout::redact_urls;

use super::{Cancel, Stream};
use crate::Invocation;

/// Runs processes.
///
/// # Contract
/// - The process sees the environment of the invocation and nothing else, an empty standard input, and its directory.
/// - Output is appended to [`Invocation::log`] and passed line by line to `output`, in order.
/// - `run` returns when the process and all processes of its group are gone.
/// - After [`Invocation::timeout`], or once `cancel` is set, the whole group is ended. That is then the reported end, even if
///   the process exits with status 0 on the request to end.
/// - It is not cancel safe: dropping its future ends the group at once, without grace.
/// - Several runs may be active at the same time.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Runs one process to its end.
    async fn run(
        &self,
        invocation: &Invocation,
        output: &(dyn for<'l> Fn(Stream, &'l str) + Sync),
        cancel: &Cancel,
    ) -> Ended;
}

/// The end of a process. `Display` is the reason as written in the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It exited by itself.
    Exited {
        /// Its exit status.
        code: i32,
    },
    /// A signal that the runner did not send ended it.
    Signalled {
        /// Its number.
        signal: i32,
    },
    /// It exceeded its time limit.
    TimedOut {
        /// The limit.
        after: Duration,
    },
    /// The build was cancelled.
    Cancelled,
    /// It never ran.
    NotStarted {
        /// The reason, for people.
        reason: String,
    },
    /// It ran, but its end or its output is unknown.
    Lost {
        /// The reason, for people.
        reason: String,
    },
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { code } => write!(f, "exit status {code}"),
            Self::Signalled { signal } => write!(f, "ended by signal {signal}"),
            Self::TimedOut { after } => write!(
                f,
                "timed out after {}",
                humantime::format_duration(Duration::from_millis(
                    u64::try_from(after.as_millis()).unwrap_or(u64::MAX)
                ))
            ),
            Self::Cancelled => f.write_str("the build was cancelled"),
            Self::NotStarted { reason } => write!(f, "not started: {}", redact_urls(reason)),
            Self::Lost { reason } => write!(f, "lost: {}", redact_urls(reason)),
        }
    }
}
