//! Every kernel call of this crate that has no safe wrapper elsewhere, one function each.

#![expect(unsafe_code, reason = "the one module of system calls; each block argues its preconditions")]

mod files;
mod observe;
mod restrict;

use std::ffi::CStr;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::wire::Exited;

pub use files::{is_open_to_write, share_bytes};
pub(crate) use observe::{
    Heard, answer, entries, hear, install_listened, let_go_on, read_memory, still_waits, wake_in_step,
};
pub(crate) use restrict::{enter_domain, install_filter, landlock_version};

/// Which side of [`clone3`] returned.
pub(crate) enum Cloned {
    /// In the new process.
    Child,
    /// In the old one: the new process and a descriptor of it.
    Parent { pid: i32, pidfd: OwnedFd },
}

/// Forks, the child in new namespaces of the kinds in `namespaces` (`CLONE_NEW*`).
///
/// Only the launcher and what it forked call this: they have one thread, so the child may allocate
/// and lock like any other program.
pub(crate) fn clone3(namespaces: i32) -> io::Result<Cloned> {
    let mut pidfd: i32 = -1;
    // SAFETY: `clone_args` is plain integers, for which zero is the documented "absent".
    let mut arguments: libc::clone_args = unsafe { zeroed() };
    arguments.flags = (namespaces | libc::CLONE_PIDFD) as u64;
    arguments.pidfd = &raw mut pidfd as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM and with no stack given, the child runs on a copy of this stack, as
    // after fork; the process has a single thread, so no lock is held by a thread that is not copied.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: the kernel stored a new descriptor there, which nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid: pid as i32, pidfd })
        }
    }
}

/// Ends this process at once, without destructors: they belong to the process it was forked from.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no precondition.
    unsafe { libc::_exit(code) }
}

/// Ends this process the way `status` (as `wait4` gave it) says another one ended.
pub(crate) fn exit_like(status: i32) -> ! {
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        // SAFETY: restoring the default action and signalling oneself touch no memory.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
    }
    exit_now(libc::WEXITSTATUS(status))
}

/// Reaps `pid` (or any child for -1) and says how it ended, with what it used.
pub(crate) fn wait4(pid: i32) -> rustix::io::Result<(i32, Exited)> {
    wait(pid, 0)
}

/// Reaps a child that has ended already; 0 in place of its number if none has.
pub(crate) fn reap() -> rustix::io::Result<(i32, Exited)> {
    wait(-1, libc::WNOHANG)
}

fn wait(pid: i32, options: libc::c_int) -> rustix::io::Result<(i32, Exited)> {
    let mut status = 0;
    // SAFETY: `rusage` is plain integers.
    let mut usage: libc::rusage = unsafe { zeroed() };
    loop {
        // SAFETY: both pointers are to live locals of the types the call fills in.
        let reaped = unsafe { libc::wait4(pid, &raw mut status, options, &raw mut usage) };
        if reaped >= 0 {
            let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
            let exited = Exited {
                status,
                user_micros: micros(usage.ru_utime),
                system_micros: micros(usage.ru_stime),
                peak_bytes: usage.ru_maxrss as u64 * 1024,
                // In blocks of this size, whatever the disk has.
                written_bytes: usage.ru_oublock as u64 * 512,
                out_of_memory: None,
            };
            return Ok((reaped, exited));
        }
        let errno = last_errno();
        if errno != Errno::INTR {
            return Err(errno);
        }
    }
}

/// Adds attributes (`MOUNT_ATTR_*`) to the mount behind `mount`, and to those below when `recursive`.
pub(crate) fn add_mount_attributes(
    mount: impl AsFd,
    attributes: u64,
    recursive: bool,
) -> rustix::io::Result<()> {
    change_mount(mount, attributes, 0, 0, recursive)
}

/// Asks to restrict a mount that has no name, which tells by the error whether that can be asked for.
pub(crate) fn restrict_nothing() -> rustix::io::Result<()> {
    // SAFETY: `mount_attr` is plain integers, for which zero is "unchanged".
    let mut change: libc::mount_attr = unsafe { zeroed() };
    // Without any change, the kernel would not look for the mount.
    change.attr_set = libc::MOUNT_ATTR_RDONLY;
    // SAFETY: the path is terminated, and the structure lives through the call and has the size that is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            c"".as_ptr(),
            0,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Takes attributes from the mount behind `mount`.
pub(crate) fn clear_mount_attributes(mount: impl AsFd, attributes: u64) -> rustix::io::Result<()> {
    change_mount(mount, 0, attributes, 0, false)
}

/// Keeps what is mounted below the mount behind `mount`, and below those in it, from spreading to others.
pub(crate) fn make_private(mount: impl AsFd) -> rustix::io::Result<()> {
    change_mount(mount, 0, 0, libc::MS_PRIVATE, true)
}

/// Adds attributes to the mount behind `mount` and to those below, and keeps what is mounted there from spreading.
pub(crate) fn restrict_mount(mount: impl AsFd, attributes: u64) -> rustix::io::Result<()> {
    change_mount(mount, attributes, 0, libc::MS_PRIVATE, true)
}

fn change_mount(
    mount: impl AsFd,
    add: u64,
    clear: u64,
    propagation: u64,
    recursive: bool,
) -> rustix::io::Result<()> {
    // SAFETY: `mount_attr` is plain integers, for which zero is "unchanged".
    let mut change: libc::mount_attr = unsafe { zeroed() };
    (change.attr_set, change.attr_clr, change.propagation) = (add, clear, propagation);
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the descriptor is borrowed for the call, the path is empty and terminated, and the
    // structure lives through the call and has the size that is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Closes every descriptor from `first` on, calls `last`, which has none of them, and ends with what it returns.
pub(crate) fn end_alone(first: u32, last: impl FnOnce() -> i32) -> ! {
    // SAFETY: this function does not return, so nobody who owns one of them uses or drops it.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    if result != 0 {
        // Before Linux 5.9.
        for number in first..MOST_DESCRIPTORS {
            // SAFETY: as above; that a descriptor is not open is no harm.
            unsafe { libc::close(number as libc::c_int) };
        }
    }
    exit_now(last())
}

/// Marks every descriptor from `first` on to be closed by `execve`.
pub(crate) fn close_on_exec_from(first: u32) -> rustix::io::Result<()> {
    // SAFETY: setting a flag invalidates no descriptor that a Rust value owns.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    match if result == 0 { Ok(()) } else { Err(last_errno()) } {
        // Before Linux 5.11.
        Err(Errno::NOSYS | Errno::INVAL) => {
            for number in first..MOST_DESCRIPTORS {
                // SAFETY: as above; that a descriptor is not open is no harm.
                unsafe { libc::fcntl(number as libc::c_int, libc::F_SETFD, libc::FD_CLOEXEC) };
            }
            Ok(())
        }
        other => other,
    }
}

/// More than a launcher ever has open.
const MOST_DESCRIPTORS: u32 = 1 << 16;

/// Closes every descriptor from `first` on. The caller must have let go of all values that own one.
pub(crate) fn close_from(first: u32) -> rustix::io::Result<()> {
    // SAFETY: nothing is read or written; that no owner is left is the caller's part.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    match if result == 0 { Ok(()) } else { Err(last_errno()) } {
        // Before Linux 5.9.
        Err(Errno::NOSYS) => {
            // SAFETY: as above; that a descriptor is not open is no harm.
            (first..MOST_DESCRIPTORS).for_each(|number| unsafe {
                libc::close(number as libc::c_int);
            });
            Ok(())
        }
        other => other,
    }
}

/// Makes this process one that is scheduled like most, as [`set_ordinary_scheduling`] does, but that keeps a processor for
/// `nanos` nanoseconds at a time where others want it, too. Linux before 6.12 has its own opinion of that.
pub(crate) fn set_scheduling_in_slices(nanos: u64, nice: i32) -> rustix::io::Result<()> {
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: libc::SCHED_OTHER as u32,
        sched_flags: 0,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: nanos,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the structure lives through the call, which only reads it.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Makes this process one that is scheduled like most: no policy of its own, no real-time priority.
pub(crate) fn set_ordinary_scheduling() -> rustix::io::Result<()> {
    // SAFETY: `sched_param` is plain integers, for which zero is the only priority of the ordinary policy.
    let ordinary: libc::sched_param = unsafe { zeroed() };
    // SAFETY: the structure lives through the call, which only reads it.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const ordinary) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Lets the priority of this process's input and output follow from its niceness.
pub(crate) fn set_ordinary_io_priority() -> rustix::io::Result<()> {
    /// From `linux/ioprio.h`; the class "none" with level 0 is 0.
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: the call takes integers only.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, 0) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Gives the flags that a process hands down to its children the values they have after booting.
///
/// A kernel that does not know one of them has nothing to hand down.
pub(crate) fn reset_process_controls() {
    let defaults: [(libc::c_int, libc::c_ulong); 4] = [
        (libc::PR_SET_TIMERSLACK, 50_000),
        (libc::PR_SET_THP_DISABLE, 0),
        (libc::PR_MCE_KILL, libc::PR_MCE_KILL_CLEAR as libc::c_ulong),
        (PR_SET_MEMORY_MERGE, 0),
    ];
    for (option, value) in defaults {
        // SAFETY: these options take integers only.
        unsafe { libc::prctl(option, value, 0 as libc::c_ulong, 0 as libc::c_ulong, 0 as libc::c_ulong) };
    }
}

/// From `linux/prctl.h`, since Linux 6.4.
const PR_SET_MEMORY_MERGE: libc::c_int = 67;

/// Gives every signal its default action and unblocks all: both survive `execve` otherwise.
///
/// Asks the kernel itself: the C library keeps two signals for its own use and refuses to touch them.
pub(crate) fn reset_signals() {
    /// The kernel's number of signals, and the size of its set of them.
    const SIGNALS: libc::c_int = 64;
    const SET: usize = SIGNALS as usize / 8;
    // `struct sigaction` of the kernel: handler, flags, restorer, mask; all zero is the default action.
    let default = [0_u64; 4];
    let none: *mut libc::c_void = std::ptr::null_mut();
    for signal in 1..=SIGNALS {
        // SAFETY: the kernel reads as much of the array as its structure is long, and installs no handler. SIGKILL
        // and SIGSTOP are refused, and need nothing.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, SET) };
    }
    unblock_signals();
}

/// Unblocks all signals.
pub(crate) fn unblock_signals() {
    let (set, none) = (0_u64, std::ptr::null_mut::<libc::c_void>());
    // SAFETY: the kernel reads as many bytes as the set has: no signal is in it.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const set, none, size_of_val(&set))
    };
}

/// Brings the interface `name` up in this network namespace.
pub(crate) fn interface_up(socket: impl AsFd, name: &CStr) -> rustix::io::Result<()> {
    // SAFETY: `ifreq` is plain data, valid when zero.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes()).take(libc::IFNAMSIZ - 1) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, which lives through the call; its name is terminated.
    let result =
        unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Makes the control groups that this (one-threaded) process is in the roots of all that it sees.
pub(crate) fn new_cgroup_namespace() -> rustix::io::Result<()> {
    // SAFETY: a cgroup namespace changes what is shown only; no descriptor table is unshared.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWCGROUP) }
}

/// Moves this (one-threaded) process into a new user namespace, where it has every capability.
pub(crate) fn new_user_namespace() -> rustix::io::Result<()> {
    // SAFETY: a user namespace changes credentials only; no descriptor table is unshared.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWUSER) }
}

/// Moves this (one-threaded) process into new namespaces of these kinds.
pub(crate) fn unshare(kinds: rustix::thread::UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: of what can be unshared, only the table of descriptors is known to Rust; callers name namespaces.
    unsafe { rustix::thread::unshare_unsafe(kinds) }
}

/// Makes these the supplementary groups, and no others.
pub(crate) fn set_groups(groups: &[u32]) -> rustix::io::Result<()> {
    // SAFETY: the kernel reads as many ids as the slice has.
    let result = unsafe { libc::setgroups(groups.len(), groups.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Kills every process that this one may signal, save itself and the first of its process namespace.
///
/// Whoever calls this is a user of its own: what it may signal is then what that user runs.
pub(crate) fn kill_all_others() -> rustix::io::Result<()> {
    // SAFETY: the call takes integers only.
    let result = unsafe { libc::kill(-1, libc::SIGKILL) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Gives this process a session keyring of its own, empty, in place of the one it has inherited.
///
/// Namespaces do not cover keyrings: whoever holds one can read and change the keys in it. Fails where the
/// kernel has no keyrings, or a container's filter forbids them; then programs cannot use them either. Returns its
/// number, which the kernel never lets be 0.
pub(crate) fn join_new_session_keyring() -> rustix::io::Result<i32> {
    let anonymous: *const libc::c_char = std::ptr::null();
    // SAFETY: without a name nothing is read through the pointer.
    let keyring = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, anonymous) };
    if keyring >= 0 { Ok(keyring as i32) } else { Err(last_errno()) }
}

/// The number of the session keyring that this process has.
pub(crate) fn session_keyring() -> rustix::io::Result<i32> {
    const MAKE_NONE: libc::c_int = 0;
    let session = libc::KEY_SPEC_SESSION_KEYRING;
    // SAFETY: the call takes integers only.
    let keyring = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_GET_KEYRING_ID, session, MAKE_NONE) };
    if keyring >= 0 { Ok(keyring as i32) } else { Err(last_errno()) }
}

/// Makes real, effective and saved group and user ids these, for the whole (one-threaded) process.
pub(crate) fn become_ids(uid: u32, gid: u32) -> rustix::io::Result<()> {
    // SAFETY: neither call touches memory.
    let result = unsafe {
        match libc::setresgid(gid, gid, gid) {
            0 => libc::setresuid(uid, uid, uid),
            failed => failed,
        }
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Makes `number` another name of a descriptor, which `execve` leaves open.
///
/// What had that number is closed: the caller, about to become a program, owns nothing there.
pub(crate) fn dup_to(fd: impl AsFd, number: i32) -> rustix::io::Result<()> {
    // SAFETY: the caller vouches that no Rust value owns `number`.
    let result = unsafe { libc::dup2(fd.as_fd().as_raw_fd(), number) };
    if result >= 0 { Ok(()) } else { Err(last_errno()) }
}

/// Sets the personality: fixed addresses, a 32-bit `uname` when `linux32`, and the version of an old kernel when `old`.
pub(crate) fn set_personality(linux32: bool, old: bool) -> rustix::io::Result<()> {
    /// From `linux/personality.h`; the libc crate has only the flags beside it.
    const PER_LINUX32: libc::c_int = 8;
    let persona =
        libc::ADDR_NO_RANDOMIZE | if linux32 { PER_LINUX32 } else { 0 } | if old { libc::UNAME26 } else { 0 };
    // SAFETY: the call takes an integer only.
    let result = unsafe { libc::personality(persona as libc::c_ulong) };
    if result >= 0 { Ok(()) } else { Err(last_errno()) }
}

/// Replaces this process by a program. Returns only on failure.
pub(crate) fn execve(path: &CStr, args: &[&CStr], env: &[&CStr]) -> Errno {
    let pointers = |strings: &[&CStr]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: both arrays end in a null pointer, and every string in them outlives the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    last_errno()
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}
