//! The id maps of a build: who it is inside, and who that is outside.

#![expect(clippy::disallowed_methods, reason = "writes the id maps of a build")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::Step;
use crate::plan::Identity;
use crate::sys;
use crate::wire::Failure;

/// As an ordinary user: makes this (one-threaded) process root in a user namespace of its own, where it can make
/// all the others that builds need, as root can on the host.
///
/// `caller` was asked for before: without a map, a process reads its own ids as the overflow id.
pub(crate) fn enter_own(caller: (u32, u32)) -> Result<(), Failure> {
    sys::new_user_namespace().map_err(|errno| Failure::new(Step::Namespaces, "/", errno))?;
    map_own(caller)
}

/// Maps nobody but the caller where nothing is mapped yet.
pub(crate) fn map_own((uid, gid): (u32, u32)) -> Result<(), Failure> {
    let is_mapped = |file: &str| fs::read(file).is_ok_and(|map| !map.is_empty());
    if !is_mapped("/proc/self/gid_map") {
        // A group map may be written without privilege only once groups can no longer be dropped.
        write("/proc/self/setgroups", "deny", Step::MapGroup)?;
        write("/proc/self/gid_map", &format!("0 {gid} 1"), Step::MapGroup)?;
    }
    if !is_mapped("/proc/self/uid_map") {
        write("/proc/self/uid_map", &format!("0 {uid} 1"), Step::MapUser)?;
    }
    Ok(())
}

/// For a child that has just entered its user namespace. Whoever is not root on the host is it here, and its
/// builders are the caller.
pub(crate) fn map_child(pid: i32, identity: &Identity, is_root: bool) -> Result<(), Failure> {
    let (uid, gid) = identity.outer.unwrap_or((0, 0));
    let count = identity.count;
    if is_root && (uid == 0 || gid == 0) {
        return Err(Failure::new(Step::MapUser, "/", Errno::PERM));
    }
    write(format!("/proc/{pid}/uid_map"), &format!("{} {uid} {count}", identity.uid), Step::MapUser)?;
    write(format!("/proc/{pid}/gid_map"), &format!("{} {gid} {count}", identity.gid), Step::MapGroup)
}

/// For a child in a user namespace of its own: makes whoever this process is root there.
pub(crate) fn map_root(pid: i32) -> Result<(), Failure> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    write(format!("/proc/{pid}/setgroups"), "deny", Step::MapGroup)?;
    write(format!("/proc/{pid}/uid_map"), &format!("0 {uid} 1"), Step::MapUser)?;
    write(format!("/proc/{pid}/gid_map"), &format!("0 {gid} 1"), Step::MapGroup)
}

fn write(path: impl Into<PathBuf>, text: &str, step: Step) -> Result<(), Failure> {
    let path = path.into();
    fs::write(&path, text).map_err(|error| failure(step, &path, &error))
}

fn failure(step: Step, path: &Path, error: &io::Error) -> Failure {
    Failure::new(step, path, Errno::from_io_error(error).unwrap_or(Errno::IO))
}
