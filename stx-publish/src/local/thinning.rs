//! Moves sections of a build to the trash, and restores them.
//!
//! ```text
//! staging/<channel>/%2Ethin-<date>        a mark, by which the next writer recovers after a crash
//! <build>/THINNED.json                    durable before the first section is moved
//! <build>/<section>  ──rename──>  trash/<channel>/<date>@<at>@<section>
//! ```
//!
//! The mark in staging is removed last; [`Inner::finish`] completes the operation of a mark that a crash left.

use std::io::ErrorKind;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use stx_layout::{BuildId, BuildPath, Channel};

use super::Inner;
use super::disk::{io_error, remove_durably, remove_file, rename_new, replace_file, sync_dir};
use super::private::MARK;
use super::writer::alone;
use crate::store::rules::{
    check_sections, check_taken, check_there, entries, latest, new_sections, retired_section,
};
use crate::store::{Retired, StoreError};
use crate::thinning::{Thinned, ThinnedSection};

/// The operation that left a mark on a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Going {
    /// Sections were being moved to the trash.
    Away,
    /// A section was being restored.
    Back,
}

impl Going {
    fn prefix(self) -> String {
        match self {
            Self::Away => format!("{MARK}thin-"),
            Self::Back => format!("{MARK}restore-"),
        }
    }
}

impl Inner {
    fn thinned_file(&self, id: &BuildId) -> Utf8PathBuf {
        self.build_dir(id).join(Thinned::FILE_NAME)
    }

    /// The sections that were removed from a build; none if none are recorded.
    pub(super) fn thinned(&self, id: &BuildId) -> Result<Thinned, StoreError> {
        let file = self.thinned_file(id);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Thinned::default()),
            Err(source) => return Err(io_error("read", file)(source)),
        };
        Thinned::from_json(&text).map_err(|reason| StoreError::Damaged {
            what: format!("{id}/{}", Thinned::FILE_NAME),
            source: reason.into(),
        })
    }

    fn write_thinned(&self, id: &BuildId, thinned: &Thinned) -> Result<(), StoreError> {
        let file = self.thinned_file(id);
        if thinned.sections.is_empty() {
            return remove_durably(&file);
        }
        let temporary = self.staging(&id.channel).join(format!("{MARK}thinned"));
        replace_file(thinned.to_json(), 0o644, &temporary, &file)
    }

    pub(super) fn thin(
        &self,
        id: &BuildId,
        sections: &[ThinnedSection],
    ) -> Result<Vec<Retired>, StoreError> {
        let _alone = alone(self, id, latest(sections))?;
        let mut thinned = self.thinned(id)?;
        let new = new_sections(sections, &thinned);
        if new.is_empty() {
            return self.take_away(id, &thinned);
        }
        let entries = entries(&self.inspect(id, None)?);
        check_sections(id, &new, &entries)?;
        thinned.sections.extend(new);
        let mark = self.mark(id, Going::Away)?;
        self.step("thin: record")?;
        self.write_thinned(id, &thinned)?;
        let retired = self.take_away(id, &thinned)?;
        self.step("thin: done")?;
        remove_file(&mark)?;
        Ok(retired)
    }

    /// Marks the start of an operation on a build, durably.
    fn mark(&self, id: &BuildId, going: Going) -> Result<Utf8PathBuf, StoreError> {
        let staging = self.staging(&id.channel);
        self.make_durable(&staging)?;
        self.make_durable(&self.trash(&id.channel))?;
        let mark = staging.join(format!("{}{}", going.prefix(), id.date));
        self.step("thin: mark")?;
        fs::write(&mark, "").map_err(io_error("write", &mark))?;
        sync_dir(&staging)?;
        Ok(mark)
    }

    /// Moves every section that is recorded and still present to the trash.
    fn take_away(&self, id: &BuildId, thinned: &Thinned) -> Result<Vec<Retired>, StoreError> {
        let mut taken = Vec::new();
        for section in &thinned.sections {
            let from = self.build_dir(id).join(section.section.as_path());
            if fs::symlink_metadata(&from).is_err() {
                continue;
            }
            let retired = retired_section(id, section);
            self.make_durable(&self.trash(&id.channel))?;
            self.step("thin: take away")?;
            rename_new(&from, &self.trashed(&retired))?;
            taken.push(retired);
        }
        Ok(taken)
    }

    /// Restores a section from `from`, and then removes it from the record.
    pub(super) fn restore_section(
        &self,
        retired: &Retired,
        section: &BuildPath,
        from: &Utf8Path,
    ) -> Result<(), StoreError> {
        let id = &retired.id;
        let dir = self.build_dir(id);
        check_there(
            id,
            fs::symlink_metadata(&dir).is_ok_and(|found| found.is_dir()),
        )?;
        check_taken(retired, section, &self.thinned(id)?)?;
        let mark = self.mark(id, Going::Back)?;
        self.step("restore: section")?;
        rename_new(from, &dir.join(section.as_path()))?;
        self.forget_present(id)?;
        self.step("restore: done")?;
        remove_file(&mark)
    }

    /// Removes the sections that are present from the record.
    fn forget_present(&self, id: &BuildId) -> Result<(), StoreError> {
        let dir = self.build_dir(id);
        let mut thinned = self.thinned(id)?;
        thinned
            .sections
            .retain(|section| fs::symlink_metadata(dir.join(section.section.as_path())).is_err());
        self.step("restore: record")?;
        self.write_thinned(id, &thinned)
    }

    /// Completes the operation that a mark in staging records. Returns true if the entry may now be removed, which is false while the
    /// build has readers. Does nothing for other entries of staging.
    pub(super) fn finish(&self, channel: &Channel, path: &Utf8Path) -> Result<bool, StoreError> {
        let name = path.file_name().unwrap_or_default();
        for going in [Going::Away, Going::Back] {
            let date = name.strip_prefix(&going.prefix());
            let Some(Ok(date)) = date.map(str::parse) else {
                continue;
            };
            let id = BuildId::new(channel.clone(), date);
            let _alone = match self.alone(&id) {
                Ok(alone) => alone,
                Err(StoreError::NotFound { .. }) => continue,
                Err(StoreError::Refused { .. }) => return Ok(false),
                Err(error) => return Err(error),
            };
            match going {
                Going::Away => drop(self.take_away(&id, &self.thinned(&id)?)?),
                Going::Back => self.forget_present(&id)?,
            }
        }
        Ok(true)
    }
}
