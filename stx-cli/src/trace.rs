//! Prints the events of the libraries with `-v`, within their spans, on standard error.
//!
//! Lines have a time, unless standard error is the journal of systemd, which adds its own.

use std::io;
use std::os::unix::fs::MetadataExt as _;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::output::note;

/// Subscribes to the events of this workspace's crates: with `-v` to steps, with `-vv` to details.
pub(crate) fn start(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        3.. => LevelFilter::TRACE,
    };
    let lines = fmt::layer().with_ansi(false).with_writer(|| Notes);
    let lines = if is_journal() {
        lines.without_time().boxed()
    } else {
        lines.boxed()
    };
    // Events of other crates may contain data that ours leave out, such as the credentials of a URL.
    let ours = Targets::new().with_target("stx_", level);
    tracing_subscriber::registry()
        .with(lines.with_filter(ours))
        .try_init()
        // No other subscriber exists; and a command must not fail because of its log.
        .ok();
}

/// True if standard error leads to the journal: systemd sets `JOURNAL_STREAM` to its device and inode, see systemd.exec(5).
fn is_journal() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else {
        return false;
    };
    let stderr = fs_err::metadata("/dev/stderr");
    stderr.is_ok_and(|stderr| stream == format!("{}:{}", stderr.dev(), stderr.ino()))
}

/// Standard error; each event is written at once.
struct Notes;

impl io::Write for Notes {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        note(String::from_utf8_lossy(line).trim_end());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
