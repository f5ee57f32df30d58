//! Reading a database without writing a byte, also beside it: the directory cannot be written to, or must not be.
//!
//! What SQLite wants for that depends on what lies beside the file:
//!
//! ```text
//! -wal       -shm       the database is read
//! any        there      as any other connection does, with the locks of those that write to it now
//! not empty  not there  with an index of the log in memory, since it cannot be made as a file
//! empty      not there  as a file that does not change
//! ```
//!
//! Without locks nobody is kept from writing. So it is looked in the end whether somebody has; then what was read counts for
//! nothing, and the reader is told.
#![expect(clippy::disallowed_methods, reason = "opens the database, and looks at its files")]

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use crate::error::Error;

/// Where in a database it is said how its changes are kept, and what stands there if they are in a write-ahead log.
const FORMAT: (u64, u8) = (18, 2);

/// A database as it was found.
#[derive(Debug)]
pub(crate) struct Untouched {
    path: PathBuf,
    /// Its files as they were found, if nothing else says whether they change.
    found: Option<[Stamp; 2]>,
    /// Kept open: closing any descriptor of a file gives up all locks that this process has on it.
    _file: Option<File>,
}

/// What changes with a file: its number, size and time. Nothing of one that is not there.
type Stamp = Option<(u64, u64, i64, i64)>;

/// How to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// With locks.
    Locking,
    /// With the log, by an index in memory.
    Log,
    /// The file alone.
    Alone,
}

/// Opens the database at `path`.
pub(crate) fn connect(path: &Path) -> Result<(Connection, Untouched), rusqlite::Error> {
    let file = File::open(path).ok();
    let found = [stamp(path), stamp(&beside(path, "-wal"))];
    let has_log = found[1].is_some_and(|(_, size, ..)| size > 0);
    let has_index = stamp(&beside(path, "-shm")).is_some() && found[1].is_some();
    let without = if has_log { Way::Log } else { Way::Alone };
    let first = if has_index || !has_log && !keeps_log(file.as_ref()) { Way::Locking } else { without };
    let (connection, way) = match open(path, first) {
        // Whoever has made that index is gone, or has left too little in it for those who only read.
        Err(error) if first == Way::Locking && is_closed(&error) => (open(path, without)?, without),
        result => (result?, first),
    };
    let found = (way != Way::Locking).then_some(found);
    Ok((connection, Untouched { path: path.to_owned(), found, _file: file }))
}

impl Untouched {
    /// Looks whether what was read until now was one state of the database.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let now = || [stamp(&self.path), stamp(&beside(&self.path, "-wal"))];
        match self.found {
            Some(found) if found != now() => Err(Error::ChangedMeanwhile { path: self.path.clone() }),
            _ => Ok(()),
        }
    }
}

fn open(path: &Path, way: Way) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match way {
        Way::Locking => Connection::open_with_flags(uri(path, "readonly_shm=1"), flags),
        // Locks of files cannot be had for writing, as which this index takes them; so it is told that there are none.
        Way::Log => Connection::open_with_flags_and_vfs(uri(path, "mode=ro"), flags, c"unix-none"),
        Way::Alone => Connection::open_with_flags(uri(path, "immutable=1"), flags),
    }?;
    if way == Way::Log {
        connection.pragma_update(None, "locking_mode", "exclusive")?;
    }
    // Until something is read nothing is opened.
    connection.query_row("select count(*) from sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// Whether it is the way that fails, not the database.
fn is_closed(error: &rusqlite::Error) -> bool {
    let extended = error.sqlite_error().map(|error| error.extended_code);
    let code = error.sqlite_error_code();
    code == Some(ErrorCode::CannotOpen)
        || code == Some(ErrorCode::ReadOnly) && extended != Some(ffi::SQLITE_READONLY_ROLLBACK)
}

fn keeps_log(file: Option<&File>) -> bool {
    let mut format = [0];
    file.is_some_and(|file| file.read_exact_at(&mut format, FORMAT.0).is_ok()) && format[0] == FORMAT.1
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

/// Names may have any bytes but zero, those that mean something in an address are written by their numbers.
fn uri(path: &Path, option: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    let bytes = path.as_os_str().as_bytes().iter();
    let name: String = bytes
        .map(|byte| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02x}") })
        .collect();
    format!("file:{name}?{option}")
}
