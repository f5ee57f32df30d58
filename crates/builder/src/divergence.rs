//! How what came out of a build differs from what came out of another one.

use std::path::PathBuf;

use derivation::OutputName;
use settings::Variation;
use store_path::StorePath;

use crate::compare::Comparison;

/// How what came out of a build differs from what came out of another one of the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The outputs that differ; never none.
    pub outputs: Vec<Diverged>,
    /// What that is due to, if something was changed on purpose.
    pub blame: Option<Blame>,
}

/// An output that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diverged {
    /// Which one.
    pub output: OutputName,
    /// The path that it was compared with; in the first of several rounds, what would have become one.
    pub path: StorePath,
    /// What differs, file by file.
    pub comparison: Comparison,
    /// Where what it was compared with is kept, if that is not valid.
    pub kept_first: Option<PathBuf>,
    /// Where what came out is kept, if it is.
    pub kept: Option<PathBuf>,
    /// What the `diff-hook` has said of it.
    pub said: Vec<u8>,
}

/// What it is due to that something else came out of a build in which things were changed on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blame {
    /// None of them: it comes out differently without any change.
    Itself,
    /// Each of these makes a difference by itself.
    These(Vec<Variation>),
    /// None of them by itself.
    Together,
}

impl Divergence {
    /// Which outputs differ, as the end of a sentence.
    pub(crate) fn told(&self) -> String {
        let names: Vec<String> =
            self.outputs.iter().map(|diverged| format!("`{}`", diverged.output)).collect();
        match names.as_slice() {
            [name] => format!("its output {name} differs"),
            names => format!("its outputs {} differ", names.join(", ")),
        }
    }
}
