//! What can be wrong with the JSON.

use std::fmt;

use store_path::{ContentAddressError, HashError, NameError, StoreDirError, StorePath, StorePathError};

/// A file that does not describe derivations.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It is not JSON, or nothing like what is expected.
    #[error("cannot read the JSON")]
    Syntax(#[from] serde_json::Error),
    /// One field is wrong.
    #[error("cannot read {place}")]
    Field {
        /// Where the field is.
        place: Place,
        /// What is wrong with it.
        #[source]
        problem: Problem,
    },
}

/// Where in a file something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The path of the derivation in the file, if it has one.
    pub derivation: Option<String>,
    /// The names to follow from there.
    pub field: Vec<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.field, &self.derivation) {
            ([], None) => write!(formatter, "the derivation"),
            ([], Some(derivation)) => write!(formatter, "the derivation `{derivation}`"),
            (field, None) => write!(formatter, "the field `{}`", field.join(".")),
            (field, Some(derivation)) => {
                write!(formatter, "the field `{}` of the derivation `{derivation}`", field.join("."))
            }
        }
    }
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A value of another kind.
    #[error("expected {expected}, found {found}")]
    Kind {
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// It has to be there.
    #[error("it is missing")]
    Missing,
    /// No version of the format has it.
    #[error("there is no such field")]
    Unknown,
    /// Which of the two counts?
    #[error("it is there twice")]
    Twice,
    /// Only versions 3 and 4 say which they are.
    #[error("there is no version `{found}` of this format, only 3 and 4")]
    Version {
        /// The version it claims.
        found: String,
    },
    /// The file says in two places what the derivation is called.
    #[error("it is `{name}`, but the derivation's path says `{expected}`")]
    OtherName {
        /// The name here.
        name: String,
        /// The name in the path.
        expected: String,
    },
    /// The path of a derivation ends with `.drv`.
    #[error("`{path}` is not the path of a derivation")]
    NotDerivation {
        /// The path.
        path: StorePath,
    },
    /// Not a name.
    #[error("cannot read a name")]
    Name(#[source] NameError),
    /// Not a full path in this store.
    #[error("cannot read a store path")]
    Path(#[source] StoreDirError),
    /// Not the last component of a path in a store.
    #[error("cannot read a store path")]
    BasePath(#[source] StorePathError),
    /// Not a hash.
    #[error("cannot read a hash")]
    Hash(#[source] HashError),
    /// Not a way to hash.
    #[error("cannot read the method of hashing")]
    Method(#[source] ContentAddressError),
    /// Texts are hashed with SHA-256 only.
    #[error("an output hashed as text needs `sha256`")]
    TextAlgorithm,
    /// The fields of an output do not go together.
    #[error(
        "an output has a `path`, a `hash`, a `hashAlgo` without a `hash` or a `path`, or nothing of these"
    )]
    OutputForm,
    /// The path of a fixed output follows from its hash, to another one.
    #[error("the output has the path `{stated}`, but its hash makes it `{computed}`")]
    FixedPath {
        /// The path in the file.
        stated: StorePath,
        /// The path that follows from the hash.
        computed: StorePath,
    },
    /// An input without outputs is no input.
    #[error("no output of the input derivation is wanted")]
    NothingWanted,
    /// Derivations made by derivations made by derivations, and so on.
    #[error("dynamic outputs are nested more than {} deep", crate::model::MAX_DYNAMIC_DEPTH)]
    TooDeep,
    /// Structured attributes are kept in that variable.
    #[error("structured attributes and the variable `__json` exclude each other")]
    TwoAttributes,
}

/// A derivation that JSON cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot print the derivation `{derivation}` as JSON: `{value}` is not UTF-8")]
pub struct NotText {
    /// The derivation's path.
    pub derivation: StorePath,
    /// The bytes, as well as they can be shown.
    pub value: String,
}
