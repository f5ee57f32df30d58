//! Locks on store paths: whoever makes a path holds its lock, in this process or another one, Nix included.
//!
//! The lock of `<digest>-x` is the file `<digest>-x.lock`, which is the name of a path, too: `…-Cargo.lock` is one. Both
//! have one digest only if somebody has made one up. What is a path is then no lock, and stays.
#![expect(clippy::disallowed_methods, reason = "locks are files in the store directory")]

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::{self, File, Metadata};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::error::Error;
use crate::failpoint;
use crate::open_file::{lock, open_lock_file, try_lock};
use crate::store::LocalStore;
use crate::sweep::remove_unheld;

/// Locks on store paths, held as long as this value.
#[derive(Debug)]
#[must_use = "dropping a PathLock unlocks the paths at once"]
pub struct PathLock {
    files: Vec<(PathBuf, File)>,
}

/// Whether to wait for another holder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Block,
    GiveUp,
}

impl LocalStore {
    /// Locks all of `paths`, waiting for whoever holds one of them.
    ///
    /// The order is that of the paths, here and in Nix, so that two who want the same ones cannot wait for
    /// each other. For the same reason nobody who holds a `PathLock` may ask for another, but for this:
    ///
    /// An output whose path only its build will tell is locked as `<derivation>.<output>`, as in Nix. Whoever holds such
    /// locks may ask for those of paths, once: nobody does it the other way round.
    pub fn lock<T: Display>(&self, paths: &[T]) -> Result<PathLock, Error> {
        self.lock_request(paths).wait()
    }

    /// Locks all of `paths`, or none and returns `None` when somebody holds one of them.
    pub fn try_lock<T: Display>(&self, paths: &[T]) -> Result<Option<PathLock>, Error> {
        self.take_locks(paths, Wait::GiveUp)
    }

    /// Says what [`LocalStore::lock`] would lock, for a thread that does nothing else.
    pub fn lock_request<T: Display>(&self, paths: &[T]) -> LockRequest {
        let paths: BTreeSet<String> = paths.iter().map(ToString::to_string).collect();
        let file = |path| self.location().real_store.join(format!("{path}.lock"));
        LockRequest { files: paths.into_iter().map(file).collect() }
    }

    fn take_locks<T: Display>(&self, paths: &[T], wait: Wait) -> Result<Option<PathLock>, Error> {
        self.lock_request(paths).take(wait)
    }
}

/// Locks that are wanted. Waiting for them cannot be given up, so whoever may want to has another thread wait.
#[derive(Debug)]
pub struct LockRequest {
    /// In their order.
    files: Vec<PathBuf>,
}

impl LockRequest {
    /// Takes all of them, waiting for whoever holds one.
    pub fn wait(self) -> Result<PathLock, Error> {
        let locked = self.take(Wait::Block)?;
        Ok(locked.expect("a lock that waits is taken or fails"))
    }

    fn take(self, wait: Wait) -> Result<Option<PathLock>, Error> {
        let mut taken = PathLock { files: Vec::new() };
        for file in self.files {
            match take(&file, wait)? {
                Some(lock) => {
                    taken.files.push((file, lock));
                    failpoint::reach("lock.taken")?;
                }
                None => return Ok(None),
            }
        }
        Ok(Some(taken))
    }
}

impl Drop for PathLock {
    fn drop(&mut self) {
        for (path, file) in &mut self.files {
            // Whoever waits for this very file must see that it is not the one on disk any more. Nix
            // looks at the size only; a failure here costs a left-over empty file, nothing else.
            // Without a name, ours has made room for something else.
            let is_on_disk = file.metadata().is_ok_and(|metadata| metadata.nlink() > 0);
            if is_on_disk && fs::remove_file(path).is_ok() {
                let _ = failpoint::reach("lock.removed");
                let _ = file.write_all(b"d");
            }
        }
    }
}

fn take(path: &Path, wait: Wait) -> Result<Option<File>, Error> {
    loop {
        let file = open(path)?;
        match wait {
            Wait::Block => lock(&file, path, FlockOperation::LockExclusive)?,
            Wait::GiveUp => {
                if !try_lock(&file, path, FlockOperation::NonBlockingLockExclusive)? {
                    return Ok(None);
                }
            }
        }
        let metadata = file.metadata().map_err(Error::file("look at", path))?;
        // Its last holder unlinked it while we waited: others already use a new one.
        if metadata.len() == 0 && metadata.nlink() > 0 {
            return Ok(Some(file));
        }
    }
}

/// Opens the file of a lock, unless something else has its name.
fn open(path: &Path) -> Result<File, Error> {
    let opened = open_lock_file(path);
    let metadata = match &opened {
        Ok(file) => file.metadata(),
        Err(_) => fs::symlink_metadata(path),
    };
    match metadata {
        Ok(metadata) if !may_be_lock(&metadata) => Err(Error::NameTaken { path: path.to_owned() }),
        _ => opened,
    }
}

/// Removes the file of a lock that nobody holds, as somebody has left it who was killed.
pub(crate) fn remove_stale(path: &Path) {
    if fs::symlink_metadata(path).is_ok_and(|metadata| may_be_lock(&metadata)) {
        remove_unheld(path);
    }
}

/// Whether it may be the file of a lock. What is in a store for good is nobody's to write to.
fn may_be_lock(metadata: &Metadata) -> bool {
    metadata.is_file() && metadata.mode() & 0o222 != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{scratch_store, some_path};
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_holder_at_a_time() {
        let (_scratch, store) = scratch_store();
        let (inside, worst) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (left, right) = (some_path("left"), some_path("right"));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let paths = if thread % 2 == 0 {
                    [left.clone(), right.clone()]
                } else {
                    [right.clone(), left.clone()]
                };
                let (store, inside, worst) = (&store, &inside, &worst);
                scope.spawn(move || {
                    for _ in 0..100 {
                        let lock = store.lock(&paths).unwrap();
                        worst.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert_eq!(worst.load(Ordering::SeqCst), 1);
        assert!(!store.location().real_store.join(format!("{left}.lock")).exists());
    }

    #[test]
    fn a_taken_lock_is_not_waited_for() {
        let (_scratch, store) = scratch_store();
        let (left, right) = (some_path("left"), some_path("right"));
        let held = store.lock(&[right.clone(), right.clone()]).unwrap();
        assert!(store.try_lock(&[left.clone(), right.clone()]).unwrap().is_none());
        assert!(store.try_lock(std::slice::from_ref(&left)).unwrap().is_some(), "none was kept");
        drop(held);
        assert!(store.try_lock(&[left, right]).unwrap().is_some());
    }

    #[test]
    fn a_path_with_the_name_of_a_lock_is_none_and_stays() {
        let (_scratch, store) = scratch_store();
        let path = some_path("x");
        let twin = store.location().real_store.join(format!("{path}.lock"));
        let seal = || fs::set_permissions(&twin, Permissions::from_mode(0o444)).unwrap();
        for contents in ["", "x"] {
            fs::write(&twin, contents).unwrap();
            seal();
            for error in [store.lock(&[&path]).unwrap_err(), store.try_lock(&[&path]).unwrap_err()] {
                assert!(matches!(error, Error::NameTaken { .. }), "{error}");
            }
            assert_eq!(fs::read_to_string(&twin).unwrap(), contents);
            fs::remove_file(&twin).unwrap();
        }
        for make in [fs::create_dir, |twin: &PathBuf| std::os::unix::fs::symlink("x", twin)] {
            make(&twin).unwrap();
            assert!(matches!(store.lock(&[&path]).unwrap_err(), Error::NameTaken { .. }));
            let _ = fs::remove_file(&twin).or_else(|_| fs::remove_dir(&twin));
        }
        let lock = store.lock(&[&path]).unwrap();
        fs::write(twin.with_extension("new"), "x").unwrap();
        fs::rename(twin.with_extension("new"), &twin).unwrap();
        seal();
        drop(lock);
        assert_eq!(fs::read_to_string(&twin).unwrap(), "x", "it has taken the place of the lock");
    }

    #[test]
    fn a_stale_file_is_no_lock() {
        let (_scratch, store) = scratch_store();
        let path = some_path("stale");
        let file = store.location().real_store.join(format!("{path}.lock"));
        // As a holder leaves it who was killed: empty. Nobody waits for that one.
        fs::write(&file, "").unwrap();
        drop(store.lock(std::slice::from_ref(&path)).unwrap());
        assert!(!file.exists());
    }
}
