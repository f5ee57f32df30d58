//! Derivations that come from another store, one after the other: checked as those that are added, or they do not become
//! valid.

use std::collections::BTreeMap;

use derivation::{CheckError, Checked, Derivation, InputError, Modulo, aterm, check};
use local_store::LocalStore;
use store_path::StorePath;

use crate::error::Error;
use crate::read::{derivation_name, read_derivation};
use crate::ready;

/// Why a derivation from elsewhere is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NewcomerError {
    /// It cannot be read, or one of its inputs.
    #[error(transparent)]
    Read(#[from] Error),
    /// It breaks a rule.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// An input breaks one.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Its path is another.
    #[error("what is in it belongs at `{computed}`")]
    Path {
        /// The path that follows from what is in it.
        computed: StorePath,
    },
}

/// Checks derivations whose inputs were checked before or are valid.
#[derive(Debug)]
pub struct Newcomers<'store> {
    store: &'store LocalStore,
    /// What is known of those that were checked, so that none is read for each that needs it.
    modulo: Modulo,
}

impl<'store> Newcomers<'store> {
    /// Returns a checker that knows nothing yet.
    pub fn new(store: &'store LocalStore) -> Self {
        Self { store, modulo: Modulo::new(store.store_dir().clone()) }
    }

    /// Checks a derivation with this path and text; returns its outputs whose paths are known, by name.
    pub fn outputs(
        &mut self,
        drv: &StorePath,
        text: &[u8],
    ) -> Result<BTreeMap<String, StorePath>, NewcomerError> {
        let name = derivation_name(drv)?;
        let derivation = aterm::parse(text, self.store.store_dir(), &name)
            .map_err(|source| Error::Parse { drv: drv.clone(), source: Box::new(source) })?;
        self.learn_inputs(&derivation)?;
        let checked: Checked = check(derivation, &mut self.modulo)?;
        if checked.path() != drv {
            return Err(NewcomerError::Path { computed: checked.path().clone() });
        }
        Ok(ready::new(&checked).outputs)
    }

    /// Reads the inputs that were there before. No recursion: chains of derivations are long.
    fn learn_inputs(&mut self, derivation: &Derivation) -> Result<(), NewcomerError> {
        if derivation.is_fixed() {
            return Ok(());
        }
        let mut open: Vec<(StorePath, Option<Derivation>)> = self.unknown_inputs(derivation);
        while let Some((drv, read)) = open.pop() {
            if self.modulo.knows(&drv) {
                continue;
            }
            match read {
                Some(read) => self.modulo.insert(&drv, &read)?,
                None => {
                    let read = read_derivation(self.store, &drv)?;
                    let inputs = if read.is_fixed() { Vec::new() } else { self.unknown_inputs(&read) };
                    open.push((drv, Some(read)));
                    open.extend(inputs);
                }
            }
        }
        Ok(())
    }

    fn unknown_inputs(&self, derivation: &Derivation) -> Vec<(StorePath, Option<Derivation>)> {
        let inputs = derivation.input_drvs.keys().filter(|input| !self.modulo.knows(input));
        inputs.map(|input| (input.clone(), None)).collect()
    }
}
