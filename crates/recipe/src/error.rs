//! What can be wrong with a recipe, and where.

use std::fmt;
use std::io;
use std::path::PathBuf;

use store_path::{HashError, NameError, StoreDirError};

/// Why a text is not a recipe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}")]
pub struct RecipeError {
    /// Where.
    pub place: Place,
    /// What is wrong there.
    #[source]
    pub problem: Problem,
}

/// A place in the text of a recipe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1 on.
    pub line: usize,
    /// The character in that line, from 1 on.
    pub column: usize,
    /// The JSON pointer of what is there; empty for the whole.
    pub pointer: String,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}, column {}", self.line, self.column)?;
        match &*self.pointer {
            "" => Ok(()),
            pointer => write!(formatter, " (`{pointer}`)"),
        }
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is not JSON.
    #[error("this is not JSON: {reason}")]
    Syntax {
        /// What the parser stumbled over.
        reason: String,
    },
    /// More than anybody writes by hand.
    #[error(
        "a recipe has at most {} bytes, and nothing in it is nested deeper than {}",
        crate::MAX_BYTES,
        crate::MAX_DEPTH
    )]
    TooLarge,
    /// A value of another kind.
    #[error("expected {expected}, found {found}")]
    Kind {
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A field that has to be there.
    #[error("the field `{field}` is missing")]
    Missing {
        /// Its name.
        field: &'static str,
    },
    /// A field that nothing reads.
    #[error("there is no field `{field}`{}", hint(.nearest.as_deref(), .known))]
    Unknown {
        /// Its name.
        field: String,
        /// The one that was probably meant.
        nearest: Option<String>,
        /// All that there are.
        known: Vec<String>,
    },
    /// Which of the two counts?
    #[error("`{name}` is there twice")]
    Twice {
        /// The field or the output.
        name: String,
    },
    /// Not a name that a store path can have.
    #[error("cannot use this as a name in the store")]
    Name(#[source] NameError),
    /// The name of a file or an address, which was not chosen for a store.
    #[error("cannot call it `{found}` in the store; say what to call it: `\"name\": \"…\"`")]
    Unnameable {
        /// The name it would have.
        found: String,
        /// Why it cannot.
        #[source]
        source: NameError,
    },
    /// `${…}` has to be able to name it.
    #[error("an input's name is made of letters, digits, `_` and `-`")]
    InputName,
    /// Then the file would look like a printed derivation.
    #[error(
        "an input cannot be called `{name}`, since derivations that Nix prints have a field of that name there"
    )]
    ReservedName {
        /// The name.
        name: String,
    },
    /// `${…}` would have two meanings.
    #[error("`{name}` is the name of an output, too; call the input otherwise")]
    AlsoOutput {
        /// The name of both.
        name: String,
    },
    /// A text that is neither a path nor a store path.
    #[error("an input is a path that begins with `./`, `../` or `/`{}", .meant.as_ref().map(|meant| format!("; write `{meant}`")).unwrap_or_default())]
    InputText {
        /// What was probably meant.
        meant: Option<String>,
    },
    /// A web address, as a text.
    #[error(
        "a download needs a hash: write `{{\"fetch\": \"{url}\", \"hash\": \"\"}}`, and its build will say which"
    )]
    BareUrl {
        /// The address.
        url: String,
    },
    /// An input that says nothing about where it comes from, or too much.
    #[error("an input has one of `path`, `recipe` and `fetch`")]
    InputForm,
    /// A path below one of the store's.
    #[error("cannot read a store path; name it without what is below it, and write that after `${{…}}`")]
    StorePath(#[source] StoreDirError),
    /// What is wanted of it is a file in the store, not a file to import.
    #[error("this is in the store already; write it as `\"{path}\"`, without `path` or `recipe`")]
    InStore {
        /// The path.
        path: String,
    },
    /// Neither `http`, `https` nor `file`.
    #[error("cannot fetch from there; addresses begin with `https://`, `http://` or `file://`")]
    Url,
    /// A download without a promise.
    #[error("a download needs a hash; write `\"hash\": \"\"`, and its build will say which")]
    NoHash,
    /// Not a hash.
    #[error(
        "cannot read a hash; it looks like `sha256-` and 44 characters, or is empty as long as it is not known"
    )]
    Hash(#[source] HashError),
    /// None of a few words.
    #[error("there is no `{found}`{}", hint(.nearest.as_deref(), .known))]
    Word {
        /// What is there.
        found: String,
        /// The one that was probably meant.
        nearest: Option<String>,
        /// All that there are.
        known: Vec<String>,
    },
    /// Nothing would be made.
    #[error("there are no outputs; leave the field out for one called `out`")]
    NoOutputs,
    /// The fields of an output do not go together.
    #[error("an output has a `hash`, or a `hashAlgo`, which `method` and `impure` go with, or nothing")]
    OutputForm,
    /// A promise is for one output.
    #[error("an output with a `hash` has to be the only one, and called `out`")]
    FixedOutput,
    /// A variable that is set anyway.
    #[error("the variable `{name}` is the path of the output of that name; call this one otherwise")]
    OutputVariable {
        /// The variable.
        name: String,
    },
    /// A name or a relative path, neither of which leads anywhere in a sandbox.
    #[error(
        "a builder is the full path of a program: `/bin/sh`, or `${{name}}` for a file among the inputs; what it is \
         to do goes into `args`"
    )]
    Builder,
    /// With structured attributes, a builder's environment is empty.
    #[error(
        "with `structuredAttrs` a builder sees no variables of its own: write them there, and it finds them in \
         `.attrs.json` and `.attrs.sh`"
    )]
    UnseenVariables,
    /// The variable in which structured attributes are kept.
    #[error("the variable `__json` is made of the field `structuredAttrs`; use that")]
    JsonVariable,
    /// No name has that.
    #[error("a variable's name is not empty and has no `=` in it")]
    VariableName,
    /// A NUL cannot be handed to a program.
    #[error("there is a NUL character in it")]
    Nul,
    /// A `${` that is not closed.
    #[error("`${{` without `}}`; write `$${{` for one that stays")]
    Unclosed,
    /// Nothing of that name can be put there.
    #[error(
        "there is nothing called `{name}` to put there (write `$${{` for a `${{` that stays){}",
        hint(.nearest.as_deref(), .known)
    )]
    Reference {
        /// The name.
        name: String,
        /// The one that was probably meant.
        nearest: Option<String>,
        /// All that there are.
        known: Vec<String>,
    },
    /// Only derivations have outputs.
    #[error("`{input}` is {what}, which has no outputs; write `${{{input}}}`")]
    NotDerivation {
        /// The input.
        input: String,
        /// What it is.
        what: &'static str,
    },
    /// The derivation has other outputs.
    #[error("`{input}` has no output `{output}`{}", hint(None, .known))]
    Output {
        /// The input.
        input: String,
        /// The output.
        output: String,
        /// All that it has.
        known: Vec<String>,
    },
    /// The caller has not said what an input is.
    #[error("nothing is known about the input `{input}`")]
    NotGiven {
        /// The input.
        input: String,
    },
}

/// Says what was probably meant, or else what there is.
fn hint(nearest: Option<&str>, known: &[String]) -> String {
    match (nearest, known) {
        (Some(nearest), _) => format!("; did you mean `{nearest}`?"),
        (None, []) => String::new(),
        (None, [one]) => format!("; there is `{one}`"),
        (None, known) => format!("; there are `{}`", known.join("`, `")),
    }
}

/// Returns the one of `known` that was probably meant by `name`: at most a third of it differs.
pub(crate) fn nearest(name: &str, known: &[String]) -> Option<String> {
    let limit = (name.chars().count() / 3).max(1);
    let ranked = known.iter().map(|candidate| (strsim::osa_distance(name, candidate), candidate));
    // The first of equals, so that the answer is the same each time.
    ranked
        .min_by_key(|(edits, _)| *edits)
        .filter(|(edits, _)| *edits <= limit)
        .map(|(_, found)| found.clone())
}

/// Why a recipe and those it needs cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ClosureError {
    /// A file could not be read.
    #[error("cannot read `{}`{}", path.display(), wanted(.wanted_by.as_ref()))]
    Read {
        /// The file.
        path: PathBuf,
        /// The recipe that names it as an input, and where.
        wanted_by: Option<(PathBuf, Place)>,
        /// Why not.
        source: io::Error,
    },
    /// It is no recipe.
    #[error("cannot use the recipe `{}`", path.display())]
    Recipe {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: RecipeError,
    },
    /// Some would have to be built before themselves.
    #[error("{}", circle(.files))]
    Cycle {
        /// Each is an input of the one before, and the first one of the last.
        files: Vec<PathBuf>,
    },
}

fn wanted(by: Option<&(PathBuf, Place)>) -> String {
    by.map(|(recipe, place)| format!(", an input of `{}`, {place}", recipe.display())).unwrap_or_default()
}

fn circle(files: &[PathBuf]) -> String {
    if let [file] = files {
        return format!("the recipe `{}` has itself as an input", file.display());
    }
    let around = files.iter().chain(files.first());
    let names: Vec<String> = around.map(|file| format!("`{}`", file.display())).collect();
    format!("these recipes need each other: {}", names.join(" → "))
}
