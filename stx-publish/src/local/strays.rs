//! Entries of a mirror above its channels that do not belong to any channel.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use stx_layout::printable_bytes;
use walkdir::WalkDir;

use super::Inner;
use super::disk::io_error;
use super::root::alias_at;
use crate::index::PageName;
use crate::store::{Scope, StoreError};

/// True if a directory contains only directories and pages: a channel whose first build does not exist yet, or whose last one
/// was removed.
pub(super) fn is_bare(dir: &Utf8Path) -> bool {
    WalkDir::new(dir).into_iter().all(|entry| {
        entry.is_ok_and(|entry| {
            entry.file_type().is_dir() || entry.file_name().to_str().is_some_and(PageName::is)
        })
    })
}

impl Inner {
    /// Files that are not pages, and directories that contain something but no channel; hidden names are left out.
    pub(super) fn strays(&self) -> Result<Vec<String>, StoreError> {
        let catalog = self.catalog(&Scope::All)?;
        let channels: BTreeSet<_> = catalog
            .channels
            .keys()
            .map(|channel| Utf8PathBuf::from(channel.to_string()))
            .collect();
        let mut strays = Vec::new();
        self.above(Utf8Path::new(""), &channels, &mut strays)?;
        strays.sort();
        Ok(strays)
    }

    fn above(
        &self,
        relative: &Utf8Path,
        channels: &BTreeSet<Utf8PathBuf>,
        strays: &mut Vec<String>,
    ) -> Result<(), StoreError> {
        let dir = self.root.join(relative);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            // Removed in the meantime.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io_error("list", &dir)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(io_error("list", &dir))?;
            let kind = entry.file_type().map_err(io_error("look at", &dir))?;
            let name = printable_bytes(entry.file_name().as_bytes()).into_owned();
            let path = relative.join(&name);
            if name.starts_with('.') || PageName::is(&name) || channels.contains(&path) {
                continue;
            }
            let leads_on = channels.iter().any(|channel| channel.starts_with(&path));
            match (kind.is_dir(), leads_on) {
                (true, true) => self.above(&path, channels, strays)?,
                (true, false) if is_bare(&self.root.join(&path)) => {}
                // `r2018.10` and `release/latest_release` are aliases of releases, even if they are dangling.
                _ if kind.is_symlink() && alias_at(&path).is_some() => {}
                _ => strays.push(path.into_string()),
            }
        }
        Ok(())
    }
}
