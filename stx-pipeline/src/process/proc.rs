//! Reads information about processes from `/proc`.

use std::io::{self, Read as _};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The fields of `/proc/PID/stat` that this crate uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: i32,
    pub(super) state: u8,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    /// The start of the process, in clock ticks after boot.
    pub(super) started: u64,
    /// Bytes of its address space; 0 for a process that has ended and for a thread of the kernel.
    memory: u64,
    /// The address of its environment; 0 while the process replaces its program.
    env_start: u64,
}

impl Stat {
    /// True if the process has ended, and only its process id is left.
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

/// Reads a file of `/proc`. These files report no size, so the size is not queried; most fit into one read.
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
    // The name, field 2, may contain any character; the last parenthesis ends it.
    let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        pid,
        state: *fields.first()?.as_bytes().first()?,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
        memory: fields.get(20)?.parse().ok()?,
        env_start: fields.get(47)?.parse().ok()?,
    })
}

/// The time at which a process started, in clock ticks after boot; it tells a process from a later one with the same id. `None`
/// if no such process exists.
pub fn started(pid: i32) -> Option<u64> {
    stat(pid).map(|stat| stat.started)
}

/// All processes, including zombies.
pub(super) fn all() -> Vec<Stat> {
    let Ok(entries) = fs_err::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| stat(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// The children of this program; `None` if the kernel does not tell.
pub(super) fn own_children() -> Option<Vec<i32>> {
    let mut children = Vec::new();
    for task in fs_err::read_dir("/proc/self/task").ok()? {
        // A thread that ended meanwhile has passed its children to another thread.
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

/// The most reads of the environment of a process that replaces its program, with a millisecond between two of them.
const READS: usize = 2000;

/// The environment that a process was started with; `None` if the process is gone or may not be read.
///
/// The kernel shows an empty environment while `execve` replaces the program, and once more to a reader that opened the file
/// before that. Such a process would look like one that cleared its environment. So an empty environment counts only if it is
/// read twice while the kernel knows its address (`env_start`, proc(5)), the same both times: each `execve` moves it.
fn environment(pid: i32) -> Option<Vec<u8>> {
    let mut known = 0;
    for _ in 0..READS {
        let env = read(format!("/proc/{pid}/environ")).ok()?;
        if !env.is_empty() {
            return Some(env);
        }
        let stat = stat(pid)?;
        // Older kernels show root an empty environment for a kernel thread, which never gets another.
        if stat.memory == 0 || (known != 0 && stat.env_start == known) {
            return Some(env);
        }
        known = stat.env_start;
        if known == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    None
}

/// True if a process was started with all of these in its environment, each `NAME=VALUE`.
pub(super) fn has_env(pid: i32, wanted: &[String]) -> bool {
    let Some(env) = environment(pid) else {
        return false;
    };
    wanted.iter().all(|wanted| {
        env.split(|byte| *byte == 0)
            .any(|entry| entry == wanted.as_bytes())
    })
}

/// True if a process was started with a variable of this name in its environment.
pub(super) fn names_env(pid: i32, name: &str) -> bool {
    environment(pid).is_some_and(|env| {
        env.split(|byte| *byte == 0).any(|entry| {
            entry
                .strip_prefix(name.as_bytes())
                .is_some_and(|rest| rest.starts_with(b"="))
        })
    })
}

/// Signals exactly the process that was seen, never a later one with the same id.
pub(super) fn signal(seen: &Stat, signal: Signal) {
    let Some(pid) = Pid::from_raw(seen.pid).filter(|_| seen.pid > 1) else {
        return;
    };
    // A process that is gone needs no signal.
    let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    if stat(seen.pid).is_some_and(|now| now.started == seen.started) {
        pidfd_send_signal(fd, signal).ok();
    }
}

/// The process id of this program.
pub(super) fn own() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// The id of this machine's current boot.
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use camino_tempfile::Utf8TempDir;

    use super::{names_env, stat};

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "watches a process that it starts"
    )]
    fn a_process_that_becomes_another_program_keeps_its_environment() {
        let dir = Utf8TempDir::new().expect("a directory");
        let script = dir.path().join("again");
        let text = "#!/bin/sh\n[ \"$1\" = 0 ] || exec \"$0\" $(($1 - 1))\nexec env -i sleep 60\n";
        // A child writes the file: children of other tests could inherit a descriptor that is open for writing, and the script
        // could not be executed then.
        let write = "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"";
        let mut shell = Command::new("sh");
        let written = shell.args(["-c", write, script.as_str(), text]).status();
        assert!(written.expect("a shell").success());
        let mut child = Command::new(&script)
            .arg("1000")
            .env("PHASE", "")
            .spawn()
            .expect("it starts");
        let pid = i32::try_from(child.id()).expect("a number");
        let is_sleep = || {
            fs_err::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
        };
        let mut seen = 0;
        let cleared = loop {
            if !names_env(pid, "PHASE") {
                break is_sleep();
            }
            seen += 1;
        };
        let alive = stat(pid).is_some_and(|stat| !stat.is_dead());
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert!(cleared && alive, "without PHASE after {seen} looks");
        assert!(seen > 100, "{seen}");
    }
}
