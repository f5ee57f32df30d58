//! Our own database beside Nix's: how each path was built that was built here.
//!
//! A record is committed before its path becomes valid, under the lock of the transaction that will make it
//! so. What is read is believed only when it names the very row of `ValidPaths`: a row's number is never given
//! twice, so a record of an earlier life of a path, or of one that never came to be, belongs to none.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use store_path::{BuildRecord, IsolationText, PathInfo, StoreDir, StorePath};

use crate::Db;
use crate::db::{Options, configure_writes, connect, connect_to_read, failed_to_open, statement};
use crate::error::Error;
use crate::records_schema::{BUILDS, STEPS};
use crate::rows::{Reader, json_list};
use crate::untouched::{self, Untouched};
use crate::waiting::{Patience, wait_for_others};
use crate::write::Transaction;

/// How many records after one that is written or taken away are looked at, whether their paths are valid still.
///
/// Nix's collector takes paths away without a word. Paths begin with digests, so each write looks somewhere else.
const NEIGHBOURS: i64 = 4;

/// One connection to the database of records.
#[derive(Debug)]
pub struct Records {
    pub(crate) connection: Connection,
    path: PathBuf,
    pub(crate) store_dir: StoreDir,
    /// The files as they were found, if nothing may be written.
    untouched: Option<Untouched>,
    /// How many steps had been taken when it was opened. What came with later ones is not there, and so says nothing.
    version: usize,
}

impl Records {
    /// Opens the database at `path`, and makes it or brings it up to date.
    ///
    /// # Errors
    /// [`Error::Newer`] if a later version of this program has changed it.
    pub fn open(path: &Path, store_dir: StoreDir, options: Options) -> Result<Self, Error> {
        let failed = |source| failed_to_open(path, source).of_records();
        let mut connection = connect(path).map_err(failed)?;
        configure_writes(&mut connection, path, options).map_err(failed)?;
        check_version(&connection, path)?;
        upgrade(&mut connection, path)?;
        let version = STEPS.len();
        Ok(Self { connection, path: path.to_owned(), store_dir, untouched: None, version })
    }

    /// Opens the database at `path`, which is there, for questions only. One of an earlier version stays as it is.
    ///
    /// # Errors
    /// [`Error::Newer`] if a later version of this program has changed it.
    pub fn open_to_read(path: &Path, store_dir: StoreDir) -> Result<Self, Error> {
        let connection = connect_to_read(path).map_err(|source| failed_to_open(path, source).of_records())?;
        Self::reading(connection, path, store_dir, None)
    }

    /// Does the same without writing a byte, there or beside it.
    ///
    /// # Errors
    /// [`Error::Newer`] if a later version of this program has changed it.
    pub fn open_untouched(path: &Path, store_dir: StoreDir) -> Result<Self, Error> {
        let (connection, files) =
            untouched::connect(path).map_err(|source| failed_to_open(path, source).of_records())?;
        Self::reading(connection, path, store_dir, Some(files))
    }

    fn reading(
        mut connection: Connection,
        path: &Path,
        store_dir: StoreDir,
        untouched: Option<Untouched>,
    ) -> Result<Self, Error> {
        let failed = |source| failed_to_open(path, source).of_records();
        wait_for_others(&mut connection, path, Patience::default()).map_err(failed)?;
        connection.pragma_update(None, "query_only", true).map_err(failed)?;
        let version = check_version(&connection, path)?;
        Ok(Self { connection, path: path.to_owned(), store_dir, untouched, version })
    }

    /// Whether it has what came with a step, see [`BUILDS`] and those beside it.
    pub(crate) fn has(&self, step: usize) -> bool {
        self.version >= step
    }

    /// Looks whether what was read until now was one state of the database.
    ///
    /// # Errors
    /// [`Error::ChangedMeanwhile`] if somebody has changed a database that was read without locks.
    pub fn check_unchanged(&self) -> Result<(), Error> {
        self.untouched.as_ref().map_or(Ok(()), Untouched::check)
    }

    /// Waits for others with that patience from now on.
    pub fn with_patience(mut self, patience: Patience) -> Result<Self, Error> {
        let result = wait_for_others(&mut self.connection, &self.path, patience);
        result.map_err(|source| failed_to_open(&self.path, source).of_records())?;
        Ok(self)
    }

    /// Writes down how `built` was built, in one transaction; `valid` is about to make it valid. What is to be
    /// expected of builds is learned by the way.
    pub fn add(
        &mut self,
        built: &[(&BuildRecord, &[PathInfo])],
        valid: &Transaction<'_>,
    ) -> Result<(), Error> {
        self.change(|change| {
            for (record, infos) in built {
                change.add(record, infos, valid)?;
                change.learn(record, infos)?;
            }
            built.iter().flat_map(|(_, infos)| *infos).try_for_each(|info| change.sweep(&info.path, valid))
        })
    }

    /// Forgets when `paths` were used, and how those of them, and of some others, were built that are not valid in `valid`
    /// any more.
    pub fn collect(&mut self, paths: &BTreeSet<StorePath>, valid: &Transaction<'_>) -> Result<(), Error> {
        self.change(|change| {
            paths.iter().try_for_each(|path| {
                change.sweep(path, valid)?;
                change.forget_use(path)
            })
        })
    }

    /// Returns how those of `paths` were built that are valid in `db` and were built here.
    pub fn of(
        &self,
        paths: &BTreeSet<StorePath>,
        db: &Db,
    ) -> Result<BTreeMap<StorePath, BuildRecord>, Error> {
        if !self.has(BUILDS) {
            return Ok(BTreeMap::new());
        }
        let valid = db.registrations(paths)?;
        let mut isolations = HashMap::new();
        let mut records = BTreeMap::new();
        for row in self.rows(paths)? {
            if valid.get(&row.path) == Some(&row.registration) {
                let isolation = self.isolation(row.isolation, &mut isolations)?;
                let (path, record) = row.parse(isolation, &self.reader())?;
                records.insert(path, record);
            }
        }
        Ok(records)
    }

    /// Returns the paths whose records belong to no row of `db`.
    pub fn dead(&self, db: &Db) -> Result<Vec<StorePath>, Error> {
        let valid: HashSet<i64> =
            db.collect("select id from ValidPaths", [], |row| row.get(0))?.into_iter().collect();
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
        let rows: Vec<(String, i64)> = self
            .connection
            .prepare_cached("select path, registration from Outputs order by path")
            .and_then(|mut query| query.query_map([], read)?.collect())
            .map_err(self.failed("look for records of paths that are gone"))?;
        let dead = rows.iter().filter(|(_, registration)| !valid.contains(registration));
        dead.map(|(path, _)| self.reader().path(path)).collect()
    }

    fn rows(&self, paths: &BTreeSet<StorePath>) -> Result<Vec<Row>, Error> {
        let sql = "select o.path, o.registration, o.hash, o.registrationTime, \
                   b.drv, b.started, b.wallTime, b.userTime, b.systemTime, b.peakMemory, b.written, b.isolation \
                   from json_each(?2) j cross join Outputs o on o.path = ?1 || '/' || j.value \
                   join Builds b on b.id = o.build where b.outcome = 'built'";
        self.connection
            .prepare_cached(sql)
            .and_then(|mut query| {
                query.query_map(params![self.store_dir.as_str(), json_list(paths)], Row::read)?.collect()
            })
            .map_err(self.failed("look up builds"))
    }

    /// Thousands of builds have the same, which is read once.
    fn isolation(
        &self,
        row: i64,
        known: &mut HashMap<i64, Arc<IsolationText>>,
    ) -> Result<Arc<IsolationText>, Error> {
        if let Some(text) = known.get(&row) {
            return Ok(Arc::clone(text));
        }
        let read = |row: &rusqlite::Row<'_>| {
            Ok(IsolationText { format: row.get(0)?, isolated: row.get(1)?, text: row.get(2)? })
        };
        let text = self
            .connection
            .prepare_cached("select format, isolated, text from Isolations where id = ?1")
            .and_then(|mut query| query.query_row([row], read))
            .map_err(self.failed("look up how a build was isolated"))?;
        Ok(Arc::clone(known.entry(row).or_insert(Arc::new(text))))
    }

    pub(crate) fn change(
        &mut self,
        work: impl FnOnce(&Change<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Self { connection, path, store_dir, .. } = self;
        let path = path.as_path();
        let failed = |action| move |source| statement(action, path, source).of_records();
        let inner = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed("begin a transaction"))?;
        // Somebody may have brought it up to date since it was opened.
        check_version(&inner, path)?;
        work(&Change { inner: &inner, path, store_dir })?;
        inner.commit().map_err(failed("commit"))
    }

    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { database: &self.path, store_dir: &self.store_dir }
    }

    pub(crate) fn failed(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> Error + '_ {
        move |source| statement(action, &self.path, source).of_records()
    }
}

/// Changes within one transaction.
pub(crate) struct Change<'a> {
    pub(crate) inner: &'a rusqlite::Transaction<'a>,
    path: &'a Path,
    pub(crate) store_dir: &'a StoreDir,
}

impl Change<'_> {
    fn add(&self, record: &BuildRecord, infos: &[PathInfo], valid: &Transaction<'_>) -> Result<(), Error> {
        let isolation = self.isolation_row(&record.isolation)?;
        let values = params![
            self.store_dir.print(&record.drv),
            record.started_millis,
            micros(record.wall_time),
            micros(record.user_time),
            micros(record.system_time),
            record.peak_memory_bytes.cast_signed(),
            record.written_bytes.cast_signed(),
            isolation,
        ];
        let sql = "insert into Builds (drv, started, outcome, wallTime, userTime, systemTime, peakMemory, \
                   written, isolation) values (?1, ?2, 'built', ?3, ?4, ?5, ?6, ?7, ?8)";
        self.execute("record a build", sql, values)?;
        let build = self.inner.last_insert_rowid();
        infos.iter().try_for_each(|info| self.add_output(build, info, valid))
    }

    fn add_output(&self, build: i64, info: &PathInfo, valid: &Transaction<'_>) -> Result<(), Error> {
        let path = self.store_dir.print(&info.path);
        let registration = valid.registration(&info.path)?;
        // Replacing the row would not call the triggers.
        self.execute("record a build", "delete from Outputs where path = ?1", [&path])?;
        let values = params![
            path,
            registration,
            info.nar_hash.prefixed_base16(),
            info.registration_time,
            info.nar_size.cast_signed(),
            build
        ];
        let sql = "insert into Outputs (path, registration, hash, registrationTime, narSize, build) \
                   values (?1, ?2, ?3, ?4, ?5, ?6)";
        self.execute("record a build", sql, values)
    }

    fn isolation_row(&self, isolation: &IsolationText) -> Result<i64, Error> {
        let IsolationText { format, isolated, text } = isolation;
        let find = "select id from Isolations where text = ?1 and format = ?2 and isolated = ?3";
        let found = self
            .inner
            .prepare_cached(find)
            .and_then(|mut query| {
                query.query_row(params![text, format, isolated], |row| row.get(0)).optional()
            })
            .map_err(self.failed("look up how a build was isolated"))?;
        if let Some(row) = found {
            return Ok(row);
        }
        let insert = "insert into Isolations (text, format, isolated) values (?1, ?2, ?3)";
        self.execute("record how a build was isolated", insert, params![text, format, isolated])?;
        Ok(self.inner.last_insert_rowid())
    }

    /// Forgets `path` and some that come after it if they are not valid, or not as they were recorded.
    fn sweep(&self, path: &StorePath, valid: &Transaction<'_>) -> Result<(), Error> {
        let near: Vec<(String, i64)> = self
            .inner
            .prepare_cached("select path, registration from Outputs where path >= ?1 order by path limit ?2")
            .and_then(|mut query| {
                let values = params![self.store_dir.print(path), NEIGHBOURS];
                query.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
            })
            .map_err(self.failed("look for records of paths that are gone"))?;
        for (path, registration) in near {
            if !valid.has(&path, registration)? {
                self.execute("forget a build", "delete from Outputs where path = ?1", [&path])?;
            }
        }
        Ok(())
    }

    pub(crate) fn execute(
        &self,
        action: &'static str,
        sql: &'static str,
        values: impl rusqlite::Params,
    ) -> Result<(), Error> {
        let done = self.inner.prepare_cached(sql).and_then(|mut change| change.execute(values));
        done.map(|_| ()).map_err(self.failed(action))
    }

    pub(crate) fn failed(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> Error + '_ {
        move |source| statement(action, self.path, source).of_records()
    }
}

/// Which row of `ValidPaths` a record is about: its number, hash and time.
pub(crate) type Registration = (i64, String, i64);

/// A row before its text is parsed.
struct Row {
    path: String,
    registration: Registration,
    drv: String,
    started_millis: i64,
    times: [i64; 3],
    bytes: [i64; 2],
    isolation: i64,
}

impl Row {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            path: row.get(0)?,
            registration: (row.get(1)?, row.get(2)?, row.get(3)?),
            drv: row.get(4)?,
            started_millis: row.get(5)?,
            times: [row.get(6)?, row.get(7)?, row.get(8)?],
            bytes: [row.get(9)?, row.get(10)?],
            isolation: row.get(11)?,
        })
    }

    fn parse(
        self,
        isolation: Arc<IsolationText>,
        reader: &Reader<'_>,
    ) -> Result<(StorePath, BuildRecord), Error> {
        let [wall_time, user_time, system_time] =
            self.times.map(|micros| Duration::from_micros(micros.unsigned_abs()));
        let [peak_memory_bytes, written_bytes] = self.bytes.map(i64::cast_unsigned);
        let record = BuildRecord {
            drv: reader.path(&self.drv)?,
            started_millis: self.started_millis,
            wall_time,
            user_time,
            system_time,
            peak_memory_bytes,
            written_bytes,
            isolation,
        };
        Ok((reader.path(&self.path)?, record))
    }
}

pub(crate) fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// Nothing is known about a later version, not even what may be written into it.
fn check_version(connection: &Connection, path: &Path) -> Result<usize, Error> {
    let found = connection
        .query_row("pragma user_version", [], |row| row.get::<_, i64>(0))
        .map_err(|source| statement("read the version", path, source).of_records())?;
    match usize::try_from(found) {
        Ok(version) if version <= STEPS.len() => Ok(version),
        _ => Err(Error::Newer { path: path.to_owned(), found, known: STEPS.len() }),
    }
}

/// Takes the steps that are missing in one transaction; looking whether any are takes no lock.
fn upgrade(connection: &mut Connection, path: &Path) -> Result<(), Error> {
    if check_version(connection, path)? == STEPS.len() {
        return Ok(());
    }
    let failed = |source| statement("make the tables", path, source).of_records();
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let version = check_version(&change, path)?;
    for step in &STEPS[version..] {
        change.execute_batch(step).map_err(failed)?;
    }
    change.pragma_update(None, "user_version", STEPS.len() as i64).map_err(failed)?;
    change.commit().map_err(failed)
}

#[cfg(test)]
pub(crate) mod tests;
