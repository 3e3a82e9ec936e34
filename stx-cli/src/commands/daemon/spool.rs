//! What people ask, as files that appear by a rename.
//!
//! A file's owner is who asked: the kernel says so, nobody can claim it. The directory is of the service's user and the
//! build group, mode 3770: members add files, cannot read the state, and cannot touch each other's files.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt,
};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::OFlags;
use stx_pipeline::service::{Ask, Message};

/// The file that the running service has locked.
const ALIVE: &str = ".service";
/// No message is longer.
const MOST: u64 = 64 * 1024;

/// Makes the directory, or finds that others than the group can write it.
pub(crate) fn make(dir: &Utf8Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("spool {dir}: {error}");
    if !dir.exists() {
        let mut builder = std::fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed)?;
        fs_err::set_permissions(dir, PermissionsExt::from_mode(0o3770)).map_err(failed)?;
    }
    let mode = fs_err::symlink_metadata(dir).map_err(failed)?.mode();
    if mode & 0o170_000 != 0o040_000 || mode & 0o002 != 0 {
        return Err(format!(
            "spool {dir}: has to be a directory that others cannot write; `chmod 3770 {dir}`"
        ));
    }
    Ok(())
}

/// Says that the service is alive, as long as the file is kept.
pub(crate) fn alive(dir: &Utf8Path) -> Result<fs_err::File, String> {
    let file = fs_err::File::create(dir.join(ALIVE)).map_err(|error| error.to_string())?;
    let readable = PermissionsExt::from_mode(0o640);
    fs_err::set_permissions(dir.join(ALIVE), readable).map_err(|error| error.to_string())?;
    // Whoever has it may only read it, and a reader's lock is short.
    file.file().lock().map_err(|error| error.to_string())?;
    Ok(file)
}

/// Whether a service is alive.
pub(crate) fn is_alive(dir: &Utf8Path) -> bool {
    fs_err::File::open(dir.join(ALIVE)).is_ok_and(|file| {
        matches!(
            file.file().try_lock_shared(),
            Err(std::fs::TryLockError::WouldBlock)
        )
    })
}

/// Leaves a message; what it is known by.
pub(crate) fn leave(
    dir: &Utf8Path,
    ask: &Ask,
    now: chrono::DateTime<chrono::Utc>,
) -> std::io::Result<String> {
    let name = format!(
        "{}-{}.json",
        now.format("%Y%m%dT%H%M%S%6fZ"),
        std::process::id()
    );
    let part = dir.join(format!(".{name}"));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(&part)?;
    // Whatever the mask says, the service reads it through the group.
    file.set_permissions(PermissionsExt::from_mode(0o640))?;
    file.write_all(&serde_json::to_vec(ask)?)?;
    file.sync_all()?;
    fs_err::rename(&part, dir.join(&name))?;
    fs_err::File::open(dir)?.sync_all()?;
    Ok(name)
}

/// The messages, oldest first, and what is wrong with those that are none.
pub(crate) fn read(dir: &Utf8Path) -> (Vec<Message>, Vec<(String, String)>) {
    let mut names: Vec<_> = dir
        .read_dir_utf8()
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_owned()))
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    let mut messages = Vec::new();
    let mut wrong = Vec::new();
    for id in names {
        match one(&dir.join(&id)) {
            Ok((uid, ask)) => messages.push(Message { id, uid, ask }),
            Err(why) => wrong.push((id, why)),
        }
    }
    (messages, wrong)
}

fn one(file: &Utf8PathBuf) -> Result<(u32, Ask), String> {
    let failed = |error: std::io::Error| error.to_string();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = flags.bits().cast_signed();
    let mut open = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(file)
        .map_err(failed)?;
    let found = open.metadata().map_err(failed)?;
    // A second name could be given to somebody else's file.
    if !found.is_file() || found.nlink() != 1 || found.len() > MOST {
        return Err("not a small file with one name".to_owned());
    }
    let mut text = String::new();
    open.read_to_string(&mut text).map_err(failed)?;
    let ask = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    Ok((found.uid(), ask))
}

/// Removes a message.
pub(crate) fn discard(dir: &Utf8Path, id: &str) -> std::io::Result<()> {
    match fs_err::remove_file(dir.join(id)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
