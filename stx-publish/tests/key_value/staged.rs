//! A staged build.

use async_trait::async_trait;
use std::sync::{Arc, Mutex, MutexGuard};

use stx_layout::{BuildId, BuildPath, BuildRecord};
use stx_publish::metadata::{CarriedRecord, Indexed};
use stx_publish::store::{Contents, rules};
use stx_publish::{Added, Entry, KnownFile, Sealed, StagedBuild};

use crate::Result;
use crate::rows::{Group, file, row_of};
use crate::writer::Lock;

#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) lock: Arc<Lock>,
    pub(crate) id: BuildId,
    pub(crate) files: Mutex<Contents>,
}

impl Staged {
    pub(crate) fn files(&self) -> MutexGuard<'_, Contents> {
        self.files.lock().expect("no panic while it is locked")
    }

    pub(crate) fn finish(&self, sealed: &Sealed) -> Result<()> {
        let mut rows = self.lock.store.rows();
        rules::check_absent(&self.id, rows.is_there(&self.id))?;
        let build = Group::Build(self.id.clone());
        for (path, content) in &self.files().0 {
            rows.put(build.clone(), path, row_of(content));
        }
        for (path, bytes) in &sealed.files {
            rows.put(build.clone(), path, file(b'f', bytes));
        }
        rows.remove(&Group::Staged(self.id.clone()));
        rows.remove(&Group::Verdicts(self.id.clone()));
        Ok(())
    }
}

#[async_trait]
impl StagedBuild for Staged {
    fn id(&self) -> &BuildId {
        &self.id
    }
    fn parallel(&self) -> usize {
        8
    }
    /// Refuses files of a workspace, which this store cannot read.
    async fn add(&self, path: &BuildPath, entry: &Entry) -> Result<Added> {
        self.files().add_entry(&self.id, path, entry, None)
    }
    async fn add_with_control(&self, path: &BuildPath, entry: &Entry) -> Result<Added> {
        self.files().add_with_control(&self.id, path, entry, None)
    }
    async fn share(&self, _: &BuildPath, _: &KnownFile) -> Result<Option<u64>> {
        Ok(None)
    }
    async fn index(&self, dir: &BuildPath, _: &[CarriedRecord]) -> Result<Indexed> {
        let seal = &self.lock.store.seal;
        self.files().index_names(seal, &self.id, dir)
    }
    async fn index_apt(&self, dir: &BuildPath) -> Result<Indexed> {
        let seal = &self.lock.store.seal;
        self.files().index_apt(seal, &self.id, dir)
    }
    async fn commit(self: Box<Self>, record: BuildRecord) -> Result<BuildRecord> {
        let sealed = rules::seal_staged(
            &self.lock.store.seal,
            &self.id,
            &self.files().incoming(),
            record,
        )?;
        self.finish(&sealed)?;
        Ok(sealed.record)
    }
    async fn commit_as(self: Box<Self>, original: Sealed) -> Result<()> {
        let sealed = rules::seal_copy(&self.id, &self.files().incoming(), original)?;
        self.finish(&sealed)
    }
    async fn discard(self: Box<Self>) -> Result<()> {
        self.lock
            .store
            .rows()
            .remove(&Group::Staged(self.id.clone()));
        Ok(())
    }
}
