//! Compares files of which only the bytes differ, by the payloads of both packages.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, Read as _};

use rpm::PackageReader;
use stx_deb::{DebError, EntryKind, read_payload};
use stx_layout::rpm::{FrameError, HeadError, read_head};

use crate::change::Differences;
use crate::times::only_times;

/// The longest file that is examined, in bytes. All examined files of both packages are held in memory, at most [`MOST_BYTES`]
/// of each package.
pub const LONGEST_FILE: u64 = 64 << 20;

/// The most bytes of one package that are examined.
pub const MOST_BYTES: u64 = 256 << 20;

/// A payload that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// The file cannot be read.
    #[error("the package cannot be read")]
    Io {
        /// The error that caused it.
        #[from]
        source: io::Error,
    },
    /// The headers of the package are damaged.
    #[error(transparent)]
    Header {
        /// The reason.
        #[from]
        source: FrameError,
    },
    /// The payload of the package is damaged.
    #[error("the payload is damaged")]
    Payload {
        /// The error that caused it.
        #[from]
        source: rpm::Error,
    },
    /// The archive of a Debian package is damaged.
    #[error(transparent)]
    Archive {
        /// The problem with it.
        #[from]
        source: DebError,
    },
}

/// Examines the files of which only the bytes differ, and turns those into noise in which only times differ. Returns the paths
/// of files that were too large to examine.
pub fn look_into(
    differences: &mut Differences,
    from: impl BufRead + 'static,
    to: impl BufRead + 'static,
) -> Result<Vec<String>, ContentsError> {
    let wanted: BTreeSet<String> = differences
        .opaque()
        .into_iter()
        .map(ToOwned::to_owned)
        .collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let (from, to) = (files(from, &wanted)?, files(to, &wanted)?);
    let mut skipped = Vec::new();
    for path in &wanted {
        let (Some(from), Some(to)) = (from.get(path), to.get(path)) else {
            skipped.push(path.clone());
            continue;
        };
        if let Some(format) = only_times(path, from, to) {
            differences.only_times(path, format);
        }
    }
    Ok(skipped)
}

/// The contents of the wanted files, without those that are too large.
fn files(
    mut package: impl BufRead + 'static,
    wanted: &BTreeSet<String>,
) -> Result<BTreeMap<String, Vec<u8>>, ContentsError> {
    if package.fill_buf()?.starts_with(b"!<arch>") {
        return debian(package, wanted);
    }
    let head = read_head(&mut package)?;
    let mut reader = PackageReader::parse(io::Cursor::new(head).chain(package))?;
    let mut files = BTreeMap::new();
    let mut left = MOST_BYTES;
    while let Some(mut file) = reader.next_file()? {
        let path = [file.metadata.dirname(), file.metadata.basename()].concat();
        if !wanted.contains(&path) || !file.has_payload() {
            file.finish()?;
            continue;
        }
        let most = LONGEST_FILE.min(left);
        let mut bytes = Vec::new();
        let read = (&mut file).take(most + 1).read_to_end(&mut bytes)? as u64;
        file.finish()?;
        if read <= most {
            left -= read;
            files.insert(path, bytes);
        }
    }
    Ok(files)
}

/// The same for a Debian package.
fn debian(
    package: impl BufRead,
    wanted: &BTreeSet<String>,
) -> Result<BTreeMap<String, Vec<u8>>, ContentsError> {
    let mut files = BTreeMap::new();
    let mut left = MOST_BYTES;
    read_payload(package, |entry, contents| {
        let most = LONGEST_FILE.min(left);
        if entry.kind != EntryKind::File || entry.size > most || !wanted.contains(&entry.path) {
            return Ok(());
        }
        let mut bytes = Vec::new();
        left -= contents.read_to_end(&mut bytes)? as u64;
        files.insert(entry.path.clone(), bytes);
        Ok(())
    })?;
    Ok(files)
}

impl From<HeadError> for ContentsError {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Io { source } => source.into(),
            HeadError::Frame { source } => source.into(),
        }
    }
}
