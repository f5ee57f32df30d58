//! Questions to the database.

use std::collections::{BTreeMap, BTreeSet};

use store_db::{Reach, References};
use store_path::{Digest, PathInfo, Realisation, StorePath};

use crate::error::Error;
use crate::store::LocalStore;

impl LocalStore {
    /// Returns whether `path` is valid.
    pub fn is_valid(&self, path: &StorePath) -> Result<bool, Error> {
        self.ask(|database| database.is_valid(path), |here, below| here || below)
    }

    /// Returns those of `paths` that are valid.
    pub fn valid_among(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>, Error> {
        self.ask(|database| database.valid_among(paths), both)
    }

    /// Returns every valid path.
    pub fn all_valid(&self) -> Result<BTreeSet<StorePath>, Error> {
        self.ask(store_db::Db::all_valid, both)
    }

    /// Returns what is known about `path` when it is valid.
    pub fn path_info(&self, path: &StorePath) -> Result<Option<PathInfo>, Error> {
        self.ask(|database| database.path_info(path), Option::or)
    }

    /// Returns what is known about those of `paths` that are valid.
    pub fn path_infos(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeMap<StorePath, PathInfo>, Error> {
        self.ask(|database| database.path_infos(paths), first_of_both)
    }

    /// Returns what `path` refers to.
    pub fn references(&self, path: &StorePath) -> Result<BTreeSet<StorePath>, Error> {
        self.ask(|database| database.references(path), both)
    }

    /// Returns the valid paths that refer to `path`.
    pub fn referrers(&self, path: &StorePath) -> Result<BTreeSet<StorePath>, Error> {
        self.ask(|database| database.referrers(path), both)
    }

    /// Returns `paths` and all they refer to, directly or not; each of them has to be valid.
    pub fn closure(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>, Error> {
        all_in(paths, self.ask(|database| database.closure(paths), both)?)
    }

    /// Returns `paths` and all that refers to them, directly or not; each of them has to be valid.
    pub fn referrers_closure(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>, Error> {
        // Nothing below refers to what is here only.
        let below = match &self.lower {
            Some(lower) => lower.with_database(|database| Ok(database.referrers_closure(paths)?))?,
            None => BTreeSet::new(),
        };
        let from = both(paths.clone(), below.clone());
        let here = self.with_database(|database| Ok(database.referrers_closure(&from)?))?;
        all_in(paths, both(here, below))
    }

    /// Returns `paths`, each of which has to be valid, what else is within `reach`, and what refers to what among them.
    pub fn reference_graph(&self, paths: &BTreeSet<StorePath>, reach: Reach) -> Result<References, Error> {
        let graph = match &self.lower {
            None => self.with_database(|database| Ok(database.reference_graph(paths, reach)?))?,
            Some(lower) => {
                let below = lower.with_database(|database| Ok(database.reference_graph(paths, reach)?))?;
                let from = both(paths.clone(), below.paths().iter().cloned().collect());
                self.with_database(|database| Ok(database.reference_graph(&from, reach)?))?.and(&below)
            }
        };
        match paths.iter().find(|path| graph.place(path).is_none()) {
            Some(path) => Err(Error::NotValid { path: path.clone() }),
            None => Ok(graph),
        }
    }

    /// Returns how many valid paths refer to each path of `references` besides itself, by place.
    pub fn referrer_counts(&self, references: &References) -> Result<Vec<usize>, Error> {
        self.with_database(|database| Ok(database.referrer_counts(references)?))
    }

    /// Returns the outputs of the valid derivation `drv` whose paths are known, by name.
    pub fn outputs_of(&self, drv: &StorePath) -> Result<BTreeMap<String, StorePath>, Error> {
        self.ask(|database| database.outputs_of(drv), first_of_both)
    }

    /// Returns what is known of the outputs of resolved `drvs` that are valid, by derivation and name.
    pub fn realisations(&self, drvs: &BTreeSet<StorePath>) -> Result<Vec<Realisation>, Error> {
        self.ask(
            |database| database.realisations(drvs),
            |mut here, below| {
                let is_new = |one: &Realisation| {
                    !here.iter().any(|known| (&known.drv, &known.output) == (&one.drv, &one.output))
                };
                let new: Vec<Realisation> = below.into_iter().filter(is_new).collect();
                here.extend(new);
                here.sort();
                here
            },
        )
    }

    /// Returns the valid derivations that have `path` as an output.
    pub fn derivers(&self, path: &StorePath) -> Result<BTreeSet<StorePath>, Error> {
        self.ask(|database| database.derivers(path), both)
    }

    /// Returns the valid path with that digest.
    pub fn path_from_digest(&self, digest: &Digest) -> Result<Option<StorePath>, Error> {
        self.ask(|database| database.path_from_digest(digest), Option::or)
    }

    /// Asks the database, and that of the lower store if there is one.
    fn ask<T>(
        &self,
        question: impl Fn(&store_db::Db) -> Result<T, store_db::Error>,
        join: impl FnOnce(T, T) -> T,
    ) -> Result<T, Error> {
        let here = self.with_database(|database| Ok(question(database)?))?;
        match &self.lower {
            Some(lower) => Ok(join(here, lower.with_database(|database| Ok(question(database)?))?)),
            None => Ok(here),
        }
    }
}

fn both(mut here: BTreeSet<StorePath>, below: BTreeSet<StorePath>) -> BTreeSet<StorePath> {
    here.extend(below);
    here
}

fn first_of_both<K: Ord, V>(here: BTreeMap<K, V>, mut below: BTreeMap<K, V>) -> BTreeMap<K, V> {
    below.extend(here);
    below
}

/// Nothing is known about a path that is not valid, not even that it has no references.
fn all_in(paths: &BTreeSet<StorePath>, closure: BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>, Error> {
    match paths.difference(&closure).next() {
        Some(path) => Err(Error::NotValid { path: path.clone() }),
        None => Ok(closure),
    }
}
