//! The digests of files that were read before, so that unchanged files are not read again.
//!
//! A file is recognised by device, inode, size, time of modification and time of change, to the nanosecond. No program can set
//! a time of change, so a write is detected even if the writer restores the size and the time of modification. A file that was
//! written to shortly before it was read is not remembered: another write within the same tick of the clock would leave the
//! same times.
//!
//! A digest from here is only used to find a file that the mirror already has. Bytes are never published unread.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use camino::Utf8Path;
use stx_layout::Sha256;

use super::cache;
use super::copy::Stamp;

const FORM: &str = "stx-builds inputs 1";

/// The time for which a file must be unchanged before it is remembered. It is at least the clock tick of any file system used
/// for builds; FAT's two seconds are the coarsest.
const SETTLED: Duration = Duration::from_secs(2);

/// The files of a channel's last publish.
#[derive(Debug, Default)]
pub struct Hints {
    known: HashMap<Stamp, [u8; 32]>,
    seen: Mutex<Vec<(Stamp, [u8; 32])>>,
}

impl Hints {
    fn new(known: Option<Vec<(Stamp, [u8; 32])>>) -> Self {
        Self {
            known: known.unwrap_or_default().into_iter().collect(),
            seen: Mutex::default(),
        }
    }

    /// Reads the hints in the file `path`; none if it is damaged or missing.
    pub(crate) fn read(path: &Utf8Path) -> Self {
        Self::new(cache::read(path, FORM))
    }

    /// Parses the bytes of a file of hints; none if they are damaged.
    pub fn parse(bytes: &[u8]) -> Self {
        Self::new(cache::parse(bytes, FORM))
    }

    /// The digest of the file when it had this stamp.
    pub fn digest(&self, stamp: &Stamp) -> Option<Sha256> {
        self.known.get(stamp).copied().map(Sha256)
    }

    /// Remembers a file that was read from the time `since` on, and had the same stamp before and after.
    pub fn remember(&self, stamp: Stamp, digest: Sha256, since: SystemTime) {
        if is_settled(&stamp, since) {
            self.keep(stamp, digest);
        }
    }

    /// Keeps remembering a file that is unchanged.
    pub fn keep(&self, stamp: Stamp, digest: Sha256) {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((stamp, digest.0));
    }

    /// Writes the files of this publish to `path`, and replaces those of the last publish.
    pub(crate) fn write(&self, path: &Utf8Path, temporary: &Utf8Path) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        cache::write(path, temporary, FORM, &*seen);
    }

    /// The bytes of a file with the hints of this publish.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        cache::bytes(FORM, &*seen)
    }
}

/// True if any write from `since` on gives the file other times.
fn is_settled(stamp: &Stamp, since: SystemTime) -> bool {
    let Some(limit) = since
        .checked_sub(SETTLED)
        .and_then(|limit| limit.duration_since(UNIX_EPOCH).ok())
    else {
        return false;
    };
    stamp.newest() < i64::try_from(limit.as_secs()).unwrap_or(i64::MAX)
}

/// The current time, which only decides which files are remembered.
#[expect(
    clippy::disallowed_methods,
    reason = "compared with the times of files, which the same clock gave; a decision about a build never sees it"
)]
pub fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use camino_tempfile::tempdir;

    use super::*;

    const STAMP: Stamp = Stamp {
        inode: (1, 2),
        size: 3,
        modified: (1_000, 5),
        changed: (2_000, 7),
    };

    fn remembered(stamps: &[Stamp], since: u64) -> Hints {
        let dir = tempdir().expect("a directory");
        let path = dir.path().join("hints");
        let hints = Hints::default();
        for stamp in stamps {
            let since = UNIX_EPOCH + Duration::from_secs(since);
            hints.remember(*stamp, Sha256([1; 32]), since);
        }
        hints.write(&path, &dir.path().join("temporary"));
        Hints::read(&path)
    }

    #[test]
    fn a_digest_is_remembered_for_the_unchanged_file_only() {
        let hints = remembered(&[STAMP], 10_000);
        assert_eq!(hints.digest(&STAMP), Some(Sha256([1; 32])));
        let others: [fn(&mut Stamp); 7] = [
            |stamp| stamp.inode.0 += 1,
            |stamp| stamp.inode.1 += 1,
            |stamp| stamp.size += 1,
            |stamp| stamp.modified.0 -= 1,
            |stamp| stamp.modified.1 += 1,
            |stamp| stamp.changed.0 += 1,
            |stamp| stamp.changed.1 += 1,
        ];
        for other in others {
            let mut stamp = STAMP;
            other(&mut stamp);
            assert_eq!(hints.digest(&stamp), None, "{stamp:?}");
        }
    }

    #[test]
    fn a_recently_modified_file_is_not_remembered() {
        let mut ahead = STAMP;
        ahead.modified.0 = 3_000;
        for (stamp, since, known) in [
            (STAMP, 2_003, true),
            (STAMP, 2_002, false),
            (STAMP, 2_000, false),
            (STAMP, 1_999, false),
            (STAMP, 0, false),
            (ahead, 3_002, false),
            (ahead, 3_003, true),
        ] {
            let hints = remembered(&[stamp], since);
            assert_eq!(
                hints.digest(&stamp).is_some(),
                known,
                "{stamp:?} at {since}"
            );
        }
    }
}
