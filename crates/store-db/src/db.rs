//! Opening the database, and transactions.
#![expect(clippy::disallowed_methods, reason = "the one module that opens the database")]

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
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

/// How to open a database.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Keep a write-ahead log (setting `use-sqlite-wal`): readers and the writer do not wait for each other.
    pub wal: bool,
    /// Survive a power cut (setting `fsync-metadata`).
    pub synchronous: bool,
}

/// How much of the database a connection keeps in memory at most, in KiB.
///
/// A transaction over thousands of paths touches all indexes all over. With SQLite's 2 MiB it writes the same
/// pages to the log again and again.
const CACHE_KIB: i64 = 32 << 10;

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
    /// Opens the database at `path`, whose rows name paths in `store_dir`; makes it when it is not there.
    pub fn open(path: &Path, store_dir: StoreDir, options: Options) -> Result<Self, Error> {
        let failed = |source: rusqlite::Error| Error::Open { path: path.to_owned(), source: cause(source) };
        let connection = connect(path).map_err(failed)?;
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

    /// Does the same, and returns only when it has survived a power cut, if the database does at all.
    ///
    /// In write-ahead mode a commit may be lost together with all that come after it. Whoever does something that
    /// must not come before it, as removing files, cannot wait for the next checkpoint.
    pub fn transaction_on_disk<T, E: From<Error>>(
        &mut self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let set = |database: &Self, value: &str| {
            let result = database.connection.pragma_update(None, "synchronous", value);
            result.map_err(database.failed("change how the disk is waited for"))
        };
        let before: i64 = self
            .connection
            .query_row("pragma synchronous", [], |row| row.get(0))
            .map_err(self.failed("see how the disk is waited for"))?;
        if before == 0 {
            return self.transaction(work);
        }
        set(self, "full")?;
        let result = self.transaction(work);
        set(self, "normal")?;
        result
    }

    pub(crate) fn failed(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> Error + '_ {
        move |source| statement(action, &self.path, source)
    }
}

pub(crate) fn statement(action: &'static str, path: &Path, source: rusqlite::Error) -> Error {
    Error::Statement { action, path: path.to_owned(), source: cause(source) }
}

/// A full disk is told as the system tells it, since callers know what to do about that.
pub(crate) fn cause(source: rusqlite::Error) -> Cause {
    let no_room_for_index =
        source.sqlite_error().is_some_and(|error| error.extended_code == SQLITE_IOERR_SHMSIZE);
    match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => io::Error::new(io::ErrorKind::StorageFull, source).into(),
        Some(_) if no_room_for_index => io::Error::new(io::ErrorKind::StorageFull, source).into(),
        _ => source.into(),
    }
}

pub(crate) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // The caller keeps a connection on one thread at a time, so SQLite needs no lock of its own.
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

/// Lets statements wait for other processes, and be compiled once.
pub(crate) fn wait_for_others(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    connection.busy_timeout(PATIENCE)
}

fn configure(connection: &Connection, options: Options) -> rusqlite::Result<()> {
    wait_for_others(connection)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "synchronous", if options.synchronous { "normal" } else { "off" })?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // What an undone attempt needs to be undone is never large, and no use after a crash.
    connection.pragma_update(None, "temp_store", "memory")?;
    set_journal(connection, if options.wal { "wal" } else { "truncate" })?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    create_tables(connection)
}

/// Changes the journal when it differs and nobody else uses the database, which the change needs for itself.
pub(crate) fn set_journal(connection: &Connection, wanted: &str) -> rusqlite::Result<()> {
    let present: String = connection.query_row("pragma main.journal_mode", [], |row| row.get(0))?;
    if present == wanted {
        return Ok(());
    }
    match connection.pragma_update(Some("main"), "journal_mode", wanted) {
        // Any journal is right, as long as all use the same: the next to come first will change it.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(()),
        result => result,
    }
}

/// Makes the tables in one transaction, only when there are none: looking takes no lock that others wait for.
fn create_tables(connection: &Connection) -> rusqlite::Result<()> {
    let made = "select exists (select 1 from sqlite_schema where name = 'ValidPaths')";
    if connection.query_row(made, [], |row| row.get(0))? {
        return Ok(());
    }
    connection.execute_batch(&format!("begin immediate;\n{SCHEMA}commit;"))
}
