//! Files that hold a lock, names that nothing has, and small helpers around opening.
#![expect(clippy::disallowed_methods, reason = "lock files are on disk")]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rustix::fs::FlockOperation;
use rustix::io::retry_on_intr;

use crate::error::Error;
use crate::store::LocalStore;

/// Opens a lock file, made with mode 0600 when it is not there.
///
/// Two openings do not share a lock, so it keeps threads apart as well as processes.
pub(crate) fn open_lock_file(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
        .map_err(Error::file("open the lock file", path))
}

/// Opens a lock file that is there and takes the lock beside others, without writing a byte; nothing if it is not there or
/// may not be opened.
pub(crate) fn open_shared(path: &Path) -> Result<Option<File>, Error> {
    let Ok(file) = File::open(path) else { return Ok(None) };
    lock(&file, path, FlockOperation::LockShared)?;
    Ok(Some(file))
}

/// Takes a lock, waiting for whoever holds it.
pub(crate) fn lock(file: &File, path: &Path, operation: FlockOperation) -> Result<(), Error> {
    retry_on_intr(|| rustix::fs::flock(file, operation)).map_err(Error::file("lock", path))
}

/// Takes a lock unless somebody else holds it. `operation` is a non-blocking one.
pub(crate) fn try_lock(file: &File, path: &Path, operation: FlockOperation) -> Result<bool, Error> {
    match retry_on_intr(|| rustix::fs::flock(file, operation)) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(source) => Err(Error::file("lock", path)(source)),
    }
}

/// Makes a directory and its parents, with the default mode. Usually it is there.
pub(crate) fn create_dirs(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).map_err(Error::file("make the directory", path))
}

/// Removes a file that may be gone already.
pub(crate) fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(Error::file("remove", path)),
    }
}

impl LocalStore {
    /// Makes something at a path that nothing has, out of `<process>-<number>`; returns the path too.
    ///
    /// A name may be taken: by a killed process that had our number, or by another store of this process.
    pub(crate) fn with_unique<T>(
        &self,
        path: impl Fn(&str) -> PathBuf,
        make: impl Fn(&Path) -> io::Result<T>,
    ) -> io::Result<(PathBuf, T)> {
        loop {
            let number = self.next_number.fetch_add(1, Ordering::Relaxed);
            let path = path(&format!("{}-{number}", std::process::id()));
            match make(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => return result.map(|made| (path, made)),
            }
        }
    }
}
