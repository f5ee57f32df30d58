//! From a tree on disk to an archive.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};

use crate::{WriteError, Writer};

/// Why a tree has no archive.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
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
    /// The tree contains what no archive can hold.
    #[error("`{}` is a {kind}, which no archive can hold", path.display())]
    Kind {
        /// The path of it.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// Somebody wrote to a file meanwhile.
    #[error("the size of `{}` changed while it was read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The archive could not be handed over.
    #[error("cannot write the archive of `{}`", path.display())]
    Sink {
        /// The root of the tree.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Writes the archive of the tree at `path` to `sink`, and returns its length.
///
/// No symlink is followed, `path` itself included, and nothing is looked up by more than one name, so a tree
/// that changes meanwhile cannot lead anywhere else. Memory is constant but for the names in the directories
/// on the way to a file. A descriptor for each of these directories stays open: that is what limits the depth
/// (about a thousand), while a [`crate::Reader`] takes 64 levels, as Nix does.
pub fn dump(path: &Path, sink: &mut impl Write) -> Result<u64, DumpError> {
    dump_where(path, None, sink)
}

/// Does the same for a part of the tree: what `keeps` says of the path of each entry, which begins with `path`.
///
/// What is below an entry that is not kept is not looked at.
pub fn dump_part(path: &Path, keeps: Keeps<'_>, sink: &mut impl Write) -> Result<u64, DumpError> {
    dump_where(path, Some(keeps), sink)
}

/// Tells whether an entry of a directory belongs into an archive.
pub type Keeps<'a> = &'a dyn Fn(&Path) -> bool;

fn dump_where(path: &Path, keeps: Option<Keeps<'_>>, sink: &mut impl Write) -> Result<u64, DumpError> {
    let mut walk = Walk { root: path, keeps, writer: Writer::new(sink), open: Vec::new() };
    walk.tree()?;
    walk.writer.finish().map_err(|error| Failure::Write(error).at(path, path.to_owned()))
}

struct Walk<'root, W> {
    root: &'root Path,
    keeps: Option<Keeps<'root>>,
    writer: Writer<W>,
    /// From the root to the current directory; a stack of our own, so that no tree exhausts the thread's.
    open: Vec<Directory>,
}

struct Directory {
    stream: Dir,
    name: CString,
    /// The entries not written yet, the next one last.
    left: Vec<Entry>,
}

/// One name in a directory, or the path of the root.
struct Entry {
    name: CString,
    /// What it was when the directory was read, if the file system says so.
    kind: Option<Type>,
}

/// What went wrong at a node whose path has still to be put together.
enum Failure {
    Call(&'static str, Errno),
    Kind(&'static str),
    Write(WriteError),
}

impl<W: Write> Walk<'_, W> {
    fn tree(&mut self) -> Result<(), DumpError> {
        let name = CString::new(self.root.as_os_str().as_bytes())
            .map_err(|_| Failure::Call("look at", Errno::EINVAL).at(self.root, self.root.to_owned()))?;
        let mut next = Some(Entry { name, kind: None });
        while let Some(entry) = next {
            self.node(&entry).map_err(|failure| failure.at(self.root, self.path_of(&entry.name)))?;
            next = self.next().map_err(|failure| failure.at(self.root, self.root.to_owned()))?;
        }
        Ok(())
    }

    /// Begins the next entry, after the end of every directory that has no more.
    fn next(&mut self) -> Result<Option<Entry>, Failure> {
        while let Some(directory) = self.open.last_mut() {
            if let Some(entry) = directory.left.pop() {
                self.writer.entry(entry.name.to_bytes())?;
                return Ok(Some(entry));
            }
            self.open.pop();
            self.writer.end()?;
        }
        Ok(None)
    }

    fn node(&mut self, entry: &Entry) -> Result<(), Failure> {
        let parent = self.open.last().map_or(AT_FDCWD, |directory| directory.stream.as_fd());
        let kind = entry.kind.map_or_else(|| kind_of(parent, &entry.name), Ok)?;
        match kind {
            Type::File => regular(&mut self.writer, parent, &entry.name),
            Type::Symlink => {
                let target = readlinkat(parent, entry.name.as_c_str()).map_err(call("read the symlink"))?;
                Ok(self.writer.symlink(&target.into_vec())?)
            }
            Type::Directory => {
                let directory = Directory::open(parent, &entry.name)?;
                self.open.push(directory);
                self.leave_out();
                Ok(self.writer.directory()?)
            }
            other => Err(Failure::Kind(describe(other))),
        }
    }

    /// Forgets the entries of the directory just opened that do not belong into the archive.
    fn leave_out(&mut self) {
        let Some(keeps) = self.keeps else { return };
        let Some(directory) = self.open.pop() else { return };
        let path = self.path_of(&directory.name);
        let Directory { stream, name, mut left } = directory;
        left.retain(|entry| keeps(&path.join(OsStr::from_bytes(entry.name.to_bytes()))));
        self.open.push(Directory { stream, name, left });
    }

    /// The path of a node: built only for messages, and to ask whether it belongs into the archive.
    fn path_of(&self, name: &CStr) -> PathBuf {
        let parents = self.open.iter().map(|directory| directory.name.as_c_str());
        parents.chain([name]).map(|name| OsStr::from_bytes(name.to_bytes())).collect()
    }
}

fn regular<W: Write>(writer: &mut Writer<W>, parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Failure> {
    // Should the file have become a pipe meanwhile, opening it must not wait for somebody to write.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(parent, name, flags, Mode::empty()).map_err(call("open"))?);
    let status = fstat(&file).map_err(call("look at"))?;
    match kind_of_mode(status.st_mode) {
        Type::File => {}
        other => return Err(Failure::Kind(describe(other))),
    }
    let executable = Mode::from_bits_truncate(status.st_mode).contains(Mode::S_IXUSR);
    let size = u64::try_from(status.st_size).expect("files have no negative size");
    Ok(writer.regular(executable, size, &mut file)?)
}

impl Directory {
    fn open(parent: BorrowedFd<'_>, name: &CStr) -> Result<Self, Failure> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut stream = Dir::openat(parent, name, flags, Mode::empty()).map_err(call("open"))?;
        let mut left = Vec::new();
        for found in stream.iter() {
            let found = found.map_err(call("list"))?;
            if !matches!(found.file_name().to_bytes(), b"." | b"..") {
                left.push(Entry { name: found.file_name().to_owned(), kind: found.file_type() });
            }
        }
        left.sort_unstable_by(|one, other| other.name.cmp(&one.name));
        Ok(Self { stream, name: name.to_owned(), left })
    }
}

fn kind_of(parent: BorrowedFd<'_>, name: &CStr) -> Result<Type, Failure> {
    let status = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(call("look at"))?;
    Ok(kind_of_mode(status.st_mode))
}

fn kind_of_mode(mode: u32) -> Type {
    match SFlag::from_bits_truncate(mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => Type::File,
        SFlag::S_IFDIR => Type::Directory,
        SFlag::S_IFLNK => Type::Symlink,
        SFlag::S_IFIFO => Type::Fifo,
        SFlag::S_IFSOCK => Type::Socket,
        SFlag::S_IFBLK => Type::BlockDevice,
        _ => Type::CharacterDevice,
    }
}

fn describe(kind: Type) -> &'static str {
    match kind {
        Type::File => "file",
        Type::Directory => "directory",
        Type::Symlink => "symlink",
        Type::Fifo => "named pipe",
        Type::Socket => "socket",
        Type::CharacterDevice => "character device",
        Type::BlockDevice => "block device",
    }
}

fn call(action: &'static str) -> impl Fn(Errno) -> Failure {
    move |errno| Failure::Call(action, errno)
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

impl Failure {
    fn at(self, root: &Path, path: PathBuf) -> DumpError {
        match self {
            Self::Call(action, errno) => DumpError::File { action, path, source: errno.into() },
            Self::Kind(kind) => DumpError::Kind { path, kind },
            Self::Write(WriteError::Size { .. }) => DumpError::Changed { path },
            Self::Write(WriteError::Contents { source }) => DumpError::File { action: "read", path, source },
            Self::Write(WriteError::Sink { source }) => DumpError::Sink { path: root.to_owned(), source },
        }
    }
}
