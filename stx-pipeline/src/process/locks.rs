//! Locks that killed git processes left in work trees.
//!
//! A git process leaves a lock behind if it ends between creating the lock and recording it, even if it was only asked to end.
//! A machine that loses power leaves locks too. Every later git command in that work tree would fail until a person removes the
//! lock.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use walkdir::{DirEntry, WalkDir};

use super::git::{git, work_trees};
use crate::{BuildPlan, Cancel, Ended, Invocation, Runner, Stream};

/// Runs the source phase of a build with another runner. Before each attempt it removes the locks that a killed git left in the
/// plan's work trees: no other phase runs at that time, and no other build uses these trees. After a [lost](Ended::Lost)
/// attempt it leaves them, because that attempt may still be running at its place.
pub struct SourceRunner<'a> {
    inner: &'a dyn Runner,
    plan: &'a BuildPlan,
    lost: AtomicBool,
}

impl<'a> SourceRunner<'a> {
    /// A runner for the source phase of `plan`.
    pub fn new(inner: &'a dyn Runner, plan: &'a BuildPlan) -> Self {
        Self {
            inner,
            plan,
            lost: AtomicBool::new(false),
        }
    }
}

#[async_trait]
impl Runner for SourceRunner<'_> {
    async fn run(
        &self,
        invocation: &Invocation,
        output: &(dyn for<'l> Fn(Stream, &'l str) + Sync),
        cancel: &Cancel,
    ) -> Ended {
        if !self.lost.load(Ordering::Relaxed) {
            for lock in remove_locks(self.plan) {
                let line = format!("removed {lock}, which a git that was killed left behind");
                output(Stream::Merged, &line);
            }
        }
        let ended = self.inner.run(invocation, output, cancel).await;
        let lost = matches!(ended, Ended::Lost { .. });
        self.lost.store(lost, Ordering::Relaxed);
        ended
    }
}

/// Removes the locks in the work trees of a plan, and returns them. Unreadable trees, and locks that cannot be removed, are
/// left to git, which reports the error.
fn remove_locks(plan: &BuildPlan) -> Vec<Utf8PathBuf> {
    let trees = work_trees(plan).unwrap_or_default();
    let mut gone = Vec::new();
    for tree in trees {
        let dir = plan.source_root.join(tree);
        // Two directories for a work tree of `git worktree`, which keeps its references elsewhere.
        let asked = ["rev-parse", "--absolute-git-dir", "--git-common-dir"];
        let dirs = git(plan, &dir, &asked).unwrap_or_default();
        for git_dir in dirs.lines() {
            gone.extend(remove_locks_in(&dir.join(git_dir)));
        }
    }
    gone
}

/// Removes the locks in a git directory in which no git runs, and returns them.
pub fn remove_locks_in(git_dir: &Utf8Path) -> Vec<Utf8PathBuf> {
    let locks = locks(git_dir);
    locks
        .filter(|lock| fs_err::remove_file(lock).is_ok())
        .collect()
}

/// The locks in a git directory. No reference can have a name with their suffix.
fn locks(git_dir: &Utf8Path) -> impl Iterator<Item = Utf8PathBuf> + use<> {
    let walk = WalkDir::new(git_dir).into_iter().filter_entry(may_hold);
    walk.filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .filter_map(|entry| Utf8PathBuf::from_path_buf(entry.into_path()).ok())
        .filter(|path| path.extension() == Some("lock"))
}

/// True if this directory may hold locks. Skips the object directories, which hold many files, and `hooks`, which holds files
/// of users.
fn may_hold(entry: &DirEntry) -> bool {
    let name = entry.file_name().as_encoded_bytes();
    let fans_out = || {
        let parent = entry.path().parent().and_then(|parent| parent.file_name());
        name.len() == 2 && parent.is_some_and(|parent| parent == "objects")
    };
    !(name == b"hooks" || fans_out())
}
