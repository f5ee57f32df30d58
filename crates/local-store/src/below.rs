//! The lower store: one that is only read, whose paths are valid in the store above it, too.
//!
//! ```text
//!                database               files
//! this store     its own paths, and     its own
//!                rows of lower ones
//!                that they refer to
//! lower store    its paths              its own: read, shown to builds, never written to
//! ```
//!
//! Nothing is mounted over anything: whoever reads files is told where they are, and a sandbox shows each at its name. The
//! database wants what a path refers to to be in it, so such rows are copied when something is registered that needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use store_path::{PathInfo, StorePath};

use crate::commit::Request;
use crate::error::Error;
use crate::location::Location;
use crate::store::{LocalStore, Options};

impl LocalStore {
    /// Returns where the files of `path` can be read: here, unless only the lower store has them.
    ///
    /// What is written belongs at [`LocalStore::real_path`].
    pub fn place_of(&self, path: &StorePath) -> PathBuf {
        self.location().place_of(path)
    }

    /// Returns those of `paths` whose files are in the lower store, and where.
    pub fn lying_below(&self, paths: &BTreeSet<StorePath>) -> BTreeMap<StorePath, PathBuf> {
        if self.lower.is_none() {
            return BTreeMap::new();
        }
        let places = paths.iter().map(|path| (path.clone(), self.place_of(path)));
        places.filter(|(path, place)| *place != self.real_path(path)).collect()
    }

    /// Opens the lower store of `location`, if it has one, without writing a byte there.
    pub(crate) fn open_lower(location: &Location, options: &Options) -> Result<Option<Box<Self>>, Error> {
        let Some(lower) = &location.lower else { return Ok(None) };
        let directory = lower.real_store.clone();
        // By another name, too: a symlink, or a mount.
        let id = |place: &Path| fs::metadata(place).map(|metadata| (metadata.dev(), metadata.ino())).ok();
        let is_same = || Some(id(&directory)? == id(&location.real_store)?);
        if directory == location.real_store || is_same() == Some(true) {
            return Err(Error::LowerIsThis { directory });
        }
        let options = Options { read_only: true, ..*options };
        let opened = Self::open_to_read((**lower).clone(), options)?;
        opened.map(|store| Some(Box::new(store))).ok_or(Error::NoLower { directory })
    }

    /// Returns the rows of the lower store without which `requests` cannot be written here.
    pub(crate) fn rows_from_below(&self, requests: &[Request]) -> Result<Vec<PathInfo>, Error> {
        let Some(lower) = &self.lower else { return Ok(Vec::new()) };
        let mut wanted = BTreeSet::new();
        for request in requests {
            wanted.extend(request.infos.iter().flat_map(|info| info.references.iter().cloned()));
            wanted.extend(request.outputs.iter().map(|(drv, _)| drv.clone()));
            wanted.extend(request.realisations.iter().map(|one| one.path.clone()));
        }
        let wanted = lower.closure(&lower.valid_among(&wanted)?)?;
        let known = self.with_database(|database| Ok(database.valid_among(&wanted)?))?;
        let new = requests
            .iter()
            .flat_map(|request| &request.infos)
            .map(|info| &info.path)
            .collect::<BTreeSet<_>>();
        let missing = wanted.into_iter().filter(|path| !known.contains(path) && !new.contains(path));
        Ok(lower.path_infos(&missing.collect())?.into_values().collect())
    }

    /// Fails if one of `paths` is in the lower store only, from which nothing is taken away.
    pub(crate) fn refuse_below(&self, paths: &BTreeSet<StorePath>) -> Result<(), Error> {
        let Some(lower) = &self.lower else { return Ok(()) };
        let valid = lower.valid_among(paths)?;
        match valid.into_iter().find(|path| fs::symlink_metadata(self.real_path(path)).is_err()) {
            Some(path) => Err(Error::Below { path, lower: lower.location().real_store.clone() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the disk")]
mod tests {
    use super::*;
    use crate::store::tests::{placed, scratch_store, some_path};
    use store_db::Reach;
    use test_support::Scratch;

    /// `b` needs `a` in the lower store; `c` above needs `b`, and itself.
    fn stores() -> (Scratch, Scratch, LocalStore, LocalStore) {
        let (lower_scratch, lower) = scratch_store();
        lower
            .register(&[placed(&lower, "a", &[]), placed(&lower, "b", &["a"]), placed(&lower, "d", &[])])
            .unwrap();
        let scratch = Scratch::new();
        let location = Location::below(scratch.path()).over(lower.location().clone());
        let store = LocalStore::open(location, Options::default()).unwrap();
        store.register(&[placed(&store, "c", &["b", "c"])]).unwrap();
        (lower_scratch, scratch, lower, store)
    }

    fn paths(names: &[&str]) -> BTreeSet<StorePath> {
        names.iter().map(|name| some_path(name)).collect()
    }

    #[test]
    fn what_is_valid_in_either_is_valid() {
        let (_lower_scratch, _scratch, lower, store) = stores();
        assert_eq!(store.all_valid().unwrap(), paths(&["a", "b", "c", "d"]));
        assert_eq!(lower.all_valid().unwrap(), paths(&["a", "b", "d"]), "nothing was written there");
        assert_eq!(store.closure(&paths(&["c"])).unwrap(), paths(&["a", "b", "c"]));
        assert_eq!(store.closure(&paths(&["c", "d"])).unwrap(), paths(&["a", "b", "c", "d"]));
        assert_eq!(store.referrers_closure(&paths(&["a"])).unwrap(), paths(&["a", "b", "c"]));
        assert_eq!(store.references(&some_path("b")).unwrap(), paths(&["a"]));
        assert_eq!(store.referrers(&some_path("b")).unwrap(), paths(&["c"]));
        assert_eq!(store.path_info(&some_path("d")).unwrap().unwrap().nar_size, 120);
        let graph = store.reference_graph(&paths(&["a"]), Reach::Referrers).unwrap();
        assert_eq!(graph.paths().len(), 3);
        let graph = store.reference_graph(&paths(&["c", "d"]), Reach::References).unwrap();
        let place = |name| graph.place(&some_path(name)).unwrap();
        assert_eq!(graph.of(place("b")), [place("a")]);
        assert_eq!(graph.paths().len(), 4);
        // Of `b`, and what it refers to, both stores have rows.
        let graph = store.reference_graph(&paths(&["b", "c"]), Reach::References).unwrap();
        let place = |name| graph.place(&some_path(name)).unwrap();
        assert_eq!((graph.of(place("b")), graph.referrer_counts()[place("a")]), (&[place("a")][..], 1));
        assert_eq!(store.place_of(&some_path("a")), lower.real_path(&some_path("a")));
        assert_eq!(store.place_of(&some_path("c")), store.real_path(&some_path("c")));
        assert_eq!(store.lying_below(&paths(&["a", "c"])).into_keys().collect::<Vec<_>>(), [some_path("a")]);
    }

    #[test]
    fn nothing_is_taken_from_below() {
        let (_lower_scratch, _scratch, lower, store) = stores();
        let error = store.delete(&[some_path("d")], store_db::Keep::default()).unwrap_err();
        assert!(matches!(error, Error::Below { .. }), "{error}");
        let selected = store.selection(&[some_path("c")], true, false).unwrap();
        assert_eq!(selected, paths(&["c"]), "what it needs stays below");
        store.delete(&[some_path("c")], store_db::Keep::default()).unwrap();
        let error = store.delete(&[some_path("b")], store_db::Keep::default()).unwrap_err();
        assert!(matches!(error, Error::Below { .. }), "{error}");
        assert!(lower.real_path(&some_path("b")).exists() && store.is_valid(&some_path("b")).unwrap());
        let text = store.add_text(&"t".parse().unwrap(), b"t", &paths(&["d"])).unwrap();
        assert_eq!(store.references(&text).unwrap(), paths(&["d"]));
        assert!(store.verify(true).unwrap().damaged.is_empty());
    }

    #[test]
    fn a_lower_store_has_to_be_there_and_another_one() {
        let scratch = Scratch::new();
        let here = Location::below(scratch.path());
        let absent = Location::below(&scratch.join("absent"));
        let error = LocalStore::open(here.clone().over(absent), Options::default()).unwrap_err();
        assert!(matches!(error, Error::NoLower { .. }), "{error}");
        let error = LocalStore::open(here.clone().over(here), Options::default()).unwrap_err();
        assert!(matches!(error, Error::LowerIsThis { .. }), "{error}");
    }
}
