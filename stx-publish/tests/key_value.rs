//! A store outside of the crate: a mirror in a plain map from keys to bytes. It moves bytes, and asks `store::rules` for the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use camino::Utf8PathBuf;
use chrono::{DateTime, Utc};
use futures_util::lock::OwnedMutexGuard;
use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildEntry, BuildId, BuildPath, BuildRecord, BuildState,
    Catalog, Channel, Pin, RootAlias, RootEntry, RootTarget, Section, Sums, VerdictEntry,
};
use stx_publish::conformance::{self, test_seal};
use stx_publish::faulty::Fault;
use stx_publish::metadata::{CarriedRecord, Indexed};
use stx_publish::seal::is_beyond_sums;
use stx_publish::store::{Content, Contents, rules};
use stx_publish::thinning::{lies_in, parse_thinned};
use stx_publish::{
    Added, Audit, Capabilities, ChannelWriter, Depth, Entry, FileBody, Hold, Inspection, KnownFile,
    Leftover, MirrorRead, MirrorStore, OwedTags, PageId, PageWriter, Retired, RootWriter, Scope,
    Seal, Sealed, StagedBuild, StoreError, Thinned, ThinnedSection, sweep,
};

type Result<T> = std::result::Result<T, StoreError>;

/// The owner of a row: a build that is there, staged or retired, or something else that is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Build(BuildId),
    Staged(BuildId),
    /// The channel, and the name of what is retired.
    Retired(Channel, String),
    Aliases(Channel),
    HeldAliases(Channel),
    Pins(BuildId),
    Verdicts(BuildId),
    Owed(BuildId),
    Pages,
    RootAliases,
    Undated(Channel),
}

/// Rows by group and name. Those of files begin with a byte that tells their kind: `f`, `x` if executable, `l` for a symlink.
#[derive(Debug, Default)]
struct Rows(BTreeMap<(Group, String), Bytes>);

fn file(kind: u8, bytes: &[u8]) -> Bytes {
    [&[kind], bytes].concat().into()
}

fn row_of(content: &Content) -> Bytes {
    match content {
        Content::File { bytes, executable } => file(if *executable { b'x' } else { b'f' }, bytes),
        Content::Symlink { target } => file(b'l', target.as_bytes()),
    }
}

fn content_of(row: &Bytes) -> Content {
    let (kind, rest) = (row[0], row.slice(1..));
    match kind {
        b'l' => Content::Symlink {
            target: text(&rest),
        },
        _ => Content::File {
            bytes: rest,
            executable: kind == b'x',
        },
    }
}

impl Rows {
    fn get(&self, group: Group, name: &str) -> Option<&Bytes> {
        self.0.get(&(group, name.to_owned()))
    }

    fn put(&mut self, group: Group, name: &(impl ToString + ?Sized), bytes: impl Into<Bytes>) {
        self.0.insert((group, name.to_string()), bytes.into());
    }

    fn of<'a>(&'a self, group: &Group) -> impl Iterator<Item = (&'a str, &'a Bytes)> + use<'a> {
        let group = group.clone();
        let rows = self.0.range((group.clone(), String::new())..);
        let rows = rows.take_while(move |((of, _), _)| *of == group);
        rows.map(|((_, name), bytes)| (name.as_str(), bytes))
    }

    fn groups(&self) -> BTreeSet<&Group> {
        self.0.keys().map(|(group, _)| group).collect()
    }

    /// Moves the rows of a group whose names are wanted to another one; whether there were any.
    fn move_to(&mut self, from: &Group, to: &Group, wanted: impl Fn(&str) -> bool) -> bool {
        let names: Vec<_> = self.of(from).map(|(name, _)| name.to_owned()).collect();
        let names: Vec<_> = names.into_iter().filter(|name| wanted(name)).collect();
        for name in &names {
            let bytes = self.0.remove(&(from.clone(), name.clone()));
            self.put(to.clone(), name, bytes.expect("it was listed"));
        }
        !names.is_empty()
    }

    fn remove(&mut self, group: &Group) -> bool {
        let before = self.0.len();
        self.0.retain(|(of, _), _| of != group);
        self.0.len() < before
    }

    fn is_there(&self, id: &BuildId) -> bool {
        self.get(Group::Build(id.clone()), BuildRecord::FILE_NAME)
            .is_some()
    }

    /// The bytes of a file of a build, without their kind.
    fn text(&self, id: &BuildId, name: &str) -> Result<Bytes> {
        rules::check_there(id, self.is_there(id))?;
        let row = self.get(Group::Build(id.clone()), name);
        row.map(|row| row.slice(1..))
            .ok_or_else(|| StoreError::NotFound {
                what: format!("{id}/{name}"),
            })
    }

    fn record(&self, id: &BuildId) -> Result<BuildRecord> {
        let text = self.text(id, BuildRecord::FILE_NAME)?;
        let text = str::from_utf8(&text).map_err(|error| damaged(id, error))?;
        BuildRecord::from_json(text).map_err(|error| damaged(id, error))
    }

    fn contents(&self, id: &BuildId) -> Contents {
        let rows = self.of(&Group::Build(id.clone()));
        let rows = rows.filter(|(name, _)| !is_beyond_sums(name) && *name != Thinned::FILE_NAME);
        let path = |name: &str| name.parse().expect("a path that was added");
        Contents(
            rows.map(|(name, row)| (path(name), content_of(row)))
                .collect(),
        )
    }

    fn thinned(&self, id: &BuildId) -> Result<Thinned> {
        match self.get(Group::Build(id.clone()), Thinned::FILE_NAME) {
            Some(row) => parse_thinned(Thinned::FILE_NAME, &row[1..]),
            None => Ok(Thinned::default()),
        }
    }

    fn put_thinned(&mut self, id: &BuildId, thinned: &Thinned) {
        let key = (Group::Build(id.clone()), Thinned::FILE_NAME.to_owned());
        if thinned.sections.is_empty() {
            self.0.remove(&key);
        } else {
            self.0.insert(key, file(b'f', thinned.to_json().as_bytes()));
        }
    }

    fn aliases(&self, channel: &Channel) -> BTreeMap<AliasName, AliasEntry> {
        let rows = self.of(&Group::Aliases(channel.clone()));
        let entry = |bytes| AliasEntry::Build(date(bytes));
        rows.map(|(name, bytes)| (name.parse().expect("an alias"), entry(bytes)))
            .collect()
    }

    fn root_aliases(&self) -> BTreeMap<RootAlias, RootEntry> {
        let rows = self.of(&Group::RootAliases);
        rows.map(|(name, to)| (name.parse().expect("an alias"), RootEntry::from(text(to))))
            .collect()
    }

    /// Whether a release or a channel has a build.
    fn has(&self, target: &RootTarget) -> bool {
        self.groups().into_iter().any(|group| match group {
            Group::Build(id) => target.holds(&id.channel),
            _ => false,
        })
    }

    fn pins(&self, id: &BuildId) -> Result<Vec<Pin>> {
        let row = self.get(Group::Pins(id.clone()), "");
        row.map_or(Ok(Vec::new()), |text| {
            rules::PinFile::read(id, "pins", text)
        })
    }

    fn verdicts(&self, id: &BuildId) -> Result<Vec<VerdictEntry>> {
        let row = self.get(Group::Verdicts(id.clone()), "");
        row.map_or(Ok(Vec::new()), |text| {
            rules::VerdictFile::read(id, "verdicts", text)
        })
    }

    /// Refuses to take away what is not there, or what something keeps.
    fn check_free(&self, id: &BuildId, now: DateTime<Utc>) -> Result<()> {
        rules::check_there(id, self.is_there(id))?;
        rules::check_free(id, &self.aliases(&id.channel), &self.pins(id)?, now)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it was a text")
}

fn date(bytes: &Bytes) -> BuildDate {
    text(bytes).parse().expect("it was a date")
}

fn damaged(what: &BuildId, error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Damaged {
        what: what.to_string(),
        source: error.into(),
    }
}

fn trashed(retired: &Retired) -> Group {
    Group::Retired(retired.id.channel.clone(), rules::retired_name(retired))
}

#[derive(Debug, Clone, Default)]
struct KeyValue {
    rows: Arc<Mutex<Rows>>,
    locked: Arc<Mutex<BTreeSet<Channel>>>,
    pages: Arc<futures_util::lock::Mutex<()>>,
    root: Arc<futures_util::lock::Mutex<()>>,
    seal: Seal,
}

impl KeyValue {
    fn sealed() -> Self {
        Self {
            seal: test_seal(),
            ..Self::default()
        }
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().expect("no panic while it is locked")
    }
}

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
        let rows = self.rows();
        let bytes = match rows.contents(id).read(path) {
            Some(bytes) => bytes,
            None => rows.text(id, path.as_str())?,
        };
        Ok(FileBody::of(&bytes, from))
    }
    async fn read_part(
        &self,
        id: &BuildId,
        path: &BuildPath,
        from: u64,
        length: u64,
    ) -> Result<FileBody> {
        Ok(self.read(id, path, from).await?.cut(length))
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

#[async_trait]
impl MirrorStore for KeyValue {
    async fn lock(&self, channel: &Channel) -> Result<Box<dyn ChannelWriter>> {
        if !self
            .locked
            .lock()
            .expect("no panic")
            .insert(channel.clone())
        {
            return Err(StoreError::Busy {
                channel: Box::new(channel.clone()),
            });
        }
        let (store, channel) = (self.clone(), channel.clone());
        Ok(Box::new(Writer(Arc::new(Lock { store, channel }))))
    }
    async fn lock_pages(&self) -> Result<Box<dyn PageWriter>> {
        let lock = Arc::clone(&self.pages).lock_owned().await;
        Ok(Box::new(Pages {
            store: self.clone(),
            _lock: lock,
        }))
    }
    async fn lock_aliases(&self) -> Result<Box<dyn RootWriter>> {
        let lock = Arc::clone(&self.root).lock_owned().await;
        Ok(Box::new(Pages {
            store: self.clone(),
            _lock: lock,
        }))
    }
    async fn retired(&self) -> Result<Vec<Retired>> {
        let rows = self.rows();
        let retired = rows.groups().into_iter().filter_map(|group| match group {
            Group::Retired(channel, name) => rules::parse_retired_name(channel, name),
            _ => None,
        });
        let mut retired: Vec<_> = retired.collect();
        retired.sort();
        Ok(retired)
    }
    async fn leftovers(&self, scope: &Scope) -> Result<Vec<Leftover>> {
        let (rows, locked) = (self.rows(), self.locked.lock().expect("no panic"));
        let dead = rows.groups().into_iter().filter_map(|group| match group {
            Group::Staged(id) if rules::is_channel_within(&id.channel, scope) => Some(id),
            _ => None,
        });
        Ok(dead
            .filter(|id| !locked.contains(&id.channel))
            .map(leftover)
            .collect())
    }
    async fn settle(&self, _: &Channel) -> Result<()> {
        Ok(())
    }
    async fn strays(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    async fn pins(&self, scope: &Scope) -> Result<Vec<Pin>> {
        let rows = self.rows();
        let mut pins = Vec::new();
        for group in rows.groups() {
            match group {
                Group::Pins(id) if rules::is_within(id, scope) => pins.extend(rows.pins(id)?),
                _ => {}
            }
        }
        Ok(pins)
    }
    async fn verdicts(&self, scope: &Scope) -> Result<Vec<VerdictEntry>> {
        let rows = self.rows();
        let mut entries = Vec::new();
        for group in rows.groups() {
            match group {
                Group::Verdicts(id) if rules::is_within(id, scope) => {
                    entries.extend(rows.verdicts(id)?);
                }
                _ => {}
            }
        }
        Ok(entries)
    }
    async fn owed(&self, scope: &Scope) -> Result<Vec<OwedTags>> {
        let rows = self.rows();
        let owed = rows.0.iter().filter_map(|((group, _), text)| match group {
            Group::Owed(id) if rules::is_within(id, scope) => {
                Some(OwedTags::read(id, "owed", text))
            }
            _ => None,
        });
        owed.collect()
    }
    async fn in_use(&self, _: &[BuildId]) -> Result<BTreeSet<BuildId>> {
        Ok(BTreeSet::new())
    }
}

fn leftover(id: &BuildId) -> Leftover {
    Leftover {
        channel: id.channel.clone(),
        what: id.to_string(),
    }
}

#[derive(Debug)]
struct Lock {
    store: KeyValue,
    channel: Channel,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.store
            .locked
            .lock()
            .expect("no panic")
            .remove(&self.channel);
    }
}

#[derive(Debug)]
struct Writer(Arc<Lock>);

impl Writer {
    fn id(&self, date: BuildDate) -> BuildId {
        BuildId::new(self.0.channel.clone(), date)
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.store.rows()
    }

    fn swept(&self) -> Vec<Leftover> {
        let mut rows = self.rows();
        let staged = rows.groups().into_iter().filter_map(|group| match group {
            Group::Staged(id) if id.channel == self.0.channel => Some(id.clone()),
            _ => None,
        });
        let staged: Vec<_> = staged.collect();
        for id in &staged {
            rows.remove(&Group::Staged(id.clone()));
        }
        staged.iter().map(leftover).collect()
    }
}

#[async_trait]
impl ChannelWriter for Writer {
    fn channel(&self) -> &Channel {
        &self.0.channel
    }
    async fn begin(&self, date: BuildDate) -> Result<Box<dyn StagedBuild>> {
        let id = self.id(date);
        rules::check_absent(&id, self.rows().is_there(&id))?;
        drop(self.swept());
        self.rows().put(Group::Staged(id.clone()), &"", "");
        Ok(Box::new(Staged {
            lock: Arc::clone(&self.0),
            id,
            files: Mutex::default(),
        }))
    }
    async fn point(
        &self,
        alias: &AliasName,
        expected: Option<&AliasEntry>,
        to: Option<BuildDate>,
    ) -> Result<()> {
        let (mut rows, channel) = (self.rows(), &self.0.channel);
        rules::check_alias(channel, alias, expected, rows.aliases(channel).get(alias))?;
        let group = Group::Aliases(channel.clone());
        let Some(to) = to else {
            rows.0.remove(&(group, alias.to_string()));
            return Ok(());
        };
        rules::check_target(channel, alias, &rows.record(&self.id(to))?)?;
        rows.put(group, alias, to.to_string());
        Ok(())
    }
    async fn hold_alias(&self, alias: &AliasName, at: BuildDate) -> Result<()> {
        let group = Group::HeldAliases(self.0.channel.clone());
        self.rows().put(group, alias, at.to_string());
        Ok(())
    }
    async fn offer(&self, sections: &BTreeSet<Section>) -> Result<()> {
        let (mut rows, channel) = (self.rows(), &self.0.channel);
        let aliases = rows.aliases(channel);
        rules::check_offer(channel, aliases.get(&AliasName::latest_build()))?;
        let group = Group::Undated(channel.clone());
        rows.remove(&group);
        for section in sections {
            rows.put(group.clone(), section.as_str(), "");
        }
        Ok(())
    }
    async fn retire(&self, date: BuildDate, now: DateTime<Utc>) -> Result<Retired> {
        let (id, mut rows) = (self.id(date), self.rows());
        let retired = rules::retired_at(&id, now)?;
        rows.check_free(&id, now)?;
        if rows.of(&trashed(&retired)).next().is_some() {
            return Err(rules::retired_before(&retired));
        }
        rows.move_to(&Group::Build(id), &trashed(&retired), |_| true);
        Ok(retired)
    }
    async fn thin(&self, date: BuildDate, sections: &[ThinnedSection]) -> Result<Vec<Retired>> {
        let (id, mut rows) = (self.id(date), self.rows());
        rows.check_free(&id, rules::latest(sections))?;
        let mut thinned = rows.thinned(&id)?;
        let (new, build) = (
            rules::new_sections(sections, &thinned),
            Group::Build(id.clone()),
        );
        rules::check_sections(&id, &new, &rows.contents(&id).incoming())?;
        thinned.sections.extend(new.iter().cloned());
        rows.put_thinned(&id, &thinned);
        let taken = new.iter().map(|section| {
            let retired = rules::retired_section(&id, section);
            let goes = |name: &str| {
                name.parse()
                    .is_ok_and(|path| lies_in(&path, &section.section))
            };
            rows.move_to(&build, &trashed(&retired), goes);
            retired
        });
        Ok(taken.collect())
    }
    async fn pin(&self, pin: &Pin) -> Result<()> {
        let id = &pin.build;
        rules::check_channel(&self.0.channel, id)?;
        let is_retired = self
            .0
            .store
            .retired()
            .await?
            .iter()
            .any(|it| it.is_whole(id));
        let mut rows = self.rows();
        rules::check_there(id, is_retired || rows.is_there(id))?;
        let mut pins = rows.pins(id)?;
        rules::put_pin(&mut pins, pin);
        rows.put(
            Group::Pins(id.clone()),
            "",
            rules::PinFile { pins }.to_json(),
        );
        Ok(())
    }
    async fn unpin(&self, date: BuildDate, author: &str) -> Result<Pin> {
        let (id, mut rows) = (self.id(date), self.rows());
        let mut pins = rows.pins(&id)?;
        let pin = rules::take_pin(&id, &mut pins, author)?;
        rows.put(Group::Pins(id), &"", rules::PinFile { pins }.to_json());
        Ok(pin)
    }
    async fn mark(&self, entry: &VerdictEntry) -> Result<()> {
        let id = &entry.build;
        rules::check_channel(&self.0.channel, id)?;
        let mut rows = self.rows();
        rules::check_there(id, rows.is_there(id))?;
        let mut entries = rows.verdicts(id)?;
        rules::put_verdict(&mut entries, entry);
        let text = rules::VerdictFile { entries }.to_json();
        rows.put(Group::Verdicts(id.clone()), "", text);
        Ok(())
    }
    async fn owe(&self, owed: &OwedTags) -> Result<()> {
        rules::check_channel(&self.0.channel, &owed.build)?;
        let group = Group::Owed(owed.build.clone());
        let mut rows = self.rows();
        rows.remove(&group);
        if !owed.tags.is_empty() {
            rows.put(group, &"", owed.to_json());
        }
        Ok(())
    }
    async fn restore(&self, retired: &Retired) -> Result<()> {
        let (id, mut rows) = (&retired.id, self.rows());
        rules::check_channel(&self.0.channel, id)?;
        rules::check_there(id, rows.of(&trashed(retired)).next().is_some())?;
        match &retired.section {
            None => rules::check_absent(id, rows.is_there(id))?,
            Some(section) => {
                rules::check_there(id, rows.is_there(id))?;
                let mut thinned = rows.thinned(id)?;
                rules::check_taken(retired, section, &thinned)?;
                thinned.sections.retain(|known| known.section != *section);
                rows.put_thinned(id, &thinned);
            }
        }
        rows.move_to(&trashed(retired), &Group::Build(id.clone()), |_| true);
        Ok(())
    }
    async fn purge(&self, retired: &Retired) -> Result<()> {
        rules::check_channel(&self.0.channel, &retired.id)?;
        rules::check_there(&retired.id, self.rows().remove(&trashed(retired)))
    }
    async fn sweep(&self) -> Result<Vec<Leftover>> {
        Ok(self.swept())
    }
}

#[derive(Debug)]
struct Pages {
    store: KeyValue,
    _lock: OwnedMutexGuard<()>,
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

#[derive(Debug)]
struct Staged {
    lock: Arc<Lock>,
    id: BuildId,
    files: Mutex<Contents>,
}

impl Staged {
    fn files(&self) -> MutexGuard<'_, Contents> {
        self.files.lock().expect("no panic while it is locked")
    }

    fn finish(&self, sealed: &Sealed) -> Result<()> {
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
    /// It knows no files of a workspace.
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

#[tokio::test]
async fn it_conforms() {
    conformance::run(&KeyValue::default()).await;
    conformance::sealed(&KeyValue::sealed()).await;
}

#[tokio::test]
async fn it_survives_a_fault_at_every_call() {
    assert!(sweep::every_call(KeyValue::sealed).await > 20);
    let fresh = async || {
        let store = KeyValue::default();
        sweep::retention::prepared(&store).await;
        store
    };
    assert!(sweep::retention::every_call(&Fault::ALL, fresh).await > 30);
}
