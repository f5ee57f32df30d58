//! What is alive, what is dead, and what is neither.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use store_db::{Graph, Keep, Marks, PathId};
use store_path::{Digest, StorePath};

use super::leftovers::{self, Leftover};
use crate::error::Error;
use crate::mounts::mount_points;
use crate::roots::Root;
use crate::store::LocalStore;
use crate::sweep::Users;

/// Everything in a store, as it was a moment ago.
#[derive(Debug)]
pub struct Census {
    /// What is wanted by itself, with what wants it.
    pub roots: Vec<(StorePath, Root)>,
    pub(super) graph: Graph,
    pub(super) alive: Marks,
    /// What somebody makes or is about to use: nothing whose name begins so is touched.
    pub(super) wanted: HashSet<Digest>,
    /// What is in the store directory, is not valid, and is nobody's.
    pub(super) left: Vec<Leftover>,
    /// What of the dead is in the lower store, and has a row here only: it stays valid, and no file of it is here.
    pub(super) copied: HashSet<PathId>,
}

impl Census {
    /// Returns the valid paths that something needs, by their names, sorted.
    pub fn live(&self) -> Vec<&str> {
        self.named(|path| self.alive.has(path))
    }

    /// Returns everything that nothing needs, by its name, sorted: valid paths and what is left over.
    pub fn dead(&self) -> Vec<&str> {
        let mut dead = self.named(|path| !self.alive.has(path) && !self.copied.contains(&path));
        dead.extend(self.left.iter().map(|one| one.name.as_str()));
        dead.sort_unstable();
        dead
    }

    /// Notes what has become wanted since.
    pub(super) fn hear(&mut self, fresh: &[Digest]) {
        self.wanted.extend(fresh);
        mark_all(&self.graph, fresh, &mut self.alive);
    }

    fn named(&self, is_meant: impl Fn(PathId) -> bool) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.graph.paths().filter(|path| is_meant(*path)).map(|path| self.graph.name(path)).collect();
        names.sort_unstable();
        names
    }
}

impl LocalStore {
    /// Finds out what is alive, with what derivations and outputs keep of each other.
    ///
    /// Neither locks nor changes anything: whoever wants to delete what is dead holds off those who write roots.
    pub fn census(&self, keep_outputs: bool, keep_derivations: bool) -> Result<Census, Error> {
        self.census_of(Keep { outputs: keep_outputs, derivations: keep_derivations }, &[])
    }

    /// Does so as if the links `given_up` were gone.
    pub(super) fn census_of(&self, keep: Keep, given_up: &[PathBuf]) -> Result<Census, Error> {
        let mut roots = self.all_roots()?;
        roots.retain(|(_, root)| !root.link().is_some_and(|link| given_up.iter().any(|gone| gone == link)));
        // Before the database is asked: what has become valid since is then in no list.
        let names = leftovers::names(&self.location().real_store)?;
        let graph = self.with_database(|database| Ok(database.graph(keep)?))?;
        let mut alive = graph.no_marks();
        for path in roots.iter().filter_map(|(path, _)| graph.find(path)) {
            graph.mark(path, &mut alive);
        }
        let used = roots.iter().filter(|(_, root)| root.link().is_none());
        let mut wanted: HashSet<Digest> = used.map(|(path, _)| *path.digest()).collect();
        wanted.extend(leftovers::locked(&self.location().real_store, &names));
        wanted.extend(mounted(&self.location().real_store)?);
        // What a link keeps stays, also if the database has forgotten it.
        for (path, root) in
            roots.iter().filter(|(path, root)| root.link().is_some() && graph.find(path).is_none())
        {
            if graph.paths().next().is_none() && names.binary_search(&path.to_string()).is_ok() {
                return Err(Error::NoneKnown { path: path.clone(), root: root.clone() });
            }
            wanted.insert(*path.digest());
        }
        mark_all(&graph, &wanted, &mut alive);
        let left = leftovers::left(
            &self.location().real_store,
            names,
            &graph,
            &wanted,
            &mut Users::of(self.location()),
        );
        let copied = self.copied_among_dead(&graph, &alive);
        Ok(Census { roots, graph, alive, wanted, left, copied })
    }

    fn copied_among_dead(&self, graph: &Graph, alive: &Marks) -> HashSet<PathId> {
        if self.lower.is_none() {
            return HashSet::new();
        }
        let dead = graph.paths().filter(|path| !alive.has(*path));
        let dead: BTreeSet<StorePath> = dead.map(|path| graph.path(path)).collect();
        self.lying_below(&dead).keys().filter_map(|path| graph.find(path)).collect()
    }
}

/// Marks whatever begins with one of `digests`.
fn mark_all<'a>(graph: &Graph, digests: impl IntoIterator<Item = &'a Digest>, marks: &mut Marks) {
    for path in digests.into_iter().flat_map(|digest| graph.with_digest(digest)) {
        graph.mark(path, marks);
    }
}

/// Returns where something is mounted, on a path or in it: that is no part of the store, and keeps what it stands on.
fn mounted(real_store: &Path) -> Result<Vec<Digest>, Error> {
    let store = fs::canonicalize(real_store).map_err(Error::file("look at", real_store))?;
    let points = mount_points()?;
    let below = points.iter().filter_map(|point| point.strip_prefix(&store).ok()?.iter().next()?.to_str());
    Ok(below.filter_map(|name| Some(*name.parse::<StorePath>().ok()?.digest())).collect())
}
