//! The control member of a package, and the files of its data member.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::rc::Rc;

use stx_layout::{in_utf8, printable_bytes};
use tar::{Archive, EntryType};

use crate::archive::{DebError, LONGEST_CONTROL, Members};
use crate::paragraph::{ControlError, ControlProblem, Paragraph, paragraphs};

/// The limit for the bytes between two files of a `tar` archive: headers, and names that do not fit into them.
const LONGEST_HEADERS: u64 = 1 << 20;

/// The control member of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// The fields of the file `control`, always including `Package`, `Version` and `Architecture`.
    pub paragraph: Paragraph,
    /// The file `control`. Text that is not UTF-8 is read as Latin-1, the encoding of packages before Debian required UTF-8.
    pub text: String,
    /// The other files, by name: `md5sums`, `conffiles`, `postinst`, `shlibs`, `symbols`, `triggers`.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// A file of the data member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `/usr/bin/hello`. If it, or another text here, is not UTF-8, [`in_utf8`] converts it.
    pub path: String,
    /// The kind of file.
    pub kind: EntryKind,
    /// The permission bits, `0o4755`.
    pub mode: u32,
    /// The user ID of the owner.
    pub uid: u64,
    /// The group ID.
    pub gid: u64,
    /// The name of the owner; may be empty.
    pub user: String,
    /// The name of the group; may be empty.
    pub group: String,
    /// The size in bytes; 0 for all but regular files.
    pub size: u64,
    /// The time of its last change, in seconds since 1970.
    pub modified: u64,
    /// The target of a symlink, or the path of the file that a hard link names.
    pub target: Option<String>,
    /// Major and minor number of a device.
    pub device: Option<(u32, u32)>,
}

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symlink.
    Symlink,
    /// Another name of an earlier file.
    HardLink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
}

/// Reads a package up to the end of its control member.
///
/// # Errors
/// [`DebError`]; [`DebError::Io`] only if `package` fails.
pub fn read_control(package: impl Read) -> Result<Control, DebError> {
    let mut members = Members::open(package)?;
    let member = members.control()?;
    let name = member.name.clone();
    let files = member.unpack(|unpacked| {
        // One byte more distinguishes a member that is too long from one that is cut off.
        let mut unpacked = unpacked.take(LONGEST_CONTROL + 1);
        let files = control_files(&mut unpacked);
        if unpacked.limit() == 0 {
            Ok(None)
        } else {
            files.map(Some)
        }
    })?;
    let mut files = files.ok_or(DebError::TooLong {
        member: name,
        most: LONGEST_CONTROL,
    })?;
    let text = text(files.remove("control").ok_or(DebError::NoControl)?);
    let paragraph = one_paragraph(&text).map_err(|source| DebError::Control { source })?;
    for field in ["Package", "Version", "Architecture"] {
        if paragraph.get(field).is_none_or(str::is_empty) {
            return Err(DebError::MissingField { field });
        }
    }
    Ok(Control {
        paragraph,
        text,
        files,
    })
}

/// Passes the files of the data member to `visit`, in their order, each with a reader of its bytes, which need not be read.
///
/// # Errors
/// [`DebError`]; [`DebError::Io`] only if `package` fails. An error of `visit` ends the reading, and is the source of a
/// [`DebError::Damaged`].
pub fn read_payload(
    package: impl Read,
    mut visit: impl FnMut(&Entry, &mut dyn Read) -> io::Result<()>,
) -> Result<(), DebError> {
    let mut members = Members::open(package)?;
    members.data()?.unpack(|unpacked| {
        let left = Rc::new(Cell::new(LONGEST_HEADERS));
        let mut archive = Archive::new(Metered {
            reader: unpacked,
            left: Rc::clone(&left),
        });
        for entry in archive.entries()? {
            let mut entry = entry?;
            let described = describe(&entry)?;
            // The size of a file is not limited, because its bytes are not kept.
            left.set(u64::MAX);
            visit(&described, &mut entry)?;
            io::copy(&mut entry, &mut io::sink())?;
            left.set(LONGEST_HEADERS);
        }
        left.set(u64::MAX);
        read_to_end(archive.into_inner())
    })
}

fn control_files(unpacked: &mut impl Read) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut archive = Archive::new(unpacked);
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let path = shown(&entry.path_bytes());
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            let name = path.strip_prefix("./").unwrap_or(&path);
            files.insert(name.to_owned(), bytes);
        }
    }
    read_to_end(archive.into_inner())?;
    Ok(files)
}

/// Reads the rest of a member: `tar` stops at the end of its archive, before the checksums of a compressed member.
fn read_to_end(mut unpacked: impl Read) -> io::Result<()> {
    io::copy(&mut unpacked, &mut io::sink())?;
    Ok(())
}

fn one_paragraph(text: &str) -> Result<Paragraph, ControlError> {
    let mut found = paragraphs(text)?;
    match (found.pop(), found.is_empty()) {
        (Some(paragraph), true) => Ok(paragraph),
        _ => Err(ControlError {
            line: 1,
            problem: ControlProblem::NotOneParagraph,
        }),
    }
}

/// The text as UTF-8, or else as Latin-1, in which each byte is a character.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| error.as_bytes().iter().copied().map(char::from).collect())
}

/// A name in UTF-8; different names remain different.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&in_utf8(bytes)).into_owned()
}

fn describe(entry: &tar::Entry<'_, impl Read>) -> io::Result<Entry> {
    let header = entry.header();
    let kind = match header.entry_type() {
        EntryType::Directory => EntryKind::Directory,
        EntryType::Symlink => EntryKind::Symlink,
        EntryType::Link => EntryKind::HardLink,
        EntryType::Char => EntryKind::CharDevice,
        EntryType::Block => EntryKind::BlockDevice,
        EntryType::Fifo => EntryKind::Fifo,
        EntryType::Regular | EntryType::Continuous => EntryKind::File,
        other => {
            let byte = [other.as_byte()];
            let kind = printable_bytes(&byte);
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a file of the unknown kind `{kind}`"),
            ));
        }
    };
    let path = shown(&entry.path_bytes());
    let path = path.trim_start_matches("./").trim_matches('/');
    let is_device = matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice);
    let name = |bytes: Option<&[u8]>| bytes.map(shown).unwrap_or_default();
    Ok(Entry {
        path: format!("/{path}"),
        kind,
        mode: header.mode()? & 0o7777,
        uid: header.uid()?,
        gid: header.gid()?,
        user: name(header.username_bytes()),
        group: name(header.groupname_bytes()),
        size: if kind == EntryKind::File {
            entry.size()
        } else {
            0
        },
        modified: header.mtime()?,
        target: entry.link_name_bytes().map(|it| shown(&it)),
        device: if is_device {
            header.device_major()?.zip(header.device_minor()?)
        } else {
            None
        },
    })
}

/// A reader that refuses to continue if headers are longer than any real ones: `tar` keeps long names in memory.
struct Metered<R> {
    reader: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(bytes)?;
        match self.left.get().checked_sub(read as u64) {
            Some(left) => {
                self.left.set(left);
                Ok(read)
            }
            None => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("headers of a file with more than {LONGEST_HEADERS} bytes"),
            )),
        }
    }
}
