//! A mirror in memory: the strict reference of the store traits.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use stx_layout::{BuildId, BuildPath};

use crate::store::Content;
use crate::store::rows::{self, Change, Head, Locks, NamedLock, RowError, RowStore, Rows};

/// A mirror in memory. Clones are the same mirror.
///
/// It reads no files: the source of an [`Entry::File`](crate::incoming::Entry::File) must be given to
/// [`put_source`](RowStore::put_source).
pub type MemoryStore = RowStore<Memory>;

/// The rows of a [`MemoryStore`].
#[derive(Default)]
pub struct Memory {
    rows: Mutex<BTreeMap<String, Bytes>>,
    sources: Mutex<BTreeMap<Utf8PathBuf, Bytes>>,
    locks: Locks,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

/// No call leaves a map half changed.
fn all<K, V>(map: &Mutex<BTreeMap<K, V>>) -> MutexGuard<'_, BTreeMap<K, V>> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::over(Memory::default()).with_holds().with_rpm_names()
    }
}

impl MemoryStore {
    /// An empty mirror.
    pub fn new() -> Self {
        Self::default()
    }

    /// Provides a source file.
    pub fn put_source(&self, path: impl Into<Utf8PathBuf>, bytes: impl Into<Bytes>) {
        all(&self.rows().sources).insert(path.into(), bytes.into());
    }

    /// Sets an alias to anything, as careless manual work would.
    #[cfg(test)]
    pub(crate) fn tamper_alias(
        &self,
        channel: &stx_layout::Channel,
        alias: &stx_layout::AliasName,
        to: stx_layout::AliasEntry,
    ) {
        let text = match to {
            stx_layout::AliasEntry::Build(date) => date.to_string(),
            stx_layout::AliasEntry::Other(text) => text,
        };
        let key = rows::key(rows::ALIAS, &[channel, alias]);
        all(&self.rows().rows).insert(key, text.into());
    }

    /// Writes into a published build, as careless manual work would; `None` removes the file.
    pub fn tamper_file(&self, id: &BuildId, path: &BuildPath, bytes: Option<Bytes>) {
        let mut rows = all(&self.rows().rows);
        let build = rows::of_build(rows::BUILD, id);
        let head = rows.get(&build).map(|row| Head::parse(&build, row));
        if let Some(Ok(head)) = head {
            let key = rows::of_file(&id.channel, head, path.as_str());
            match bytes {
                Some(bytes) => rows.insert(key, rows::row_of(&Content::file(bytes))),
                None => rows.remove(&key),
            };
        }
    }
}

/// The keys that begin with a prefix.
fn with_prefix(rows: &BTreeMap<String, Bytes>, prefix: &str) -> Vec<(String, Bytes)> {
    let from = (Bound::Included(prefix), Bound::Unbounded);
    let found = rows.range::<str, _>(from);
    let found = found.take_while(|(key, _)| key.starts_with(prefix));
    found.map(|(key, row)| (key.clone(), row.clone())).collect()
}

#[async_trait]
impl Rows for Memory {
    type Lock = NamedLock;

    async fn get(&self, key: &str) -> Result<Option<Bytes>, RowError> {
        Ok(all(&self.rows).get(key).cloned())
    }

    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, RowError> {
        Ok(with_prefix(&all(&self.rows), prefix))
    }

    async fn apply(&self, _: &NamedLock, changes: Vec<Change>) -> Result<(), RowError> {
        let mut rows = all(&self.rows);
        for change in changes {
            match change {
                Change::Put(key, value) => drop(rows.insert(key, value)),
                Change::Remove(key) => drop(rows.remove(&key)),
                Change::RemoveAll(prefix) => {
                    for (key, _) in with_prefix(&rows, &prefix) {
                        rows.remove(&key);
                    }
                }
            }
        }
        Ok(())
    }

    async fn try_lock(&self, name: &str) -> Result<Option<NamedLock>, RowError> {
        Ok(self.locks.try_lock(name))
    }

    async fn lock(&self, name: &str) -> Result<NamedLock, RowError> {
        Ok(self.locks.lock(name).await)
    }

    async fn source(&self, path: &Utf8Path) -> Result<Option<Bytes>, RowError> {
        Ok(all(&self.sources).get(path).cloned())
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
