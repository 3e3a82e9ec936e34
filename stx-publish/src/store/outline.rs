//! The facts of a channel that are known without reading the records of its builds.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use sha2::Digest as _;
use stx_layout::{BuildDate, ChannelEntry, Sha256};

use crate::index::PageName;

/// The facts of a channel that are known without reading the records of its builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// Differs after each change of the channel in the catalog, of its verdicts and pins, and of its sections in the trash. It may differ
    /// without a change, and differs between two mirrors with the same contents. A store of files that people can change by hand need
    /// not look for changes within a build.
    pub digest: Sha256,
    /// The dates of its builds.
    pub builds: BTreeSet<BuildDate>,
    /// The names in it that are neither build nor alias.
    pub strays: Vec<String>,
    /// Its pages, without those of its builds.
    pub pages: BTreeSet<PageName>,
}

impl Outline {
    /// The outline of a channel. In place of a record, each build in `entry` has a text that is unique to the record, and so has each
    /// fact in `beside`: verdicts, pins, trash.
    pub fn of(
        entry: &ChannelEntry,
        beside: &dyn fmt::Debug,
        pages: impl IntoIterator<Item = PageName>,
    ) -> Self {
        let mut digest = Hashed(sha2::Sha256::new());
        // Hashing cannot fail. Debug output quotes texts, so different entries are never written alike.
        for (date, build) in &entry.builds {
            let _ = write!(digest, "{} {build:?} ", date.time().timestamp());
        }
        let ChannelEntry {
            builds: _,
            aliases,
            held,
            undated,
            strays,
        } = entry;
        let _ = write!(
            digest,
            "{aliases:?} {held:?} {undated:?} {strays:?} {beside:?}"
        );
        let pages = pages.into_iter();
        Self {
            digest: Sha256(digest.0.finalize().into()),
            builds: entry.builds.keys().copied().collect(),
            strays: entry.strays.clone(),
            pages: pages.filter(|page| PageName::ALL.contains(page)).collect(),
        }
    }
}

/// Hashes everything that is written to it.
struct Hashed(sha2::Sha256);

impl fmt::Write for Hashed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text);
        Ok(())
    }
}
