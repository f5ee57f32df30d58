//! The store itself: its connections and its locks.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use binary_cache::SecretKey;
use store_db::{Db, Patience, Records};
use store_path::{StoreDir, StorePath};

use crate::commit::Commits;
use crate::error::Error;
use crate::layout;
use crate::location::Location;
use crate::locker::locker;
use crate::open_file::open_shared;
use crate::running::{self, Owner};
use crate::schema;
use crate::scratch::Scratches;
use crate::sweep::{self, Users};
use crate::temp_roots::TempRoots;
use crate::writable::{self, Obstacle};

/// How much is done so that nothing is lost.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Sync files before the database says that they are valid (setting `fsync-store-paths`).
    pub fsync_store_paths: bool,
    /// Sync the database (setting `fsync-metadata`).
    pub fsync_metadata: bool,
    /// Keep a write-ahead log of the database (setting `use-sqlite-wal`).
    pub wal: bool,
    /// Write nothing, also where it can be written (setting `read-only`).
    pub read_only: bool,
    /// Who is told of it when a file has been locked by somebody else for seconds; [`locker`] finds out by whom.
    pub tell_locked: Option<fn(&Path)>,
    /// Link new files to equal ones before they are called valid (setting `auto-optimise-store`).
    pub auto_optimise_store: bool,
    /// How many bytes are kept for when the disk is full (setting `gc-reserved-space`).
    pub reserved_bytes: u64,
    /// Whether it is opened to delete something: the space that is reserved is given up first, and reserved once that is
    /// done.
    pub makes_room: bool,
}

/// What is done with an open store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Write,
    Read,
    /// Not a byte is written.
    ReadUntouched,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            fsync_store_paths: true,
            fsync_metadata: true,
            wal: true,
            read_only: false,
            tell_locked: None,
            auto_optimise_store: false,
            reserved_bytes: 8 << 20,
            makes_room: false,
        }
    }
}

/// A store on disk, to be shared by threads; processes share one by opening it each for itself.
#[derive(Debug)]
pub struct LocalStore {
    location: Location,
    pub(crate) options: Options,
    /// The store below, whose paths are valid here, too.
    pub(crate) lower: Option<Box<LocalStore>>,
    /// Connections not in use. There are never more than threads that asked at the same time.
    connections: Mutex<Vec<Db>>,
    pub(crate) commits: Commits,
    /// How paths were built; opened by the first who asks.
    pub(crate) records: Mutex<Option<Records>>,
    /// Dropped before the temporary roots, which keep collectors from them.
    pub(crate) scratches: Scratches,
    pub(crate) temp_roots: Mutex<Option<TempRoots>>,
    /// This process, once it is a builder.
    pub(crate) owner: OnceLock<Owner>,
    /// Numbers the names of what this process makes aside.
    pub(crate) next_number: AtomicU64,
    /// What signs that which is built.
    pub(crate) signers: Vec<SecretKey>,
    /// What could not be swept.
    left_over: Vec<Error>,
    pub(crate) usage: Use,
    /// Which schema the database had before it was opened, if an older one.
    schema_before: Option<u32>,
    /// Who has opened it. Neither SQLite nor locks of files bear being used by a process that was forked.
    process: u32,
    /// Held while the store is open: whoever upgrades the database waits for it. A store that cannot be written to may have
    /// none.
    _big_lock: Option<File>,
}

impl LocalStore {
    /// Opens the store at `location` to write to it: made when it is not there, brought up to date when an older Nix has
    /// made it. What killed builds left is swept.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] if it is there and cannot be written to.
    pub fn open(location: Location, options: Options) -> Result<Self, Error> {
        if options.read_only {
            return Err(Error::ReadOnly { path: location.real_store, why: Obstacle::Setting });
        }
        writable::check(&location)?;
        layout::prepare(&location)?;
        let mut store = Self::new(location, options, Use::Write)?;
        match options.makes_room {
            true => store.give_up_reserve()?,
            false => store.reserve(),
        }
        let entered = schema::enter(&store.location, &store.options, || store.connect())?;
        store._big_lock = Some(entered.lock);
        store.schema_before = entered.before;
        let mut users = Users::of(&store.location);
        // First what may be mounted on the others.
        store.left_over = sweep::sweep_scratch(&store.location, &mut users)?;
        store.left_over.extend(sweep::sweep(&store.location.builds(), &mut users)?);
        running::sweep(&store.location, &mut users)?;
        store.sweep_dead(&mut users)?;
        Ok(store)
    }

    /// Opens the store at `location` for questions only, if there is one.
    ///
    /// Nothing is made, swept or brought up to date. Where nothing can be written, or nothing may be
    /// ([`Options::read_only`]), not a byte is.
    pub fn open_to_read(location: Location, options: Options) -> Result<Option<Self>, Error> {
        // Whoever upgrades it is waited for.
        let big_lock = open_shared(&location.databases().join("big-lock"))?;
        schema::known(&location)?;
        schema::refuse_lost(&location)?;
        if !location.database().exists() {
            return Ok(None);
        }
        let writes = !options.read_only && writable::takes_databases(&location);
        let usage = if writes { Use::Read } else { Use::ReadUntouched };
        let mut store = Self::new(location, options, usage)?;
        store._big_lock = big_lock;
        store.release(store.connect()?);
        Ok(Some(store))
    }

    fn new(location: Location, options: Options, usage: Use) -> Result<Self, Error> {
        Ok(Self {
            lower: Self::open_lower(&location, &options)?,
            location,
            options,
            connections: Mutex::default(),
            commits: Commits::default(),
            records: Mutex::default(),
            temp_roots: Mutex::default(),
            scratches: Scratches::default(),
            owner: OnceLock::new(),
            next_number: AtomicU64::new(0),
            signers: Vec::new(),
            left_over: Vec::new(),
            usage,
            schema_before: None,
            process: std::process::id(),
            _big_lock: None,
        })
    }

    /// Returns the schema that the database had before it was opened, if that was an older one.
    pub fn schema_before(&self) -> Option<u32> {
        self.schema_before
    }

    /// Whether no byte may be written.
    pub(crate) fn is_untouched(&self) -> bool {
        self.usage == Use::ReadUntouched
    }

    /// Returns why some of what killed builds have left is still there.
    pub fn left_over(&self) -> &[Error] {
        &self.left_over
    }

    /// Returns where the store is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Returns the directory its paths begin with.
    pub fn store_dir(&self) -> &StoreDir {
        &self.location.store_dir
    }

    /// Returns where the files of `path` are.
    pub fn real_path(&self, path: &StorePath) -> PathBuf {
        self.location.real_path(path)
    }

    /// Runs `work` on a connection that nobody else uses meanwhile.
    pub(crate) fn with_database<T>(
        &self,
        work: impl FnOnce(&mut Db) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.process != std::process::id() {
            return Err(Error::Forked { opener: self.process });
        }
        let idle = guard(&self.connections).pop();
        let mut database = idle.map_or_else(|| self.connect(), Ok)?;
        let result = work(&mut database).map_err(naming_locker);
        // One that has become stale is not used again.
        database.check_unchanged()?;
        self.release(database);
        result
    }

    fn connect(&self) -> Result<Db, Error> {
        let (path, store_dir) = (self.location.database(), self.location.store_dir.clone());
        let opened = match self.usage {
            Use::Write => Db::open(&path, store_dir, self.database_options()),
            Use::Read => Db::open_to_read(&path, store_dir),
            Use::ReadUntouched => Db::open_untouched(&path, store_dir),
        };
        opened
            .and_then(|database| database.with_patience(self.patience()))
            .map_err(|error| naming_locker(error.into()))
    }

    pub(crate) fn database_options(&self) -> store_db::Options {
        store_db::Options { wal: self.options.wal, synchronous: self.options.fsync_metadata }
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience { tell: self.options.tell_locked, ..Patience::default() }
    }

    fn release(&self, database: Db) {
        guard(&self.connections).push(database);
    }
}

/// Says who it was that did not give a lock away.
fn naming_locker(error: Error) -> Error {
    match error {
        Error::Database(store_db::Error::Busy { path }) => Error::Locked { holder: locker(&path), path },
        other => other,
    }
}

/// Locks `mutex`; what it protects is right after every single step, so a panic elsewhere does no harm.
pub(crate) fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the disk")]
pub(crate) mod tests {
    use super::*;
    use store_path::{Hash, HashAlgorithm, PathInfo};
    use test_support::Scratch;

    #[test]
    fn a_process_that_was_forked_does_not_use_it() {
        let (_scratch, mut store) = scratch_store();
        // As it is in a child.
        store.process += 1;
        assert!(matches!(store.all_valid(), Err(Error::Forked { .. })));
    }

    #[test]
    fn reading_makes_nothing() {
        let scratch = Scratch::new();
        let location = Location::below(scratch.path());
        assert!(LocalStore::open_to_read(location.clone(), Options::default()).unwrap().is_none());
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
        let store = LocalStore::open(location.clone(), Options::default()).unwrap();
        store.register(&[placed(&store, "a", &[])]).unwrap();
        drop(store);
        let left = location.builds().join("nix-2147483647-0");
        std::fs::create_dir(&left).unwrap();
        for read_only in [false, true] {
            let options = Options { read_only, ..Options::default() };
            let reader = LocalStore::open_to_read(location.clone(), options).unwrap().unwrap();
            assert!(reader.is_valid(&some_path("a")).unwrap() && left.exists());
            let error = reader.register(&[placed(&reader, "b", &[])]).unwrap_err();
            assert!(
                matches!(&error, Error::Together(_)) && error.to_string().contains("read only"),
                "{error}"
            );
            assert!(!reader.is_valid(&some_path("b")).unwrap());
        }
        let options = Options { read_only: true, ..Options::default() };
        let error = LocalStore::open(location, options).unwrap_err().to_string();
        assert!(error.contains("the setting `read-only`"), "{error}");
    }

    /// An empty store on a scratch directory.
    pub(crate) fn scratch_store() -> (Scratch, LocalStore) {
        let scratch = Scratch::new();
        let store = LocalStore::open(Location::below(scratch.path()), Options::default()).unwrap();
        (scratch, store)
    }

    /// Puts a file for a path into the store, not registered yet.
    pub(crate) fn placed(store: &LocalStore, name: &str, references: &[&str]) -> PathInfo {
        let path = some_path(name);
        std::fs::write(store.real_path(&path), name).unwrap();
        let (nar_hash, nar_size) = crate::add::hash_tree(&store.real_path(&path)).unwrap();
        PathInfo {
            path,
            nar_hash,
            nar_size,
            references: references.iter().map(|name| some_path(name)).collect(),
            deriver: None,
            registration_time: 1_700_000_000,
            ultimate: true,
            signatures: Vec::new(),
            content_address: None,
        }
    }

    /// A path that depends on nothing but its name.
    pub(crate) fn some_path(name: &str) -> StorePath {
        let hash = Hash::of(HashAlgorithm::Sha256, name.as_bytes());
        StoreDir::default().make_path("test", &hash, &name.parse().unwrap())
    }
}
