//! A tree below one directory, made of what a stranger says, and nothing outside it.
//!
//! Each path is walked from the root by descriptor, one name after another and through no symlink; so it does not matter
//! what an archive has put there before. `..` is refused, and an absolute path is one below the root.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::archive::Node;
use crate::error::FileError;
use crate::error::file;

/// Why an entry was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExtractError {
    #[error("its entry `{}` leads out of the archive", path.display())]
    Outside { path: PathBuf },
    #[error("its entry `{}` leads through something that is no directory", path.display())]
    Through { path: PathBuf },
    #[error("its entry `{}` takes the place of a directory", path.display())]
    OverDirectory { path: PathBuf },
    #[error("cannot read the contents of its entry `{}`", path.display())]
    Contents { path: PathBuf, source: io::Error },
    #[error(transparent)]
    File(#[from] FileError),
}

/// Where entries go.
pub(crate) struct Tree {
    root: OwnedFd,
}

/// A directory that is open, and a name in it.
struct Place {
    parent: OwnedFd,
    name: CString,
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Tree {
    pub(crate) fn open(root: &Path) -> Result<Self, FileError> {
        let opened = rustix::fs::openat(CWD, root, DIRECTORY, Mode::empty());
        Ok(Self { root: opened.map_err(file("open the directory", root))? })
    }

    /// Makes one entry; a later one takes the place of an earlier one, save of a directory.
    pub(crate) fn make(&self, path: &[u8], node: Node<'_>) -> Result<(), ExtractError> {
        let shown = Path::new(OsStr::from_bytes(path));
        // The root itself, as in `tar -c .`.
        let Some(place) = self.place(path)? else { return Ok(()) };
        match node {
            Node::Directory => place.directory(shown),
            Node::File { is_executable, contents } => place.file(shown, is_executable, contents),
            Node::Symlink { to } => {
                place.make_room(shown)?;
                rustix::fs::symlinkat(c_string(&to, shown)?, &place.parent, &place.name)
                    .map_err(|errno| file("make the symlink", shown)(errno).into())
            }
            Node::HardLink { to } => {
                let target = Path::new(OsStr::from_bytes(&to));
                let outside = || ExtractError::Outside { path: target.to_owned() };
                let other = self.place(&to)?.ok_or_else(outside)?;
                place.make_room(shown)?;
                rustix::fs::linkat(&other.parent, &other.name, &place.parent, &place.name, AtFlags::empty())
                    .map_err(|errno| file("make the link", shown)(errno).into())
            }
        }
    }

    /// Walks to the directory that a path is in, and makes what of it is not there; `None` for the root.
    fn place(&self, path: &[u8]) -> Result<Option<Place>, ExtractError> {
        let shown = || Path::new(OsStr::from_bytes(path)).to_owned();
        let mut names = path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
        let Some(mut name) = names.next() else { return Ok(None) };
        let open = |errno| ExtractError::from(file("open", &shown())(errno));
        let mut parent = self.root.try_clone().map_err(file("open", &shown()))?;
        loop {
            if name == b".." {
                return Err(ExtractError::Outside { path: shown() });
            }
            let here = c_string(name, &shown())?;
            let Some(next) = names.next() else { return Ok(Some(Place { parent, name: here })) };
            parent = match enter(&parent, &here) {
                Err(Errno::NOTDIR | Errno::LOOP) => return Err(ExtractError::Through { path: shown() }),
                entered => entered.map_err(open)?,
            };
            name = next;
        }
    }
}

fn enter(parent: &OwnedFd, name: &CString) -> rustix::io::Result<OwnedFd> {
    match rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => {
            rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
            rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())
        }
        opened => opened,
    }
}

impl Place {
    fn directory(&self, shown: &Path) -> Result<(), ExtractError> {
        match enter(&self.parent, &self.name) {
            Ok(_) => Ok(()),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(ExtractError::Through { path: shown.to_owned() }),
            Err(errno) => Err(file("make the directory", shown)(errno).into()),
        }
    }

    fn file(&self, shown: &Path, is_executable: bool, contents: &mut dyn Read) -> Result<(), ExtractError> {
        self.make_room(shown)?;
        let mode = Mode::from_raw_mode(if is_executable { 0o755 } else { 0o644 });
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.parent, &self.name, flags, mode);
        let mut opened = File::from(opened.map_err(file("make", shown))?);
        copy(contents, &mut opened).map_err(|problem| match problem {
            Copy::Read(source) => ExtractError::Contents { path: shown.to_owned(), source },
            Copy::Write(source) => file("write", shown)(source).into(),
        })
    }

    fn make_room(&self, shown: &Path) -> Result<(), ExtractError> {
        match rustix::fs::unlinkat(&self.parent, &self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => Err(ExtractError::OverDirectory { path: shown.to_owned() }),
            Err(errno) => Err(file("remove", shown)(errno).into()),
        }
    }
}

/// Which side of a copy failed.
enum Copy {
    Read(io::Error),
    Write(io::Error),
}

fn copy(from: &mut dyn Read, to: &mut File) -> Result<(), Copy> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => io::Write::write_all(to, &buffer[..length]).map_err(Copy::Write)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Copy::Read(error)),
        }
    }
}

fn c_string(bytes: &[u8], shown: &Path) -> Result<CString, ExtractError> {
    CString::new(bytes).map_err(|_| file("make", shown)(Errno::INVAL).into())
}
