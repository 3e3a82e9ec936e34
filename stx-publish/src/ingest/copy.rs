//! Reads a file once, to hash and to copy it.

use std::cell::RefCell;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::sync::mpsc;

use camino::Utf8Path;
use chrono::{DateTime, Utc};
use fs_err as fs;
use rustix::fs::{Advice, Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use stx_layout::Sha256;
use stx_zsync::{LengthError, Maker};

use crate::audit::StoredFile;
use crate::incoming::CHUNK;
use crate::sparse::write_sparse;

thread_local! {
    /// The read buffer of a thread: for most files, clearing a fresh buffer would take longer than reading them.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The identity and the times of a file; they change when the file is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    /// The device and the inode number.
    pub(super) inode: (u64, u64),
    /// Its size in bytes.
    pub size: u64,
    pub(super) modified: (i64, i64),
    pub(super) changed: (i64, i64),
}

impl Stamp {
    fn of(file: &fs::File) -> io::Result<Self> {
        Self::from_metadata(&file.metadata()?)
    }

    /// The stamp of the file at `path`; a symlink is not followed.
    pub fn at(path: &Utf8Path) -> io::Result<Self> {
        Self::from_metadata(&fs::symlink_metadata(path)?)
    }

    /// The time of the last modification.
    pub fn modified(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(self.modified.0, u32::try_from(self.modified.1).ok()?)
    }

    /// True if the file of this metadata was modified after the file of this stamp was made, moved or changed in any way. It may have been
    /// modified earlier as well: programs can set the time of a modification, but not that of a change.
    pub(crate) fn is_before_modification_of(&self, later: &std::fs::Metadata) -> bool {
        self.changed < (later.mtime(), later.mtime_nsec())
    }

    /// The stamp in the metadata of a file.
    pub fn from_metadata(metadata: &std::fs::Metadata) -> io::Result<Self> {
        if !metadata.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        Ok(Self {
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// The identity of the file, independent of its path.
    pub fn file(&self) -> StoredFile {
        let ((device, inode), (seconds, nanoseconds)) = (self.inode, self.changed);
        (device, inode, seconds, nanoseconds)
    }

    /// The later one of its two times, in whole seconds since 1970.
    pub(crate) fn newest(&self) -> i64 {
        self.modified.0.max(self.changed.0)
    }
}

/// A regular file that is open for reading, with its stamp at that time.
#[derive(Debug)]
pub struct Source {
    /// The file.
    pub file: fs::File,
    /// Its stamp when it was opened.
    pub stamp: Stamp,
}

impl Source {
    /// Opens a file, but not a symlink or a FIFO that replaced it since the scan.
    pub fn open(path: &Utf8Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let fd = rustix::fs::open(path.as_str(), flags, Mode::empty())?;
        // Read ahead far. An error is ignored: without this hint, reading is only slower.
        let _ = rustix::fs::fadvise(&fd, 0, None, Advice::Sequential);
        let file = fs::File::from_parts(std::fs::File::from(fd), path);
        Ok(Self {
            stamp: Stamp::of(&file)?,
            file,
        })
    }

    /// Its size when it was opened.
    pub fn size(&self) -> u64 {
        self.stamp.size
    }

    /// Hashes the file from its position to its end, and writes the bytes to `copy`, which is new. Zeros become holes.
    pub fn hash(&mut self, copy: Option<&mut fs::File>) -> io::Result<(Sha256, u64)> {
        self.pass(copy, |_| {})
    }

    /// Like [`hash`](Self::hash), and also returns the zsync control file of the bytes, whose sums a separate thread calculates.
    /// The control file is an error if the number of bytes differs from the announced one.
    pub fn hash_with_control(
        &mut self,
        copy: Option<&mut fs::File>,
        maker: Maker,
    ) -> io::Result<(Sha256, u64, Result<Vec<u8>, LengthError>)> {
        beside(maker, |feed| self.pass(copy, feed))
    }

    fn pass(
        &mut self,
        mut copy: Option<&mut fs::File>,
        mut feed: impl FnMut(&[u8]),
    ) -> io::Result<(Sha256, u64)> {
        let mut hasher = sha2::Sha256::new();
        let (mut size, mut ends_in_a_hole) = (0, false);
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(CHUNK, 0);
            loop {
                let count = match self.file.read(buffer) {
                    Ok(0) => return Ok(()),
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                };
                feed(&buffer[..count]);
                hasher.update(&buffer[..count]);
                if let Some(copy) = &mut copy {
                    ends_in_a_hole = write_sparse(*copy, size, &buffer[..count])?;
                }
                size += count as u64;
            }
        })?;
        if let Some(copy) = copy.filter(|_| ends_in_a_hole) {
            copy.set_len(size)?;
        }
        Ok((Sha256(hasher.finalize().into()), size))
    }

    /// True if the file is as it was when it was opened.
    pub fn is_unchanged(&self) -> io::Result<bool> {
        Ok(Stamp::of(&self.file)? == self.stamp)
    }
}

/// The number of chunks that may wait for the thread that makes a control file.
const WAITING: usize = 8;

/// Runs `work`, which passes bytes to `maker` in another thread.
fn beside(
    mut maker: Maker,
    work: impl FnOnce(&mut dyn FnMut(&[u8])) -> io::Result<(Sha256, u64)>,
) -> io::Result<(Sha256, u64, Result<Vec<u8>, LengthError>)> {
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel::<Vec<u8>>(WAITING);
        // Used chunks return, to be filled again.
        let (back, empty) = mpsc::channel::<Vec<u8>>();
        let made = std::thread::Builder::new()
            .name("zsync".to_owned())
            .spawn_scoped(scope, move || {
                for chunk in receiver {
                    maker.update(&chunk);
                    // The last chunks are not received, so the error is ignored.
                    back.send(chunk).ok();
                }
                maker.finish()
            })?;
        let passed = work(&mut |bytes| {
            let mut chunk = empty.try_recv().unwrap_or_default();
            chunk.clear();
            chunk.extend_from_slice(bytes);
            // The thread ends early only by a panic, which `join` reports.
            sender.send(chunk).ok();
        });
        drop(sender);
        let made = made.join();
        let (digest, size) = passed?;
        let made =
            made.map_err(|_| io::Error::other("a bug stopped the making of its control file"))?;
        Ok((digest, size, made))
    })
}

/// The digest and size of a file.
pub fn hash_file(path: &Utf8Path) -> io::Result<(Sha256, u64)> {
    Source::open(path)?.hash(None)
}

/// The name of the kind of a directory entry that is not a file, a directory or a symlink.
pub(crate) fn name_of(kind: std::fs::FileType) -> &'static str {
    if kind.is_fifo() {
        "FIFO"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_block_device() {
        "block device"
    } else if kind.is_char_device() {
        "character device"
    } else {
        "special file"
    }
}
