//! The store itself: its connections and its locks.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use store_db::{Db, Records};
use store_path::{StoreDir, StorePath};

use crate::commit::Commits;
use crate::error::Error;
use crate::failpoint;
use crate::layout;
use crate::location::Location;
use crate::running::{self, Owner};
use crate::scratch::Scratches;
use crate::sweep;
use crate::temp_roots::TempRoots;

/// How much is done so that nothing is lost.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Sync files before the database says that they are valid (setting `fsync-store-paths`).
    pub fsync_store_paths: bool,
    /// Sync the database (setting `fsync-metadata`).
    pub fsync_metadata: bool,
    /// Keep a write-ahead log of the database (setting `use-sqlite-wal`).
    pub wal: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { fsync_store_paths: true, fsync_metadata: true, wal: true }
    }
}

/// A store on disk, to be shared by threads; processes share one by opening it each for itself.
#[derive(Debug)]
pub struct LocalStore {
    location: Location,
    pub(crate) options: Options,
    /// Connections not in use. There are never more than threads that asked at the same time.
    connections: Mutex<Vec<Db>>,
    pub(crate) commits: Commits,
    /// How paths were built; opened by the first who asks.
    pub(crate) records: Mutex<Option<Records>>,
    pub(crate) temp_roots: Mutex<Option<TempRoots>>,
    pub(crate) scratches: Scratches,
    /// This process, once it is a builder.
    pub(crate) owner: OnceLock<Owner>,
    /// Numbers the names of what this process makes aside.
    pub(crate) next_number: AtomicU64,
    /// What could not be swept.
    left_over: Vec<Error>,
    /// Held while the store is open: whoever upgrades the database waits for it.
    _big_lock: File,
}

impl LocalStore {
    /// Opens the store at `location`, made when it is not there, and sweeps what killed builds left.
    pub fn open(location: Location, options: Options) -> Result<Self, Error> {
        let big_lock = layout::prepare(&location)?;
        let mut store = Self {
            location,
            options,
            connections: Mutex::default(),
            commits: Commits::default(),
            records: Mutex::default(),
            temp_roots: Mutex::default(),
            scratches: Scratches::default(),
            owner: OnceLock::new(),
            next_number: AtomicU64::new(0),
            left_over: Vec::new(),
            _big_lock: big_lock,
        };
        store.release(store.connect()?);
        failpoint::reach("open.tables")?;
        layout::finish(&store.location)?;
        // First what may be mounted on the others.
        store.left_over = sweep::sweep_scratch(&store.location)?;
        store.left_over.extend(sweep::sweep(&store.location.builds())?);
        running::sweep(&store.location)?;
        sweep::sweep_temp_roots(&store.location)?;
        Ok(store)
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
        let idle = guard(&self.connections).pop();
        let mut database = idle.map_or_else(|| self.connect(), Ok)?;
        let result = work(&mut database);
        self.release(database);
        result
    }

    fn connect(&self) -> Result<Db, Error> {
        let store_dir = self.location.store_dir.clone();
        Ok(Db::open(&self.location.database(), store_dir, self.database_options())?)
    }

    pub(crate) fn database_options(&self) -> store_db::Options {
        store_db::Options { wal: self.options.wal, synchronous: self.options.fsync_metadata }
    }

    fn release(&self, database: Db) {
        guard(&self.connections).push(database);
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
