//! Which derivations have to be built: read level by level, from what is wanted down to what is valid.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use derivation::{Derivation, Output, OutputName};
use local_store::LocalStore;
use store_path::StorePath;

use crate::error::{Error, Missing, Unsupported};
use crate::read::read_derivation;
use crate::wanted::{Realised, Selection, Wanted};

/// What is wanted of each derivation of a level.
type Level = BTreeMap<StorePath, Selection>;

/// What is known about a derivation after it was read.
struct Node {
    derivation: Derivation,
    to_build: bool,
}

/// The derivations looked at so far.
pub(crate) struct Explored<'a> {
    store: &'a LocalStore,
    nodes: HashMap<StorePath, Node>,
}

/// Looks at everything that has to be known to build `wanted`.
///
/// A level is what the builds of the one above need; it costs one question to the database, whatever its size.
/// Only what is wanted is asked for itself: the inputs of a valid derivation are valid derivations and sources,
/// as the store lets nothing refer to what is not there.
pub(crate) fn explore<'a>(store: &'a LocalStore, wanted: &[Wanted]) -> Result<Explored<'a>, Error> {
    refuse_missing(store, wanted)?;
    let mut explored = Explored { store, nodes: HashMap::new() };
    let mut level = Level::new();
    for wanted in wanted {
        if let Wanted::Outputs { drv, outputs } = wanted {
            level.entry(drv.clone()).or_default().extend(outputs);
        }
    }
    while !level.is_empty() {
        level = explored.descend(level)?;
    }
    Ok(explored)
}

fn refuse_missing(store: &LocalStore, wanted: &[Wanted]) -> Result<(), Error> {
    let paths = wanted.iter().map(|(Wanted::Path(path) | Wanted::Outputs { drv: path, .. })| path.clone());
    let paths: BTreeSet<StorePath> = paths.collect();
    let valid = rooted_and_valid(store, &paths)?;
    let missing = paths.difference(&valid).cloned();
    Missing::refuse(missing.map(|path| Missing { path, wanted_by: BTreeSet::new() }))
}

/// Returns those of `paths` that are valid. They are rooted first: what was valid then stays valid.
pub(crate) fn rooted_and_valid(
    store: &LocalStore,
    paths: &BTreeSet<StorePath>,
) -> Result<BTreeSet<StorePath>, local_store::Error> {
    let roots: Vec<StorePath> = paths.iter().cloned().collect();
    store.temp_roots(&roots)?;
    store.valid_among(paths)
}

impl Explored<'_> {
    /// Decides what of a level has to be built, and returns what that needs.
    fn descend(&mut self, level: Level) -> Result<Level, Error> {
        let mut open = Vec::with_capacity(level.len());
        let mut asked = BTreeSet::new();
        for (drv, wanted) in level {
            let node = self.node(&drv)?;
            // A build makes all outputs, so nothing more can be wanted of it.
            if !node.to_build {
                let paths = paths_of(&drv, &node.derivation, &wanted)?;
                asked.extend(paths.values().cloned());
                open.push((drv, paths));
            }
        }
        let valid = rooted_and_valid(self.store, &asked)?;
        let mut next = Level::new();
        for (drv, paths) in open {
            if !paths.values().all(|path| valid.contains(path)) {
                self.must_build(&drv, &mut next)?;
            }
        }
        Ok(next)
    }

    /// Returns what is known about a derivation, which is read when it is met first.
    fn node(&mut self, drv: &StorePath) -> Result<&Node, Error> {
        if !self.nodes.contains_key(drv) {
            let derivation = read_derivation(self.store, drv)?;
            self.nodes.insert(drv.clone(), Node { derivation, to_build: false });
        }
        Ok(&self.nodes[drv])
    }

    /// Marks a derivation as one to build, and adds its inputs to the next level.
    fn must_build(&mut self, drv: &StorePath, next: &mut Level) -> Result<(), Error> {
        let node = self.nodes.get_mut(drv).expect("only derivations that were read are decided about");
        node.to_build = true;
        paths_of(drv, &node.derivation, &Selection::All)?;
        refuse_dynamic(drv, &node.derivation)?;
        for (input, wanted) in &node.derivation.input_drvs {
            next.entry(input.clone()).or_default().extend(&Selection::Named(wanted.outputs.clone()));
        }
        Ok(())
    }

    /// Returns what each wanted thing will be, with the derivation that makes it.
    pub(crate) fn promises(&self, wanted: &[Wanted]) -> Result<Vec<(Realised, Option<StorePath>)>, Error> {
        let promise = |wanted: &Wanted| match wanted {
            Wanted::Path(path) => Ok((Realised::Path(path.clone()), None)),
            Wanted::Outputs { drv, outputs } => {
                let outputs = paths_of(drv, &self.nodes[drv].derivation, outputs)?;
                Ok((Realised::Outputs { drv: drv.clone(), outputs }, Some(drv.clone())))
            }
        };
        wanted.iter().map(promise).collect()
    }

    /// Returns the derivations that have to be built.
    pub(crate) fn into_builds(self) -> HashMap<StorePath, Derivation> {
        let nodes = self.nodes.into_iter().filter(|(_, node)| node.to_build);
        nodes.map(|(drv, node)| (drv, node.derivation)).collect()
    }
}

/// Returns the paths of the selected outputs, if they are known before the build.
fn paths_of(
    drv: &StorePath,
    derivation: &Derivation,
    selection: &Selection,
) -> Result<BTreeMap<OutputName, StorePath>, Error> {
    let names: Vec<&OutputName> = match selection {
        Selection::All => derivation.outputs.keys().collect(),
        Selection::Named(names) => names.iter().collect(),
    };
    names.into_iter().map(|name| Ok((name.clone(), path_of(drv, derivation, name)?))).collect()
}

fn path_of(drv: &StorePath, derivation: &Derivation, name: &OutputName) -> Result<StorePath, Error> {
    let unsupported = |kind| Error::Unsupported { kind, drv: drv.clone(), output: name.clone() };
    match derivation.outputs.get(name) {
        Some(Output::InputAddressed(path) | Output::Fixed { path, .. }) => Ok(path.clone()),
        Some(Output::Floating { .. }) => Err(unsupported(Unsupported::ContentAddressed)),
        // It depends on an input's path, and these are the inputs without one.
        Some(Output::Deferred) if is_dynamic(derivation) => Err(unsupported(Unsupported::Dynamic)),
        Some(Output::Deferred) => Err(unsupported(Unsupported::ContentAddressed)),
        Some(Output::Impure { .. }) => Err(unsupported(Unsupported::Impure)),
        None => Err(Error::NoSuchOutput { drv: drv.clone(), output: name.clone() }),
    }
}

/// Refuses a derivation whose own outputs are known, but which needs those of a derivation yet to be made.
pub(crate) fn refuse_dynamic(drv: &StorePath, derivation: &Derivation) -> Result<(), Error> {
    match derivation.outputs.keys().next() {
        Some(output) if is_dynamic(derivation) => {
            Err(Error::Unsupported { kind: Unsupported::Dynamic, drv: drv.clone(), output: output.clone() })
        }
        _ => Ok(()),
    }
}

fn is_dynamic(derivation: &Derivation) -> bool {
    derivation.input_drvs.values().any(|wanted| !wanted.dynamic.is_empty())
}
