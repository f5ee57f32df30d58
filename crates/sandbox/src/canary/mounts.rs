//! What is mounted in a sandbox, and that it stays so.

#![expect(clippy::disallowed_methods, reason = "looks around inside a sandbox")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{self, MountAttrFlags, MountFlags, OpenTreeFlags, UnmountFlags};

use super::Promise;
use super::inside::enter_user_namespace;
use crate::plan::{Access, Op};
use crate::sys;

/// What the kernel calls the file system of processes.
const PROC: rustix::fs::FsWord = 0x9fa0;

pub(super) fn is_proc(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == PROC)
}

fn is_read_only(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Only `/proc` tells what is mounted.
pub(super) fn are_listed(promise: &Promise) -> bool {
    if !promise.has_proc() {
        return true;
    }
    let Ok(table) = fs::read("/proc/self/mountinfo") else { return false };
    let targets: Vec<&Path> = promise.plan.ops.iter().filter_map(target).collect();
    let slash = Path::new("/");
    let is_listed = |place: &Path| {
        place == slash || targets.iter().any(|target| *target != slash && place.starts_with(target))
    };
    let mut places =
        table.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    places.all(|place| is_listed(&unescaped(place)))
}

/// Where an operation mounts something.
fn target(op: &Op) -> Option<&Path> {
    match op {
        Op::Bind { target, .. }
        | Op::Gather { target, .. }
        | Op::Tmpfs { target, .. }
        | Op::Memory { target, .. }
        | Op::Proc { target }
        | Op::DevPts { target }
        | Op::Sys { target }
        | Op::ReadOnly { target }
        | Op::Mask { target } => Some(target),
        _ => None,
    }
}

/// A name of mountinfo, in which spaces and the like are written in octal.
fn unescaped(name: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let [first, tail @ ..] = rest {
        let code = tail.get(..3).filter(|_| *first == b'\\');
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Every one of them is in a read-only mount, and one that permissions would let write to is refused for that.
pub(super) fn inputs_are_read_only(promise: &Promise) -> bool {
    let parts = |op: &Op| if let Op::Gather { .. } = op { op.parts() } else { vec![op.clone()] };
    let mut shown = promise.plan.ops.iter().flat_map(parts).filter_map(|op| match op {
        Op::Bind { target, access: Access::ReadOnly, .. } => Some(target),
        _ => None,
    });
    let is_symlink = |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    shown.all(|path| is_symlink(&path) || is_read_only(&path)) && input_is_read_only(promise)
}

fn input_is_read_only(promise: &Promise) -> bool {
    let input = &promise.input;
    let written = rustix::fs::open(input, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    let removed = rustix::fs::unlink(input);
    written.err() == Some(Errno::ROFS) && removed.err() == Some(Errno::ROFS)
}

fn promises_read_only(promise: &Promise, path: &str) -> bool {
    promise.plan.ops.iter().any(|op| matches!(op, Op::ReadOnly { target } if target == Path::new(path)))
}

pub(super) fn root_is_read_only(promise: &Promise) -> bool {
    !promises_read_only(promise, "/") || is_read_only(Path::new("/"))
}

pub(super) fn settings_are_read_only(promise: &Promise) -> bool {
    !promises_read_only(promise, "/proc/sys") || is_read_only(Path::new("/proc/sys"))
}

/// Absent, or without anything in it.
pub(super) fn keys_are_masked(promise: &Promise) -> bool {
    promise.plan.ops.iter().all(|op| match op {
        Op::Mask { target } => match fs::read(target) {
            Ok(text) => text.is_empty(),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        },
        _ => true,
    })
}

/// Tries to undo them; what counts is not what the kernel says, but what is so afterwards.
pub(super) fn stay(promise: &Promise) -> bool {
    let places = [promise.input.parent().unwrap_or(Path::new("/")), Path::new("/proc/sys"), Path::new("/")];
    for place in places {
        let _ = mount::mount_remount(place, MountFlags::BIND, c"");
        let flags = OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
        let _ = mount::open_tree(CWD, place, flags).and_then(|tree| {
            sys::clear_mount_attributes(&tree, MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into())
        });
        let _ = mount::unmount(place, UnmountFlags::DETACH);
    }
    input_is_read_only(promise) && root_is_read_only(promise) && settings_are_read_only(promise)
}

/// The same with every capability that can be had.
pub(super) fn stay_below(promise: &Promise) -> bool {
    !enter_user_namespace() || stay(promise) && keys_are_masked(promise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_spaces_are_read_as_they_are() {
        assert_eq!(unescaped(b"/a\\040b\\134c"), Path::new("/a b\\c"));
        assert_eq!(unescaped(b"/plain\\"), Path::new("/plain\\"));
    }
}
