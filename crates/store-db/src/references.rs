//! Some valid paths and what they refer to among each other, in numbers that index vectors.

mod keepers;
mod order;
#[cfg(test)]
mod tests;
mod ways;
mod weights;

use std::collections::{BTreeSet, HashMap};

use rusqlite::{Statement, params};
use store_path::StorePath;

use crate::Db;
use crate::edges::Edges;
use crate::error::Error;
use crate::rows::json_list;

pub use keepers::{Keepers, Tie};
pub use order::Orders;
pub use ways::Ways;
pub use weights::{Part, Weights};

/// Which paths belong to a [`References`], given those that are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Only those themselves.
    Only,
    /// What they refer to as well, directly or not.
    References,
    /// What refers to them as well, directly or not.
    Referrers,
}

/// Some valid paths in the order of their names, and what they refer to among each other.
///
/// A path is meant by its place in that order, so that whatever is known of it is in a vector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    paths: Vec<StorePath>,
    nar_sizes: Vec<u64>,
    /// What each refers to, in order.
    edges: Edges<usize>,
}

impl References {
    /// Returns the paths, in the order of their names.
    pub fn paths(&self) -> &[StorePath] {
        &self.paths
    }

    /// Returns how many bytes the archive of a path has.
    pub fn nar_size(&self, place: usize) -> u64 {
        self.nar_sizes[place]
    }

    /// Returns the place of `path`, if it belongs to these.
    pub fn place(&self, path: &StorePath) -> Option<usize> {
        self.paths.binary_search(path).ok()
    }

    /// Returns what a path refers to, in the order of names; itself, too, if it does.
    pub fn of(&self, place: usize) -> &[usize] {
        self.edges.from(place)
    }

    /// Returns how many others of these refer to each path, by place.
    pub fn referrer_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.paths.len()];
        for place in 0..self.paths.len() {
            let others = self.of(place).iter().filter(|other| **other != place);
            others.for_each(|other| counts[*other] += 1);
        }
        counts
    }

    /// Returns what these or `other` say. Of a path that belongs to both, both say the same.
    pub fn and(&self, other: &Self) -> Self {
        let nodes =
            |one: &Self| one.paths.iter().cloned().zip(one.nar_sizes.iter().copied()).collect::<Vec<_>>();
        let mut all = nodes(self);
        let numbers: Vec<usize> = other
            .paths
            .iter()
            .enumerate()
            .map(|(theirs, path)| {
                self.place(path).unwrap_or_else(|| {
                    all.push((path.clone(), other.nar_sizes[theirs]));
                    all.len() - 1
                })
            })
            .collect();
        let edges = |one: &Self| -> Vec<(usize, usize)> {
            (0..one.paths.len()).flat_map(|from| one.of(from).iter().map(move |to| (from, *to))).collect()
        };
        let mut all_edges = edges(self);
        all_edges.extend(edges(other).into_iter().map(|(from, to)| (numbers[from], numbers[to])));
        all_edges.sort_unstable();
        all_edges.dedup();
        Self::new(all, &all_edges)
    }

    /// Makes them from paths with the sizes of their archives, and pairs of what refers and what it refers to.
    ///
    /// Both may be in any order; the pairs say numbers of `nodes`, and none is there twice.
    pub(crate) fn new(nodes: Vec<(StorePath, u64)>, edges: &[(usize, usize)]) -> Self {
        let mut order: Vec<usize> = (0..nodes.len()).collect();
        order.sort_unstable_by(|one, other| nodes[*one].0.cmp(&nodes[*other].0));
        let mut places = vec![0; nodes.len()];
        order.iter().enumerate().for_each(|(place, node)| places[*node] = place);
        let placed = edges.iter().map(|(from, to)| (places[*from], places[*to]));
        let mut edges = Edges::of(nodes.len(), placed);
        edges.sort_targets();
        let mut nodes: Vec<Option<_>> = nodes.into_iter().map(Some).collect();
        let (paths, nar_sizes) = order.iter().filter_map(|node| nodes[*node].take()).unzip();
        Self { paths, nar_sizes, edges }
    }
}

impl Db {
    /// Returns the valid ones of `paths`, what else is within `reach`, and what refers to what among them.
    ///
    /// The cost is that of the paths within reach and their references, however large the store is.
    pub fn reference_graph(&self, paths: &BTreeSet<StorePath>, reach: Reach) -> Result<References, Error> {
        let failed = self.failed("look up references");
        let snapshot = self.connection.unchecked_transaction().map_err(&failed)?;
        let mut walk = Walk::default();
        for id in self.ids(paths)? {
            walk.number(id);
        }
        walk.follow(self, reach).map_err(&failed)?;
        let nodes = self.paths_with_sizes(&walk.ids)?;
        snapshot.commit().map_err(&failed)?;
        Ok(References::new(nodes, &walk.edges))
    }

    /// Returns how many valid paths refer to each path besides itself, by place, whether they belong to these or not.
    pub fn referrer_counts(&self, references: &References) -> Result<Vec<usize>, Error> {
        let failed = self.failed("look up references");
        let sql = "select count(*) from ValidPaths v join Refs r on r.reference = v.id \
                   where v.path = ?1 and r.referrer <> v.id";
        let mut statement = self.connection.prepare_cached(sql).map_err(&failed)?;
        let mut count = |path: &StorePath| {
            let count = statement.query_row([self.store_dir.print(path)], |row| row.get::<_, u32>(0));
            count.map(|count| count as usize).map_err(&failed)
        };
        references.paths.iter().map(&mut count).collect()
    }

    fn ids(&self, paths: &BTreeSet<StorePath>) -> Result<Vec<i64>, Error> {
        let sql = "select v.id from json_each(?2) j cross join ValidPaths v on v.path = ?1 || '/' || j.value";
        self.collect(sql, params![self.store_dir.as_str(), json_list(paths)], |row| row.get(0))
    }

    fn paths_with_sizes(&self, ids: &[i64]) -> Result<Vec<(StorePath, u64)>, Error> {
        let failed = self.failed("look up references");
        let sql = "select path, narSize from ValidPaths where id = ?1";
        let mut statement = self.connection.prepare_cached(sql).map_err(&failed)?;
        let reader = self.reader();
        let mut nodes = Vec::with_capacity(ids.len());
        for id in ids {
            let mut rows = statement.query([id]).map_err(&failed)?;
            // The schema has no reference without its path.
            let Some(row) = rows.next().map_err(&failed)? else { continue };
            let text = row.get_ref(0).and_then(|value| Ok(value.as_str()?)).map_err(&failed)?;
            let size: Option<i64> = row.get(1).map_err(&failed)?;
            nodes.push((reader.path(text)?, size.unwrap_or(0).unsigned_abs()));
        }
        Ok(nodes)
    }
}

/// A walk along references. SQLite could do it in one recursive statement, but would not tell along which it went, and
/// takes longer to remember where it was.
#[derive(Default)]
struct Walk {
    /// Rows of paths, by number.
    ids: Vec<i64>,
    numbers: HashMap<i64, usize>,
    /// Numbers of what refers, and of what it refers to.
    edges: Vec<(usize, usize)>,
    /// The first that was not looked at yet.
    next: usize,
}

impl Walk {
    fn number(&mut self, id: i64) -> usize {
        let next = self.ids.len();
        let number = *self.numbers.entry(id).or_insert(next);
        if number == next {
            self.ids.push(id);
        }
        number
    }

    fn follow(&mut self, database: &Db, reach: Reach) -> rusqlite::Result<()> {
        let sql = match reach {
            Reach::Only | Reach::References => "select reference from Refs where referrer = ?1",
            Reach::Referrers => "select referrer from Refs where reference = ?1",
        };
        let mut statement = database.connection.prepare_cached(sql)?;
        while let Some(id) = self.ids.get(self.next).copied() {
            self.step(&mut statement, self.next, id, reach)?;
            self.next += 1;
        }
        Ok(())
    }

    fn step(
        &mut self,
        statement: &mut Statement<'_>,
        here: usize,
        id: i64,
        reach: Reach,
    ) -> rusqlite::Result<()> {
        let mut rows = statement.query([id])?;
        while let Some(row) = rows.next()? {
            let other = row.get(0)?;
            match reach {
                Reach::Only => self.edges.extend(self.numbers.get(&other).map(|other| (here, *other))),
                Reach::References => {
                    let other = self.number(other);
                    self.edges.push((here, other));
                }
                Reach::Referrers => {
                    let other = self.number(other);
                    self.edges.push((other, here));
                }
            }
        }
        Ok(())
    }
}
