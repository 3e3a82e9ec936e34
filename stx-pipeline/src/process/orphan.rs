//! Groups, and jobs of a cluster, that outlive a builder that was killed.
//!
//! Each started group stands in a file `running/PGID` of the state directory: boot, leader's start, and the builder's own
//! process and start. The next build ends those whose builder is gone, if they are still the same.

use std::io;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use rustix::process::Signal;

use super::proc::{Stat, all, boot, has_env, names_env, own, signal, stat};

/// How often it is looked whether what was asked to end is gone.
const POLL: Duration = Duration::from_millis(20);

/// Something that outlived its builder, and was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// What.
    pub kind: OrphanKind,
    /// The phase it belonged to.
    pub phase: String,
}

/// What can outlive a builder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrphanKind {
    /// The process group of this number.
    Group(i32),
    /// The jobs of this name on a cluster.
    Job(String),
}

/// The file of a running group; removed when dropped.
#[derive(Debug)]
pub(super) struct Registered(Utf8PathBuf);

impl Drop for Registered {
    fn drop(&mut self) {
        // One that stays is found to be over by the next build.
        drop(fs_err::remove_file(&self.0));
    }
}

/// Writes the file of a group whose leader is alive or a zombie.
pub(super) fn register(
    state: &Utf8Path,
    group: i32,
    phase: &str,
    workspace: &str,
) -> io::Result<Registered> {
    let own = own();
    let (Some(leader), Some(builder)) = (stat(group), stat(own)) else {
        return Err(io::Error::other("no /proc/PID/stat"));
    };
    let dir = state.join("running");
    let file = dir.join(group.to_string());
    let text = format!(
        "{}\n{}\n{own}\n{}\n{phase}\n{workspace}\n",
        boot(),
        leader.started,
        builder.started
    );
    if fs_err::write(&file, &text).is_err() {
        fs_err::create_dir_all(&dir)?;
        fs_err::write(&file, &text)?;
    }
    Ok(Registered(file))
}

/// Ends what a killed builder left behind: the groups registered in the state directory `dir` that are still the same and
/// whose builder is gone, and every process that some phase in `workspace` started, wherever it went. All of it gets `grace`
/// before it is killed. Then the builder's jobs on a cluster are cancelled. Nobody else may build in the directory meanwhile.
/// Returns what was ended.
///
/// # Errors
/// When the directory cannot be read, or a job cannot be cancelled; a directory without registrations is none.
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
        let Some(group) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let text = fs_err::read_to_string(entry.path())?;
        let lines: Vec<_> = text.lines().collect();
        if let [of_boot, started, builder, builder_started, phase, workspace] = *lines.as_slice() {
            let same_boot = of_boot == boot();
            let alive = |pid: &str, started: &str| {
                let stat = pid.parse().ok().and_then(stat);
                stat.is_some_and(|stat| stat.started.to_string() == started)
            };
            if same_boot && alive(builder, builder_started) {
                continue;
            }
            if same_boot && is_ours(group, started, workspace) {
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
    let mut ended: Vec<_> = groups.collect();
    if running.is_dir() {
        // After the processes of this machine, so that no `sbatch` is left that submits one more.
        ended.extend(super::place::end_jobs(dir).await?);
    }
    Ok(ended)
}

/// Asks, waits, kills; what was asked first.
async fn end(groups: &[(i32, String)], workspace: &Utf8Path, grace: Duration) -> Vec<Stat> {
    let marks = [format!("MY_WORKSPACE={workspace}")];
    let left = || {
        let mut left = all();
        left.retain(|stat| {
            let orphaned = || groups.iter().any(|(group, _)| *group == stat.group);
            let strayed = || has_env(stat.pid, &marks) && names_env(stat.pid, "PHASE");
            !stat.is_dead() && stat.pid != own() && (orphaned() || strayed())
        });
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
