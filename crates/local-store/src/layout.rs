//! The directories and files of a store, as Nix makes them.
//!
//! Every step may be repeated and none depends on being alone, so any number of processes may open a new
//! store at once, and one that is killed half-way leaves the rest to the next.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::FallocateFlags;

use crate::error::Error;
use crate::failpoint;
use crate::location::Location;
use crate::open_file::{create_dirs, open_lock_file, remove_file};
use crate::store::LocalStore;

/// Makes what is missing of the directories, which is next to nothing to do where all is there.
pub(crate) fn prepare(location: &Location) -> Result<(), Error> {
    create_dirs(&location.links())?;
    for directory in ["db", "temproots", "profiles", "gcroots/auto", "gc-socket", "running-builds"] {
        create_dirs(&location.state_dir.join(directory))?;
    }
    create_private(&location.builds())?;
    link_profiles(location)?;
    failpoint::reach("open.layout")
}

fn create_private(path: &Path) -> Result<(), Error> {
    create_dirs(path)?;
    let make = || -> io::Result<()> {
        let mode = fs::symlink_metadata(path)?.permissions().mode();
        // Build users must not get at each other's directories through it.
        if mode & 0o022 != 0 { fs::set_permissions(path, fs::Permissions::from_mode(0o755)) } else { Ok(()) }
    };
    make().map_err(Error::file("change the mode of", path))
}

fn link_profiles(location: &Location) -> Result<(), Error> {
    let link = location.gc_roots().join("profiles");
    match symlink(location.state_dir.join("profiles"), &link) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::file("make the symlink", &link)(error))
        }
        _ => Ok(()),
    }
}

impl LocalStore {
    /// Reserves space, to be given up when the disk is full, so that the database can be written to while things are
    /// deleted. Where that is not possible there is none to reserve.
    pub(crate) fn reserve(&self) {
        let (path, bytes) = (self.location().reserved(), self.options.reserved_bytes);
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.len() == bytes) {
            return;
        }
        if let Ok(file) = open_lock_file(&path) {
            let _ = rustix::fs::ftruncate(&file, 0);
            let _ = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes);
        }
    }

    /// Gives up the space that is reserved.
    pub(crate) fn give_up_reserve(&self) -> Result<(), Error> {
        remove_file(&self.location().reserved())
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the disk")]
mod tests {
    use super::*;
    use crate::store::{LocalStore, Options};
    use test_support::Scratch;

    #[test]
    fn lays_out_what_nix_lays_out() {
        let scratch = Scratch::new();
        let location = Location::below(scratch.path());
        drop(LocalStore::open(location.clone(), Options::default()).unwrap());
        assert_eq!(fs::read(location.state_dir.join("db/schema")).unwrap(), b"10");
        let reserved = location.state_dir.join("db/reserved");
        assert_eq!(fs::metadata(&reserved).unwrap().len(), 8 << 20);
        assert_eq!(
            fs::read_link(location.gc_roots().join("profiles")).unwrap(),
            location.state_dir.join("profiles")
        );
        let big_lock = fs::metadata(location.state_dir.join("db/big-lock")).unwrap();
        assert_eq!(big_lock.permissions().mode() & 0o777, 0o600);
        // Another size is what it has from the next start on; none while there is to be room.
        let with = |options| drop(LocalStore::open(location.clone(), options).unwrap());
        with(Options { reserved_bytes: 4096, ..Options::default() });
        assert_eq!(fs::metadata(&reserved).unwrap().len(), 4096);
        with(Options { makes_room: true, ..Options::default() });
        assert!(!reserved.exists());
    }
}
