//! Deleting paths that nothing needs.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;
use store_db::Keep;
use store_path::StorePath;

use crate::canonical::make_readable;
use crate::error::Error;
use crate::failpoint;
use crate::open_file::remove_file;
use crate::store::LocalStore;
use crate::tree::{Node, Visit, walk};
use crate::until::Until;

mod keepers;

pub use keepers::{Keeper, Kept, Link};
use keepers::{Verdict, judge};

/// After so many milliseconds it is looked again whether a path is not made by somebody any more.
const AGAIN_MILLIS: u32 = 100;

impl LocalStore {
    /// Returns `paths`, with all they refer to if `references`, and then with all that refers to any of those if
    /// `referrers`, directly or not; without what lies in the lower store, of which nothing can be taken.
    pub fn selection(
        &self,
        paths: &[StorePath],
        references: bool,
        referrers: bool,
    ) -> Result<BTreeSet<StorePath>, Error> {
        let mut selected: BTreeSet<StorePath> = paths.iter().cloned().collect();
        if references {
            selected.extend(self.with_database(|database| Ok(database.closure(&selected)?))?);
        }
        if referrers {
            selected.extend(self.with_database(|database| Ok(database.referrers_closure(&selected)?))?);
        }
        let below = self.lying_below(&selected);
        selected.retain(|path| paths.contains(path) || !below.contains_key(path));
        Ok(selected)
    }

    /// Deletes `paths`, all or none. Derivations and outputs keep each other as `keep` says.
    ///
    /// A path that is not valid but has files, as a killed build leaves them, is deleted too.
    ///
    /// # Errors
    /// [`Error::Rooted`] when a root needs some of them, [`Error::Referred`] when a valid path that is not among them
    /// refers to one.
    pub fn delete(&self, paths: &[StorePath], keep: Keep) -> Result<(), Error> {
        let paths: BTreeSet<StorePath> = paths.iter().cloned().collect();
        self.refuse_below(&paths)?;
        let verdict = || {
            let mut kept = self.judge(&paths, keep)?.kept;
            kept.retain(|kept| kept.referrer.is_none());
            match kept.is_empty() {
                true => Ok(Verdict { kept, unwanted: paths.clone() }),
                false => Err(Error::Rooted { kept }),
            }
        };
        self.delete_by(verdict).map(drop)
    }

    /// Deletes those of `paths` that nothing wants, and to which nothing refers that stays. Derivations and outputs keep each
    /// other as `keep` says.
    ///
    /// Returns what is deleted, and what is not and why.
    pub fn delete_unwanted(
        &self,
        paths: &BTreeSet<StorePath>,
        keep: Keep,
    ) -> Result<(BTreeSet<StorePath>, Vec<Kept>), Error> {
        let Verdict { kept, unwanted } = self.delete_by(|| self.judge(paths, keep))?;
        Ok((unwanted, kept))
    }

    /// Deletes `paths`, all or none, also if roots need them.
    ///
    /// # Errors
    /// [`Error::Referred`] when a valid path that is not among them refers to one.
    pub fn delete_regardless(&self, paths: &BTreeSet<StorePath>) -> Result<(), Error> {
        self.delete_by(|| Ok(Verdict { kept: Vec::new(), unwanted: paths.clone() })).map(drop)
    }

    fn judge(&self, paths: &BTreeSet<StorePath>, keep: Keep) -> Result<Verdict, Error> {
        let roots = self.all_roots()?;
        let keepers = self.with_database(|database| Ok(database.keepers(paths, keep)?))?;
        Ok(judge(&keepers, paths, &roots))
    }

    /// Deletes what is not wanted by the verdict, which is given while nobody makes roots.
    ///
    /// Whoever makes one of the paths has its lock, and may want to make roots before that is given away. So roots are not
    /// kept from being made while it is waited for, and there is another verdict then.
    fn delete_by(&self, verdict: impl Fn() -> Result<Verdict, Error>) -> Result<Verdict, Error> {
        loop {
            let collector = self.lock_out_root_writers()?;
            let verdict = verdict()?;
            if self.delete_now(&verdict.unwanted)? {
                return Ok(verdict);
            }
            drop(collector);
            Until::DONE.is_over_within(AGAIN_MILLIS);
        }
    }

    /// Deletes `paths`, of which nobody makes roots meanwhile; or does nothing and returns false if somebody makes one.
    fn delete_now(&self, paths: &BTreeSet<StorePath>) -> Result<bool, Error> {
        self.refuse_below(paths)?;
        let in_order: Vec<StorePath> = paths.iter().cloned().collect();
        let _noted = self.note_deleted(&in_order)?;
        let Some(_lock) = self.try_lock(&in_order)? else { return Ok(false) };
        failpoint::reach("delete.locked")?;
        self.refuse_absent(paths)?;
        self.invalidate(paths)?;
        failpoint::reach("delete.committed")?;
        self.collect_records(paths);
        failpoint::reach("delete.forgotten")?;
        // One that cannot be removed keeps none of the others.
        let remove = |path| {
            remove_tree(&self.real_path(path))?;
            failpoint::reach("delete.removed")
        };
        paths.iter().map(remove).fold(Ok(()), Result::and).map(|()| true)
    }

    fn refuse_absent(&self, paths: &BTreeSet<StorePath>) -> Result<(), Error> {
        let valid = self.valid_among(paths)?;
        let exists = |path: &StorePath| fs::symlink_metadata(self.real_path(path)).is_ok();
        match paths.difference(&valid).find(|path| !exists(path)) {
            Some(path) => Err(Error::NotValid { path: path.clone() }),
            None => Ok(()),
        }
    }

    fn invalidate(&self, paths: &BTreeSet<StorePath>) -> Result<(), Error> {
        // The database needs some space to forget a path, which a full disk does not have.
        self.give_up_reserve()?;
        let result = failpoint::reach("delete.reserve").and_then(|()| {
            self.with_database(|database| {
                database.transaction(|transaction| {
                    transaction.invalidate(paths).map_err(refusal)?;
                    failpoint::reach("delete.rows")
                })
            })
        });
        self.reserve();
        result
    }
}

fn refusal(error: store_db::Error) -> Error {
    match error {
        store_db::Error::Referred { path, referrer } => Error::Referred { path, referrer },
        other => other.into(),
    }
}

/// Removes a tree, whatever its modes, without following a symlink; one that is not there is removed already.
pub fn remove_tree(path: &Path) -> Result<(), Error> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::file("look at", path)(error)),
        Ok(_) => walk(path, &mut Removal { note: &|_| {} }),
    }
}

/// Does the same, and tells of everything just before it goes.
pub(crate) fn remove_noting(path: &Path, note: &dyn Fn(&Stat)) -> Result<(), Error> {
    let stat = match rustix::fs::lstat(path) {
        Err(Errno::NOENT) => return Ok(()),
        result => result.map_err(Error::file("look at", path))?,
    };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return walk(path, &mut Removal { note });
    }
    note(&stat);
    remove_file(path)
}

struct Removal<'a> {
    note: &'a dyn Fn(&Stat),
}

impl Visit for Removal<'_> {
    fn enters(&mut self, directory: &Node<'_>) -> Result<bool, Error> {
        (self.note)(directory.stat);
        // Most directories that builds leave are empty, and need not be looked into.
        if rustix::fs::unlinkat(directory.parent, directory.name, AtFlags::REMOVEDIR).is_ok() {
            return Ok(false);
        }
        make_readable(directory, Mode::RWXU)?;
        Ok(true)
    }

    fn leaf(&mut self, node: &Node<'_>) -> Result<(), Error> {
        (self.note)(node.stat);
        match rustix::fs::unlinkat(node.parent, node.name, AtFlags::empty()) {
            Err(Errno::BUSY) => Err(Error::Mounted { path: node.path() }),
            other => other.map_err(node.failed("remove")),
        }
    }

    fn left(&mut self, directory: &Node<'_>) -> Result<(), Error> {
        match rustix::fs::unlinkat(directory.parent, directory.name, AtFlags::REMOVEDIR) {
            Err(Errno::BUSY) => Err(Error::Mounted { path: directory.path() }),
            other => other.map_err(directory.failed("remove")),
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the disk")]
mod tests {
    use store_db::Tie;
    use store_path::PathInfo;

    use super::*;
    use crate::roots::Root;
    use crate::store::tests::{placed, scratch_store, some_path};
    use crate::store::{LocalStore, Options};

    /// c needs b, b needs a; c needs itself.
    fn chain(store: &LocalStore) {
        let infos = [placed(store, "a", &[]), placed(store, "b", &["a"]), placed(store, "c", &["b", "c"])];
        store.register(&infos).unwrap();
    }

    #[test]
    fn deletes_from_the_top_down_only() {
        let (_scratch, store) = scratch_store();
        chain(&store);
        let [a, b, c] = ["a", "b", "c"].map(some_path);
        let error = store.delete(&[a.clone(), c.clone()], Keep::default()).unwrap_err();
        assert!(matches!(error, Error::Referred { .. }), "{error}");
        assert!(store.real_path(&c).exists(), "all or none");
        store.delete(std::slice::from_ref(&c), Keep::default()).unwrap();
        assert!(!store.real_path(&c).exists() && !store.is_valid(&c).unwrap());
        store.delete(&[a.clone(), b], Keep::default()).unwrap();
        assert!(matches!(store.delete(&[a], Keep::default()).unwrap_err(), Error::NotValid { .. }));
    }

    #[test]
    fn deletes_what_was_never_finished() {
        let (_scratch, store) = scratch_store();
        let half = some_path("half");
        fs::create_dir_all(store.real_path(&half).join("directory")).unwrap();
        store.delete(std::slice::from_ref(&half), Keep::default()).unwrap();
        assert!(!store.real_path(&half).exists());
    }

    #[test]
    fn roots_keep_all_they_need() {
        let (scratch, store) = scratch_store();
        chain(&store);
        let [a, c] = ["a", "c"].map(some_path);
        store.add_root(&scratch.join("result"), &c).unwrap();
        let other = LocalStore::open(store.location().clone(), Options::default()).unwrap();
        drop(store);
        let error = other.delete(&[a], Keep::default()).unwrap_err().to_string();
        assert!(error.contains("is wanted by the root") && error.contains("result"), "{error}");
        fs::remove_file(scratch.join("result")).unwrap();
        other.delete(&[c], Keep::default()).unwrap();
    }

    #[test]
    fn running_processes_keep_what_they_use() {
        let (_scratch, store) = scratch_store();
        chain(&store);
        let c = some_path("c");
        store.temp_root(&c).unwrap();
        let other = LocalStore::open(store.location().clone(), Options::default()).unwrap();
        other.temp_root(&some_path("a")).unwrap();
        let error = other.delete(std::slice::from_ref(&c), Keep::default()).unwrap_err();
        let Error::Rooted { kept } = error else { panic!("{error}") };
        assert!(matches!(kept[0].keepers[0].root, Root::Temporary(_)), "{kept:?}");
        drop(store);
        other.delete(&[c], Keep::default()).unwrap();
    }

    #[test]
    fn whoever_has_a_lock_can_make_roots_while_somebody_waits_to_delete() {
        let (_scratch, store) = scratch_store();
        chain(&store);
        let other = LocalStore::open(store.location().clone(), Options::default()).unwrap();
        let lock = store.lock(&[some_path("c")]).unwrap();
        let deleting = std::thread::spawn(move || other.delete_regardless(&[some_path("c")].into()));
        let (rooted, roots) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // As often as it takes to come while the other one looks.
            for number in 0..200 {
                store.temp_root(&some_path(&format!("root-{number}"))).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            let was_valid = store.is_valid(&some_path("c")).unwrap();
            drop(lock);
            rooted.send((was_valid, store)).unwrap();
        });
        let ended = roots.recv_timeout(std::time::Duration::from_secs(60));
        let (was_valid, store) = ended.expect("one waits for the other");
        assert!(was_valid, "it is not deleted while it is locked");
        deleting.join().unwrap().unwrap();
        assert!(!store.is_valid(&some_path("c")).unwrap());
    }

    #[test]
    fn the_shortest_chain_from_each_root_is_told() {
        let (scratch, store) = scratch_store();
        chain(&store);
        store.register(&[placed(&store, "d", &["c", "b"]), placed(&store, "e", &["a"])]).unwrap();
        for name in ["d", "e"] {
            store.add_root(&scratch.join(name), &some_path(name)).unwrap();
        }
        let other = LocalStore::open(store.location().clone(), Options::default()).unwrap();
        drop(store);
        let Error::Rooted { kept } = other.delete(&[some_path("a")], Keep::default()).unwrap_err() else {
            panic!()
        };
        let link = |(place, name): (usize, &&str)| Link {
            path: some_path(name),
            tie: (place > 0).then_some(Tie::Reference),
        };
        let keeper = |root: &str, chain: &[&str]| Keeper {
            root: Root::Link(scratch.join(root)),
            chain: chain.iter().enumerate().map(link).collect(),
        };
        assert_eq!(kept[0].keepers, [keeper("e", &["e", "a"]), keeper("d", &["d", "b", "a"])]);
    }

    #[test]
    fn what_was_built_keeps_its_derivation_and_the_other_way_round_as_it_is_wanted() {
        let (scratch, store) = scratch_store();
        let built = |info: PathInfo, drv: &str| PathInfo { deriver: Some(some_path(drv)), ..info };
        let infos = [
            placed(&store, "source", &[]),
            placed(&store, "x.drv", &["source"]),
            placed(&store, "y.drv", &[]),
            built(placed(&store, "x", &[]), "x.drv"),
            built(placed(&store, "y", &[]), "y.drv"),
        ];
        store.register(&infos).unwrap();
        for name in ["x", "y"] {
            let outputs = std::collections::BTreeMap::from([("out".to_owned(), some_path(name))]);
            let drv = some_path(&format!("{name}.drv"));
            let add = |database: &mut store_db::Db| {
                Ok(database.transaction(|transaction| transaction.add_outputs(&drv, &outputs))?)
            };
            store.with_database(add).unwrap();
        }
        store.add_root(&scratch.join("x"), &some_path("x")).unwrap();
        store.add_root(&scratch.join("y.drv"), &some_path("y.drv")).unwrap();
        let store = {
            let location = store.location().clone();
            drop(store);
            LocalStore::open(location, Options::default()).unwrap()
        };
        let keep = |outputs, derivations| Keep { outputs, derivations };
        let Error::Rooted { kept } = store.delete(&[some_path("source")], keep(false, true)).unwrap_err()
        else {
            panic!()
        };
        let ties: Vec<_> =
            kept[0].keepers[0].chain.iter().map(|link| (link.path.name().as_str(), link.tie)).collect();
        let expected = [("x", None), ("x.drv", Some(Tie::Derivation)), ("source", Some(Tie::Reference))];
        assert_eq!(ties, expected);
        let Error::Rooted { kept } = store.delete(&[some_path("y")], keep(true, false)).unwrap_err() else {
            panic!()
        };
        assert_eq!(kept[0].keepers[0].chain[1].tie, Some(Tie::Output));
        let all = ["x.drv", "source"].map(some_path).into();
        let (gone, kept) = store.delete_unwanted(&all, keep(true, true)).unwrap();
        assert_eq!((gone.len(), kept.len()), (0, 2));
        store.delete(&["x.drv", "source"].map(some_path), Keep::default()).unwrap();
    }

    #[test]
    fn what_may_go_goes_and_the_rest_is_explained() {
        let (scratch, store) = scratch_store();
        chain(&store);
        let infos = [placed(&store, "d", &["c"]), placed(&store, "e", &[]), placed(&store, "f", &["e"])];
        store.register(&infos).unwrap();
        store.add_root(&scratch.join("result"), &some_path("b")).unwrap();
        let store = {
            let location = store.location().clone();
            drop(store);
            LocalStore::open(location, Options::default()).unwrap()
        };
        let paths = store.selection(&[some_path("d"), some_path("e")], true, false).unwrap();
        let (gone, kept) = store.delete_unwanted(&paths, Keep::default()).unwrap();
        assert_eq!(gone, ["c", "d"].map(some_path).into());
        let mut names: Vec<_> = kept.iter().map(|kept| kept.path.name().as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["a", "b", "e"]);
        let e = kept.iter().find(|kept| kept.path == some_path("e")).unwrap();
        assert_eq!(e.referrer, Some(some_path("f")));
        let all = store.selection(&[some_path("e")], false, true).unwrap();
        store.delete_regardless(&all).unwrap();
        assert!(matches!(
            store.delete_regardless(&[some_path("a")].into()).unwrap_err(),
            Error::Referred { .. }
        ));
        store.delete_regardless(&["a", "b"].map(some_path).into()).unwrap();
        assert!(store.all_valid().unwrap().is_empty());
    }
}
