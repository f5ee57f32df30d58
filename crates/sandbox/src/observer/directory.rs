//! Directories that a build is to read backwards, as their order ought not to matter to it.
//!
//! The observer reads the next entries in place of the process that asks for them, by a copy of its descriptor, so that
//! the next call goes on where this one has ended; and puts them into that process's memory, the last one first. So
//! only what one call gets is turned round, which is all of most directories. Who remembers places in a directory
//! (`telldir`) finds others there.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::sys::{self, Heard};

/// The call that reads directories. The older one, without the 64, is not made any more.
pub(super) const READ: &str = "getdents64";

/// As much is read for one call; C libraries ask for 32 KiB.
const MOST: usize = 1 << 20;

/// Where an entry says how long it is (`d_reclen`).
const LENGTH: std::ops::Range<usize> = 16..18;

/// Does what the call asks for, backwards, and returns what it is to return.
///
/// `None` if the kernel can do it as well, or knows better how it fails: nothing was read then.
pub(super) fn read_backwards(listener: &OwnedFd, call: &Heard) -> Option<Result<usize, Errno>> {
    let [fd, address, room, ..] = call.arguments;
    let directory = descriptor(call.pid, fd as i32).ok()?;
    let mut entries = vec![0; (room as u32 as usize).min(MOST)];
    // After the last look at the process: the descriptor is of the one that calls.
    sys::still_waits(listener, call.id).ok()?;
    let length = sys::entries(&directory, &mut entries).ok().filter(|length| *length > 0)?;
    let backwards = backwards(&entries[..length]);
    Some(sys::write_memory(call.pid, address, &backwards).map(|()| length))
}

/// Returns a copy of a descriptor of the thread `pid`.
fn descriptor(pid: u32, fd: i32) -> rustix::io::Result<OwnedFd> {
    let open = |pid: u32| {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        pidfd_open(pid, PidfdFlags::empty())
    };
    // Kernels before 6.9 open processes only, not threads.
    let process = open(pid).or_else(|_| open(process_of(pid).ok_or(Errno::SRCH)?))?;
    pidfd_getfd(&process, fd, PidfdGetfdFlags::empty())
}

/// Returns the process that a thread is of.
fn process_of(thread: u32) -> Option<u32> {
    let mut status = [0; 4096];
    let file = rustix::fs::open(
        format!("/proc/{thread}/status"),
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    );
    let length = rustix::io::read(file.ok()?, &mut status).ok()?;
    let status = String::from_utf8_lossy(&status[..length]);
    status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}

/// Returns the entries from the last to the first. What does not look like entries is left as it is.
fn backwards(entries: &[u8]) -> Vec<u8> {
    let mut split = Vec::new();
    let mut rest = entries;
    while !rest.is_empty() {
        let length = rest.get(LENGTH).and_then(|length| length.try_into().ok()).map_or(0, u16::from_ne_bytes);
        match rest.split_at_checked(usize::from(length)) {
            Some((entry, others)) if length > 0 => {
                split.push(entry);
                rest = others;
            }
            _ => return entries.to_vec(),
        }
    }
    split.iter().rev().copied().flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> Vec<u8> {
        let length = u16::try_from(19 + name.len() + 1).unwrap();
        [&[7; 16][..], &length.to_ne_bytes(), &[8], name.as_bytes(), &[0]].concat()
    }

    #[test]
    fn the_last_entry_comes_first() {
        let [a, b, c] = ["a", "some longer name", "c"].map(entry);
        assert_eq!(backwards(&[&a[..], &b, &c].concat()), [&c[..], &b, &a].concat());
        assert_eq!(backwards(&a), a);
        assert_eq!(backwards(&[]), []);
    }

    #[test]
    fn what_is_no_entry_stays_as_it_is() {
        for odd in [vec![0; 40], vec![255; 40], vec![1; 3], [entry("a"), vec![9]].concat()] {
            assert_eq!(backwards(&odd), odd);
        }
    }
}
