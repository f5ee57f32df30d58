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
use crate::open_file::{create_dirs, open_lock_file};

/// Freed when the disk is full, so that the database can be written to while things are deleted.
const RESERVED_BYTES: u64 = 8 << 20;

/// Makes what is missing of the directories, which is next to nothing to do where all is there.
pub(crate) fn prepare(location: &Location) -> Result<(), Error> {
    create_store(&location.real_store)?;
    for directory in ["db", "temproots", "profiles", "gcroots/auto", "gc-socket", "running-builds"] {
        create_dirs(&location.state_dir.join(directory))?;
    }
    create_private(&location.builds())?;
    link_profiles(location)?;
    failpoint::reach("open.layout")?;
    reserve(&location.databases().join("reserved"));
    Ok(())
}

fn create_store(path: &Path) -> Result<(), Error> {
    create_dirs(&path.join(".links"))
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

/// Reserves space; where that is not possible there is none to reserve.
pub(crate) fn reserve(path: &Path) {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.len() == RESERVED_BYTES) {
        return;
    }
    if let Ok(file) = open_lock_file(path) {
        let _ = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, RESERVED_BYTES);
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
        assert_eq!(fs::metadata(location.state_dir.join("db/reserved")).unwrap().len(), RESERVED_BYTES);
        assert_eq!(
            fs::read_link(location.gc_roots().join("profiles")).unwrap(),
            location.state_dir.join("profiles")
        );
        let big_lock = fs::metadata(location.state_dir.join("db/big-lock")).unwrap();
        assert_eq!(big_lock.permissions().mode() & 0o777, 0o600);
    }
}
