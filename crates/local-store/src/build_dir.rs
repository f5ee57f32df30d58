//! Directories for builds, which do not outlive the process that made them.
#![expect(clippy::disallowed_methods, reason = "build directories are on disk")]

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode};

use crate::canonical::make_readable;
use crate::error::Error;
use crate::failpoint;
use crate::open_file::create_dirs;
use crate::store::LocalStore;
use crate::sweep::{Users, claim, remove_left, sweep};
use crate::tree::{Node, Visit, walk};

/// An empty directory with mode 0700, removed on drop.
#[derive(Debug)]
#[must_use = "dropping a BuildDir removes the directory at once"]
pub struct BuildDir {
    /// Empty once the directory was given away.
    path: PathBuf,
    /// Locked, to tell a living owner from a dead one also where process numbers do not: in containers.
    _lock: File,
}

impl LocalStore {
    /// Makes a build directory below `parent`, or in its usual place below the state directory.
    pub fn make_build_dir(&self, parent: Option<&Path>) -> Result<BuildDir, Error> {
        let usual = self.location().builds();
        let parent = parent.unwrap_or(&usual);
        if parent != usual {
            create_dirs(parent)?;
            // What is left is in the way of nobody, and was told when the store was opened.
            let _ = sweep(parent, &mut Users::of(self.location()))?;
        }
        loop {
            let path = |unique: &str| parent.join(format!("nix-{unique}"));
            let make = |path: &Path| DirBuilder::new().mode(0o700).create(path);
            let (path, ()) =
                self.with_unique(path, make).map_err(Error::file("make a directory in", parent))?;
            failpoint::reach("directory.made")?;
            // Whoever swept it away before it was locked took it for a dead one's; the next will do.
            if let Some(lock) = claim(&path)? {
                return Ok(BuildDir { path, _lock: lock });
            }
        }
    }
}

impl BuildDir {
    /// Returns the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the directory for a person to look at, under a name that is not swept away, and returns it.
    ///
    /// Others can look too, so no program in it keeps the right to run as the user who built it.
    pub fn keep(mut self) -> Result<PathBuf, Error> {
        walk(&self.path, &mut Disarm)?;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let kept = self.path.with_file_name(name.replacen("nix-", "kept-", 1));
        fs::rename(&self.path, &kept).map_err(Error::file("keep", &self.path))?;
        self.path = PathBuf::new();
        fs::set_permissions(&kept, fs::Permissions::from_mode(0o755))
            .map_err(Error::file("change the mode of", &kept))?;
        Ok(kept)
    }
}

/// Takes away the set-user-id and set-group-id bits of files.
struct Disarm;

impl Visit for Disarm {
    fn enters(&mut self, directory: &Node<'_>) -> Result<bool, Error> {
        make_readable(directory, Mode::RUSR | Mode::XUSR).map(|()| true)
    }

    fn leaf(&mut self, node: &Node<'_>) -> Result<(), Error> {
        let mode = Mode::from_raw_mode(node.stat.st_mode);
        let armed = Mode::SUID | Mode::SGID;
        if node.kind() == FileType::RegularFile && mode.intersects(armed) {
            node.change_mode(mode - armed)?;
        }
        Ok(())
    }
}

impl Drop for BuildDir {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            // What cannot be removed now is swept when the next store is opened.
            let _ = remove_left(&self.path).and_then(|()| failpoint::reach("directory.removed"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Options;
    use crate::store::tests::scratch_store;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn lasts_as_long_as_its_value() {
        let (scratch, store) = scratch_store();
        let directory = store.make_build_dir(None).unwrap();
        let path = directory.path().to_owned();
        assert!(path.starts_with(store.location().builds()));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
        fs::create_dir(path.join("read-only")).unwrap();
        fs::set_permissions(path.join("read-only"), fs::Permissions::from_mode(0o555)).unwrap();
        let elsewhere = store.make_build_dir(Some(&scratch.join("elsewhere"))).unwrap();
        assert!(elsewhere.path().starts_with(scratch.join("elsewhere")));
        drop(directory);
        assert!(!path.exists());
    }

    #[test]
    fn is_kept_on_demand() {
        let (_scratch, store) = scratch_store();
        let directory = store.make_build_dir(None).unwrap();
        fs::create_dir(directory.path().join("closed")).unwrap();
        for (name, mode) in [("log", 0o644), ("closed/shell", 0o6755), ("closed", 0)] {
            let path = directory.path().join(name);
            if mode != 0 {
                fs::write(&path, "x").unwrap();
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let kept = directory.keep().unwrap();
        fs::set_permissions(kept.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(fs::metadata(kept.join("closed/shell")).unwrap().mode() & 0o7777, 0o755);
        let other = LocalStore::open(store.location().clone(), Options::default()).unwrap();
        assert!(kept.join("log").exists());
        drop(other);
    }

    #[test]
    fn only_those_of_the_dead_are_swept() {
        let (_scratch, store) = scratch_store();
        let living = store.make_build_dir(None).unwrap();
        // No process has the highest number that fits: the kernel's limit is 2^22.
        let dead = store.location().builds().join("nix-2147483647-0");
        let other = store.location().builds().join("notes");
        for path in [&dead, &other] {
            fs::create_dir(path).unwrap();
        }
        drop(LocalStore::open(store.location().clone(), Options::default()).unwrap());
        assert!(living.path().exists() && other.exists() && !dead.exists());
    }
}
