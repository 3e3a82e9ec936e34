//! Signals that end a command on a mirror in a bucket.
//!
//! A lock of a directory ends with its process. One of a bucket is a lease: unless it is released, the next publisher waits until it
//! ends, for more than a minute.

use camino::Utf8Path;
use stx_builds::options::MirrorLocation;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::Command;
use crate::commands::Context;
use crate::output::note;

/// Runs a command. At the first SIGINT, SIGTERM or SIGHUP, ends the command as an error would, which releases its locks on a bucket,
/// and then the program; the second one ends the program at once.
pub(crate) async fn releasing<T>(
    context: &Context,
    command: &Command,
    work: impl Future<Output = T>,
) -> T {
    let mut work = Box::pin(work);
    if !may_lock_bucket(context, command) {
        return work.await;
    }
    // Without them, signals end the program as usual.
    let Ok(mut signals) = Signals::new() else {
        return work.await;
    };
    let code = tokio::select! {
        done = &mut work => return done,
        code = signals.first() => code,
    };
    note(
        "interrupted: releasing the locks of the mirror; run the same command again to complete it",
    );
    tokio::spawn(async move { std::process::exit(signals.first().await) });
    drop(work);
    std::process::exit(code)
}

/// True if a command may lock a part of a bucket. `build`, `resume` and `daemon` handle signals themselves.
fn may_lock_bucket(context: &Context, command: &Command) -> bool {
    let is_bucket = |mirror: &Utf8Path| MirrorLocation::of(mirror) == MirrorLocation::Bucket;
    match command {
        Command::Copy(args) => is_bucket(&args.from) || is_bucket(&args.to),
        Command::Publish(_)
        | Command::Promote(_)
        | Command::Adopt(_)
        | Command::Mark(_)
        | Command::Alias(_)
        | Command::Verify(_)
        | Command::Pages
        | Command::Prune(_)
        | Command::Pin(_)
        | Command::Unpin(_)
        | Command::Undelete(_)
        | Command::Image(_) => context.site.root().is_ok_and(|root| is_bucket(&root)),
        _ => false,
    }
}

/// The signals that ask a program to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one of them; returns the exit code that shells give a program that it ended.
    async fn first(&mut self) -> i32 {
        let kind = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hangup.recv() => SignalKind::hangup(),
        };
        128 + kind.as_raw_value()
    }
}
