//! Groups that outlive a builder that was killed.
//!
//! Each started group stands in a file `running/BUILDER.N` of the state directory: the boot, the builder's process and its
//! start, and then the group, its leader's start, the phase and its workspace. When the group is over, the file is cut back
//! to the builder, for the next group to use: a file that is made and removed for each phase costs more than the phase, as
//! ext4 walks past every inode that was given back within the last minutes. The next build ends the groups whose builder is
//! gone, if they are still the same.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::Signal;

use super::proc::{Stat, all, boot, has_env, names_env, own, signal, stat};

/// How often it is looked whether what was asked to end is gone.
const POLL: Duration = Duration::from_millis(20);

/// Something that outlived its builder, and was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The process group, or the jobs of a cluster.
    pub kind: OrphanKind,
    /// The phase it belonged to.
    pub phase: String,
}

/// A group of processes that can outlive a builder.
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

/// A file that a group can be written to; removed when dropped.
#[derive(Debug)]
struct Slot {
    path: Utf8PathBuf,
    file: fs_err::File,
    /// Bytes of the builder's part.
    builder: u64,
}

impl Drop for Slot {
    fn drop(&mut self) {
        // One that stays is found to be over by the next build.
        fs_err::remove_file(&self.path).ok();
    }
}

impl Slot {
    /// Makes a file of this builder's in `dir`.
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

/// A group that runs; over when dropped.
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
    /// Those of this builder, in a state directory.
    pub(super) fn new(state: &Utf8Path) -> Self {
        Self {
            dir: state.join("running"),
            free: Arc::default(),
        }
    }

    fn free(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down a group whose leader is alive or a zombie.
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

/// Ends what a killed builder left behind: the groups registered in the state directory `dir` that are still the same and
/// whose builder is gone, and every process that some phase in `workspace` started, wherever it went. All of it gets `grace`
/// before it is killed. Nobody else may build in the directory meanwhile. Returns what was ended. Registrations of jobs,
/// `running/job.NAME`, are left to those who know clusters.
///
/// # Errors
/// When the directory cannot be read; a directory without registrations is none.
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
            // Less of it: nothing ran.
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

/// Asks, waits, kills; what was asked first.
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
        // With a stray goes its group: what cleared its environment, or is about to run another program and has none.
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
        // The kernel takes a moment; one that sleeps in it uninterruptibly is not waited for.
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

/// Whether a live group is the one that was registered: by its leader's start, or, the leader gone, by its members' workspace.
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
