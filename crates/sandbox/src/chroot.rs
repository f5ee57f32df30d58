//! A root in the host's own mount table, for isolation by `chroot`.
//!
//! Operations are carried out by [`Root`], as in a private mount namespace; what they mount belongs to
//! guards here, and what they cannot do without namespaces is told by [`crate::Plan::lacks`].

#![expect(clippy::disallowed_methods, reason = "no event says that a mount is not busy any more")]

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::error::Step;
use crate::left_over;
use crate::plan::{Access, Op, relative};
use crate::root::Root;
use crate::wire::{Detail, Failure};

/// How often busy mounts are tried again, within ten seconds: all together, as one that is busy keeps those below it.
const RETRIES: u32 = 17;

/// Mounts stay busy for a moment after the end of those who were in them. The time until the next try doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A furnished root. [`Chroot::undo`] takes it apart; so does dropping it, which cannot report.
#[must_use = "dropping a Chroot undoes its mounts at once"]
pub(crate) struct Chroot {
    path: PathBuf,
    /// Says to others, who find its mounts, that it is in use.
    _owner: OwnedFd,
    /// `None` once it is undone.
    root: Option<Root>,
    mounts: Vec<BindMount>,
}

impl Chroot {
    /// Mounts the directory at `path` over itself, to begin with.
    pub(crate) fn new(path: &Path) -> Result<Self, Failure> {
        let owner = left_over::own(path)?;
        // The guard exists before the first step that can fail.
        let mut chroot = Self { path: path.to_owned(), _owner: owner, root: None, mounts: Vec::new() };
        chroot.root = Some(Root::on(path)?);
        Ok(chroot)
    }

    /// Carries out one operation, if it can be had without namespaces.
    pub(crate) fn apply(&mut self, op: &Op) -> Result<(), Failure> {
        let parts = op.parts();
        if !parts.is_empty() {
            return parts.iter().try_for_each(|part| self.apply(part));
        }
        let Some(root) = &mut self.root else { return Ok(()) };
        let slash = Path::new("/");
        let host_proc;
        let op = match op {
            Op::Proc { target } => {
                let (source, target) = ("/proc".into(), target.clone());
                host_proc = Op::Bind { source, target, access: Access::ReadOnly, optional: false };
                &host_proc
            }
            // Limits are set in the child, not in this process.
            Op::Loopback | Op::HostName { .. } | Op::Limit { .. } | Op::Sys { .. } | Op::Connect { .. } => {
                return Ok(());
            }
            op => op,
        };
        match op {
            Op::Bind { target, .. }
            | Op::Tmpfs { target, .. }
            | Op::Memory { target, .. }
            | Op::DevPts { target }
            | Op::Mask { target } => {
                self.mounts.push(BindMount::at(root, target));
            }
            Op::ReadOnly { target } if target != slash => self.mounts.push(BindMount::at(root, target)),
            _ => {}
        }
        root.apply(op)
    }

    /// Has [`Op::Memory`] mount what an earlier one has.
    pub(crate) fn use_memory(&mut self, memory: Vec<OwnedFd>) {
        if let Some(root) = &mut self.root {
            root.use_memory(memory);
        }
    }

    /// Takes what [`Op::Memory`] has mounted.
    pub(crate) fn take_memory(&mut self) -> Vec<OwnedFd> {
        self.root.as_mut().map(Root::take_memory).unwrap_or_default()
    }

    /// Unmounts everything, last first, and removes what was made to mount it on. Everything is tried; what
    /// failed is returned, and `tell` hears of each step.
    pub(crate) fn undo(mut self, tell: &mut dyn FnMut(Detail)) -> Vec<Failure> {
        self.take_apart(tell)
    }

    fn take_apart(&mut self, tell: &mut dyn FnMut(Detail)) -> Vec<Failure> {
        let mut failures = Vec::new();
        if let Some(mut root) = self.root.take() {
            // What was made for mounts could not be removed otherwise.
            failures.extend(root.make_writable().err());
            let mut retries = RETRIES;
            while let Some(mount) = self.mounts.pop() {
                tell(Detail::Step(format!("unmount {}", mount.target.display())));
                failures.extend(mount.undo(&root, &mut retries));
            }
            // Its descriptor keeps the last mount busy.
            drop(root);
            tell(Detail::Step(format!("unmount {}", self.path.display())));
            failures.extend(unmount(&self.path, &self.path, &mut retries).err());
        }
        failures
    }
}

impl Drop for Chroot {
    fn drop(&mut self) {
        self.take_apart(&mut |_| {});
    }
}

/// A mount below a [`Chroot`], made or about to be made.
struct BindMount {
    /// Where, inside.
    target: PathBuf,
    /// What has to be made for it, outermost first; removed in reverse.
    created: Vec<PathBuf>,
}

impl BindMount {
    fn at(root: &Root, target: &Path) -> Self {
        let missing = |path: &&Path| open(root, path).err() == Some(Errno::NOENT);
        let mut created: Vec<PathBuf> =
            relative(target).ancestors().take_while(missing).map(Path::to_owned).collect();
        created.reverse();
        Self { target: target.to_owned(), created }
    }

    fn undo(self, root: &Root, retries: &mut u32) -> Vec<Failure> {
        let mut failures = Vec::new();
        failures.extend(self.unmount(root, retries).err());
        for path in self.created.iter().rev() {
            let failed = |errno| Failure::new(Step::RemoveDir, Path::new("/").join(path), errno);
            failures.extend(remove(root, path).map_err(failed).err());
        }
        failures
    }

    /// By descriptor: the builder may have put a symlink where a directory was.
    fn unmount(&self, root: &Root, retries: &mut u32) -> Result<(), Failure> {
        let failed = |errno| Failure::new(Step::Unmount, &self.target, errno);
        let (parent, name) = match parent_of(root, relative(&self.target)) {
            Err(Errno::NOENT) => return Ok(()),
            other => other.map_err(failed)?,
        };
        let path = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name);
        unmount(&path, &self.target, retries)
    }
}

/// What was made for a mount goes, unless other operations, or the builder, have put something there.
fn remove(root: &Root, path: &Path) -> rustix::io::Result<()> {
    let (parent, name) = match parent_of(root, path) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let removed = match rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTDIR) => rustix::fs::unlinkat(&parent, name, AtFlags::empty()),
        other => other,
    };
    match removed {
        Err(Errno::NOENT | Errno::NOTEMPTY) => Ok(()),
        other => other,
    }
}

fn parent_of<'a>(root: &Root, path: &'a Path) -> rustix::io::Result<(OwnedFd, &'a OsStr)> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok((open(root, parent)?, path.file_name().ok_or(Errno::INVAL)?))
}

fn open(root: &Root, path: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    rustix::fs::openat2(root.directory(), path, flags, Mode::empty(), resolve)
}

/// Unmounts what is at `path`, known to people as `target`. What is no mount is undone already.
fn unmount(path: &Path, target: &Path, retries: &mut u32) -> Result<(), Failure> {
    loop {
        match rustix::mount::unmount(path, UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) if *retries > 0 => {
                let pause = FIRST_PAUSE.saturating_mul(1 << (RETRIES - *retries));
                std::thread::sleep(pause.min(LONGEST_PAUSE));
                *retries -= 1;
            }
            Err(errno) => return Err(Failure::new(Step::Unmount, target, errno)),
        }
    }
}
