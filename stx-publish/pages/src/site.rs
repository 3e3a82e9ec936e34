//! The texts of the pages that are not on the mirror, and the result of making them.

use std::collections::BTreeMap;

use bytes::Bytes;
use stx_layout::index::{PageId, Stay};
use stx_layout::{BuildId, ReleaseKind};

/// The number of pages that are written at the same time. Most of the time of a write is the wait for the disk, or for a bucket's
/// answer.
pub(crate) const PARALLEL: usize = 16;

/// The texts and facts on the pages that are not on the mirror.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Site {
    /// The heading of the root's page; `StarlingX builds` if it is empty.
    pub title: String,
    /// The URL of the mirror's root, for the commands that the pages show; without it a script fills it in.
    pub url: Option<String>,
    /// The audience of each kind of release; a kind that is missing here has a default text.
    pub about: BTreeMap<ReleaseKind, String>,
    /// The end of each build's stay.
    pub stays: BTreeMap<BuildId, Stay>,
    /// True to compare also the files of builds that only change if another program changes them.
    pub thorough: bool,
}

/// The result of a refresh.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refreshed {
    /// Pages that were written.
    pub written: Vec<PageId>,
    /// Pages of deleted channels, which were removed.
    pub removed: Vec<PageId>,
    /// The indexes of channels that are too long for readers. The previous ones are kept; all other pages are up to date.
    pub too_long: Vec<PageId>,
}

/// A page and its bytes.
pub(crate) type Made = (PageId, Bytes);
