//! A log that is still being written, in the form of [`stx_pipeline::process`].
//!
//! An attempt that prints more than half of its limit continues in `LOG.2`, which becomes `LOG.1` when it is full. At the end of the
//! attempt, both are moved to the end of the log. So a reader follows the log, then the newer of the two by its open handle. After
//! the move, it searches the log for the last bytes that it has passed on, and continues after them. A member of the spool's group
//! reads a copy, which only grows at its end.

use std::fs::Metadata;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};

use super::text::{FileLog, Lines, beside};
use super::{PIECE, Sink};

/// A log as far as it was read.
#[derive(Debug)]
pub(super) struct Growing {
    phase: String,
    path: Utf8PathBuf,
    log: Option<Open>,
    end: Option<Tail>,
    lines: Lines,
}

/// An open file, and the offset up to which it was read.
#[derive(Debug)]
struct Open {
    file: fs_err::File,
    at: u64,
}

/// The newer of the two files beside a log.
#[derive(Debug)]
struct Tail {
    newer: Open,
    /// The last bytes of the previous file.
    before: Vec<u8>,
}

/// The size of the text to search for, in bytes: a few lines, which begin with their times.
const MARK: u64 = 4096;

impl Open {
    fn new(path: &Utf8Path) -> io::Result<Option<Self>> {
        match fs_err::File::open(path) {
            Ok(file) => Ok(Some(Self { file, at: 0 })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The last bytes that were read.
    fn mark(&self) -> io::Result<Vec<u8>> {
        let from = self.at.saturating_sub(MARK);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(from))?;
        let mut mark = Vec::new();
        file.take(self.at - from).read_to_end(&mut mark)?;
        Ok(mark)
    }

    fn piece(&mut self) -> io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(self.at))?;
        let mut piece = Vec::new();
        (&mut self.file)
            .take(PIECE as u64)
            .read_to_end(&mut piece)?;
        self.at += piece.len() as u64;
        Ok(piece)
    }
}

fn found(path: &Utf8Path) -> io::Result<Option<Metadata>> {
    match fs_err::metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Growing {
    /// The log of a phase from its beginning. It need not exist yet.
    pub(super) fn new(phase: &str, path: &Utf8Path) -> Self {
        Self {
            phase: phase.to_owned(),
            path: path.to_owned(),
            log: None,
            end: None,
            lines: Lines::default(),
        }
    }

    /// The log of a phase after the content that `log` had when it was opened.
    pub(super) fn after(phase: &str, log: FileLog) -> io::Result<Self> {
        let mut growing = Self::new(phase, &log.path);
        let open = |file: Option<(fs_err::File, u64)>| file.map(|(file, at)| Open { file, at });
        let [head, older, newer] = log.files.map(open);
        growing.log = head;
        if let Some(newer) = newer {
            let before = older.map_or(Ok(Vec::new()), |older| older.mark())?;
            growing.end = Some(Tail { newer, before });
        }
        Ok(growing)
    }

    /// Changes the path of a log that did not exist yet.
    pub(super) fn moved_to(&mut self, path: &Utf8Path) {
        if self.log.is_none() {
            path.clone_into(&mut self.path);
        }
    }

    /// Continues in the file that now has the name of the log, once it is as long as the part that was read: another copy of the same
    /// log.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Some(log) = &mut self.log
            && let Some(Open { file, .. }) = Open::new(&self.path)?
        {
            let (now, mine) = (file.metadata()?, log.file.metadata()?);
            if now.ino() != mine.ino() && now.len() >= log.at {
                log.file = file;
            }
        }
        Ok(())
    }

    /// Passes on the bytes that were added since the last call.
    pub(super) fn more(&mut self, sink: &mut Sink<'_>) -> io::Result<ControlFlow<()>> {
        if self.log.is_none() {
            self.log = Open::new(&self.path)?;
        }
        let Some(log) = &mut self.log else {
            return Ok(ControlFlow::Continue(()));
        };
        loop {
            if self.end.is_none() {
                // The lines of the log precede those of the files beside it.
                if drain(&self.phase, log, &mut self.lines, sink)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                let Some(newer) = Open::new(&beside(&self.path, 2))? else {
                    break;
                };
                // The log may have grown before the other file was made.
                if drain(&self.phase, log, &mut self.lines, sink)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                let inode = newer.file.metadata()?.ino();
                let mut before = Vec::new();
                if let Some(mut older) = Open::new(&beside(&self.path, 1))?
                    // Otherwise, it has just become full, which is handled below.
                    && older.file.metadata()?.ino() != inode
                {
                    if drain(&self.phase, &mut older, &mut self.lines, sink)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    before = older.mark()?;
                }
                self.end = Some(Tail { newer, before });
            }
            let Some(tail) = &mut self.end else { break };
            // Before it is drained: a file that is renamed or moved afterwards is complete at the next look.
            let now = found(&beside(&self.path, 2))?;
            let mine = tail.newer.file.metadata()?;
            if drain(&self.phase, &mut tail.newer, &mut self.lines, sink)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let is_moved = log.file.metadata()?.len() > log.at;
            match now {
                Some(now) if now.ino() == mine.ino() => break,
                // Moved; another attempt may have created two files of its own.
                Some(_) if is_moved => {
                    skip(log, tail)?;
                    self.end = None;
                }
                None if is_moved && found(&beside(&self.path, 1))?.is_none() => {
                    skip(log, tail)?;
                    self.end = None;
                }
                Some(_) => {
                    let Some(mut older) = Open::new(&beside(&self.path, 1))? else {
                        break;
                    };
                    // It became full, and possibly the next file after it.
                    if older.file.metadata()?.ino() == mine.ino() {
                        older.at = tail.newer.at;
                    }
                    if drain(&self.phase, &mut older, &mut self.lines, sink)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    let Some(newer) = Open::new(&beside(&self.path, 2))? else {
                        break;
                    };
                    let before = older.mark()?;
                    *tail = Tail { newer, before };
                }
                // Between two renames, or while the files are moved.
                None => break,
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Passes on a last line without a newline.
    pub(super) fn finish(&mut self, sink: &mut Sink<'_>) -> ControlFlow<()> {
        self.lines.finish(&self.phase, sink)
    }
}

/// Skips the bytes that were moved to the end of the log and already passed on. If the last bytes that were passed on are missing,
/// the whole log is new: they are among those that were left out.
fn skip(log: &mut Open, tail: &Tail) -> io::Result<()> {
    let mut mark = tail.newer.mark()?;
    if mark.is_empty() {
        mark.clone_from(&tail.before);
    }
    if mark.is_empty() {
        return Ok(());
    }
    let begin = log.at;
    let mut window = Vec::new();
    loop {
        let piece = log.piece()?;
        if piece.is_empty() {
            log.at = begin;
            return Ok(());
        }
        window.extend_from_slice(&piece);
        if let Some(at) = position(&window, &mark) {
            log.at -= (window.len() - at - mark.len()) as u64;
            return Ok(());
        }
        // The text may begin in this piece and end in the next one.
        let known = window.len().saturating_sub(mark.len() - 1);
        window.drain(..known);
    }
}

fn position(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|part| part == wanted)
}

fn drain(
    phase: &str,
    open: &mut Open,
    lines: &mut Lines,
    sink: &mut Sink<'_>,
) -> io::Result<ControlFlow<()>> {
    loop {
        let piece = open.piece()?;
        if piece.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        if lines.pass(phase, &piece, sink).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}

#[cfg(test)]
mod tests;
