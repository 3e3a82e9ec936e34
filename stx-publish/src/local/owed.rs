//! The image tags that still have to be removed: one small file per build, replaced as a whole by a rename.

use std::io::ErrorKind;

use camino::Utf8PathBuf;
use fs_err as fs;
use stx_layout::{BuildDate, BuildId};

use super::Inner;
use super::disk::{io_error, remove_file, replace_file, sync_dir};
use super::private::{MARK, OWED};
use crate::store::rules::is_within;
use crate::store::{OwedTags, Scope, StoreError};

impl Inner {
    fn owed_file(&self, id: &BuildId) -> Utf8PathBuf {
        self.area(OWED, &id.channel)
            .join(format!("{}.json", id.date))
    }

    pub(super) fn owed(&self, scope: &Scope) -> Result<Vec<OwedTags>, StoreError> {
        let mut owed = Vec::new();
        for (channel, name, file) in self.entries(OWED, scope)? {
            let date: Option<BuildDate> = name
                .strip_suffix(".json")
                .and_then(|date| date.parse().ok());
            let Some(date) = date else { continue };
            let id = BuildId::new(channel, date);
            if !is_within(&id, scope) {
                continue;
            }
            match fs::read(&file) {
                Ok(text) => owed.push(OwedTags::read(&id, file.as_str(), &text)?),
                // Another run has just removed them.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(source) => return Err(io_error("read", file)(source)),
            }
        }
        owed.sort();
        Ok(owed)
    }

    pub(super) fn owe(&self, owed: &OwedTags) -> Result<(), StoreError> {
        let (file, channel) = (self.owed_file(&owed.build), &owed.build.channel);
        let dir = self.area(OWED, channel);
        if owed.tags.is_empty() {
            if fs::symlink_metadata(&file).is_err() {
                return Ok(());
            }
            self.step("no longer owe")?;
            remove_file(&file)?;
            return sync_dir(&dir);
        }
        self.make_durable(&dir)?;
        let staging = self.staging(channel);
        self.make_area(&staging)?;
        self.step("owe")?;
        let part = staging.join(format!("{MARK}owed"));
        replace_file(owed.to_json(), 0o600, &part, &file)
    }
}
