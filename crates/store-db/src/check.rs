//! Whether a database is whole: its pages, what its rows refer to, and what they say.

use std::collections::BTreeSet;

use rusqlite::Connection;
use store_path::StorePath;

use crate::Db;
use crate::error::Error;
use crate::records::Records;
use crate::rows::{INFO_COLUMNS, RawInfo};

/// As many complaints of SQLite about its pages are enough.
const MOST: usize = 100;

/// What a look at the whole database of a store has found.
#[derive(Debug, Default)]
pub struct Checked {
    /// What is wrong, a sentence each, in the order in which it was found.
    pub problems: Vec<String>,
    /// The valid paths whose rows can be read.
    pub paths: BTreeSet<StorePath>,
}

impl Db {
    /// Looks at the whole database; with `thorough` also whether its indexes hold what its tables do, which takes longer.
    ///
    /// # Errors
    /// If it cannot be read at all.
    pub fn check(&self, thorough: bool) -> Result<Checked, Error> {
        let failed = self.failed("check the tables");
        let mut checked =
            Checked { problems: check(&self.connection, thorough).map_err(&failed)?, ..Checked::default() };
        self.read_paths(&mut checked).map_err(&failed)?;
        self.read_outputs(&mut checked).map_err(failed)?;
        Ok(checked)
    }

    fn read_paths(&self, checked: &mut Checked) -> rusqlite::Result<()> {
        let reader = self.reader();
        let mut query = self.connection.prepare(&format!("select {INFO_COLUMNS}, v.id from ValidPaths v"))?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let problem = match RawInfo::read(row).map(|raw| raw.parse(&reader)) {
                Ok(Ok(info)) => {
                    checked.paths.insert(info.path);
                    continue;
                }
                Ok(Err(Error::Row { column, text, source, .. })) => {
                    format!("has a bad {column}: `{text}`: {source}")
                }
                Ok(Err(other)) => other.to_string(),
                Err(source) => format!("cannot be read: {source}"),
            };
            let id: i64 = row.get(8)?;
            checked.problems.push(format!("the row {id} of ValidPaths {problem}"));
        }
        Ok(())
    }

    fn read_outputs(&self, checked: &mut Checked) -> rusqlite::Result<()> {
        let reader = self.reader();
        let mut query = self.connection.prepare("select drv, id, path from DerivationOutputs")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (drv, name, path): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if let Err(Error::Row { text, source, .. }) = reader.path(&path) {
                checked.problems.push(format!(
                    "the output {name} of the row {drv} of ValidPaths has a bad path: `{text}`: {source}"
                ));
            }
        }
        Ok(())
    }
}

impl Records {
    /// Looks at the whole database as [`Db::check`] does, and returns what is wrong.
    pub fn check(&self, thorough: bool) -> Result<Vec<String>, Error> {
        check(&self.connection, thorough).map_err(self.failed("check the tables"))
    }
}

fn check(connection: &Connection, thorough: bool) -> rusqlite::Result<Vec<String>> {
    let pages = if thorough { "integrity_check" } else { "quick_check" };
    let mut query = connection.prepare(&format!("pragma {pages}({MOST})"))?;
    let said: Vec<String> = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut problems: Vec<String> = said.into_iter().filter(|text| text != "ok").collect();
    let mut query = connection.prepare("pragma foreign_key_check")?;
    let dangling = query.query_map([], |row| {
        let (table, row, parent): (String, Option<i64>, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let row = row.map_or_else(|| "a row".to_owned(), |row| format!("the row {row}"));
        Ok(format!("{row} of {table} refers to a row of {parent} that is not there"))
    })?;
    for problem in dangling {
        problems.push(problem?);
    }
    Ok(problems)
}
