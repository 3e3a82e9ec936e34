//! The calls of readers.

use async_trait::async_trait;
use bytes::Bytes;
use camino::Utf8PathBuf;
use std::collections::BTreeMap;

use stx_layout::{
    AliasEntry, AliasName, BuildEntry, BuildId, BuildPath, BuildRecord, BuildState, Catalog,
    Channel, RootAlias, RootEntry, Section, Sums,
};
use stx_publish::store::rules;
use stx_publish::{
    Audit, ByteRange, Capabilities, Depth, FileBody, Hold, Inspection, MirrorRead, PageId, Scope,
};

use crate::Result;
use crate::rows::{Group, damaged, date, text};
use crate::store::KeyValue;

#[async_trait]
impl MirrorRead for KeyValue {
    async fn catalog(&self, scope: &Scope) -> Result<Catalog> {
        let rows = self.rows();
        let mut catalog = Catalog::default();
        for group in rows.groups() {
            match group {
                Group::Build(id) if rules::is_within(id, scope) => {
                    let state = BuildState::Known(Box::new(rows.record(id)?));
                    let keep_file = rows.get(group.clone(), "KEEP").is_some();
                    let channel = catalog.channels.entry(id.channel.clone()).or_default();
                    channel
                        .builds
                        .insert(id.date, BuildEntry { state, keep_file });
                }
                Group::Aliases(channel) if rules::is_channel_within(channel, scope) => {
                    let entry = catalog.channels.entry(channel.clone()).or_default();
                    entry.aliases = rows.aliases(channel);
                    for (name, at) in rows.of(&Group::HeldAliases(channel.clone())) {
                        let name: AliasName = name.parse().expect("an alias");
                        if entry.aliases.get(&name) == Some(&AliasEntry::Build(date(at))) {
                            entry.held.insert(name);
                        }
                    }
                    let undated = rows.of(&Group::Undated(channel.clone()));
                    let sections = undated.filter_map(|(name, _)| Section::from_word(name));
                    entry.undated = rules::following(&sections.collect());
                }
                _ => {}
            }
        }
        Ok(catalog)
    }
    async fn record(&self, id: &BuildId) -> Result<BuildRecord> {
        self.rows().record(id)
    }
    async fn sums(&self, id: &BuildId) -> Result<Sums> {
        let sums = self.rows().text(id, Sums::FILE_NAME)?;
        text(&sums)
            .parse()
            .map_err(|error: stx_layout::SumsError| damaged(id, error))
    }
    async fn alias(&self, channel: &Channel, alias: &AliasName) -> Result<Option<AliasEntry>> {
        Ok(self.rows().aliases(channel).remove(alias))
    }
    async fn root_aliases(&self) -> Result<BTreeMap<RootAlias, RootEntry>> {
        Ok(self.rows().root_aliases())
    }
    async fn read(&self, id: &BuildId, path: &BuildPath, from: u64) -> Result<FileBody> {
        Ok(FileBody::of(&self.rows().file(id, path)?, from))
    }
    async fn read_ranges(
        &self,
        id: &BuildId,
        path: &BuildPath,
        ranges: &[ByteRange],
    ) -> Result<FileBody> {
        Ok(FileBody::in_memory(&self.rows().file(id, path)?, ranges))
    }
    async fn page(&self, page: &PageId) -> Result<Option<Bytes>> {
        Ok(self.rows().get(Group::Pages, &page.path()).cloned())
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }
    fn file(&self, _: &BuildId, _: &BuildPath) -> Option<Utf8PathBuf> {
        None
    }
    async fn inspect(&self, id: &BuildId, depth: Depth) -> Result<Inspection> {
        let rows = self.rows();
        rules::check_there(id, rows.is_there(id))?;
        Ok(Inspection {
            found: rows.contents(id).found(depth),
            unreadable: Vec::new(),
            thinned: rows.thinned(id)?,
        })
    }
    async fn hold(&self, id: &BuildId) -> Result<Hold> {
        rules::check_there(id, self.rows().is_there(id)).map(|()| Hold::nothing())
    }
    async fn audit(&self, id: &BuildId, _: &Audit) -> Result<Inspection> {
        self.inspect(id, Depth::Digests).await
    }
}
