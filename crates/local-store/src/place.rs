//! Moving trees to their places in the store.
#![expect(clippy::disallowed_methods, reason = "renames into the store directory")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use store_path::StorePath;

use crate::delete::remove_tree;
use crate::error::Error;
use crate::failpoint;
use crate::store::LocalStore;

impl LocalStore {
    /// Moves the tree at `from`, on the same file system, to its place as `path`, which is not valid.
    ///
    /// What a killed build left there is deleted first. The caller holds the lock of `path`.
    pub fn move_into_place(&self, from: &Path, path: &StorePath) -> Result<(), Error> {
        let place = self.clear(path)?;
        failpoint::reach("place.cleared")?;
        rename(from, &place)?;
        failpoint::reach("place.moved")
    }

    /// Keeps the tree at `from`, on the same file system, beside the place of `path`, for people to look at; returns where.
    ///
    /// It replaces what was kept there before. It is not valid, and collectors take it away.
    pub fn keep_beside(&self, from: &Path, path: &StorePath, suffix: &str) -> Result<PathBuf, Error> {
        let place = self.location().real_store.join(format!("{path}{suffix}"));
        remove_tree(&place)?;
        rename(from, &place)?;
        Ok(place)
    }

    /// Deletes what is at the place of `path`, which is not valid, and returns the place.
    pub(crate) fn clear(&self, path: &StorePath) -> Result<PathBuf, Error> {
        if self.is_valid(path)? {
            return Err(Error::AlreadyValid { path: path.clone() });
        }
        let place = self.real_path(path);
        remove_tree(&place)?;
        Ok(place)
    }
}

/// Renames a tree that may be read-only: a directory that gets another parent has to be writable.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    let metadata = fs::symlink_metadata(from).map_err(Error::file("look at", from))?;
    let failed = || Error::file("move into the store", from);
    let mode = metadata.permissions().mode();
    if !metadata.is_dir() || mode & 0o200 != 0 || rustix::process::geteuid().is_root() {
        return fs::rename(from, to).map_err(failed());
    }
    fs::set_permissions(from, Permissions::from_mode(mode | 0o200)).map_err(failed())?;
    fs::rename(from, to).map_err(failed())?;
    fs::set_permissions(to, Permissions::from_mode(mode)).map_err(Error::file("change the mode of", to))
}
