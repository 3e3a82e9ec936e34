//! The facts that rows contain, for readers and writers.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::lock::MutexGuard;
use stx_layout::{
    AliasEntry, AliasName, BuildId, BuildPath, Channel, Pin, RootAlias, RootEntry, RootTarget,
    VerdictEntry,
};

use super::key::{self, Head, damaged, of_build, of_channel, shown, text};
use super::{Change, RowError, RowStore, Rows};
use crate::seal::is_beyond_sums;
use crate::store::rules::{self, PinFile, VerdictFile};
use crate::store::{Content, Contents, Leftover, Scope, StoreError};
use crate::thinning::{Thinned, parse_thinned};

pub(super) type Result<T> = std::result::Result<T, StoreError>;

/// Says which operation failed, and where.
pub(super) fn failed(op: &'static str, path: String) -> impl FnOnce(RowError) -> StoreError {
    move |error| StoreError::Io {
        op,
        path,
        source: io::Error::other(error),
    }
}

impl<R: Rows> RowStore<R> {
    pub(super) async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        let row = self.rows.get(key).await;
        row.map_err(failed("read", format!("the row {}", shown(key))))
    }

    pub(super) async fn scan(&self, prefix: &str) -> Result<Vec<(String, Bytes)>> {
        let rows = self.rows.scan(prefix).await;
        rows.map_err(failed("list", format!("the rows {}", shown(prefix))))
    }

    pub(super) async fn apply(&self, lock: &R::Lock, changes: Vec<Change>) -> Result<()> {
        let first = changes.first().map(|change| match change {
            Change::Put(key, _) | Change::Remove(key) | Change::RemoveAll(key) => shown(key),
        });
        let place = format!("the row {}", first.unwrap_or_default());
        let applied = self.rows.apply(lock, changes).await;
        applied.map_err(failed("change", place))
    }

    pub(super) async fn head(&self, id: &BuildId) -> Result<Head> {
        let key = of_build(key::BUILD, id);
        let row = self.get(&key).await?;
        Head::parse(&key, &row.ok_or_else(|| rules::no_build(id))?)
    }

    pub(super) async fn is_there(&self, id: &BuildId) -> Result<bool> {
        let row = self.get(&of_build(key::BUILD, id)).await?;
        Ok(row.is_some())
    }

    /// True if a release or a channel has a build.
    pub(super) async fn has(&self, target: &RootTarget) -> Result<bool> {
        let prefix = key::key(key::BUILD, &[target]);
        for (row, _) in self.scan(&prefix).await? {
            let id = key::parse_build(&row, &Scope::All)?;
            if id.is_some_and(|id| target.holds(&id.channel)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The row of a file of a build, with its key.
    pub(super) async fn file_row(&self, id: &BuildId, path: &str) -> Result<(String, Head, Bytes)> {
        let head = self.head(id).await?;
        let key = key::of_file(&id.channel, head, path);
        let row = self.get(&key).await?;
        let row = row.ok_or_else(|| StoreError::NotFound {
            what: format!("{id}/{path}"),
        })?;
        Ok((key, head, row))
    }

    /// The files of a build, and the sections that were removed from it, at one instant.
    pub(super) async fn contents(&self, id: &BuildId, head: Head) -> Result<(Contents, Thinned)> {
        let prefix = key::of_file(&id.channel, head, "");
        let (mut contents, mut thinned) = (Contents::default(), Thinned::default());
        for (row, bytes) in self.scan(&prefix).await? {
            let name = row.strip_prefix(&prefix).unwrap_or(&row);
            if name == Thinned::FILE_NAME {
                thinned = parse_thinned(&shown(&row), &bytes.slice(1.min(bytes.len())..))?;
            } else if !is_beyond_sums(name) {
                let path = name.parse().map_err(|error| damaged(&row, error))?;
                contents.0.insert(path, key::content_of(&row, &bytes)?);
            }
        }
        Ok((contents, thinned))
    }

    /// A file of a build, with symlinks followed.
    pub(super) async fn bytes(&self, id: &BuildId, path: &BuildPath) -> Result<Bytes> {
        let (key, head, row) = self.file_row(id, path.as_str()).await?;
        if let Content::File { bytes, .. } = key::content_of(&key, &row)? {
            return Ok(bytes);
        }
        let (contents, _) = self.contents(id, head).await?;
        contents.read(path).ok_or_else(|| StoreError::NotFound {
            what: format!("{id}/{path}"),
        })
    }

    /// The aliases of channels within a part of the mirror, or the dates at which they are held.
    pub(super) async fn aliases(
        &self,
        kind: &str,
        scope: &Scope,
    ) -> Result<BTreeMap<Channel, BTreeMap<AliasName, AliasEntry>>> {
        let mut channels = BTreeMap::<Channel, BTreeMap<_, _>>::new();
        for (row, to) in self.scan(&key::of_scope(kind, scope)).await? {
            let (channel, alias) = key::parse(&row)?;
            let to = key::target_of(&row, &to)?;
            channels.entry(channel).or_default().insert(alias, to);
        }
        Ok(channels)
    }

    pub(super) async fn root_entries(&self) -> Result<BTreeMap<RootAlias, RootEntry>> {
        let prefix = key::key(key::ROOT, &[&""]);
        let rows = self.scan(&prefix).await?.into_iter();
        let entries = rows.map(|(row, to)| {
            let alias = row.strip_prefix(&prefix).unwrap_or(&row).parse();
            let alias = alias.map_err(|error: stx_layout::ParseError| damaged(&row, error))?;
            Ok((alias, RootEntry::from(text(&row, &to)?.to_owned())))
        });
        entries.collect()
    }

    /// The rows of one kind about builds within a part of the mirror, by build.
    pub(super) async fn about(
        &self,
        kind: &str,
        scope: &Scope,
    ) -> Result<BTreeMap<BuildId, (String, Bytes)>> {
        let mut found = BTreeMap::new();
        for (row, value) in self.scan(&key::of_scope(kind, scope)).await? {
            if let Some(id) = key::parse_build(&row, scope)? {
                found.insert(id, (row, value));
            }
        }
        Ok(found)
    }

    pub(super) async fn pins_of(&self, id: &BuildId) -> Result<Vec<Pin>> {
        let key = of_build(key::PINS, id);
        let row = self.get(&key).await?;
        row.map_or(Ok(Vec::new()), |row| PinFile::read(id, &shown(&key), &row))
    }

    pub(super) async fn verdicts_of(&self, id: &BuildId) -> Result<Vec<VerdictEntry>> {
        let key = of_build(key::VERDICTS, id);
        let row = self.get(&key).await?;
        row.map_or(Ok(Vec::new()), |row| {
            VerdictFile::read(id, &shown(&key), &row)
        })
    }

    /// Refuses a build that does not exist, or that an alias, a pin or a reader keeps. No reader comes before the guard is dropped.
    pub(super) async fn free(
        &self,
        id: &BuildId,
        now: DateTime<Utc>,
    ) -> Result<(Head, Option<MutexGuard<'_, ()>>)> {
        let head = self.head(id).await?;
        let scope = Scope::Channel(id.channel.clone());
        let mut aliases = self.aliases(key::ALIAS, &scope).await?;
        let aliases = aliases.remove(&id.channel).unwrap_or_default();
        rules::check_free(id, &aliases, &self.pins_of(id).await?, now)?;
        let Some(readers) = &self.readers else {
            return Ok((head, None));
        };
        let gate = readers.gate.lock().await;
        if readers.hold(id) {
            return Err(rules::in_use(id));
        }
        Ok((head, Some(gate)))
    }

    /// The rows of builds that were begun in a channel.
    pub(super) async fn staged(&self, channel: &Channel) -> Result<Vec<Leftover>> {
        let rows = self.scan(&of_channel(key::STAGED, channel)).await?;
        let leftovers = rows.iter().map(|(row, _)| {
            let (channel, date) = key::parse(row)?;
            let what = BuildId::new(channel.clone(), date).to_string();
            Ok(Leftover { channel, what })
        });
        leftovers.collect()
    }
}
