//! Which derivations have to be built: read level by level, from what is wanted down to what is valid.

use std::collections::{BTreeMap, BTreeSet};

use derivation::{Derivation, Link};
use local_store::LocalStore;
use store_path::StorePath;

use crate::error::{Error, Missing};
use crate::graph::{Graph, Standing};
use crate::offers::Sources;
use crate::settle::Key;
use crate::wanted::{Selection, Wanted};

/// What is wanted of each derivation of a level.
#[derive(Debug, Default)]
pub(crate) struct Level {
    drvs: BTreeMap<StorePath, Selection>,
    /// Of derivations that builds make.
    made: BTreeMap<Link, Selection>,
}

impl Level {
    /// The level of what a caller asks for.
    pub(crate) fn of(wanted: &[Wanted]) -> Self {
        let mut level = Self::default();
        for wanted in wanted {
            match wanted {
                Wanted::Path(_) => {}
                Wanted::Outputs { drv, outputs } => level.want(drv, outputs),
                Wanted::Made { file, outputs } => level.want_made(file, outputs),
            }
        }
        level
    }

    pub(crate) fn want(&mut self, drv: &StorePath, outputs: &Selection) {
        self.drvs.entry(drv.clone()).or_default().extend(outputs);
    }

    fn want_made(&mut self, file: &Link, outputs: &Selection) {
        self.made.entry(file.clone()).or_default().extend(outputs);
    }

    fn want_link(&mut self, link: &Link) {
        let output = Selection::from(link.output.clone());
        match link.file() {
            None => self.want(&link.drv, &output),
            Some(file) => self.want_made(&file, &output),
        }
    }

    /// Wants everything that a build of `derivation` takes.
    fn want_inputs(&mut self, derivation: &Derivation) {
        for (input, wanted) in &derivation.input_drvs {
            self.want(input, &Selection::Named(wanted.outputs.iter().cloned().collect()));
        }
        if is_dynamic(derivation) {
            let links = derivation.links();
            links.iter().filter(|link| !link.through.is_empty()).for_each(|link| self.want_link(link));
        }
    }
}

/// Whether a derivation takes outputs of one that a build makes.
pub(crate) fn is_dynamic(derivation: &Derivation) -> bool {
    derivation.input_drvs.values().any(|wanted| !wanted.dynamic.is_empty())
}

pub(crate) fn refuse_missing(store: &LocalStore, wanted: &[Wanted]) -> Result<(), Error> {
    let paths: BTreeSet<StorePath> = wanted.iter().map(|wanted| wanted.start().clone()).collect();
    let valid = rooted_and_valid(store, &paths)?;
    let missing = paths.difference(&valid).cloned();
    Missing::refuse(missing.map(|path| Missing { path, wanted_by: BTreeSet::new() }))
}

/// Returns those of `paths` that are valid. They are rooted first: what was valid then stays valid.
pub(crate) fn rooted_and_valid(
    store: &LocalStore,
    paths: &BTreeSet<StorePath>,
) -> Result<BTreeSet<StorePath>, local_store::Error> {
    if paths.is_empty() {
        return Ok(BTreeSet::new());
    }
    let roots: Vec<StorePath> = paths.iter().cloned().collect();
    store.temp_roots(&roots)?;
    store.valid_among(paths)
}

impl Graph {
    /// Looks at everything that has to be known to build what `level` wants.
    ///
    /// A level is what the builds of the one above need; it costs one question to the database, whatever its size, and
    /// a few more for those whose outputs their own text does not name ([`Graph::settle`]). What `sources` have takes no
    /// inputs: those are not looked at. Only what is wanted is
    /// asked for itself: the inputs of a valid derivation are valid derivations and sources, as the store lets nothing
    /// refer to what is not there.
    pub(crate) fn explore(
        &mut self,
        store: &LocalStore,
        sources: Sources<'_>,
        mut level: Level,
    ) -> Result<(), Error> {
        while !level.drvs.is_empty() || !level.made.is_empty() {
            level = self.descend(store, sources, level)?;
        }
        Ok(())
    }

    /// Looks at everything that has to be known to build `drvs`, whether that is necessary or not.
    pub(crate) fn explore_inputs(
        &mut self,
        store: &LocalStore,
        sources: Sources<'_>,
        drvs: &[StorePath],
    ) -> Result<(), Error> {
        let mut level = Level::default();
        for drv in drvs {
            level.want_inputs(&self.node(store, drv)?.derivation);
        }
        self.explore(store, sources, level)
    }

    /// Decides what of a level has to be built, and returns what that needs.
    fn descend(&mut self, store: &LocalStore, sources: Sources<'_>, level: Level) -> Result<Level, Error> {
        let mut next = Level::default();
        let mut unknown = Vec::new();
        let mut open = Vec::with_capacity(level.drvs.len());
        let mut asked = BTreeSet::new();
        for (drv, wanted) in level.drvs {
            let node = self.node(store, &drv)?;
            // All outputs are built, or fetched, so nothing more can be wanted of it.
            let is_planned = node.standing == Standing::Build && (node.is_explored || node.is_fetched);
            let paths = node.is_stated().then(|| node.paths(&wanted)).flatten();
            self.refuse_absent(&drv, &wanted)?;
            match paths {
                _ if is_planned => {}
                Some(paths) => {
                    asked.extend(paths.values().cloned());
                    open.push((drv, paths));
                }
                None => unknown.push((Key::Drv(drv), wanted)),
            }
        }
        unknown.extend(level.made.into_iter().map(|(file, wanted)| (Key::Made(file), wanted)));
        let valid = rooted_and_valid(store, &asked)?;
        open.retain(|(_, paths)| !paths.values().all(|path| valid.contains(path)));
        let missing: Vec<StorePath> = open.into_iter().map(|(drv, _)| drv).collect();
        for drv in self.not_offered(store, sources, missing)? {
            self.must_build(&drv, &mut next);
        }
        self.settle(store, &unknown)?;
        for (key, wanted) in unknown {
            self.follow(&key, &wanted, &mut next);
        }
        Ok(next)
    }

    /// Adds what it takes to have something that was settled.
    fn follow(&mut self, key: &Key, wanted: &Selection, next: &mut Level) {
        match key {
            Key::Drv(drv) if self.nodes[drv].standing == Standing::Build => self.must_build(drv, next),
            Key::Drv(_) => {}
            Key::Made(file) => match &self.made[file].found {
                Some(drv) => next.want(drv, wanted),
                None => next.want_link(file),
            },
        }
    }

    /// Marks a derivation as one to build, and adds its inputs to the next level.
    fn must_build(&mut self, drv: &StorePath, next: &mut Level) {
        let node = self.nodes.get_mut(drv).expect("only derivations that were read are decided about");
        node.standing = Standing::Build;
        if !std::mem::replace(&mut node.is_explored, true) {
            next.want_inputs(&node.derivation);
        }
    }
}
