//! Facts that the checks read from the machine: files, users, programs, clock, disks and servers.

use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::Duration;

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use nix::unistd::{Group, Uid, User, getgrouplist};
use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};
use stx_layout::index::{PageId, PageName};
use stx_pipeline::{Invocation, process};

use crate::error::{Error, ErrorKind};
use crate::files::network_disk;
use crate::site::clock;
use crate::{Reader, Site, refused};

/// A file or directory, after following links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// True for a directory.
    pub is_dir: bool,
    /// Its owner.
    pub uid: u32,
    /// Its permissions.
    pub mode: u32,
}

/// A disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Its size.
    pub total: u64,
    /// The bytes that an unprivileged user can still write.
    pub free: u64,
}

/// The clock, and recently written files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    /// The time.
    pub now: DateTime<Utc>,
    /// Files that this machine or its file server wrote, with their timestamps.
    pub written: Vec<(Utf8PathBuf, DateTime<Utc>)>,
}

/// A process that ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// True if the program ended with 0.
    pub ok: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// The questions that the checks ask a machine. No call changes anything.
#[async_trait]
pub trait Machine: Send + Sync {
    /// The user who runs the command.
    fn user(&self) -> u32;
    /// A file or directory.
    fn entry(&self, path: &Utf8Path) -> io::Result<Entry>;
    /// True if a user may create files in a directory.
    fn can_write(&self, dir: &Utf8Path, user: u32) -> bool;
    /// The executable file of a program: a path, or a name to search in `PATH`.
    fn program(&self, word: &str) -> io::Result<Utf8PathBuf>;
    /// The disk of a directory.
    fn space(&self, dir: &Utf8Path) -> io::Result<Space>;
    /// The network file system that holds a directory, or the nearest existing one above it; `None` for a disk of this machine.
    fn network_disk(&self, dir: &Utf8Path) -> Option<&'static str>;
    /// The clock, and the timestamps of the existing ones of `files`.
    fn clock(&self, files: &[Utf8PathBuf]) -> Clock;
    /// True if a group of this name exists.
    fn has_group(&self, name: &str) -> bool;
    /// Runs a program for at most `limit`. The error is the reason why it did not end by itself.
    async fn run(&self, invocation: Invocation, limit: Duration) -> Result<Said, String>;
    /// Asks a mirror for its index. True if it has one, false if it answers without one; an error tells why it does not answer, with
    /// the next step if that is known.
    async fn reach(&self, site: &Site, mirror: &Utf8Path, limit: Duration) -> Result<bool, Error>;
}

/// The machine that the program runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThisMachine;

#[async_trait]
impl Machine for ThisMachine {
    fn user(&self) -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn entry(&self, path: &Utf8Path) -> io::Result<Entry> {
        let found = fs_err::metadata(path)?;
        Ok(Entry {
            is_dir: found.is_dir(),
            uid: found.uid(),
            mode: found.mode(),
        })
    }

    fn can_write(&self, dir: &Utf8Path, user: u32) -> bool {
        if user == self.user() {
            // The kernel also considers access lists and read-only file systems.
            return access(dir.as_std_path(), Access::WRITE_OK | Access::EXEC_OK).is_ok();
        }
        let Ok(found) = fs_err::metadata(dir) else {
            return false;
        };
        let is_read_only = statvfs(dir.as_std_path())
            .is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY));
        if is_read_only {
            return false;
        }
        let shift = if found.uid() == user {
            6
        } else if groups(user).contains(&found.gid()) {
            3
        } else {
            0
        };
        user == 0 || found.mode() >> shift & 0o3 == 0o3
    }

    fn program(&self, word: &str) -> io::Result<Utf8PathBuf> {
        let path = std::env::var("PATH").unwrap_or_default();
        let candidates: Vec<_> = if word.contains('/') {
            vec![Utf8PathBuf::from(word)]
        } else {
            let dirs = path.split(':').filter(|dir| !dir.is_empty());
            dirs.map(|dir| Utf8Path::new(dir).join(word)).collect()
        };
        let mut why = io::Error::new(io::ErrorKind::NotFound, "it is not in PATH");
        for file in candidates {
            match fs_err::metadata(&file) {
                Ok(found) if !found.is_file() => {}
                Ok(found) if found.permissions().mode() & 0o111 == 0 => {
                    let text = format!("{file} is not executable");
                    why = io::Error::new(io::ErrorKind::PermissionDenied, text);
                }
                Ok(_) => return Ok(file),
                Err(_) if word.contains('/') => {
                    why = io::Error::new(io::ErrorKind::NotFound, format!("{file} does not exist"));
                }
                Err(_) => {}
            }
        }
        Err(why)
    }

    fn space(&self, dir: &Utf8Path) -> io::Result<Space> {
        let found = statvfs(dir.as_std_path())?;
        Ok(Space {
            total: found.f_blocks * found.f_frsize,
            free: found.f_bavail * found.f_frsize,
        })
    }

    fn network_disk(&self, dir: &Utf8Path) -> Option<&'static str> {
        network_disk(dir)
    }

    fn clock(&self, files: &[Utf8PathBuf]) -> Clock {
        let program = std::env::current_exe().ok();
        let program = program.and_then(|file| Utf8PathBuf::from_path_buf(file).ok());
        let dated = |file: &Utf8PathBuf| {
            let modified = fs_err::metadata(file).ok()?.modified().ok()?;
            Some((file.clone(), modified.into()))
        };
        Clock {
            now: clock(),
            written: program.iter().chain(files).filter_map(dated).collect(),
        }
    }

    fn has_group(&self, name: &str) -> bool {
        // A database that does not answer does not disprove the group.
        !matches!(Group::from_name(name), Ok(None))
    }

    #[expect(
        clippy::disallowed_types,
        reason = "the process of an Invocation, with a time limit and without a log"
    )]
    async fn run(&self, invocation: Invocation, limit: Duration) -> Result<Said, String> {
        let command = process::command(&invocation).map_err(|error| error.to_string())?;
        let mut command = tokio::process::Command::from(command);
        // The time limit drops the future, which must kill the process.
        command.kill_on_drop(true);
        match tokio::time::timeout(limit, command.output()).await {
            Ok(Ok(output)) => Ok(Said {
                ok: output.status.success(),
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            }),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("it gave no answer within {} s", limit.as_secs())),
        }
    }

    async fn reach(&self, site: &Site, mirror: &Utf8Path, limit: Duration) -> Result<bool, Error> {
        let reader = Reader::open(site, mirror)?;
        let root = PageId {
            channel: None,
            name: PageName::IndexJson,
        };
        match tokio::time::timeout(limit, reader.store().page(&root)).await {
            Ok(Ok(page)) => Ok(page.is_some()),
            Ok(Err(error)) => Err(refused(error)),
            Err(_) => {
                let error = format!("it gave no answer within {} s", limit.as_secs());
                Err(Error::new(ErrorKind::Mirror, error))
            }
        }
    }
}

/// The groups of a user, by the system's user database.
fn groups(user: u32) -> Vec<u32> {
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(user)) else {
        return Vec::new();
    };
    let Ok(name) = std::ffi::CString::new(user.name) else {
        return Vec::new();
    };
    let groups = getgrouplist(&name, user.gid).unwrap_or_default();
    groups.iter().map(|group| group.as_raw()).collect()
}
