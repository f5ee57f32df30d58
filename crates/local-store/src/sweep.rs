//! What killed processes leave in the directory for builds, found by the process number in its name; and their files
//! of locks, which those that tell of their builds name. What else they had in hand is in `dead.rs`.
//!
//! `nix-<process>-<number>` is a build directory. `scratch-<process>-<number>` is a symlink to a scratch
//! directory in the store directory, which nobody would find there among all the paths. The number alone
//! does not tell the dead from the living, as other containers count otherwise; so owners also hold a lock.
#![expect(clippy::disallowed_methods, reason = "removes left-overs on disk")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::delete::remove_tree;
use crate::error::Error;
use crate::location::Location;
use crate::open_file::{lock, remove_file, try_lock};
use crate::scratch::root_in;

/// Removes the build directories in `parent` whose owners are dead. Returns why some cannot be yet.
pub(crate) fn sweep(parent: &Path) -> Result<Vec<Error>, Error> {
    let mut left_over = Vec::new();
    for path in left_in(parent, "nix-")? {
        match sweep_directory(&path) {
            // It is in use by what could not be undone elsewhere.
            Err(error @ (Error::Mounted { .. } | Error::TakeBack { .. })) => left_over.push(error),
            other => other?,
        }
    }
    Ok(left_over)
}

/// Removes the scratch directories whose owners are dead. Returns why some cannot be yet.
pub(crate) fn sweep_scratch(location: &Location) -> Result<Vec<Error>, Error> {
    let mut left_over = Vec::new();
    for link in left_in(&location.builds(), "scratch-")? {
        if let Ok(target) = fs::read_link(&link)
            && target.parent() == Some(&location.real_store)
            && target.extension().is_some_and(|extension| extension == "chroot")
        {
            match sweep_directory(&target) {
                Err(error @ (Error::Release { .. } | Error::Mounted { .. } | Error::TakeBack { .. })) => {
                    left_over.push(error);
                    continue;
                }
                other => other?,
            }
        }
        remove_file(&link)?;
    }
    Ok(left_over)
}

/// Removes a file that is somebody's for as long as it is locked, if nobody has it.
///
/// Whoever opened it before, and waits for its lock, learns from its size that it is not the one on disk any more, as
/// from any holder, Nix included. What cannot be removed is in the way of nobody.
pub(crate) fn remove_unheld(path: &Path) {
    let Some(mut file) = claim_file(path) else { return };
    if fs::remove_file(path).is_ok() {
        let _ = file.write_all(b"d");
    }
}

/// Locks the file at `path`, unless somebody else has or it is gone.
pub(crate) fn claim_file(path: &Path) -> Option<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let file = File::options().read(true).write(true).custom_flags(flags).open(path).ok()?;
    let is_ours = try_lock(&file, path, FlockOperation::NonBlockingLockExclusive).unwrap_or(false);
    (is_ours && is_there(&file, path).unwrap_or(false)).then_some(file)
}

/// Locks the directory at `path`, unless somebody else has or it is gone.
pub(crate) fn claim(path: &Path) -> Result<Option<File>, Error> {
    let Some(file) = open(path)? else { return Ok(None) };
    let locked = try_lock(&file, path, FlockOperation::NonBlockingLockExclusive)?;
    Ok(if locked && is_there(&file, path)? { Some(file) } else { None })
}

/// Removes a directory that no living process owns, and waits for whoever is sweeping it away now.
pub(crate) fn remove_left_over(path: &Path) -> Result<(), Error> {
    let Some(file) = open(path)? else { return Ok(()) };
    lock(&file, path, FlockOperation::LockExclusive)?;
    if is_there(&file, path)? { release_and_remove(path) } else { Ok(()) }
}

/// Removes a directory in which a build without a mount namespace may have left mounts, and those first.
fn release_and_remove(path: &Path) -> Result<(), Error> {
    if path.extension().is_some_and(|extension| extension == "chroot") {
        sandbox::end_builds_with(path);
    }
    sandbox::release(&root_in(path)).map_err(|source| Error::Release { path: path.to_owned(), source })?;
    remove_left(path)
}

/// Removes what a build has had, also what belongs to a subordinate id of the caller since its launcher was killed.
pub(crate) fn remove_left(path: &Path) -> Result<(), Error> {
    match remove_tree(path) {
        Err(Error::File { source, .. })
            if source.kind() == io::ErrorKind::PermissionDenied && !rustix::process::geteuid().is_root() =>
        {
            sandbox::take_back(path).map_err(|source| Error::TakeBack { path: path.to_owned(), source })?;
            remove_tree(path)
        }
        other => other,
    }
}

fn sweep_directory(path: &Path) -> Result<(), Error> {
    let own = rustix::process::geteuid().as_raw();
    if !fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == own) {
        return Ok(());
    }
    match claim(path)? {
        Some(_lock) => release_and_remove(path),
        None => Ok(()),
    }
}

/// Removes a scratch directory, unless somebody has it.
pub(crate) fn remove_scratch(path: &Path) -> Result<(), Error> {
    match claim(path)? {
        Some(_lock) => release_and_remove(path),
        None => Ok(()),
    }
}

/// Whether no process has this number.
pub(crate) fn is_gone(process: u32) -> bool {
    i32::try_from(process).ok().and_then(Pid::from_raw).is_none_or(is_dead)
}

fn left_in(parent: &Path, prefix: &str) -> Result<Vec<PathBuf>, Error> {
    let is_left = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str);
        let owner = name.and_then(|name| owner_of(name.strip_prefix(prefix)?));
        // This process has just begun, and has made nothing; in a container the one before had its number, as often as not.
        owner.is_some_and(|owner| is_dead(owner) || owner == rustix::process::getpid())
    };
    let mut left = list(parent)?;
    left.retain(is_left);
    Ok(left)
}

/// Lists a directory that may not be there.
pub(crate) fn list(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.map_err(Error::file("list", directory))?,
    };
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    paths.map_err(Error::file("list", directory))
}

/// Returns the process at the beginning of the name of a file of temporary roots.
pub(crate) fn owner_in(path: &Path) -> Option<Pid> {
    Pid::from_raw(path.file_name()?.to_str()?.split('-').next()?.parse().ok()?)
}

fn open(path: &Path) -> Result<Option<File>, Error> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some).map_err(Error::file("open", path)),
    }
}

/// Whether the open directory was not removed before it was locked.
fn is_there(file: &File, path: &Path) -> Result<bool, Error> {
    Ok(file.metadata().map_err(Error::file("look at", path))?.nlink() > 0)
}

/// Returns the process in `<process>-<number>`.
fn owner_of(name: &str) -> Option<Pid> {
    let (process, number) = name.split_once('-')?;
    number.parse::<u64>().ok()?;
    Pid::from_raw(process.parse().ok()?)
}

pub(crate) fn is_dead(process: Pid) -> bool {
    test_kill_process(process) == Err(Errno::SRCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch_store;

    #[test]
    fn whoever_waits_for_a_file_learns_that_it_was_removed() {
        let (_scratch, store) = scratch_store();
        let path = store.location().real_store.join("x.lock");
        fs::write(&path, "").unwrap();
        let waiting = File::open(&path).unwrap();
        remove_unheld(&path);
        assert_eq!((path.exists(), waiting.metadata().unwrap().len()), (false, 1));
        remove_unheld(&path);
    }
}
