//! Parts of a log, read from its end or from its beginning, in pieces.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;

use async_trait::async_trait;
use camino::{Utf8Path, Utf8PathBuf};
use futures_util::StreamExt as _;
use stx_layout::{BuildId, BuildPath};
use stx_publish::ByteRange;

use super::{LogPart, PIECE, Sink};
use crate::error::{Error, unusable};
use crate::{Reader, refused};

/// The largest part to read at once while searching for the beginning of a line.
const LONGEST_STEP: u64 = 4 * 1024 * 1024;

/// A log that can be read in parts.
#[async_trait]
pub(super) trait Log: Send + Sync {
    /// Its file or URL, for people.
    fn place(&self) -> String;

    /// Its size now.
    fn size(&self) -> u64;

    /// At most `length` bytes from byte `from` on; fewer only at its end.
    async fn part(&self, from: u64, length: u64) -> Result<Vec<u8>, Error>;
}

impl dyn Log + '_ {
    /// The offset at which the last `lines` lines begin; 0 without a number.
    pub(super) async fn start(&self, lines: Option<u64>) -> Result<u64, Error> {
        match lines {
            None => Ok(0),
            Some(lines) => line_start(self, lines).await,
        }
    }
}

/// A log in a file of this machine. While a long log is being written, its end is in two more files beside it.
#[derive(Debug)]
pub(super) struct FileLog {
    pub(super) path: Utf8PathBuf,
    /// The log, the older and the newer of the two other files, with their sizes.
    pub(super) files: [Option<(fs_err::File, u64)>; 3],
}

impl FileLog {
    /// Opens the log; a missing log is empty.
    pub(super) fn open(path: &Utf8Path) -> Result<Self, Error> {
        let inode = |file: &Option<(fs_err::File, u64)>| -> io::Result<Option<u64>> {
            let file = file.as_ref();
            file.map(|(file, _)| Ok(file.metadata()?.ino())).transpose()
        };
        let open = || -> io::Result<Self> {
            loop {
                let newer = sized(&beside(path, 2))?;
                let older = sized(&beside(path, 1))?;
                let log = sized(path)?;
                // Between the two calls, the newer file may have become the older one.
                let (one, other) = (inode(&newer)?, inode(&older)?);
                if one.is_none() || one != other {
                    return Ok(Self {
                        path: path.to_owned(),
                        files: [log, older, newer],
                    });
                }
            }
        };
        open().map_err(|error| unusable(path, error))
    }
}

/// The file with this number beside a log.
pub(super) fn beside(log: &Utf8Path, number: u8) -> Utf8PathBuf {
    Utf8PathBuf::from(format!("{log}.{number}"))
}

/// A file with its size, if it exists.
fn sized(path: &Utf8Path) -> io::Result<Option<(fs_err::File, u64)>> {
    match fs_err::File::open(path) {
        Ok(file) => {
            let size = file.metadata()?.len();
            Ok(Some((file, size)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl Log for FileLog {
    fn place(&self) -> String {
        self.path.to_string()
    }

    fn size(&self) -> u64 {
        self.files.iter().flatten().map(|(_, size)| size).sum()
    }

    async fn part(&self, from: u64, length: u64) -> Result<Vec<u8>, Error> {
        let read = || -> io::Result<Vec<u8>> {
            let (mut from, mut length) = (from, length);
            let mut bytes = Vec::new();
            for (file, size) in self.files.iter().flatten() {
                let here = length.min(size.saturating_sub(from));
                if here > 0 {
                    let mut file = file;
                    file.seek(SeekFrom::Start(from))?;
                    file.take(here).read_to_end(&mut bytes)?;
                    length -= here;
                }
                from = from.saturating_sub(*size);
            }
            Ok(bytes)
        };
        read().map_err(|error| unusable(&self.path, error))
    }
}

/// A log of a published build.
pub(super) struct PublishedLog<'a> {
    pub(super) reader: &'a Reader,
    pub(super) id: &'a BuildId,
    pub(super) path: BuildPath,
    pub(super) size: u64,
}

#[async_trait]
impl Log for PublishedLog<'_> {
    fn place(&self) -> String {
        self.reader.place(&format!("{}/{}", self.id, self.path))
    }

    fn size(&self) -> u64 {
        self.size
    }

    async fn part(&self, from: u64, length: u64) -> Result<Vec<u8>, Error> {
        let range = ByteRange { from, length };
        let store = self.reader.store();
        let part = store.read_ranges(self.id, &self.path, &[range]).await;
        let mut stream = part.map_err(refused)?.stream;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(refused)?);
        }
        Ok(bytes)
    }
}

/// The offset at which the last `lines` lines of a log begin. The log is read from its end, in parts that grow.
async fn line_start(log: &dyn Log, lines: u64) -> Result<u64, Error> {
    let size = log.size();
    let (mut end, mut step, mut seen) = (size, PIECE as u64, 0);
    if lines == 0 {
        return Ok(size);
    }
    while end > 0 {
        let begin = end.saturating_sub(step);
        let part = log.part(begin, end - begin).await?;
        for (at, byte) in part.iter().enumerate().rev() {
            let next = begin + at as u64 + 1;
            // The newline at the very end does not begin a line.
            if *byte == b'\n' && next < size {
                seen += 1;
                if seen == lines {
                    return Ok(next);
                }
            }
        }
        (end, step) = (begin, (step * 2).min(LONGEST_STEP));
    }
    Ok(0)
}

/// Passes on a log from byte `from` to its current end.
pub(super) async fn print(
    log: &dyn Log,
    phase: &str,
    mut from: u64,
    sink: &mut Sink<'_>,
) -> Result<ControlFlow<()>, Error> {
    let mut lines = Lines::default();
    while from < log.size() {
        // Several pieces per request, since a web server is asked for each part.
        let part = log.part(from, LONGEST_STEP.min(log.size() - from)).await?;
        if part.is_empty() {
            break;
        }
        from += part.len() as u64;
        for piece in part.chunks(PIECE) {
            if lines.pass(phase, piece, sink).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
    Ok(lines.finish(phase, sink))
}

/// At most `lines` last lines of a log, from its last `bytes` bytes. Bytes that are not UTF-8 are replaced.
pub(super) async fn last_lines(
    log: &dyn Log,
    lines: u64,
    bytes: u64,
) -> Result<Vec<String>, Error> {
    let from = log.size().saturating_sub(bytes);
    let part = log.part(from, bytes).await?;
    let text = String::from_utf8_lossy(&part);
    let mut all: Vec<_> = text.lines().collect();
    if from > 0 && all.len() > 1 {
        // Its beginning was not read, so it is incomplete.
        all.remove(0);
    }
    let most = usize::try_from(lines).unwrap_or(usize::MAX);
    let skipped = all.len().saturating_sub(most);
    Ok(all[skipped..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect())
}

/// Splits a log at the ends of its lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Passes on complete lines, and the beginning of a line that is too long.
    pub(super) fn pass(
        &mut self,
        phase: &str,
        piece: &[u8],
        sink: &mut Sink<'_>,
    ) -> ControlFlow<()> {
        let Some(end) = piece.iter().rposition(|byte| *byte == b'\n') else {
            self.rest.extend_from_slice(piece);
            if self.rest.len() >= PIECE {
                return self.finish(phase, sink);
            }
            return ControlFlow::Continue(());
        };
        let (whole, rest) = piece.split_at(end + 1);
        self.rest.extend_from_slice(whole);
        self.finish(phase, sink)?;
        self.rest.extend_from_slice(rest);
        ControlFlow::Continue(())
    }

    /// Passes on the rest.
    pub(super) fn finish(&mut self, phase: &str, sink: &mut Sink<'_>) -> ControlFlow<()> {
        let bytes = std::mem::take(&mut self.rest);
        if bytes.is_empty() {
            return ControlFlow::Continue(());
        }
        sink(LogPart {
            phase,
            bytes: &bytes,
        })
    }
}

#[cfg(test)]
mod tests;
