//! Opening the database, and transactions.
#![expect(clippy::disallowed_methods, reason = "the one module that opens the database")]

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ffi::{SQLITE_IOERR_SHMSIZE, SQLITE_READONLY_ROLLBACK};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use store_path::StoreDir;

use crate::error::{Cause, Error};
use crate::older;
use crate::schema::SCHEMA;
use crate::untouched::{self, Untouched};
use crate::waiting::{Patience, wait_for_others};
use crate::write::Transaction;

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
    access: Access,
}

/// What may be done by way of a connection.
#[derive(Debug)]
enum Access {
    Write,
    Read,
    /// Also no byte may be written beside it.
    Untouched(Untouched),
}

impl Db {
    /// Opens the database at `path`, whose rows name paths in `store_dir`; makes it when it is not there.
    ///
    /// One with an older schema is left as it is, see [`Db::upgrade`].
    pub fn open(path: &Path, store_dir: StoreDir, options: Options) -> Result<Self, Error> {
        let failed = |source| failed_to_open(path, source);
        let mut connection = connect(path).map_err(failed)?;
        configure(&mut connection, path, options).map_err(failed)?;
        create_tables(&connection).map_err(failed)?;
        Ok(Self { connection, path: path.to_owned(), store_dir, access: Access::Write })
    }

    /// Opens the database at `path`, which is there, for questions only; its schema may be an older one.
    ///
    /// Nothing is made, but for the index of the write-ahead log if nobody else has the database open.
    pub fn open_to_read(path: &Path, store_dir: StoreDir) -> Result<Self, Error> {
        let connection = connect_to_read(path).map_err(|source| failed_to_open(path, source))?;
        Self::reading(connection, path, store_dir, Access::Read)
    }

    /// Opens the database at `path` without writing a byte, there or beside it, for questions only; its schema may be an
    /// older one.
    ///
    /// What is in its write-ahead log is read, too. Where nothing keeps others from changing it meanwhile,
    /// [`Db::check_unchanged`] tells whether they have.
    pub fn open_untouched(path: &Path, store_dir: StoreDir) -> Result<Self, Error> {
        let (connection, files) = untouched::connect(path).map_err(|source| match is_half_done(&source) {
            true => Error::HalfDone { path: path.to_owned() },
            false => failed_to_open(path, source),
        })?;
        Self::reading(connection, path, store_dir, Access::Untouched(files))
    }

    fn reading(
        mut connection: Connection,
        path: &Path,
        store_dir: StoreDir,
        access: Access,
    ) -> Result<Self, Error> {
        let failed = |source| failed_to_open(path, source);
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        wait_for_others(&mut connection, path, Patience::default()).map_err(failed)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB).map_err(failed)?;
        connection.pragma_update(None, "temp_store", "memory").map_err(failed)?;
        older::stand_in(&connection).map_err(failed)?;
        connection.pragma_update(None, "query_only", true).map_err(failed)?;
        Ok(Self { connection, path: path.to_owned(), store_dir, access })
    }

    /// Waits for others with that patience from now on.
    pub fn with_patience(mut self, patience: Patience) -> Result<Self, Error> {
        let result = wait_for_others(&mut self.connection, &self.path, patience);
        result.map_err(|source| failed_to_open(&self.path, source))?;
        Ok(self)
    }

    /// Brings a schema of Nix from the number 6 on up to the one of now, in one transaction.
    ///
    /// What is there is looked at, not which number it should have; so it does no harm where nothing is to be done, and
    /// whoever was killed on the way has left what can be brought up to date.
    pub fn upgrade(&mut self) -> Result<(), Error> {
        self.transaction(|transaction| transaction.upgrade())
    }

    /// Whether the schema lacks nothing.
    pub fn is_current(&self) -> Result<bool, Error> {
        older::lacks_nothing(&self.connection).map_err(self.failed("look at the schema"))
    }

    /// Looks whether what was read until now was one state of the database.
    ///
    /// # Errors
    /// [`Error::ChangedMeanwhile`] if somebody has changed a database that was read without locks.
    pub fn check_unchanged(&self) -> Result<(), Error> {
        match &self.access {
            Access::Untouched(files) => files.check(),
            Access::Write | Access::Read => Ok(()),
        }
    }

    /// Runs `work` and commits what it did, or rolls it back when it fails.
    ///
    /// The write lock is taken at the start: a transaction that read first could find, on its first write,
    /// that what it read is out of date, and no waiting would help then.
    pub fn transaction<T, E: From<Error>>(
        &mut self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        if !matches!(self.access, Access::Write) {
            return Err(Error::ReadOnly { path: self.path.clone() }.into());
        }
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

pub(crate) fn failed_to_open(path: &Path, source: rusqlite::Error) -> Error {
    match statement("read", path, source) {
        Error::Statement { path, source, .. } => Error::Open { path, source },
        other => other,
    }
}

pub(crate) fn statement(action: &'static str, path: &Path, source: rusqlite::Error) -> Error {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy) => Error::Busy { path },
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            // Its text says the same twice.
            Error::Damaged { action, path, source: message(&source).into() }
        }
        _ => Error::Statement { action, path, source: cause(source) },
    }
}

fn message(source: &rusqlite::Error) -> String {
    match source {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        other => other.to_string(),
    }
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

/// Opens a database that is there for questions only; by the log, which other processes may write, not read-only.
pub(crate) fn connect_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

/// Whether a change was begun in place that only a writer can undo.
fn is_half_done(source: &rusqlite::Error) -> bool {
    source.sqlite_error().is_some_and(|error| error.extended_code == SQLITE_READONLY_ROLLBACK)
}

/// Nothing of it reads more than the first page and the schema.
fn configure(connection: &mut Connection, path: &Path, options: Options) -> rusqlite::Result<()> {
    configure_writes(connection, path, options)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // What an undone attempt needs to be undone is never large, and no use after a crash.
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)
}

/// Lets statements wait for other processes, be compiled once, and be as durable as it is wanted.
pub(crate) fn configure_writes(
    connection: &mut Connection,
    path: &Path,
    options: Options,
) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    wait_for_others(connection, path, Patience::default())?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "synchronous", if options.synchronous { "full" } else { "off" })?;
    set_journal(connection, if options.wal { "wal" } else { "truncate" })
}

/// Changes the journal when it differs and nobody else uses the database, which the change needs for itself.
fn set_journal(connection: &Connection, wanted: &str) -> rusqlite::Result<()> {
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
