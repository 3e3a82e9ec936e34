//! The calls of a mirror.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;
use camino::Utf8PathBuf;
use stx_layout::{
    AliasEntry, AliasName, BuildEntry, BuildId, BuildPath, BuildRecord, BuildState, Catalog,
    Channel, Pin, RootAlias, RootEntry, Section, Sums, VerdictEntry,
};

use super::facts::{Result, failed};
use super::key::{self, Head, damaged, record_of, shown, text};
use super::pages::Pages;
use super::writer::{Locked, Writer};
use super::{RowStore, Rows};
use crate::error::chain;
use crate::index::{PageId, PageName};
use crate::store::rules::{
    PinFile, VerdictFile, check_there, following, is_channel_within, parse_retired_name,
};
use crate::store::{
    Audit, ByteRange, Capabilities, ChannelWriter, Depth, FileBody, Hold, Inspection, Leftover,
    MirrorRead, MirrorStore, Outline, OwedTags, PageWriter, Retired, RootWriter, Scope, StoreError,
};

impl<R: Rows> RowStore<R> {
    /// The catalog without builds, and the rows of those, by build. A reader who finds an alias finds its build, so aliases are
    /// read first.
    async fn outline_of(&self, scope: &Scope) -> Result<(Catalog, Heads)> {
        let mut catalog = Catalog::default();
        let aliases = self.aliases(key::ALIAS, scope).await?;
        let held = self.aliases(key::HELD, scope).await?;
        let undated = self.scan(&key::of_scope(key::UNDATED, scope)).await?;
        let undated: BTreeMap<_, _> = undated.into_iter().collect();
        for (channel, aliases) in aliases {
            let entry = catalog.channels.entry(channel.clone()).or_default();
            let held = held.get(&channel).into_iter().flatten();
            let held = held.filter(|(alias, at)| aliases.get(*alias) == Some(at));
            entry.held = held.map(|(alias, _)| alias.clone()).collect();
            entry.aliases = aliases;
            let key = key::of_channel(key::UNDATED, &channel);
            let words = undated.get(&key).map_or(&[][..], |row| row);
            let sections = text(&key, words)?.split_whitespace();
            entry.undated = following(&sections.filter_map(Section::from_word).collect());
        }
        Ok((catalog, self.about(key::BUILD, scope).await?))
    }
}

/// The rows of builds.
type Heads = BTreeMap<BuildId, (String, Bytes)>;

fn put(catalog: &mut Catalog, id: BuildId, state: BuildState, keep_file: bool) {
    let entry = BuildEntry { state, keep_file };
    let channel = catalog.channels.entry(id.channel).or_default();
    channel.builds.insert(id.date, entry);
}

#[async_trait]
impl<R: Rows> MirrorRead for RowStore<R> {
    async fn catalog(&self, scope: &Scope) -> Result<Catalog> {
        let (mut catalog, heads) = self.outline_of(scope).await?;
        let records = self.scan(&key::of_scope(key::RECORD, scope)).await?;
        let records: BTreeMap<_, _> = records.into_iter().collect();
        for (id, (row, value)) in heads {
            let head = Head::parse(&row, &value);
            // A build of which nothing is known is kept.
            let keep_file = head.as_ref().map_or(true, |head| head.keep_file);
            let record = head.and_then(|head| {
                let key = key::of_record(&id.channel, head);
                let row = records.get(&key).ok_or_else(|| damaged(&key, MISSING))?;
                record_of(&key, row)
            });
            let state = match record {
                Ok(record) => BuildState::Known(Box::new(record)),
                // It was retired, and may have been purged, after the first of the two scans.
                Err(_) if self.get(&row).await? != Some(value) => continue,
                Err(error) => BuildState::Unreadable(chain(&error)),
            };
            put(&mut catalog, id, state, keep_file);
        }
        Ok(catalog)
    }

    async fn record(&self, id: &BuildId) -> Result<BuildRecord> {
        let key = key::of_record(&id.channel, self.head(id).await?);
        if let Some(row) = self.get(&key).await? {
            return record_of(&key, &row);
        }
        check_there(id, self.is_there(id).await?)?;
        Err(damaged(&key, MISSING))
    }

    async fn sums(&self, id: &BuildId) -> Result<Sums> {
        let (key, _, row) = self.file_row(id, Sums::FILE_NAME).await?;
        let sums = text(&key, row.get(1..).unwrap_or_default())?.parse();
        sums.map_err(|error: stx_layout::SumsError| damaged(&key, error))
    }

    async fn alias(&self, channel: &Channel, alias: &AliasName) -> Result<Option<AliasEntry>> {
        let key = key::key(key::ALIAS, &[channel, alias]);
        let row = self.get(&key).await?;
        row.map(|row| key::target_of(&key, &row)).transpose()
    }

    async fn root_aliases(&self) -> Result<BTreeMap<RootAlias, RootEntry>> {
        self.root_entries().await
    }

    async fn read(&self, id: &BuildId, path: &BuildPath, from: u64) -> Result<FileBody> {
        Ok(FileBody::of(&self.bytes(id, path).await?, from))
    }

    async fn read_ranges(
        &self,
        id: &BuildId,
        path: &BuildPath,
        ranges: &[ByteRange],
    ) -> Result<FileBody> {
        Ok(FileBody::in_memory(&self.bytes(id, path).await?, ranges))
    }

    async fn page(&self, page: &PageId) -> Result<Option<Bytes>> {
        self.get(&key::of_page(page)).await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            holds: self.readers.is_some(),
            ..Capabilities::default()
        }
    }

    fn file(&self, _: &BuildId, _: &BuildPath) -> Option<Utf8PathBuf> {
        None
    }

    async fn inspect(&self, id: &BuildId, depth: Depth) -> Result<Inspection> {
        let (contents, thinned) = self.contents(id, self.head(id).await?).await?;
        Ok(Inspection {
            found: contents.found(depth),
            unreadable: Vec::new(),
            thinned,
        })
    }

    async fn hold(&self, id: &BuildId) -> Result<Hold> {
        let Some(readers) = &self.readers else {
            return check_there(id, self.is_there(id).await?).map(|()| Hold::nothing());
        };
        let _gate = readers.gate.lock().await;
        check_there(id, self.is_there(id).await?)?;
        Ok(Hold::until_dropped(readers.add(id)))
    }

    async fn audit(&self, id: &BuildId, _: &Audit) -> Result<Inspection> {
        self.inspect(id, Depth::Digests).await
    }
}

/// The reason for a damage.
const MISSING: &str = "it is missing";

/// The lock of the pages, and that of the names above the channels.
const PAGES: &str = "pages";
const NAMES: &str = "names";

impl<R: Rows> RowStore<R> {
    async fn try_lock(&self, channel: &Channel) -> Result<Option<R::Lock>> {
        let name = key::key("channel", &[channel]);
        let lock = self.rows.try_lock(&name).await;
        lock.map_err(failed("lock", shown(&name)))
    }

    async fn waited(&self, name: &str) -> Result<Box<Pages<R>>> {
        let lock = self.rows.lock(name).await;
        let lock = lock.map_err(failed("lock", format!("the {name}")))?;
        Ok(Box::new(Pages::new(self.clone(), lock)))
    }
}

#[async_trait]
impl<R: Rows> MirrorStore for RowStore<R> {
    async fn lock(&self, channel: &Channel) -> Result<Box<dyn ChannelWriter>> {
        let lock = self.try_lock(channel).await?;
        let lock = lock.ok_or_else(|| StoreError::Busy {
            channel: Box::new(channel.clone()),
        })?;
        let locked = Locked::new(self.clone(), channel.clone(), lock);
        Ok(Box::new(Writer::new(locked)))
    }

    async fn lock_pages(&self) -> Result<Box<dyn PageWriter>> {
        Ok(self.waited(PAGES).await?)
    }

    async fn lock_aliases(&self) -> Result<Box<dyn RootWriter>> {
        Ok(self.waited(NAMES).await?)
    }

    async fn retired(&self) -> Result<Vec<Retired>> {
        let rows = self.scan(&key::of_scope(key::TRASH, &Scope::All)).await?;
        let retired = rows.iter().map(|(row, _)| {
            let (channel, name): (_, String) = key::parse(row)?;
            parse_retired_name(&channel, &name)
                .ok_or_else(|| damaged(row, "not the name of a retired build"))
        });
        let mut retired = retired.collect::<Result<Vec<_>>>()?;
        retired.sort();
        Ok(retired)
    }

    async fn leftovers(&self, scope: &Scope) -> Result<Vec<Leftover>> {
        let rows = self.scan(&key::of_scope(key::STAGED, scope)).await?;
        let channels = rows.iter().map(|(row, _)| key::parse::<String>(row));
        let channels = channels.map(|parsed| parsed.map(|(channel, _)| channel));
        let mut leftovers = Vec::new();
        for channel in channels.collect::<Result<BTreeSet<_>>>()? {
            if is_channel_within(&channel, scope)
                && let Some(_lock) = self.try_lock(&channel).await?
            {
                // A publisher that was listed above may have ended since.
                leftovers.extend(self.staged(&channel).await?);
            }
        }
        Ok(leftovers)
    }

    /// Does nothing: all changes are durable.
    async fn settle(&self, _: &Channel) -> Result<()> {
        Ok(())
    }

    /// Always empty: the rows contain only channels.
    async fn strays(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn pins(&self, scope: &Scope) -> Result<Vec<Pin>> {
        let mut pins = Vec::new();
        for (id, (row, text)) in self.about(key::PINS, scope).await? {
            match PinFile::read(&id, &shown(&row), &text) {
                Ok(found) => pins.extend(found),
                Err(error) => pins.push(PinFile::unknown(id, &error)),
            }
        }
        Ok(pins)
    }

    async fn verdicts(&self, scope: &Scope) -> Result<Vec<VerdictEntry>> {
        let mut entries = Vec::new();
        for (id, (row, text)) in self.about(key::VERDICTS, scope).await? {
            entries.extend(VerdictFile::read(&id, &shown(&row), &text)?);
        }
        Ok(entries)
    }

    async fn owed(&self, scope: &Scope) -> Result<Vec<OwedTags>> {
        let rows = self.about(key::OWED, scope).await?.into_iter();
        let owed = rows.map(|(id, (row, text))| OwedTags::read(&id, &shown(&row), &text));
        owed.collect()
    }

    async fn in_use(&self, builds: &[BuildId]) -> Result<BTreeSet<BuildId>> {
        let held = builds.iter().filter(|id| {
            let readers = self.readers.as_ref();
            readers.is_some_and(|readers| readers.hold(id))
        });
        Ok(held.cloned().collect())
    }

    async fn outlines(&self) -> Result<Option<BTreeMap<Channel, Outline>>> {
        let (mut catalog, heads) = self.outline_of(&Scope::All).await?;
        for (id, (_, head)) in heads {
            let unique = BuildState::Unreadable(format!("{head:?}"));
            put(&mut catalog, id, unique, false);
        }
        let mut beside = BTreeMap::<_, Vec<_>>::new();
        for kind in [key::VERDICTS, key::PINS] {
            for (id, row) in self.about(kind, &Scope::All).await? {
                beside.entry(id.channel).or_default().push(row);
            }
        }
        for row in self.scan(&key::of_scope(key::TRASH, &Scope::All)).await? {
            let (channel, _): (_, String) = key::parse(&row.0)?;
            beside.entry(channel).or_default().push(row);
        }
        let pages = self.scan(&key::of_scope(key::PAGE, &Scope::All)).await?;
        let pages: BTreeSet<_> = pages.into_iter().map(|(row, _)| row).collect();
        let channels = catalog.channels.into_iter();
        let outlines = channels.map(|(channel, entry)| {
            let has = |name: &PageName| {
                let (channel, name) = (Some(channel.clone()), *name);
                pages.contains(&key::of_page(&PageId { channel, name }))
            };
            let pages = PageName::ALL.into_iter().filter(has);
            let outline = Outline::of(&entry, &beside.get(&channel), pages);
            (channel, outline)
        });
        Ok(Some(outlines.collect()))
    }

    async fn noted(&self) -> Result<Option<Bytes>> {
        self.get(key::NOTE).await
    }
}
