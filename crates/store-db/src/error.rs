//! Why the database could not answer.

use std::path::PathBuf;

use store_path::StorePath;

/// What SQLite said, without its type: callers can show it, not match on it.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the database could not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not there, not a database, or not ours to open.
    #[error("cannot open the store database `{}`", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: Cause,
    },

    /// A statement failed: the disk is full, the file is damaged, or another process keeps it locked.
    #[error("cannot {action} in the store database `{}`", path.display())]
    Statement {
        /// What was to be done, as a phrase.
        action: &'static str,
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: Cause,
    },

    /// A later version of this program has changed our own database.
    #[error(
        "the database of builds `{}` has version {found}, and this `store` knows versions up to {known}; \
         use the newer one, or move that file away: what was built until now is then of unknown isolation",
        path.display()
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version known here.
        known: usize,
    },

    /// A row holds something that is neither a store path nor a hash.
    #[error("the store database `{}` has a row with a bad {column}: `{text}`", path.display())]
    Row {
        /// The database file.
        path: PathBuf,
        /// What the text should have been.
        column: &'static str,
        /// The text in the row.
        text: String,
        /// What is wrong with it.
        source: Cause,
    },

    /// A path cannot become valid before what it refers to.
    #[error("cannot register `{path}`: it refers to `{reference}`, which is not valid")]
    InvalidReference {
        /// The path to be registered.
        path: StorePath,
        /// The path that has to be valid first.
        reference: StorePath,
    },

    /// A path has to stay valid for as long as a valid path refers to it.
    #[error("cannot forget `{path}`: `{referrer}` refers to it")]
    Referred {
        /// The path to be forgotten.
        path: StorePath,
        /// One of those that refer to it.
        referrer: StorePath,
    },

    /// An output of a resolved derivation is one path only, as long as that is valid.
    #[error(
        "cannot register `{path}` as the output `{output}` of `{drv}`: that is `{present}`, which is valid"
    )]
    Realised {
        /// The derivation.
        drv: StorePath,
        /// The name of its output.
        output: String,
        /// What it was to become.
        path: StorePath,
        /// What it is.
        present: StorePath,
    },
}
