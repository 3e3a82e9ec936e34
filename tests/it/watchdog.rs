//! The end of programs that do not end by themselves.

use std::collections::HashMap;
use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::places::{Process, kill, processes};

/// The longest life of a program that a test starts: all tests together need about half of it.
const LIFE: Duration = Duration::from_mins(30);

/// Kills the programs that outlive the limit, as long as this process runs: libtest has no limit, and a test that waits for the end of a
/// program without one would keep the whole run from its end. The test then fails, and the others run.
pub(crate) fn start() {
    std::thread::spawn(|| {
        let mut seen: HashMap<i32, Instant> = HashMap::new();
        loop {
            std::thread::sleep(LIFE / 30);
            let children = descendants();
            seen.retain(|pid, _| children.iter().any(|child| child.pid == *pid));
            for child in children {
                let since = seen.entry(child.pid).or_insert_with(Instant::now);
                if since.elapsed() > LIFE {
                    // Not by a macro: libtest would keep the text until the test that called this function fails.
                    let text = format!("killed after {LIFE:?}: {}\n", child.command);
                    std::io::stderr().write_all(text.as_bytes()).ok();
                    kill(child.pid);
                }
            }
        }
    });
}

/// The processes that this process started, with those that they started.
fn descendants() -> Vec<Process> {
    let mut others = processes();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![std::process::id().cast_signed()];
    while let Some(parent) = parents.pop() {
        let children = others.extract_if(.., |process| process.parent == parent);
        for child in children {
            parents.push(child.pid);
            found.push(child);
        }
    }
    found
}
