//! What past builds lead one to expect, and the last of those that failed.
//!
//! Both are in our own database and both are bounded. Nothing depends on them: a build whose record can be
//! written is kept, whether or not anything can be learned from it.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::params;
use store_path::{BuildRecord, Expected, FailedBuild, Name, PathInfo, StorePath, without_version};

use crate::Records;
use crate::error::Error;
use crate::records::{Change, micros};
use crate::records_schema::PAST;

/// How many names are remembered: those that were built last.
const MOST_NAMES: i64 = 20_000;

/// Each name whose row has a number that this divides takes the names away that are too many.
const SWEEP_EVERY: i64 = 64;

/// How many failures are remembered.
const MOST_FAILURES: i64 = 1_000;

/// As many bytes are kept of why a build has failed.
const LONGEST_REASON: usize = 4 << 10;

/// Sums of two do not overflow.
const LARGEST: u64 = (i64::MAX / 2).cast_unsigned();

impl Records {
    /// Returns what is to be expected of building each of `drvs`: as builds of the same name went, else as the last one
    /// did of the same name with another version.
    pub fn expected(&self, drvs: &[&StorePath]) -> Result<Vec<Option<Expected>>, Error> {
        let sql = "select j.key, p.wallTime, p.peakMemory, \
                   (select coalesce(sum(value), 0) from json_each(p.outputs)), p.name <> j.value ->> 0 \
                   from json_each(?1) j join PastBuilds p on p.id = coalesce(\
                     (select id from PastBuilds where name = j.value ->> 0), \
                     (select id from PastBuilds where stem = j.value ->> 1 order by last desc limit 1))";
        let mut all = vec![None; drvs.len()];
        if !self.has(PAST) {
            return Ok(all);
        }
        let mut read = || {
            let mut query = self.connection.prepare_cached(sql)?;
            let mut rows = query.query([names_and_stems(drvs)])?;
            while let Some(row) = rows.next()? {
                let expected = Expected {
                    wall_time: Duration::from_micros(row.get::<_, i64>(1)?.unsigned_abs()),
                    peak_memory_bytes: row.get::<_, i64>(2)?.unsigned_abs(),
                    output_bytes: row.get::<_, i64>(3)?.unsigned_abs(),
                    is_of_other_version: row.get(4)?,
                };
                all[row.get::<_, u32>(0)? as usize] = Some(expected);
            }
            Ok(())
        };
        read().map_err(self.failed("look up past builds"))?;
        Ok(all)
    }

    /// Writes down a build that was tried in vain.
    pub fn add_failure(&mut self, failure: &FailedBuild) -> Result<(), Error> {
        self.change(|change| change.add_failure(failure))
    }

    /// Returns the last builds that failed, at most so many, the last one first. What was cancelled has not failed.
    pub fn failures(&self, most: usize) -> Result<Vec<FailedBuild>, Error> {
        self.failures_of(None, most)
    }

    /// Returns the last build of `drv` that failed or was cancelled, as far as that is still remembered.
    pub fn last_failure(&self, drv: &StorePath) -> Result<Option<FailedBuild>, Error> {
        Ok(self.failures_of(Some(drv), 1)?.pop())
    }

    /// Few enough are remembered that looking through all of them takes no time.
    fn failures_of(&self, drv: Option<&StorePath>, most: usize) -> Result<Vec<FailedBuild>, Error> {
        if !self.has(PAST) {
            return Ok(Vec::new());
        }
        let sql = "select drv, started, wallTime, kind, why from Failures \
                   where case when ?2 is null then kind <> 'cancelled' else drv = ?2 end \
                   order by id desc limit ?1";
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let read = |row: &rusqlite::Row<'_>| {
            let wall_time = Duration::from_micros(row.get::<_, i64>(2)?.unsigned_abs());
            Ok((row.get::<_, String>(0)?, row.get(1)?, wall_time, row.get(3)?, row.get(4)?))
        };
        let values = params![most, drv.map(|drv| self.store_dir.print(drv))];
        let rows: Vec<_> = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut query| query.query_map(values, read)?.collect())
            .map_err(self.failed("look up failed builds"))?;
        let parse = |(drv, started_millis, wall_time, kind, why): (String, _, _, _, _)| {
            Ok(FailedBuild { drv: self.reader().path(&drv)?, started_millis, wall_time, kind, why })
        };
        rows.into_iter().map(parse).collect()
    }
}

impl Change<'_> {
    /// Learns from a build, if that can be written down.
    ///
    /// # Errors
    /// Only if the transaction cannot go on.
    pub(crate) fn learn(&self, record: &BuildRecord, infos: &[PathInfo]) -> Result<(), Error> {
        let control = |sql| self.execute("begin to learn from a build", sql, []);
        control("savepoint Learn")?;
        if self.learn_from(record, infos).is_err() {
            control("rollback to Learn")?;
        }
        control("release Learn")
    }

    fn learn_from(&self, record: &BuildRecord, infos: &[PathInfo]) -> Result<(), Error> {
        let name = name_of(&record.drv);
        let sql = "insert into PastBuilds (name, stem, builds, last, wallTime, peakMemory, outputs) \
                   values (?1, ?2, 1, ?3, ?4, ?5, ?6) on conflict (name) do update set \
                   builds = builds + 1, last = excluded.last, wallTime = (wallTime + excluded.wallTime) / 2, \
                   peakMemory = max(excluded.peakMemory, (peakMemory + excluded.peakMemory) / 2), \
                   outputs = excluded.outputs returning id, builds";
        let values = params![
            name,
            without_version(name),
            record.started_millis,
            micros(record.wall_time).min(LARGEST.cast_signed()),
            record.peak_memory_bytes.min(LARGEST).cast_signed(),
            sizes(name, infos),
        ];
        let (id, builds): (i64, i64) = self
            .inner
            .prepare_cached(sql)
            .and_then(|mut query| query.query_row(values, |row| Ok((row.get(0)?, row.get(1)?))))
            .map_err(self.failed("learn from a build"))?;
        if builds == 1 && id % SWEEP_EVERY == 0 {
            let sql = "delete from PastBuilds where id in \
                       (select id from PastBuilds order by last desc limit -1 offset ?1)";
            self.execute("forget past builds", sql, [MOST_NAMES])?;
        }
        Ok(())
    }

    fn add_failure(&self, failure: &FailedBuild) -> Result<(), Error> {
        let FailedBuild { drv, started_millis, wall_time, kind, why } = failure;
        let why = &why[..why.floor_char_boundary(LONGEST_REASON)];
        let sql = "insert into Failures (drv, started, wallTime, kind, why) values (?1, ?2, ?3, ?4, ?5)";
        let values = params![self.store_dir.print(drv), started_millis, micros(*wall_time), kind, why];
        self.execute("record a failure", sql, values)?;
        let last = self.inner.last_insert_rowid();
        self.execute("forget failures", "delete from Failures where id <= ?1", [last - MOST_FAILURES])
    }
}

/// The name of a derivation, without `.drv`.
fn name_of(drv: &StorePath) -> &str {
    let name = drv.name().as_str();
    name.strip_suffix(".drv").unwrap_or(name)
}

/// A list of pairs as one bound value: names need no escaping in JSON.
fn names_and_stems(drvs: &[&StorePath]) -> String {
    let pair = |drv: &&StorePath| {
        let name = name_of(drv);
        format!("[\"{name}\",\"{}\"]", without_version(name))
    };
    format!("[{}]", drvs.iter().map(pair).collect::<Vec<_>>().join(","))
}

/// The size of each output by its name, as JSON.
fn sizes(name: &str, infos: &[PathInfo]) -> String {
    let sizes: BTreeMap<&str, u64> =
        infos.iter().map(|info| (output_of(name, info.path.name()), info.nar_size.min(LARGEST))).collect();
    let sizes: Vec<String> = sizes.iter().map(|(output, size)| format!("\"{output}\":{size}")).collect();
    format!("{{{}}}", sizes.join(","))
}

/// The output of which a path has its name: `out` has that of the derivation, others have theirs behind it.
fn output_of<'a>(derivation: &str, path: &'a Name) -> &'a str {
    path.as_str().strip_prefix(derivation).and_then(|rest| rest.strip_prefix('-')).unwrap_or("out")
}

#[cfg(test)]
mod tests;
