//! The verdicts of a mirror in a directory: one small file per build, replaced as a whole by a rename.

use std::io::ErrorKind;

use camino::Utf8PathBuf;
use fs_err as fs;
use stx_layout::{BuildId, VerdictEntry};

use super::Inner;
use super::disk::{io_error, remove_durably, replace_file};
use super::private::{MARK, VERDICTS};
use crate::store::rules::{VerdictFile, check_there, is_within, put_verdict};
use crate::store::{Scope, StoreError};

impl Inner {
    fn verdict_file(&self, id: &BuildId) -> Utf8PathBuf {
        self.area(VERDICTS, &id.channel)
            .join(format!("{}.json", id.date))
    }

    fn verdicts_of(&self, id: &BuildId) -> Result<Vec<VerdictEntry>, StoreError> {
        let file = self.verdict_file(id);
        match fs::read(&file) {
            Ok(text) => VerdictFile::read(id, file.as_str(), &text),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(io_error("read", &file)(source)),
        }
    }

    pub(super) fn verdicts(&self, scope: &Scope) -> Result<Vec<VerdictEntry>, StoreError> {
        let builds = match scope {
            Scope::Build(id) => vec![id.clone()],
            Scope::All | Scope::Channel(_) => self.builds_with(VERDICTS, scope)?,
        };
        let builds = builds.iter().filter(|id| is_within(id, scope));
        let each = builds.map(|id| self.verdicts_of(id));
        Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// Removes the verdicts on an earlier build of this id: they do not apply to the build that is published now.
    pub(super) fn forget_verdicts(&self, id: &BuildId) -> Result<(), StoreError> {
        let file = self.verdict_file(id);
        if !file.exists() {
            return Ok(());
        }
        self.step("forget verdicts")?;
        remove_durably(&file)
    }

    pub(super) fn add_verdict(&self, entry: &VerdictEntry) -> Result<(), StoreError> {
        let id = &entry.build;
        let is_there = fs::symlink_metadata(self.build_dir(id)).is_ok_and(|found| found.is_dir());
        check_there(id, is_there)?;
        let mut entries = self.verdicts_of(id)?;
        if !put_verdict(&mut entries, entry) {
            return Ok(());
        }
        self.make_durable(&self.area(VERDICTS, &id.channel))?;
        let staging = self.staging(&id.channel);
        self.make_area(&staging)?;
        let text = VerdictFile { entries }.to_json();
        self.step("mark")?;
        let temporary = staging.join(format!("{MARK}verdict"));
        replace_file(&text, 0o600, &temporary, &self.verdict_file(id))
    }
}
