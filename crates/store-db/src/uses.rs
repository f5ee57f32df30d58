//! When paths were last used, to the day: for a collection of what has not been used for long.
//!
//! Nothing depends on it. A path of which nothing is noted was used when it became valid, for all that is known.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::params;
use store_path::StorePath;

use crate::Db;
use crate::error::Error;
use crate::records::{Change, Records};
use crate::records_schema::USES;
use crate::rows::json_list;

/// How many rows are looked at, whether their paths are valid still, each time that something is noted.
///
/// Nix's collector takes paths away without a word. Paths begin with digests, so each look is somewhere else.
const NEIGHBOURS: i64 = 64;

impl Records {
    /// Notes that `paths` are used on `day`, in days since 1970. What is noted already is not written again, so a second
    /// use on a day only costs a question.
    pub fn note_uses(&mut self, paths: &BTreeSet<StorePath>, day: i64, valid: &Db) -> Result<(), Error> {
        let known = self.uses(paths)?;
        let is_new = |path: &&StorePath| known.get(*path).is_none_or(|known| *known < day);
        let new: Vec<&StorePath> = paths.iter().filter(is_new).collect();
        let Some(first) = new.first() else { return Ok(()) };
        let gone = self.uses_of_nothing(first, valid)?;
        self.change(|change| {
            new.iter().try_for_each(|path| change.note_use(path, day))?;
            gone.iter().try_for_each(|path| change.forget_use(path))
        })
    }

    /// Returns the days on which those of `paths` were used last of which one is noted.
    pub fn uses(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeMap<StorePath, i64>, Error> {
        if !self.has(USES) {
            return Ok(BTreeMap::new());
        }
        let sql = "select u.path, u.day from json_each(?1) j cross join Uses u on u.path = j.value";
        let rows: Vec<(String, i64)> = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut query| {
                query.query_map([json_list(paths)], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
            })
            .map_err(self.failed("look up when paths were used"))?;
        Ok(rows.into_iter().filter_map(|(path, day)| Some((path.parse().ok()?, day))).collect())
    }

    /// Returns some paths from `first` on that are noted and not valid.
    fn uses_of_nothing(&self, first: &StorePath, valid: &Db) -> Result<Vec<StorePath>, Error> {
        let sql = "select path from Uses where path >= ?1 order by path limit ?2";
        let near: Vec<String> = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut query| {
                query.query_map(params![first.to_string(), NEIGHBOURS], |row| row.get(0))?.collect()
            })
            .map_err(self.failed("look for uses of paths that are gone"))?;
        let near: BTreeSet<StorePath> = near.iter().filter_map(|path| path.parse().ok()).collect();
        let valid = valid.valid_among(&near)?;
        Ok(near.difference(&valid).cloned().collect())
    }
}

impl Change<'_> {
    fn note_use(&self, path: &StorePath, day: i64) -> Result<(), Error> {
        let sql = "insert into Uses (path, day) values (?1, ?2) \
                   on conflict (path) do update set day = excluded.day where day < excluded.day";
        self.execute("note when a path was used", sql, params![path.to_string(), day])
    }

    pub(crate) fn forget_use(&self, path: &StorePath) -> Result<(), Error> {
        self.execute("forget when a path was used", "delete from Uses where path = ?1", [path.to_string()])
    }
}
