//! Reads of processes in `/proc`.

use std::io::{self, Read as _};
use std::path::Path;
use std::sync::OnceLock;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The fields of `/proc/PID/stat` that are needed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: i32,
    pub(super) state: u8,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    /// Clock ticks after boot.
    pub(super) started: u64,
}

impl Stat {
    /// Whether it ended, and only its number is left.
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

/// Reads a file of `/proc`, which says of no size: so it is not asked for one, and little is read in few calls.
fn read(file: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut file = fs_err::File::open(file.as_ref())?;
    let mut bytes = vec![0; 4096];
    let mut count = 0;
    loop {
        let more = file.read(&mut bytes[count..])?;
        count += more;
        if more == 0 {
            bytes.truncate(count);
            return Ok(bytes);
        }
        if count == bytes.len() {
            bytes.resize(2 * count, 0);
        }
    }
}

pub(super) fn stat(pid: i32) -> Option<Stat> {
    let text = read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    // The name, field 2, may hold anything; the last parenthesis ends it.
    let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        pid,
        state: *fields.first()?.as_bytes().first()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// When a process started, in clock ticks after boot: tells it from a later one with its number. `None` if there is none.
pub fn started(pid: i32) -> Option<u64> {
    stat(pid).map(|stat| stat.started)
}

/// Every process, zombies among them.
pub(super) fn all() -> Vec<Stat> {
    let Ok(entries) = fs_err::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| stat(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// The children of this program; `None` if the kernel does not say.
pub(super) fn own_children() -> Option<Vec<i32>> {
    let mut children = Vec::new();
    for task in fs_err::read_dir("/proc/self/task").ok()? {
        // A thread that ended meanwhile gave its children to another.
        let Ok(text) = read(task.ok()?.path().join("children")) else {
            return None;
        };
        children.extend(
            String::from_utf8_lossy(&text)
                .split_whitespace()
                .filter_map(|pid| pid.parse::<i32>().ok()),
        );
    }
    Some(children)
}

/// Whether a process was started with all of these in its environment, each `NAME=VALUE`.
pub(super) fn has_env(pid: i32, wanted: &[String]) -> bool {
    let Ok(env) = read(format!("/proc/{pid}/environ")) else {
        return false;
    };
    wanted.iter().all(|wanted| {
        env.split(|byte| *byte == 0)
            .any(|entry| entry == wanted.as_bytes())
    })
}

/// Whether a process was started with a variable of this name in its environment.
pub(super) fn names_env(pid: i32, name: &str) -> bool {
    read(format!("/proc/{pid}/environ")).is_ok_and(|env| {
        env.split(|byte| *byte == 0).any(|entry| {
            entry
                .strip_prefix(name.as_bytes())
                .is_some_and(|rest| rest.starts_with(b"="))
        })
    })
}

/// Signals the very process that was seen, and no later one with its number.
pub(super) fn signal(seen: &Stat, signal: Signal) {
    let Some(pid) = Pid::from_raw(seen.pid).filter(|_| seen.pid > 1) else {
        return;
    };
    // One that is gone needs no signal.
    let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    if stat(seen.pid).is_some_and(|now| now.started == seen.started) {
        pidfd_send_signal(fd, signal).ok();
    }
}

/// This program's own number.
pub(super) fn own() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// The boot of this machine.
pub(super) fn boot() -> String {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        fs_err::read_to_string("/proc/sys/kernel/random/boot_id")
            .unwrap_or_default()
            .trim()
            .to_owned()
    })
    .clone()
}
