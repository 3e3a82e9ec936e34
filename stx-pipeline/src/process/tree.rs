//! Everything that a phase started, and ending all of it.
//!
//! A phase's process leads a group. What stays in the group is found by its number, what left it by its parents: the
//! program makes itself the reaper of its descendants (`PR_SET_CHILD_SUBREAPER`), so that a process whose parent ended,
//! and which made a session of its own, becomes a child of this program and not of `init`. Which phase such a child
//! belongs to is read from the environment it was started with.

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

/// How often it is looked whether a tree is gone.
const POLL: Duration = Duration::from_millis(20);

/// How often what was killed is looked for again; a process that sleeps uninterruptibly is not waited for.
const KILLS: usize = 100;

/// The leaders of the phases that run in this program.
static LEADERS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn leaders() -> MutexGuard<'static, BTreeSet<i32>> {
    LEADERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes this program the parent of descendants that lose theirs; whether the kernel does so.
pub(super) fn adopt() -> bool {
    static ADOPTS: OnceLock<bool> = OnceLock::new();
    *ADOPTS.get_or_init(|| set_child_subreaper(Some(getpid())).is_ok())
}

/// The processes of one phase.
#[derive(Debug)]
pub(super) struct Tree {
    leader: i32,
    /// The variables, as `NAME=value`, that a process of the phase has in its environment; none where they do not tell
    /// phases apart.
    marks: Vec<String>,
}

impl Drop for Tree {
    fn drop(&mut self) {
        leaders().remove(&self.leader);
    }
}

impl Tree {
    /// Starts a leader.
    pub(super) fn start(
        command: &mut Command,
        invocation: &Invocation,
    ) -> io::Result<(Child, Self)> {
        // A phase beside it that looks for what was left behind meanwhile must not take this one for that.
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

    /// The processes that are alive: the group, what left it, and what descends from either.
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

    /// Whether an adopted process comes from this phase. One that cleared its environment comes from the only phase that
    /// runs; where several do, the last of them ends it.
    fn is_marked(&self, stat: &Stat, adopted: &Adopted) -> bool {
        if !self.marks.is_empty() && proc::has_env(stat.pid, &self.marks) {
            return true;
        }
        adopted.leaders.len() == 1 && !stat.is_dead() && !proc::names_env(stat.pid, "PHASE")
    }

    /// Ends what is left after the leader ended.
    pub(super) async fn sweep(&self, grace: Duration) {
        // Without adoption what is left of the group is found by its number.
        if !adopt() || anything_adopted() {
            self.end(grace).await;
        }
    }

    /// Ends all of it: asks, waits up to `grace`, then kills.
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
            // A zombie no longer says that it was of this phase.
            if proc::stat(pid).is_some_and(|stat| stat.is_dead() && stat.parent == proc::own()) {
                reap(pid);
            }
        }
        anything_adopted();
    }

    /// Kills all of it; whether there was any.
    pub(super) fn kill(&self) -> bool {
        if let Some(group) = Pid::from_raw(self.leader).filter(|_| self.leader > 1) {
            // At once, so that nothing of the group starts something meanwhile.
            kill_process_group(group, Signal::KILL).ok();
        }
        let members = self.members();
        for member in &members {
            proc::signal(member, Signal::KILL);
        }
        !members.is_empty()
    }
}

/// Whether this program has adopted anything that is alive: what a phase left behind is that, or descends from it. What
/// ended is reaped.
fn anything_adopted() -> bool {
    let Some(mut children) = proc::own_children() else {
        return true;
    };
    // After them: whoever starts a phase meanwhile has put its leader down by then.
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

/// Which processes this program adopted: children that it did not start.
struct Adopted {
    own: i32,
    /// 0 where the group's leader is outside of this program's PID namespace; the session's likewise.
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

    /// Whether a process was left by a phase. A process that this program started for itself stays in its session, is
    /// in no phase's group except as its leader, and has no `PHASE` in its environment.
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
        // Another phase may have been faster.
        waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        )
        .ok();
    }
}
