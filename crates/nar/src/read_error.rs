//! What can be wrong with an archive.

use std::io;

/// An archive cannot be read on.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the archive at byte {offset}")]
pub struct ReadError {
    /// How many bytes were read before.
    pub offset: u64,
    /// What is wrong there.
    #[source]
    pub problem: Problem,
}

/// What is wrong at one place of an archive.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The bytes could not be had.
    #[error("cannot read its bytes")]
    Source {
        /// Why not.
        source: io::Error,
    },
    /// The bytes end within the archive.
    #[error("it ends too early")]
    Truncated,
    /// Another string is due here.
    #[error("expected {expected}, found `{}`", found.escape_ascii())]
    Token {
        /// What may stand here.
        expected: &'static str,
        /// What does, or its beginning.
        found: Vec<u8>,
    },
    /// A string is longer than anything that may stand here.
    #[error("a {what} cannot have {length} bytes")]
    Length {
        /// What the string is.
        what: &'static str,
        /// How long it says it is.
        length: u64,
    },
    /// The bytes that fill up a string are not zero.
    #[error("the padding is not zero")]
    Padding,
    /// The name of an entry is empty, `.` or `..`, or contains `/` or a zero.
    #[error("`{}` cannot be the name of an entry", name.escape_ascii())]
    Name {
        /// The name refused.
        name: Vec<u8>,
    },
    /// Entries have to be sorted, each name once.
    #[error("the entry `{}` does not sort after `{}`", name.escape_ascii(), previous.escape_ascii())]
    Order {
        /// The name refused.
        name: Vec<u8>,
        /// The name before it.
        previous: Vec<u8>,
    },
    /// The target of a symlink is empty or contains a zero.
    #[error("`{}` cannot be the target of a symlink", target.escape_ascii())]
    Target {
        /// The target refused.
        target: Vec<u8>,
    },
    /// There are directories in directories beyond the limit.
    #[error("directories are nested deeper than {limit} levels")]
    Depth {
        /// How deep a node may be.
        limit: usize,
    },
}
