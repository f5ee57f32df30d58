//! Looking at the files of a store path, and at nothing else.
//!
//! Every step is relative to an open directory. A symlink on the way is followed as long as it stays in its store path,
//! by that path's logical name too; one that leads out is an error, as the kernel would follow it to a file of the host, or
//! in a relocated store to another store.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use store_path::StorePath;

use crate::error::Error;
use crate::store::LocalStore;
use crate::tree::{each_entry, id};

/// Links that lead to links stop here, as in the kernel.
const MAX_LINKS: usize = 40;

/// Something among the files of a store path; the path itself, too.
#[derive(Clone, Debug)]
pub struct Found {
    /// The open directory it is in.
    parent: Arc<OwnedFd>,
    /// Its name there.
    name: CString,
    stat: Stat,
    /// Where it is, for messages only.
    path: PathBuf,
}

/// What something in a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A regular file.
    Regular {
        /// Whether its owner may run it.
        executable: bool,
        /// How many bytes it has.
        size: u64,
    },
    /// A symlink.
    Symlink {
        /// What it says.
        target: OsString,
    },
}

impl LocalStore {
    /// Finds the files of `path`, which may be a single one, or what is `below` that.
    ///
    /// A symlink at the end is what is found, unless `follow` is set.
    pub fn look_into(&self, path: &StorePath, below: &Path, follow: bool) -> Result<Found, Error> {
        let top = self.look_at(path)?;
        let mut way =
            Way { store: self, path, top: top.clone(), here: vec![top], left: names(below), links: 0 };
        way.go(follow)
    }

    fn look_at(&self, path: &StorePath) -> Result<Found, Error> {
        let place = self.place_of(path);
        let real = place.parent().unwrap_or(&self.location().real_store).to_owned();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::open(&real, flags, Mode::empty()).map_err(Error::file("open", &real))?;
        Found::look(&Arc::new(parent), OsStr::new(&path.to_string()), &real)
    }
}

/// A way through the directories of a store path.
struct Way<'a> {
    store: &'a LocalStore,
    path: &'a StorePath,
    top: Found,
    /// From the top to where the way is.
    here: Vec<Found>,
    /// What is still to be gone, from there.
    left: VecDeque<OsString>,
    links: usize,
}

impl Way<'_> {
    fn go(&mut self, follow: bool) -> Result<Found, Error> {
        loop {
            let Some(last) = self.here.last().cloned() else { return Err(self.leads_out()) };
            if let FileKind::Symlink { target } = last.kind()?
                && (follow || !self.left.is_empty())
            {
                self.turn(&last, target)?;
                continue;
            }
            let Some(name) = self.left.pop_front() else { return Ok(last) };
            if name == ".." {
                self.here.pop();
                continue;
            }
            if last.kind()? != FileKind::Directory {
                let sought: PathBuf = [&last.path, Path::new(&name)]
                    .into_iter()
                    .chain(self.left.iter().map(Path::new))
                    .collect();
                return Err(Error::file("look at", &sought)(Errno::NOTDIR));
            }
            let directory = Arc::new(last.open_as(OFlags::PATH | OFlags::DIRECTORY)?);
            self.here.push(Found::look(&directory, &name, &last.path)?);
        }
    }

    /// Goes on where a symlink leads.
    fn turn(&mut self, link: &Found, target: OsString) -> Result<(), Error> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Error::file("follow", &link.path)(Errno::LOOP));
        }
        self.here.pop();
        let target = PathBuf::from(target);
        let mut names = names(&target);
        if target.is_absolute() {
            let leads_out = || Error::LeadsOut { path: link.path.clone(), target: target.clone() };
            let own = Path::new(self.store.store_dir().as_str()).join(self.path.to_string());
            let below = target.strip_prefix(own).or_else(|_| target.strip_prefix(&self.top.path));
            names = self::names(below.map_err(|_| leads_out())?);
            self.here = vec![self.top.clone()];
        } else if self.here.is_empty() {
            return Err(Error::LeadsOut { path: link.path.clone(), target });
        }
        names.append(&mut self.left);
        self.left = names;
        Ok(())
    }

    fn leads_out(&self) -> Error {
        Error::LeadsOut { path: self.top.path.clone(), target: self.left.iter().collect() }
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

impl Found {
    fn look(parent: &Arc<OwnedFd>, name: &OsStr, directory: &Path) -> Result<Self, Error> {
        let path = directory.join(name);
        let name = CString::new(name.as_bytes()).map_err(|_| Error::file("look at", &path)(Errno::INVAL))?;
        let stat = rustix::fs::statat(parent, &name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Error::file("look at", &path))?;
        Ok(Self { parent: Arc::clone(parent), name, stat, path })
    }

    /// Returns its name in its directory.
    pub fn name(&self) -> &OsStr {
        OsStr::from_bytes(self.name.to_bytes())
    }

    /// Where it is, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what it is, and what it says if it is a symlink.
    pub fn kind(&self) -> Result<FileKind, Error> {
        match FileType::from_raw_mode(self.stat.st_mode) {
            FileType::Directory => Ok(FileKind::Directory),
            FileType::RegularFile => Ok(FileKind::Regular {
                executable: Mode::from_raw_mode(self.stat.st_mode).contains(Mode::XUSR),
                size: self.stat.st_size.unsigned_abs(),
            }),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&self.parent, &self.name, Vec::new())
                    .map_err(Error::file("read the symlink", &self.path))?;
                Ok(FileKind::Symlink { target: OsString::from_vec(target.into_bytes()) })
            }
            _ => Err(Error::Kind { path: self.path.clone() }),
        }
    }

    /// Opens a regular file to read.
    pub fn open(&self) -> Result<File, Error> {
        match self.kind()? {
            FileKind::Regular { .. } => Ok(self.open_as(OFlags::RDONLY)?.into()),
            FileKind::Directory => Err(Error::file("read", &self.path)(Errno::ISDIR)),
            FileKind::Symlink { .. } => Err(Error::file("read", &self.path)(Errno::LOOP)),
        }
    }

    /// Returns what is in a directory, in the order of names.
    pub fn entries(&self) -> Result<Vec<Self>, Error> {
        let directory = Arc::new(self.open_as(OFlags::RDONLY | OFlags::DIRECTORY)?);
        let mut names = Vec::new();
        let note = |name: &CStr, _| names.push(OsStr::from_bytes(name.to_bytes()).to_owned());
        each_entry(directory.as_fd(), note).map_err(Error::file("list", &self.path))?;
        names.sort_unstable();
        names.iter().map(|name| Self::look(&directory, name, &self.path)).collect()
    }

    /// Opens it, and makes sure that it still is what it was.
    fn open_as(&self, flags: OFlags) -> Result<OwnedFd, Error> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.parent, &self.name, flags, Mode::empty())
            .map_err(Error::file("open", &self.path))?;
        let now = rustix::fs::fstat(&opened).map_err(Error::file("look at", &self.path))?;
        if id(&now) == id(&self.stat) { Ok(opened) } else { Err(Error::Changed { path: self.path.clone() }) }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the disk")]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::store::tests::{scratch_store, some_path};

    #[test]
    fn follows_what_stays_inside() {
        let (scratch, store) = scratch_store();
        let path = some_path("tree");
        let real = store.real_path(&path);
        fs::create_dir_all(real.join("a/b")).unwrap();
        fs::write(real.join("a/b/file"), "inside").unwrap();
        fs::write(scratch.join("outside"), "outside").unwrap();
        symlink("../a/b", real.join("a/up")).unwrap();
        symlink(format!("/nix/store/{path}/a"), real.join("logical")).unwrap();
        symlink(real.join("a"), real.join("real")).unwrap();
        symlink(scratch.join("outside"), real.join("out")).unwrap();
        symlink("../../../../outside", real.join("above")).unwrap();
        symlink("loop", real.join("loop")).unwrap();
        let read = |below: &str| -> Result<String, Error> {
            let mut text = String::new();
            store.look_into(&path, Path::new(below), true)?.open()?.read_to_string(&mut text).unwrap();
            Ok(text)
        };
        for below in ["a/b/file", "a/up/file", "logical/b/file", "real/up/./file", "a/b/../b/file"] {
            assert_eq!(read(below).unwrap(), "inside", "{below}");
        }
        for below in ["out", "above", "../x", "a/../../x"] {
            let error = read(below).unwrap_err();
            assert!(matches!(error, Error::LeadsOut { .. }), "{below}: {error}");
        }
        for below in ["loop", "absent", "a", "a/b/file/x"] {
            assert!(matches!(read(below).unwrap_err(), Error::File { .. }), "{below}");
        }
        let link = store.look_into(&path, Path::new("out"), false).unwrap();
        assert!(matches!(link.kind().unwrap(), FileKind::Symlink { .. }));
        let top = store.look_into(&path, Path::new(""), false).unwrap();
        let names: Vec<_> = top.entries().unwrap().iter().map(|entry| entry.name().to_owned()).collect();
        assert_eq!(names, ["a", "above", "logical", "loop", "out", "real"]);
    }

    #[test]
    fn a_path_that_is_a_symlink_is_one() {
        let (_scratch, store) = scratch_store();
        let path = some_path("link");
        symlink("/etc/passwd", store.real_path(&path)).unwrap();
        let found = store.look_into(&path, Path::new(""), false).unwrap();
        assert_eq!(found.kind().unwrap(), FileKind::Symlink { target: "/etc/passwd".into() });
        for (below, follow) in [("", true), ("x", false)] {
            let error = store.look_into(&path, Path::new(below), follow).unwrap_err();
            assert!(matches!(error, Error::LeadsOut { .. }), "{error}");
        }
    }
}
