//! Whether a store can be written to, and if not, what is in the way.

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

use crate::error::Error;
use crate::location::Location;
use crate::mounts::mount_points;

/// Why nothing can be written into a store that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It is not wanted.
    Setting,
    /// The file system is mounted so; where, as far as that could be found out.
    FileSystem(Option<PathBuf>),
    /// The caller may not.
    Permission,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting => write!(formatter, "the setting `read-only` forbids it; leave that out"),
            Self::FileSystem(Some(mount)) => write!(
                formatter,
                "its file system is mounted read-only; `mount -o remount,rw {}` makes it writable, `--store DIR` takes \
                 another store",
                mount.display()
            ),
            Self::FileSystem(None) => {
                write!(formatter, "its file system is mounted read-only; `--store DIR` takes another store")
            }
            Self::Permission => write!(
                formatter,
                "this user may not write there; be its owner, or take another store with `--store DIR`"
            ),
        }
    }
}

/// Fails if the store is there and cannot be written to.
pub(crate) fn check(location: &Location) -> Result<(), Error> {
    [location.databases(), location.real_store.clone()].into_iter().try_for_each(|path| {
        match refused(&path) {
            Some(Errno::ROFS) => {
                let why = Obstacle::FileSystem(mount_point(&path));
                Err(Error::ReadOnly { path, why })
            }
            Some(_) => Err(Error::ReadOnly { path, why: Obstacle::Permission }),
            None => Ok(()),
        }
    })
}

/// Whether the database can be written to, and files beside it.
pub(crate) fn takes_databases(location: &Location) -> bool {
    [location.databases(), location.database()].iter().all(|path| refused(path).is_none())
}

/// Returns what the system says to writing to something that is there.
fn refused(path: &Path) -> Option<Errno> {
    match accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS) {
        Err(error @ (Errno::ROFS | Errno::ACCESS | Errno::PERM)) => Some(error),
        // What is not there can perhaps be made; whoever tries tells it.
        _ => None,
    }
}

/// Returns where the file system is mounted that has `path`: the last one that is mounted above it.
fn mount_point(path: &Path) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    let above = mount_points().ok()?.into_iter().filter(|point| path.starts_with(point));
    above.max_by_key(|point| point.components().count())
}
