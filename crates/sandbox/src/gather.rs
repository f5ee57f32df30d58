//! The process that keeps what many builds show mounted together, ready to be shown to the next one.
//!
//! A mount for each path of a large closure costs more than everything else of a sandbox. Most builds of one call share
//! most of theirs. So the mounts of [`crate::Op::Gather`] are made once in a mount namespace that nobody else is in, kept
//! from build to build, and each build gets a copy of them all in one call. It has to be a process of its own: what is
//! mounted in the launcher's namespace would be copied for every build, wanted or not.
//!
//! Should it be killed, the launcher starts another one; should it refuse, the build makes its mounts itself.

#![expect(clippy::disallowed_methods, reason = "lists directories that builds share")]

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, MemfdFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{self, MoveMountFlags, OpenTreeFlags, UnmountFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::packet::{receive_packet, send};
use crate::plan::{Access, Op};
use crate::root::{self, attributes};
use crate::sys::{self, Cloned};
use crate::wire::{self, byte_path};

/// The launcher's end of it.
pub(crate) struct Gatherer {
    socket: OwnedFd,
    pub(crate) pid: i32,
    /// What is mounted in each base, in order.
    mounted: HashMap<PathBuf, Vec<String>>,
}

/// What is to change in a base before it is copied.
#[derive(Serialize, Deserialize)]
struct Change {
    #[serde(with = "byte_path")]
    base: PathBuf,
    #[serde(with = "byte_path")]
    from: PathBuf,
    /// Whether it is not known what is in the base, which is then emptied.
    is_new: bool,
    removed: Vec<String>,
    added: Vec<String>,
}

impl Gatherer {
    pub(crate) fn start() -> io::Result<Self> {
        let kind = SocketType::SEQPACKET;
        let (socket, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        match sys::clone3(libc::CLONE_NEWNS)? {
            Cloned::Parent { pid, .. } => Ok(Self { socket, pid, mounted: HashMap::new() }),
            Cloned::Child => {
                let _ = leave_the_rest(theirs).and_then(|socket| serve(&socket));
                sys::exit_now(0)
            }
        }
    }

    /// Returns a copy of what `op`, which is an [`Op::Gather`], shows: mounts that are attached nowhere.
    pub(crate) fn gather(&mut self, op: &Op) -> rustix::io::Result<OwnedFd> {
        let Op::Gather { base, from, names, .. } = op else { return Err(Errno::INVAL) };
        let known = self.mounted.remove(base);
        let (removed, added) = match &known {
            Some(known) => (missing(known, names), missing(names, known)),
            None => (Vec::new(), names.clone()),
        };
        let (base, from) = (base.clone(), from.clone());
        let change = Change { base: base.clone(), from, is_new: known.is_none(), removed, added };
        let tree = self.ask(&change)?;
        self.mounted.insert(base, names.clone());
        Ok(tree)
    }

    fn ask(&self, change: &Change) -> rustix::io::Result<OwnedFd> {
        let file = rustix::fs::memfd_create(c"change", MemfdFlags::CLOEXEC)?;
        let written = File::from(file.try_clone().map_err(errno)?).write_all(&wire::encode(change));
        written.map_err(errno)?;
        send(self.socket.as_fd(), b"=", &[file.as_fd()])?;
        let mut answer = [0; size_of::<i32>()];
        match receive_packet(self.socket.as_fd(), &mut answer)? {
            (0, _) => Err(Errno::PIPE),
            (_, fds) => {
                let refusal = || Errno::from_raw_os_error(i32::from_ne_bytes(answer));
                fds.into_iter().next().ok_or_else(refusal)
            }
        }
    }

    /// Reaps it when it is gone.
    pub(crate) fn reap(self) {
        drop(self.socket);
        let _ = sys::wait4(self.pid);
    }
}

/// Those of `wanted` that are not in `others`; both are in order.
fn missing(wanted: &[String], others: &[String]) -> Vec<String> {
    if wanted == others {
        return Vec::new();
    }
    wanted.iter().filter(|name| others.binary_search(name).is_err()).cloned().collect()
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// Keeps nothing of the launcher but the socket, and ends with it.
fn leave_the_rest(socket: OwnedFd) -> rustix::io::Result<OwnedFd> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let _ = rustix::process::setsid();
    for stream in [rustix::stdio::dup2_stdin, rustix::stdio::dup2_stdout, rustix::stdio::dup2_stderr] {
        stream(&socket)?;
    }
    // It is closed below, with all others.
    std::mem::forget(socket);
    sys::close_from(3)?;
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::process::umask(Mode::empty());
    // What the host mounts later is seen, and nothing done here is.
    let slave = mount::MountPropagationFlags::DOWNSTREAM | mount::MountPropagationFlags::REC;
    mount::mount_change(c"/", slave)?;
    Ok(socket)
}

fn serve(socket: &OwnedFd) -> rustix::io::Result<()> {
    let mut bases = HashMap::new();
    loop {
        let (length, fds) = receive_packet(socket.as_fd(), &mut [0])?;
        let (1.., Some(file)) = (length, fds.into_iter().next()) else { return Ok(()) };
        let answer = read(file).and_then(|change| {
            let tree = carry_out(&mut bases, &change);
            // Half of a change is no state that anybody knows.
            tree.inspect_err(|_| drop(bases.remove(&change.base)))
        });
        match answer {
            Ok(tree) => send(socket.as_fd(), &0_i32.to_ne_bytes(), &[tree.as_fd()])?,
            Err(errno) => send(socket.as_fd(), &errno.raw_os_error().to_ne_bytes(), &[])?,
        }
    }
}

fn read(file: OwnedFd) -> rustix::io::Result<Change> {
    let mut bytes = Vec::new();
    let mut file = File::from(file);
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes).map_err(errno)?;
    wire::decode(&bytes).map_err(errno)
}

/// A base, mounted over itself, with what is mounted in it.
struct Base(OwnedFd);

impl Drop for Base {
    fn drop(&mut self) {
        let path = Path::new("/proc/self/fd").join(self.0.as_raw_fd().to_string());
        let _ = mount::unmount(&path, UnmountFlags::DETACH);
    }
}

fn carry_out(bases: &mut HashMap<PathBuf, Base>, change: &Change) -> rustix::io::Result<OwnedFd> {
    if change.is_new {
        drop(bases.remove(&change.base));
        bases.insert(change.base.clone(), open(&change.base, &change.added)?);
    }
    let base = &bases.get(&change.base).ok_or(Errno::NOENT)?.0;
    change.removed.iter().try_for_each(|name| take_out(base.as_fd(), name))?;
    let from =
        rustix::fs::open(&change.from, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    change.added.iter().try_for_each(|name| put_in(base.as_fd(), from.as_fd(), name))?;
    clone(base.as_fd(), OsStr::new(""), OpenTreeFlags::AT_EMPTY_PATH)
}

/// Removes from a base what is not wanted in it: mount points that other builds had.
pub(crate) fn clear(path: &Path, wanted: &[String]) -> rustix::io::Result<()> {
    let wanted: BTreeSet<&[u8]> = wanted.iter().map(String::as_bytes).collect();
    for entry in fs::read_dir(path).map_err(errno)?.flatten() {
        if !wanted.contains(entry.file_name().as_bytes()) {
            // Anything that is not empty is not ours to remove.
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let flags = if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            rustix::fs::unlinkat(CWD, entry.path(), flags)?;
        }
    }
    Ok(())
}

/// Mounts a directory over itself, where nothing spreads, without what is not wanted in it.
fn open(path: &Path, wanted: &[String]) -> rustix::io::Result<Base> {
    clear(path, wanted)?;
    let tree = clone(CWD, path.as_os_str(), OpenTreeFlags::AT_SYMLINK_NOFOLLOW)?;
    sys::restrict_mount(&tree, attributes(Access::ReadWrite))?;
    mount::move_mount(&tree, c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(Base(tree))
}

fn clone(at: BorrowedFd<'_>, path: &OsStr, flags: OpenTreeFlags) -> rustix::io::Result<OwnedFd> {
    let usual =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    mount::open_tree(at, path, usual | flags)
}

fn put_in(base: BorrowedFd<'_>, from: BorrowedFd<'_>, name: &str) -> rustix::io::Result<()> {
    let tree = clone(from, OsStr::new(name), OpenTreeFlags::AT_SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&tree)?.st_mode);
    match kind {
        // What points somewhere is copied, not mounted; a builder could then change it for the next one.
        FileType::Symlink => return Err(Errno::LOOP),
        FileType::Directory => root::exists(rustix::fs::mkdirat(base, name, Mode::from_raw_mode(0o755)))?,
        _ => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mode = Mode::from_raw_mode(0o444);
            root::exists(rustix::fs::openat(base, name, flags, mode).map(drop))?;
        }
    }
    sys::restrict_mount(&tree, attributes(Access::ReadOnly))?;
    mount::move_mount(&tree, c"", base, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

fn take_out(base: BorrowedFd<'_>, name: &str) -> rustix::io::Result<()> {
    let path = Path::new("/proc/self/fd").join(base.as_raw_fd().to_string()).join(name);
    mount::unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
    match rustix::fs::unlinkat(base, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTDIR) => rustix::fs::unlinkat(base, name, AtFlags::empty()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_changed() {
        let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(missing(&names("a b c"), &names("a b c")), [""; 0]);
        assert_eq!(missing(&names("a b c"), &names("b d")), ["a", "c"]);
    }
}
