//! Deleting paths that nothing needs.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, Mode};
use store_path::StorePath;

use crate::canonical::make_readable;
use crate::error::Error;
use crate::layout;
use crate::open_file::remove_file;
use crate::roots::Root;
use crate::store::LocalStore;
use crate::tree::{Node, Visit, walk};

impl LocalStore {
    /// Deletes `paths`, all or none.
    ///
    /// Refused when a root needs one of them, or a valid path that is not among them refers to one. A path
    /// that is not valid but has files, as a killed build leaves them, is deleted too.
    pub fn delete(&self, paths: &[StorePath]) -> Result<(), Error> {
        let paths: BTreeSet<StorePath> = paths.iter().cloned().collect();
        let _collector = self.lock_out_root_writers()?;
        let roots = self.all_roots()?;
        self.refuse_rooted(&paths, &roots)?;
        // Whoever makes one of these now holds its lock; afterwards it is deleted, not half of it.
        let in_order: Vec<StorePath> = paths.iter().cloned().collect();
        let _lock = self.lock(&in_order)?;
        self.refuse_absent(&paths)?;
        self.invalidate(&paths)?;
        paths.iter().try_for_each(|path| remove_tree(&self.real_path(path)))
    }

    fn refuse_rooted(&self, paths: &BTreeSet<StorePath>, roots: &[(StorePath, Root)]) -> Result<(), Error> {
        let needs = |root: &StorePath| -> Result<Option<StorePath>, Error> {
            let needed =
                self.with_database(|database| Ok(database.closure(&BTreeSet::from([root.clone()]))?))?;
            // A path that is being made is not valid yet, and still rooted.
            Ok(paths.iter().find(|path| *path == root || needed.contains(*path)).cloned())
        };
        for (target, root) in roots {
            if let Some(path) = needs(target)? {
                return Err(Error::Rooted { path, root: root.clone() });
            }
        }
        Ok(())
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
        let reserved = self.location().state_dir.join("db/reserved");
        // The database needs some space to forget a path, which a full disk does not have.
        remove_file(&reserved)?;
        let result = self.with_database(|database| {
            database.transaction(|transaction| transaction.invalidate(paths).map_err(Error::from))
        });
        layout::reserve(&reserved);
        result
    }
}

/// Removes a tree, whatever its modes, without following a symlink; one that is not there is removed already.
pub fn remove_tree(path: &Path) -> Result<(), Error> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::file("look at", path)(error)),
        Ok(_) => walk(path, &mut Removal),
    }
}

struct Removal;

impl Visit for Removal {
    fn before(&mut self, directory: &Node<'_>) -> Result<(), Error> {
        make_readable(directory, Mode::RWXU)
    }

    fn leaf(&mut self, node: &Node<'_>) -> Result<(), Error> {
        rustix::fs::unlinkat(node.parent, node.name, AtFlags::empty()).map_err(node.failed("remove"))
    }

    fn left(&mut self, directory: &Node<'_>) -> Result<(), Error> {
        rustix::fs::unlinkat(directory.parent, directory.name, AtFlags::REMOVEDIR)
            .map_err(directory.failed("remove"))
    }
}
