//! Implements the traits of a mirror for pointers to one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use camino::Utf8PathBuf;
use stx_layout::{
    AliasEntry, AliasName, BuildId, BuildPath, BuildRecord, Catalog, Channel, Pin, RootAlias,
    RootEntry, Sums, VerdictEntry,
};

use super::{
    Audit, ByteRange, Capabilities, ChannelWriter, Depth, FileBody, Hold, Inspection, Leftover,
    MirrorRead, MirrorStore, Outline, OwedTags, PageWriter, Retired, RootWriter, Scope, StoreError,
};
use crate::index::PageId;

macro_rules! forward {
    ($pointer:ident) => {
        #[async_trait]
        impl<T: MirrorRead + ?Sized> MirrorRead for $pointer<T> {
            async fn catalog(&self, scope: &Scope) -> Result<Catalog, StoreError> {
                (**self).catalog(scope).await
            }
            async fn record(&self, id: &BuildId) -> Result<BuildRecord, StoreError> {
                (**self).record(id).await
            }
            async fn sums(&self, id: &BuildId) -> Result<Sums, StoreError> {
                (**self).sums(id).await
            }
            async fn alias(
                &self,
                channel: &Channel,
                alias: &AliasName,
            ) -> Result<Option<AliasEntry>, StoreError> {
                (**self).alias(channel, alias).await
            }
            async fn root_aliases(&self) -> Result<BTreeMap<RootAlias, RootEntry>, StoreError> {
                (**self).root_aliases().await
            }
            async fn read(
                &self,
                id: &BuildId,
                path: &BuildPath,
                from: u64,
            ) -> Result<FileBody, StoreError> {
                (**self).read(id, path, from).await
            }
            async fn read_ranges(
                &self,
                id: &BuildId,
                path: &BuildPath,
                ranges: &[ByteRange],
            ) -> Result<FileBody, StoreError> {
                (**self).read_ranges(id, path, ranges).await
            }
            async fn page(&self, page: &PageId) -> Result<Option<Bytes>, StoreError> {
                (**self).page(page).await
            }
            fn capabilities(&self) -> Capabilities {
                (**self).capabilities()
            }
            fn file(&self, id: &BuildId, path: &BuildPath) -> Option<Utf8PathBuf> {
                (**self).file(id, path)
            }
            async fn inspect(&self, id: &BuildId, depth: Depth) -> Result<Inspection, StoreError> {
                (**self).inspect(id, depth).await
            }
            async fn hold(&self, id: &BuildId) -> Result<Hold, StoreError> {
                (**self).hold(id).await
            }
            async fn audit(&self, id: &BuildId, run: &Audit) -> Result<Inspection, StoreError> {
                (**self).audit(id, run).await
            }
        }

        #[async_trait]
        impl<T: MirrorStore + ?Sized> MirrorStore for $pointer<T> {
            async fn lock(&self, channel: &Channel) -> Result<Box<dyn ChannelWriter>, StoreError> {
                (**self).lock(channel).await
            }
            async fn expect(&self, channel: &Channel) {
                (**self).expect(channel).await;
            }
            async fn lock_pages(&self) -> Result<Box<dyn PageWriter>, StoreError> {
                (**self).lock_pages().await
            }
            async fn lock_aliases(&self) -> Result<Box<dyn RootWriter>, StoreError> {
                (**self).lock_aliases().await
            }
            async fn retired(&self) -> Result<Vec<Retired>, StoreError> {
                (**self).retired().await
            }
            async fn leftovers(&self, scope: &Scope) -> Result<Vec<Leftover>, StoreError> {
                (**self).leftovers(scope).await
            }
            async fn settle(&self, channel: &Channel) -> Result<(), StoreError> {
                (**self).settle(channel).await
            }
            async fn strays(&self) -> Result<Vec<String>, StoreError> {
                (**self).strays().await
            }
            async fn pins(&self, scope: &Scope) -> Result<Vec<Pin>, StoreError> {
                (**self).pins(scope).await
            }
            async fn verdicts(&self, scope: &Scope) -> Result<Vec<VerdictEntry>, StoreError> {
                (**self).verdicts(scope).await
            }
            async fn owed(&self, scope: &Scope) -> Result<Vec<OwedTags>, StoreError> {
                (**self).owed(scope).await
            }
            async fn in_use(&self, builds: &[BuildId]) -> Result<BTreeSet<BuildId>, StoreError> {
                (**self).in_use(builds).await
            }
            async fn outlines(&self) -> Result<Option<BTreeMap<Channel, Outline>>, StoreError> {
                (**self).outlines().await
            }
            async fn noted(&self) -> Result<Option<Bytes>, StoreError> {
                (**self).noted().await
            }
        }
    };
}

forward!(Arc);
forward!(Box);

#[cfg(test)]
mod tests;
