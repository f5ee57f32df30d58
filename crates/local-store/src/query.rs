//! Questions to the database.

use std::collections::{BTreeMap, BTreeSet};

use store_db::{Reach, References};
use store_path::{Digest, PathInfo, Realisation, StorePath};

use crate::error::Error;
use crate::store::LocalStore;

impl LocalStore {
    /// Returns whether `path` is valid.
    pub fn is_valid(&self, path: &StorePath) -> Result<bool, Error> {
        self.with_database(|database| Ok(database.is_valid(path)?))
    }

    /// Returns those of `paths` that are valid.
    pub fn valid_among(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>, Error> {
        self.with_database(|database| Ok(database.valid_among(paths)?))
    }

    /// Returns every valid path.
    pub fn all_valid(&self) -> Result<BTreeSet<StorePath>, Error> {
        self.with_database(|database| Ok(database.all_valid()?))
    }

    /// Returns what is known about `path` when it is valid.
    pub fn path_info(&self, path: &StorePath) -> Result<Option<PathInfo>, Error> {
        self.with_database(|database| Ok(database.path_info(path)?))
    }

    /// Returns what is known about those of `paths` that are valid.
    pub fn path_infos(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeMap<StorePath, PathInfo>, Error> {
        self.with_database(|database| Ok(database.path_infos(paths)?))
    }

    /// Returns what `path` refers to.
    pub fn references(&self, path: &StorePath) -> Result<BTreeSet<StorePath>, Error> {
        self.with_database(|database| Ok(database.references(path)?))
    }

    /// Returns the valid paths that refer to `path`.
    pub fn referrers(&self, path: &StorePath) -> Result<BTreeSet<StorePath>, Error> {
        self.with_database(|database| Ok(database.referrers(path)?))
    }

    /// Returns `paths` and all they refer to, directly or not; each of them has to be valid.
    pub fn closure(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>, Error> {
        let closure = self.with_database(|database| Ok(database.closure(paths)?))?;
        all_in(paths, closure)
    }

    /// Returns `paths` and all that refers to them, directly or not; each of them has to be valid.
    pub fn referrers_closure(&self, paths: &BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>, Error> {
        let closure = self.with_database(|database| Ok(database.referrers_closure(paths)?))?;
        all_in(paths, closure)
    }

    /// Returns `paths`, each of which has to be valid, what else is within `reach`, and what refers to what among them.
    pub fn reference_graph(&self, paths: &BTreeSet<StorePath>, reach: Reach) -> Result<References, Error> {
        let graph = self.with_database(|database| Ok(database.reference_graph(paths, reach)?))?;
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
        self.with_database(|database| Ok(database.outputs_of(drv)?))
    }

    /// Returns what is known of the outputs of resolved `drvs` that are valid, by derivation and name.
    pub fn realisations(&self, drvs: &BTreeSet<StorePath>) -> Result<Vec<Realisation>, Error> {
        self.with_database(|database| Ok(database.realisations(drvs)?))
    }

    /// Returns the valid derivations that have `path` as an output.
    pub fn derivers(&self, path: &StorePath) -> Result<BTreeSet<StorePath>, Error> {
        self.with_database(|database| Ok(database.derivers(path)?))
    }

    /// Returns the valid path with that digest.
    pub fn path_from_digest(&self, digest: &Digest) -> Result<Option<StorePath>, Error> {
        self.with_database(|database| Ok(database.path_from_digest(digest)?))
    }
}

/// Nothing is known about a path that is not valid, not even that it has no references.
fn all_in(paths: &BTreeSet<StorePath>, closure: BTreeSet<StorePath>) -> Result<BTreeSet<StorePath>, Error> {
    match paths.difference(&closure).next() {
        Some(path) => Err(Error::NotValid { path: path.clone() }),
        None => Ok(closure),
    }
}
