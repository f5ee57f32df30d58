//! Putting whole files in the place of damaged ones, without a moment in which there are none.
//!
//! ```text
//! new tree ─► <path>.repair, on disk ─► exchanged with <path> in one step ─► what was there is removed
//! ```
//!
//! Killed before the exchange, the damaged path is there still; after it, the whole one. Either way `<path>.repair` is
//! what nobody needs: the next repair removes it, and so does a collector. Whoever has the old files open keeps them.
#![expect(clippy::disallowed_methods, reason = "renames in the store directory")]

use std::fs;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use store_path::StorePath;

use crate::delete::remove_tree;
use crate::durable;
use crate::error::Error;
use crate::failpoint;
use crate::place::rename;
use crate::store::LocalStore;

impl LocalStore {
    /// Puts the tree at `from`, on the same file system, in the place of the files of `path`, which is valid.
    ///
    /// The caller holds the lock of the path, and has seen that the tree has its hash and is canonical. Where a file system
    /// cannot exchange two names (NFS, for one), there is a moment without any files.
    pub fn replace(&self, path: &StorePath, from: &Path) -> Result<(), Error> {
        let name = format!("{path}.repair");
        let (aside, place) = (self.location().real_store.join(&name), self.real_path(path));
        // Collectors go by the digest, or by the whole name.
        let rooted: Vec<StorePath> = name.parse().into_iter().chain([path.clone()]).collect();
        self.temp_roots(&rooted)?;
        remove_tree(&aside)?;
        rename(from, &aside)?;
        failpoint::reach("repair.aside")?;
        if self.options.fsync_store_paths {
            durable::sync(std::slice::from_ref(&aside), &self.location().real_store)?;
        }
        failpoint::reach("repair.synced")?;
        exchange(&aside, &place)?;
        if self.options.fsync_store_paths {
            durable::sync(&[], &self.location().real_store)?;
        }
        failpoint::reach("repair.exchanged")?;
        remove_tree(&aside)
    }
}

fn exchange(aside: &Path, place: &Path) -> Result<(), Error> {
    let failed = || Error::file("replace", place);
    match rustix::fs::renameat_with(CWD, aside, CWD, place, RenameFlags::EXCHANGE) {
        // There is nothing to be exchanged with.
        Err(Errno::NOENT) => fs::rename(aside, place).map_err(failed()),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            let old = aside.with_extension("old");
            remove_tree(&old)?;
            fs::rename(place, &old).map_err(failed())?;
            fs::rename(aside, place).map_err(failed())?;
            remove_tree(&old)
        }
        exchanged => exchanged.map_err(Error::file("replace", place)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::add::hash_tree;
    use crate::store::tests::scratch_store;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn the_path_is_there_at_every_moment() {
        let (scratch, store) = scratch_store();
        fs::create_dir(scratch.join("tree")).unwrap();
        fs::write(scratch.join("tree/file"), "hello").unwrap();
        let info = store.add_path(&"tree".parse().unwrap(), &scratch.join("tree")).unwrap();
        let place = store.real_path(&info.path);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..200 {
                    let new = store.location().real_store.join(format!("new-{number}"));
                    crate::copy_tree(&place, &new, crate::Until::DONE).unwrap();
                    store.replace(&info.path, &new).unwrap();
                }
                done.store(true, Ordering::SeqCst);
            });
            while !done.load(Ordering::SeqCst) {
                assert_eq!(fs::read(place.join("file")).unwrap(), b"hello");
            }
        });
        assert_eq!(hash_tree(&place).unwrap().0, info.nar_hash);
        assert!(store.verify(true).unwrap().damaged.is_empty());
        assert_eq!(fs::read_dir(&store.location().real_store).unwrap().count(), 2, "with `.links`");
    }

    #[test]
    fn what_is_missing_or_of_another_kind_is_replaced_too() {
        let (scratch, store) = scratch_store();
        fs::write(scratch.join("file"), "hello").unwrap();
        let info = store.add_path(&"file".parse().unwrap(), &scratch.join("file")).unwrap();
        let place = store.real_path(&info.path);
        for stands_there in [None, Some("directory")] {
            let new = store.location().real_store.join("new");
            crate::copy_tree(&place, &new, crate::Until::DONE).unwrap();
            fs::remove_file(&place).unwrap();
            stands_there.iter().for_each(|name| fs::create_dir_all(place.join(name)).unwrap());
            // What one who was killed has left.
            fs::create_dir(store.location().real_store.join(format!("{}.repair", info.path))).unwrap();
            store.replace(&info.path, &new).unwrap();
            assert!(store.verify(true).unwrap().damaged.is_empty());
        }
    }
}
