//! The selection of files that get a zsync control file.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use stx_layout::BuildPath;
use stx_layout::derived::control_of;

use crate::incoming::{Entry, Incoming};

/// The files that get a zsync control file, by size and name.
#[derive(Debug, Clone)]
pub struct ControlRules {
    files: GlobSet,
    min_size: u64,
}

impl ControlRules {
    /// Uncompressed images and archives: from build to build, parts of them change. A compressed file changes as a whole.
    pub const FILES: [&str; 6] = [
        "**/*.iso",
        "**/*.img",
        "**/*.qcow2",
        "**/*.vmdk",
        "**/*.squashfs",
        "**/*.tar",
    ];

    /// Below this size, a control file saves less than the requests for it cost.
    pub const MIN_SIZE: u64 = 16 << 20;

    /// No files.
    pub fn none() -> Self {
        Self {
            files: GlobSet::empty(),
            min_size: 0,
        }
    }

    /// Files of at least `min_size` bytes whose path in the build matches one of `globs`; `*` and `?` do not match `/`.
    ///
    /// # Errors
    /// An invalid glob.
    pub fn new<'a>(
        globs: impl IntoIterator<Item = &'a str>,
        min_size: u64,
    ) -> Result<Self, globset::Error> {
        let mut files = GlobSetBuilder::new();
        for glob in globs {
            files.add(GlobBuilder::new(glob).literal_separator(true).build()?);
        }
        Ok(Self {
            files: files.build()?,
            min_size,
        })
    }

    /// The files of a build that get one. A control file that the build brings itself is not replaced.
    pub(super) fn select(&self, incoming: &Incoming) -> BTreeSet<BuildPath> {
        let entries = incoming.entries.iter().filter(|(path, entry)| {
            let is_file = match entry {
                Entry::File { .. } | Entry::Generated(_) => true,
                Entry::Symlink { .. } => false,
            };
            is_file && entry.size() >= self.min_size.max(1) && self.files.is_match(path.as_path())
        });
        let new = entries.filter(|(path, _)| {
            control_of(path).is_ok_and(|control| !incoming.entries.contains_key(&control))
        });
        new.map(|(path, _)| path.clone()).collect()
    }
}
