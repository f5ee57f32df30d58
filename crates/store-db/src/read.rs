//! Queries. Each takes a fixed number of statements, however many paths it is asked about.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::{OptionalExtension, Params, params};
use store_path::{Digest, PathInfo, StorePath};

use crate::Db;
use crate::error::Error;
use crate::records::Registration;
use crate::rows::{INFO_COLUMNS, RawInfo, Reader, json_list};

/// The rows of the asked paths, each found through the index (`cross join` keeps the order of the loops).
const ASKED: &str = "json_each(?2) j cross join ValidPaths v on v.path = ?1 || '/' || j.value";

impl Db {
    /// Returns whether `path` is valid.
    pub fn is_valid(&self, path: &StorePath) -> Result<bool, Error> {
        self.connection
            .prepare_cached("select 1 from ValidPaths where path = ?1")
            .and_then(|mut statement| statement.exists([self.store_dir.print(path)]))
            .map_err(self.failed("look up a path"))
    }

    /// Returns those of `paths` that are valid.
    pub fn valid_among(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>, Error> {
        self.paths(&format!("select v.path from {ASKED}"), params![self.store_dir.as_str(), json_list(paths)])
    }

    /// Returns what is known about `path` when it is valid.
    pub fn path_info(&self, path: &StorePath) -> Result<Option<PathInfo>, Error> {
        Ok(self.path_infos(&BTreeSet::from([path.clone()]))?.remove(path))
    }

    /// Returns what is known about those of `paths` that are valid, in two statements on one snapshot.
    pub fn path_infos(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeMap<StorePath, PathInfo>, Error> {
        let failed = self.failed("look up paths");
        let snapshot = self.connection.unchecked_transaction().map_err(&failed)?;
        let asked = json_list(paths);
        let mut infos = self.rows_of(&asked)?;
        for (path, reference) in self.references_of(&asked)? {
            if let Some(info) = infos.get_mut(&path) {
                info.references.insert(reference);
            }
        }
        snapshot.commit().map_err(&failed)?;
        Ok(infos)
    }

    /// Returns the paths that valid path `path` refers to.
    pub fn references(&self, path: &StorePath) -> Result<BTreeSet<StorePath>, Error> {
        let sql = "select t.path from ValidPaths v join Refs r on r.referrer = v.id \
                   join ValidPaths t on t.id = r.reference where v.path = ?1";
        self.paths(sql, [self.store_dir.print(path)])
    }

    /// Returns the valid paths that refer to `path`.
    pub fn referrers(&self, path: &StorePath) -> Result<BTreeSet<StorePath>, Error> {
        let sql = "select s.path from ValidPaths v join Refs r on r.reference = v.id \
                   join ValidPaths s on s.id = r.referrer where v.path = ?1";
        self.paths(sql, [self.store_dir.print(path)])
    }

    /// Returns the valid ones of `paths` and everything they refer to, directly or not.
    pub fn closure(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>, Error> {
        self.reachable(paths, "select r.reference from Refs r join Reached on r.referrer = Reached.id")
    }

    /// Returns the valid ones of `paths` and everything that refers to them, directly or not.
    pub fn referrers_closure(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>, Error> {
        self.reachable(paths, "select r.referrer from Refs r join Reached on r.reference = Reached.id")
    }

    /// Returns the valid derivations that have `path` as an output.
    pub fn derivers(&self, path: &StorePath) -> Result<BTreeSet<StorePath>, Error> {
        let sql =
            "select v.path from DerivationOutputs d join ValidPaths v on v.id = d.drv where d.path = ?1";
        self.paths(sql, [self.store_dir.print(path)])
    }

    /// Returns the outputs of a valid derivation whose paths are known, by name.
    pub fn outputs_of(&self, drv: &StorePath) -> Result<BTreeMap<String, StorePath>, Error> {
        let sql = "select d.id, d.path from DerivationOutputs d join ValidPaths v on v.id = d.drv where v.path = ?1";
        let rows = self.pairs(sql, [self.store_dir.print(drv)])?;
        rows.into_iter().map(|(name, path)| Ok((name, self.reader().path(&path)?))).collect()
    }

    /// Returns the valid path with that digest.
    pub fn path_from_digest(&self, digest: &Digest) -> Result<Option<StorePath>, Error> {
        let prefix = format!("{}/{digest}-", self.store_dir.as_str());
        let found: Option<String> = self
            .connection
            .prepare_cached("select path from ValidPaths where path >= ?1 order by path limit 1")
            .and_then(|mut statement| statement.query_row([&prefix], |row| row.get(0)).optional())
            .map_err(self.failed("look up a digest"))?;
        found.filter(|text| text.starts_with(&prefix)).map(|text| self.reader().path(&text)).transpose()
    }

    /// Returns which row each of `paths` has that is valid.
    pub(crate) fn registrations(
        &self,
        paths: &BTreeSet<StorePath>,
    ) -> Result<HashMap<String, Registration>, Error> {
        let sql = format!("select v.path, v.id, v.hash, v.registrationTime from {ASKED}");
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?)));
        let rows = self.collect(&sql, params![self.store_dir.as_str(), json_list(paths)], read)?;
        Ok(rows.into_iter().collect())
    }

    /// Returns when those of `paths` that are valid became so, in seconds since 1970.
    pub fn registration_times(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeMap<StorePath, i64>, Error> {
        let sql = format!("select v.path, v.registrationTime from {ASKED}");
        let parameters = params![self.store_dir.as_str(), json_list(paths)];
        let rows: Vec<(String, i64)> =
            self.collect(&sql, parameters, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let reader = self.reader();
        rows.into_iter().map(|(path, time)| Ok((reader.path(&path)?, time))).collect()
    }

    /// Returns every valid path.
    pub fn all_valid(&self) -> Result<BTreeSet<StorePath>, Error> {
        self.paths("select path from ValidPaths", [])
    }

    fn reachable(&self, paths: &BTreeSet<StorePath>, step: &str) -> Result<BTreeSet<StorePath>, Error> {
        let sql = format!(
            "with recursive Reached(id) as (select v.id from {ASKED} union {step}) \
             select path from ValidPaths where id in Reached"
        );
        self.paths(&sql, params![self.store_dir.as_str(), json_list(paths)])
    }

    fn rows_of(&self, asked: &str) -> Result<BTreeMap<StorePath, PathInfo>, Error> {
        let sql = format!("select {INFO_COLUMNS} from {ASKED}");
        let rows = self.collect(&sql, params![self.store_dir.as_str(), asked], RawInfo::read)?;
        let reader = self.reader();
        rows.into_iter().map(|raw| raw.parse(&reader).map(|info| (info.path.clone(), info))).collect()
    }

    fn references_of(&self, asked: &str) -> Result<Vec<(StorePath, StorePath)>, Error> {
        let sql = format!(
            "select v.path, t.path from {ASKED} cross join Refs r on r.referrer = v.id \
             cross join ValidPaths t on t.id = r.reference"
        );
        let rows = self.pairs(&sql, params![self.store_dir.as_str(), asked])?;
        let reader = self.reader();
        rows.into_iter().map(|(from, to)| Ok((reader.path(&from)?, reader.path(&to)?))).collect()
    }

    fn paths(&self, sql: &str, parameters: impl Params) -> Result<BTreeSet<StorePath>, Error> {
        let rows: Vec<String> = self.collect(sql, parameters, |row| row.get(0))?;
        let reader = self.reader();
        rows.iter().map(|text| reader.path(text)).collect()
    }

    fn pairs(&self, sql: &str, parameters: impl Params) -> Result<Vec<(String, String)>, Error> {
        self.collect(sql, parameters, |row| Ok((row.get(0)?, row.get(1)?)))
    }

    pub(crate) fn collect<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_map(parameters, read)?.collect())
            .map_err(self.failed("look up paths"))
    }

    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader { database: &self.path, store_dir: &self.store_dir }
    }
}
