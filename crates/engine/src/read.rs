//! Reading one derivation of the store.

#![expect(clippy::disallowed_methods, reason = "derivations are files below the store directory")]

use std::fs;

use derivation::{Derivation, aterm};
use local_store::LocalStore;
use store_path::{Name, StorePath};

use crate::error::Error;

/// Reads a derivation that is valid in the store.
pub fn read_derivation(store: &LocalStore, drv: &StorePath) -> Result<Derivation, Error> {
    let name = derivation_name(drv)?;
    let text = fs::read(store.place_of(drv)).map_err(|source| Error::Read { drv: drv.clone(), source })?;
    aterm::parse(&text, store.store_dir(), &name)
        .map_err(|source| Error::Parse { drv: drv.clone(), source: Box::new(source) })
}

/// Returns the name of the derivation whose file is called so.
pub(crate) fn derivation_name(drv: &StorePath) -> Result<Name, Error> {
    let name = drv.name().as_str().strip_suffix(".drv").and_then(|name| name.parse().ok());
    name.ok_or_else(|| Error::NotADerivation { path: drv.clone() })
}
