//! Roots: what is wanted, and so is everything it needs.
//!
//! A root is a symlink below `gcroots`, into the store or to a link elsewhere that points into the store. A
//! link a person uses points at the *real* file. In a relocated store that is no path that Nix knows, so
//! `gcroots/relocated` holds a second link, with the logical path, beside each of those in `gcroots/auto`.
//!
//! What running processes use is a root as well, and so is what they are about to use.
#![expect(clippy::disallowed_methods, reason = "roots are symlinks")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use store_path::{Hash, HashAlgorithm, StorePath};

use crate::dead::aside_suffix;
use crate::durable;
use crate::error::Error;
use crate::failpoint;
use crate::open_file::{create_dirs, lock, open_lock_file, remove_file};
use crate::running::running_builds;
use crate::store::{LocalStore, guard};
use crate::sweep;

mod generations;
mod kind;
mod links;
mod manage;
mod names;
mod processes;
mod temporary;

pub use kind::{Process, Root, Usage};
use links::{Links, Walk};
use names::Names;

/// Roots, as far as they can be seen.
#[derive(Debug, Default)]
pub struct FoundRoots {
    /// What is kept, each with what keeps it, in order.
    pub roots: Vec<(StorePath, Root)>,
    /// Why it cannot be seen what others keep: links as [`Error::UnknownRoot`], temporary roots of somebody else.
    pub unreadable: Vec<Error>,
}

impl LocalStore {
    /// Makes `link`, an absolute path, point at the files of `target`, and a root for as long as it does.
    ///
    /// A symlink into the store that is there already is replaced; anything else is not. While garbage is collected, this
    /// waits for nothing but the collector's word that it spares `target`.
    ///
    /// # Errors
    /// [`Error::NotValid`] if `target` is not, or was collected just now.
    pub fn add_root(&self, link: &Path, target: &StorePath) -> Result<(), Error> {
        let _held = self.keep_valid(target)?;
        let _lock = self.lock_links()?;
        failpoint::reach("root.locked")?;
        self.refuse_in_the_way(link)?;
        let key = root_key(link);
        // What it has kept so far was used until now.
        let old = fs::read_link(link).ok();
        let old = old.and_then(|old| Names::of(self.location()).path_at(old.as_os_str().as_bytes()));
        guard(&self.temp_roots).iter_mut().for_each(|roots| roots.former.extend(old.clone()));
        self.note_relocated(&key, Some(target))?;
        let linked = failpoint::reach("root.relocated")
            .and_then(|()| self.replace_symlink(&self.place_of(target), link));
        // What could not be linked keeps nothing, and what was linked before is.
        linked.inspect_err(|_| drop(self.note_relocated(&key, old.as_ref())))?;
        failpoint::reach("root.link")?;
        let automatic = self.location().gc_roots().join("auto");
        self.replace_symlink(link, &automatic.join(key))?;
        failpoint::reach("root.auto")?;
        self.sync_roots(&automatic)
    }

    /// Says in a relocated store what the root with that key keeps, for Nix; or that it keeps nothing.
    fn note_relocated(&self, key: &str, kept: Option<&StorePath>) -> Result<(), Error> {
        if !self.location().is_relocated() {
            return Ok(());
        }
        let directory = self.location().relocated_roots();
        let twin = directory.join(key);
        let Some(kept) = kept else { return remove_file(&twin) };
        create_dirs(&directory)?;
        self.replace_symlink(Path::new(&self.store_dir().print(kept)), &twin)
    }

    /// Makes sure that a root survives a power cut: its link may be on another disk, and would lead nowhere once garbage
    /// is collected. The log of a file system is in order, so what was made before in another directory is there, too.
    pub(crate) fn sync_roots(&self, directory: &Path) -> Result<(), Error> {
        if self.options.fsync_metadata { durable::sync(&[], directory) } else { Ok(()) }
    }

    /// Keeps `target` from being collected while the store is open, and by collectors that run; others do not begin while
    /// what it returns lives.
    fn keep_valid(&self, target: &StorePath) -> Result<Option<File>, Error> {
        self.temp_root(target)?;
        let held = self.hold_off_collectors(target)?;
        if self.is_valid(target)? { Ok(held) } else { Err(Error::NotValid { path: target.clone() }) }
    }

    /// Keeps others from making automatic roots, and from dropping those of which there is a part only.
    ///
    /// It is held for moments. The lock of collectors would be held as long as one runs, and is not needed: what is made
    /// a root is a temporary one already.
    fn lock_links(&self) -> Result<File, Error> {
        let path = self.location().state_dir.join("roots.lock");
        let file = open_lock_file(&path)?;
        lock(&file, &path, FlockOperation::LockExclusive)?;
        Ok(file)
    }

    /// Returns the lasting roots: links and files, each with what it keeps, which is valid or at least there.
    pub fn lasting_roots(&self) -> Result<FoundRoots, Error> {
        let Links { roots, unreadable } = Walk::new(self.location()).all()?;
        let unreadable = unreadable.into_iter().map(|(link, entry)| Error::UnknownRoot { link, entry });
        Ok(FoundRoots { roots: self.in_order(roots)?, unreadable: unreadable.collect() })
    }

    /// Returns the roots that end by themselves: running processes, and builds. Only what processes are about to use
    /// (temporary roots) and what is built may be neither valid nor there yet.
    pub fn passing_roots(&self) -> Result<FoundRoots, Error> {
        let mut found = FoundRoots::default();
        self.temporary_roots(&mut found)?;
        found.roots.extend(self.building()?);
        found.roots.extend(self.in_order(processes::find(self.location())?)?);
        found.roots.sort();
        found.roots.dedup();
        Ok(found)
    }

    /// Returns everything that is wanted by itself, with what wants it: lasting roots and passing ones.
    ///
    /// # Errors
    /// If there is a root of which nobody can tell what it keeps: that must not be deleted.
    pub fn all_roots(&self) -> Result<Vec<(StorePath, Root)>, Error> {
        // Who uses something by a link that is given up meanwhile is seen after that. The other way round there is nothing
        // to miss for whoever collects, as all that becomes a root then is told to the collector before.
        let FoundRoots { mut roots, mut unreadable } = self.lasting_roots()?;
        let passing = self.passing_roots()?;
        roots.extend(passing.roots);
        unreadable.extend(passing.unreadable);
        match unreadable.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(roots),
        }
    }

    /// Leaves out what is neither valid nor there.
    fn in_order(&self, mut roots: Vec<(StorePath, Root)>) -> Result<Vec<(StorePath, Root)>, Error> {
        let named: BTreeSet<StorePath> = roots.iter().map(|(path, _)| path.clone()).collect();
        let valid = self.valid_among(&named)?;
        let exists = |path: &StorePath| fs::symlink_metadata(self.real_path(path)).is_ok();
        roots.retain(|(path, _)| valid.contains(path) || exists(path));
        roots.sort();
        roots.dedup();
        Ok(roots)
    }

    /// Returns what builds that run or wait are about: why there are temporary roots.
    fn building(&self) -> Result<Vec<(StorePath, Root)>, Error> {
        let mut roots = Vec::new();
        for build in running_builds(self.location())? {
            // Of another container nobody can tell whether it lives; the locks on its temporary roots do.
            if build.owner.is_elsewhere() {
                continue;
            }
            let root = Root::Build { id: build.id, drv: build.drv.clone(), process: build.owner.process };
            let paths = [build.drv, build.target].into_iter().chain(build.outputs.into_values());
            roots.extend(paths.map(|path| (path, root.clone())));
        }
        Ok(roots)
    }

    /// Drops what belongs to no link any more.
    pub(crate) fn drop_stale_roots(&self) -> Result<(), Error> {
        let _lock = self.lock_links()?;
        Walk::new(self.location()).drop_stale()
    }

    fn refuse_in_the_way(&self, link: &Path) -> Result<(), Error> {
        let names = Names::of(self.location());
        match fs::read_link(link) {
            Ok(target) if names.path_at(target.as_os_str().as_bytes()).is_some() => Ok(()),
            Ok(target) if leads_to_store_path(&target) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            // What the system says of something that is no symlink.
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => {
                Err(Error::file("look at", link)(error))
            }
            _ => Err(Error::InTheWay { path: link.to_owned() }),
        }
    }

    /// Makes a symlink, or replaces the one at `link` in one step.
    fn replace_symlink(&self, target: &Path, link: &Path) -> Result<(), Error> {
        match symlink(target, link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map_err(Error::file("make the symlink", link)),
        }
        let mut aside = link.as_os_str().to_owned();
        aside.push(aside_suffix(&std::process::id().to_string()));
        let aside = PathBuf::from(aside);
        // From a dead process that had our number.
        remove_file(&aside)?;
        symlink(target, &aside).map_err(Error::file("make the symlink", link))?;
        let renamed = failpoint::reach("root.aside")
            .and_then(|()| fs::rename(&aside, link).map_err(Error::file("make the symlink", link)));
        renamed.inspect_err(|_| drop(fs::remove_file(&aside)))
    }
}

/// Returns whether `target` is named like a path of some store: what a build into another one left.
fn leads_to_store_path(target: &Path) -> bool {
    let name = || target.file_name()?.to_str()?.parse::<StorePath>().ok();
    target.parent().is_some_and(|parent| parent.ends_with("nix/store")) && name().is_some()
}

/// Returns the name below `gcroots/auto` that Nix gives the root `link`.
fn root_key(link: &Path) -> String {
    Hash::of(HashAlgorithm::Sha1, link.as_os_str().as_bytes()).to_nix32()
}

/// Lists a directory that may not be there, in order.
fn list(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths = sweep::list(directory)?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{placed, scratch_store, some_path};

    #[test]
    fn a_link_is_a_root_while_it_points_there() {
        let (scratch, store) = scratch_store();
        store.register(&[placed(&store, "a", &[]), placed(&store, "b", &[])]).unwrap();
        let (link, [a, b]) = (scratch.join("result"), ["a", "b"].map(some_path));
        store.add_root(&link, &a).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), store.real_path(&a));
        let has_link = |wanted: &StorePath| {
            store
                .lasting_roots()
                .unwrap()
                .roots
                .iter()
                .any(|(path, root)| path == wanted && *root == Root::Link(link.clone()))
        };
        assert!(has_link(&a));
        store.add_root(&link, &b).unwrap();
        assert!(has_link(&b) && !has_link(&a));
        fs::remove_file(&link).unwrap();
        assert!(store.lasting_roots().unwrap().roots.is_empty());
        drop(store.lock_out_root_writers().unwrap());
        assert_eq!(list(&store.location().gc_roots().join("relocated")).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_link_does_not_wait_for_a_collector_that_knows_its_target() {
        let (scratch, store) = scratch_store();
        store.register(&[placed(&store, "a", &[])]).unwrap();
        store.temp_root(&some_path("a")).unwrap();
        let collector = store.lock_out_root_writers().unwrap();
        store.add_root(&scratch.join("result"), &some_path("a")).unwrap();
        store.add_permanent_root(Path::new("a"), &some_path("a")).unwrap();
        drop(collector);
        assert_eq!(store.lasting_roots().unwrap().roots.len(), 2);
        let error = store.add_root(&scratch.join("other"), &some_path("b")).unwrap_err();
        assert!(matches!(error, Error::NotValid { .. }) && !scratch.join("other").is_symlink(), "{error}");
    }

    #[test]
    fn the_link_of_another_store_is_replaced() {
        let ((scratch, store), (_other_scratch, other)) = (scratch_store(), scratch_store());
        for store in [&store, &other] {
            store.register(&[placed(store, "a", &[])]).unwrap();
            store.add_root(&scratch.join("result"), &some_path("a")).unwrap();
        }
        assert_eq!(fs::read_link(scratch.join("result")).unwrap(), other.real_path(&some_path("a")));
    }

    #[test]
    fn nothing_else_is_replaced_by_a_root() {
        let (scratch, store) = scratch_store();
        store.register(&[placed(&store, "a", &[])]).unwrap();
        let (file, link) = (scratch.join("file"), scratch.join("link"));
        fs::write(&file, "precious").unwrap();
        symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            let error = store.add_root(path, &some_path("a")).unwrap_err();
            assert!(matches!(error, Error::InTheWay { .. }), "{error}");
        }
        let error = store.add_root(&scratch.join("absent/link"), &some_path("a")).unwrap_err();
        assert!(error.to_string().contains("absent/link"), "{error}");
        assert_eq!(list(&store.location().relocated_roots()).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(fs::read(&file).unwrap(), b"precious");
    }

    #[test]
    fn a_root_that_cannot_be_replaced_keeps_what_it_kept() {
        let (scratch, store) = scratch_store();
        let long = format!("{}/{}", scratch.path().display(), "l".repeat(250));
        store.register(&[placed(&store, "a", &[]), placed(&store, "b", &[])]).unwrap();
        store.add_root(Path::new(&long), &some_path("a")).unwrap();
        // The name of the one that is to take its place is longer than a name may be.
        store.add_root(Path::new(&long), &some_path("b")).unwrap_err();
        let twins = list(&store.location().relocated_roots()).unwrap();
        let kept = fs::read_link(&twins[0]).unwrap();
        assert_eq!(kept, Path::new(&store.store_dir().print(&some_path("a"))));
        assert_eq!(fs::read_link(&long).unwrap(), store.real_path(&some_path("a")));
    }

    #[test]
    fn every_kind_of_link_that_nix_knows_is_found() {
        let (_scratch, store) = scratch_store();
        let names = ["a", "b", "c", "d", "e"];
        store.register(&names.map(|name| placed(&store, name, &[]))).unwrap();
        let [a, b, c, d, e] = names.map(some_path);
        let roots = store.location().gc_roots();
        fs::create_dir_all(roots.join("per-user/somebody")).unwrap();
        symlink(format!("/nix/store/{a}/bin/x"), roots.join("per-user/somebody/direct")).unwrap();
        fs::write(roots.join(b.to_string()), "").unwrap();
        let profiles = store.location().state_dir.join("profiles");
        symlink(format!("/nix/store/{c}"), profiles.join("plain")).unwrap();
        symlink(format!("/nix/store/{d}"), profiles.join("default-3-link")).unwrap();
        symlink(format!("/nix/store/{e}"), profiles.join("default-12-link")).unwrap();
        symlink("default-12-link", profiles.join("default")).unwrap();
        symlink(format!("/nix/store/{}", some_path("invalid")), roots.join("invalid")).unwrap();
        symlink("/nowhere", roots.join("dangling")).unwrap();
        symlink(profiles.join("plain"), roots.join("auto/indirect")).unwrap();
        let generation = |number: u64, is_current| Root::Generation {
            link: profiles.join(format!("default-{number}-link")),
            profile: profiles.join("default"),
            number,
            is_current,
        };
        let expected = [
            (a, Root::Permanent(roots.join("per-user/somebody/direct"))),
            (b.clone(), Root::Permanent(roots.join(b.to_string()))),
            (c, Root::Link(profiles.join("plain"))),
            (d, generation(3, false)),
            (e, generation(12, true)),
        ];
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(store.lasting_roots().unwrap().roots, expected);
    }

    #[test]
    fn the_entry_of_a_link_that_is_gone_is_dropped() {
        let (scratch, store) = scratch_store();
        store.register(&[placed(&store, "a", &[])]).unwrap();
        for name in ["kept", "gone"] {
            store.add_root(&scratch.join(name), &some_path("a")).unwrap();
        }
        fs::remove_file(scratch.join("gone")).unwrap();
        let auto = store.location().gc_roots().join("auto");
        assert_eq!(list(&auto).unwrap().len(), 2);
        drop(store.lock_out_root_writers().unwrap());
        assert_eq!(list(&auto).unwrap(), [auto.join(root_key(&scratch.join("kept")))]);
    }

    #[test]
    fn what_is_in_the_store_and_not_valid_is_wanted_too() {
        let (_scratch, store) = scratch_store();
        let half = some_path("half");
        fs::write(store.real_path(&half), "").unwrap();
        let link = store.location().gc_roots().join("half");
        symlink(store.real_path(&half), &link).unwrap();
        assert_eq!(store.lasting_roots().unwrap().roots, [(half, Root::Permanent(link))]);
    }

    #[test]
    fn a_build_keeps_what_it_makes() {
        let (_scratch, store) = scratch_store();
        let (drv, out) = (some_path("x.drv"), some_path("x"));
        let outputs = std::collections::BTreeMap::from([("out".to_owned(), out.clone())]);
        let id = crate::running::BuildId::new();
        let mut build = store.announce(id.clone(), &drv, &drv, outputs, None, 17);
        build.tell(crate::running::Stage::Keeping);
        let root = Root::Build { id, drv: drv.clone(), process: std::process::id() };
        let all = store.all_roots().unwrap();
        assert!([drv, out].into_iter().all(|path| all.contains(&(path, root.clone()))), "{all:?}");
    }
}
