//! What is left in the host's mount table, and running, when the keeper of a build was killed.

#![expect(clippy::disallowed_methods, reason = "reads the mount table and the roots of processes")]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::error::{Error, Step};
use crate::wire::Failure;

/// A living keeper needs this long at most, with every mount busy.
const PATIENCE: Duration = Duration::from_secs(15);

/// Ends every process whose root is `root` or below, and undoes every mount there.
///
/// `root` is that of a build under [`crate::Isolation::Chroot`], or does not exist. A keeper that still
/// cleans up is waited for.
///
/// # Errors
/// [`Error::Setup`] names the first mount that cannot be undone; the others are undone all the same.
pub fn release(root: &Path) -> Result<(), Error> {
    release_within(root, PATIENCE).map_err(Error::from)
}

pub(crate) fn release_within(root: &Path, patience: Duration) -> Result<(), Failure> {
    let Some(owned) = own_within(root, patience)? else { return Ok(()) };
    if mounts_below(root).is_empty() {
        return Ok(());
    }
    // It may be what is mounted over the root, which it would keep busy. Nobody owns what is mounted already.
    drop(owned);
    // What it starts meanwhile has this root, too.
    let start = Instant::now();
    while end_processes(root) && start.elapsed() < patience {
        std::thread::sleep(Duration::from_millis(1));
    }
    mounts_below(root).iter().rev().map(|mount| undo(mount)).fold(Ok(()), Result::and)
}

/// Ends every process in a mount namespace of a build that shows `directory`, or something in it.
///
/// Those are left when `store`, its launcher and what guards that were killed together, and the builder has
/// told the kernel not to end it then. `directory` has a name that no other one has.
pub fn end_builds_with(directory: &Path) {
    let Some(name) = directory.file_name() else { return };
    let own = |pid: &str, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    for pid in processes() {
        let number = pid.as_raw_nonzero().to_string();
        let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { continue };
        let is_elsewhere = |kind| own(&number, kind).is_some_and(|its| Some(its) != own("self", kind));
        if is_elsewhere("mnt")
            && is_elsewhere("user")
            && fs::read(format!("/proc/{number}/mountinfo")).is_ok_and(|table| shows(&table, name))
        {
            let _ = rustix::process::pidfd_send_signal(&process, Signal::KILL);
        }
    }
}

/// Whether a mount table has the root of a sandbox, and below it something out of a directory of that name.
fn shows(table: &[u8], name: &OsStr) -> bool {
    let lines = || table.split(|byte| *byte == b'\n').map(|line| line.split(|byte| *byte == b' '));
    let has_own_root =
        lines().any(|mut line| line.clone().nth(4) == Some(b"/") && line.any(|field| field == b"tmpfs"));
    let is_source = |line: &[u8]| unescape(line).components().any(|part| part.as_os_str() == name);
    has_own_root && lines().any(|mut line| line.nth(3).is_some_and(is_source))
}

/// Becomes the owner of a root, for as long as the descriptor or a copy of it is open.
pub(crate) fn own(root: &Path) -> Result<OwnedFd, Failure> {
    let gone = || Failure::new(Step::OpenSource, root, Errno::NOENT);
    let directory = own_within(root, Duration::ZERO)?.ok_or_else(gone)?;
    // Whoever owned it before may have removed it.
    let stat = rustix::fs::fstat(&directory).map_err(|errno| Failure::new(Step::OpenSource, root, errno))?;
    if stat.st_nlink > 0 { Ok(directory) } else { Err(gone()) }
}

/// Waits until nobody owns the root any more. `None` if there is none.
fn own_within(root: &Path, patience: Duration) -> Result<Option<OwnedFd>, Failure> {
    let start = Instant::now();
    loop {
        // Opened anew each time: held open, the mount over it would stay busy.
        let Some(directory) = open(root)? else { return Ok(None) };
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(directory)),
            Err(Errno::AGAIN) if start.elapsed() < patience => {}
            Err(errno) => return Err(Failure::new(Step::Own, root, errno)),
        }
        drop(directory);
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn open(root: &Path) -> Result<Option<OwnedFd>, Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::open(root, flags, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(Failure::new(Step::OpenSource, root, errno)),
    }
}

/// Every mount at `root` or below, in the order in which they were made.
pub(crate) fn mounts_below(root: &Path) -> Vec<PathBuf> {
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    targets(&table).filter(|target| target.starts_with(root)).collect()
}

fn targets(table: &[u8]) -> impl Iterator<Item = PathBuf> {
    let target = |line: &[u8]| line.split(|byte| *byte == b' ').nth(4).map(unescape);
    table.split(|byte| *byte == b'\n').filter_map(target)
}

/// The kernel writes blanks and backslashes of names as `\` and three octal digits.
fn unescape(name: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let [first, after @ ..] = rest {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.filter(|_| *first == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Kills every process whose root is `root` or below. True if there was one that was not dead yet.
fn end_processes(root: &Path) -> bool {
    let mut found = false;
    for pid in processes() {
        // The descriptor first: what is read afterwards is about this process, or it is dead.
        let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { continue };
        let its_root = fs::read_link(format!("/proc/{}/root", pid.as_raw_nonzero()));
        if its_root.is_ok_and(|its| its.starts_with(root)) {
            found |= rustix::process::pidfd_send_signal(&process, Signal::KILL).is_ok();
        }
    }
    found
}

/// Every process that can be seen.
pub(crate) fn processes() -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let number = |name: OsString| std::str::from_utf8(name.as_bytes()).ok()?.parse().ok();
    entries.filter_map(|entry| Pid::from_raw(number(entry.file_name())?)).collect()
}

fn undo(mount: &Path) -> Result<(), Failure> {
    let undone = match rustix::mount::unmount(mount, UnmountFlags::NOFOLLOW) {
        // A stranger is in it: it disappears from the table now, and for them when they leave.
        Err(Errno::BUSY) => rustix::mount::unmount(mount, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH),
        other => other,
    };
    match undone {
        // It went with one that was mounted twice, or whose keeper came first.
        Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        other => other.map_err(|errno| Failure::new(Step::Unmount, mount, errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_mount_table_may_hold_anything() {
        let table = b"22 1 0:21 / /proc rw - proc proc rw\n\
                      23 1 0:22 /a /x\\040y\\134z\\011 rw shared:1 - ext4 /dev/sda rw\nnonsense\n";
        let found: Vec<PathBuf> = targets(table).collect();
        assert_eq!(found, [Path::new("/proc"), Path::new("/x y\\z\t")]);
        assert_eq!(unescape(b"\\09\\1"), Path::new("\\09\\1"));
    }

    #[test]
    fn only_the_table_of_a_sandbox_shows_a_build() {
        let name = OsStr::new("x.drv.chroot");
        let source = "26 25 8:1 /nix/store/x.drv.chroot/store /nix/store rw - ext4 /dev/sda1 rw\n";
        let sandbox = format!("25 20 0:30 / / ro,nosuid - tmpfs tmpfs rw\n{source}");
        let host = format!("25 20 8:1 / / rw - ext4 /dev/sda1 rw\n{source}");
        assert!(shows(sandbox.as_bytes(), name));
        assert!(!shows(host.as_bytes(), name) && !shows(sandbox.as_bytes(), OsStr::new("drv.chroot")));
    }

    #[test]
    fn a_root_that_is_not_there_has_left_nothing() {
        release(Path::new("/no/such/root")).unwrap();
    }
}
