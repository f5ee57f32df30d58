//! Bind mounts in the host's own mount table, for isolation by `chroot`.

#![expect(clippy::disallowed_methods, reason = "makes and removes the places that mounts are attached to")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::error::Step;
use crate::plan::Access;
use crate::wire::Failure;

/// How often a busy mount is tried again, a second apart.
const RETRIES: u32 = 10;

/// A bind mount that lasts as long as this value.
///
/// It makes the directories that its target needs, and takes back exactly those, in reverse order.
/// `Drop` cannot report; call [`BindMount::unmount`] where the answer matters.
#[must_use = "dropping a BindMount unmounts it at once"]
pub(crate) struct BindMount {
    /// `None` once it is unmounted.
    target: Option<PathBuf>,
    /// What was made for `target`, outermost first.
    created: Vec<PathBuf>,
}

impl BindMount {
    /// Shows `source` at `target` too.
    pub(crate) fn new(source: &Path, target: &Path, access: Access) -> Result<Self, Failure> {
        let failed = |step, path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| {
                Failure::new(step, path, Errno::from_io_error(&error).unwrap_or(Errno::IO))
            }
        };
        let kind = fs::symlink_metadata(source).map_err(failed(Step::OpenSource, source))?.file_type();
        // The guard exists before the first step that can fail.
        let mut bound = Self { target: None, created: Vec::new() };
        bound.create(target, kind.is_dir()).map_err(failed(Step::MakeDir, target))?;
        rustix::mount::mount_bind_recursive(source, target)
            .map_err(|errno| Failure::new(Step::Bind, target, errno))?;
        bound.target = Some(target.to_owned());
        restrict(target, access).map_err(|errno| Failure::new(Step::ReadOnly, target, errno))?;
        Ok(bound)
    }

    fn create(&mut self, target: &Path, directory: bool) -> io::Result<()> {
        let mut missing: Vec<&Path> = target
            .ancestors()
            .take_while(
                |path| matches!(fs::symlink_metadata(path), Err(e) if e.kind() == io::ErrorKind::NotFound),
            )
            .collect();
        missing.reverse();
        for path in missing {
            if path == target && !directory {
                fs::File::create_new(path)?;
            } else {
                fs::create_dir(path)?;
            }
            self.created.push(path.to_owned());
        }
        Ok(())
    }

    /// Undoes the mount and what was made for it. Everything is tried; all that failed is told.
    pub(crate) fn unmount(mut self) -> Vec<Failure> {
        self.undo()
    }

    fn undo(&mut self) -> Vec<Failure> {
        let mut failures = Vec::new();
        if let Some(target) = self.target.take()
            && let Err(errno) = unmount_patiently(&target)
        {
            failures.push(Failure::new(Step::Unmount, &target, errno));
        }
        while let Some(path) = self.created.pop() {
            let removed = fs::remove_dir(&path).or_else(|error| match error.kind() {
                io::ErrorKind::NotADirectory => fs::remove_file(&path),
                _ => Err(error),
            });
            if let Err(error) = removed {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                failures.push(Failure::new(Step::RemoveDir, path, errno));
            }
        }
        failures
    }
}

impl Drop for BindMount {
    fn drop(&mut self) {
        self.undo();
    }
}

fn restrict(target: &Path, access: Access) -> rustix::io::Result<()> {
    let flags = match access {
        Access::ReadOnly => MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV,
        Access::ReadWrite => MountFlags::NOSUID | MountFlags::NODEV,
        Access::Device => MountFlags::NOSUID | MountFlags::NOEXEC,
    };
    // What is bound must not carry what is mounted below `target` back to its source.
    rustix::mount::mount_change(
        target,
        rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
    )?;
    // The kernel ignores all flags but MS_REC on the bind itself.
    rustix::mount::mount_remount(target, MountFlags::BIND | flags, c"")
}

fn unmount_patiently(target: &Path) -> rustix::io::Result<()> {
    for _ in 0..RETRIES {
        match rustix::mount::unmount(target, UnmountFlags::NOFOLLOW) {
            Err(Errno::BUSY) => std::thread::sleep(Duration::from_secs(1)),
            other => return other,
        }
    }
    rustix::mount::unmount(target, UnmountFlags::NOFOLLOW)
}
