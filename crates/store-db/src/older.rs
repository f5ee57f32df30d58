//! Older schemas of Nix: what they lack, for those who only read, and how it is added for good.
//!
//! ```text
//! 6, 7   as 10, but for three columns of `ValidPaths`; and there is `FailedPaths`, which nobody reads any more (so in Guix)
//! 8      has `ultimate` and `sigs`
//! 9      has no `FailedPaths`
//! 10     has `ca`
//! ```
//!
//! Later releases of Nix keep the number 10 and write into a table `SchemaMigrations` what they have changed since. They drop
//! the index `IndexReferrer`, which is the beginning of a primary key anyway: it is neither missed nor made again.

use rusqlite::Connection;

use crate::error::Error;
use crate::write::Transaction;

/// The columns of `ValidPaths` that were added, in the order and with the types Nix gave them.
const ADDED: [(&str, &str); 3] = [("ultimate", "integer"), ("sigs", "text"), ("ca", "text")];

/// Shows this connection what it lacks as if it were there and empty; nothing is written.
pub(crate) fn stand_in(connection: &Connection) -> rusqlite::Result<()> {
    let missing = missing(connection)?;
    if missing.is_empty() {
        return Ok(());
    }
    let nothing: String = missing.iter().map(|(name, _)| format!(", null as {name}")).collect();
    // What is temporary comes first where a name is looked up.
    connection
        .execute_batch(&format!("create temp view ValidPaths as select *{nothing} from main.ValidPaths"))
}

pub(crate) fn lacks_nothing(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(missing(connection)?.is_empty())
}

impl Transaction<'_> {
    /// Adds what an older schema lacks and takes away what it has too much.
    pub(crate) fn upgrade(&mut self) -> Result<(), Error> {
        let failed = self.failed("bring the schema up to date");
        for (name, kind) in missing(&self.inner).map_err(&failed)? {
            let sql = format!("alter table ValidPaths add column {name} {kind}");
            self.inner.execute_batch(&sql).map_err(&failed)?;
        }
        self.inner.execute_batch("drop table if exists FailedPaths").map_err(failed)
    }
}

fn missing(connection: &Connection) -> rusqlite::Result<Vec<(&'static str, &'static str)>> {
    let mut query = connection.prepare("select name from pragma_table_info('ValidPaths', 'main')")?;
    let present: Vec<String> = query.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(ADDED.into_iter().filter(|(name, _)| !present.iter().any(|column| column == name)).collect())
}
