//! The verdicts of a mirror in a bucket: one small object per build.

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use stx_layout::{BuildId, VerdictEntry};

use super::Inner;
use super::keys::{self, VERDICTS};
use super::lease::Lease;
use super::objects::{Keep, PARALLEL};
use stx_publish::store::rules::{VerdictFile, check_there, is_within, put_verdict};
use stx_publish::store::{Scope, StoreError};

impl Inner {
    async fn verdicts_of(&self, id: &BuildId) -> Result<Vec<VerdictEntry>, StoreError> {
        let name = keys::verdicts(id);
        match self.objects.get(&name).await? {
            None => Ok(Vec::new()),
            Some((text, _)) => VerdictFile::read(id, &name, &text),
        }
    }

    pub(super) async fn verdicts(&self, scope: &Scope) -> Result<Vec<VerdictEntry>, StoreError> {
        let builds = match scope {
            Scope::Build(id) => BTreeSet::from([id.clone()]),
            Scope::All | Scope::Channel(_) => self.builds_with(VERDICTS).await?,
        };
        let builds = builds.into_iter().filter(|id| is_within(id, scope));
        let entries = builds.map(|id| async move { self.verdicts_of(&id).await });
        let entries = stream::iter(entries).buffered(PARALLEL);
        let entries: Vec<_> = entries.try_collect().await?;
        Ok(entries.concat())
    }

    pub(super) async fn add_verdict(
        &self,
        lease: &Lease,
        entry: &VerdictEntry,
    ) -> Result<(), StoreError> {
        let id = &entry.build;
        check_there(id, self.objects.head(&keys::record(id)).await?.is_some())?;
        let mut entries = self.verdicts_of(id).await?;
        if !put_verdict(&mut entries, entry) {
            return Ok(());
        }
        lease.check(&self.objects).await?;
        let text = VerdictFile { entries }.to_json();
        self.objects.put(&keys::verdicts(id), text, Keep::Not).await
    }
}
