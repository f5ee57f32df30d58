//! Which derivations have to be built: read level by level, from what is wanted down to what is valid.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use derivation::{Derivation, Output, OutputName};
use local_store::LocalStore;
use store_path::StorePath;

use crate::error::{Error, Missing, Unsupported};
use crate::read::read_derivation;
use crate::wanted::{Realised, Selection, Wanted};

/// What is known about a derivation after it was read.
struct Node {
    derivation: Derivation,
    to_build: bool,
}

/// What is wanted of a derivation, and by whom.
#[derive(Default)]
struct Need {
    outputs: Selection,
    by: BTreeSet<StorePath>,
}

/// The derivations looked at so far.
pub(crate) struct Explored<'a> {
    store: &'a LocalStore,
    nodes: HashMap<StorePath, Node>,
    /// What nothing makes, with those who want it.
    missing: BTreeMap<StorePath, BTreeSet<StorePath>>,
}

/// Looks at everything that has to be known to build `wanted`.
///
/// A level is what the one above needs; each costs two questions to the database, whatever its size, and the
/// sources of all builds are asked for at the end, in one.
pub(crate) fn explore<'a>(store: &'a LocalStore, wanted: &[Wanted]) -> Result<Explored<'a>, Error> {
    let mut explored = Explored { store, nodes: HashMap::new(), missing: BTreeMap::new() };
    let mut level: BTreeMap<StorePath, Need> = BTreeMap::new();
    for wanted in wanted {
        if let Wanted::Outputs { drv, outputs } = wanted {
            level.entry(drv.clone()).or_default().outputs.extend(outputs);
        }
    }
    while !level.is_empty() {
        explored.read(&level)?;
        level = explored.descend(level)?;
    }
    explored.find_sources(wanted)?;
    explored.refuse_missing()?;
    Ok(explored)
}

impl Explored<'_> {
    /// Reads the derivations of a level that were not read before.
    fn read(&mut self, level: &BTreeMap<StorePath, Need>) -> Result<(), Error> {
        let new: BTreeSet<StorePath> =
            level.keys().filter(|drv| !self.nodes.contains_key(*drv)).cloned().collect();
        let valid = self.rooted_and_valid(&new)?;
        for drv in new {
            if valid.contains(&drv) {
                let derivation = read_derivation(self.store, &drv)?;
                self.nodes.insert(drv, Node { derivation, to_build: false });
            } else {
                let by = level[&drv].by.iter().cloned();
                self.missing.entry(drv).or_default().extend(by);
            }
        }
        Ok(())
    }

    /// Decides what of a level has to be built, and returns what that needs.
    fn descend(&mut self, level: BTreeMap<StorePath, Need>) -> Result<BTreeMap<StorePath, Need>, Error> {
        let mut open = Vec::new();
        let mut asked = BTreeSet::new();
        for (drv, need) in level {
            let Some(node) = self.nodes.get(&drv).filter(|node| !node.to_build) else { continue };
            let paths = paths_of(&drv, &node.derivation, &need.outputs)?;
            asked.extend(paths.values().cloned());
            open.push((drv, paths));
        }
        let valid = self.rooted_and_valid(&asked)?;
        let mut next = BTreeMap::new();
        for (drv, paths) in open {
            if !paths.values().all(|path| valid.contains(path)) {
                self.must_build(&drv, &mut next)?;
            }
        }
        Ok(next)
    }

    /// Marks a derivation as one to build, and adds its inputs to the next level.
    fn must_build(&mut self, drv: &StorePath, next: &mut BTreeMap<StorePath, Need>) -> Result<(), Error> {
        let node = self.nodes.get_mut(drv).expect("only derivations that were read are decided about");
        node.to_build = true;
        paths_of(drv, &node.derivation, &Selection::All)?;
        for (input, wanted) in &node.derivation.input_drvs {
            if let Some(output) = wanted.dynamic.keys().next() {
                return Err(unsupported(Unsupported::Dynamic, input, output));
            }
            let need: &mut Need = next.entry(input.clone()).or_default();
            need.outputs.extend(&Selection::Named(wanted.outputs.clone()));
            need.by.insert(drv.clone());
        }
        Ok(())
    }

    /// Notes the sources that are not there: those of every build, and paths wanted as such.
    fn find_sources(&mut self, wanted: &[Wanted]) -> Result<(), Error> {
        let mut sources: BTreeMap<StorePath, BTreeSet<StorePath>> = BTreeMap::new();
        for wanted in wanted {
            if let Wanted::Path(path) = wanted {
                sources.entry(path.clone()).or_default();
            }
        }
        for (drv, node) in self.nodes.iter().filter(|(_, node)| node.to_build) {
            for source in &node.derivation.input_srcs {
                sources.entry(source.clone()).or_default().insert(drv.clone());
            }
        }
        let valid = self.rooted_and_valid(&sources.keys().cloned().collect())?;
        for (source, by) in sources.into_iter().filter(|(source, _)| !valid.contains(source)) {
            self.missing.entry(source).or_default().extend(by);
        }
        Ok(())
    }

    fn refuse_missing(&mut self) -> Result<(), Error> {
        let missing = std::mem::take(&mut self.missing).into_iter();
        let missing: Vec<Missing> = missing.map(|(path, wanted_by)| Missing { path, wanted_by }).collect();
        if missing.is_empty() { Ok(()) } else { Err(Error::Missing { missing }) }
    }

    /// Returns those of `paths` that are valid. They are rooted first: what was valid then stays valid.
    fn rooted_and_valid(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>, Error> {
        for path in paths {
            self.store.temp_root(path)?;
        }
        Ok(self.store.valid_among(paths)?)
    }

    /// Returns what each wanted thing will be, with the derivation that makes it.
    pub(crate) fn promises(&self, wanted: &[Wanted]) -> Result<Vec<(Realised, Option<StorePath>)>, Error> {
        let promise = |wanted: &Wanted| match wanted {
            Wanted::Path(path) => Ok((Realised::Path(path.clone()), None)),
            Wanted::Outputs { drv, outputs } => {
                let node = self.nodes.get(drv).expect("everything wanted was read");
                let outputs = paths_of(drv, &node.derivation, outputs)?;
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
    match derivation.outputs.get(name) {
        Some(Output::InputAddressed(path) | Output::Fixed { path, .. }) => Ok(path.clone()),
        Some(Output::Floating { .. } | Output::Deferred) => {
            Err(unsupported(Unsupported::ContentAddressed, drv, name))
        }
        Some(Output::Impure { .. }) => Err(unsupported(Unsupported::Impure, drv, name)),
        None => Err(Error::NoSuchOutput { drv: drv.clone(), output: name.clone() }),
    }
}

fn unsupported(kind: Unsupported, drv: &StorePath, output: &OutputName) -> Error {
    Error::Unsupported { kind, drv: drv.clone(), output: output.clone() }
}
