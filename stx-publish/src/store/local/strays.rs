//! What lies on a mirror above its channels and belongs to none.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use super::Inner;
use super::disk::io_error;
use crate::store::{Scope, StoreError};

impl Inner {
    /// Files that are no index page, and directories in which there is no channel; hidden ones are left out.
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
            // Gone meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io_error("list", &dir)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(io_error("list", &dir))?;
            let kind = entry.file_type().map_err(io_error("look at", &dir))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = relative.join(&name);
            let index = matches!(name.as_str(), "index.html" | "index.json");
            if name.starts_with('.') || index || channels.contains(&path) {
                continue;
            }
            // `r2018.10` and `release/latest_release` are aliases of releases.
            let leads_on = channels.iter().any(|channel| channel.starts_with(&path));
            match (kind.is_dir(), leads_on) {
                (true, true) => self.above(&path, channels, strays)?,
                _ if kind.is_symlink() && self.root.join(&path).is_dir() => {}
                _ => strays.push(path.into_string()),
            }
        }
        Ok(())
    }
}
