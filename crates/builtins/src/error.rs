//! What every builder may stumble over.

use std::io;
use std::path::{Path, PathBuf};

/// Why an attribute cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttributeError {
    /// It is not there.
    #[error("the attribute `{name}` is missing")]
    Missing {
        /// Which.
        name: &'static str,
    },
    /// It has bytes that are no text.
    #[error("the attribute `{name}` is not UTF-8")]
    NotText {
        /// Which.
        name: &'static str,
    },
    /// It does not have the form that it should.
    #[error("the attribute `{name}` {problem}")]
    Form {
        /// Which.
        name: &'static str,
        /// What is wrong; completes the sentence.
        problem: String,
    },
}

/// The system refused something.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`", path.display())]
pub(crate) struct FileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Says of an error of the system what was to be done with which file.
pub(crate) fn file<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> FileError {
    let path = path.to_owned();
    move |source| FileError { action, path, source: source.into() }
}

/// An error and what caused it, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
