//! The entries of an earlier build's list of packages.

use std::collections::HashMap;

use stx_layout::Sha256;

use super::{PACKAGES, release};
use crate::incoming::digest_of;

/// The `Packages` of the same repository in an earlier build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlierPackages {
    text: String,
}

impl EarlierPackages {
    /// Accepts a list if `release` states the current format and has the digest of the list.
    pub fn new(release: &[u8], packages: Vec<u8>) -> Option<Self> {
        let release = str::from_utf8(release).ok()?;
        let is_same_form = release.lines().any(|line| line == release::GENERATOR_LINE);
        let expected = release::digest(release, PACKAGES)?;
        (is_same_form && digest_of(&packages) == expected)
            .then(|| String::from_utf8(packages).ok())?
            .map(|text| Self { text })
    }

    /// The entries, by digest and path.
    pub(super) fn entries(&self) -> HashMap<(Sha256, &str), &str> {
        let entries = self.text.split_inclusive("\n\n");
        let entries = entries.filter_map(|entry| {
            // These fields are the last ones, in this order.
            let (fields, digest) = entry.trim_end().rsplit_once("\nSHA256: ")?;
            let (fields, _) = fields.rsplit_once("\nSize: ")?;
            let (_, path) = fields.rsplit_once("\nFilename: ")?;
            Some(((digest.parse().ok()?, path), entry))
        });
        entries.collect()
    }
}
