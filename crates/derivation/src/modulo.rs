//! Hashes of derivations that do not depend on how their fixed outputs are made.
//!
//! Two ways to download the same file must lead to the same paths in everything built from it. So a dependent
//! hashes not the path of an input derivation but its hash in here, which for a fixed output is that of the
//! promise alone, and for all others comes from a text in which the inputs are replaced in the same way.

use std::collections::BTreeMap;

use store_path::{Hash, HashAlgorithm, StoreDir, StorePath};

use crate::aterm::Text;
use crate::model::Paths;
use crate::{Derivation, Output, OutputName, OutputNames};

/// The digits that stand for an input derivation.
pub(crate) type HexHash = [u8; 64];

/// The hashes of derivations met so far.
#[derive(Debug)]
pub struct Modulo {
    store_dir: StoreDir,
    known: Paths<Known>,
}

/// What dependents need to know about a derivation.
#[derive(Debug)]
pub(crate) struct Known {
    /// None below a dynamic input, where there is nothing to hash before it is built.
    hash: Option<HexHash>,
    /// Whether an output's path is not known, and so neither are the dependents'.
    is_deferred: bool,
    /// In order.
    outputs: Box<[OutputName]>,
}

/// The inputs of a derivation as its hash sees them.
pub(crate) struct Replaced {
    /// Sorted; none if an input has no hash.
    pub(crate) pairs: Option<Vec<(HexHash, OutputName)>>,
    /// The same where of several inputs with one hash only the last one counts; none if that is no difference.
    last_wins: Option<Vec<(HexHash, OutputName)>>,
    /// Whether a path of an input is not known.
    is_deferred: bool,
}

/// Why a derivation cannot be hashed: something is wrong with an input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// Inputs come first.
    #[error("the input derivation `{input}` is not known")]
    Missing {
        /// The input's path.
        input: StorePath,
    },
    /// The input makes no such output.
    #[error("the input derivation `{input}` has no output `{output}`")]
    NoOutput {
        /// The input's path.
        input: StorePath,
        /// The output that is wanted.
        output: OutputName,
    },
}

impl Modulo {
    /// Returns a memory with nothing in it.
    pub fn new(store_dir: StoreDir) -> Self {
        Self { store_dir, known: Paths::default() }
    }

    /// Adds a derivation from the store; its inputs come first, unless its output is fixed.
    ///
    /// Its rules are taken as checked when it was added to the store.
    pub fn insert(&mut self, path: &StorePath, derivation: &Derivation) -> Result<(), InputError> {
        if self.known.contains_key(path) {
            return Ok(());
        }
        // No input has a say in a promise, so it is not asked for either.
        let replaced = if derivation.is_fixed() { Replaced::nothing() } else { self.replace(derivation)? };
        let text = Text::of(derivation, &self.store_dir);
        self.learn(path, Known::of(derivation, &self.store_dir, &replaced, &text));
        Ok(())
    }

    /// Takes what dependents need to know about a derivation.
    pub(crate) fn learn(&mut self, path: &StorePath, known: Known) {
        self.known.insert(path.clone(), known);
    }

    /// Returns whether a derivation was added.
    pub fn knows(&self, path: &StorePath) -> bool {
        self.known.contains_key(path)
    }

    pub(crate) fn store_dir(&self) -> &StoreDir {
        &self.store_dir
    }

    /// Returns the hash under which dependents know a derivation.
    #[cfg(test)]
    pub(crate) fn known_hash(&self, path: &StorePath) -> Option<String> {
        let hash = self.known.get(path)?.hash?;
        String::from_utf8(hash.to_vec()).ok()
    }

    /// Looks up every input.
    pub(crate) fn replace<B>(&self, derivation: &Derivation<B>) -> Result<Replaced, InputError> {
        let mut is_deferred = false;
        let mut pairs = Some(Vec::with_capacity(derivation.input_drvs.len()));
        for (input, wanted) in &derivation.input_drvs {
            let known = self.known.get(input).ok_or_else(|| InputError::Missing { input: input.clone() })?;
            let is_dynamic = !wanted.dynamic.is_empty();
            is_deferred |= known.is_deferred || is_dynamic;
            let Some(hash) = known.hash.filter(|_| !is_dynamic) else {
                pairs = None;
                continue;
            };
            for output in &wanted.outputs {
                if !known.has(output) {
                    return Err(InputError::NoOutput { input: input.clone(), output: output.clone() });
                }
                if let Some(pairs) = &mut pairs {
                    pairs.push((hash, output.clone()));
                }
            }
        }
        // Inputs with one hash become one input, of which all their outputs are wanted.
        if let Some(pairs) = &mut pairs {
            pairs.sort_unstable();
            pairs.dedup();
        }
        let last_wins = pairs.as_ref().and_then(|pairs| self.last_wins(derivation, pairs));
        Ok(Replaced { pairs, last_wins, is_deferred })
    }

    /// Returns the inputs as some releases of Nix see them, if those are others than `merged`.
    fn last_wins<B>(
        &self,
        derivation: &Derivation<B>,
        merged: &[(HexHash, OutputName)],
    ) -> Option<Vec<(HexHash, OutputName)>> {
        let hashes = merged.chunk_by(|left, right| left.0 == right.0).count();
        if hashes == derivation.input_drvs.len() {
            return None;
        }
        let inputs = derivation.input_drvs.iter();
        let last: BTreeMap<HexHash, &OutputNames> = inputs
            .filter_map(|(input, wanted)| Some((self.known.get(input)?.hash?, &wanted.outputs)))
            .collect();
        let pairs =
            last.into_iter().flat_map(|(hash, outputs)| outputs.iter().map(move |one| (hash, one.clone())));
        Some(pairs.collect()).filter(|pairs| pairs != merged)
    }

    /// Returns all that is wrong with the inputs, of which [`Self::replace`] tells the first.
    pub(crate) fn input_problems<B>(&self, derivation: &Derivation<B>) -> Vec<InputError> {
        let mut problems = Vec::new();
        for (input, wanted) in &derivation.input_drvs {
            let Some(known) = self.known.get(input) else {
                problems.push(InputError::Missing { input: input.clone() });
                continue;
            };
            // Which outputs there will be below a dynamic one is not known.
            let absent = wanted.outputs.iter().filter(|output| !known.has(output));
            problems.extend(
                absent.map(|output| InputError::NoOutput { input: input.clone(), output: output.clone() }),
            );
        }
        problems
    }
}

impl Known {
    /// `text` is that of the derivation.
    pub(crate) fn of<B>(
        derivation: &Derivation<B>,
        store_dir: &StoreDir,
        replaced: &Replaced,
        text: &Text<'_>,
    ) -> Self {
        let is_unknown = derivation.unknown_outputs().next().is_some();
        Self {
            hash: input_hash(derivation, store_dir, replaced, text).map(|hash| hex(&hash)),
            is_deferred: is_unknown || (replaced.is_deferred && !derivation.is_fixed()),
            outputs: derivation.outputs.keys().cloned().collect(),
        }
    }

    fn has(&self, output: &OutputName) -> bool {
        self.outputs.binary_search(output).is_ok()
    }
}

/// Returns the hash under which dependents know the derivation.
fn input_hash<B>(
    derivation: &Derivation<B>,
    store_dir: &StoreDir,
    replaced: &Replaced,
    text: &Text<'_>,
) -> Option<Hash> {
    let promise = derivation.outputs.values().find_map(|output| match output {
        Output::Fixed { method, hash, path } => {
            let hash = hash.prefixed_base16();
            Some(["fixed:out:", method.prefix(), &hash, ":", &store_dir.print(path)].concat())
        }
        _ => None,
    });
    match promise {
        Some(promise) => Some(Hash::of(HashAlgorithm::Sha256, promise.as_bytes())),
        None => replaced.pairs.as_ref().map(|pairs| text.hash_replaced(false, pairs)),
    }
}

impl Replaced {
    /// The inputs of a derivation whose hash does not depend on them.
    pub(crate) fn nothing() -> Self {
        Self { pairs: Some(Vec::new()), last_wins: None, is_deferred: false }
    }

    /// The inputs as releases see them that keep only the last of several with one hash, if that differs.
    pub(crate) fn last_wins(&self) -> Option<Self> {
        let pairs = self.last_wins.clone()?;
        Some(Self { pairs: Some(pairs), last_wins: None, is_deferred: self.is_deferred })
    }

    /// Returns the hash that names the outputs: of everything but their paths. There is none where an input's
    /// path is not known.
    pub(crate) fn output_hash(&self, text: &Text<'_>) -> Option<Hash> {
        let pairs = self.pairs.as_ref().filter(|_| !self.is_deferred)?;
        Some(text.hash_replaced(true, pairs))
    }

    /// Whether a path of an input is not known, and so neither are those of the outputs.
    pub(crate) fn is_deferred(&self) -> bool {
        self.is_deferred
    }
}

fn hex(hash: &Hash) -> HexHash {
    hash.to_base16().into_bytes().try_into().expect("SHA-256 has 64 digits")
}
