//! The log of a phase: a time on each line, and a limited size.
//!
//! Each attempt adds up to its limit. The first half is written straight into the file. Later output is written into two files
//! beside it in turn, so that the last part is kept as well, on the disk at any time and never in memory.

use std::io::{self, Write as _};

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, SecondsFormat, Utc};
use stx_layout::counted;

/// The number of bytes of output that an attempt adds to its log by default.
pub const DEFAULT_LOG_LIMIT: u64 = 64 * 1024 * 1024;

/// An attempt's part of a log.
#[derive(Debug)]
pub(super) struct PhaseLog {
    path: Utf8PathBuf,
    head: fs_err::File,
    /// The bytes that may still be written to the head.
    room: u64,
    /// The size limit of each of the two files.
    part: u64,
    tail: Option<Tail>,
}

#[derive(Debug)]
struct Tail {
    newer: fs_err::File,
    newer_bytes: u64,
    older_bytes: u64,
    left_out: u64,
}

fn older(log: &Utf8Path) -> Utf8PathBuf {
    Utf8PathBuf::from(format!("{log}.1"))
}

fn newer(log: &Utf8Path) -> Utf8PathBuf {
    Utf8PathBuf::from(format!("{log}.2"))
}

/// Adds the files that a killed attempt left beside a log to that log.
///
/// # Errors
/// When a file cannot be read or written.
pub fn settle_log(log: &Utf8Path) -> io::Result<()> {
    if older(log).exists() || newer(log).exists() {
        join(
            log,
            "some bytes may be left out here: the program was killed",
        )?;
    }
    Ok(())
}

/// Appends the two files to the log, after a line that contains `what`, unless that is empty.
fn join(log: &Utf8Path, what: &str) -> io::Result<()> {
    let mut whole = fs_err::OpenOptions::new()
        .append(true)
        .create(true)
        .open(log)?;
    if !what.is_empty() {
        writeln!(whole, "[... {what} ...]")?;
    }
    for part in [older(log), newer(log)] {
        match fs_err::File::open(&part) {
            Ok(mut file) => {
                io::copy(&mut file, &mut whole)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    for part in [older(log), newer(log)] {
        match fs_err::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn kind(opened: &io::Result<fs_err::File>) -> Option<io::ErrorKind> {
    opened.as_ref().err().map(io::Error::kind)
}

impl PhaseLog {
    /// Opens the log for appending.
    pub(super) fn open(path: &Utf8Path, limit: u64) -> io::Result<Self> {
        let mut options = fs_err::OpenOptions::new();
        options.append(true);
        let new = || options.clone().create_new(true).open(path);
        let mut head = new();
        if kind(&head) == Some(io::ErrorKind::NotFound) {
            if let Some(dir) = path.parent() {
                fs_err::create_dir_all(dir)?;
            }
            head = new();
        }
        if kind(&head) == Some(io::ErrorKind::AlreadyExists) {
            head = options.open(path);
            settle_log(path)?;
        }
        let head = head?;
        Ok(Self {
            path: path.to_owned(),
            head,
            room: limit / 2,
            part: (limit / 4).max(1),
            tail: None,
        })
    }

    /// Adds whole lines, each with its line ending.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let bytes = lines.len() as u64;
        if self.tail.is_none() {
            if bytes <= self.room {
                self.room -= bytes;
                return self.head.write_all(lines);
            }
            self.tail = Some(Tail {
                newer: fs_err::File::create(newer(&self.path))?,
                newer_bytes: 0,
                older_bytes: 0,
                left_out: 0,
            });
        }
        let Some(tail) = &mut self.tail else {
            return Ok(());
        };
        if tail.newer_bytes + bytes > self.part && tail.newer_bytes > 0 {
            fs_err::rename(newer(&self.path), older(&self.path))?;
            tail.left_out += tail.older_bytes;
            tail.older_bytes = std::mem::take(&mut tail.newer_bytes);
            tail.newer = fs_err::File::create(newer(&self.path))?;
        }
        tail.newer_bytes += bytes;
        tail.newer.write_all(lines)
    }

    /// Appends the last part to the log.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let Some(tail) = self.tail.take() else {
            return Ok(());
        };
        drop(tail.newer);
        match tail.left_out {
            0 => join(&self.path, ""),
            bytes => join(
                &self.path,
                &format!("{} left out here", counted(bytes, "byte")),
            ),
        }
    }
}

/// The time as written on a line.
pub(super) fn stamp(time: DateTime<Utc>) -> String {
    let mut stamp = time.to_rfc3339_opts(SecondsFormat::Millis, true);
    stamp.push(' ');
    stamp
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(log: &Utf8Path) -> String {
        fs_err::read_to_string(log).unwrap()
    }

    /// Writes lines of ten bytes, one after the other.
    fn filled(log: &Utf8Path, limit: u64, lines: std::ops::Range<u32>) -> PhaseLog {
        let mut writer = PhaseLog::open(log, limit).unwrap();
        for line in lines {
            writer.write(format!("{line:09}\n").as_bytes()).unwrap();
        }
        writer
    }

    #[test]
    fn a_log_beyond_its_limit_says_how_much_is_omitted() {
        for lines in 0..60 {
            let dir = camino_tempfile::tempdir().unwrap();
            let log = dir.path().join("logs/p.log");
            filled(&log, 200, 0..lines).finish().unwrap();
            let text = read(&log);
            let kept: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
            let said = text.lines().find_map(|line| {
                line.strip_prefix("[... ")?
                    .split(' ')
                    .next()?
                    .parse::<usize>()
                    .ok()
            });
            assert_eq!(
                kept.len() * 10 + said.unwrap_or(0),
                lines as usize * 10,
                "{lines} lines: {text}"
            );
            assert!(kept.len() <= 20, "{lines} lines: {text}");
            assert!(kept.iter().is_sorted());
            if lines > 0 {
                assert_eq!((kept[0], kept[kept.len() - 1]), (0, lines - 1));
            }
            let names: Vec<_> = fs_err::read_dir(dir.path().join("logs")).unwrap().collect();
            assert_eq!(names.len(), 1);
        }
    }

    #[test]
    fn the_files_of_a_killed_attempt_are_added_to_its_log() {
        let dir = camino_tempfile::tempdir().unwrap();
        let log = dir.path().join("p.log");
        drop(filled(&log, 200, 0..40));
        settle_log(&log).unwrap();
        let text = read(&log);
        assert!(
            text.contains("was killed") && text.ends_with("000000039\n"),
            "{text}"
        );
        settle_log(&log).unwrap();
        assert_eq!(read(&log), text);
        filled(&log, 200, 50..51).finish().unwrap();
        assert_eq!(read(&log), format!("{text}000000050\n"));
    }
}
