//! The writer of a channel, by its lock, and its staged builds.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::lock::{Mutex as Waiting, MutexGuard as Turn};
use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildId, BuildPath, BuildRecord, Channel, Pin, Section,
    VerdictEntry,
};

use super::facts::{Result, failed};
use super::key::{self, Head, damaged, of_build, of_channel, of_retired, row_of, text};
use super::{Change, RowStore, Rows};
use crate::incoming::{Entry, digest_of};
use crate::metadata::{CarriedRecord, Indexed};
use crate::seal::Sealed;
use crate::store::rules::{
    PinFile, VerdictFile, check_absent, check_alias, check_channel, check_digest, check_offer,
    check_sections, check_taken, check_target, check_there, latest, new_sections, no_build,
    put_pin, put_verdict, retired_at, retired_before, retired_section, seal_copy, seal_staged,
    take_pin,
};
use crate::store::{
    Added, ChannelWriter, Content, Contents, KnownFile, Leftover, MirrorRead as _,
    MirrorStore as _, OwedTags, Retired, StagedBuild, StoreError,
};
use crate::thinning::{Thinned, ThinnedSection};

/// The lock of a channel; ends when its writer and its staged builds are dropped.
pub(super) struct Locked<R: Rows> {
    pub(super) store: RowStore<R>,
    channel: Channel,
    /// One call at a time: each reads rows and then changes them.
    lock: Waiting<R::Lock>,
}

impl<R: Rows> Locked<R> {
    pub(super) fn new(store: RowStore<R>, channel: Channel, lock: R::Lock) -> Self {
        let lock = Waiting::new(lock);
        Self {
            store,
            channel,
            lock,
        }
    }

    pub(super) async fn lock(&self) -> Turn<'_, R::Lock> {
        self.lock.lock().await
    }
}

pub(super) struct Writer<R: Rows>(Arc<Locked<R>>);

impl<R: Rows> fmt::Debug for Writer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writer({})", self.0.channel)
    }
}

impl<R: Rows> Writer<R> {
    pub(super) fn new(locked: Locked<R>) -> Self {
        Self(Arc::new(locked))
    }

    fn id(&self, date: BuildDate) -> BuildId {
        BuildId::new(self.0.channel.clone(), date)
    }

    /// The store, and the right to change the channel.
    async fn begun(&self) -> (&RowStore<R>, Turn<'_, R::Lock>) {
        (&self.0.store, self.0.lock().await)
    }
}

/// The change that records the removed sections of a build.
fn record_thinned(prefix: &str, thinned: &Thinned) -> Change {
    let text = thinned.to_json();
    let row = (!thinned.sections.is_empty()).then(|| row_of(&Content::file(text)));
    Change::set(format!("{prefix}{}", Thinned::FILE_NAME), row)
}

#[async_trait]
impl<R: Rows> ChannelWriter for Writer<R> {
    fn channel(&self) -> &Channel {
        &self.0.channel
    }

    async fn begin(&self, date: BuildDate) -> Result<Box<dyn StagedBuild>> {
        let (id, (store, lock)) = (self.id(date), self.begun().await);
        check_absent(&id, store.is_there(&id).await?)?;
        let changes = vec![
            Change::RemoveAll(of_channel(key::STAGED, &id.channel)),
            Change::Put(of_build(key::STAGED, &id), Bytes::new()),
        ];
        store.apply(&lock, changes).await?;
        Ok(Box::new(Staged::new(Arc::clone(&self.0), id)))
    }

    async fn point(
        &self,
        alias: &AliasName,
        expected: Option<&AliasEntry>,
        to: Option<BuildDate>,
    ) -> Result<()> {
        let (channel, (store, lock)) = (&self.0.channel, self.begun().await);
        let found = store.alias(channel, alias).await?;
        check_alias(channel, alias, expected, found.as_ref())?;
        if let Some(date) = to {
            check_target(channel, alias, &store.record(&self.id(date)).await?)?;
        }
        let key = key::key(key::ALIAS, &[channel, alias]);
        let to = to.map(|date| Bytes::from(date.to_string()));
        store.apply(&lock, vec![Change::set(key, to)]).await
    }

    async fn hold_alias(&self, alias: &AliasName, at: BuildDate) -> Result<()> {
        let (store, lock) = self.begun().await;
        let key = key::key(key::HELD, &[&self.0.channel, alias]);
        let held = Change::Put(key, at.to_string().into());
        store.apply(&lock, vec![held]).await
    }

    async fn offer(&self, sections: &BTreeSet<Section>) -> Result<()> {
        let (channel, (store, lock)) = (&self.0.channel, self.begun().await);
        let latest = store.alias(channel, &AliasName::latest_build()).await?;
        check_offer(channel, latest.as_ref())?;
        let words: Vec<_> = sections.iter().map(|section| section.as_str()).collect();
        let key = of_channel(key::UNDATED, channel);
        let offered = Change::Put(key, words.join(" ").into());
        store.apply(&lock, vec![offered]).await
    }

    async fn retire(&self, date: BuildDate, now: DateTime<Utc>) -> Result<Retired> {
        let (id, (store, lock)) = (self.id(date), self.begun().await);
        let retired = retired_at(&id, now)?;
        let (head, _gate) = store.free(&id, now).await?;
        let trash = of_retired(key::TRASH, &retired);
        if store.get(&trash).await?.is_some() {
            return Err(retired_before(&retired));
        }
        let changes = vec![
            Change::Remove(of_build(key::BUILD, &id)),
            Change::Put(trash, head.row()),
        ];
        store.apply(&lock, changes).await?;
        Ok(retired)
    }

    async fn thin(&self, date: BuildDate, sections: &[ThinnedSection]) -> Result<Vec<Retired>> {
        let (id, (store, lock)) = (self.id(date), self.begun().await);
        let (head, _gate) = store.free(&id, latest(sections)).await?;
        let (mut contents, mut thinned) = store.contents(&id, head).await?;
        let new = new_sections(sections, &thinned);
        check_sections(&id, &new, &contents.incoming())?;
        thinned.sections.extend(new.iter().cloned());
        let files = key::of_file(&id.channel, head, "");
        let mut changes = vec![record_thinned(&files, &thinned)];
        let mut taken = Vec::new();
        for section in &new {
            let retired = retired_section(&id, section);
            changes.push(Change::Put(of_retired(key::TRASH, &retired), Bytes::new()));
            let gone = of_retired(key::GONE, &retired);
            for (path, content) in contents.take(&section.section).0 {
                changes.push(Change::Put(format!("{gone}\t{path}"), row_of(&content)));
                changes.push(Change::Remove(format!("{files}{path}")));
            }
            taken.push(retired);
        }
        store.apply(&lock, changes).await?;
        Ok(taken)
    }

    async fn pin(&self, pin: &Pin) -> Result<()> {
        let (id, (store, lock)) = (&pin.build, self.begun().await);
        check_channel(&self.0.channel, id)?;
        let is_retired = store.retired().await?.iter().any(|it| it.is_whole(id));
        check_there(id, is_retired || store.is_there(id).await?)?;
        let mut pins = store.pins_of(id).await?;
        put_pin(&mut pins, pin);
        let text = PinFile { pins }.to_json();
        let change = Change::Put(of_build(key::PINS, id), text.into());
        store.apply(&lock, vec![change]).await
    }

    async fn unpin(&self, date: BuildDate, author: &str) -> Result<Pin> {
        let (id, (store, lock)) = (self.id(date), self.begun().await);
        let mut pins = store.pins_of(&id).await?;
        let pin = take_pin(&id, &mut pins, author)?;
        let row = (!pins.is_empty()).then(|| PinFile { pins }.to_json().into());
        let change = Change::set(of_build(key::PINS, &id), row);
        store.apply(&lock, vec![change]).await?;
        Ok(pin)
    }

    async fn mark(&self, entry: &VerdictEntry) -> Result<()> {
        let (id, (store, lock)) = (&entry.build, self.begun().await);
        check_channel(&self.0.channel, id)?;
        check_there(id, store.is_there(id).await?)?;
        let mut entries = store.verdicts_of(id).await?;
        if !put_verdict(&mut entries, entry) {
            return Ok(());
        }
        let text = VerdictFile { entries }.to_json();
        let change = Change::Put(of_build(key::VERDICTS, id), text.into());
        store.apply(&lock, vec![change]).await
    }

    async fn owe(&self, owed: &OwedTags) -> Result<()> {
        check_channel(&self.0.channel, &owed.build)?;
        let (store, lock) = self.begun().await;
        let row = (!owed.tags.is_empty()).then(|| owed.to_json().into());
        let change = Change::set(of_build(key::OWED, &owed.build), row);
        store.apply(&lock, vec![change]).await
    }

    async fn restore(&self, retired: &Retired) -> Result<()> {
        let (id, (store, lock)) = (&retired.id, self.begun().await);
        check_channel(&self.0.channel, id)?;
        let trash = of_retired(key::TRASH, retired);
        let row = store.get(&trash).await?.ok_or_else(|| no_build(id))?;
        let mut changes = vec![Change::Remove(trash)];
        if let Some(section) = &retired.section {
            let head = store.head(id).await?;
            let (_, mut thinned) = store.contents(id, head).await?;
            check_taken(retired, section, &thinned)?;
            thinned.sections.retain(|known| known.section != *section);
            let files = key::of_file(&id.channel, head, "");
            let gone = format!("{}\t", of_retired(key::GONE, retired));
            for (row, value) in store.scan(&gone).await? {
                let path = row.strip_prefix(&gone).unwrap_or(&row);
                changes.push(Change::Put(format!("{files}{path}"), value));
            }
            changes.push(Change::RemoveAll(gone));
            changes.push(record_thinned(&files, &thinned));
        } else {
            check_absent(id, store.is_there(id).await?)?;
            changes.push(Change::Put(of_build(key::BUILD, id), row));
        }
        store.apply(&lock, changes).await
    }

    async fn purge(&self, retired: &Retired) -> Result<()> {
        let (id, (store, lock)) = (&retired.id, self.begun().await);
        check_channel(&self.0.channel, id)?;
        let trash = of_retired(key::TRASH, retired);
        let row = store.get(&trash).await?.ok_or_else(|| no_build(id))?;
        let mut changes = Vec::new();
        if retired.section.is_some() {
            let gone = of_retired(key::GONE, retired);
            changes.push(Change::RemoveAll(format!("{gone}\t")));
        } else {
            let head = Head::parse(&trash, &row)?;
            changes.push(Change::Remove(key::of_record(&id.channel, head)));
            changes.push(Change::RemoveAll(key::of_file(&id.channel, head, "")));
        }
        changes.push(Change::Remove(trash));
        store.apply(&lock, changes).await
    }

    async fn sweep(&self) -> Result<Vec<Leftover>> {
        let (channel, (store, lock)) = (&self.0.channel, self.begun().await);
        let swept = store.staged(channel).await?;
        let staged = Change::RemoveAll(of_channel(key::STAGED, channel));
        store.apply(&lock, vec![staged]).await?;
        Ok(swept)
    }
}

/// A staged build. Its files are in memory until the commit.
struct Staged<R: Rows> {
    locked: Arc<Locked<R>>,
    id: BuildId,
    files: Mutex<Contents>,
}

impl<R: Rows> fmt::Debug for Staged<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Staged({})", self.id)
    }
}

impl<R: Rows> Staged<R> {
    fn new(locked: Arc<Locked<R>>, id: BuildId) -> Self {
        let files = Mutex::default();
        Self { locked, id, files }
    }

    fn files(&self) -> MutexGuard<'_, Contents> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes of a file of a workspace; `None` for other entries.
    async fn source(&self, path: &BuildPath, entry: &Entry) -> Result<Option<Bytes>> {
        let Entry::File { source, digest, .. } = entry else {
            return Ok(None);
        };
        let bytes = self.locked.store.rows().source(source).await;
        let bytes = bytes.map_err(failed("read", source.to_string()))?;
        if let (Some(bytes), Some(_)) = (&bytes, digest) {
            check_digest(path, entry, &digest_of(bytes))?;
        }
        Ok(bytes)
    }

    /// Makes the build visible.
    async fn finish(&self, sealed: Sealed) -> Result<()> {
        let (store, channel) = (&self.locked.store, &self.id.channel);
        let lock = self.locked.lock().await;
        check_absent(&self.id, store.is_there(&self.id).await?)?;
        let count = key::key(key::COUNT, &[channel]);
        let last = store.get(&count).await?.unwrap_or_else(|| "0".into());
        let last = text(&count, &last)?.parse::<u64>();
        let mut all = self.files().clone();
        let files = sealed.files.into_iter();
        all.0
            .extend(files.map(|(path, bytes)| (path, Content::file(bytes))));
        let head = Head {
            number: last.map_err(|error| damaged(&count, error))? + 1,
            keep_file: all.0.keys().any(|path| path.as_str() == "KEEP"),
        };
        let record = sealed.record.to_json().into();
        let files = all.0.iter().map(|(path, content)| {
            let key = key::of_file(channel, head, path.as_str());
            Change::Put(key, row_of(content))
        });
        let own = [
            Change::Put(of_build(key::BUILD, &self.id), head.row()),
            Change::Put(key::of_record(channel, head), record),
            Change::Put(count, head.number.to_string().into()),
            Change::Remove(of_build(key::STAGED, &self.id)),
            Change::Remove(of_build(key::VERDICTS, &self.id)),
        ];
        let changes = own.into_iter().chain(files).collect();
        store.apply(&lock, changes).await
    }
}

#[async_trait]
impl<R: Rows> StagedBuild for Staged<R> {
    fn id(&self) -> &BuildId {
        &self.id
    }

    fn parallel(&self) -> usize {
        8
    }

    async fn add(&self, path: &BuildPath, entry: &Entry) -> Result<Added> {
        let source = self.source(path, entry).await?;
        self.files().add_entry(&self.id, path, entry, source)
    }

    async fn add_with_control(&self, path: &BuildPath, entry: &Entry) -> Result<Added> {
        let source = self.source(path, entry).await?;
        self.files().add_with_control(&self.id, path, entry, source)
    }

    /// Never shares: each file of a build has its own row.
    async fn share(&self, _: &BuildPath, _: &KnownFile) -> Result<Option<u64>> {
        Ok(None)
    }

    async fn index(&self, dir: &BuildPath, _: &[CarriedRecord]) -> Result<Indexed> {
        let store = &self.locked.store;
        if store.names_rpms {
            return self.files().index_names(&store.seal, &self.id, dir);
        }
        Err(StoreError::Unsupported {
            what: format!("the metadata of the RPM repository {}/{dir}", self.id),
        })
    }

    async fn index_apt(&self, dir: &BuildPath) -> Result<Indexed> {
        let seal = &self.locked.store.seal;
        self.files().index_apt(seal, &self.id, dir)
    }

    async fn commit(self: Box<Self>, record: BuildRecord) -> Result<BuildRecord> {
        let added = self.files().incoming();
        let sealed = seal_staged(&self.locked.store.seal, &self.id, &added, record)?;
        let record = sealed.record.clone();
        self.finish(sealed).await?;
        Ok(record)
    }

    async fn commit_as(self: Box<Self>, original: Sealed) -> Result<()> {
        let sealed = seal_copy(&self.id, &self.files().incoming(), original)?;
        self.finish(sealed).await
    }

    async fn discard(self: Box<Self>) -> Result<()> {
        let lock = self.locked.lock().await;
        let staged = Change::Remove(of_build(key::STAGED, &self.id));
        self.locked.store.apply(&lock, vec![staged]).await
    }
}
