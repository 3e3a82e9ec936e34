//! The texts of the pages that are not on the mirror, and the result of making them.

use std::collections::BTreeMap;

use bytes::Bytes;
use stx_layout::index::{PageId, Stay};
use stx_layout::{BuildId, ReleaseKind};

/// How many pages are written at one time. What a page costs is the wait for the disk, or for the answer of a bucket.
pub(crate) const PARALLEL: usize = 16;

/// The texts and facts on the pages that are not on the mirror.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Site {
    /// The heading of the root's page; `StarlingX builds` where it is empty.
    pub title: String,
    /// The URL of the mirror's root, for the commands that the pages show; without it a script fills it in.
    pub url: Option<String>,
    /// The audience of each kind of release; a kind that is not named here has a text of its own.
    pub about: BTreeMap<ReleaseKind, String>,
    /// How long each build stays.
    pub stays: BTreeMap<BuildId, Stay>,
    /// Compare also those files of builds that cannot have changed unless somebody else changed them.
    pub thorough: bool,
}

/// The result of a refresh.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refreshed {
    /// Pages that were written.
    pub written: Vec<PageId>,
    /// Pages of channels that are gone, which were removed.
    pub removed: Vec<PageId>,
    /// The indexes of channels that are too long for readers. The previous ones stay; all other pages are up to date.
    pub too_long: Vec<PageId>,
}

/// A page and its bytes.
pub(crate) type Made = (PageId, Bytes);
