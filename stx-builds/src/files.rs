//! Output files of the command line at given paths, possibly in a directory to which others also write.
//!
//! An entry there may belong to any user: a symlink to one of the caller's files, a FIFO without a reader, a file that another
//! process keeps open. So a text is written under a random name and moved into place. A file that cannot be replaced by moving is
//! opened only if the caller or `root` owns it.

use std::fs::{FileType, Metadata, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Builder;
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::OFlags;

/// The maximal number of symlinks to follow in a row.
const LINKS: u32 = 8;

/// The durability of a text before it gets its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durable {
    /// It must survive a power loss.
    Yes,
    /// It is rewritten soon.
    No,
}

/// Replaces a file by a text, completely or not at all. A path that can only be written in place, such as `/dev/stdout`, is.
pub fn replace(file: &Utf8Path, text: &[u8], durable: Durable) -> io::Result<()> {
    replace_as(file, text, durable, me())
}

fn replace_as(file: &Utf8Path, text: &[u8], durable: Durable, me: u32) -> io::Result<()> {
    match there(file, me)? {
        There::InPlace(path) => open(&path)?.write_all(text),
        There::Nothing(path) | There::Regular(path) => moved_to(&path, text, durable),
    }
}

/// Creates a file to write to over time; an existing file loses its content.
pub fn create(file: &Utf8Path) -> io::Result<fs::File> {
    create_as(file, me())
}

fn create_as(file: &Utf8Path, me: u32) -> io::Result<fs::File> {
    match there(file, me)? {
        There::Nothing(path) => fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path),
        There::Regular(path) => {
            let file = open(&path)?;
            refuse_others(&path, &file.metadata()?, me)?;
            file.set_len(0)?;
            Ok(file)
        }
        There::InPlace(path) => open(&path),
    }
}

/// The entry at an output path, after following the permitted symlinks.
enum There {
    Nothing(Utf8PathBuf),
    Regular(Utf8PathBuf),
    /// A terminal, a pipe, a device.
    InPlace(Utf8PathBuf),
}

fn there(file: &Utf8Path, me: u32) -> io::Result<There> {
    let mut path = file.to_owned();
    for _ in 0..LINKS {
        if is_descriptor(&path) {
            return Ok(There::InPlace(path));
        }
        let found = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(There::Nothing(path));
            }
            found => found?,
        };
        let kind = found.file_type();
        // A regular file is replaced, not written to, so its owner does not matter here.
        if kind.is_file() {
            return Ok(There::Regular(path));
        }
        refuse_others(&path, &found, me)?;
        if is_written_in_place(kind) {
            return Ok(There::InPlace(path));
        }
        if !kind.is_symlink() {
            return Err(fault(&path, "not a file"));
        }
        let target = Utf8PathBuf::try_from(fs::read_link(&path)?).map_err(io::Error::other)?;
        path = match path.parent() {
            Some(parent) => parent.join(target),
            None => target,
        };
    }
    Err(fault(file, "too many symlinks"))
}

fn is_written_in_place(kind: FileType) -> bool {
    kind.is_char_device() || kind.is_fifo() || kind.is_socket() || kind.is_block_device()
}

/// True if a path refers to an open file of this process. Another file must not be moved into its place.
fn is_descriptor(path: &Utf8Path) -> bool {
    matches!(path.as_str(), "/dev/stdout" | "/dev/stderr")
        || path.starts_with("/dev/fd")
        || path.starts_with("/proc")
}

/// Opens the checked entry to append to it.
fn open(path: &Utf8Path) -> io::Result<fs::File> {
    // Such paths are symlinks that the kernel made.
    let flags = if is_descriptor(path) {
        OFlags::empty()
    } else {
        OFlags::NOFOLLOW
    };
    fs::OpenOptions::new()
        .append(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Refuses the entry of another user except `root`, since that user may have planted it.
fn refuse_others(path: &Utf8Path, found: &Metadata, me: u32) -> io::Result<()> {
    let owner = found.uid();
    if owner == 0 || owner == me {
        return Ok(());
    }
    Err(fault(path, &format!("it belongs to user {owner}")))
}

fn fault(path: &Utf8Path, why: &str) -> io::Error {
    io::Error::other(format!("cannot write {path}: {why}"))
}

fn moved_to(path: &Utf8Path, text: &[u8], durable: Durable) -> io::Result<()> {
    let dir = match path.parent() {
        Some(parent) if !parent.as_str().is_empty() => parent,
        Some(_) | None => Utf8Path::new("."),
    };
    let failed = |error: io::Error| {
        let kind = error.kind();
        io::Error::new(kind, format!("cannot write {path}: {error}"))
    };
    // The process's umask applies as to every new file.
    let mut part = Builder::new()
        .prefix(&format!(".{}.", path.file_name().unwrap_or("file")))
        .suffix(".part")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(dir)
        .map_err(failed)?;
    part.write_all(text).map_err(failed)?;
    if durable == Durable::Yes {
        part.as_file().sync_all().map_err(failed)?;
    }
    part.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// The consequence of a state directory on a network file system.
pub(crate) const REMOTE_STATE: &str = "a restart of its server kills the service, which maps the ledger into memory, and locks may not \
     exclude builds of another host";

/// The network file systems, by the numbers that `statfs` returns. FUSE serves disks of this machine, too, but does not tell.
const NETWORK: [(u32, &str); 10] = [
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x517b, "SMB"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x5346_414f, "AFS"),
    (0x7375_7245, "Coda"),
    (0x6573_5546, "FUSE, such as sshfs"),
];

/// The network file system that holds a directory, or the nearest existing one above it; `None` for a disk of this machine.
pub(crate) fn network_disk(dir: &Utf8Path) -> Option<&'static str> {
    let mut above = dir.ancestors();
    let found = above.find_map(|dir| rustix::fs::statfs(dir.as_std_path()).ok())?;
    network(found.f_type.try_into().ok()?)
}

fn network(number: u64) -> Option<&'static str> {
    let known = NETWORK
        .iter()
        .find(|(known, _)| u64::from(*known) == number);
    known.map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use camino_tempfile::tempdir;
    use fs_err::os::unix::fs::symlink;
    use rustix::fs::{AtFlags, CWD, FileType, Mode, Uid, chownat, mknodat};

    use super::*;

    #[test]
    fn network_file_systems_are_known_by_their_numbers() {
        assert_eq!(network(0x6969), Some("NFS"));
        assert_eq!(network(0xfe53_4d42), Some("SMB2"));
        assert_eq!(network(0xef53), None, "ext4");
        let dir = tempdir().expect("a directory");
        let will_be_made = dir.path().join("state/.service");
        assert_eq!(network_disk(&will_be_made), network_disk(dir.path()));
    }

    #[test]
    fn replacing_a_file_leaves_no_other_file() {
        let dir = tempdir().expect("a directory");
        let file = dir.path().join("plan.json");
        for text in ["one", "two"] {
            replace(&file, text.as_bytes(), Durable::Yes).expect("written");
            assert_eq!(fs::read_to_string(&file).expect("read"), text);
        }
        assert_eq!(dir.path().read_dir_utf8().expect("a list").count(), 1);
        let mode = fs::metadata(&file).expect("there").mode() & 0o777;
        assert!(mode & 0o400 != 0 && mode & 0o111 == 0, "{mode:o}");
    }

    #[test]
    fn a_symlink_at_a_guessable_name_is_not_followed() {
        let dir = tempdir().expect("a directory");
        let mine = dir.path().join("mine");
        fs::write(&mine, "mine").expect("written");
        for name in ["plan.json.part", ".plan.json.part"] {
            symlink(&mine, dir.path().join(name)).expect("planted");
        }
        replace(&dir.path().join("plan.json"), b"plan", Durable::No).expect("written");
        assert_eq!(fs::read_to_string(&mine).expect("read"), "mine");
    }

    #[test]
    fn the_target_of_an_own_symlink_is_replaced_and_the_symlink_kept() {
        let dir = tempdir().expect("a directory");
        fs::create_dir(dir.path().join("below")).expect("made");
        let link = dir.path().join("link");
        symlink("below/report", &link).expect("linked");
        for text in ["one", "two"] {
            replace(&link, text.as_bytes(), Durable::No).expect("written");
            let behind = fs::read_to_string(dir.path().join("below/report"));
            assert_eq!(behind.expect("read"), text);
        }
        create(&link)
            .expect("opened")
            .write_all(b"3")
            .expect("written");
        assert_eq!(fs::read_to_string(&link).expect("read"), "3");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        symlink("itself", dir.path().join("itself")).expect("linked");
        replace(&dir.path().join("itself"), b"", Durable::No).expect_err("a circle");
    }

    #[test]
    fn a_device_is_written_to() {
        let dir = tempdir().expect("a directory");
        replace(Utf8Path::new("/dev/null"), b"text", Durable::No).expect("written");
        create(Utf8Path::new("/dev/null")).expect("opened");
        assert!(
            fs::metadata("/dev/null")
                .expect("there")
                .file_type()
                .is_char_device()
        );
        replace(dir.path(), b"text", Durable::No).expect_err("a directory");
    }

    #[test]
    fn files_of_other_users_are_neither_followed_nor_opened() {
        // Only `root` can give files away; other users test with a different caller instead.
        let (me, other) = match me() {
            0 => (0, Some(Uid::from_raw(12345))),
            own => (own + 1, None),
        };
        let dir = tempdir().expect("a directory");
        let mine = dir.path().join("mine");
        let theirs = |name: &str| {
            let path = dir.path().join(name);
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            chownat(CWD, path.as_std_path(), other, None, flags).expect("given away");
            path
        };
        fs::write(&mine, "mine").expect("written");
        symlink(&mine, dir.path().join("link")).expect("linked");
        let fifo = dir.path().join("fifo");
        mknodat(CWD, fifo.as_std_path(), FileType::Fifo, Mode::RWXU, 0).expect("made");
        for path in [theirs("link"), theirs("fifo")] {
            replace_as(&path, b"text", Durable::No, me).expect_err("not ours");
            create_as(&path, me).expect_err("not ours");
        }
        fs::write(dir.path().join("file"), "theirs").expect("written");
        let file = theirs("file");
        create_as(&file, me).expect_err("not ours");
        assert_eq!(fs::read_to_string(&file).expect("read"), "theirs");
        assert_eq!(fs::read_to_string(&mine).expect("read"), "mine");
        // The file is replaced by one that the caller owns.
        replace_as(&file, b"text", Durable::No, me).expect("replaced");
        assert_eq!(fs::metadata(&file).expect("there").uid(), super::me());
    }
}
