//! Canonical metadata: of all that a file system keeps about a file, a store keeps one bit.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;

use crate::error::Error;
use crate::tree::{Node, Visit, id, walk};
use crate::until::Until;

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
/// must not become ours. It goes on as long as `until` says.
pub fn canonicalise(
    tree: &Path,
    owned_by: Option<RangeInclusive<u32>>,
    seen: &mut Inodes,
    until: Until<'_>,
) -> Result<(), Error> {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    walk(tree, &mut Canonical { owned_by, seen, user, group, until })
}

struct Canonical<'seen> {
    owned_by: Option<RangeInclusive<u32>>,
    seen: &'seen mut Inodes,
    user: Uid,
    group: Gid,
    until: Until<'seen>,
}

impl Visit for Canonical<'_> {
    fn enters(&mut self, directory: &Node<'_>) -> Result<bool, Error> {
        self.check_owner(directory)?;
        make_readable(directory, Mode::RUSR | Mode::XUSR)?;
        Ok(true)
    }

    fn leaf(&mut self, node: &Node<'_>) -> Result<(), Error> {
        self.until.check().map_err(|source| Error::File {
            action: "go on with",
            path: node.path(),
            source,
        })?;
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
                self.settle_symlink(node)
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
        let foreign = self.owned_by.as_ref().is_some_and(|builder| !builder.contains(&owner));
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

    fn settle_symlink(&self, node: &Node<'_>) -> Result<(), Error> {
        if node.stat.st_uid == self.user.as_raw() && has_store_time(node.stat) {
            return Ok(());
        }
        // By descriptor: its name may meanwhile stand for something else, such as a file of the host.
        let (link, flags) = (node.handle()?, AtFlags::EMPTY_PATH);
        if node.stat.st_uid != self.user.as_raw() {
            rustix::fs::chownat(&link, c"", Some(self.user), Some(self.group), flags)
                .map_err(node.failed("own"))?;
        }
        // A symlink has no mode, and only root can give it extended attributes, which no builder is.
        rustix::fs::utimensat(&link, c"", &STORE_TIME, flags).map_err(node.failed("change the time of"))
    }
}

/// Second 1, since tools take 0 for "unknown"; when it was last read is not changed.
pub(crate) const STORE_TIME: Timestamps = Timestamps {
    last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
    last_modification: Timespec { tv_sec: 1, tv_nsec: 0 },
};

pub(crate) fn has_store_time(stat: &Stat) -> bool {
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

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the disk")]
mod tests {
    use super::*;
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
    use test_support::Scratch;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn mode_and_time(path: &Path) -> (u32, i64, i64) {
        let metadata = fs::symlink_metadata(path).unwrap();
        (metadata.mode() & 0o7777, metadata.mtime(), metadata.mtime_nsec())
    }

    fn only(user: u32) -> RangeInclusive<u32> {
        user..=user
    }

    #[test]
    fn keeps_nothing_but_the_executable_bit() {
        let scratch = Scratch::new();
        let tree = scratch.join("tree");
        fs::create_dir_all(tree.join("locked/empty")).unwrap();
        for (name, mode) in [("plain", 0o600), ("tool", 0o4711), ("other", 0o677), ("unreadable", 0)] {
            fs::write(tree.join("locked").join(name), name).unwrap();
            set_mode(&tree.join("locked").join(name), mode);
        }
        symlink("/etc/passwd", tree.join("link")).unwrap();
        symlink("nowhere", tree.join("dangling")).unwrap();
        set_mode(&tree.join("locked"), 0);
        let before = fs::metadata("/etc/passwd").unwrap();
        canonicalise(
            &tree,
            Some(only(rustix::process::geteuid().as_raw())),
            &mut Inodes::default(),
            Until::DONE,
        )
        .unwrap();
        for (name, mode) in [
            ("", 0o555),
            ("locked", 0o555),
            ("locked/empty", 0o555),
            ("locked/plain", 0o444),
            ("locked/tool", 0o555),
            ("locked/other", 0o444),
            ("locked/unreadable", 0o444),
            ("link", 0o777),
            ("dangling", 0o777),
        ] {
            assert_eq!(mode_and_time(&tree.join(name)), (mode, 1, 0), "{name}");
        }
        assert_eq!(fs::metadata("/etc/passwd").unwrap().mtime(), before.mtime());
    }

    #[test]
    fn removes_extended_attributes() {
        let scratch = Scratch::new();
        let tree = scratch.join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("file"), "x").unwrap();
        for path in [&tree, &tree.join("file")] {
            let set = rustix::fs::setxattr(path, "user.test", b"x", rustix::fs::XattrFlags::empty());
            if set == Err(Errno::NOTSUP) {
                println!("skipped: no extended attributes on the file system for temporary files");
                return;
            }
            set.unwrap();
        }
        canonicalise(&tree, None, &mut Inodes::default(), Until::DONE).unwrap();
        for path in [&tree, &tree.join("file")] {
            assert_eq!(rustix::fs::listxattr(path, &mut [0_u8; 256][..]), Ok(0));
        }
    }

    #[test]
    fn refuses_what_no_archive_can_hold() {
        let scratch = Scratch::new();
        let tree = scratch.join("tree");
        fs::create_dir(&tree).unwrap();
        let fifo = tree.join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let error = canonicalise(&tree, None, &mut Inodes::default(), Until::DONE).unwrap_err();
        assert!(matches!(error, Error::Kind { path } if path == fifo));
    }

    #[test]
    fn refuses_what_belongs_to_somebody_else() {
        let scratch = Scratch::new();
        let file = scratch.join("file");
        File::create(&file).unwrap();
        let own = rustix::process::geteuid().as_raw();
        let error =
            canonicalise(&file, Some(only(own + 1)), &mut Inodes::default(), Until::DONE).unwrap_err();
        assert!(matches!(error, Error::Owner { owner, .. } if owner == own));
    }

    #[test]
    fn a_hard_link_within_a_build_is_met_twice() {
        let scratch = Scratch::new();
        let (one, two) = (scratch.join("one"), scratch.join("two"));
        File::create(&one).unwrap();
        fs::hard_link(&one, &two).unwrap();
        let is_root = rustix::process::geteuid().is_root();
        let builder = if is_root { 12_345 } else { rustix::process::geteuid().as_raw() };
        if is_root {
            chown(&one, Some(builder), Some(builder)).unwrap();
        }
        let mut seen = Inodes::default();
        canonicalise(&one, Some(only(builder)), &mut seen, Until::DONE).unwrap();
        canonicalise(&two, Some(only(builder)), &mut seen, Until::DONE).unwrap();
        assert_eq!(fs::metadata(&two).unwrap().uid(), rustix::process::geteuid().as_raw());
        let again = canonicalise(&two, Some(only(builder)), &mut Inodes::default(), Until::DONE);
        assert_eq!(again.is_err(), is_root, "a build that has not made it finds it foreign");
    }

    /// What is met changes places with what the second path names before anything is done about it.
    struct Swapping<'a>(Canonical<'a>, &'a Path);

    impl Swapping<'_> {
        fn swap(&self, node: &Node<'_>) {
            let (cwd, exchange) = (rustix::fs::CWD, rustix::fs::RenameFlags::EXCHANGE);
            rustix::fs::renameat_with(node.parent, node.name, cwd, self.1, exchange).unwrap();
        }
    }

    impl Visit for Swapping<'_> {
        fn enters(&mut self, directory: &Node<'_>) -> Result<bool, Error> {
            if directory.name.to_bytes() == b"entry" {
                self.swap(directory);
            }
            self.0.enters(directory)
        }

        fn leaf(&mut self, node: &Node<'_>) -> Result<(), Error> {
            self.swap(node);
            self.0.leaf(node)
        }
    }

    /// Where nothing is mounted in between, as without isolation, somebody else can put a hard link there.
    #[test]
    fn what_becomes_something_foreign_on_the_way_leaves_that_alone() {
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        for (made, becomes) in [
            ("symlink", "hard link"),
            ("file", "hard link"),
            ("file", "symlink"),
            ("unreadable", "hard link"),
            ("unreadable", "symlink"),
            ("directory", "symlink to a directory"),
        ] {
            let scratch = Scratch::new();
            let (tree, house, aside) = (scratch.join("tree"), scratch.join("house"), scratch.join("aside"));
            let (victim, entry) = (house.join("victim"), tree.join("entry"));
            fs::create_dir(&house).unwrap();
            fs::write(&victim, "x").unwrap();
            match becomes {
                "hard link" => fs::hard_link(&victim, &aside).unwrap(),
                "symlink" => symlink(&victim, &aside).unwrap(),
                _ => symlink(&house, &aside).unwrap(),
            }
            fs::create_dir(&tree).unwrap();
            match made {
                "symlink" => symlink("nowhere", &entry).unwrap(),
                "directory" => fs::create_dir(&entry).unwrap(),
                _ => fs::write(&entry, "y").unwrap(),
            }
            if made == "unreadable" {
                set_mode(&entry, 0);
            }
            if user.is_root() {
                chown(&victim, Some(12_345), Some(12_345)).unwrap();
                chown(&house, Some(12_345), Some(12_345)).unwrap();
            }
            let look =
                || [&house, &victim].map(|path| (fs::metadata(path).unwrap().uid(), mode_and_time(path)));
            let before = look();
            let (seen, until) = (&mut Inodes::default(), Until::DONE);
            let canonical = Canonical { owned_by: None, seen, user, group, until };
            let error = walk(&tree, &mut Swapping(canonical, &aside)).unwrap_err();
            let stopped = matches!(error, Error::Changed { .. } | Error::File { action: "open", .. });
            assert!(stopped, "{made}, {becomes}: {error}");
            assert_eq!(look(), before, "{made}, {becomes}");
        }
    }
}
