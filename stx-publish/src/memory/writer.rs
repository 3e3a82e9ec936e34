//! The writing half of the mirror in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildId, BuildPath, BuildRecord, Channel, Pin, Section,
    VerdictEntry,
};

use super::{MemoryStore, State, Stored};
use crate::incoming::Entry;
use crate::index::PageId;
use crate::metadata::{CarriedRecord, Indexed};
use crate::seal::{Sealed, is_beyond_sums};
use crate::store::rules::{
    check_absent, check_alias, check_channel, check_free, check_offer, check_sections, check_taken,
    check_target, check_there, in_use, latest, new_sections, no_build, put_pin, put_verdict,
    retired_at, retired_before, retired_section, seal_copy, seal_staged, take_pin,
};
use crate::store::{
    Added, ChannelWriter, Content, Contents, KnownFile, Leftover, OwedTags, PageWriter, Retired,
    StagedBuild, StoreError,
};
use crate::thinning::{Thinned, ThinnedSection};

/// The lock; ends when its last holder is dropped.
struct Lock {
    store: MemoryStore,
    channel: Channel,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.store.state().locked.remove(&self.channel);
    }
}

pub(super) struct MemoryWriter {
    lock: Arc<Lock>,
}

impl MemoryWriter {
    pub(super) fn new(store: MemoryStore, channel: Channel) -> Self {
        Self {
            lock: Arc::new(Lock { store, channel }),
        }
    }

    fn id(&self, date: BuildDate) -> BuildId {
        BuildId::new(self.lock.channel.clone(), date)
    }
}

impl fmt::Debug for MemoryWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryWriter({})", self.lock.channel)
    }
}

#[async_trait]
impl ChannelWriter for MemoryWriter {
    fn channel(&self) -> &Channel {
        &self.lock.channel
    }

    async fn begin(&self, date: BuildDate) -> Result<Box<dyn StagedBuild>, StoreError> {
        let id = self.id(date);
        let mut state = self.lock.store.state();
        check_absent(&id, state.builds.contains_key(&id))?;
        state.staged.retain(|staged| staged.channel != id.channel);
        state.staged.insert(id.clone());
        Ok(Box::new(MemoryStaged {
            lock: Arc::clone(&self.lock),
            id,
            files: Mutex::default(),
        }))
    }

    async fn point(
        &self,
        alias: &AliasName,
        expected: Option<&AliasEntry>,
        to: Option<BuildDate>,
    ) -> Result<(), StoreError> {
        let channel = &self.lock.channel;
        let mut state = self.lock.store.state();
        let found = state
            .aliases
            .get(channel)
            .and_then(|aliases| aliases.get(alias));
        check_alias(channel, alias, expected, found)?;
        if let Some(date) = to {
            let id = self.id(date);
            let build = state
                .builds
                .get(&id)
                .and_then(|build| build.record.as_ref())
                .ok_or_else(|| no_build(&id))?;
            check_target(channel, alias, build)?;
        }
        let aliases = state.aliases.entry(channel.clone()).or_default();
        match to {
            Some(date) => drop(aliases.insert(alias.clone(), AliasEntry::Build(date))),
            None => drop(aliases.remove(alias)),
        }
        Ok(())
    }

    async fn hold_alias(&self, alias: &AliasName, at: BuildDate) -> Result<(), StoreError> {
        let mut state = self.lock.store.state();
        let held = state
            .held_aliases
            .entry(self.lock.channel.clone())
            .or_default();
        held.insert(alias.clone(), at);
        Ok(())
    }

    async fn offer(&self, sections: &BTreeSet<Section>) -> Result<(), StoreError> {
        let mut state = self.lock.store.state();
        let channel = &self.lock.channel;
        let aliases = state.aliases.get(channel);
        let latest = aliases.and_then(|aliases| aliases.get(&AliasName::latest_build()));
        check_offer(channel, latest)?;
        state.offer(channel, sections.clone());
        Ok(())
    }

    async fn retire(&self, date: BuildDate, now: DateTime<Utc>) -> Result<Retired, StoreError> {
        let id = self.id(date);
        let retired = retired_at(&id, now)?;
        let mut state = self.lock.store.state();
        state.check_free(&id, now)?;
        if state.retired.contains_key(&retired) {
            return Err(retired_before(&retired));
        }
        let stored = state.builds.remove(&id).ok_or_else(|| no_build(&id))?;
        state.retired.insert(retired.clone(), stored);
        Ok(retired)
    }

    async fn thin(
        &self,
        date: BuildDate,
        sections: &[ThinnedSection],
    ) -> Result<Vec<Retired>, StoreError> {
        let id = self.id(date);
        let mut state = self.lock.store.state();
        state.check_free(&id, latest(sections))?;
        let stored = state.builds.get_mut(&id).ok_or_else(|| no_build(&id))?;
        let new = new_sections(sections, &stored.thinned);
        check_sections(&id, &new, &stored.files.incoming())?;
        let mut gone = Vec::new();
        for section in new {
            let taken = Stored {
                files: stored.files.take(&section.section),
                ..Stored::default()
            };
            let retired = retired_section(&id, &section);
            stored.thinned.sections.push(section);
            gone.push((retired, taken));
        }
        let names = gone.iter().map(|(retired, _)| retired.clone()).collect();
        state.retired.extend(gone);
        Ok(names)
    }

    async fn pin(&self, pin: &Pin) -> Result<(), StoreError> {
        check_channel(&self.lock.channel, &pin.build)?;
        let mut state = self.lock.store.state();
        let is_retired = state.retired.keys().any(|it| it.is_whole(&pin.build));
        let is_there = state.builds.contains_key(&pin.build);
        check_there(&pin.build, is_there || is_retired)?;
        let pins = state.pins.entry(pin.build.clone()).or_default();
        put_pin(pins, pin);
        Ok(())
    }

    async fn unpin(&self, date: BuildDate, author: &str) -> Result<Pin, StoreError> {
        let id = self.id(date);
        let mut state = self.lock.store.state();
        let pins = state.pins.entry(id.clone()).or_default();
        take_pin(&id, pins, author)
    }

    async fn mark(&self, entry: &VerdictEntry) -> Result<(), StoreError> {
        check_channel(&self.lock.channel, &entry.build)?;
        let mut state = self.lock.store.state();
        check_there(&entry.build, state.builds.contains_key(&entry.build))?;
        let entries = state.verdicts.entry(entry.build.clone()).or_default();
        put_verdict(entries, entry);
        Ok(())
    }

    async fn owe(&self, owed: &OwedTags) -> Result<(), StoreError> {
        check_channel(&self.lock.channel, &owed.build)?;
        let mut state = self.lock.store.state();
        if owed.tags.is_empty() {
            state.owed.remove(&owed.build);
        } else {
            state.owed.insert(owed.build.clone(), owed.clone());
        }
        Ok(())
    }

    async fn restore(&self, retired: &Retired) -> Result<(), StoreError> {
        self.check_channel(retired)?;
        let mut state = self.lock.store.state();
        if !state.retired.contains_key(retired) {
            return Err(no_build(&retired.id));
        }
        if let Some(section) = &retired.section {
            return state.restore_section(retired, section);
        }
        check_absent(&retired.id, state.builds.contains_key(&retired.id))?;
        let stored = state
            .retired
            .remove(retired)
            .ok_or_else(|| no_build(&retired.id))?;
        state.builds.insert(retired.id.clone(), stored);
        Ok(())
    }

    async fn purge(&self, retired: &Retired) -> Result<(), StoreError> {
        self.check_channel(retired)?;
        let removed = self.lock.store.state().retired.remove(retired);
        removed.map(drop).ok_or_else(|| no_build(&retired.id))
    }

    async fn sweep(&self) -> Result<Vec<Leftover>, StoreError> {
        let mut swept = Vec::new();
        self.lock.store.state().staged.retain(|id| {
            let dead = id.channel == self.lock.channel;
            if dead {
                swept.push(Leftover {
                    channel: id.channel.clone(),
                    what: id.to_string(),
                });
            }
            !dead
        });
        Ok(swept)
    }
}

/// The aliases of a channel without any.
static NO_ALIASES: BTreeMap<AliasName, AliasEntry> = BTreeMap::new();

impl State {
    /// Refuses a build that does not exist, or that an alias, a pin or a reader keeps.
    fn check_free(&self, id: &BuildId, now: DateTime<Utc>) -> Result<(), StoreError> {
        check_there(id, self.builds.contains_key(id))?;
        let aliases = self.aliases.get(&id.channel).unwrap_or(&NO_ALIASES);
        let pins = self.pins.get(id).map_or(&[][..], Vec::as_slice);
        check_free(id, aliases, pins, now)?;
        if self.is_held(id) {
            return Err(in_use(id));
        }
        Ok(())
    }

    fn restore_section(
        &mut self,
        retired: &Retired,
        section: &BuildPath,
    ) -> Result<(), StoreError> {
        let id = &retired.id;
        let stored = self.builds.get_mut(id).ok_or_else(|| no_build(id))?;
        check_taken(retired, section, &stored.thinned)?;
        if let Some(taken) = self.retired.remove(retired) {
            stored.files.0.extend(taken.files.0);
            stored
                .thinned
                .sections
                .retain(|known| known.section != *section);
        }
        Ok(())
    }
}

impl MemoryWriter {
    fn check_channel(&self, retired: &Retired) -> Result<(), StoreError> {
        check_channel(&self.lock.channel, &retired.id)
    }
}

/// The lock of the pages.
pub(super) struct MemoryPages {
    store: MemoryStore,
    _lock: futures_util::lock::OwnedMutexGuard<()>,
}

impl MemoryPages {
    pub(super) fn new(store: MemoryStore, lock: futures_util::lock::OwnedMutexGuard<()>) -> Self {
        Self { store, _lock: lock }
    }
}

impl fmt::Debug for MemoryPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryPages").finish_non_exhaustive()
    }
}

#[async_trait]
impl PageWriter for MemoryPages {
    async fn write(&self, page: &PageId, bytes: Bytes) -> Result<(), StoreError> {
        self.store.state().pages.insert(page.clone(), bytes);
        Ok(())
    }

    async fn remove(&self, page: &PageId) -> Result<(), StoreError> {
        self.store.state().pages.remove(page);
        Ok(())
    }

    async fn noted(&self) -> Result<Option<Bytes>, StoreError> {
        Ok(self.store.state().note.clone())
    }

    async fn note(&self, note: Option<Bytes>) -> Result<(), StoreError> {
        self.store.state().note = note;
        Ok(())
    }
}

struct MemoryStaged {
    lock: Arc<Lock>,
    id: BuildId,
    files: Mutex<Contents>,
}

impl fmt::Debug for MemoryStaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStaged({})", self.id)
    }
}

impl MemoryStaged {
    fn files(&self) -> MutexGuard<'_, Contents> {
        let files = self.files.lock();
        files.expect("no call panics while it holds the build")
    }

    fn add_file(
        &self,
        path: &BuildPath,
        entry: &Entry,
        control: bool,
    ) -> Result<Added, StoreError> {
        let state = self.lock.store.state();
        let source = match entry {
            Entry::File { source, .. } => state.sources.get(source).cloned(),
            Entry::Symlink { .. } | Entry::Generated(_) => None,
        };
        let mut own = self.files();
        let mut all = state.builds.values().map(|build| &build.files);
        let before = own.clone();
        let added = if control {
            own.add_with_control(&self.id, path, entry, source)?
        } else {
            own.add_entry(&self.id, path, entry, source)?
        };
        let Some(Content::File { bytes, .. }) = own.0.get(path) else {
            return Ok(added);
        };
        let has = |files: &Contents| {
            let mut contents = files.0.values();
            contents.any(
                |content| matches!(content, Content::File { bytes: other, .. } if other == bytes),
            )
        };
        let is_shared = !bytes.is_empty() && (has(&before) || all.any(has));
        Ok(if is_shared {
            Added::Shared(entry.size())
        } else {
            added
        })
    }

    /// Makes the build visible.
    fn finish(&self, sealed: Sealed) -> Result<(), StoreError> {
        let mut stored = Stored {
            files: self.files().clone(),
            ..Stored::default()
        };
        for (path, bytes) in sealed.files {
            if path.as_str() == Thinned::FILE_NAME {
                stored.thinned = sealed.thinned.clone();
            } else if is_beyond_sums(path.as_str()) {
                stored.beyond_sums.insert(path, bytes);
            } else {
                stored.files.0.insert(path, Content::file(bytes));
            }
        }
        stored.sums = sealed.sums;
        stored.record = Some(sealed.record);
        let mut state = self.lock.store.state();
        state.staged.remove(&self.id);
        check_absent(&self.id, state.builds.contains_key(&self.id))?;
        state.verdicts.remove(&self.id);
        state.commits += 1;
        stored.number = state.commits;
        state.builds.insert(self.id.clone(), stored);
        Ok(())
    }
}

#[async_trait]
impl StagedBuild for MemoryStaged {
    fn id(&self) -> &BuildId {
        &self.id
    }

    fn parallel(&self) -> usize {
        8
    }

    async fn add(&self, path: &BuildPath, entry: &Entry) -> Result<Added, StoreError> {
        self.add_file(path, entry, false)
    }

    async fn add_with_control(&self, path: &BuildPath, entry: &Entry) -> Result<Added, StoreError> {
        self.add_file(path, entry, true)
    }

    /// Never shares: the reference stores every file that it is given.
    async fn share(&self, _: &BuildPath, _: &KnownFile) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    async fn index(&self, dir: &BuildPath, _: &[CarriedRecord]) -> Result<Indexed, StoreError> {
        let seal = &self.lock.store.seal;
        self.files().index_names(seal, &self.id, dir)
    }

    async fn index_apt(&self, dir: &BuildPath) -> Result<Indexed, StoreError> {
        let seal = &self.lock.store.seal;
        self.files().index_apt(seal, &self.id, dir)
    }

    async fn commit(self: Box<Self>, record: BuildRecord) -> Result<BuildRecord, StoreError> {
        let added = self.files().incoming();
        let sealed = seal_staged(&self.lock.store.seal, &self.id, &added, record)?;
        let record = sealed.record.clone();
        self.finish(sealed)?;
        Ok(record)
    }

    async fn commit_as(self: Box<Self>, original: Sealed) -> Result<(), StoreError> {
        let sealed = seal_copy(&self.id, &self.files().incoming(), original)?;
        self.finish(sealed)
    }

    async fn discard(self: Box<Self>) -> Result<(), StoreError> {
        self.lock.store.state().staged.remove(&self.id);
        Ok(())
    }
}
