//! All processes of a phase, and the way to end them.
//!
//! A phase's process leads a group. Processes that stay in the group are found by the group's number, those that left it by
//! their parents. The program makes itself the reaper of its descendants (`PR_SET_CHILD_SUBREAPER`): a process that lost its
//! parent and has a session of its own becomes a child of this program, not of `init`. The environment that such a child was
//! started with tells its phase.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process_group, set_child_subreaper, waitid,
};

use super::proc::{self, Stat};
use crate::Invocation;

/// The interval between checks whether a tree is gone.
const POLL: Duration = Duration::from_millis(20);

/// The number of checks after a kill; a process in uninterruptible sleep is not waited for.
const KILLS: usize = 100;

/// The leaders of the phases that run in this program.
static LEADERS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn leaders() -> MutexGuard<'static, BTreeSet<i32>> {
    LEADERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes this program the parent of descendants that lose theirs; true if the kernel supports it.
pub(super) fn adopt() -> bool {
    static ADOPTS: OnceLock<bool> = OnceLock::new();
    *ADOPTS.get_or_init(|| set_child_subreaper(Some(getpid())).is_ok())
}

/// The processes of one phase.
#[derive(Debug)]
pub(super) struct Tree {
    leader: i32,
    /// The variables, as `NAME=value`, that a process of the phase has in its environment; empty if they do not distinguish
    /// phases.
    marks: Vec<String>,
}

impl Drop for Tree {
    fn drop(&mut self) {
        leaders().remove(&self.leader);
    }
}

impl Tree {
    /// Starts the leader of a group.
    pub(super) fn start(
        command: &mut Command,
        invocation: &Invocation,
    ) -> io::Result<(Child, Self)> {
        // Locked until the leader is listed: a concurrent phase must not take this process for a leftover.
        let mut leaders = leaders();
        let child = command.spawn()?;
        let leader = i32::try_from(child.id()).map_err(io::Error::other)?;
        leaders.insert(leader);
        let marks = ["PHASE", "MY_WORKSPACE"]
            .into_iter()
            .filter_map(|name| Some(format!("{name}={}", invocation.env.get(name)?)))
            .collect();
        Ok((child, Self { leader, marks }))
    }

    pub(super) fn leader(&self) -> i32 {
        self.leader
    }

    /// The processes that are alive: those of the group, those that left it, and the descendants of both.
    pub(super) fn members(&self) -> Vec<Stat> {
        let all = proc::all();
        let adopted = Adopted::new();
        let mut found: HashSet<i32> = all
            .iter()
            .filter(|stat| {
                stat.group == self.leader
                    || stat.pid == self.leader
                    || adopted.is_one(stat) && self.is_marked(stat, &adopted)
            })
            .map(|stat| stat.pid)
            .collect();
        loop {
            let before = found.len();
            for stat in &all {
                if found.contains(&stat.parent) {
                    found.insert(stat.pid);
                }
            }
            if found.len() == before {
                break;
            }
        }
        all.into_iter()
            .filter(|stat| found.contains(&stat.pid) && !stat.is_dead())
            .collect()
    }

    /// True if an adopted process belongs to this phase. A process that cleared its environment belongs to the only running
    /// phase; if several run, the last of them ends it.
    fn is_marked(&self, stat: &Stat, adopted: &Adopted) -> bool {
        if !self.marks.is_empty() && proc::has_env(stat.pid, &self.marks) {
            return true;
        }
        adopted.leaders.len() == 1 && !stat.is_dead() && !proc::names_env(stat.pid, "PHASE")
    }

    /// Ends the remaining processes after the leader ended.
    pub(super) async fn sweep(&self, grace: Duration) {
        // Without adoption, the remaining processes of the group are found by its number.
        if !adopt() || anything_adopted() {
            self.end(grace).await;
        }
    }

    /// Ends all processes: asks, waits up to `grace`, then kills.
    pub(super) async fn end(&self, grace: Duration) {
        let mut asked = HashSet::new();
        let gone = async {
            loop {
                let members = self.members();
                if members.is_empty() {
                    break;
                }
                for member in members {
                    if asked.insert((member.pid, member.started)) {
                        proc::signal(&member, Signal::TERM);
                    }
                }
                tokio::time::sleep(POLL).await;
            }
        };
        if tokio::time::timeout(grace, gone).await.is_err() {
            for _ in 0..KILLS {
                if !self.kill() {
                    break;
                }
                tokio::time::sleep(POLL).await;
            }
        }
        for (pid, _) in asked.into_iter().filter(|(pid, _)| *pid != self.leader) {
            // A zombie has no environment that would tell its phase.
            if proc::stat(pid).is_some_and(|stat| stat.is_dead() && stat.parent == proc::own()) {
                reap(pid);
            }
        }
        anything_adopted();
    }

    /// Kills all processes; true if any existed.
    pub(super) fn kill(&self) -> bool {
        if let Some(group) = Pid::from_raw(self.leader).filter(|_| self.leader > 1) {
            // All at once, so that no member of the group starts another process meanwhile.
            kill_process_group(group, Signal::KILL).ok();
        }
        let members = self.members();
        for member in &members {
            proc::signal(member, Signal::KILL);
        }
        !members.is_empty()
    }
}

/// True if this program has adopted a live process: every leftover process of a phase is adopted, or descends from one that is.
/// Adopted processes that have ended are reaped.
fn anything_adopted() -> bool {
    let Some(mut children) = proc::own_children() else {
        return true;
    };
    // Read the leaders after the children: every phase that started meanwhile has listed its leader by then.
    let leaders = leaders().clone();
    children.retain(|pid| !leaders.contains(pid));
    if children.is_empty() {
        return false;
    }
    let adopted = Adopted::new();
    let mut left = false;
    for stat in children.into_iter().filter_map(proc::stat) {
        if !adopted.is_one(&stat) {
            continue;
        }
        if stat.is_dead() {
            reap(stat.pid);
        } else {
            left = true;
        }
    }
    left
}

/// The processes that this program adopted: children that it did not start.
struct Adopted {
    own: i32,
    /// 0 if the group's leader is outside of this program's PID namespace; likewise for the session.
    group: i32,
    session: i32,
    leaders: BTreeSet<i32>,
}

impl Adopted {
    fn new() -> Self {
        let own = proc::own();
        let stat = proc::stat(own);
        Self {
            own,
            group: stat.map_or(own, |stat| stat.group),
            session: stat.map_or(own, |stat| stat.session),
            leaders: leaders().clone(),
        }
    }

    /// True if a phase left this process. A process that this program started for itself stays in its session, is in a phase's
    /// group only as its leader, and has no `PHASE` in its environment.
    fn is_one(&self, stat: &Stat) -> bool {
        stat.parent == self.own
            && stat.group != self.group
            && !self.leaders.contains(&stat.pid)
            && (stat.session != self.session
                || self.leaders.contains(&stat.group)
                || proc::names_env(stat.pid, "PHASE"))
    }
}

fn reap(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // Ignored: another phase may already have reaped it.
        waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        )
        .ok();
    }
}
