//! What can be wrong with the text.

use store_path::{HashError, NameError, StoreDirError, StorePath};

/// A `.drv` file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the derivation `{name}` at byte {offset}")]
pub struct ParseError {
    /// The name it was to have.
    pub name: String,
    /// Where the string begins that is wrong, or where reading ended, counted from 0.
    pub offset: usize,
    /// What is wrong there.
    #[source]
    pub problem: Problem,
}

/// What is wrong at one place of a `.drv` file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Something else should stand here.
    #[error("expected `{expected}`, found {found}")]
    Expected {
        /// What should stand here.
        expected: &'static str,
        /// What does.
        found: String,
    },
    /// A string has no closing quote.
    #[error("the file ends inside a string")]
    OpenString,
    /// The file goes on behind the derivation.
    #[error("something follows the derivation")]
    Trailing,
    /// Derivations of this version have never been heard of.
    #[error("there is no derivation format `{version}`")]
    Version {
        /// The version it claims.
        version: String,
    },
    /// Which of the two counts?
    #[error("`{name}` is there twice")]
    Twice {
        /// What is given twice.
        name: String,
    },
    /// An input without outputs is no input.
    #[error("no output of the input derivation is wanted")]
    NothingWanted,
    /// Derivations made by derivations made by derivations, and so on.
    #[error("dynamic outputs are nested more than {} deep", crate::model::MAX_DYNAMIC_DEPTH)]
    TooDeep,
    /// Not a path in this store.
    #[error("cannot read a store path")]
    Path(#[source] StoreDirError),
    /// Not a name of an output, or too long together with the derivation's.
    #[error("cannot read the name of an output")]
    Name(#[source] NameError),
    /// No promise can be read.
    #[error("cannot read the hash of an output")]
    Hash(#[source] HashError),
    /// Texts are hashed with SHA-256 only.
    #[error("an output hashed as text needs `sha256`")]
    TextAlgorithm,
    /// Three texts describe an output; these do not go together.
    #[error("an output cannot have the path `{path}`, the algorithm `{algorithm}` and the hash `{hash}`")]
    OutputForm {
        /// The first text.
        path: String,
        /// The second.
        algorithm: String,
        /// The third.
        hash: String,
    },
    /// The path of a fixed output follows from its hash, to another one.
    #[error("the output has the path `{stated}`, but its hash makes it `{computed}`")]
    FixedPath {
        /// The path in the file.
        stated: StorePath,
        /// The path that follows from the hash.
        computed: StorePath,
    },
}
