//! The calls by which a program changes a directory, recorded by `strace`.

use std::collections::HashMap;
use std::process::Command;

use camino::Utf8Path;
use camino_tempfile::Utf8TempDir;

use super::reader::Reader;
use crate::harness::{Ran, run};

/// Every call that can change a file system, and those by which a change could escape notice.
const CALLS: &str = "trace=open,openat,openat2,creat,write,pwrite64,writev,pwritev,pwritev2,lseek,truncate,ftruncate,\
    fallocate,rename,renameat,renameat2,link,linkat,unlink,unlinkat,symlink,symlinkat,mkdir,mkdirat,mknod,mknodat,rmdir,\
    chmod,fchmod,fchmodat,?fchmodat2,fsync,fdatasync,syncfs,sync,sync_file_range,copy_file_range,sendfile,splice,ioctl,\
    mmap,io_uring_setup,exit_group";

/// One change, or one call that makes changes durable. Paths are relative to the watched directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    /// A file was opened with these mode bits, and created if it did not exist.
    Create { path: String, mode: u32 },
    /// Bytes were written at an offset.
    Write {
        path: String,
        at: usize,
        bytes: Vec<u8>,
    },
    /// A file was resized.
    Cut { path: String, size: usize },
    /// A directory was made.
    MakeDir { path: String, mode: u32 },
    /// A symlink was made.
    Symlink { target: String, path: String },
    /// A file got a further name.
    Link { from: String, to: String },
    /// A file, symlink or directory was renamed.
    Rename { from: String, to: String },
    /// A name of a file, symlink or directory was removed.
    Remove { path: String },
    /// Mode bits were set.
    Mode { path: String, mode: u32 },
    /// The current content of a file or of a directory was made durable.
    Sync { path: String },
    /// Everything was made durable.
    SyncAll,
    /// The program ended, and thereby reported success.
    Exit,
}

impl Call {
    pub(super) fn is_sync(&self) -> bool {
        matches!(self, Self::Sync { .. } | Self::SyncAll)
    }
}

/// A call with its time: it took effect at some instant between its beginning and its end.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) call: Call,
    /// The number of calls that had ended when it began. A sync does not cover calls that run in parallel.
    pub(super) began: usize,
    /// Its position in the order of ends, counted from 1.
    pub(super) ended: usize,
}

/// Runs `command` to its end and returns its calls below `root`, in the order of their ends.
///
/// # Panics
/// On a call that cannot be interpreted, so that no change escapes notice.
#[track_caller]
pub(super) fn record(command: &Command, root: &Utf8Path) -> (Ran, Vec<Event>) {
    let dir = Utf8TempDir::new().expect("a temporary directory");
    let file = dir.path().join("trace");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-y", "-xx", "-s", "10000000", "-e", "signal=none"])
        .args(["-e", CALLS, "-o", file.as_str(), "--"])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    if let Some(dir) = command.get_current_dir() {
        strace.current_dir(dir);
    }
    let ran = run(&mut strace);
    let text = fs_err::read_to_string(&file).expect("a trace");
    (ran, parse(&text, root))
}

fn parse(text: &str, root: &Utf8Path) -> Vec<Event> {
    let mut events = Vec::new();
    let mut unfinished: HashMap<&str, (String, usize)> = HashMap::new();
    let mut reader = Reader::new(root);
    for line in text.lines() {
        let (task, line) = line.split_once(' ').expect("a task before each call");
        let line = line.trim_start();
        if line.starts_with("+++") || line.starts_with("---") {
            continue;
        }
        if let Some(start) = line.strip_suffix(" <unfinished ...>") {
            unfinished.insert(task, (start.to_owned(), events.len()));
            continue;
        }
        let (line, began) = match line.strip_prefix("<... ") {
            Some(rest) => {
                let (start, began) = unfinished.remove(task).expect("it began");
                let (_, end) = rest.split_once(" resumed>").expect("it goes on");
                (start + end, began)
            }
            None => (line.to_owned(), events.len()),
        };
        let calls = reader
            .read(&line)
            .unwrap_or_else(|| panic!("not understood: {line}"));
        for call in calls {
            let ended = events.len() + 1;
            events.push(Event { call, began, ended });
        }
    }
    assert!(
        events.iter().any(|event| event.call == Call::Exit),
        "the program never ended"
    );
    events
}
