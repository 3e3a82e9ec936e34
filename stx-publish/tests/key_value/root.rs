//! The writer of pages and of names above the channels.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::lock::OwnedMutexGuard;
use stx_layout::{RootAlias, RootEntry, RootTarget};
use stx_publish::store::rules;
use stx_publish::{PageId, PageWriter, RootWriter};

use crate::Result;
use crate::rows::Group;
use crate::store::KeyValue;

#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) store: KeyValue,
    pub(crate) _lock: OwnedMutexGuard<()>,
}

#[async_trait]
impl PageWriter for Pages {
    async fn write(&self, page: &PageId, bytes: Bytes) -> Result<()> {
        self.store.rows().put(Group::Pages, &page.path(), bytes);
        Ok(())
    }
    async fn remove(&self, page: &PageId) -> Result<()> {
        self.store.rows().0.remove(&(Group::Pages, page.path()));
        Ok(())
    }
}

#[async_trait]
impl RootWriter for Pages {
    async fn link(
        &self,
        alias: &RootAlias,
        expected: Option<&RootEntry>,
        to: Option<&RootTarget>,
    ) -> Result<()> {
        let mut rows = self.store.rows();
        rules::check_root_alias(alias, expected, rows.root_aliases().get(alias))?;
        let Some(to) = to else {
            rows.0.remove(&(Group::RootAliases, alias.to_string()));
            return Ok(());
        };
        rules::check_root_target(alias, to, rows.has(to))?;
        if alias.to_string().parse().is_ok_and(|own| rows.has(&own)) {
            return Err(rules::taken(alias));
        }
        rows.put(Group::RootAliases, alias, to.to_string());
        Ok(())
    }
}
