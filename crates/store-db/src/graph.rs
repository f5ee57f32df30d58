//! The whole graph of valid paths in memory, by numbers: what a collector marks and orders.
//!
//! ```text
//! names       "…-a" "…-b" "…-c"          one text; where each ends
//! references  a row of numbers for each path (`edges.rs`)
//! ```
//!
//! A path takes about a hundred bytes and a reference four, so a million paths fit into memory beside ten million
//! references. Nothing here recurses, and all of it is linear.

use std::collections::{HashMap, HashSet};

use store_path::{Digest, StorePath};

use crate::Db;
use crate::edges::Edges;
use crate::error::Error;

/// A path of a [`Graph`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(u32);

impl PathId {
    fn new(index: usize) -> Self {
        Self(u32::try_from(index).expect("more paths than that do not fit into memory"))
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// What keeps paths alive besides references.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// A derivation keeps its outputs (setting `keep-outputs`).
    pub outputs: bool,
    /// An output keeps the derivation it was built by (setting `keep-derivations`).
    pub derivations: bool,
}

/// Every valid path and what each keeps, as of one moment.
#[derive(Debug)]
pub struct Graph {
    /// The row of each path, in ascending order.
    rows: Vec<i64>,
    names: Names,
    sizes: Vec<u64>,
    references: Edges<PathId>,
    /// What is kept besides, by [`Keep`].
    kept: Edges<PathId>,
    by_digest: HashMap<Digest, PathId>,
    /// Paths with the digest of another; hardly ever any.
    doubles: Vec<PathId>,
}

/// Which paths of a graph were reached.
#[derive(Clone, Debug)]
pub struct Marks(Vec<bool>);

impl Marks {
    /// Whether `path` was reached.
    pub fn has(&self, path: PathId) -> bool {
        self.0[path.index()]
    }

    fn set(&mut self, path: PathId) -> bool {
        !std::mem::replace(&mut self.0[path.index()], true)
    }
}

/// Base names in one text.
#[derive(Debug, Default)]
struct Names {
    text: String,
    ends: Vec<usize>,
}

impl Names {
    fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(self.text.len());
    }

    fn get(&self, path: PathId) -> &str {
        let start = path.index().checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[path.index()]]
    }
}

impl Db {
    /// Returns every valid path and what it keeps, in a few statements on one snapshot.
    pub fn graph(&self, keep: Keep) -> Result<Graph, Error> {
        let failed = self.failed("look up paths");
        let snapshot = self.connection.unchecked_transaction().map_err(&failed)?;
        let mut graph = self.nodes()?;
        graph.references = self.edges_of(&graph)?;
        let mut kept = Vec::new();
        if keep.derivations {
            self.add_derivers(&graph, &mut kept)?;
        }
        if keep.outputs {
            self.add_outputs_of(&graph, &mut kept)?;
        }
        graph.kept = Edges::of(graph.len(), kept.iter().copied());
        snapshot.commit().map_err(&failed)?;
        Ok(graph)
    }

    /// All paths, without an edge.
    fn nodes(&self) -> Result<Graph, Error> {
        let (mut rows, mut names, mut sizes) = (Vec::new(), Names::default(), Vec::new());
        let (mut by_digest, mut doubles) = (HashMap::new(), Vec::new());
        let reader = self.reader();
        self.each_row("select id, path, narSize from ValidPaths order by id", |row| {
            let text = row.get_ref(1)?.as_str()?;
            let path = match reader.path(text) {
                Ok(path) => path,
                Err(error) => return Ok(Err(error)),
            };
            let id = PathId::new(rows.len());
            rows.push(row.get(0)?);
            names.push(&text[text.len() - path.name().as_str().len() - DIGEST_AND_DASH..]);
            sizes.push(row.get::<_, Option<i64>>(2)?.unwrap_or(0).unsigned_abs());
            if by_digest.insert(*path.digest(), id).is_some() {
                doubles.push(id);
            }
            Ok(Ok(()))
        })?;
        let none = || Edges::of(rows.len(), std::iter::empty());
        let (references, kept) = (none(), none());
        Ok(Graph { rows, names, sizes, references, kept, by_digest, doubles })
    }

    /// The references, which the index has in the order that they are wanted in.
    fn edges_of(&self, graph: &Graph) -> Result<Edges<PathId>, Error> {
        let numbers = Numbers::of(&graph.rows);
        let mut starts = vec![0; graph.len() + 1];
        let mut targets = Vec::new();
        let mut here = 0;
        self.each_row("select referrer, reference from Refs order by referrer, reference", |row| {
            let (referrer, reference): (i64, i64) = (row.get(0)?, row.get(1)?);
            while graph.rows.get(here).is_some_and(|row| *row < referrer) {
                here += 1;
                starts[here] = targets.len();
            }
            let is_known = graph.rows.get(here) == Some(&referrer) && reference != referrer;
            targets.extend(is_known.then(|| numbers.find(reference)).flatten());
            Ok(Ok(()))
        })?;
        starts[here + 1..].fill(targets.len());
        Ok(Edges::sorted(starts, targets))
    }

    fn add_derivers(&self, graph: &Graph, kept: &mut Vec<(usize, PathId)>) -> Result<(), Error> {
        let numbers = Numbers::of(&graph.rows);
        self.each_row(DERIVERS, |row| {
            // One that is not valid, or no derivation, or no path at all, is not kept.
            let deriver = self.store_dir.parse(row.get_ref(1)?.as_bytes()?).ok();
            let deriver = deriver.filter(StorePath::is_derivation);
            let path = numbers.find(row.get(0)?).map(PathId::index);
            kept.extend(path.zip(deriver.and_then(|path| graph.find(&path))));
            Ok(Ok(()))
        })
    }

    fn add_outputs_of(&self, graph: &Graph, kept: &mut Vec<(usize, PathId)>) -> Result<(), Error> {
        let numbers = Numbers::of(&graph.rows);
        self.each_row("select drv, path from DerivationOutputs", |row| {
            let output = self.store_dir.parse(row.get_ref(1)?.as_bytes()?).ok();
            let path = numbers.find(row.get(0)?).map(PathId::index);
            kept.extend(path.zip(output.and_then(|path| graph.find(&path))));
            Ok(Ok(()))
        })
    }

    /// Returns the derivations by which those paths were built that are meant, valid or not.
    pub fn derivers_in(
        &self,
        graph: &Graph,
        is_meant: impl Fn(PathId) -> bool,
    ) -> Result<HashSet<Digest>, Error> {
        let numbers = Numbers::of(&graph.rows);
        let mut derivers = HashSet::new();
        self.each_row(DERIVERS, |row| {
            if numbers.find(row.get(0)?).is_some_and(&is_meant) {
                derivers.extend(self.store_dir.parse(row.get_ref(1)?.as_bytes()?).map(|path| *path.digest()));
            }
            Ok(Ok(()))
        })?;
        Ok(derivers)
    }

    /// Looks at each row in turn, until one of them is wrong.
    fn each_row(
        &self,
        sql: &str,
        mut look: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<Result<(), Error>>,
    ) -> Result<(), Error> {
        let failed = self.failed("look up paths");
        let mut statement = self.connection.prepare_cached(sql).map_err(&failed)?;
        let mut rows = statement.query([]).map_err(&failed)?;
        while let Some(row) = rows.next().map_err(&failed)? {
            look(row).map_err(&failed)??;
        }
        Ok(())
    }
}

const DERIVERS: &str = "select id, deriver from ValidPaths where deriver is not null and deriver <> ''";

/// What stands before the name in a base name.
const DIGEST_AND_DASH: usize = 33;

impl Graph {
    fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns every path, in the order in which they became valid.
    pub fn paths(&self) -> impl Iterator<Item = PathId> + use<> {
        (0..self.len()).map(PathId::new)
    }

    /// Returns a path by its base name.
    pub fn name(&self, path: PathId) -> &str {
        self.names.get(path)
    }

    /// Returns a path as such.
    pub fn path(&self, path: PathId) -> StorePath {
        self.name(path).parse().expect("it was parsed when it was read")
    }

    /// Returns how long its archive is, in bytes, or 0 if nobody knows.
    pub fn size(&self, path: PathId) -> u64 {
        self.sizes[path.index()]
    }

    /// Returns the row of a path.
    pub(crate) fn row(&self, path: PathId) -> i64 {
        self.rows[path.index()]
    }

    /// Returns where `path` is, if it is valid.
    pub fn find(&self, path: &StorePath) -> Option<PathId> {
        self.with_digest(path.digest())
            .find(|id| self.name(*id).get(DIGEST_AND_DASH..) == Some(path.name().as_str()))
    }

    /// Returns the valid paths with that digest: one at most, unless somebody has made up paths.
    pub fn with_digest(&self, digest: &Digest) -> impl Iterator<Item = PathId> {
        let first = self.by_digest.get(digest).copied();
        let text = digest.text();
        let others = self
            .doubles
            .iter()
            .copied()
            .filter(move |id| Some(*id) != first && self.name(*id).as_bytes().starts_with(&text));
        first.into_iter().chain(others)
    }

    /// Returns marks on nothing.
    pub fn no_marks(&self) -> Marks {
        Marks(vec![false; self.len()])
    }

    /// Marks `start` and all that it keeps.
    pub fn mark(&self, start: PathId, marks: &mut Marks) {
        let mut ahead = Vec::new();
        let mut reach = |path, ahead: &mut Vec<PathId>| {
            if marks.set(path) {
                ahead.push(path);
            }
        };
        reach(start, &mut ahead);
        while let Some(path) = ahead.pop() {
            let kept = self.references.from(path.index()).iter().chain(self.kept.from(path.index()));
            kept.for_each(|path| reach(*path, &mut ahead));
        }
    }

    /// Returns the paths without a mark, each before all that it refers to.
    pub fn unmarked(&self, marks: &Marks) -> Vec<PathId> {
        let mut seen = marks.clone();
        let mut order = Vec::new();
        // A path, and how many of its references were looked at.
        let mut open: Vec<(PathId, usize)> = Vec::new();
        // From the end on, as the order is turned round: what became valid first is first, where references allow it.
        for start in (0..self.len()).rev().map(PathId::new) {
            if seen.set(start) {
                open.push((start, 0));
            }
            while let Some((path, next)) = open.last_mut() {
                match self.references.from(path.index()).get(*next) {
                    Some(reference) => {
                        *next += 1;
                        if seen.set(*reference) {
                            open.push((*reference, 0));
                        }
                    }
                    None => {
                        order.push(*path);
                        open.pop();
                    }
                }
            }
        }
        order.reverse();
        order
    }
}

/// Where the path of a row is.
enum Numbers<'a> {
    /// For each row from the first on; [`u32::MAX`] where there is none.
    Table { first: i64, places: Vec<u32> },
    /// Too many rows are missing between the first and the last for that.
    Sorted(&'a [i64]),
}

impl<'a> Numbers<'a> {
    fn of(rows: &'a [i64]) -> Self {
        let (first, last) = (rows.first().copied().unwrap_or(0), rows.last().copied().unwrap_or(0));
        let width = usize::try_from(last.saturating_sub(first)).unwrap_or(usize::MAX);
        if width / 16 > rows.len() {
            return Self::Sorted(rows);
        }
        let mut places = vec![u32::MAX; width + 1];
        for (index, row) in rows.iter().enumerate() {
            places[(row - first) as usize] = PathId::new(index).0;
        }
        Self::Table { first, places }
    }

    fn find(&self, row: i64) -> Option<PathId> {
        match self {
            Self::Sorted(rows) => rows.binary_search(&row).ok().map(PathId::new),
            Self::Table { first, places } => {
                let place = usize::try_from(row.checked_sub(*first)?).ok()?;
                places.get(place).copied().filter(|place| *place != u32::MAX).map(PathId)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_far_apart_are_found_as_well() {
        for rows in [vec![3, 4, 9], vec![-5, 7, 1 << 40, i64::MAX], vec![]] {
            let numbers = Numbers::of(&rows);
            for (index, row) in rows.iter().enumerate() {
                assert_eq!(numbers.find(*row), Some(PathId::new(index)));
            }
            assert_eq!([2, 5, i64::MIN].map(|row| numbers.find(row)), [None; 3]);
        }
        assert!(matches!(Numbers::of(&[1, 2, 4]), Numbers::Table { .. }));
        assert!(matches!(Numbers::of(&[1, i64::MAX]), Numbers::Sorted(_)));
    }
}
