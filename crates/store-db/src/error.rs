//! Why the database could not answer.

use std::path::{Path, PathBuf};

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

    /// What is in the file of the store's database is not what SQLite has written.
    #[error(
        "cannot {action} in the store database `{}`, which is damaged: put the directory `{}` back from a copy; or move it \
         away, and make it anew of what can still be read: what `store dump-db` prints before that, `store load-db` enters \
         again after it, or `sqlite3 OLD/db.sqlite .dump | sqlite3 NEW/db.sqlite`, which may read more. `store verify --contents` \
         looks over what comes of it",
        path.display(),
        path.parent().unwrap_or(path).display()
    )]
    Damaged {
        /// What was to be done, as a phrase.
        action: &'static str,
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: Cause,
    },

    /// The same of our own database.
    #[error(
        "cannot {action} in the database of builds `{}`, which is damaged: move that file away; what was built until now is \
         then of unknown isolation, and nothing else is lost",
        path.display()
    )]
    DamagedRecords {
        /// What was to be done, as a phrase.
        action: &'static str,
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: Cause,
    },

    /// Another process has kept it locked for too long.
    #[error("the store database `{}` is locked, and has been for too long", path.display())]
    Busy {
        /// The database file.
        path: PathBuf,
    },

    /// It was opened to be read.
    #[error("cannot write to the store database `{}`: it was opened to be read only", path.display())]
    ReadOnly {
        /// The database file.
        path: PathBuf,
    },

    /// It was read without locks, as nothing may be written, and somebody wrote to it.
    #[error("the store database `{}` has changed while it was read; try again", path.display())]
    ChangedMeanwhile {
        /// The database file.
        path: PathBuf,
    },

    /// A killed process has left a change half done, and there is no write-ahead log, which could be read all the same.
    #[error(
        "cannot read the store database `{}`: a process that was killed has left a change half done in its `-journal`; \
         the first who may write there undoes it",
        path.display()
    )]
    HalfDone {
        /// The database file.
        path: PathBuf,
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

impl Error {
    /// Makes it one about our own database, which nobody needs to have back.
    pub(crate) fn of_records(self) -> Self {
        match self {
            Self::Damaged { action, path, source } => Self::DamagedRecords { action, path, source },
            other => other,
        }
    }

    /// Returns the database, if the system, or what is in it, was in the way.
    pub fn database(&self) -> Option<&Path> {
        match self {
            Self::Open { path, .. } | Self::Statement { path, .. } | Self::Row { path, .. } => Some(path),
            _ => None,
        }
    }
}
