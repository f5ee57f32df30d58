//! Derivations that builds make: nobody has checked them before.

use std::collections::BTreeSet;

use derivation::{Derivation, Link, Modulo, Output, check, check_closure};
use local_store::LocalStore;
use store_path::{Method, PathInfo, StorePath};

use crate::error::Error;
use crate::read::read_derivation;

/// Larger ones are not read: what a build leaves may be of any size.
const LARGEST: u64 = 64 << 20;

/// Why an output is not taken for a derivation.
#[derive(Debug, thiserror::Error)]
pub enum MadeError {
    /// Its name is that of something else.
    #[error("its name does not end in `.drv`")]
    Name,
    /// A derivation is addressed as a text, with which it is one plain file.
    #[error("it is not content-addressed as a text (`text:sha256`)")]
    NotText,
    /// It is too large for one.
    #[error("it has {size} bytes, more than the {LARGEST} of the largest derivation that is read")]
    TooLarge {
        /// How many bytes it has.
        size: u64,
    },
    /// What a file does not refer to may be gone when it is needed.
    #[error("it names `{input}` as an input, but its file does not refer to that")]
    NoReference {
        /// The input.
        input: StorePath,
    },
    /// It is not there any more.
    #[error("it is not valid any more")]
    Gone,
    /// It says that its outputs are somewhere where they do not belong.
    #[error(transparent)]
    Wrong(Box<dyn std::error::Error + Send + Sync>),
}

/// Reads the derivation that the output `file` is, which is valid at `path`, and checks it as one that comes from
/// outside.
pub(crate) fn read_made(store: &LocalStore, file: &Link, path: &StorePath) -> Result<Derivation, Error> {
    let wrong = |source| Error::Made { file: Box::new(file.clone()), path: path.clone(), source };
    if !path.is_derivation() {
        return Err(wrong(MadeError::Name));
    }
    let info = store.path_info(path)?.ok_or_else(|| wrong(MadeError::Gone))?;
    check_file(&info).map_err(&wrong)?;
    let derivation = read_derivation(store, path)?;
    check_inputs(&derivation, &info.references).map_err(&wrong)?;
    check_outputs(store, &derivation).map_err(wrong)?;
    Ok(derivation)
}

fn check_file(info: &PathInfo) -> Result<(), MadeError> {
    if info.content_address.as_ref().is_none_or(|address| address.method != Method::Text) {
        return Err(MadeError::NotText);
    }
    if info.nar_size > LARGEST {
        return Err(MadeError::TooLarge { size: info.nar_size });
    }
    Ok(())
}

fn check_inputs(derivation: &Derivation, references: &BTreeSet<StorePath>) -> Result<(), MadeError> {
    let inputs = derivation.references();
    match inputs.difference(references).next() {
        Some(input) => Err(MadeError::NoReference { input: input.clone() }),
        None => Ok(()),
    }
}

/// Holds paths that it states against what they should be. Those that it leaves open are computed when it is resolved.
fn check_outputs(store: &LocalStore, derivation: &Derivation) -> Result<(), MadeError> {
    let store_dir = store.store_dir();
    match derivation.outputs.values().next() {
        Some(Output::Fixed { .. }) | None => check(derivation.clone(), &mut Modulo::new(store_dir.clone()))
            .map(drop)
            .map_err(|error| MadeError::Wrong(Box::new(error))),
        Some(Output::InputAddressed(_)) => {
            let known = &mut |input: &StorePath| read_derivation(store, input);
            check_closure(vec![(None, derivation.clone())], store_dir, known)
                .map(drop)
                .map_err(|error| MadeError::Wrong(Box::new(error)))
        }
        Some(Output::Floating { .. } | Output::Deferred | Output::Impure { .. }) => Ok(()),
    }
}
