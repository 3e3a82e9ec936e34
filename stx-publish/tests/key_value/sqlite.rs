//! Rows in a table of a database.

use std::fmt::Write as _;
use std::fs::{File, TryLockError};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use camino_tempfile::Utf8TempDir;
use rusqlite::{Connection, OptionalExtension as _, params};
use stx_publish::store::rows::{Change, RowError, Rows};

type Result<T> = std::result::Result<T, RowError>;

const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID";
const SCAN: &str =
    "SELECT key, value FROM rows WHERE key >= ?1 AND substr(key, 1, length(?1)) = ?1 ORDER BY key";

/// A database in a directory of its own.
#[derive(Debug)]
pub(crate) struct Sqlite {
    database: Mutex<Connection>,
    dir: Arc<Utf8TempDir>,
}

impl Sqlite {
    pub(crate) fn new() -> Self {
        Self::open(Arc::new(Utf8TempDir::new().expect("a directory")))
    }

    fn open(dir: Arc<Utf8TempDir>) -> Self {
        let database = Connection::open(dir.path().join("rows.sqlite")).expect("a database");
        // The power does not fail in these tests: each of their thousands of batches would wait for the disk.
        let fast = database.pragma_update(None, "synchronous", "OFF");
        fast.expect("set");
        database.execute(TABLE, []).expect("a table");
        let database = Mutex::new(database);
        Self { database, dir }
    }

    /// A second connection to the same database.
    pub(crate) fn again(&self) -> Self {
        Self::open(Arc::clone(&self.dir))
    }

    pub(crate) fn break_it(&self) {
        let database = self.database().expect("the connection");
        database.execute("DROP TABLE rows", []).expect("dropped");
    }

    fn database(&self) -> Result<MutexGuard<'_, Connection>> {
        let database = self.database.lock();
        database.map_err(|_| "a thread panicked while it used the connection".into())
    }

    /// The file that is locked for a name.
    fn file(&self, name: &str) -> Result<File> {
        let mut file = "lock-".to_owned();
        for byte in name.bytes() {
            write!(file, "{byte:02x}")?;
        }
        let path = self.dir.path().join(file);
        Ok(File::options().create(true).append(true).open(path)?)
    }
}

#[async_trait]
impl Rows for Sqlite {
    type Lock = File;

    async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        let database = self.database()?;
        let mut query = database.prepare_cached("SELECT value FROM rows WHERE key = ?1")?;
        let value = query.query_row([key], |row| row.get::<_, Vec<u8>>(0));
        Ok(value.optional()?.map(Bytes::from))
    }

    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Bytes)>> {
        let database = self.database()?;
        let mut query = database.prepare_cached(SCAN)?;
        let rows = query.query_map([prefix], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        let rows = rows.map(|row| row.map(|(key, value)| (key, Bytes::from(value))));
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    async fn apply(&self, _: &File, changes: Vec<Change>) -> Result<()> {
        let mut database = self.database()?;
        let batch = database.transaction()?;
        for change in changes {
            match change {
                Change::Put(key, value) => batch.execute(
                    "INSERT OR REPLACE INTO rows VALUES (?1, ?2)",
                    params![key, &value[..]],
                ),
                Change::Remove(key) => batch.execute("DELETE FROM rows WHERE key = ?1", [key]),
                Change::RemoveAll(prefix) => batch.execute(
                    "DELETE FROM rows WHERE key >= ?1 AND substr(key, 1, length(?1)) = ?1",
                    [prefix],
                ),
            }?;
        }
        Ok(batch.commit()?)
    }

    async fn try_lock(&self, name: &str) -> Result<Option<File>> {
        let file = self.file(name)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    async fn lock(&self, name: &str) -> Result<File> {
        let file = self.file(name)?;
        let wait = move || file.lock().map(|()| file);
        Ok(tokio::task::spawn_blocking(wait).await??)
    }
}
