//! What can be wrong with what a derivation asks for.

use store_path::StoreDirError;

use crate::OutputName;

/// A derivation asks for something in a way that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum OptionError {
    /// The variable `__json` holds something else.
    #[error("cannot read the structured attributes in the variable `__json`")]
    Structured(#[source] serde_json::Error),
    /// A structured attribute of another kind.
    #[error("the structured attribute `{attribute}` should be {expected}, not {found}")]
    Kind {
        /// The attribute, with the names to follow to it.
        attribute: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// `exportReferencesGraph` alternates between files and paths.
    #[error(
        "the attribute `exportReferencesGraph` has an odd number of words: it ends with the file `{file}`, \
         without a path for it"
    )]
    NoPath {
        /// The last file.
        file: String,
    },
    /// The file would lie somewhere else, or nowhere.
    #[error(
        "the attribute `exportReferencesGraph` has the file name `{file}`; such a name begins with a letter or `_`, \
         and goes on with letters, digits, `_`, `.` and `-`"
    )]
    FileName {
        /// The file.
        file: String,
    },
    /// A closure is wanted of something that is not in the store.
    #[error("cannot read the attribute `exportReferencesGraph` at `{name}`")]
    ExportPath {
        /// The file or attribute that it would be told in.
        name: String,
        /// What is wrong with the path.
        source: StoreDirError,
    },
    /// Neither a path nor the name of an output.
    #[error(
        "the attribute `{attribute}` names `{found}`, which is neither a store path nor the name of an output"
    )]
    Reference {
        /// The attribute, with the names to follow to it.
        attribute: String,
        /// What it names.
        found: String,
    },
    /// A rule names an output that there is not.
    #[error(
        "the attribute `{attribute}` names the output `{found}`, which there is not; its outputs are {outputs}"
    )]
    NoSuchOutput {
        /// The attribute, with the names to follow to it.
        attribute: String,
        /// What it names.
        found: OutputName,
        /// The outputs there are.
        outputs: String,
    },
    /// JSON holds text only.
    #[error(
        "the attribute `{attribute}` has `{found}` in it, which is not UTF-8 and cannot be printed as JSON"
    )]
    NotText {
        /// The attribute.
        attribute: &'static str,
        /// The bytes, as well as they can be shown.
        found: String,
    },
}
