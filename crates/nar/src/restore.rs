//! From an archive to a tree on disk.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::symlinkat;

use crate::tokens::{BUFFER_LEN, read_some};
use crate::{Event, Problem, ReadError, Reader};

/// Why an archive did not become a tree. Part of the tree may exist.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The archive is bad, or ends too early.
    #[error("cannot restore `{}`", path.display())]
    Archive {
        /// Where the tree was to be.
        path: PathBuf,
        /// What is wrong with it.
        source: ReadError,
    },
    /// The system refused something.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was to be done with the path.
        action: &'static str,
        /// The path itself.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Makes the tree that the archive in `source` describes, at `path`, where nothing may be yet.
///
/// The archive has to be in the one form that [`crate::dump`] writes. What follows it in `source` is left
/// unread; reading is by single strings, so an expensive `source` should be a [`io::BufReader`]. Nothing is
/// created through a symlink below `path`, nor in place of anything. Modes are what the umask leaves of 0777
/// for directories and executable files, and of 0666 for others. After an error the caller removes what is
/// there.
pub fn restore(source: &mut impl Read, path: &Path) -> Result<(), RestoreError> {
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Failure::Call("create", Errno::EINVAL.into()).at(path, path.to_owned()))?;
    let mut tree = Tree { reader: Reader::new(source), name, open: Vec::new(), buffer: Vec::new() };
    while tree.step().map_err(|failure| failure.at(path, tree.path()))? {}
    Ok(())
}

struct Tree<R> {
    reader: Reader<R>,
    /// The node that comes next, as a name in the innermost open directory, or the path of the root.
    name: CString,
    /// From the root to the innermost directory, each with its name.
    open: Vec<(CString, OwnedFd)>,
    /// Contents on their way; made with the first file.
    buffer: Vec<u8>,
}

/// What went wrong at a node whose path has still to be put together.
enum Failure {
    Archive(ReadError),
    Call(&'static str, io::Error),
}

impl<R: Read> Tree<R> {
    /// Makes what the next event tells of; returns whether there was one.
    fn step(&mut self) -> Result<bool, Failure> {
        let Some(event) = self.reader.next().map_err(Failure::Archive)? else { return Ok(false) };
        match event {
            Event::Entry(name) => self.name = CString::new(name).expect("the reader refuses zeros in names"),
            Event::Directory => self.directory()?,
            Event::End => drop(self.open.pop()),
            Event::Regular { executable, .. } => self.regular(executable)?,
            Event::Symlink(target) => {
                symlinkat(&*OsString::from_vec(target), self.parent(), self.name.as_c_str())
                    .map_err(call("create the symlink"))?;
            }
        }
        Ok(true)
    }

    fn directory(&mut self) -> Result<(), Failure> {
        let (parent, name) = (self.parent(), self.name.as_c_str());
        mkdirat(parent, name, Mode::from_bits_truncate(0o777)).map_err(call("create the directory"))?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let directory = openat(parent, name, flags, Mode::empty()).map_err(call("open"))?;
        self.open.push((self.name.clone(), directory));
        Ok(())
    }

    fn regular(&mut self, executable: bool) -> Result<(), Failure> {
        let mode = Mode::from_bits_truncate(if executable { 0o777 } else { 0o666 });
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(self.parent(), self.name.as_c_str(), flags, mode).map_err(call("create"))?;
        self.contents(File::from(file))
    }

    fn contents(&mut self, mut file: File) -> Result<(), Failure> {
        self.buffer.resize(BUFFER_LEN, 0);
        loop {
            let count = read_some(&mut self.reader.contents(), &mut self.buffer)
                .map_err(|source| Failure::Archive(self.reader.error(Problem::from_io(source))))?;
            if count == 0 {
                return Ok(());
            }
            file.write_all(&self.buffer[..count]).map_err(|source| Failure::Call("write", source))?;
        }
    }

    fn parent(&self) -> BorrowedFd<'_> {
        self.open.last().map_or(AT_FDCWD, |(_, directory)| directory.as_fd())
    }

    /// The path of the latest node: built only for the message.
    fn path(&self) -> PathBuf {
        let parents = self.open.iter().map(|(name, _)| name.as_c_str());
        parents.chain([self.name.as_c_str()]).map(as_os_str).collect()
    }
}

fn as_os_str(name: &CStr) -> &OsStr {
    OsStr::from_bytes(name.to_bytes())
}

fn call(action: &'static str) -> impl Fn(Errno) -> Failure {
    move |errno| Failure::Call(action, errno.into())
}

impl Failure {
    fn at(self, root: &Path, path: PathBuf) -> RestoreError {
        match self {
            Self::Archive(source) => RestoreError::Archive { path: root.to_owned(), source },
            Self::Call(action, source) => RestoreError::File { action, path, source },
        }
    }
}
