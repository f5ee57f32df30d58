//! Walking over a tree that somebody else made.
//!
//! No symlink is followed and no path is looked up twice: every step is relative to an open directory. One
//! descriptor is held however deep the tree is; the way up goes through `..`, and is only taken when that
//! is the directory the walk came from.

use std::ffi::{CStr, CString, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::error::Error;

/// What to do on the way; each method may do nothing.
pub(crate) trait Visit {
    /// Called before a directory is opened, which needs permission to read it. False passes it by.
    fn enters(&mut self, _directory: &Node<'_>) -> Result<bool, Error> {
        Ok(true)
    }

    /// Called for everything that is not a directory.
    fn leaf(&mut self, node: &Node<'_>) -> Result<(), Error>;

    /// Called for a directory after all that is in it.
    fn leave(&mut self, _directory: &Node<'_>, _opened: BorrowedFd<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// Called for a directory after it was closed.
    fn left(&mut self, _directory: &Node<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// Whether the walk may end early.
    fn is_done(&self) -> bool {
        false
    }
}

/// Something met on the way.
pub(crate) struct Node<'walk> {
    /// The open directory it is in.
    ///
    /// In [`Visit::leave`] this is the directory itself.
    pub(crate) parent: BorrowedFd<'walk>,
    /// Its name there.
    pub(crate) name: &'walk CStr,
    /// What it was when the walk came to it.
    pub(crate) stat: &'walk Stat,
    above: &'walk [Level],
    top: &'walk Path,
}

impl Node<'_> {
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Returns the whole path, for messages only.
    pub(crate) fn path(&self) -> PathBuf {
        path_of(self.top, self.above, self.name)
    }

    /// Makes the closure that turns what the system said into an error about this node.
    pub(crate) fn failed(&self, action: &'static str) -> impl FnOnce(Errno) -> Error {
        move |source| Error::File { action, path: self.path(), source: source.into() }
    }

    /// Opens it to read, and makes sure that it still is what it was.
    pub(crate) fn open(&self) -> Result<OwnedFd, Error> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        self.open_as(flags)
    }

    /// Finds it, a symlink too, without opening it to read, and makes sure that it still is what it was.
    pub(crate) fn handle(&self) -> Result<OwnedFd, Error> {
        self.open_as(OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC)
    }

    /// Changes its mode without opening it to read, which may be what the mode forbids.
    pub(crate) fn change_mode(&self, mode: Mode) -> Result<(), Error> {
        let handle = self.handle()?;
        let by_descriptor = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&handle));
        rustix::fs::chmod(by_descriptor, mode).map_err(self.failed("change the mode of"))
    }

    fn open_as(&self, flags: OFlags) -> Result<OwnedFd, Error> {
        // What is mounted in a tree is not part of it: emptying or changing that would reach the files of others.
        let opened = rustix::fs::openat2(self.parent, self.name, flags, Mode::empty(), ResolveFlags::NO_XDEV);
        let opened = match opened {
            Err(Errno::XDEV) => return Err(Error::Mounted { path: self.path() }),
            // Where a container forbids it, this program cannot have mounted anything either.
            Err(Errno::NOSYS) => rustix::fs::openat(self.parent, self.name, flags, Mode::empty()),
            opened => opened,
        };
        let opened = opened.map_err(self.failed("open"))?;
        let now = rustix::fs::fstat(&opened).map_err(self.failed("look at"))?;
        if id(&now) == id(self.stat) { Ok(opened) } else { Err(Error::Changed { path: self.path() }) }
    }
}

/// A directory between the top and where the walk is.
struct Level {
    name: CString,
    stat: Stat,
    pending: Vec<CString>,
}

struct Walk<'walk> {
    /// The directory the tree is in.
    top: &'walk Path,
    levels: Vec<Level>,
    here: OwnedFd,
}

/// Walks over the tree at `root`, which may also be a single file.
pub(crate) fn walk(root: &Path, visitor: &mut impl Visit) -> Result<(), Error> {
    let mut walk = Walk::start(root)?;
    while !visitor.is_done() {
        let Some(level) = walk.levels.last_mut() else { break };
        match level.pending.pop() {
            Some(name) => walk.arrive(name, visitor)?,
            None if walk.levels.len() == 1 => break,
            None => walk.go_up(visitor)?,
        }
    }
    Ok(())
}

impl<'walk> Walk<'walk> {
    fn start(root: &'walk Path) -> Result<Self, Error> {
        let nowhere = || Error::file("look at", root)(Errno::NOENT);
        let (top, name) = root.parent().zip(root.file_name()).ok_or_else(nowhere)?;
        let here = rustix::fs::open(top, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(Error::file("open", top))?;
        let stat = rustix::fs::fstat(&here).map_err(Error::file("look at", top))?;
        let name = CString::new(name.as_bytes()).map_err(|_| nowhere())?;
        let level = Level { name: CString::default(), stat, pending: vec![name] };
        Ok(Self { top, levels: vec![level], here })
    }

    fn arrive(&mut self, name: CString, visitor: &mut impl Visit) -> Result<(), Error> {
        let failed = |walk: &Self, source| {
            let path = path_of(walk.top, &walk.levels, &name);
            Error::File { action: "look at", path, source: std::io::Error::from(source) }
        };
        let stat = rustix::fs::statat(&self.here, &name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|source| failed(self, source))?;
        let node = self.node(&name, &stat, &self.levels);
        if node.kind() != FileType::Directory {
            return visitor.leaf(&node);
        }
        if !visitor.enters(&node)? {
            return Ok(());
        }
        let opened = node.open()?;
        let pending = read_names(opened.as_fd()).map_err(node.failed("list"))?;
        self.levels.push(Level { name, stat, pending });
        self.here = opened;
        Ok(())
    }

    fn go_up(&mut self, visitor: &mut impl Visit) -> Result<(), Error> {
        let Some((done, above)) = self.levels.split_last() else { return Ok(()) };
        let node = self.node(&done.name, &done.stat, above);
        visitor.leave(&node, self.here.as_fd())?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let parent = rustix::fs::openat(&self.here, c"..", flags, Mode::empty())
            .map_err(node.failed("open the parent of"))?;
        let stat = rustix::fs::fstat(&parent).map_err(node.failed("look at the parent of"))?;
        if above.last().is_none_or(|level| id(&level.stat) != id(&stat)) {
            return Err(Error::Changed { path: node.path() });
        }
        self.here = parent;
        if let Some(done) = self.levels.pop() {
            visitor.left(&self.node(&done.name, &done.stat, &self.levels))?;
        }
        Ok(())
    }

    fn node<'node>(&'node self, name: &'node CStr, stat: &'node Stat, above: &'node [Level]) -> Node<'node> {
        Node { parent: self.here.as_fd(), name, stat, above, top: self.top }
    }
}

fn path_of(top: &Path, levels: &[Level], name: &CStr) -> PathBuf {
    // The first level is the directory the tree is in, which `top` stands for.
    let above = levels.iter().skip(1).map(|level| level.name.as_c_str());
    let mut path = top.to_owned();
    path.extend(above.chain([name]).map(|name| OsStr::from_bytes(name.to_bytes())));
    path
}

/// What tells one file from all others on this machine.
pub(crate) fn id(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn read_names(directory: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    each_entry(directory, |name, _| names.push(name.to_owned()))?;
    Ok(names)
}

/// Tells of everything in a directory: its name, and the number of its file.
pub(crate) fn each_entry(directory: BorrowedFd<'_>, mut tell: impl FnMut(&CStr, u64)) -> Result<(), Errno> {
    let mut buffer = [const { MaybeUninit::uninit() }; 16 << 10];
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            tell(entry.file_name(), entry.ino());
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the disk")]
mod tests {
    use super::*;
    use crate::delete::remove_tree;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use test_support::Scratch;

    /// Makes directories in one another, deeper than a path or the descriptors of a process reach.
    fn make_deep(top: &Path, depth: usize) {
        fs::create_dir(top).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut here = rustix::fs::open(top, flags, Mode::empty()).unwrap();
        for _ in 0..depth {
            rustix::fs::mkdirat(&here, "directory", Mode::RWXU).unwrap();
            here = rustix::fs::openat(&here, "directory", flags, Mode::empty()).unwrap();
        }
    }

    #[test]
    fn removes_a_tree_of_any_depth() {
        let scratch = Scratch::new();
        let deep = scratch.join("deep");
        make_deep(&deep, 2_000);
        remove_tree(&deep).unwrap();
        assert!(!deep.exists());
        remove_tree(&deep).unwrap();
    }

    #[test]
    fn removes_what_forbids_it_and_follows_nothing() {
        let scratch = Scratch::new();
        let (outside, tree) = (scratch.join("outside"), scratch.join("tree"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("precious"), "x").unwrap();
        symlink(&outside, tree.join("a/b/link")).unwrap();
        fs::write(tree.join("a/b/file"), "x").unwrap();
        for (name, mode) in [("a/b/file", 0), ("a/b", 0o555), ("a", 0)] {
            fs::set_permissions(tree.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && outside.join("precious").exists());
        symlink(&outside, &tree).unwrap();
        remove_tree(&tree).unwrap();
        assert!(outside.join("precious").exists(), "the link is removed, not what it points at");
    }

    #[test]
    fn an_error_names_the_whole_path() {
        struct Refuse;
        impl Visit for Refuse {
            fn leaf(&mut self, node: &Node<'_>) -> Result<(), Error> {
                Err(Error::Kind { path: node.path() })
            }
        }
        let scratch = Scratch::new();
        fs::create_dir_all(scratch.join("tree/a/b")).unwrap();
        fs::write(scratch.join("tree/a/b/file"), "x").unwrap();
        let error = walk(&scratch.join("tree"), &mut Refuse).unwrap_err();
        assert!(matches!(error, Error::Kind { path } if path == scratch.join("tree/a/b/file")));
        let error = walk(&scratch.join("absent"), &mut Refuse).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot look at `{}`", scratch.join("absent").display()));
    }
}
