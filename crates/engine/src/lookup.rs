//! What is known of derivations without building anything.

use std::collections::BTreeMap;

use derivation::{Checked, Derivation, Link, OutputName, resolve};
use local_store::LocalStore;
use store_path::StorePath;

use crate::error::Error;
use crate::graph::Graph;
use crate::ready::has_to_be_resolved;
use crate::settle::Key;
use crate::wanted::Selection;

/// Returns where the outputs of a derivation are whose paths are known: by its own text, or since what it resolves to was
/// built before.
pub fn known_outputs(store: &LocalStore, drv: &StorePath) -> Result<BTreeMap<OutputName, StorePath>, Error> {
    let mut graph = Graph::default();
    let derivation = graph.node(store, drv)?.derivation.clone();
    let mut known = BTreeMap::new();
    for name in derivation.outputs.keys() {
        if let Some(path) = look(&mut graph, store, drv, name)? {
            known.insert(name.clone(), path);
        }
    }
    Ok(known)
}

/// Returns the derivation that is built in place of another one, if it is known; it is the same where nothing about the
/// inputs has to be found out.
pub fn resolved(store: &LocalStore, drv: &StorePath) -> Result<Option<StorePath>, Error> {
    let mut graph = Graph::default();
    let derivation = graph.node(store, drv)?.derivation.clone();
    if !has_to_be_resolved(&derivation, &mut |input| Ok::<_, Error>(graph.node(store, input)?.is_stated()))? {
        return Ok(Some(drv.clone()));
    }
    let resolved = resolve_by(store, &mut graph, drv, &derivation)?;
    Ok(resolved.map(|resolved| resolved.path().clone()))
}

/// Returns the derivation that an output is, if that is there.
pub fn made(store: &LocalStore, file: &Link) -> Result<Option<StorePath>, Error> {
    if !store.is_valid(&file.drv)? {
        return Ok(None);
    }
    let mut graph = Graph::default();
    graph.settle(store, &[(Key::Made(file.clone()), Selection::default())])?;
    Ok(graph.made[file].found.clone())
}

/// Resolves a derivation, which need not be in the store, by what `graph` and the store know.
pub(crate) fn resolve_by(
    store: &LocalStore,
    graph: &mut Graph,
    drv: &StorePath,
    derivation: &Derivation,
) -> Result<Option<Checked>, Error> {
    let mut paths = BTreeMap::new();
    for link in derivation.links() {
        match path_of(store, graph, &link)? {
            Some(path) => drop(paths.insert(link, path)),
            None => return Ok(None),
        }
    }
    let resolved = resolve(derivation, store.store_dir(), &mut |link| paths.get(link).cloned());
    resolved.map(Some).map_err(|source| Error::Resolve { drv: drv.clone(), source })
}

fn path_of(store: &LocalStore, graph: &mut Graph, link: &Link) -> Result<Option<StorePath>, Error> {
    match link.file() {
        None => look(graph, store, &link.drv, &link.output),
        Some(file) => {
            let keys = [(Key::Made(file), Selection::from(link.output.clone()))];
            graph.settle(store, &keys)?;
            Ok(graph.path_of(link).cloned())
        }
    }
}

fn look(
    graph: &mut Graph,
    store: &LocalStore,
    drv: &StorePath,
    output: &OutputName,
) -> Result<Option<StorePath>, Error> {
    if !graph.nodes.contains_key(drv) && !store.is_valid(drv)? {
        return Ok(None);
    }
    let wanted = Selection::from(output.clone());
    graph.node(store, drv)?;
    graph.settle(store, &[(Key::Drv(drv.clone()), wanted)])?;
    Ok(graph.nodes[drv].path(output).cloned())
}
