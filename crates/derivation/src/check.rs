//! The rules that a whole derivation has to fulfil, and the paths that follow from it.

mod elsewhere;
mod form;
mod outputs;

use std::collections::{BTreeMap, BTreeSet};

use litemap::LiteMap;
use store_path::{NameError, StoreDir, StorePath};

use crate::aterm::{Layout, Text};
use crate::model::{Bytes, file_name};
use crate::modulo::{Known, Replaced};
use crate::{Derivation, InputError, Modulo, Output, OutputName};

pub use elsewhere::{Disagreement, Elsewhere};

/// A derivation whose output paths are right, with its own path.
///
/// Invariant: it came out of [`check`].
#[derive(Clone, Debug)]
pub struct Checked {
    path: StorePath,
    derivation: Derivation,
    aterm: Vec<u8>,
    elsewhere: Vec<Elsewhere>,
}

impl Checked {
    /// Returns the path of the derivation's own file.
    pub fn path(&self) -> &StorePath {
        &self.path
    }

    /// Returns the derivation, with the paths of its outputs filled in where they can be known.
    pub fn derivation(&self) -> &Derivation {
        &self.derivation
    }

    /// Returns the contents of the derivation's own file.
    pub fn aterm(&self) -> &[u8] {
        &self.aterm
    }

    /// Returns what releases of Nix make of it that compute other paths than we do, given the same inputs.
    ///
    /// Whatever is built from it has other paths there too.
    pub fn elsewhere(&self) -> &[Elsewhere] {
        &self.elsewhere
    }

    /// Returns the path of each output; none where only the build will tell.
    pub fn output_paths(&self) -> BTreeMap<OutputName, Option<StorePath>> {
        let outputs = self.derivation.outputs.iter();
        outputs.map(|(name, output)| (name.clone(), output.path().cloned())).collect()
    }
}

/// Why a derivation is not right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// There is nothing to build.
    #[error("it has no outputs")]
    NoOutputs,
    /// What an output is named by has to be the same for all.
    #[error("its outputs are of different kinds: `{first}` and `{second}`")]
    MixedOutputs {
        /// One of them.
        first: OutputName,
        /// One of another kind.
        second: OutputName,
    },
    /// The promise of a fixed output is for one output, called `out`.
    #[error("an output with a fixed hash has to be the only one and be called `out`, not `{output}`")]
    FixedOutput {
        /// The output that breaks the rule.
        output: OutputName,
    },
    /// An output hashed as a text uses another algorithm.
    #[error("the output `{output}` is hashed as a text, which needs `sha256`")]
    TextAlgorithm {
        /// The output.
        output: OutputName,
    },
    /// The path of an output is not the one that follows from the derivation.
    #[error("its output `{output}` has the path `{stated}`, but should have `{computed}`")]
    OutputPath {
        /// The output.
        output: OutputName,
        /// The path it has, in full.
        stated: String,
        /// The path it should have, in full.
        computed: String,
    },
    /// The path of an output is stated, but cannot be known yet.
    #[error("its output `{output}` has the path `{stated}`, but that depends on inputs yet to be built")]
    TooEarly {
        /// The output.
        output: OutputName,
        /// The path it has, in full.
        stated: String,
    },
    /// The builder would write somewhere else.
    #[error("its variable `{output}` is `{found}`, but should be the path of that output, `{expected}`")]
    Variable {
        /// The output.
        output: OutputName,
        /// What the variable is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// The builder could not know where to write.
    #[error("it has no variable `{output}`, which should be the path of that output, `{expected}`")]
    NoVariable {
        /// The output.
        output: OutputName,
        /// What the variable should be.
        expected: String,
    },
    /// An input derivation's path has no `.drv` at its end.
    #[error("its input `{input}` is not a derivation")]
    NotDerivation {
        /// The input.
        input: StorePath,
    },
    /// Nothing is wanted of an input derivation.
    #[error("it wants no output of its input `{input}`")]
    NothingWanted {
        /// The input.
        input: StorePath,
    },
    /// Something is wrong with an input.
    #[error(transparent)]
    Input(#[from] InputError),
    /// With a suffix, the name is too long.
    #[error("its name does not fit into a store path")]
    Name(#[from] NameError),
}

/// Holds a derivation against the rules, fills in output paths that are absent and can be known, and adds it to
/// `modulo`, where its inputs have to be already (those of a fixed output need not).
///
/// A variable named after an output is set with a path that is filled in, and has to be right otherwise.
pub fn check(derivation: Derivation, modulo: &mut Modulo) -> Result<Checked, CheckError> {
    let settled = settle_or_tell(derivation, None, modulo).map_err(|mut problems| problems.swap_remove(0))?;
    settled.tell(modulo);
    Ok(settled.into())
}

/// What follows from a derivation as it stands, whatever its inputs are: its own file.
pub(crate) struct OwnFile<'a> {
    text: Text<'a>,
    path: Result<StorePath, NameError>,
}

impl<'a> OwnFile<'a> {
    fn new<B: Bytes>(text: Text<'a>, derivation: &Derivation<B>, store_dir: &StoreDir) -> Self {
        let path = path(derivation, &text, store_dir);
        Self { text, path }
    }

    pub(crate) fn of<B: Bytes>(derivation: &Derivation<B>, store_dir: &StoreDir) -> Self {
        Self::new(Text::of(derivation, store_dir), derivation, store_dir)
    }

    /// Returns nothing if `file` is not what would be printed.
    pub(crate) fn read<B: Bytes>(
        derivation: &Derivation<B>,
        store_dir: &StoreDir,
        file: &'a [u8],
        layout: Option<Layout>,
    ) -> Option<Self> {
        let mut text = Text::of_file(derivation, store_dir, file, layout)?;
        // Nothing has to be known of others for this, so it need not wait until they are read.
        let is_named_by_inputs = |output: &Output| matches!(output, Output::InputAddressed(_));
        if derivation.input_drvs.is_empty() && derivation.outputs.values().any(is_named_by_inputs) {
            text.hash_alone();
        }
        Some(Self::new(text, derivation, store_dir))
    }
}

/// A derivation that keeps the rules, and what follows from it and its inputs.
pub(crate) struct Settled<'a, B> {
    pub(crate) path: StorePath,
    pub(crate) derivation: Derivation<B>,
    pub(crate) text: Text<'a>,
    pub(crate) elsewhere: Vec<Elsewhere>,
    /// Whether output paths were absent.
    pub(crate) was_filled: bool,
    replaced: Replaced,
}

impl<B> Settled<'_, B> {
    /// Makes it known to dependents.
    pub(crate) fn tell(&self, modulo: &mut Modulo) {
        let known = self.known(modulo.store_dir());
        modulo.learn(&self.path, known);
    }

    /// Lets go of what dependents do not need to know.
    pub(crate) fn trim(&mut self) {
        let Derivation { input_drvs, input_srcs, args, env, .. } = &mut self.derivation;
        *input_drvs = LiteMap::new();
        *input_srcs = BTreeSet::new();
        *args = Vec::new();
        *env = LiteMap::new();
    }

    /// Returns what dependents need to know.
    pub(crate) fn known(&self, store_dir: &StoreDir) -> Known {
        Known::of(&self.derivation, store_dir, &self.replaced, &self.text)
    }
}

impl From<Settled<'_, Vec<u8>>> for Checked {
    fn from(settled: Settled<'_, Vec<u8>>) -> Self {
        let Settled { path, derivation, text, elsewhere, .. } = settled;
        Self { path, derivation, aterm: text.into_bytes(), elsewhere }
    }
}

/// Does what [`check`] does but for telling dependents, or returns all rules that are broken. `own` is the derivation's.
///
/// Paths are not computed from what breaks another rule already: they will change with it.
pub(crate) fn settle_or_tell<'a, B: Bytes>(
    mut derivation: Derivation<B>,
    own: Option<OwnFile<'a>>,
    modulo: &Modulo,
) -> Result<Settled<'a, B>, Vec<CheckError>> {
    let mut problems = form::problems(&derivation);
    let replaced = if derivation.is_fixed() { Ok(Replaced::nothing()) } else { modulo.replace(&derivation) };
    if replaced.is_err() {
        problems.extend(modulo.input_problems(&derivation).into_iter().map(CheckError::from));
    }
    let (true, Ok(replaced)) = (problems.is_empty(), replaced) else { return Err(problems) };
    let mut own = own.unwrap_or_else(|| OwnFile::of(&derivation, modulo.store_dir()));
    let alone = |error: NameError| vec![CheckError::from(error)];
    let without_variables =
        elsewhere::without_variables(&derivation, modulo.store_dir(), &replaced, &own.text).map_err(alone)?;
    let was_filled = outputs::settle(&mut derivation, modulo.store_dir(), &replaced, &own.text)?;
    if was_filled {
        own = OwnFile::of(&derivation, modulo.store_dir());
    }
    let OwnFile { text, path } = own;
    let after_collision =
        elsewhere::after_collision(&derivation, modulo.store_dir(), &replaced, &text).map_err(alone)?;
    let elsewhere = without_variables.into_iter().chain(after_collision).collect();
    let path = path.map_err(alone)?;
    Ok(Settled { path, derivation, text, elsewhere, was_filled, replaced })
}

/// Returns the path of a derivation's own file as it stands, whatever is wrong with it.
pub fn own_path(derivation: &Derivation, store_dir: &StoreDir) -> Result<StorePath, NameError> {
    OwnFile::of(derivation, store_dir).path
}

/// Returns the path of the file with the derivation's text.
fn path<B: Bytes>(
    derivation: &Derivation<B>,
    text: &Text<'_>,
    store_dir: &StoreDir,
) -> Result<StorePath, NameError> {
    Ok(store_dir.text_path(&file_name(&derivation.name)?, &text.hash(), derivation.referenced()))
}
