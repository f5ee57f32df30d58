//! Outputs whose paths follow from what is in them.
//!
//! The builder has made each at a scratch path, and that may be in all of them. In an order in which each comes
//! after those that it refers to: the digests of those are replaced by the final ones, the hash is taken as if its own
//! digest were not known, the path follows from that, and its own digest is replaced, too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use derivation::{Output, OutputName};
use local_store::LocalStore;
use store_path::{ContentAddress, Digest, Hash, HashAlgorithm, Method, StorePath, output_name};

use super::{Kept, Made, Scanned, content, info, scan};
use crate::failure::BuildFailure;
use crate::request::{Request, chain};

/// Gives all outputs their final contents and paths; those in `valid` keep the ones they have.
pub(super) fn finish(
    store: &LocalStore,
    request: &Request<'_>,
    made: &Made<'_>,
    inputs: &BTreeSet<StorePath>,
    valid: &BTreeMap<OutputName, StorePath>,
) -> Result<BTreeMap<OutputName, Kept>, BuildFailure> {
    let failed = |source| BuildFailure::Store { drv: request.drv.clone(), source };
    let mut scanned = BTreeMap::new();
    let mut done = Done { store, request, made, outputs: BTreeMap::new() };
    for (name, path) in &request.outputs {
        let tree = made.path(path);
        match valid.get(name) {
            Some(known) => {
                let info = store.path_info(known).map_err(failed)?;
                let info =
                    info.ok_or_else(|| failed(local_store::Error::NotValid { path: known.clone() }))?;
                done.outputs.insert(name.clone(), Kept { info, tree });
            }
            None => {
                let kept = made.kept(path);
                if kept != tree {
                    // Before anything is looked at: somebody else may have files of it open.
                    local_store::copy_tree(&tree, &kept, request.until()).map_err(failed)?;
                }
                scanned.insert(name.clone(), scan(request, name, &kept, inputs)?);
            }
        }
    }
    for name in in_order(request, &scanned)? {
        if let Some(scanned) = scanned.remove(&name) {
            done.add(name, scanned)?;
        }
    }
    Ok(done.outputs)
}

/// The outputs, each after those that it refers to.
fn in_order(
    request: &Request<'_>,
    scanned: &BTreeMap<OutputName, Scanned>,
) -> Result<Vec<OutputName>, BuildFailure> {
    let refers = |from: &OutputName, to: &OutputName| {
        from != to && scanned[from].references.contains(&request.outputs[to])
    };
    let mut left: Vec<&OutputName> = scanned.keys().collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let (ready, waiting): (Vec<&OutputName>, Vec<&OutputName>) =
            left.iter().copied().partition(|name| !left.iter().any(|other| refers(name, other)));
        if ready.is_empty() {
            return Err(cycle(request, &left, refers));
        }
        order.extend(ready.into_iter().cloned());
        left = waiting;
    }
    Ok(order)
}

/// Of outputs that all refer to one of them: two neighbours on a circle.
fn cycle(
    request: &Request<'_>,
    left: &[&OutputName],
    refers: impl Fn(&OutputName, &OutputName) -> bool,
) -> BuildFailure {
    let next = |from: &OutputName| left.iter().find(|to| refers(from, to)).copied().unwrap_or(left[0]);
    // After as many steps as there are outputs, it goes round.
    let output = left.iter().fold(left[0], |output, _| next(output));
    let (output, other) = (output.clone(), next(output).clone());
    BuildFailure::OutputCycle { drv: request.drv.clone(), output, other }
}

/// The outputs that have their final paths.
struct Done<'a> {
    store: &'a LocalStore,
    request: &'a Request<'a>,
    made: &'a Made<'a>,
    outputs: BTreeMap<OutputName, Kept>,
}

impl Done<'_> {
    fn add(&mut self, name: OutputName, scanned: Scanned) -> Result<(), BuildFailure> {
        let Self { store, request, made, .. } = *self;
        let scratch = &request.outputs[&name];
        let tree = made.kept(scratch);
        let mut rewrites = self.rewrites();
        let (method, algorithm) = addressing(&request.derivation.outputs[&name]);
        // Git's objects are hashed as they are on disk, so what they hold of others has to be final.
        let (tree, archive) = match method == Method::Git && !rewrites.is_empty() {
            true => self.rewritten(scratch, tree, &rewrites)?,
            false => (tree, (scanned.nar_hash, scanned.nar_size)),
        };
        let modulo = content(request, &tree, method, algorithm, scratch, &rewrites)?;
        let mut others = scanned.references;
        let refers_to_itself = others.remove(scratch);
        let others = self.with_final_paths(others);
        let address = ContentAddress { method, hash: modulo.hash };
        let attribute = |problem| BuildFailure::Attribute { drv: request.drv.clone(), problem };
        let own_name =
            output_name(&request.derivation.name, name.as_str()).map_err(|error| attribute(chain(&error)))?;
        let path = store
            .store_dir()
            .addressed_path(&own_name, &address, &others, refers_to_itself)
            .ok_or_else(|| BuildFailure::Unaddressable {
                drv: request.drv.clone(),
                output: name.clone(),
                method,
                reference: others.first().filter(|_| method != Method::Text).cloned(),
            })?;
        let (tree, archive) = match modulo.replaced || modulo.refers_to_itself {
            true => {
                rewrites.push((*scratch.digest(), *path.digest()));
                self.rewritten(scratch, tree, &rewrites)?
            }
            false => (tree, archive),
        };
        let mut references = others;
        references.extend(refers_to_itself.then(|| path.clone()));
        let info = info(request, &path, archive, references, Some(address));
        self.outputs.insert(name, Kept { info, tree });
        Ok(())
    }

    /// What is replaced in outputs that come now.
    fn rewrites(&self) -> Vec<(Digest, Digest)> {
        let scratch = |name| *self.request.outputs[name].digest();
        self.outputs.iter().map(|(name, kept)| (scratch(name), *kept.info.path.digest())).collect()
    }

    fn with_final_paths(&self, references: BTreeSet<StorePath>) -> BTreeSet<StorePath> {
        let finals: BTreeMap<&StorePath, &StorePath> =
            self.outputs.iter().map(|(name, kept)| (&self.request.outputs[name], &kept.info.path)).collect();
        let translate = |path: StorePath| finals.get(&path).map_or(path, |path| StorePath::clone(path));
        references.into_iter().map(translate).collect()
    }

    /// Another tree in place of `tree`, with its archive.
    fn rewritten(
        &self,
        scratch: &StorePath,
        tree: PathBuf,
        rewrites: &[(Digest, Digest)],
    ) -> Result<(PathBuf, (Hash, u64)), BuildFailure> {
        let failed = |source| BuildFailure::Store { drv: self.request.drv.clone(), source };
        let mut target = self.made.aside.join(format!("{scratch}.rewritten"));
        if target == tree {
            target = self.made.aside.join(format!("{scratch}.rewritten-again"));
        }
        // A killed build may have left one where the builder sees the store.
        local_store::remove_tree(&target).map_err(failed)?;
        let archive = local_store::rewrite_tree(&tree, &target, rewrites, self.request.until());
        if archive.is_err() {
            // It may be where nobody else looks for what is left over.
            let _ = local_store::remove_tree(&target);
        }
        let archive = archive.map_err(failed)?;
        local_store::remove_tree(&tree).map_err(failed)?;
        Ok((target, archive))
    }
}

/// How the path of a floating output follows from its contents.
fn addressing(output: &Output) -> (Method, HashAlgorithm) {
    match output {
        Output::Floating { method, algorithm } | Output::Impure { method, algorithm } => {
            (*method, *algorithm)
        }
        // Outputs of these kinds are not finished here.
        Output::Fixed { method, hash, .. } => (*method, hash.algorithm()),
        Output::InputAddressed(_) | Output::Deferred => (Method::Nar, HashAlgorithm::Sha256),
    }
}
