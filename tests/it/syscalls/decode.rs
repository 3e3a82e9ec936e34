//! The system calls of x86-64 Linux that change a file system, and the paths that they change.

use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};

use nix::libc::{self, user_regs_struct};
use nix::unistd::Pid;

/// A file that an argument of a call names.
enum Place {
    /// A path at an address, below the directory that a descriptor names.
    Path(u64, u64),
    /// The file of an open descriptor.
    Descriptor(u64),
}

/// A system call that changes a file system.
#[derive(Debug, Clone)]
pub(super) struct Change {
    /// Its name in the manual.
    pub(super) name: &'static str,
    /// Absolute, without `.`, `..` and repeated slashes.
    pub(super) paths: Vec<PathBuf>,
}

/// The descriptor that means the working directory.
const HERE: u64 = (libc::AT_FDCWD as i64).cast_unsigned();
/// `FICLONE` and `FICLONERANGE` of `linux/fs.h`.
const CLONES: [u64; 2] = [0x4004_9409, 0x4020_940d];

/// The change that the thread is about to make, if its call changes a file.
///
/// # Panics
/// On calls whose changes a tracer cannot observe.
pub(super) fn change(thread: Pid, regs: &user_regs_struct) -> Option<Change> {
    use Place::{Descriptor, Path};
    let [a, b, c, d] = [regs.rdi, regs.rsi, regs.rdx, regs.r10];
    let number = i64::try_from(regs.orig_rax).ok()?;
    let (name, places) = match number {
        libc::SYS_open if writes(b) => ("open", vec![Path(HERE, a)]),
        libc::SYS_creat => ("creat", vec![Path(HERE, a)]),
        libc::SYS_openat if writes(c) => ("openat", vec![Path(a, b)]),
        libc::SYS_openat2 if writes(word(thread, c)) => ("openat2", vec![Path(a, b)]),
        libc::SYS_mkdir => ("mkdir", vec![Path(HERE, a)]),
        libc::SYS_mkdirat => ("mkdirat", vec![Path(a, b)]),
        libc::SYS_mknod => ("mknod", vec![Path(HERE, a)]),
        libc::SYS_mknodat => ("mknodat", vec![Path(a, b)]),
        libc::SYS_rmdir => ("rmdir", vec![Path(HERE, a)]),
        libc::SYS_unlink => ("unlink", vec![Path(HERE, a)]),
        libc::SYS_unlinkat => ("unlinkat", vec![Path(a, b)]),
        libc::SYS_rename => ("rename", vec![Path(HERE, a), Path(HERE, b)]),
        libc::SYS_renameat => ("renameat", vec![Path(a, b), Path(c, d)]),
        libc::SYS_renameat2 => ("renameat2", vec![Path(a, b), Path(c, d)]),
        libc::SYS_link => ("link", vec![Path(HERE, a), Path(HERE, b)]),
        libc::SYS_linkat => ("linkat", vec![Path(a, b), Path(c, d)]),
        libc::SYS_symlink => ("symlink", vec![Path(HERE, b)]),
        libc::SYS_symlinkat => ("symlinkat", vec![Path(b, c)]),
        libc::SYS_write => ("write", vec![Descriptor(a)]),
        libc::SYS_pwrite64 => ("pwrite64", vec![Descriptor(a)]),
        libc::SYS_writev => ("writev", vec![Descriptor(a)]),
        libc::SYS_pwritev => ("pwritev", vec![Descriptor(a)]),
        libc::SYS_pwritev2 => ("pwritev2", vec![Descriptor(a)]),
        libc::SYS_copy_file_range => ("copy_file_range", vec![Descriptor(c)]),
        libc::SYS_sendfile => ("sendfile", vec![Descriptor(a)]),
        libc::SYS_splice => ("splice", vec![Descriptor(c)]),
        libc::SYS_ioctl if CLONES.contains(&b) => ("ioctl", vec![Descriptor(a)]),
        libc::SYS_truncate => ("truncate", vec![Path(HERE, a)]),
        libc::SYS_ftruncate => ("ftruncate", vec![Descriptor(a)]),
        libc::SYS_fallocate => ("fallocate", vec![Descriptor(a)]),
        libc::SYS_chmod => ("chmod", vec![Path(HERE, a)]),
        libc::SYS_fchmod => ("fchmod", vec![Descriptor(a)]),
        libc::SYS_fchmodat | libc::SYS_fchmodat2 => ("fchmodat", vec![Path(a, b)]),
        libc::SYS_chown => ("chown", vec![Path(HERE, a)]),
        libc::SYS_lchown => ("lchown", vec![Path(HERE, a)]),
        libc::SYS_fchown => ("fchown", vec![Descriptor(a)]),
        libc::SYS_fchownat => ("fchownat", vec![Path(a, b)]),
        libc::SYS_utime => ("utime", vec![Path(HERE, a)]),
        libc::SYS_utimes => ("utimes", vec![Path(HERE, a)]),
        libc::SYS_futimesat => ("futimesat", vec![Path(a, b)]),
        libc::SYS_utimensat if b == 0 => ("utimensat", vec![Descriptor(a)]),
        libc::SYS_utimensat => ("utimensat", vec![Path(a, b)]),
        libc::SYS_setxattr | libc::SYS_lsetxattr => ("setxattr", vec![Path(HERE, a)]),
        libc::SYS_fsetxattr => ("fsetxattr", vec![Descriptor(a)]),
        libc::SYS_removexattr | libc::SYS_lremovexattr => ("removexattr", vec![Path(HERE, a)]),
        libc::SYS_fremovexattr => ("fremovexattr", vec![Descriptor(a)]),
        libc::SYS_fsync => ("fsync", vec![Descriptor(a)]),
        libc::SYS_fdatasync => ("fdatasync", vec![Descriptor(a)]),
        libc::SYS_sync_file_range => ("sync_file_range", vec![Descriptor(a)]),
        libc::SYS_syncfs => ("syncfs", vec![Descriptor(a)]),
        libc::SYS_sync => ("sync", vec![]),
        libc::SYS_flock => ("flock", vec![Descriptor(a)]),
        libc::SYS_io_uring_setup => panic!("changes by io_uring cannot be seen one by one"),
        _ => return None,
    };
    let paths = places
        .iter()
        .map(|place| path_of(thread, place))
        .collect::<Option<Vec<_>>>()?;
    Some(Change { name, paths })
}

/// True if a call can need room on the disk.
pub(super) fn needs_room(name: &str) -> bool {
    let never = [
        "chmod",
        "fchmod",
        "fchmodat",
        "flock",
        "rmdir",
        "unlink",
        "unlinkat",
        "utimensat",
    ];
    !never.contains(&name)
}

fn writes(flags: u64) -> bool {
    let changing = libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY | libc::O_RDWR;
    flags & u64::from(changing.unsigned_abs()) != 0
}

/// The path that an argument names; `None` for pipes, sockets and devices.
fn path_of(thread: Pid, place: &Place) -> Option<PathBuf> {
    let link = |name: &str| fs_err::read_link(format!("/proc/{thread}/{name}")).ok();
    let path = match place {
        Place::Descriptor(number) => link(&format!("fd/{}", descriptor(*number)))?,
        Place::Path(dir, address) => {
            let path = PathBuf::from(text(thread, *address)?);
            let dir = match descriptor(*dir) {
                libc::AT_FDCWD => link("cwd")?,
                number => link(&format!("fd/{number}")).unwrap_or_default(),
            };
            dir.join(path)
        }
    };
    let is_device = path.starts_with("/dev") && !path.starts_with("/dev/shm");
    let is_file = path.is_absolute() && !is_device && !path.starts_with("/proc");
    is_file.then(|| plain(&path))
}

/// The kernel uses only the lower half of a register.
#[expect(clippy::cast_possible_truncation, reason = "as the kernel does")]
fn descriptor(register: u64) -> i32 {
    register as i32
}

/// A path without `.`, `..` and repeated slashes.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// The text at an address, up to its zero byte.
fn text(thread: Pid, address: u64) -> Option<String> {
    let memory = fs_err::File::open(format!("/proc/{thread}/mem")).ok()?;
    let mut text = Vec::new();
    loop {
        // Not beyond the end of a page: the next one may not be mapped.
        let at = address + text.len() as u64;
        let mut chunk = vec![0; usize::try_from(256 - at % 256).ok()?];
        memory.file().read_exact_at(&mut chunk, at).ok()?;
        if let Some(end) = chunk.iter().position(|&byte| byte == 0) {
            text.extend(&chunk[..end]);
            return String::from_utf8(text).ok();
        }
        text.extend(chunk);
    }
}

fn word(thread: Pid, address: u64) -> u64 {
    let mut bytes = [0; 8];
    let memory = fs_err::File::open(format!("/proc/{thread}/mem")).expect("a tracee's memory");
    memory
        .file()
        .read_exact_at(&mut bytes, address)
        .expect("an argument");
    u64::from_le_bytes(bytes)
}
