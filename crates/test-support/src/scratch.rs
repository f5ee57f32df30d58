//! Directories that vanish after a test, whatever the test put there.

#![expect(clippy::disallowed_methods, reason = "scratch directories are on disk")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// An empty directory that is removed with everything in it on drop.
///
/// Store paths are read-only directories, which an ordinary user cannot empty; they are made writable first.
#[derive(Debug)]
#[must_use = "dropping a Scratch removes the directory at once"]
pub struct Scratch(TempDir);

impl Scratch {
    /// Makes a directory below the one for temporary files.
    ///
    /// # Panics
    /// If that is not possible.
    #[expect(clippy::new_without_default, reason = "making a directory is no default value")]
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("store-test-").tempdir().expect("temporary files can be made"))
    }

    /// Returns the directory.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Returns a path below the directory.
    pub fn join(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.path().join(relative)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        make_writable(self.path());
    }
}

/// Lets the owner change every directory of the tree; what cannot be changed is left for the removal to report.
fn make_writable(directory: &Path) {
    let _ = fs::set_permissions(directory, Permissions::from_mode(0o700));
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        // `file_type` does not follow symlinks, so nothing outside the tree is touched.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_writable(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_read_only_trees() {
        let scratch = Scratch::new();
        let (path, inner) = (scratch.path().to_owned(), scratch.join("a/b"));
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("file"), "x").unwrap();
        fs::set_permissions(&inner, Permissions::from_mode(0o555)).unwrap();
        drop(scratch);
        assert!(!path.exists());
    }
}
