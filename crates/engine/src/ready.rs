//! What is built for a derivation whose inputs are all there now.

use std::convert::Infallible;
use std::sync::Arc;

use derivation::{Checked, Derivation, is_resolved};
use local_store::{LocalStore, NewDerivation};
use store_path::StorePath;

use crate::closure::is_dynamic;
use crate::error::Error;
use crate::graph::{Graph, Node};

/// What remains to be done for a derivation.
#[derive(Debug)]
pub(crate) enum Ready {
    /// It has to be built as it is.
    AsItIs(Arc<Derivation>),
    /// What it resolves to has to be built.
    Resolved(Arc<Checked>),
    /// Nothing: it resolves to something whose outputs are there.
    There,
}

impl Graph {
    /// Finds out what is to be built, if anything is.
    ///
    /// An input that was made anew may have come out as it was before. Then what needs it resolves to what it resolved to
    /// before, and that was built.
    pub(crate) fn ready(&mut self, store: &LocalStore, drv: &StorePath) -> Result<Ready, Error> {
        let node = &self.nodes[drv];
        let derivation = node.derivation.clone();
        match &node.resolved {
            Some(resolved) if resolved.path() == drv => return Ok(Ready::AsItIs(derivation)),
            Some(resolved) => return Ok(Ready::Resolved(resolved.clone())),
            None if !self.has_to_be_resolved(&derivation) => return Ok(Ready::AsItIs(derivation)),
            None => {}
        }
        // What a build made may be impure, which nobody could know when this was planned.
        self.refuse_impure(drv, &derivation)?;
        let resolved =
            self.resolve(store, drv).map_err(|source| Error::Resolve { drv: drv.clone(), source })?;
        let Some(resolved) = resolved else {
            return Err(Error::Unknown { drv: drv.clone(), input: self.first_unknown(&derivation) });
        };
        let node = self.nodes.get_mut(drv).expect("what is built was read");
        // Stated outputs were looked for before, and impure ones never are.
        if node.is_stated() || node.is_impure() {
            node.resolved = Some(resolved.clone());
        } else if self.is_there(store, drv, &resolved)? {
            return Ok(Ready::There);
        }
        Ok(Ready::Resolved(resolved))
    }

    fn has_to_be_resolved(&self, derivation: &Derivation) -> bool {
        let is_stated = &mut |input: &StorePath| Ok(self.nodes.get(input).is_some_and(Node::is_stated));
        has_to_be_resolved::<Infallible>(derivation, is_stated).unwrap_or_else(|never| match never {})
    }

    fn first_unknown(&self, derivation: &Derivation) -> String {
        let unknown = derivation.links().into_iter().find(|link| self.path_of(link).is_none());
        unknown.map_or_else(String::new, |link| link.to_string())
    }
}

/// Whether what is built is another derivation, which follows from where the inputs are. `is_stated` tells of an input
/// whether its own text says where its outputs are.
pub(crate) fn has_to_be_resolved<E>(
    derivation: &Derivation,
    is_stated: &mut dyn FnMut(&StorePath) -> Result<bool, E>,
) -> Result<bool, E> {
    if derivation.unknown_outputs().next().is_some() {
        return Ok(!is_resolved(derivation));
    }
    if is_dynamic(derivation) {
        return Ok(true);
    }
    for input in derivation.input_drvs.keys() {
        if !is_stated(input)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Puts a derivation that another one resolved to into the store, as Nix does: the trace and logs name it.
pub(crate) fn keep(store: &LocalStore, resolved: &Checked) -> Result<(), local_store::Error> {
    store.temp_root(resolved.path())?;
    if store.is_valid(resolved.path())? {
        return Ok(());
    }
    store.add_derivations(&[new(resolved)])
}

/// Returns what the store is told of a derivation.
pub(crate) fn new(checked: &Checked) -> NewDerivation<'_> {
    let outputs = checked.output_paths().into_iter();
    NewDerivation {
        path: checked.path().clone(),
        aterm: checked.aterm(),
        references: checked.derivation().references(),
        outputs: outputs.filter_map(|(name, path)| Some((name.to_string(), path?))).collect(),
    }
}
