//! Changes, all of them inside a transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use rusqlite::{ErrorCode, OptionalExtension, params};
use store_path::{PathInfo, StoreDir, StorePath};

use crate::db::statement;
use crate::error::Error;
use crate::graph::{Graph, PathId};
use crate::rows::{Reader, words};

/// A transaction that holds the write lock; see [`Db::transaction`](crate::Db::transaction).
pub struct Transaction<'db> {
    pub(crate) inner: rusqlite::Transaction<'db>,
    pub(crate) database: &'db Path,
    pub(crate) store_dir: &'db StoreDir,
    /// Row numbers met so far: a path is referred to far more often than it is registered.
    rows: HashMap<StorePath, i64>,
}

impl<'db> Transaction<'db> {
    pub(crate) fn new(
        inner: rusqlite::Transaction<'db>,
        database: &'db Path,
        store_dir: &'db StoreDir,
    ) -> Self {
        Self { inner, database, store_dir, rows: HashMap::new() }
    }

    pub(crate) fn commit(self) -> Result<(), Error> {
        let database = self.database;
        self.inner.commit().map_err(|source| statement("commit", database, source))
    }

    /// Runs `work`; when it fails, what it did is undone and the transaction goes on without it.
    pub fn attempt<T, E: From<Error>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.control("savepoint Attempt")?;
        let result = work(self);
        if result.is_err() {
            // Row numbers of rows that are undone must not be used again.
            self.rows.clear();
            self.control("rollback to Attempt")?;
        }
        self.control("release Attempt")?;
        result
    }

    /// Makes all of `infos` valid; they may refer to each other.
    ///
    /// A path that is valid already keeps its deriver and the time it was first registered, as in Nix.
    pub fn register(&mut self, infos: &[PathInfo]) -> Result<(), Error> {
        for info in infos {
            self.upsert(info)?;
        }
        infos.iter().try_for_each(|info| self.add_references(&info.path, &info.references))
    }

    /// Records the outputs of derivation `drv` whose paths are known.
    pub fn add_outputs(
        &mut self,
        drv: &StorePath,
        outputs: &BTreeMap<String, StorePath>,
    ) -> Result<(), Error> {
        let row = self.existing_row(drv, drv)?;
        let mut insert = self
            .inner
            .prepare_cached("insert or replace into DerivationOutputs (drv, id, path) values (?1, ?2, ?3)")
            .map_err(self.failed("record outputs"))?;
        for (name, path) in outputs {
            insert
                .execute(params![row, name, self.store_dir.print(path)])
                .map_err(self.failed("record outputs"))?;
        }
        Ok(())
    }

    /// Adds signatures to those of the valid path `path`.
    pub fn add_signatures(&mut self, path: &StorePath, signatures: &[String]) -> Result<(), Error> {
        let row = self.existing_row(path, path)?;
        let present: Option<String> = self
            .inner
            .prepare_cached("select sigs from ValidPaths where id = ?1")
            .and_then(|mut query| query.query_row([row], |row| row.get(0)))
            .map_err(self.failed("look up signatures"))?;
        let mut all: BTreeSet<String> = words(present.as_deref().unwrap_or_default()).into_iter().collect();
        all.extend(signatures.iter().cloned());
        let all: Vec<String> = all.into_iter().collect();
        self.inner
            .prepare_cached("update ValidPaths set sigs = ?2 where id = ?1")
            .and_then(|mut update| update.execute(params![row, all.join(" ")]))
            .map(|_| ())
            .map_err(self.failed("add signatures"))
    }

    /// Makes all of `paths` invalid; refused while any other valid path refers to one of them.
    pub fn invalidate(&mut self, paths: &BTreeSet<StorePath>) -> Result<(), Error> {
        for path in paths {
            if let Some(referrer) = self.referrers(path)?.difference(paths).next() {
                return Err(Error::Referred { path: path.clone(), referrer: referrer.clone() });
            }
        }
        // All references go before any path does, so that the order of the paths does not matter.
        let forget_references =
            "delete from Refs where referrer = (select id from ValidPaths where path = ?1)";
        for sql in [forget_references, "delete from ValidPaths where path = ?1"] {
            paths.iter().try_for_each(|path| self.change(sql, path))?;
        }
        self.forget_realisations(paths)?;
        self.rows.clear();
        Ok(())
    }

    /// Makes those of `paths` invalid that are as `graph` has them and that no other valid path refers to; returns the
    /// others. A path comes before all that it refers to.
    pub fn forget(&mut self, graph: &Graph, paths: &[PathId]) -> Result<Vec<PathId>, Error> {
        let (mut kept, mut gone) = (Vec::new(), BTreeSet::new());
        for id in paths {
            let path = graph.path(*id);
            if self.forget_row(graph.row(*id))? && !self.is_valid(&path)? {
                gone.insert(path);
            } else {
                kept.push(*id);
            }
        }
        self.forget_realisations(&gone)?;
        self.rows.clear();
        Ok(kept)
    }

    /// Returns false if another path refers to that of `row`. What it refers to itself goes with the row.
    fn forget_row(&self, row: i64) -> Result<bool, Error> {
        let deleted = self
            .inner
            .prepare_cached("delete from ValidPaths where id = ?1")
            .and_then(|mut delete| delete.execute([row]));
        match deleted {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Ok(false),
            other => other.map(|_| true).map_err(self.failed("forget a path")),
        }
    }

    fn is_valid(&self, path: &StorePath) -> Result<bool, Error> {
        self.inner
            .prepare_cached("select 1 from ValidPaths where path = ?1")
            .and_then(|mut query| query.exists([self.print(path)]))
            .map_err(self.failed("look up a path"))
    }

    /// Returns the number of the row that `path` has, valid since before or from this transaction on.
    pub(crate) fn registration(&self, path: &StorePath) -> Result<i64, Error> {
        self.inner
            .prepare_cached("select id from ValidPaths where path = ?1")
            .and_then(|mut query| query.query_row([self.print(path)], |row| row.get(0)))
            .map_err(self.failed("look up a path"))
    }

    /// Returns whether the path with that full name has that row.
    pub(crate) fn has(&self, path: &str, registration: i64) -> Result<bool, Error> {
        self.inner
            .prepare_cached("select 1 from ValidPaths where id = ?1 and path = ?2")
            .and_then(|mut query| query.exists(params![registration, path]))
            .map_err(self.failed("look up a path"))
    }

    fn change(&self, sql: &'static str, path: &StorePath) -> Result<(), Error> {
        let changed =
            self.inner.prepare_cached(sql).and_then(|mut change| change.execute([self.print(path)]));
        changed.map(|_| ()).map_err(self.failed("forget a path"))
    }

    fn referrers(&self, path: &StorePath) -> Result<BTreeSet<StorePath>, Error> {
        let sql = "select s.path from ValidPaths v join Refs r on r.reference = v.id \
                   join ValidPaths s on s.id = r.referrer where v.path = ?1";
        let rows: Vec<String> = self
            .inner
            .prepare_cached(sql)
            .and_then(|mut query| query.query_map([self.print(path)], |row| row.get(0))?.collect())
            .map_err(self.failed("look up referrers"))?;
        let reader = Reader { database: self.database, store_dir: self.store_dir };
        rows.iter().map(|text| reader.path(text)).collect()
    }

    fn upsert(&mut self, info: &PathInfo) -> Result<(), Error> {
        let sql = "insert into ValidPaths (path, hash, registrationTime, deriver, narSize, ultimate, sigs, ca) \
                   values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) on conflict (path) do update set \
                   hash = excluded.hash, narSize = excluded.narSize, ultimate = excluded.ultimate, \
                   sigs = excluded.sigs, ca = excluded.ca returning id";
        let signatures = (!info.signatures.is_empty()).then(|| info.signatures.join(" "));
        let values = params![
            self.print(&info.path),
            info.nar_hash.prefixed_base16(),
            info.registration_time,
            info.deriver.as_ref().map(|path| self.print(path)),
            // Nix leaves out what it does not know: absent, never nought or the empty text.
            (info.nar_size != 0).then_some(info.nar_size.cast_signed()),
            info.ultimate.then_some(1),
            signatures,
            info.content_address.as_ref().map(ToString::to_string),
        ];
        let row = self
            .inner
            .prepare_cached(sql)
            .and_then(|mut insert| insert.query_row(values, |row| row.get(0)))
            .map_err(self.failed("register a path"))?;
        self.rows.insert(info.path.clone(), row);
        Ok(())
    }

    fn add_references(&mut self, path: &StorePath, references: &BTreeSet<StorePath>) -> Result<(), Error> {
        let referrer = self.existing_row(path, path)?;
        for reference in references {
            let target = self.existing_row(path, reference)?;
            self.inner
                .prepare_cached("insert or replace into Refs (referrer, reference) values (?1, ?2)")
                .and_then(|mut insert| insert.execute([referrer, target]))
                .map_err(self.failed("register a reference"))?;
        }
        Ok(())
    }

    /// Returns the row of `path`, which `referrer` is about to point at.
    fn existing_row(&mut self, referrer: &StorePath, path: &StorePath) -> Result<i64, Error> {
        if let Some(row) = self.rows.get(path) {
            return Ok(*row);
        }
        let found = self
            .inner
            .prepare_cached("select id from ValidPaths where path = ?1")
            .and_then(|mut query| query.query_row([self.print(path)], |row| row.get(0)).optional())
            .map_err(self.failed("look up a path"))?;
        let row = found
            .ok_or_else(|| Error::InvalidReference { path: referrer.clone(), reference: path.clone() })?;
        self.rows.insert(path.clone(), row);
        Ok(row)
    }

    fn control(&self, sql: &'static str) -> Result<(), Error> {
        self.inner
            .prepare_cached(sql)
            .and_then(|mut command| command.execute([]))
            .map(|_| ())
            .map_err(self.failed("mark a step"))
    }

    pub(crate) fn print(&self, path: &StorePath) -> String {
        self.store_dir.print(path)
    }

    pub(crate) fn failed(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> Error + 'db {
        let database = self.database;
        move |source| statement(action, database, source)
    }
}
