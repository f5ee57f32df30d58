//! Hearing of the system calls of a build (seccomp user notification, Linux 5.5), and answering some.

#![expect(unsafe_code, reason = "system calls without a safe wrapper; each block argues its preconditions")]

use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use libc::sock_filter;
use rustix::io::Errno;

use super::last_errno;

/// A call that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    /// What the answer is about.
    pub(crate) id: u64,
    /// The thread that makes the call, as this process sees it.
    pub(crate) pid: u32,
    /// `AUDIT_ARCH_*`
    pub(crate) audit: u32,
    /// The number of the call there.
    pub(crate) number: u32,
    pub(crate) arguments: [u64; 6],
}

/// Like [`super::install_filter`], for a program that asks for notification; returns where that is read.
///
/// A process and what it starts can have one listener only.
pub(crate) fn install_listened(program: &[sock_filter]) -> rustix::io::Result<OwnedFd> {
    let listened = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // Once a call was heard, no signal but a deadly one interrupts it (Linux 5.19).
    match install(program, listened | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
        Err(Errno::INVAL) => install(program, listened),
        other => other,
    }
}

fn install(program: &[sock_filter], flags: libc::c_ulong) -> rustix::io::Result<OwnedFd> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::TOOBIG)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `length` instructions from the slice, which outlives the call, and writes nothing.
    let listener =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if listener < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel has just opened it, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(listener as i32) })
}

/// Has the kernel run the observer at once, on the processor of the call that it hears of (Linux 6.6).
pub(crate) fn wake_in_step(listener: impl AsFd) -> rustix::io::Result<()> {
    /// From `linux/seccomp.h`: `SECCOMP_IOW(4, __u64)`, whose argument is the value itself.
    const SET_FLAGS: libc::Ioctl = 0x4008_2104_u32 as libc::Ioctl;
    const SYNC_WAKE_UP: libc::c_ulong = 1;
    // SAFETY: the argument is an integer.
    let result = unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), SET_FLAGS, SYNC_WAKE_UP) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Takes the next call. `ENOENT` if its process has died meanwhile.
pub(crate) fn hear(listener: impl AsFd) -> rustix::io::Result<Heard> {
    // SAFETY: the structure is plain integers, and the kernel wants it to be zero.
    let mut call: libc::seccomp_notif = unsafe { zeroed() };
    // SAFETY: the kernel fills in the structure, which lives through the call.
    let result =
        unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) };
    if result != 0 {
        return Err(last_errno());
    }
    let (id, pid, data) = (call.id, call.pid, call.data);
    Ok(Heard { id, pid, audit: data.arch, number: data.nr as u32, arguments: data.args })
}

/// Lets a call go on as if nobody had heard of it. `ENOENT` if whoever made it does not wait any more: what was
/// read of that process may be another one's.
pub(crate) fn let_go_on(listener: impl AsFd, id: u64) -> rustix::io::Result<()> {
    let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
    send(listener, libc::seccomp_notif_resp { id, val: 0, error: 0, flags })
}

/// Has a call return `value`, in place of the kernel. `ENOENT` as above.
pub(crate) fn answer(listener: impl AsFd, id: u64, value: usize) -> rustix::io::Result<()> {
    send(listener, libc::seccomp_notif_resp { id, val: value as i64, error: 0, flags: 0 })
}

fn send(listener: impl AsFd, mut answer: libc::seccomp_notif_resp) -> rustix::io::Result<()> {
    // SAFETY: the kernel reads the structure, which lives through the call.
    let result =
        unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Fails with `ENOENT` if whoever made a call does not wait for the answer any more.
pub(crate) fn still_waits(listener: impl AsFd, id: u64) -> rustix::io::Result<()> {
    // SAFETY: the kernel reads the number, which lives through the call.
    let result = unsafe {
        libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id)
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Reads memory of another process, up to where the buffer or what is mapped ends.
pub(crate) fn read_memory(pid: u32, address: u64, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    /// No page is smaller, and a part is read whole or not at all.
    const PAGE: usize = 4096;
    let first = (PAGE - address as usize % PAGE).min(buffer.len());
    let theirs = [(address, first), (address.wrapping_add(first as u64), buffer.len() - first)]
        .map(|(base, length)| libc::iovec { iov_base: base as *mut libc::c_void, iov_len: length });
    let ours = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: the kernel writes at most as many bytes as the buffer has, which is borrowed for the call; the other
    // addresses are of the other process, and only looked up there.
    let length = unsafe {
        libc::process_vm_readv(
            pid as libc::pid_t,
            &raw const ours,
            1,
            theirs.as_ptr(),
            theirs.len() as u64,
            0,
        )
    };
    if length >= 0 { Ok(length as usize) } else { Err(last_errno()) }
}

/// Reads the next entries of a directory as the kernel has them (`struct linux_dirent64`); returns how many bytes.
pub(crate) fn entries(directory: impl AsFd, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    // SAFETY: the kernel writes at most as many bytes as the buffer has, which is borrowed for the call.
    let length = unsafe {
        libc::syscall(libc::SYS_getdents64, directory.as_fd().as_raw_fd(), buffer.as_mut_ptr(), buffer.len())
    };
    usize::try_from(length).map_err(|_| last_errno())
}
