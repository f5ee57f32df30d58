//! Opening the database, and transactions.
#![expect(clippy::disallowed_methods, reason = "the one module that opens the database")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use store_path::StoreDir;

use crate::error::{Cause, Error};
use crate::schema::SCHEMA;
use crate::write::Transaction;

/// How long another process may keep the database locked before a statement gives up.
///
/// Writers hold it for milliseconds and a dead process holds nothing, so only a stopped one gets here.
const PATIENCE: Duration = Duration::from_secs(600);

/// More than there are statements in this crate, so that each is compiled once per connection.
const CACHED_STATEMENTS: usize = 64;

/// The write-ahead log is folded back after that many pages, as in Nix: rarely, since it takes an fsync.
const CHECKPOINT_PAGES: i64 = 40_000;

/// What the caller means to do with the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Queries only; neither the file nor its journal is written.
    ReadOnly,
    /// Queries and transactions on a database that exists.
    ReadWrite,
    /// As [`Access::ReadWrite`], after making the file and whatever the schema lacks.
    Create,
}

/// How to open a database.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What the caller means to do.
    pub access: Access,
    /// Keep a write-ahead log (setting `use-sqlite-wal`): readers and the writer do not wait for each other.
    pub wal: bool,
    /// Survive a power cut (setting `fsync-metadata`).
    pub synchronous: bool,
}

/// One connection to the database of a store.
///
/// A connection belongs to one thread at a time; several, also of several processes, may be open at once.
#[derive(Debug)]
pub struct Db {
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
    pub(crate) store_dir: StoreDir,
}

impl Db {
    /// Opens the database at `path`, whose rows name paths in `store_dir`.
    pub fn open(path: &Path, store_dir: StoreDir, options: Options) -> Result<Self, Error> {
        let failed = |source: rusqlite::Error| Error::Open { path: path.to_owned(), source: source.into() };
        let connection = connect(path, options.access).map_err(failed)?;
        configure(&connection, options).map_err(failed)?;
        Ok(Self { connection, path: path.to_owned(), store_dir })
    }

    /// Runs `work` and commits what it did, or rolls it back when it fails.
    ///
    /// The write lock is taken at the start: a transaction that read first could find, on its first write,
    /// that what it read is out of date, and no waiting would help then.
    pub fn transaction<T, E: From<Error>>(
        &mut self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let inner = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|source| statement("begin a transaction", &self.path, source))?;
        let mut transaction = Transaction::new(inner, &self.path, &self.store_dir);
        let value = work(&mut transaction)?;
        transaction.commit()?;
        Ok(value)
    }

    pub(crate) fn failed(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> Error + '_ {
        move |source| statement(action, &self.path, source)
    }
}

pub(crate) fn statement(action: &'static str, path: &Path, source: rusqlite::Error) -> Error {
    Error::Statement { action, path: path.to_owned(), source: Cause::from(source) }
}

fn connect(path: &Path, access: Access) -> rusqlite::Result<Connection> {
    let mode = match access {
        Access::ReadOnly => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Access::ReadWrite => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Access::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    };
    // The caller keeps a connection on one thread at a time, so SQLite needs no lock of its own.
    Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

fn configure(connection: &Connection, options: Options) -> rusqlite::Result<()> {
    connection.busy_timeout(PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "synchronous", if options.synchronous { "normal" } else { "off" })?;
    if options.access == Access::ReadOnly {
        // The first statement that reads the file: a file that is no database is refused now, not later.
        return connection.query_row("select count(*) from sqlite_schema", [], |_| Ok(()));
    }
    set_journal(connection, if options.wal { "wal" } else { "truncate" })?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    if options.access == Access::Create {
        connection.execute_batch(&format!("begin immediate;\n{SCHEMA}commit;"))?;
    }
    Ok(())
}

/// Changes the journal only when it differs: the change needs the database for itself.
fn set_journal(connection: &Connection, wanted: &str) -> rusqlite::Result<()> {
    let present: String = connection.query_row("pragma main.journal_mode", [], |row| row.get(0))?;
    if present != wanted {
        connection.pragma_update(Some("main"), "journal_mode", wanted)?;
    }
    Ok(())
}
