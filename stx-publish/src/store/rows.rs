//! A mirror in the rows of a key-value database.
//!
//! Five methods that know nothing about mirrors, those of [`Rows`], make a mirror of such a database: [`RowStore`], which decides by the
//! [rules](super::rules). [`MemoryStore`](crate::MemoryStore) is such a mirror, and so is the one of `stx-publish/tests/key_value`, by
//! `rusqlite`.
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::sync::Mutex;
//!
//! use bytes::Bytes;
//! use stx_publish::store::rows::{Change, Locks, NamedLock, RowError, RowStore, Rows};
//! use stx_publish::{MirrorRead, Scope};
//!
//! #[derive(Debug, Default)]
//! struct Map(Mutex<BTreeMap<String, Bytes>>, Locks);
//!
//! #[async_trait::async_trait]
//! impl Rows for Map {
//!     type Lock = NamedLock;
//!
//!     async fn get(&self, key: &str) -> Result<Option<Bytes>, RowError> {
//!         Ok(self.0.lock().map_err(|_| "poisoned")?.get(key).cloned())
//!     }
//!     async fn scan(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, RowError> {
//!         let rows = self.0.lock().map_err(|_| "poisoned")?;
//!         let found = rows.iter().filter(|(key, _)| key.starts_with(prefix));
//!         Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
//!     }
//!     async fn apply(&self, _: &NamedLock, changes: Vec<Change>) -> Result<(), RowError> {
//!         let mut rows = self.0.lock().map_err(|_| "poisoned")?;
//!         for change in changes {
//!             match change {
//!                 Change::Put(key, value) => drop(rows.insert(key, value)),
//!                 Change::Remove(key) => drop(rows.remove(&key)),
//!                 Change::RemoveAll(prefix) => rows.retain(|key, _| !key.starts_with(&prefix)),
//!             }
//!         }
//!         Ok(())
//!     }
//!     async fn try_lock(&self, name: &str) -> Result<Option<NamedLock>, RowError> {
//!         Ok(self.1.try_lock(name))
//!     }
//!     async fn lock(&self, name: &str) -> Result<NamedLock, RowError> {
//!         Ok(self.1.lock(name).await)
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let mirror = RowStore::over(Map::default());
//! assert!(mirror.catalog(&Scope::All).await?.channels.is_empty());
//! # Ok::<(), stx_publish::StoreError>(())
//! # }).unwrap();
//! ```
//!
//! Test a new one with `conformance::run` and `sweep::every_call` of feature `testing`.
//!
//! # Limits
//! A file is one row, and a staged build is in memory until its commit writes it with one batch. Metadata of RPM repositories is
//! [not made](RowStore::with_rpm_names).
//!
//! # The rows
//! The parts of a key are separated by tabs, which no part contains.
//!
//! | key | value |
//! |---|---|
//! | `build CHANNEL DATE` | the number of a visible build within its channel, and ` KEEP` if it has that file |
//! | `trash CHANNEL NAME` | the same of a retired build; for a section, nothing |
//! | `record CHANNEL NUMBER` | its `build.json` |
//! | `file CHANNEL NUMBER PATH` | `f` (`x` if executable) and the bytes of a file, or `l` and the target of a symlink |
//! | `gone CHANNEL NAME PATH` | the same of a file of a retired section |
//! | `count CHANNEL` | the number of the last build |
//! | `staged CHANNEL DATE` | nothing: a build was begun, and neither committed nor discarded |
//! | `alias CHANNEL ALIAS`, `held CHANNEL ALIAS` | the date that the alias points to; that at which it is held |
//! | `undated CHANNEL` | the sections without a date |
//! | `pins`, `verdicts`, `owed`, each with `CHANNEL DATE` | the JSON of these facts of a build |
//! | `root ALIAS`, `page PATH`, `note` | the target of a name above the channels; a page; the note beside the pages |

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use camino::Utf8Path;

use crate::seal::Seal;

mod facts;
mod key;
mod locks;
mod mirror;
mod pages;
mod writer;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use key::{ALIAS, key};
pub(crate) use key::{BUILD, Head, of_build, of_file, row_of};
use locks::Readers;
pub use locks::{Locks, NamedLock};

/// The reason why a call of [`Rows`] failed. [`RowStore`] adds the operation and the row.
pub type RowError = Box<dyn Error + Send + Sync>;

/// A change of the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Writes a row, and replaces one with this key.
    Put(String, Bytes),
    /// Removes the row with this key, if it exists.
    Remove(String),
    /// Removes the rows whose keys begin with this prefix.
    RemoveAll(String),
}

impl Change {
    /// Writes a row, or removes it.
    fn set(key: String, value: Option<Bytes>) -> Self {
        match value {
            Some(value) => Self::Put(key, value),
            None => Self::Remove(key),
        }
    }
}

/// A key-value database with locks.
///
/// # Contract
/// - **Keys.** Any text without control characters other than the tab, up to 4 KiB; compared by bytes.
/// - **Atomicity.** [`apply`](Self::apply) makes all its changes at one instant, in their order, or none; after an error it may have
///   made all of them. A [`scan`](Self::scan) sees each batch entirely or not at all.
/// - **Order.** A call sees every batch that was applied before it began, by any process.
/// - **Durability.** The changes are on stable storage when `apply` returns.
/// - **Exclusion.** A lock has at most one holder at a time, over all processes, and ends when it is dropped, at the latest with its
///   process. If it can be lost before, `apply` with the lost lock fails and changes nothing.
#[async_trait]
pub trait Rows: fmt::Debug + Send + Sync + 'static {
    /// A lock that is held until it is dropped.
    type Lock: Send + Sync + 'static;

    /// The value of a row; `None` if it does not exist.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, RowError>;

    /// The rows whose keys begin with a prefix, by key.
    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, RowError>;

    /// Makes all these changes, or none. The caller holds `lock`, which protects the changed rows.
    async fn apply(&self, lock: &Self::Lock, changes: Vec<Change>) -> Result<(), RowError>;

    /// Takes the lock of a name; `None` at once if another caller holds it.
    async fn try_lock(&self, name: &str) -> Result<Option<Self::Lock>, RowError>;

    /// Takes the lock of a name; waits until it is free.
    async fn lock(&self, name: &str) -> Result<Self::Lock, RowError>;

    /// Reads a file of a workspace that is published; `None` if it does not exist. Without an implementation, builds are published
    /// from files in memory only.
    async fn source(&self, path: &Utf8Path) -> Result<Option<Bytes>, RowError> {
        let _ = path;
        Ok(None)
    }
}

/// A mirror in rows. Clones are the same mirror.
pub struct RowStore<R> {
    rows: Arc<R>,
    seal: Seal,
    readers: Option<Arc<Readers>>,
    names_rpms: bool,
}

impl<R> RowStore<R> {
    /// The mirror in these rows; one without rows is an empty mirror.
    pub fn over(rows: R) -> Self {
        Self {
            rows: Arc::new(rows),
            seal: Seal::default(),
            readers: None,
            names_rpms: false,
        }
    }

    /// The same mirror, which seals its builds with `seal` from now on.
    #[must_use]
    pub fn with_seal(self, seal: Seal) -> Self {
        Self { seal, ..self }
    }

    /// The same mirror, in which readers can [hold](super::MirrorRead::hold) builds. Only for rows that no other process changes:
    /// it would not know of them.
    #[must_use]
    pub fn with_holds(self) -> Self {
        let readers = Some(Arc::default());
        Self { readers, ..self }
    }

    /// The same mirror, with metadata of RPM repositories that only [lists names](super::Contents::index_names). It is for tests: clients
    /// cannot read it. Without it, a build with such a repository is [refused](super::StoreError::Unsupported).
    #[must_use]
    pub fn with_rpm_names(self) -> Self {
        let names_rpms = true;
        Self { names_rpms, ..self }
    }

    /// The rows.
    pub fn rows(&self) -> &R {
        &self.rows
    }
}

impl<R> Clone for RowStore<R> {
    fn clone(&self) -> Self {
        Self {
            rows: Arc::clone(&self.rows),
            seal: self.seal.clone(),
            readers: self.readers.clone(),
            names_rpms: self.names_rpms,
        }
    }
}

impl<R: fmt::Debug> fmt::Debug for RowStore<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RowStore");
        shown.field("rows", &self.rows).finish_non_exhaustive()
    }
}
