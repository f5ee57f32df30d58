//! Canonical metadata: of all that a file system keeps about a file, a store keeps one bit.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;

use crate::error::Error;
use crate::tree::{Node, Visit, id, walk};

/// Extended attributes that stay: the system sets them, and often lets nobody remove them.
const KEPT_ATTRIBUTES: [&[u8]; 3] = [b"security.selinux", b"system.nfs4_acl", b"security.csm"];

/// The files that [`canonicalise`] has already made its caller's own.
///
/// One value for all outputs of a build: a hard link between two of them is met again with a new owner.
#[derive(Debug, Default)]
pub struct Inodes(HashSet<(u64, u64)>);

/// Gives everything in `tree` the metadata of the store.
///
/// Modes 0444, or 0555 for directories and what its owner may execute; modified at second 1; no extended
/// attributes; owned by the caller. Anything but files, directories and symlinks is refused, and, when
/// `owned_by` says who made the tree, so is what belongs to anybody else: a hard link to a foreign file
/// must not become ours.
pub fn canonicalise(tree: &Path, owned_by: Option<u32>, seen: &mut Inodes) -> Result<(), Error> {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    walk(tree, &mut Canonical { owned_by, seen, user, group })
}

struct Canonical<'seen> {
    owned_by: Option<u32>,
    seen: &'seen mut Inodes,
    user: Uid,
    group: Gid,
}

impl Visit for Canonical<'_> {
    fn before(&mut self, directory: &Node<'_>) -> Result<(), Error> {
        self.check_owner(directory)?;
        make_readable(directory, Mode::RUSR | Mode::XUSR)
    }

    fn leaf(&mut self, node: &Node<'_>) -> Result<(), Error> {
        match node.kind() {
            FileType::RegularFile => {
                self.check_owner(node)?;
                make_readable(node, Mode::RUSR)?;
                let executable = Mode::from_raw_mode(node.stat.st_mode).contains(Mode::XUSR);
                let mode = if executable { 0o555 } else { 0o444 };
                self.settle(node, node.open()?.as_fd(), Mode::from_raw_mode(mode))
            }
            FileType::Symlink => {
                self.check_owner(node)?;
                self.settle_symlink(node).map_err(node.failed("make canonical"))
            }
            _ => Err(Error::Kind { path: node.path() }),
        }
    }

    fn leave(&mut self, directory: &Node<'_>, opened: BorrowedFd<'_>) -> Result<(), Error> {
        self.settle(directory, opened, Mode::from_raw_mode(0o555))
    }
}

impl Canonical<'_> {
    fn check_owner(&mut self, node: &Node<'_>) -> Result<(), Error> {
        let owner = node.stat.st_uid;
        let is_directory = node.kind() == FileType::Directory;
        let foreign = self.owned_by.is_some_and(|builder| builder != owner);
        if foreign && (is_directory || !self.seen.0.contains(&id(node.stat))) {
            return Err(Error::Owner { path: node.path(), owner });
        }
        // Only what has several names is ever met twice.
        if node.stat.st_nlink > 1 && !is_directory {
            self.seen.0.insert(id(node.stat));
        }
        Ok(())
    }

    fn settle(&self, node: &Node<'_>, opened: BorrowedFd<'_>, mode: Mode) -> Result<(), Error> {
        strip_attributes(opened).map_err(node.failed("remove the extended attributes of"))?;
        if node.stat.st_uid != self.user.as_raw() {
            rustix::fs::fchown(opened, Some(self.user), Some(self.group)).map_err(node.failed("own"))?;
        }
        // Not from `node.stat`: a mode may have been changed since, and a change of owner clears bits.
        let stat = rustix::fs::fstat(opened).map_err(node.failed("look at"))?;
        if Mode::from_raw_mode(stat.st_mode) != mode {
            rustix::fs::fchmod(opened, mode).map_err(node.failed("change the mode of"))?;
        }
        if !has_store_time(&stat) {
            rustix::fs::futimens(opened, &STORE_TIME).map_err(node.failed("change the time of"))?;
        }
        Ok(())
    }

    fn settle_symlink(&self, node: &Node<'_>) -> Result<(), Errno> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        if node.stat.st_uid != self.user.as_raw() {
            rustix::fs::chownat(node.parent, node.name, Some(self.user), Some(self.group), flags)?;
        }
        if has_store_time(node.stat) {
            return Ok(());
        }
        // A symlink has no mode, and only root can give it extended attributes, which no builder is.
        rustix::fs::utimensat(node.parent, node.name, &STORE_TIME, flags)
    }
}

/// Second 1, since tools take 0 for "unknown"; when it was last read is not changed.
pub(crate) const STORE_TIME: Timestamps = Timestamps {
    last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
    last_modification: Timespec { tv_sec: 1, tv_nsec: 0 },
};

fn has_store_time(stat: &Stat) -> bool {
    stat.st_mtime == 1 && stat.st_mtime_nsec == 0
}

/// Makes sure that the owner has the permissions in `needed`, as an ordinary user could not go on otherwise.
pub(crate) fn make_readable(node: &Node<'_>, needed: Mode) -> Result<(), Error> {
    let mode = Mode::from_raw_mode(node.stat.st_mode);
    if mode.contains(needed) || rustix::process::geteuid().is_root() {
        return Ok(());
    }
    node.change_mode(mode | needed)
}

fn strip_attributes(opened: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut names = [0_u8; 4096];
    let length = match rustix::fs::flistxattr(opened, &mut names[..]) {
        Err(Errno::NOTSUP) => return Ok(()),
        result => result?,
    };
    let removable = |name: &&[u8]| !name.is_empty() && !KEPT_ATTRIBUTES.contains(name);
    for name in names[..length].split(|byte| *byte == 0).filter(removable) {
        rustix::fs::fremovexattr(opened, std::ffi::OsStr::from_bytes(name))?;
    }
    Ok(())
}
