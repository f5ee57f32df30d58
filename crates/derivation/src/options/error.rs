//! What can be wrong with what a derivation asks for.

use store_path::StoreDirError;

/// A derivation asks for something in a way that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum OptionError {
    /// The variable `__json` holds something else.
    #[error("cannot read the structured attributes in the variable `__json`")]
    Structured(#[source] serde_json::Error),
    /// A structured attribute of another kind.
    #[error("the attribute `{attribute}` should be {expected}")]
    Kind {
        /// The attribute.
        attribute: String,
        /// What it should be.
        expected: &'static str,
    },
    /// `exportReferencesGraph` alternates between files and paths.
    #[error("the attribute `exportReferencesGraph` ends with the file `{file}`, without a path for it")]
    NoPath {
        /// The last file.
        file: String,
    },
    /// The file would lie somewhere else, or nowhere.
    #[error("the attribute `exportReferencesGraph` has the file name `{file}`, which is not a plain word")]
    FileName {
        /// The file.
        file: String,
    },
    /// A closure is wanted of something that is not in the store.
    #[error("cannot read the attribute `exportReferencesGraph`")]
    ExportPath(#[source] StoreDirError),
    /// Neither a path nor an output.
    #[error(
        "the attribute `{attribute}` forbids `{found}`, which is neither a store path nor one of the outputs {outputs}"
    )]
    Forbidden {
        /// The attribute.
        attribute: String,
        /// What it forbids.
        found: String,
        /// The outputs there are.
        outputs: String,
    },
}
