//! Which schema the database has, as the file beside it says it, and how an older one becomes the one of now.
//!
//! Nix's rules: whoever has a store open holds `big-lock` shared, whoever upgrades holds it alone. The database is changed in
//! one transaction and the file written after that. A process that is killed between the two leaves a database that is
//! newer than its file says, which the next one finds to need nothing more.
#![expect(clippy::disallowed_methods, reason = "the schema is a file; waits for whoever has the store open")]

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::process::Pid;
use store_db::Db;

use crate::error::Error;
use crate::failpoint;
use crate::location::Location;
use crate::locker::locker;
use crate::open_file::{lock, open_lock_file, remove_file, try_lock};
use crate::store::Options;
use crate::sweep::{is_dead, list};

/// The schema that is written, as its `schema` file says it: without a line end.
const SCHEMA: u32 = 10;

/// The first one whose database is in SQLite.
const OLDEST: u32 = 6;

/// Of what is no number, so many characters are told.
const SHOWN: usize = 40;

/// How long it is waited for others to close the store.
const PATIENCE: Duration = Duration::from_secs(600);

/// After how long somebody is told.
const QUIET: Duration = Duration::from_secs(3);

/// How often it is looked whether they have.
const STEP: Duration = Duration::from_millis(50);

/// A store that is open, in a schema that can be worked with.
pub(crate) struct Entered {
    /// `big-lock`, shared.
    pub(crate) lock: File,
    /// Which schema it had before, if it was upgraded.
    pub(crate) before: Option<u32>,
}

/// Locks the store against upgrades, and upgrades it before if it is an older one, or makes the database.
pub(crate) fn enter(
    location: &Location,
    options: &Options,
    connect: impl Fn() -> Result<Db, Error>,
) -> Result<Entered, Error> {
    let path = location.databases().join("big-lock");
    let file = open_lock_file(&path)?;
    let mut waited = Duration::ZERO;
    loop {
        lock(&file, &path, FlockOperation::LockShared)?;
        failpoint::reach("open.locked")?;
        refuse_lost(location)?;
        if is_ready(location, &connect)? {
            return Ok(Entered { lock: file, before: None });
        }
        lock(&file, &path, FlockOperation::Unlock)?;
        if try_lock(&file, &path, FlockOperation::NonBlockingLockExclusive)? {
            let before = upgrade(location, &connect)?;
            lock(&file, &path, FlockOperation::LockShared)?;
            return Ok(Entered { lock: file, before });
        }
        if waited >= PATIENCE {
            return Err(Error::Locked { holder: locker(&path), path });
        }
        sleep(STEP);
        if waited < QUIET && waited + STEP >= QUIET {
            options.tell_locked.inspect(|tell| tell(&path));
        }
        waited += STEP;
    }
}

/// Returns the number of the schema, if there is a database that can be read.
pub(crate) fn known(location: &Location) -> Result<Option<u32>, Error> {
    let directory = location.databases();
    let path = directory.join("schema");
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.map_err(Error::file("read", &path))?,
    };
    let text = String::from_utf8_lossy(&text);
    let found = text.trim();
    if found.is_empty() {
        // Nix does not sync it, so a power cut may leave it so. The database says by itself what it is.
        return Ok(None);
    }
    match found.parse() {
        Ok(number @ OLDEST..=SCHEMA) => Ok(Some(number)),
        Ok(number) if number > SCHEMA => Err(Error::NewerSchema { directory, found: number, known: SCHEMA }),
        Ok(_) => Err(Error::OlderSchema { directory, found: found.to_owned(), oldest: OLDEST }),
        Err(_) => {
            let found = found.chars().take(SHOWN).flat_map(char::escape_debug).collect();
            Err(Error::BadSchema { path, found })
        }
    }
}

/// Refuses a store whose database somebody has lost: a new one would know none of the paths, and all of them were garbage.
pub(crate) fn refuse_lost(location: &Location) -> Result<(), Error> {
    let path = location.database();
    let is_lost = match fs::metadata(&path) {
        Ok(metadata) => metadata.len() == 0,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if is_lost && known(location)?.is_some() { Err(Error::LostDatabase { path }) } else { Ok(()) }
}

/// Makes a database that nobody has made yet. Whoever comes at the same time does the same, which does no harm.
fn is_ready(location: &Location, connect: impl Fn() -> Result<Db, Error>) -> Result<bool, Error> {
    match known(location)? {
        // Several may have made a new store at once, of whom one was the first.
        Some(SCHEMA) => remove_half_made(&location.databases()).map(|()| true),
        Some(_) => Ok(false),
        // A store that is being made, or one whose file somebody has lost.
        None if connect()?.is_current()? => {
            failpoint::reach("open.tables")?;
            write(location).map(|()| true)
        }
        None => Ok(false),
    }
}

/// Returns the schema of before, unless somebody else has just upgraded it.
fn upgrade(location: &Location, connect: impl Fn() -> Result<Db, Error>) -> Result<Option<u32>, Error> {
    let found = known(location)?;
    if found == Some(SCHEMA) {
        return Ok(None);
    }
    failpoint::reach("migrate.locked")?;
    connect()?.upgrade()?;
    failpoint::reach("migrate.upgraded")?;
    write(location)?;
    Ok(Some(found.unwrap_or(OLDEST)))
}

/// Writes the file aside and renames it: nobody ever sees it empty, and once it is there it stays there.
fn write(location: &Location) -> Result<(), Error> {
    let directory = location.databases();
    let (path, aside) = (directory.join("schema"), directory.join(format!("schema.{}", std::process::id())));
    let written = write_synced(&aside, SCHEMA.to_string().as_bytes())
        .map_err(Error::file("write", &aside))
        .and_then(|()| failpoint::reach("open.schema-written"))
        .and_then(|()| fs::rename(&aside, &path).map_err(Error::file("write", &path)));
    written.inspect_err(|_| drop(fs::remove_file(&aside)))?;
    remove_half_made(&directory)?;
    failpoint::reach("open.schema")?;
    let sync = || File::open(&directory)?.sync_all();
    sync().map_err(Error::file("sync", &directory))
}

/// Removes what processes had written aside that have died before they could rename it.
fn remove_half_made(database: &Path) -> Result<(), Error> {
    let is_left = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str);
        let process = name.and_then(|name| name.strip_prefix("schema.")?.parse().ok());
        process.and_then(Pid::from_raw).is_some_and(is_dead)
    };
    list(database)?.iter().filter(|path| is_left(path)).try_for_each(|path| remove_file(path))
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::LocalStore;
    use crate::store::tests::{placed, scratch_store, some_path};
    use test_support::Scratch;

    fn schema(location: &Location) -> String {
        fs::read_to_string(location.databases().join("schema")).unwrap()
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for (found, told) in
            [("11\n", "has schema 11, made by a later Nix"), ("5", "schemas from 6 on"), ("x", "says `x`")]
        {
            let scratch = Scratch::new();
            let location = Location::below(scratch.path());
            fs::create_dir_all(location.databases()).unwrap();
            fs::write(location.databases().join("schema"), found).unwrap();
            let error = LocalStore::open(location.clone(), Options::default()).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
            let error =
                LocalStore::open_to_read(location.clone(), Options::default()).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
            assert_eq!(schema(&location), found, "nothing was changed");
        }
    }

    #[test]
    fn an_older_one_is_brought_up_to_date_by_whoever_writes() {
        let (_scratch, store) = scratch_store();
        store.register(&[placed(&store, "a", &[])]).unwrap();
        let location = store.location().clone();
        drop(store);
        fs::write(location.databases().join("schema"), "7").unwrap();
        let reader = LocalStore::open_to_read(location.clone(), Options::default()).unwrap().unwrap();
        assert!(reader.is_valid(&some_path("a")).unwrap());
        assert_eq!(schema(&location), "7");
        drop(reader);
        let store = LocalStore::open(location.clone(), Options::default()).unwrap();
        assert_eq!((store.schema_before(), schema(&location).as_str()), (Some(7), "10"));
        drop(store);
        let store = LocalStore::open(location, Options::default()).unwrap();
        assert_eq!(store.schema_before(), None);
        assert!(store.is_valid(&some_path("a")).unwrap());
    }

    #[test]
    fn whoever_removes_a_damaged_schema_file_goes_on() {
        let (_scratch, store) = scratch_store();
        store.register(&[placed(&store, "a", &[])]).unwrap();
        let location = store.location().clone();
        drop(store);
        let file = location.databases().join("schema");
        for garbage in [&b"\xff\x00\x1b[2J garbage"[..], b"10x", b"-3", b"99999999999"] {
            fs::write(&file, garbage).unwrap();
            let error = LocalStore::open(location.clone(), Options::default()).unwrap_err();
            assert!(matches!(error, Error::BadSchema { .. }), "{error}");
            let told = error.to_string();
            assert!(told.contains("remove that file") && !told.contains('\x1b'), "{told}");
            fs::remove_file(&file).unwrap();
            let store = LocalStore::open(location.clone(), Options::default()).unwrap();
            assert!(store.is_valid(&some_path("a")).unwrap() && schema(&location) == "10");
        }
    }

    #[test]
    fn no_database_takes_the_place_of_a_lost_one() {
        let (_scratch, store) = scratch_store();
        let location = store.location().clone();
        store.register(&[placed(&store, "a", &[])]).unwrap();
        drop(store);
        let kept = fs::read(location.database()).unwrap();
        for lose in [|file: &Path| fs::remove_file(file), |file: &Path| fs::write(file, "")] {
            lose(&location.database()).unwrap();
            let error = LocalStore::open(location.clone(), Options::default()).unwrap_err();
            assert!(matches!(error, Error::LostDatabase { .. }), "{error}");
            let error = LocalStore::open_to_read(location.clone(), Options::default()).unwrap_err();
            assert!(matches!(error, Error::LostDatabase { .. }), "{error}");
        }
        fs::write(location.database(), kept).unwrap();
        LocalStore::open(location, Options::default()).unwrap();
    }

    #[test]
    fn a_database_whose_schema_file_was_lost_is_looked_at() {
        let (_scratch, store) = scratch_store();
        let location = store.location().clone();
        store.register(&[placed(&store, "a", &[])]).unwrap();
        drop(store);
        // As a power cut leaves what Nix has written.
        fs::write(location.databases().join("schema"), "").unwrap();
        drop(LocalStore::open(location.clone(), Options::default()).unwrap());
        assert_eq!(schema(&location), "10");
        fs::remove_file(location.databases().join("schema")).unwrap();
        let reader = LocalStore::open_to_read(location.clone(), Options::default()).unwrap().unwrap();
        assert!(reader.is_valid(&some_path("a")).unwrap());
        // Although somebody has it open.
        let store = LocalStore::open(location.clone(), Options::default()).unwrap();
        assert!(store.is_valid(&some_path("a")).unwrap());
        assert_eq!(schema(&location), "10");
    }
}
