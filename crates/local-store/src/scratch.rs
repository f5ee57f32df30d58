//! Where a sandboxed build puts its outputs before they are moved to their places.
#![expect(clippy::disallowed_methods, reason = "scratch directories are on disk")]

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, DirBuilder, File, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use store_path::StorePath;

use crate::delete::remove_tree;
use crate::error::Error;
use crate::failpoint;
use crate::store::{LocalStore, guard};
use crate::sweep::{claim, remove_left, remove_left_over};

/// The directory `<drv>.chroot` in the store directory, removed on drop.
///
/// In the store directory, since outputs are moved out of it by renaming them.
#[derive(Debug)]
#[must_use = "dropping a Scratch removes the directory at once"]
pub struct Scratch {
    path: PathBuf,
    /// Tells the next start of a store that there is something to sweep, if we are killed.
    mark: PathBuf,
    /// Tells it that we are alive.
    _lock: File,
}

impl LocalStore {
    /// Makes the scratch directory of `drv`, without what a killed build left in it.
    ///
    /// Only its caller can enter it. The directory `store` in it can be written to by `builder`, a user and
    /// a group, or else by the caller. The caller holds the locks of the outputs, so there is no second one.
    pub fn make_scratch(&self, drv: &StorePath, builder: Option<(u32, u32)>) -> Result<Scratch, Error> {
        let scratch = self.make(self.location().real_store.join(format!("{drv}.chroot")))?;
        scratch.give_to(builder)?;
        Ok(scratch)
    }

    /// Takes a scratch directory that others had before, or makes one.
    ///
    /// `drv` is a temporary root, whose digest keeps collectors from it. What is mounted in it for one build can stay
    /// for the next; [`LocalStore::give_back`] takes away what the builder put there.
    pub fn take_scratch(&self, drv: &StorePath, builder: Option<(u32, u32)>) -> Result<Scratch, Error> {
        let idle = guard(&self.scratches.idle).pop();
        let fresh = || {
            let path =
                |unique: &str| self.location().real_store.join(format!("{}-{unique}.chroot", drv.digest()));
            let make = |path: &Path| match fs::symlink_metadata(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
                Ok(_) => Err(std::io::ErrorKind::AlreadyExists.into()),
            };
            let (path, ()) = self
                .with_unique(path, make)
                .map_err(Error::file("look into", &self.location().real_store))?;
            self.make(path)
        };
        let scratch = idle.map_or_else(fresh, Ok)?;
        scratch.give_to(builder)?;
        Ok(scratch)
    }

    /// Keeps a scratch directory for the next build, without all that is not named in `shown`; one that cannot be
    /// cleaned is removed instead.
    pub fn give_back(&self, scratch: Scratch, shown: &BTreeSet<StorePath>) {
        if clean(&scratch.store(), shown).and_then(|()| failpoint::reach("scratch.cleaned")).is_ok() {
            guard(&self.scratches.idle).push(scratch);
        }
    }

    /// Whether all of `paths` can be mounted: what is a symlink has to be copied for each build anew.
    pub fn can_be_mounted(&self, paths: &BTreeSet<StorePath>) -> bool {
        let mut known = guard(&self.scratches.no_symlinks);
        paths.iter().all(|path| {
            known.contains(path)
                || fs::symlink_metadata(self.real_path(path)).is_ok_and(|metadata| !metadata.is_symlink())
                    && known.insert(path.clone())
        })
    }

    fn make(&self, path: PathBuf) -> Result<Scratch, Error> {
        let builds = self.location().builds();
        let mark = |unique: &str| builds.join(format!("scratch-{unique}"));
        let (mark, ()) = self
            .with_unique(mark, |mark| symlink(&path, mark))
            .map_err(Error::file("make a symlink in", &builds))?;
        failpoint::reach("scratch.marked")?;
        let scratch =
            Scratch { _lock: make_locked(&path).inspect_err(|_| drop(fs::remove_file(&mark)))?, path, mark };
        failpoint::reach("scratch.made")?;
        let store = scratch.store();
        fs::create_dir(&store).map_err(Error::file("make the directory", &store))?;
        Ok(scratch)
    }
}

/// What scratch directories leave for later builds of the same process.
#[derive(Debug, Default)]
pub(crate) struct Scratches {
    idle: Mutex<Vec<Scratch>>,
    /// Paths that are known to be files or directories. What is valid does not change.
    no_symlinks: Mutex<HashSet<StorePath>>,
}

fn clean(store: &Path, shown: &BTreeSet<StorePath>) -> Result<(), Error> {
    for entry in fs::read_dir(store).map_err(Error::file("list", store))? {
        let name = entry.map_err(Error::file("list", store))?.file_name();
        let path = name.to_str().and_then(|name| name.parse::<StorePath>().ok());
        if !path.is_some_and(|path| shown.contains(&path)) {
            remove_tree(&store.join(name))?;
        }
    }
    Ok(())
}

impl Scratch {
    /// Lets nobody but its builder put something into its store directory.
    fn give_to(&self, builder: Option<(u32, u32)>) -> Result<(), Error> {
        let store = self.store();
        if let Some((user, group)) = builder {
            chown(&store, Some(user), Some(group)).map_err(Error::file("give away", &store))?;
        }
        fs::set_permissions(&store, Permissions::from_mode(0o1775))
            .map_err(Error::file("change the mode of", &store))
    }

    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns where a build's root may be made whose mounts are the host's; they are found there if it is killed.
    pub fn root(&self) -> PathBuf {
        root_in(&self.path)
    }

    /// Returns the directory that a build sees as its store directory.
    pub fn store(&self) -> PathBuf {
        self.path.join("store")
    }
}

/// Whether a scratch directory may be there, or made there. What is in a store for good is nobody's to write to.
pub(crate) fn may_be_scratch(path: &Path) -> bool {
    fs::symlink_metadata(path).map_or(true, |metadata| metadata.is_dir() && metadata.mode() & 0o200 != 0)
}

pub(crate) fn root_in(scratch: &Path) -> PathBuf {
    scratch.join("root")
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is swept when the next store is opened after us.
        if remove_left(&self.path).and_then(|()| failpoint::reach("scratch.removed")).is_ok() {
            let _ = fs::remove_file(&self.mark);
            let _ = failpoint::reach("scratch.unmarked");
        }
    }
}

fn make_locked(path: &Path) -> Result<File, Error> {
    loop {
        if !may_be_scratch(path) {
            return Err(Error::NameTaken { path: path.to_owned() });
        }
        remove_left_over(path)?;
        DirBuilder::new().mode(0o700).create(path).map_err(Error::file("make the directory", path))?;
        // Whoever swept it away before it was locked took it for a dead one's.
        if let Some(lock) = claim(path)? {
            return Ok(lock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::{Inodes, canonicalise};
    use crate::store::Options;
    use crate::store::tests::{scratch_store, some_path};

    #[test]
    fn outputs_are_moved_out_of_it() {
        let (_scratch, store) = scratch_store();
        let (drv, output) = (some_path("x.drv"), some_path("x"));
        let left_over = store.location().real_store.join(format!("{drv}.chroot/store/old"));
        fs::create_dir_all(&left_over).unwrap();
        fs::set_permissions(&left_over, Permissions::from_mode(0o555)).unwrap();
        let scratch = store.make_scratch(&drv, None).unwrap();
        assert!(!left_over.exists());
        assert_eq!(fs::metadata(scratch.path()).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(fs::metadata(scratch.store()).unwrap().mode() & 0o7777, 0o1775);
        let built = scratch.store().join(output.to_string());
        fs::create_dir_all(built.join("bin")).unwrap();
        canonicalise(&built, None, &mut Inodes::default(), crate::Until::DONE).unwrap();
        // In its place is what a killed build left.
        fs::create_dir_all(store.real_path(&output).join("half")).unwrap();
        store.move_into_place(&built, &output).unwrap();
        let placed = fs::metadata(store.real_path(&output)).unwrap();
        assert_eq!((placed.mode() & 0o7777, placed.mtime()), (0o555, 1));
        assert!(store.real_path(&output).join("bin").exists());
        let path = scratch.path().to_owned();
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn a_path_with_the_name_of_one_stays() {
        let (_scratch, store) = scratch_store();
        let drv = some_path("x.drv");
        let twin = store.location().real_store.join(format!("{drv}.chroot"));
        fs::create_dir_all(twin.join("store")).unwrap();
        fs::set_permissions(&twin, Permissions::from_mode(0o555)).unwrap();
        let error = store.make_scratch(&drv, None).unwrap_err();
        assert!(matches!(error, Error::NameTaken { .. }), "{error}");
        // As if it had been killed before it could say so.
        symlink(&twin, store.location().builds().join("scratch-2147483647-0")).unwrap();
        drop(LocalStore::open(store.location().clone(), Options::default()).unwrap());
        assert!(twin.join("store").exists());
        fs::set_permissions(&twin, Permissions::from_mode(0o755)).unwrap();
        drop(store.make_scratch(&drv, None).unwrap());
        assert!(!twin.exists());
    }

    #[test]
    fn that_of_a_killed_process_is_swept() {
        let (_scratch, store) = scratch_store();
        let living = store.make_scratch(&some_path("living.drv"), None).unwrap();
        let dead = store.real_path(&some_path("dead.drv")).with_extension("drv.chroot");
        let innocent = store.real_path(&some_path("innocent"));
        for (number, path) in [&dead, &innocent, &living.path().to_owned()].into_iter().enumerate() {
            fs::create_dir_all(path.join("store")).unwrap();
            symlink(path, store.location().builds().join(format!("scratch-2147483647-{number}"))).unwrap();
        }
        drop(LocalStore::open(store.location().clone(), Options::default()).unwrap());
        assert!(!dead.exists() && innocent.exists() && living.store().exists());
        drop(living);
        assert_eq!(fs::read_dir(store.location().builds()).unwrap().count(), 0);
    }

    #[test]
    fn a_valid_path_is_not_replaced() {
        let (_scratch, store) = scratch_store();
        let info = crate::store::tests::placed(&store, "x", &[]);
        store.register(std::slice::from_ref(&info)).unwrap();
        let error = store.move_into_place(Path::new("/nowhere"), &info.path).unwrap_err();
        assert!(matches!(error, Error::AlreadyValid { .. }));
    }
}
