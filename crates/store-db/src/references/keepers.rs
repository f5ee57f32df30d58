//! What keeps paths from a collector: what refers to them, and, by settings, derivations and outputs each other.

use std::collections::{BTreeSet, HashMap};

use rusqlite::params;
use store_path::StorePath;

use super::{Reach, References, Walk};
use crate::edges::Edges;
use crate::error::Error;
use crate::rows::json_list;
use crate::{Db, Keep};

/// By what a path keeps another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tie {
    /// It refers to it.
    #[default]
    Reference,
    /// It was built by it: the other one is its derivation ([`Keep::derivations`]).
    Derivation,
    /// It builds it: the other one is its output ([`Keep::outputs`]).
    Output,
}

/// Some valid paths, all that keeps them, directly or not, and by what.
#[derive(Clone, Debug)]
pub struct Keepers {
    references: References,
    /// What each keeps and does not refer to.
    kept: Edges<(usize, Tie)>,
}

impl Keepers {
    /// Returns the paths, and what they refer to among each other.
    pub fn references(&self) -> &References {
        &self.references
    }

    /// Returns what a path keeps among these, itself too if it refers to itself.
    pub fn kept_by(&self, place: usize) -> impl Iterator<Item = (usize, Tie)> {
        let referred = self.references.of(place).iter().map(|path| (*path, Tie::Reference));
        referred.chain(self.kept.from(place).iter().copied())
    }
}

impl Db {
    /// Returns the valid ones of `paths` with all that keeps them, as in the whole [`Graph`](crate::Graph).
    ///
    /// The cost is that of what is returned, save that whoever asks about a derivation which outputs keep has all rows of
    /// valid paths looked through: nothing tells at once what was built by one.
    pub fn keepers(&self, paths: &BTreeSet<StorePath>, keep: Keep) -> Result<Keepers, Error> {
        let failed = self.failed("look up what keeps paths");
        let snapshot = self.connection.unchecked_transaction().map_err(&failed)?;
        let mut walk = Walk::default();
        for id in self.ids(paths)? {
            walk.number(id);
        }
        let (mut nodes, mut ties) = (Vec::new(), Vec::new());
        loop {
            walk.follow(self, Reach::Referrers).map_err(&failed)?;
            let first = nodes.len();
            nodes.extend(self.paths_with_sizes(&walk.ids[first..])?);
            if nodes.len() == first {
                break;
            }
            let new = nodes[first..].iter().enumerate().map(|(index, (path, _))| (first + index, path));
            if keep.outputs {
                self.add_makers(new.clone(), &mut walk, &mut ties)?;
            }
            if keep.derivations {
                self.add_made(new.collect(), &mut walk, &mut ties)?;
            }
        }
        snapshot.commit().map_err(&failed)?;
        Ok(Keepers::new(nodes, &walk.edges, &ties))
    }

    /// Adds the derivations of which some of `new` are outputs.
    fn add_makers<'a>(
        &self,
        new: impl Iterator<Item = (usize, &'a StorePath)>,
        walk: &mut Walk,
        ties: &mut Vec<(usize, (usize, Tie))>,
    ) -> Result<(), Error> {
        for (number, path) in new {
            let sql = "select drv from DerivationOutputs where path = ?1";
            for drv in self.collect(sql, [self.store_dir.print(path)], |row| row.get(0))? {
                ties.push((walk.number(drv), (number, Tie::Output)));
            }
        }
        Ok(())
    }

    /// Adds what was built by those of `new` that are derivations.
    fn add_made(
        &self,
        mut new: Vec<(usize, &StorePath)>,
        walk: &mut Walk,
        ties: &mut Vec<(usize, (usize, Tie))>,
    ) -> Result<(), Error> {
        new.retain(|(_, path)| path.is_derivation());
        if new.is_empty() {
            return Ok(());
        }
        let sql = "select id, deriver from ValidPaths \
                   where deriver in (select ?1 || '/' || value from json_each(?2))";
        let values = params![self.store_dir.as_str(), json_list(new.iter().map(|(_, path)| *path))];
        let numbers: HashMap<String, usize> =
            new.into_iter().map(|(number, path)| (self.store_dir.print(path), number)).collect();
        for (made, deriver) in self.collect(sql, values, |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))? {
            let made = walk.number(made);
            ties.extend(numbers.get(&deriver).map(|drv| (made, (*drv, Tie::Derivation))));
        }
        Ok(())
    }
}

impl Keepers {
    /// Makes them from paths with the sizes of their archives, and pairs of numbers of those.
    fn new(
        nodes: Vec<(StorePath, u64)>,
        references: &[(usize, usize)],
        ties: &[(usize, (usize, Tie))],
    ) -> Self {
        let paths: Vec<StorePath> = nodes.iter().map(|(path, _)| path.clone()).collect();
        let references = References::new(nodes, references);
        let places: Vec<usize> = paths.iter().filter_map(|path| references.place(path)).collect();
        let placed = ties.iter().map(|(from, (to, tie))| (places[*from], (places[*to], *tie)));
        let kept = Edges::of(places.len(), placed);
        Self { references, kept }
    }
}
