//! Directories that a build is to read backwards, as their order ought not to matter to it.
//!
//! The observer reads the next entries in place of the process that asks for them, by a copy of its descriptor, so that
//! the next call goes on where this one has ended; and puts them into that process's memory, the last one first. So
//! only what one call gets is turned round, which is all of most directories. Who remembers places in a directory
//! (`telldir`) finds others there.
//!
//! The number of a process may be another one's as soon as it does not wait any more, and a build can see to it that
//! reading takes long. So its memory and its descriptor are opened first, then it is asked whether it still waits, and
//! nothing goes by its number from then on.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::call::IS_64_BIT;
use crate::sys::{self, Heard};

/// The call that reads directories. The older one, without the 64, is not made any more.
pub(super) const READ: &str = "getdents64";

/// As much is read for one call; C libraries ask for 32 KiB.
const MOST: usize = 1 << 20;

/// Where an entry says how the directory goes on behind it (`d_off`), and how long it is (`d_reclen`).
const NEXT: std::ops::Range<usize> = 8..16;
const LENGTH: std::ops::Range<usize> = 16..18;

/// `FUSE_SUPER_MAGIC` of `linux/magic.h`.
const FUSE: i64 = 0x6573_5546;

/// What was read in place of the kernel.
pub(super) struct Done {
    /// What the call is to return.
    pub(super) length: usize,
    directory: OwnedFd,
    /// Where the directory was.
    before: u64,
}

impl Done {
    /// Has the next call get it all again, as this one has not got it: it was killed, or is made once more after a
    /// signal (before Linux 5.19).
    pub(super) fn undo(&self) {
        let _ = rustix::fs::seek(&self.directory, SeekFrom::Start(self.before));
    }
}

/// Does what the call asks for, backwards.
///
/// `None` if the kernel does it as well, or knows better how it fails: nothing was read then.
///
/// # Errors
/// If the kernel has to do it, although it could have been turned round.
pub(super) fn read_backwards(listener: &OwnedFd, call: &Heard) -> Result<Option<Done>, Errno> {
    // The kernel has other places in directories for 32-bit programs, which larger ones do not fit into.
    if call.audit & IS_64_BIT == 0 {
        return Err(Errno::OVERFLOW);
    }
    let [fd, address, room, ..] = call.arguments;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let memory = rustix::fs::open(format!("/proc/{}/mem", call.pid), flags, Mode::empty())?;
    let directory = match descriptor(call.pid, fd as i32) {
        Err(Errno::BADF) => return Ok(None),
        other => other?,
    };
    if sys::still_waits(listener, call.id).is_err() || !is_turned(&directory)? {
        return Ok(None);
    }
    let Ok(before) = rustix::fs::seek(&directory, SeekFrom::Current(0)) else { return Ok(None) };
    let mut entries = vec![0; (room as u32 as usize).min(MOST)];
    let Ok(length @ 1..) = sys::entries(&directory, &mut entries) else { return Ok(None) };
    let done = Done { length, directory, before };
    if write_all(&memory, address, &backwards(&entries[..length])).is_err() {
        // The kernel may find room for a part of it.
        done.undo();
        return Ok(None);
    }
    Ok(Some(done))
}

/// Whether the order is the file system's own, and can be read by anybody.
///
/// What `/proc` lists depends on who reads: the observer has the network of the host.
///
/// # Errors
/// In user space, who answers may itself be observed, and wait for the observer.
fn is_turned(directory: &OwnedFd) -> rustix::io::Result<bool> {
    match rustix::fs::fstatfs(directory)?.f_type {
        rustix::fs::PROC_SUPER_MAGIC => Ok(false),
        #[expect(clippy::useless_conversion, reason = "narrower elsewhere")]
        magic if i64::from(magic) == FUSE => Err(Errno::OPNOTSUPP),
        _ => Ok(FileType::from_raw_mode(rustix::fs::fstat(directory)?.st_mode) == FileType::Directory),
    }
}

fn write_all(memory: &OwnedFd, mut address: u64, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(memory, bytes, address)? {
            0 => return Err(Errno::FAULT),
            length => (address, bytes) = (address.wrapping_add(length as u64), &bytes[length..]),
        }
    }
    Ok(())
}

/// Returns a copy of a descriptor of the thread `pid`.
fn descriptor(pid: u32, fd: i32) -> rustix::io::Result<OwnedFd> {
    /// Of a thread that is no process (Linux 6.9): `PIDFD_THREAD`.
    const THREAD: PidfdFlags = PidfdFlags::from_bits_retain(OFlags::EXCL.bits());
    let open = |pid: u32, flags| {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        pidfd_open(pid, flags)
    };
    // Threads have the descriptors of their process, save those that have asked for their own.
    let process = || open(process_of(pid).ok_or(Errno::SRCH)?, PidfdFlags::empty());
    let thread = open(pid, THREAD).or_else(|_| process())?;
    pidfd_getfd(&thread, fd, PidfdGetfdFlags::empty())
}

/// Returns the process that a thread is of.
fn process_of(thread: u32) -> Option<u32> {
    let mut status = [0; 4096];
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(format!("/proc/{thread}/status"), flags, Mode::empty());
    let length = rustix::io::read(file.ok()?, &mut status).ok()?;
    let status = String::from_utf8_lossy(&status[..length]);
    status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}

/// Returns the entries from the last to the first; how the directory goes on stays where it is said, as the last one
/// says where the next call begins. What does not look like entries is left as it is.
fn backwards(entries: &[u8]) -> Vec<u8> {
    let mut split = Vec::new();
    let mut rest = entries;
    while !rest.is_empty() {
        let length = rest.get(LENGTH).and_then(|length| length.try_into().ok()).map_or(0, u16::from_ne_bytes);
        match rest.split_at_checked(usize::from(length)) {
            Some((entry, others)) if usize::from(length) >= LENGTH.end => {
                split.push(entry);
                rest = others;
            }
            _ => return entries.to_vec(),
        }
    }
    let mut turned = Vec::with_capacity(entries.len());
    for (entry, in_its_place) in split.iter().rev().zip(&split) {
        turned.extend_from_slice(&entry[..NEXT.start]);
        turned.extend_from_slice(&in_its_place[NEXT]);
        turned.extend_from_slice(&entry[NEXT.end..]);
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(next: u8, name: &str) -> Vec<u8> {
        let length = u16::try_from(19 + name.len() + 1).unwrap();
        [&[name.as_bytes()[0]; 8][..], &[next; 8], &length.to_ne_bytes(), &[8], name.as_bytes(), &[0]]
            .concat()
    }

    #[test]
    fn the_last_entry_comes_first_and_the_last_place_last() {
        let names = ["a", "some longer name", "c"];
        let in_order = [entry(3, names[0]), entry(5, names[1]), entry(7, names[2])].concat();
        let turned = [entry(3, names[2]), entry(5, names[1]), entry(7, names[0])].concat();
        assert_eq!(backwards(&in_order), turned);
        assert_eq!(backwards(&turned), in_order);
        assert_eq!(backwards(&entry(9, "one")), entry(9, "one"));
        assert_eq!(backwards(&[]), []);
    }

    #[test]
    fn what_is_no_entry_stays_as_it_is() {
        for odd in [vec![0; 40], vec![255; 40], vec![1; 3], [entry(1, "a"), vec![9]].concat()] {
            assert_eq!(backwards(&odd), odd);
        }
    }
}
