//! Process groups that outlive a killed builder.
//!
//! Each started group is registered in a file `running/BUILDER.N` of the state directory: the boot, the builder's process and
//! its start time, and then the group, its leader's start time, the phase and its workspace. When the group is over, the file
//! is truncated to the builder's part and reused for the next group. To create and remove a file for each phase would cost more
//! than the phase, because ext4 scans past every inode that was freed within the last minutes. The next build ends the groups
//! whose builder is gone, if they are still the same.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::Signal;

use super::proc::{Stat, all, boot, has_env, names_env, own, signal, stat};

/// The interval between checks whether processes that were asked to end are gone.
const POLL: Duration = Duration::from_millis(20);

/// Processes or jobs that outlived their builder, and were ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The process group, or the jobs of a cluster.
    pub kind: OrphanKind,
    /// Their phase; empty if unknown.
    pub phase: String,
}

/// The kind of processes that can outlive a builder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrphanKind {
    /// The process group of this number.
    Group(i32),
    /// The jobs of this name on a cluster.
    Job(String),
}

/// The running groups of a builder. Its files are removed when the last clone is dropped.
#[derive(Debug, Clone)]
pub(super) struct Running {
    dir: Utf8PathBuf,
    free: Arc<Mutex<Vec<Slot>>>,
}

/// A file that registers a group; removed when dropped.
#[derive(Debug)]
struct Slot {
    path: Utf8PathBuf,
    file: fs_err::File,
    /// The number of bytes of the builder's part.
    builder: u64,
}

impl Drop for Slot {
    fn drop(&mut self) {
        // If the file remains, the next build finds its group over.
        fs_err::remove_file(&self.path).ok();
    }
}

impl Slot {
    /// Creates a file for this builder in `dir`.
    fn make(dir: &Utf8Path) -> io::Result<Self> {
        let own = own();
        let builder = stat(own).ok_or_else(|| io::Error::other("no /proc/PID/stat"))?;
        let text = format!("{}\n{own}\n{}\n", boot(), builder.started);
        let mut number = 0;
        loop {
            let path = dir.join(format!("{own}.{number}"));
            let made = fs_err::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path);
            let file = match made {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs_err::create_dir_all(dir)?;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    number += 1;
                    continue;
                }
                made => made?,
            };
            file.file().write_all_at(text.as_bytes(), 0)?;
            return Ok(Self {
                path,
                file,
                builder: text.len() as u64,
            });
        }
    }
}

/// A registered group; it counts as over when this is dropped.
#[derive(Debug)]
pub(super) struct Registered<'a> {
    running: &'a Running,
    slot: Option<Slot>,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take()
            && slot.file.set_len(slot.builder).is_ok()
        {
            self.running.free().push(slot);
        }
    }
}

impl Running {
    /// The groups of this builder, registered in a state directory.
    pub(super) fn new(state: &Utf8Path) -> Self {
        Self {
            dir: state.join("running"),
            free: Arc::default(),
        }
    }

    fn free(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a group whose leader is alive or a zombie.
    pub(super) fn register(
        &self,
        group: i32,
        phase: &str,
        workspace: &str,
    ) -> io::Result<Registered<'_>> {
        let leader = stat(group).ok_or_else(|| io::Error::other("no /proc/PID/stat"))?;
        let free = self.free().pop();
        let slot = free.map_or_else(|| Slot::make(&self.dir), Ok)?;
        let text = format!("{group}\n{}\n{phase}\n{workspace}\n", leader.started);
        slot.file
            .file()
            .write_all_at(text.as_bytes(), slot.builder)?;
        Ok(Registered {
            running: self,
            slot: Some(slot),
        })
    }
}

/// Ends the processes that a killed builder left behind. These are the groups registered in the state directory `dir` that are
/// still the same and whose builder is gone, and every process that any phase in `workspace` started, whatever its group or
/// session. They get `grace` before they are killed. No other builder may use the directory meanwhile. Returns the ended
/// groups. Registrations of cluster jobs, `running/job.NAME`, are not touched.
///
/// # Errors
/// When the directory cannot be read. A directory without registrations is not an error.
pub async fn end_orphans(
    dir: &Utf8Path,
    workspace: &Utf8Path,
    grace: Duration,
) -> io::Result<Vec<Orphan>> {
    let mut groups = Vec::new();
    let mut over = Vec::new();
    let running = dir.join("running");
    let entries = match fs_err::read_dir(&running) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        entries => Some(entries?),
    };
    for entry in entries.into_iter().flatten() {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b"job.") {
            continue;
        }
        let text = fs_err::read_to_string(entry.path())?;
        let mut lines = text.lines();
        if let (Some(of_boot), Some(builder), Some(builder_started)) =
            (lines.next(), lines.next(), lines.next())
        {
            let same_boot = of_boot == boot();
            let builder = builder.parse().ok().and_then(stat);
            if same_boot && builder.is_some_and(|it| it.started.to_string() == builder_started) {
                continue;
            }
            // A shorter file means that no group ran.
            if let [group, started, phase, workspace] = *lines.collect::<Vec<_>>()
                && let Ok(group) = group.parse()
                && same_boot
                && is_ours(group, started, workspace)
            {
                groups.push((group, phase.to_owned()));
            }
        }
        over.push(entry.path());
    }
    let strays = end(&groups, workspace, grace).await;
    for file in over {
        fs_err::remove_file(file)?;
    }
    for stray in strays {
        if groups.iter().all(|(group, _)| *group != stray.group) {
            groups.push((stray.group, String::new()));
        }
    }
    let groups = groups.into_iter().map(|(group, phase)| Orphan {
        kind: OrphanKind::Group(group),
        phase,
    });
    Ok(groups.collect())
}

/// Asks the processes to end, waits, and then kills them. Returns the processes that were asked first.
async fn end(groups: &[(i32, String)], workspace: &Utf8Path, grace: Duration) -> Vec<Stat> {
    let marks = [format!("MY_WORKSPACE={workspace}")];
    let own_group = stat(own()).map(|stat| stat.group);
    let mut groups: BTreeSet<_> = groups.iter().map(|(group, _)| *group).collect();
    let mut left = || {
        let mut left = all();
        left.retain(|stat| !stat.is_dead() && stat.pid != own());
        let strayed = |stat: &Stat| has_env(stat.pid, &marks) && names_env(stat.pid, "PHASE");
        let strays: HashSet<_> = left
            .iter()
            .filter(|stat| strayed(stat))
            .map(|stat| stat.pid)
            .collect();
        // End the whole group of a stray: its members may have cleared their environment, or may have none while they replace
        // their program.
        let with = left.iter().filter(|stat| strays.contains(&stat.pid));
        groups.extend(
            with.map(|stat| stat.group)
                .filter(|group| own_group != Some(*group)),
        );
        left.retain(|stat| strays.contains(&stat.pid) || groups.contains(&stat.group));
        left
    };
    let first = left();
    for stat in &first {
        signal(stat, Signal::TERM);
    }
    let gone = async {
        while !left().is_empty() {
            tokio::time::sleep(POLL).await;
        }
    };
    if !first.is_empty() && tokio::time::timeout(grace, gone).await.is_err() {
        // The kernel takes a moment; a process in uninterruptible sleep is not waited for.
        for _ in 0..100 {
            let left = left();
            if left.is_empty() {
                break;
            }
            for stat in left {
                signal(&stat, Signal::KILL);
            }
            tokio::time::sleep(POLL).await;
        }
    }
    first
}

/// True if a live group is the registered one. Its leader's start time tells, or, if the leader is gone, the workspace of its
/// members.
fn is_ours(group: i32, started: &str, workspace: &str) -> bool {
    let mut alive = all();
    alive.retain(|stat| stat.group == group && !stat.is_dead());
    if let Some(leader) = stat(group) {
        return leader.started.to_string() == started && !alive.is_empty();
    }
    let wanted = [format!("MY_WORKSPACE={workspace}")];
    !workspace.is_empty()
        && !alive.is_empty()
        && alive.iter().all(|member| has_env(member.pid, &wanted))
}
