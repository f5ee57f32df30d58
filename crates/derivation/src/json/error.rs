//! What can be wrong with the JSON.

use std::fmt;

use store_path::{ContentAddressError, HashError, NameError, StoreDirError, StorePath, StorePathError};

use super::format::Format;

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
    /// Whether the derivation is in a field `derivations` of the file.
    pub is_wrapped: bool,
    /// The path of the derivation in the file, if it has one.
    pub derivation: Option<String>,
    /// The names to follow from there.
    pub field: Vec<String>,
}

impl Place {
    /// Returns all names to follow, from the outside in.
    pub fn names(&self) -> Vec<String> {
        let wrapper = self.is_wrapped.then(|| WRAPPER.to_owned());
        wrapper.into_iter().chain(self.derivation.clone()).chain(self.field.iter().cloned()).collect()
    }
}

/// The field of version 4 that holds the derivations.
pub(super) const WRAPPER: &str = "derivations";

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
    #[error(
        "there is no version `{found}` of this format, only 3 and 4; in a recipe, a version is part of the `name`"
    )]
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

/// A derivation that a form of JSON cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrintError {
    /// JSON holds text only.
    #[error("cannot print the derivation `{derivation}` as JSON: `{value}` is not UTF-8")]
    NotText {
        /// The derivation's path, or else its name.
        derivation: String,
        /// The bytes, as well as they can be shown.
        value: String,
    },
    /// It has what older releases of Nix had not.
    #[error("cannot print the derivation `{derivation}` in the form `{format}`, which has no {lacked}")]
    Lacked {
        /// The derivation's path, or else its name.
        derivation: String,
        /// The form asked for.
        format: Format,
        /// What it does not know.
        lacked: &'static str,
    },
    /// Alone, a derivation has to say its name.
    #[error("cannot print the derivation `{derivation}` alone in the form `{format}`, which has no names")]
    Nameless {
        /// The derivation's name.
        derivation: String,
        /// The form asked for.
        format: Format,
    },
}
