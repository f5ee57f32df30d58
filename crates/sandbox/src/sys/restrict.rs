//! What a process takes from itself for good: system calls, and reaching out of its Landlock domain.

#![expect(unsafe_code, reason = "system calls without a safe wrapper; each block argues its preconditions")]

use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::sock_filter;
use rustix::io::Errno;

use super::last_errno;

/// Has the kernel run `program` before each system call of this process and of what it starts.
///
/// Needs `no_new_privs`, or `CAP_SYS_ADMIN` in the process's own user namespace.
pub(crate) fn install_filter(program: &[sock_filter]) -> rustix::io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::TOOBIG)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `length` instructions from the slice, which outlives the call, and writes nothing.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// The version of Landlock's interface that this kernel has.
pub(crate) fn landlock_version() -> rustix::io::Result<u32> {
    const VERSION: u32 = 1;
    let none: *const RulesetAttributes = std::ptr::null();
    // SAFETY: asked for the version, the kernel reads nothing through the pointer.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, VERSION) };
    if version >= 0 { Ok(version as u32) } else { Err(last_errno()) }
}

/// What a Landlock rule set is about (`struct landlock_ruleset_attr`).
#[repr(C)]
struct RulesetAttributes {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// What a Landlock rule allows below a directory (`struct landlock_path_beneath_attr`).
#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent: i32,
}

/// Puts this process into a Landlock domain that it cannot reach out of by what `scoped` says (`LANDLOCK_SCOPE_*`),
/// nor, of what `files` says (`LANDLOCK_ACCESS_FS_*`), to any file that is not below the directory `root`.
pub(crate) fn enter_domain(scoped: u64, files: u64, root: &OwnedFd) -> rustix::io::Result<()> {
    const BENEATH: u32 = 1;
    let attributes = RulesetAttributes { handled_access_fs: files, handled_access_net: 0, scoped };
    let size = size_of::<RulesetAttributes>();
    // SAFETY: the kernel reads `size` bytes of a live value of that layout.
    let rules =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attributes, size, 0_u32) };
    if rules < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel has just opened it, and nobody else owns it.
    let rules = unsafe { OwnedFd::from_raw_fd(rules as i32) };
    // A rule that allows nothing is refused.
    if files != 0 {
        let beneath = PathBeneath { allowed_access: files, parent: root.as_raw_fd() };
        let (rules, beneath) = (rules.as_raw_fd(), &raw const beneath);
        // SAFETY: the kernel reads a live value of that layout, and both descriptors are open.
        let added = unsafe { libc::syscall(libc::SYS_landlock_add_rule, rules, BENEATH, beneath, 0_u32) };
        if added != 0 {
            return Err(last_errno());
        }
    }
    // SAFETY: the call takes integers only.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0_u32) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}
