//! Groups, and jobs of a cluster, that outlive a builder that was killed.
//!
//! Each started group stands in a file `running/PGID` of the state directory: boot, leader's start, and the builder's own
//! process and start. The next build ends those whose builder is gone, if they are still the same.

use std::io;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::group::{end, members, stat};

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

pub(super) fn boot() -> String {
    fs_err::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Writes the file of a group whose leader is alive or a zombie.
pub(super) fn register(
    state: &Utf8Path,
    group: i32,
    phase: &str,
    workspace: &str,
) -> io::Result<Registered> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let (Some(leader), Some(builder)) = (stat(group), stat(own)) else {
        return Err(io::Error::other("no /proc/PID/stat"));
    };
    let dir = state.join("running");
    fs_err::create_dir_all(&dir)?;
    let file = dir.join(group.to_string());
    let text = format!(
        "{}\n{}\n{own}\n{}\n{phase}\n{workspace}\n",
        boot(),
        leader.started,
        builder.started
    );
    fs_err::write(&file, text)?;
    Ok(Registered(file))
}

/// Ends the groups that a killed builder left behind: those registered in the state directory `dir`, still the same, and whose
/// builder is gone. Each gets `grace` before it is killed. Jobs on a cluster are cancelled. Returns those that were ended.
///
/// # Errors
/// When the directory cannot be read, or a job cannot be cancelled; a directory without registrations is none.
pub async fn end_orphans(dir: &Utf8Path, grace: Duration) -> io::Result<Vec<Orphan>> {
    let entries = match fs_err::read_dir(dir.join("running")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut ended = super::place::end_jobs(dir).await?;
    for entry in entries {
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
                end(group, grace).await;
                ended.push(Orphan {
                    kind: OrphanKind::Group(group),
                    phase: phase.to_owned(),
                });
            }
        }
        fs_err::remove_file(entry.path())?;
    }
    Ok(ended)
}

/// Whether a live group is the one that was registered: by its leader's start, or, the leader gone, by its members' workspace.
fn is_ours(group: i32, started: &str, workspace: &str) -> bool {
    let alive = members(group);
    if let Some(leader) = stat(group) {
        return leader.started.to_string() == started && !alive.is_empty();
    }
    let wanted = format!("MY_WORKSPACE={workspace}");
    !workspace.is_empty()
        && !alive.is_empty()
        && alive.iter().all(|member| {
            fs_err::read(format!("/proc/{}/environ", member.pid)).is_ok_and(|env| {
                env.split(|byte| *byte == 0)
                    .any(|entry| entry == wanted.as_bytes())
            })
        })
}
