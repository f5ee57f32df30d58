//! Derivations on their way into the store: checked, complete, and then all at once.

use std::collections::{BTreeMap, BTreeSet};

use derivation::{Checked, ClosureError, Derivation, check_closure};
use local_store::LocalStore;
use store_path::StorePath;

use crate::closure::rooted_and_valid;
use crate::error::{Error, Missing};
use crate::read::read_derivation;
use crate::ready;

/// Why derivations were not added. Then none of them was.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// They are not right, alone or together.
    #[error(transparent)]
    Wrong(#[from] Box<ClosureError<Error>>),
    /// Sources that they need are not in the store, or it could not be asked.
    #[error(transparent)]
    Refused(#[from] Error),
    /// The store could not take them.
    #[error(transparent)]
    Store(#[from] local_store::Error),
}

/// Checks derivations that refer to each other or to others in the store, and adds them.
///
/// Each comes with the path it is given under, if there is one. What is returned has inputs first. Nothing in a
/// store refers to what is not there, so all sources have to be in it before; those that are not are named, all at
/// once.
pub fn import(
    store: &LocalStore,
    derivations: Vec<(Option<StorePath>, Derivation)>,
) -> Result<Vec<Checked>, ImportError> {
    let checked =
        check_closure(derivations, store.store_dir(), &mut |path| known(store, path)).map_err(Box::new)?;
    let drvs: BTreeSet<StorePath> = checked.iter().map(|checked| checked.path().clone()).collect();
    let valid = rooted_and_valid(store, &drvs)?;
    let new: Vec<&Checked> = checked.iter().filter(|checked| !valid.contains(checked.path())).collect();
    refuse_missing(store, &new, &drvs)?;
    store.add_derivations(&new.into_iter().map(ready::new).collect::<Vec<_>>())?;
    Ok(checked)
}

/// Reads an input that is in the store already.
fn known(store: &LocalStore, drv: &StorePath) -> Result<Derivation, Error> {
    if !store.is_valid(drv)? {
        Missing::refuse([Missing { path: drv.clone(), wanted_by: BTreeSet::new() }])?;
    }
    read_derivation(store, drv)
}

/// Refuses derivations that would refer to sources that are not there and not among `drvs`.
fn refuse_missing(store: &LocalStore, new: &[&Checked], drvs: &BTreeSet<StorePath>) -> Result<(), Error> {
    let mut wanted: BTreeMap<StorePath, BTreeSet<StorePath>> = BTreeMap::new();
    for checked in new {
        for source in checked.derivation().input_srcs.iter().filter(|source| !drvs.contains(*source)) {
            wanted.entry(source.clone()).or_default().insert(checked.path().clone());
        }
    }
    let valid = rooted_and_valid(store, &wanted.keys().cloned().collect())?;
    wanted.retain(|source, _| !valid.contains(source));
    Missing::refuse(wanted.into_iter().map(|(path, wanted_by)| Missing { path, wanted_by }))
}
