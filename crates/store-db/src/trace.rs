//! The build trace: what outputs have turned out to be whose paths nobody knew before they were built.
//!
//! As in Nix 2.36, where the rows of derivations hold base names and those of outputs full paths. The table is
//! made by the first who has something to write into it; until then the database is as any Nix makes it. A row
//! may outlive its output, as Nix's collector takes paths away without a word: so only valid outputs are told.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};
use store_path::{Realisation, StorePath};

use crate::Db;
use crate::error::Error;
use crate::rows::{Reader, json_list, words};
use crate::schema::TRACE_SCHEMA;
use crate::write::Transaction;

impl Db {
    /// Returns what is known of the outputs of `drvs` that are valid, by derivation and name.
    pub fn realisations(&self, drvs: &BTreeSet<StorePath>) -> Result<Vec<Realisation>, Error> {
        if !has_trace(&self.connection).map_err(self.failed("look for the build trace"))? {
            return Ok(Vec::new());
        }
        // Of two rows for one output, Nix reads the first.
        let sql = "select b.drvPath, b.outputName, b.outputPath, b.signatures, min(b.id) \
                   from json_each(?1) j cross join BuildTraceV3 b on b.drvPath = j.value \
                   cross join ValidPaths v on v.path = b.outputPath \
                   group by b.drvPath, b.outputName order by b.drvPath, b.outputName";
        let rows = self.collect(sql, params![json_list(drvs)], RawRealisation::read)?;
        let reader = self.reader();
        rows.into_iter().map(|row| row.parse(&reader)).collect()
    }
}

impl Transaction<'_> {
    /// Writes down what outputs have turned out to be; all their paths are valid.
    ///
    /// # Errors
    /// [`Error::Realised`] if one of them is known to be another path, and that is valid.
    pub fn add_realisations(&mut self, realisations: &[Realisation]) -> Result<(), Error> {
        if realisations.is_empty() {
            return Ok(());
        }
        if !has_trace(&self.inner).map_err(self.failed("look for the build trace"))? {
            self.inner.execute_batch(TRACE_SCHEMA).map_err(self.failed("make the build trace"))?;
        }
        realisations.iter().try_for_each(|realisation| self.add_realisation(realisation))
    }

    fn add_realisation(&self, new: &Realisation) -> Result<(), Error> {
        let present = self.present(new)?;
        let signatures = match &present {
            Some(present) if present.path != new.path => {
                return Err(Error::Realised {
                    drv: new.drv.clone(),
                    output: new.output.clone(),
                    path: new.path.clone(),
                    present: present.path.clone(),
                });
            }
            Some(present) => present.signatures.iter().chain(&new.signatures).cloned().collect(),
            None => new.signatures.iter().cloned().collect::<BTreeSet<_>>(),
        };
        let signatures = signatures.into_iter().collect::<Vec<_>>().join(" ");
        let key = params![new.drv.to_string(), new.output];
        let forget = "delete from BuildTraceV3 where drvPath = ?1 and outputName = ?2";
        let insert = "insert into BuildTraceV3 (drvPath, outputName, outputPath, signatures) \
                      values (?1, ?2, ?3, ?4)";
        self.inner
            .prepare_cached(forget)
            .and_then(|mut forget| forget.execute(key))
            .and_then(|_| self.inner.prepare_cached(insert))
            .and_then(|mut insert| {
                insert.execute(params![new.drv.to_string(), new.output, self.print(&new.path), signatures])
            })
            .map(|_| ())
            .map_err(self.failed("write the build trace"))
    }

    /// Returns what the output of `new` is known to be, if that is valid.
    fn present(&self, new: &Realisation) -> Result<Option<Realisation>, Error> {
        let sql = "select b.drvPath, b.outputName, b.outputPath, b.signatures \
                   from BuildTraceV3 b join ValidPaths v on v.path = b.outputPath \
                   where b.drvPath = ?1 and b.outputName = ?2 order by b.id limit 1";
        let key = params![new.drv.to_string(), new.output];
        let row = self
            .inner
            .prepare_cached(sql)
            .and_then(|mut query| query.query_row(key, RawRealisation::read).optional())
            .map_err(self.failed("look up the build trace"))?;
        let reader = Reader { database: self.database, store_dir: self.store_dir };
        row.map(|row| row.parse(&reader)).transpose()
    }

    /// Forgets of everything that is not valid any more whose output it was. Nix takes paths away without a word.
    pub fn forget_dead_realisations(&self) -> Result<(), Error> {
        let failed = self.failed("forget what an output was");
        if !has_trace(&self.inner).map_err(&failed)? {
            return Ok(());
        }
        let sql = "delete from BuildTraceV3 where outputPath not in (select path from ValidPaths)";
        self.inner.execute(sql, []).map(|_| ()).map_err(failed)
    }

    /// Forgets whose outputs `paths` were, which are not valid any more.
    pub(crate) fn forget_realisations(&self, paths: &BTreeSet<StorePath>) -> Result<(), Error> {
        let failed = self.failed("forget what an output was");
        if !has_trace(&self.inner).map_err(&failed)? {
            return Ok(());
        }
        let sql =
            "delete from BuildTraceV3 where outputPath in (select ?1 || '/' || value from json_each(?2))";
        let forget = self
            .inner
            .prepare_cached(sql)
            .and_then(|mut forget| forget.execute(params![self.store_dir.as_str(), json_list(paths)]));
        forget.map(|_| ()).map_err(failed)
    }
}

fn has_trace(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = "select 1 from sqlite_schema where type = 'table' and name = 'BuildTraceV3'";
    connection.prepare_cached(sql)?.exists([])
}

/// A row before its text is parsed.
struct RawRealisation {
    drv: String,
    output: String,
    path: String,
    signatures: Option<String>,
}

impl RawRealisation {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { drv: row.get(0)?, output: row.get(1)?, path: row.get(2)?, signatures: row.get(3)? })
    }

    fn parse(self, reader: &Reader<'_>) -> Result<Realisation, Error> {
        Ok(Realisation {
            drv: self.drv.parse().map_err(reader.bad("derivation", &self.drv))?,
            output: self.output,
            path: reader.path(&self.path)?,
            signatures: words(self.signatures.as_deref().unwrap_or("")),
        })
    }
}
