//! Why a substituter did not give what it was asked for.

use std::io;
use std::path::PathBuf;

use sandbox::ExitStatus;
use store_path::{ContentAddress, Hash, StorePath};

/// Why a substituter did not give what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started.
    #[error("cannot start the substituter `{}` (setting `external-substituters`)", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What was in the way.
        source: sandbox::Error,
    },
    /// It could not be talked to.
    #[error("cannot talk to the substituter `{}` (setting `external-substituters`)", program.display())]
    Talk {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The process that minds it is gone, or all of it was stopped.
    #[error("lost the substituter `{}` (setting `external-substituters`)", program.display())]
    Lost {
        /// The program.
        program: PathBuf,
        /// How.
        source: sandbox::Error,
    },
    /// What it answered is no answer.
    #[error("the substituter `{}` does not answer as it should; it {}{}", program.display(), ended(*status), words(said))]
    Reply {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it printed for people.
        said: Vec<String>,
        /// What is wrong with the answer.
        source: ReplyError,
    },
    /// It was to fetch something, and failed.
    #[error("the substituter `{}` {} instead of fetching `{path}`{}", program.display(), ended(*status), words(said))]
    Failed {
        /// The program.
        program: PathBuf,
        /// What it was to fetch.
        path: StorePath,
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it printed for people.
        said: Vec<String>,
    },
    /// It did not say what the hash of the archive is.
    #[error(
        "the substituter `{}` did not print the SHA-256 of what it fetched for `{path}`, as `sha256:…`, but `{}`",
        program.display(),
        printed.escape_default()
    )]
    NoHash {
        /// The program.
        program: PathBuf,
        /// What it was to fetch.
        path: StorePath,
        /// What it printed.
        printed: String,
    },
    /// What it made cannot be a store path.
    #[error("cannot take what the substituter `{}` made for `{path}`", program.display())]
    Tree {
        /// The program.
        program: PathBuf,
        /// What it was to fetch.
        path: StorePath,
        /// What is wrong with it.
        source: local_store::Error,
    },
    /// The archive of what it made has another hash than it says.
    #[error(
        "what the substituter `{}` fetched for `{path}` is damaged: its archive should have the hash {stated}, and has {got}",
        program.display()
    )]
    Hash {
        /// The program.
        program: PathBuf,
        /// What it was to fetch.
        path: StorePath,
        /// What it said.
        stated: Box<Hash>,
        /// What it is.
        got: Box<Hash>,
    },
    /// What it made is not what the derivation promises.
    #[error(
        "what the substituter `{}` fetched for `{path}` is not what its derivation promises: it should have the hash {}, \
         and has {got}",
        program.display(),
        promised.hash
    )]
    Content {
        /// The program.
        program: PathBuf,
        /// What it was to fetch.
        path: StorePath,
        /// The promise.
        promised: Box<ContentAddress>,
        /// What it is.
        got: Box<Hash>,
    },
    /// It has another path of that name than the one that is to be repaired.
    #[error(
        "the substituter `{}` has something else for `{path}` than what is valid: it has the hash {got}, not {valid}",
        program.display()
    )]
    Other {
        /// The program.
        program: PathBuf,
        /// What it was to fetch.
        path: StorePath,
        /// The hash in the database.
        valid: Box<Hash>,
        /// What it has.
        got: Box<Hash>,
    },
    /// The store could not be asked, or could not take it.
    #[error(transparent)]
    Store(#[from] local_store::Error),
}

/// What is wrong with an answer to a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// It ends too early.
    #[error("the answer ends in the middle")]
    Unfinished,
    /// It tells of something else.
    #[error("it tells of `{}`, for which nobody asked", line.escape_default())]
    Unasked {
        /// What it says instead of a path that was asked for.
        line: String,
    },
    /// It tells of something twice.
    #[error("it tells of `{path}` twice")]
    Twice {
        /// What it tells of.
        path: StorePath,
    },
    /// A path is none.
    #[error("`{}` is no path of this store", line.escape_default())]
    NoPath {
        /// What it says instead.
        line: String,
    },
    /// A number is none.
    #[error("`{}` is no number that could be meant", line.escape_default())]
    NoNumber {
        /// What it says instead.
        line: String,
    },
}

pub(crate) fn ended(status: ExitStatus) -> String {
    match status {
        ExitStatus::Code(code) => format!("returned {code}"),
        ExitStatus::Signal(signal) => format!("was killed by signal {signal}"),
        ExitStatus::Overran(_) => "printed too much".to_owned(),
        ExitStatus::GivenUp => "was ended".to_owned(),
    }
}

/// What was said, as the end of a sentence.
fn words(said: &[String]) -> String {
    said.iter().map(|line| format!("\n  {line}")).collect()
}
