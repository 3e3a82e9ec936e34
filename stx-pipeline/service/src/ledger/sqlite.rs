//! The ledger in a database of `SQLite`.
//!
//! One table holds the entries of the [`State`], another one the ended requests, each as JSON (`schema.sql`). A new field of
//! these types needs a default, for rows without it; unknown fields are ignored. Any other change of their JSON needs a new
//! version of the schema. Only [`State::apply`] knows the meaning of a change: after it, the entries that the change names are
//! written. Changes themselves are not stored, so that a later version can give them another meaning and still read old
//! ledgers.

mod load;
mod store;
#[cfg(test)]
mod tests;

use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use stx_layout::Channel;

use super::{Change, Filed, FiledVerdict, Ledger, LedgerError, State};

/// The statements that upgrade version 1 of the schema to 2, and 2 to 3.
const UPGRADES: [&str; 2] = [include_str!("schema-2.sql"), include_str!("schema-3.sql")];

/// A ledger in a file.
#[derive(Debug)]
pub struct SqliteLedger {
    db: Connection,
    file: Utf8PathBuf,
    /// The device and inode of the file and of its `-wal`, as opened for writing; `None` for a reader and without a file.
    opened: Option<[(u64, u64); 2]>,
    state: State,
    /// True if the state in memory may be ahead of the file.
    doubtful: bool,
}

impl SqliteLedger {
    /// The version of the schema that this program writes.
    pub const SCHEMA: u32 = 4;

    /// Opens the ledger in `file` for writing. Creates it if it does not exist, and upgrades an older schema.
    ///
    /// # Errors
    /// See [`LedgerError`]; a newer schema is refused and left unchanged.
    pub fn open(file: &Utf8Path) -> Result<Self, LedgerError> {
        let db = Connection::open(file).map_err(io("open"))?;
        let set =
            |name: &str, value: &str| db.pragma_update(None, name, value).map_err(io("set it up"));
        set("journal_mode", "WAL")?;
        set("synchronous", "FULL")?;
        let mut ledger = Self::with(db, file)?;
        ledger.migrate()?;
        ledger.state = load::state(&ledger.db)?;
        ledger.opened = match ledger.found() {
            Ok(found) => Some(found),
            // A database in memory, by its URI, has no file.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(unavailable("open")(error)),
        };
        Ok(ledger)
    }

    /// Opens the ledger in `file` for reading, with its current contents.
    ///
    /// # Errors
    /// See [`LedgerError`]; a missing file is an error, and so is another version of the schema.
    pub fn read(file: &Utf8Path) -> Result<Self, LedgerError> {
        let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .map_err(io("open"))?;
        db.pragma_update(None, "query_only", "ON")
            .map_err(io("set it up"))?;
        let mut ledger = Self::with(db, file)?;
        let version = ledger.version()?;
        if version != Self::SCHEMA {
            return Err(ledger.wrong_version(version));
        }
        // One transaction, so that all reads see the same state.
        let snapshot = ledger.db.unchecked_transaction().map_err(io("read"))?;
        let state = load::state(&snapshot)?;
        drop(snapshot);
        ledger.state = state;
        Ok(ledger)
    }

    /// Limits the size of the file to this number of pages.
    #[cfg(test)]
    pub(super) fn limit_pages(&self, pages: u32) {
        let set = self
            .db
            .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()));
        set.expect("a limit");
    }

    fn with(db: Connection, file: &Utf8Path) -> Result<Self, LedgerError> {
        db.busy_timeout(std::time::Duration::from_secs(10))
            .map_err(io("set it up"))?;
        Ok(Self {
            db,
            file: file.to_owned(),
            opened: None,
            state: State::default(),
            doubtful: false,
        })
    }

    /// The device and inode of the file at the ledger's path, and of its `-wal`.
    fn found(&self) -> std::io::Result<[(u64, u64); 2]> {
        let at = |file: &str| {
            let found = fs_err::metadata(file)?;
            std::io::Result::Ok((found.dev(), found.ino()))
        };
        Ok([at(self.file.as_str())?, at(&format!("{}-wal", self.file))?])
    }

    fn version(&self) -> Result<u32, LedgerError> {
        self.db
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(io("read its version"))
    }

    fn wrong_version(&self, found: u32) -> LedgerError {
        if found > Self::SCHEMA {
            return LedgerError::TooNew {
                file: self.file.to_string(),
                found,
                known: Self::SCHEMA,
            };
        }
        LedgerError::TooOld {
            file: self.file.to_string(),
            found,
        }
    }

    fn migrate(&mut self) -> Result<(), LedgerError> {
        let version = self.version()?;
        if version > Self::SCHEMA {
            return Err(self.wrong_version(version));
        }
        if version == Self::SCHEMA {
            return Ok(());
        }
        let step = self.db.transaction().map_err(io("migrate"))?;
        let run = |statements| step.execute_batch(statements).map_err(io("migrate"));
        if version > 0 {
            let done = version as usize - 1;
            UPGRADES.into_iter().skip(done).try_for_each(run)?;
            load::check_version_3(&step)?;
        }
        run(include_str!("schema.sql"))?;
        if version > 0 {
            run(include_str!("from-3.sql"))?;
            // Check the new rows before the old ones are lost.
            load::state(&step)?;
            load::history(&step, None, usize::MAX)?;
            load::verdicts(&step, None, usize::MAX)?;
        }
        step.pragma_update(None, "user_version", Self::SCHEMA)
            .map_err(io("migrate"))?;
        step.commit().map_err(io("migrate"))
    }

    /// Applies the changes to the state and in a transaction, which is committed if all succeed.
    fn write(&mut self, changes: &[Change]) -> Result<(), LedgerError> {
        let transaction = self.db.transaction().map_err(io("write"))?;
        for change in changes {
            let done = self.state.apply(change)?;
            store::change(&transaction, &self.state, change, done)?;
        }
        store::entry(&transaction, "last_id", "", Some(&self.state.last_id))?;
        transaction.commit().map_err(io("write"))
    }
}

impl Ledger for SqliteLedger {
    fn state(&self) -> &State {
        &self.state
    }

    fn check(&self) -> Result<(), LedgerError> {
        let Some(opened) = self.opened else {
            return Ok(());
        };
        // SQLite would continue to write into the moved or removed files, and the next start would not find what was written.
        match self.found() {
            Ok(found) if found == opened => Ok(()),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(unavailable("write")(error))
            }
            Ok(_) | Err(_) => {
                let moved = Moved {
                    file: self.file.clone(),
                };
                Err(unavailable("write")(moved))
            }
        }
    }

    fn record(&mut self, changes: &[Change]) -> Result<(), LedgerError> {
        self.check()?;
        if self.doubtful {
            self.state = load::state(&self.db)?;
        }
        self.doubtful = true;
        let written = self.write(changes);
        if written.is_err() {
            // Discard the changes that were not written.
            self.state = load::state(&self.db)?;
        }
        self.doubtful = false;
        written
    }

    fn history(&self, channel: Option<&Channel>, limit: usize) -> Result<Vec<Filed>, LedgerError> {
        // One transaction, so that all reads see the same state.
        let snapshot = self.db.unchecked_transaction().map_err(io("read"))?;
        load::history(&snapshot, channel, limit)
    }

    fn verdicts(
        &self,
        channel: Option<&Channel>,
        limit: usize,
    ) -> Result<Vec<FiledVerdict>, LedgerError> {
        let snapshot = self.db.unchecked_transaction().map_err(io("read"))?;
        load::verdicts(&snapshot, channel, limit)
    }
}

/// The file at the ledger's path is not the open one.
#[derive(Debug, thiserror::Error)]
#[error(
    "{file} or its -wal file was moved, removed or replaced while the service runs; move the same files back, or restart the service"
)]
struct Moved {
    file: Utf8PathBuf,
}

fn unavailable<E: std::error::Error + Send + Sync + 'static>(
    op: &'static str,
) -> impl Fn(E) -> LedgerError {
    move |error| LedgerError::Unavailable {
        op,
        source: Box::new(error),
    }
}

/// The error of an operation on the database.
fn io(op: &'static str) -> impl Fn(rusqlite::Error) -> LedgerError {
    move |error| {
        let passes = passes(&error);
        let source = Box::new(error);
        if passes {
            LedgerError::Unavailable { op, source }
        } else {
            LedgerError::Io { op, source }
        }
    }
}

/// True if an error may pass by itself, or after an operator repairs the disk.
fn passes(error: &rusqlite::Error) -> bool {
    let rusqlite::Error::SqliteFailure(found, _) = error else {
        return false;
    };
    match found.code {
        // Besides a full disk, a used-up quota is a write error, and so is a shared index that cannot grow.
        ErrorCode::DiskFull
        | ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        // The owner of the file is wrong, or Linux has made the file system read-only after an error of the disk.
        | ErrorCode::ReadOnly
        | ErrorCode::CannotOpen
        | ErrorCode::PermissionDenied => true,
        ErrorCode::SystemIoFailure => found.extended_code != ffi::SQLITE_IOERR_CORRUPTFS,
        _ => false,
    }
}
