//! Gives what a builder may write to a subordinate id, and takes it back when every process of the build is gone.
//!
//! `store` can do neither: outside, files of another id are none of its business. Inside the launcher's user namespace
//! the caller is root among all these ids.
//!
//! The trees are a builder's own work. No symlink is followed, no mount is crossed, and every step is relative to an
//! open directory; one is open at a time, however deep they go, and the way up is only taken where it leads back.
//! Directories come after what is in them, so that what was half done is found and done again.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, RawDir, ResolveFlags, Stat, Uid};
use rustix::io::Errno;

use crate::error::Step;
use crate::plan::{Access, Op, Plan};
use crate::sys::{self, Cloned};
use crate::wire::Failure;

/// The caller, in the user namespace of its launcher.
pub(crate) const CALLER: (u32, u32) = (0, 0);

/// The modes of a directory in which everybody may make files, and only remove their own.
const SHARED: u32 = 0o1002;

/// A process that takes back what one build was given.
pub(crate) struct Taker {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
}

impl Taker {
    /// So that the launcher can see to other builds meanwhile. `None` if there can be no further process.
    pub(crate) fn start(plan: &Plan) -> Option<Self> {
        match sys::clone3(0).ok()? {
            Cloned::Parent { pid, pidfd } => Some(Self { pid, pidfd }),
            Cloned::Child => {
                // Of the launcher's descriptors it needs none, and others wait for their end; nothing drops them now.
                let _ = sys::close_from(3);
                sys::exit_now(i32::from(hand_over(plan, CALLER).is_err()))
            }
        }
    }
}

/// Gives all that `plan` lets its builder write to that user and group.
pub(crate) fn hand_over(plan: &Plan, owner: (u32, u32)) -> Result<(), Failure> {
    let each = plan.ops.iter().filter_map(|op| match op {
        Op::Bind { source, access: Access::ReadWrite, .. } => Some((source, &[][..])),
        Op::Memory { source, .. } => Some((source, &[][..])),
        // What other builds show too is mounted in it, where nobody but the launcher writes.
        Op::Gather { base, names, .. } => Some((base, names.as_slice())),
        _ => None,
    });
    // One that is refused keeps no other from being taken back.
    each.map(|(tree, except)| at(tree, owner, except)).fold(Ok(()), Result::and)
}

fn at(tree: &Path, owner: (u32, u32), except: &[String]) -> Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, tree, flags, Mode::empty());
    directory
        .and_then(|directory| give(directory.as_fd(), owner, except))
        .map_err(|errno| Failure::new(Step::GiveAway, tree, errno))
}

/// Gives the directory `top` and what is in it to a user and a group, save what has a name in `except`, in order.
///
/// # Errors
/// The first thing that was refused; all others are given nevertheless.
pub(crate) fn give(top: BorrowedFd<'_>, owner: (u32, u32), except: &[String]) -> rustix::io::Result<()> {
    let here = open(top, c".")?;
    let mut names = read_names(here.as_fd())?;
    let is_except = |name: &CString| {
        name.to_str().is_ok_and(|name| except.binary_search_by(|one| one.as_str().cmp(name)).is_ok())
    };
    names.retain(|name| !is_except(name));
    let stat = rustix::fs::fstat(&here)?;
    // Where everybody may write, as in `/tmp`, nobody need own it.
    let stays = owner != CALLER && stat.st_mode & SHARED == SHARED;
    let level = Level { id: id(&stat), pending: names, stays };
    let owner = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
    Walk { levels: vec![level], here, owner, refused: None }.run()
}

/// A directory between the top and where the walk is.
struct Level {
    id: (u64, u64),
    pending: Vec<CString>,
    /// Whether its owner stays.
    stays: bool,
}

struct Walk {
    levels: Vec<Level>,
    here: OwnedFd,
    owner: (Uid, Gid),
    refused: Option<Errno>,
}

impl Walk {
    fn run(mut self) -> rustix::io::Result<()> {
        while let Some(level) = self.levels.last_mut() {
            let Some(name) = level.pending.pop() else {
                if !level.stays {
                    let given = rustix::fs::fchown(&self.here, Some(self.owner.0), Some(self.owner.1));
                    self.note(given);
                }
                self.levels.pop();
                self.go_up()?;
                continue;
            };
            let arrived = self.arrive(&name);
            self.note(arrived);
        }
        self.refused.map_or(Ok(()), Err)
    }

    fn note(&mut self, done: rustix::io::Result<()>) {
        match done {
            // Somebody removes the same tree.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => self.refused = self.refused.or(Some(errno)),
        }
    }

    fn arrive(&mut self, name: &CStr) -> rustix::io::Result<()> {
        let stat = rustix::fs::statat(&self.here, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            let is_done = (stat.st_uid, stat.st_gid) == (self.owner.0.as_raw(), self.owner.1.as_raw());
            let (user, group) = (Some(self.owner.0), Some(self.owner.1));
            let give = || rustix::fs::chownat(&self.here, name, user, group, AtFlags::SYMLINK_NOFOLLOW);
            return if is_done { Ok(()) } else { give() };
        }
        let opened = match open(self.here.as_fd(), name) {
            // What is mounted in a tree is no part of it.
            Err(Errno::XDEV) => return Ok(()),
            opened => opened?,
        };
        let now = rustix::fs::fstat(&opened)?;
        if id(&now) == id(&stat) {
            let pending = read_names(opened.as_fd())?;
            self.levels.push(Level { id: id(&now), pending, stays: false });
            self.here = opened;
        }
        Ok(())
    }

    fn go_up(&mut self) -> rustix::io::Result<()> {
        let Some(above) = self.levels.last() else { return Ok(()) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let parent = rustix::fs::openat(&self.here, c"..", flags, Mode::empty())?;
        if id(&rustix::fs::fstat(&parent)?) != above.id {
            return Err(Errno::STALE);
        }
        self.here = parent;
        Ok(())
    }
}

fn id(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn open(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat2(parent, name, flags, Mode::empty(), ResolveFlags::NO_XDEV) {
        // Where a container forbids it, nothing of ours is mounted there either.
        Err(Errno::NOSYS) => rustix::fs::openat(parent, name, flags, Mode::empty()),
        opened => opened,
    }
}

fn read_names(directory: BorrowedFd<'_>) -> rustix::io::Result<Vec<CString>> {
    let mut buffer = [const { MaybeUninit::uninit() }; 16 << 10];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}
