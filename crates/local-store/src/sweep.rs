//! What killed processes leave in the directory for builds, found by the process number in its name; and their files
//! of locks, which those that tell of their builds name. What else they had in hand is in `dead.rs`.
//!
//! `nix-<process>-<number>` is a build directory. `scratch-<process>-<number>` is a symlink to a scratch
//! directory in the store directory, which nobody would find there among all the paths. The number alone
//! does not tell the dead from the living, as it is used again, and other containers count otherwise. So it is looked whether
//! who has it has the store open at all, and owners also hold a lock.
#![expect(clippy::disallowed_methods, reason = "removes left-overs on disk")]

use std::collections::HashMap;
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
use crate::scratch::{may_be_scratch, root_in};

/// Removes the build directories in `parent` whose owners are dead. Returns why some cannot be yet.
pub(crate) fn sweep(parent: &Path, users: &mut Users) -> Result<Vec<Error>, Error> {
    let mut left_over = Vec::new();
    for path in left_in(parent, "nix-", users)? {
        match sweep_directory(&path) {
            // It is in use by what could not be undone elsewhere.
            Err(error @ (Error::Mounted { .. } | Error::TakeBack { .. })) => left_over.push(error),
            other => other?,
        }
    }
    Ok(left_over)
}

/// Removes the scratch directories whose owners are dead. Returns why some cannot be yet.
pub(crate) fn sweep_scratch(location: &Location, users: &mut Users) -> Result<Vec<Error>, Error> {
    let mut left_over = Vec::new();
    for link in left_in(&location.builds(), "scratch-", users)? {
        if let Ok(target) = fs::read_link(&link)
            && target.parent() == Some(&location.real_store)
            && target.extension().is_some_and(|extension| extension == "chroot")
            && may_be_scratch(&target)
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

/// Which processes may be at work on a store, to tell whose something is that has a number in its name.
///
/// Whoever works on a store has its `big-lock` open, Nix too. When a process was started says less: clocks are set, and what
/// it has made before may seem older than itself.
pub(crate) struct Users {
    big_lock: PathBuf,
    /// Each is looked at once.
    known: HashMap<Pid, bool>,
}

impl Users {
    pub(crate) fn of(location: &Location) -> Self {
        Self { big_lock: location.databases().join("big-lock"), known: HashMap::new() }
    }

    /// Whether a process may be one of them. One of another container is not seen.
    pub(crate) fn may_have(&mut self, process: Pid) -> bool {
        let Self { big_lock, known } = self;
        *known.entry(process).or_insert_with(|| !is_dead(process) && may_have_open(process, big_lock))
    }

    /// Whether no process with this number may be one of them.
    pub(crate) fn is_nobody(&mut self, process: u32) -> bool {
        let process = i32::try_from(process).ok().and_then(Pid::from_raw);
        process.is_none_or(|process| !self.may_have(process))
    }
}

/// Whether a process has a file open; also if that cannot be seen.
fn may_have_open(process: Pid, file: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
    let tasks = PathBuf::from(format!("/proc/{}/task", process.as_raw_nonzero()));
    let (Ok(wanted), Ok(threads)) = (id(file), list(&tasks)) else { return true };
    // Only such a name is looked behind, as others may lead to disks that do not answer.
    let is_it = |descriptor: &Path| {
        let target = fs::read_link(descriptor)?;
        Ok(target.file_name() == file.file_name() && id(descriptor)? == wanted)
    };
    let has = |thread: &PathBuf| {
        let Ok(mut descriptors) = fs::read_dir(thread.join("fd")) else { return true };
        descriptors.any(|one| match one.and_then(|one| is_it(&one.path())) {
            Ok(is_it) => is_it,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        })
    };
    // Without any, `/proc` shows no process of others.
    threads.is_empty() || threads.iter().any(has)
}

fn left_in(parent: &Path, prefix: &str, users: &mut Users) -> Result<Vec<PathBuf>, Error> {
    let is_left = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str);
        let owner = name.and_then(|name| owner_of(name.strip_prefix(prefix)?));
        // This process has just begun, and has made nothing; in a container the one before had its number, as often as not.
        owner.is_some_and(|owner| owner == rustix::process::getpid() || !users.may_have(owner))
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
    use std::process::{Command, Stdio};

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

    #[test]
    fn a_process_that_has_the_store_open_is_told_from_one_that_has_not() {
        let (_scratch, store) = scratch_store();
        let big_lock = File::open(store.location().databases().join("big-lock")).unwrap();
        for (stdout, has_it) in [(Stdio::null(), false), (Stdio::from(big_lock), true)] {
            let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(stdout).spawn().unwrap();
            let may_have = |users: &mut Users| users.may_have(Pid::from_child(&child));
            assert_eq!(may_have(&mut Users::of(store.location())), has_it);
            drop(child.stdin.take());
            child.wait().unwrap();
            let mut users = Users::of(store.location());
            assert!(!users.may_have(Pid::from_child(&child)) && users.is_nobody(child.id()));
        }
        assert!(Users::of(store.location()).may_have(rustix::process::getpid()));
    }
}
