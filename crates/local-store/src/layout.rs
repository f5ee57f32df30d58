//! The directories and files of a store, as Nix makes them.
//!
//! Every step may be repeated and none depends on being alone, so any number of processes may open a new
//! store at once, and one that is killed half-way leaves the rest to the next.
#![expect(clippy::disallowed_methods, reason = "makes the layout on disk")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{FallocateFlags, FlockOperation};

use crate::error::Error;
use crate::failpoint;
use crate::location::Location;
use crate::open_file::{create_dirs, lock, open_lock_file};

/// The schema of the database, as its `schema` file says it: without a line end.
const SCHEMA: &str = "10";

/// Freed when the disk is full, so that the database can be written to while things are deleted.
const RESERVED_BYTES: u64 = 8 << 20;

/// Makes what is missing and returns the lock that tells an upgrade that the store is in use.
pub(crate) fn prepare(location: &Location) -> Result<File, Error> {
    create_store(&location.real_store)?;
    for directory in ["db", "temproots", "profiles", "gcroots/auto", "gc-socket", "running-builds"] {
        create_dirs(&location.state_dir.join(directory))?;
    }
    create_private(&location.builds())?;
    link_profiles(location)?;
    failpoint::reach("open.layout")?;
    let database = location.state_dir.join("db");
    let big_lock = database.join("big-lock");
    let file = open_lock_file(&big_lock)?;
    lock(&file, &big_lock, FlockOperation::LockShared)?;
    failpoint::reach("open.locked")?;
    check_schema(&database)?;
    reserve(&database.join("reserved"));
    Ok(file)
}

/// Writes the `schema` file, once the database is there: a store without it is one that is being made.
pub(crate) fn finish(location: &Location) -> Result<(), Error> {
    let database = location.state_dir.join("db");
    let path = database.join("schema");
    if path.exists() {
        return Ok(());
    }
    // Written aside and renamed: nobody ever sees it empty.
    let aside = database.join(format!("schema.{}", std::process::id()));
    write_synced(&aside, SCHEMA.as_bytes()).map_err(Error::file("write", &aside))?;
    failpoint::reach("open.schema-written")?;
    fs::rename(&aside, &path).map_err(Error::file("write", &path))?;
    failpoint::reach("open.schema")
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
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

fn check_schema(database: &Path) -> Result<(), Error> {
    let path = database.join("schema");
    match fs::read_to_string(&path) {
        Ok(text) if text.trim() == SCHEMA => Ok(()),
        Ok(text) => Err(Error::Schema { directory: database.to_owned(), found: text.trim().to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::file("read", &path)(error)),
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

    #[test]
    fn another_schema_is_refused() {
        let scratch = Scratch::new();
        let location = Location::below(scratch.path());
        fs::create_dir_all(location.state_dir.join("db")).unwrap();
        fs::write(location.state_dir.join("db/schema"), "11\n").unwrap();
        let error = LocalStore::open(location, Options::default()).unwrap_err();
        assert!(error.to_string().contains("has schema `11`"), "{error}");
    }
}
