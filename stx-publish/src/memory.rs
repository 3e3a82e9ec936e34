//! A mirror in memory: the strict reference of the store traits.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use camino::Utf8PathBuf;
use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildEntry, BuildId, BuildPath, BuildRecord, BuildState,
    Catalog, Channel, Pin, RootAlias, RootEntry, Section, Sums, VerdictEntry,
};

use crate::index::{PageId, PageName};
use crate::seal::{Seal, is_beyond_sums};
use crate::store::rules::{following, is_channel_within, is_within, no_build};
use crate::store::{
    Audit, ByteRange, Capabilities, Content, Contents, Depth, FileBody, Hold, Inspection, Leftover,
    MirrorRead, MirrorStore, Outline, OwedTags, PageWriter, Retired, RootWriter, Scope, StoreError,
};
use crate::thinning::Thinned;

mod root;
mod writer;

/// A mirror in memory. Clones are the same mirror.
///
/// It reads no files: the source of an [`Entry::File`](crate::incoming::Entry::File) must be given to [`put_source`](Self::put_source).
#[derive(Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    pages: Arc<futures_util::lock::Mutex<()>>,
    root: Arc<futures_util::lock::Mutex<()>>,
    seal: Seal,
}

#[derive(Default)]
struct State {
    builds: BTreeMap<BuildId, Stored>,
    aliases: BTreeMap<Channel, BTreeMap<AliasName, AliasEntry>>,
    held_aliases: BTreeMap<Channel, BTreeMap<AliasName, BuildDate>>,
    root_aliases: BTreeMap<RootAlias, RootEntry>,
    undated: BTreeMap<Channel, BTreeSet<Section>>,
    retired: BTreeMap<Retired, Stored>,
    pages: BTreeMap<PageId, Bytes>,
    locked: BTreeSet<Channel>,
    staged: BTreeSet<BuildId>,
    pins: BTreeMap<BuildId, Vec<Pin>>,
    verdicts: BTreeMap<BuildId, Vec<VerdictEntry>>,
    owed: BTreeMap<BuildId, OwedTags>,
    held: BTreeMap<BuildId, usize>,
    sources: BTreeMap<Utf8PathBuf, Bytes>,
    /// The number of builds that were made visible.
    commits: u64,
    note: Option<Bytes>,
}

#[derive(Clone, Default)]
struct Stored {
    record: Option<BuildRecord>,
    /// Unique for each build that was ever made visible, even for two with the same id.
    number: u64,
    sums: Sums,
    files: Contents,
    /// `SHA256SUMS` and its signature.
    beyond_sums: BTreeMap<BuildPath, Bytes>,
    thinned: Thinned,
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// An empty mirror.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same mirror, which seals its builds with `seal` from now on.
    #[must_use]
    pub fn with_seal(self, seal: Seal) -> Self {
        Self { seal, ..self }
    }

    /// Provides a source file.
    pub fn put_source(&self, path: impl Into<Utf8PathBuf>, bytes: impl Into<Bytes>) {
        self.state().sources.insert(path.into(), bytes.into());
    }

    /// Sets an alias to anything, as careless manual work would.
    #[cfg(test)]
    pub(crate) fn tamper_alias(&self, channel: &Channel, alias: &AliasName, to: AliasEntry) {
        self.state()
            .aliases
            .entry(channel.clone())
            .or_default()
            .insert(alias.clone(), to);
    }

    /// Writes into a published build, as careless manual work would; `None` removes the file.
    pub fn tamper_file(&self, id: &BuildId, path: &BuildPath, bytes: Option<Bytes>) {
        if let Some(build) = self.state().builds.get_mut(id) {
            if is_beyond_sums(path.as_str()) {
                build.beyond_sums.remove(path);
                build
                    .beyond_sums
                    .extend(bytes.map(|bytes| (path.clone(), bytes)));
                return;
            }
            match bytes {
                Some(bytes) => drop(build.files.0.insert(path.clone(), Content::file(bytes))),
                None => drop(build.files.0.remove(path)),
            }
        }
    }

    fn bytes(&self, id: &BuildId, path: &BuildPath) -> Result<Bytes, StoreError> {
        let state = self.state();
        let build = state.builds.get(id).ok_or_else(|| no_build(id))?;
        build.read(path).ok_or_else(|| StoreError::NotFound {
            what: format!("{id}/{path}"),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no call panics while it holds the state")
    }
}

impl Stored {
    fn read(&self, path: &BuildPath) -> Option<Bytes> {
        if is_beyond_sums(path.as_str()) {
            return self.beyond_sums.get(path).cloned();
        }
        if path.as_str() == Thinned::FILE_NAME && !self.thinned.sections.is_empty() {
            return Some(self.thinned.to_json().into());
        }
        self.files.read(path)
    }
}

#[async_trait]
impl MirrorRead for MemoryStore {
    async fn catalog(&self, scope: &Scope) -> Result<Catalog, StoreError> {
        let known = |_: &Stored, record: &BuildRecord| BuildState::Known(Box::new(record.clone()));
        Ok(self.state().catalog(scope, known))
    }

    async fn record(&self, id: &BuildId) -> Result<BuildRecord, StoreError> {
        let state = self.state();
        state
            .builds
            .get(id)
            .and_then(|build| build.record.clone())
            .ok_or_else(|| no_build(id))
    }

    async fn sums(&self, id: &BuildId) -> Result<Sums, StoreError> {
        self.state()
            .builds
            .get(id)
            .map(|build| build.sums.clone())
            .ok_or_else(|| no_build(id))
    }

    async fn alias(
        &self,
        channel: &Channel,
        alias: &AliasName,
    ) -> Result<Option<AliasEntry>, StoreError> {
        Ok(self
            .state()
            .aliases
            .get(channel)
            .and_then(|aliases| aliases.get(alias))
            .cloned())
    }

    async fn root_aliases(&self) -> Result<BTreeMap<RootAlias, RootEntry>, StoreError> {
        Ok(self.root_entries())
    }

    async fn read(
        &self,
        id: &BuildId,
        path: &BuildPath,
        from: u64,
    ) -> Result<FileBody, StoreError> {
        Ok(FileBody::of(&self.bytes(id, path)?, from))
    }

    async fn read_ranges(
        &self,
        id: &BuildId,
        path: &BuildPath,
        ranges: &[ByteRange],
    ) -> Result<FileBody, StoreError> {
        Ok(FileBody::in_memory(&self.bytes(id, path)?, ranges))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            holds: true,
            ..Capabilities::default()
        }
    }

    fn file(&self, _: &BuildId, _: &BuildPath) -> Option<Utf8PathBuf> {
        None
    }

    async fn page(&self, page: &PageId) -> Result<Option<Bytes>, StoreError> {
        Ok(self.state().pages.get(page).cloned())
    }

    async fn inspect(&self, id: &BuildId, depth: Depth) -> Result<Inspection, StoreError> {
        let state = self.state();
        let build = state.builds.get(id).ok_or_else(|| no_build(id))?;
        Ok(Inspection {
            found: build.files.found(depth),
            unreadable: Vec::new(),
            thinned: build.thinned.clone(),
        })
    }

    async fn hold(&self, id: &BuildId) -> Result<Hold, StoreError> {
        let mut state = self.state();
        if !state.builds.contains_key(id) {
            return Err(no_build(id));
        }
        *state.held.entry(id.clone()).or_default() += 1;
        Ok(Hold::until_dropped(Held {
            store: self.clone(),
            id: id.clone(),
        }))
    }

    async fn audit(&self, id: &BuildId, _: &Audit) -> Result<Inspection, StoreError> {
        self.inspect(id, Depth::Digests).await
    }
}

/// One reader of a build.
struct Held {
    store: MemoryStore,
    id: BuildId,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(readers) = self.store.state().held.get_mut(&self.id) {
            *readers -= 1;
        }
    }
}

impl State {
    /// The catalog; `state` makes the state of each build.
    fn catalog(
        &self,
        scope: &Scope,
        state: impl Fn(&Stored, &BuildRecord) -> BuildState,
    ) -> Catalog {
        let mut catalog = Catalog::default();
        for (id, stored) in &self.builds {
            if is_within(id, scope)
                && let Some(record) = &stored.record
            {
                let entry = BuildEntry {
                    state: state(stored, record),
                    keep_file: stored
                        .files
                        .0
                        .keys()
                        .any(|path| path.file_name() == "KEEP" && path.parent().is_none()),
                };
                catalog
                    .channels
                    .entry(id.channel.clone())
                    .or_default()
                    .builds
                    .insert(id.date, entry);
            }
        }
        for (channel, aliases) in &self.aliases {
            if is_channel_within(channel, scope) && !aliases.is_empty() {
                let entry = catalog.channels.entry(channel.clone()).or_default();
                entry.aliases.clone_from(aliases);
                let held = self.held_aliases.get(channel).into_iter().flatten();
                entry.held = held
                    .filter(|(alias, at)| aliases.get(*alias) == Some(&AliasEntry::Build(**at)))
                    .map(|(alias, _)| alias.clone())
                    .collect();
                let undated = self.undated.get(channel);
                entry.undated = undated.map(following).unwrap_or_default();
            }
        }
        catalog
    }

    fn is_held(&self, id: &BuildId) -> bool {
        self.held.get(id).is_some_and(|readers| *readers > 0)
    }
}

#[async_trait]
impl MirrorStore for MemoryStore {
    async fn lock(
        &self,
        channel: &Channel,
    ) -> Result<Box<dyn crate::store::ChannelWriter>, StoreError> {
        if !self.state().locked.insert(channel.clone()) {
            return Err(StoreError::Busy {
                channel: Box::new(channel.clone()),
            });
        }
        Ok(Box::new(writer::MemoryWriter::new(
            self.clone(),
            channel.clone(),
        )))
    }

    async fn lock_pages(&self) -> Result<Box<dyn PageWriter>, StoreError> {
        let lock = Arc::clone(&self.pages).lock_owned().await;
        Ok(Box::new(writer::MemoryPages::new(self.clone(), lock)))
    }

    async fn lock_aliases(&self) -> Result<Box<dyn RootWriter>, StoreError> {
        let lock = Arc::clone(&self.root).lock_owned().await;
        Ok(Box::new(root::MemoryRoot::new(self.clone(), lock)))
    }

    async fn retired(&self) -> Result<Vec<Retired>, StoreError> {
        Ok(self.state().retired.keys().cloned().collect())
    }

    async fn leftovers(&self, scope: &Scope) -> Result<Vec<Leftover>, StoreError> {
        let state = self.state();
        let dead = state
            .staged
            .iter()
            .filter(|id| !state.locked.contains(&id.channel))
            .filter(|id| is_channel_within(&id.channel, scope));
        Ok(dead
            .map(|id| Leftover {
                channel: id.channel.clone(),
                what: id.to_string(),
            })
            .collect())
    }

    /// Does nothing: memory cannot be made more durable.
    async fn settle(&self, _: &Channel) -> Result<(), StoreError> {
        Ok(())
    }

    /// Always empty: this mirror contains only channels.
    async fn strays(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    async fn pins(&self, scope: &Scope) -> Result<Vec<Pin>, StoreError> {
        let state = self.state();
        let pins = state.pins.iter().filter(|(id, _)| is_within(id, scope));
        Ok(pins.flat_map(|(_, pins)| pins).cloned().collect())
    }

    async fn verdicts(&self, scope: &Scope) -> Result<Vec<VerdictEntry>, StoreError> {
        let state = self.state();
        let known = state.verdicts.iter();
        let known = known.filter(|(id, _)| is_within(id, scope));
        Ok(known.flat_map(|(_, entries)| entries).cloned().collect())
    }

    async fn owed(&self, scope: &Scope) -> Result<Vec<OwedTags>, StoreError> {
        let state = self.state();
        let owed = state.owed.values();
        let owed = owed.filter(|owed| is_within(&owed.build, scope));
        Ok(owed.cloned().collect())
    }

    async fn in_use(&self, builds: &[BuildId]) -> Result<BTreeSet<BuildId>, StoreError> {
        let state = self.state();
        let held = builds.iter().filter(|id| state.is_held(id));
        Ok(held.cloned().collect())
    }

    async fn outlines(&self) -> Result<Option<BTreeMap<Channel, Outline>>, StoreError> {
        let state = self.state();
        let number =
            |stored: &Stored, _: &BuildRecord| BuildState::Unreadable(stored.number.to_string());
        let mut verdicts = BTreeMap::<_, Vec<_>>::new();
        for (id, entries) in &state.verdicts {
            verdicts.entry(&id.channel).or_default().push(entries);
        }
        let channels = state.catalog(&Scope::All, number).channels.into_iter();
        let outlines = channels.map(|(channel, entry)| {
            let page = |name| PageId {
                channel: Some(channel.clone()),
                name,
            };
            let pages = PageName::ALL.into_iter();
            let pages = pages.filter(|name| state.pages.contains_key(&page(*name)));
            let outline = Outline::of(&entry, &verdicts.get(&channel), pages);
            (channel, outline)
        });
        Ok(Some(outlines.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryStore;

    #[tokio::test]
    async fn conforms() {
        crate::conformance::run(&MemoryStore::new()).await;
        let store = MemoryStore::new().with_seal(crate::conformance::test_seal());
        crate::conformance::sealed(&store).await;
    }
}
