//! What substituters have, while a plan is made: outputs that are fetched instead of built, and all that they refer to.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use derivation::{Derivation, Output};
use local_store::LocalStore;
use store_path::{ContentAddress, StorePath};
use substituter::{Fetch, Offer, Substituters};

use crate::closure::rooted_and_valid;
use crate::error::Error;
use crate::graph::{Graph, Standing};
use crate::order::Task;

/// Who is asked for what is not there, if anybody is.
pub(crate) type Sources<'a> = Option<&'a FromOthers<'a>>;

/// The substituters, and of what they are asked.
#[derive(Debug)]
pub(crate) struct FromOthers<'a> {
    pub(crate) substituters: Substituters<'a>,
    /// Whether a derivation has no say in it.
    pub(crate) always_allowed: bool,
}

/// What is known of paths that are not there.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    offers: HashMap<StorePath, Offer>,
    /// What has to be in a path whose derivation promises that.
    promised: HashMap<StorePath, ContentAddress>,
    /// What was asked for; what is not among the offers nobody has.
    asked: HashSet<StorePath>,
    /// What can be fetched, with all that it refers to.
    complete: HashSet<StorePath>,
    /// What was valid when it was looked at, and is rooted.
    valid: HashSet<StorePath>,
    /// Derivations that are built, whoever has their outputs.
    refused: HashSet<StorePath>,
    /// What is wrong with substituters, not told yet.
    pub(crate) warnings: Vec<String>,
}

impl Offers {
    /// Returns what has to be fetched before a path.
    pub(crate) fn needs(&self, path: &StorePath) -> Vec<Task> {
        self.missing_references(path).cloned().map(Task::Fetch).collect()
    }

    /// Returns what it takes to fetch a path that was planned.
    pub(crate) fn fetch(&self, path: &StorePath) -> Fetch {
        let offer = self.offers.get(path).expect("only what was offered is planned").clone();
        Fetch { path: path.clone(), offer, promised: self.promised.get(path).copied() }
    }

    fn missing_references<'a>(&'a self, path: &'a StorePath) -> impl Iterator<Item = &'a StorePath> {
        let references = self.offers.get(path).into_iter().flat_map(|offer| &offer.references);
        references.filter(move |reference| *reference != path && !self.valid.contains(*reference))
    }

    /// Learns who has some of `paths`, and all that they refer to, level by level.
    fn ask(
        &mut self,
        store: &LocalStore,
        substituters: &Substituters<'_>,
        paths: BTreeSet<StorePath>,
    ) -> Result<(), Error> {
        let warnings = &mut self.warnings;
        let open: BTreeSet<StorePath> =
            paths.into_iter().filter(|path| self.asked.insert(path.clone())).collect();
        if open.is_empty() {
            return Ok(());
        }
        let mut open = substituters.have(&open, &mut |text| warnings.push(text));
        let mut new = Vec::new();
        while !open.is_empty() {
            let found = substituters.offers(&open, &mut |text| warnings.push(text));
            let references = found.values().flat_map(|offer| &offer.references);
            let references =
                references.filter(|path| !self.valid.contains(*path) && !self.asked.contains(*path));
            let mut references: BTreeSet<StorePath> = references.cloned().collect();
            let valid = rooted_and_valid(store, &references)?;
            references.retain(|path| !valid.contains(path));
            self.valid.extend(valid);
            self.asked.extend(references.iter().cloned());
            new.extend(found.keys().cloned());
            self.offers.extend(found);
            open = references;
        }
        self.complete(new);
        Ok(())
    }

    /// Finds out which of `new` can be fetched: those that need nothing but what can be, or is there. What refers to itself
    /// through others is not among them.
    fn complete(&mut self, new: Vec<StorePath>) {
        let mut waits: HashMap<StorePath, usize> = HashMap::new();
        let mut users: HashMap<StorePath, Vec<StorePath>> = HashMap::new();
        let mut ready = Vec::new();
        for path in new {
            let needs: Vec<StorePath> = self
                .missing_references(&path)
                .filter(|need| !self.complete.contains(*need))
                .cloned()
                .collect();
            if needs.is_empty() {
                ready.push(path);
                continue;
            }
            waits.insert(path.clone(), needs.len());
            needs.into_iter().for_each(|need| users.entry(need).or_default().push(path.clone()));
        }
        while let Some(path) = ready.pop() {
            for user in users.remove(&path).unwrap_or_default() {
                let left = waits.get_mut(&user).expect("a user waits for all that it needs");
                *left -= 1;
                if *left == 0 {
                    ready.push(user);
                }
            }
            self.complete.insert(path);
        }
    }
}

impl Graph {
    /// Whether all outputs of a derivation are to be fetched.
    pub(crate) fn is_fetched(&self, drv: &StorePath) -> bool {
        self.nodes.get(drv).is_some_and(|node| node.is_fetched)
    }

    /// Returns the goals that fetch the outputs of a derivation.
    pub(crate) fn fetches(&self, drv: &StorePath) -> Vec<Task> {
        let paths = outputs(&self.nodes[drv].derivation);
        paths.filter(|path| self.offers.complete.contains(*path)).cloned().map(Task::Fetch).collect()
    }

    /// Marks those of `drvs` whose outputs can all be fetched, and returns the others, which have to be built.
    ///
    /// All are asked about at once. As a build makes all outputs, all that are not there are fetched: what needs another
    /// one later finds it.
    pub(crate) fn not_offered(
        &mut self,
        store: &LocalStore,
        sources: Sources<'_>,
        drvs: Vec<StorePath>,
    ) -> Result<Vec<StorePath>, Error> {
        let Some(sources) = sources.filter(|_| !drvs.is_empty()) else { return Ok(drvs) };
        let (candidates, mut rest): (Vec<_>, Vec<_>) =
            drvs.into_iter().partition(|drv| self.may_be_fetched(store, sources, drv));
        let all: BTreeSet<StorePath> =
            candidates.iter().flat_map(|drv| outputs(&self.nodes[drv].derivation)).cloned().collect();
        let valid = rooted_and_valid(store, &all)?;
        let missing = all.difference(&valid).cloned().collect();
        self.offers.valid.extend(valid);
        self.offers.ask(store, &sources.substituters, missing)?;
        for drv in candidates {
            let offers = &self.offers;
            let is_there = |path: &StorePath| offers.valid.contains(path) || offers.complete.contains(path);
            if !outputs(&self.nodes[&drv].derivation).all(is_there) {
                rest.push(drv);
                continue;
            }
            let node = self.nodes.get_mut(&drv).expect("it was looked at");
            (node.standing, node.is_fetched) = (Standing::Build, true);
            self.offers.promised.extend(promises(&node.derivation));
        }
        Ok(rest)
    }

    fn may_be_fetched(&self, store: &LocalStore, sources: &FromOthers<'_>, drv: &StorePath) -> bool {
        let derivation = &self.nodes[drv].derivation;
        let allows = || derivation.options(store.store_dir()).is_ok_and(|options| options.allow_substitutes);
        !self.offers.refused.contains(drv) && (sources.always_allowed || allows())
    }

    /// Takes in that a derivation is built, as its outputs could not be fetched, and looks at what that takes.
    pub(crate) fn build_after_all(
        &mut self,
        store: &LocalStore,
        sources: Sources<'_>,
        drv: &StorePath,
    ) -> Result<(), Error> {
        self.offers.refused.insert(drv.clone());
        let node = self.nodes.get_mut(drv).expect("what was planned was read");
        (node.is_fetched, node.is_explored) = (false, true);
        self.explore_inputs(store, sources, std::slice::from_ref(drv))
    }

    /// Returns the outputs of a derivation, by name.
    pub(crate) fn stated_outputs(&self, drv: &StorePath) -> BTreeMap<derivation::OutputName, StorePath> {
        let outputs = &self.nodes[drv].derivation.outputs;
        outputs.iter().filter_map(|(name, output)| Some((name.clone(), output.path()?.clone()))).collect()
    }
}

fn outputs(derivation: &Derivation) -> impl Iterator<Item = &StorePath> {
    derivation.outputs.values().filter_map(Output::path)
}

fn promises(derivation: &Derivation) -> impl Iterator<Item = (StorePath, ContentAddress)> {
    derivation.outputs.values().filter_map(|output| match output {
        Output::Fixed { method, hash, path } => {
            Some((path.clone(), ContentAddress { method: *method, hash: *hash }))
        }
        _ => None,
    })
}
