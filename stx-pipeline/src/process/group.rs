//! Process groups: who is in one, and ending them.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// How often it is looked whether a group is gone.
const POLL: Duration = Duration::from_millis(20);

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: i32,
    pub(super) state: u8,
    pub(super) group: i32,
    /// Clock ticks after boot.
    pub(super) started: u64,
}

pub(super) fn stat(pid: i32) -> Option<Stat> {
    let text = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, field 2, may hold anything; the last parenthesis ends it.
    let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        pid,
        state: *fields.first()?.as_bytes().first()?,
        group: fields.get(2)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// The processes of a group that are not zombies.
pub(super) fn members(group: i32) -> Vec<Stat> {
    let Ok(entries) = fs_err::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| stat(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .filter(|stat| stat.group == group && !matches!(stat.state, b'Z' | b'X'))
        .collect()
}

pub(super) fn signal(group: i32, signal: Signal) {
    // A group that is gone needs no signal.
    if let Some(pid) = Pid::from_raw(group)
        && group > 1
    {
        kill_process_group(pid, signal).ok();
    }
}

/// Ends a group: asks, waits up to `grace`, then kills.
pub(super) async fn end(group: i32, grace: Duration) {
    if members(group).is_empty() {
        return;
    }
    signal(group, Signal::TERM);
    let gone = async {
        while !members(group).is_empty() {
            tokio::time::sleep(POLL).await;
        }
    };
    if tokio::time::timeout(grace, gone).await.is_err() {
        signal(group, Signal::KILL);
        // The kernel takes a moment; one that sleeps in it uninterruptibly is not waited for.
        for _ in 0..100 {
            if members(group).is_empty() {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
