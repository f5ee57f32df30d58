//! The database of a store: which paths are valid, and what refers to what. Floor 1.
//!
//! Every line of SQL there is lives here, and nothing here looks at the store directory: a row says what
//! a path *should* be, `local-store` makes it so before it asks for the row.
//!
//! The schema is Nix's number 10, to the byte, so that Nix opens the same file. Rows hold full paths
//! below the logical store directory, whichever directory the files really are in. How paths were built is in
//! a file of our own ([`Records`]), of which Nix knows nothing.
//!
//! ```
//! use store_db::{Db, Options};
//! use store_path::StoreDir;
//!
//! # let directory = std::env::temp_dir().join(format!("store-db-{}", std::process::id()));
//! # std::fs::create_dir_all(&directory)?;
//! let options = Options { wal: true, synchronous: true };
//! let db = Db::open(&directory.join("db.sqlite"), StoreDir::default(), options)?;
//! assert!(db.all_valid()?.is_empty());
//! # drop(db);
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod check;
mod db;
mod edges;
mod error;
mod graph;
mod history;
mod older;
mod read;
mod records;
mod records_schema;
mod references;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod trace;
mod untouched;
mod uses;
mod waiting;
mod write;

pub use check::Checked;
pub use db::{Db, Options};
pub use error::Error;
pub use graph::{Graph, Keep, Marks, PathId};
pub use records::Records;
pub use references::{Keepers, Orders, Part, Reach, References, Tie, Ways, Weights};
pub use waiting::Patience;
pub use write::Transaction;
