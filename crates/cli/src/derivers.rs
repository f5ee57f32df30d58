//! From something that was built to its derivation.

use anyhow::Result;
use local_store::LocalStore;
use store_path::StorePath;

/// Returns the derivations that `path` is an output of, the one that made it first; a derivation is its own.
pub(crate) fn of(store: &LocalStore, path: &StorePath) -> Result<Vec<StorePath>> {
    if path.is_derivation() {
        return Ok(vec![path.clone()]);
    }
    let made_by = store.path_info(path)?.and_then(|info| info.deriver);
    let others = store.derivers(path)?.into_iter().filter(|deriver| Some(deriver) != made_by.as_ref());
    Ok(made_by.iter().cloned().chain(others).collect())
}
