//! What stands in a relation to paths by way of derivations and their outputs.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use local_store::{LocalStore, Reach};
use settings::Settings;
use store_path::StorePath;

/// Returns the outputs of `paths`, one after the other; what is no derivation stands for itself, as in Nix.
pub(super) fn outputs(store: &LocalStore, paths: &[StorePath]) -> Result<Vec<StorePath>> {
    let mut all = Vec::new();
    for path in paths {
        all.extend(outputs_of(store, path)?);
    }
    Ok(all)
}

/// Does the same for paths that are asked about in place of their derivations, so that all have to be valid.
pub(super) fn made_by(store: &LocalStore, paths: &[StorePath]) -> Result<Vec<StorePath>> {
    for path in paths {
        let is_known = !path.is_derivation() || !outputs_of(store, path)?.is_empty();
        ensure!(is_known, "nobody knows yet what `{path}` makes; build it first: `store build {path}`");
    }
    let all = outputs(store, paths)?;
    let valid = store.valid_among(&all.iter().cloned().collect())?;
    match all.iter().find(|path| !valid.contains(*path)) {
        Some(path) => Err(local_store::Error::NotValid { path: path.clone() }.into()),
        None => Ok(all),
    }
}

fn outputs_of(store: &LocalStore, path: &StorePath) -> Result<BTreeSet<StorePath>> {
    if !path.is_derivation() {
        return Ok(BTreeSet::from([path.clone()]));
    }
    // The database knows them at once, save those that only a build tells.
    let registered = store.outputs_of(path)?;
    if !registered.is_empty() {
        return Ok(registered.into_values().collect());
    }
    Ok(engine::known_outputs(store, path)?.into_values().collect())
}

/// Returns the derivations in the store that make `paths`.
pub(super) fn valid_derivers(store: &LocalStore, paths: &[StorePath]) -> Result<Vec<StorePath>> {
    let mut all = BTreeSet::new();
    for path in paths {
        all.extend(store.derivers(path)?);
    }
    let graph = store.reference_graph(&all, Reach::Only)?;
    Ok(graph.references_first().into_iter().map(|place| graph.paths()[place].clone()).collect())
}

/// Returns `paths` and what they refer to, with the outputs of all derivations among that as far as they are there.
pub(super) fn with_outputs(store: &LocalStore, paths: BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>> {
    grow(store, paths, Reach::References, &|path| made_by_derivation(store, path))
}

/// Returns all that keeps `paths` once it is kept itself: what refers to them; and, as the settings `keep-outputs` and
/// `keep-derivations` say, derivations of what is kept and what kept derivations make.
pub(super) fn kept_by(
    store: &LocalStore,
    settings: &Settings,
    paths: BTreeSet<StorePath>,
) -> Result<BTreeSet<StorePath>> {
    grow(store, paths, Reach::Referrers, &|path| {
        let derivers = if settings.keep_outputs { store.derivers(path)? } else { BTreeSet::new() };
        let made = if settings.keep_derivations { made_by_derivation(store, path)? } else { BTreeSet::new() };
        Ok(derivers.into_iter().chain(made).collect())
    })
}

fn made_by_derivation(store: &LocalStore, path: &StorePath) -> Result<BTreeSet<StorePath>> {
    if path.is_derivation() { outputs_of(store, path) } else { Ok(BTreeSet::new()) }
}

/// Goes on from what belongs to what was found, until nothing new is.
fn grow(
    store: &LocalStore,
    paths: BTreeSet<StorePath>,
    reach: Reach,
    belongs: &dyn Fn(&StorePath) -> Result<BTreeSet<StorePath>>,
) -> Result<BTreeSet<StorePath>> {
    let (mut all, mut new) = (BTreeSet::new(), paths);
    while !new.is_empty() {
        let found = store.reference_graph(&new, reach)?;
        let mut more = BTreeSet::new();
        for path in found.paths() {
            if all.insert(path.clone()) {
                more.extend(belongs(path)?);
            }
        }
        new = store.valid_among(&more)?.difference(&all).cloned().collect();
    }
    Ok(all)
}
