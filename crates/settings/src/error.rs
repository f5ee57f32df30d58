//! What can be wrong with a layer of settings, and where.

use crate::layer::Origin;

/// Why a line, a variable or a flag could not be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The line is neither an assignment nor an `include`.
    #[error("{origin}: expected `name = value`, with spaces around `=`, found `{text}`")]
    Syntax {
        /// Where the line stands.
        origin: Origin,
        /// The line, without its comment.
        text: String,
    },
    /// No row of the table has that name.
    #[error("{origin}: unknown setting `{key}`{}", suggestion(*nearest))]
    Unknown {
        /// Where the name stands.
        origin: Origin,
        /// The name as written.
        key: String,
        /// The name of a setting that differs by a slip of the finger.
        nearest: Option<&'static str>,
    },
    /// `extra-` stands before a setting that is not a list.
    #[error("{origin}: `{key}` appends to a list, and `{setting}` is not a list")]
    NotAList {
        /// Where the name stands.
        origin: Origin,
        /// The name as written.
        key: String,
        /// The setting meant.
        setting: &'static str,
    },
    /// The setting exists, but does not take that value.
    #[error("{origin}: bad value `{value}` for `{key}`")]
    Value {
        /// Where the value stands.
        origin: Origin,
        /// The name as written.
        key: String,
        /// The value as written.
        value: String,
        /// What is wrong with it.
        source: ValueError,
    },
}

fn suggestion(nearest: Option<&'static str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// Why a text is not a value of a setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not a list of external builders.
    #[error(
        "expected a list in JSON: `[{{\"systems\": [\"x-linux\"], \"program\": \"/path\", \"args\": []}}]`; {problem}"
    )]
    ExternalBuilders {
        /// What is wrong with it.
        problem: String,
    },
    /// Not one of the spellings of true and false.
    #[error("expected `true` or `false`")]
    NotBoolean,
    /// Not a whole number.
    #[error("expected a whole number, with K, M, G or T after it at most (`KiB` and so on mean the same)")]
    NotANumber,
    /// A number too large to count anything here.
    #[error("the number is too large")]
    TooLarge,
    /// No job at all would leave every build waiting for ever.
    #[error(
        "at least one build has to be able to run here: what a build hook takes elsewhere does not count, so 1 is the least; \
         to build nothing, `--dry-run`"
    )]
    NoJobs,
    /// Not one of a fixed set of words.
    #[error("expected {expected}")]
    NotAChoice {
        /// The words that would do.
        expected: &'static str,
    },
    /// A path that depends on where one stands, or climbs.
    #[error("`{path}` is not an absolute path without `..`")]
    NotAbsolute {
        /// The path as written.
        path: String,
    },
    /// The root itself cannot be the target of a mount or a build directory.
    #[error("`/` itself cannot be used here")]
    Root,
    /// `-` stands before something else than the two private mounts.
    #[error("only `-/dev` and `-/proc` can be taken away, not `{entry}`")]
    NotRemovable {
        /// The entry as written.
        entry: String,
    },
    /// Not a size that a tmpfs takes.
    #[error("expected a size like `50%`, `512m` or `2g`")]
    NotASize,
    /// Nothing, where something is needed.
    #[error("expected a value")]
    Empty,
    /// A list, where one word is needed.
    #[error("expected one word")]
    NotOneWord,
}
