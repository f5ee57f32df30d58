//! What the kernel knows about files, and tells by calls that nothing wraps.

#![expect(unsafe_code, reason = "system calls without a safe wrapper; each block argues its preconditions")]

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::last_errno;

/// From `asm-generic/fcntl.h`.
const F_SETSIG: libc::c_int = 10;

/// Whether anybody can write to the file behind `file`, open to read only, by a descriptor or a mapping that is there
/// now; `None` where the file system does not know.
///
/// By a lease, which is had only on what nobody writes to, and is given back at once.
pub fn is_open_to_write(file: BorrowedFd<'_>) -> Option<bool> {
    let file = file.as_raw_fd();
    // Whoever opens it to write between the next two calls has this process told, by a signal that would end it; this
    // one has no effect.
    // SAFETY: the three calls take integers only.
    let leased = unsafe {
        libc::fcntl(file, F_SETSIG, libc::SIGURG) == 0
            && libc::fcntl(file, libc::F_SETLEASE, libc::F_RDLCK) == 0
    };
    if !leased {
        return (last_errno() == Errno::AGAIN).then_some(true);
    }
    // SAFETY: as above. It cannot fail, as the lease is there; and it ends with the descriptor at the latest.
    unsafe { libc::fcntl(file, libc::F_SETLEASE, libc::F_UNLCK) };
    Some(false)
}

/// `struct file_dedupe_range` with one `struct file_dedupe_range_info`, of `linux/fs.h`.
#[repr(C)]
struct Dedupe {
    source_offset: u64,
    length: u64,
    count: u16,
    reserved_1: u16,
    reserved_2: u32,
    target: i64,
    target_offset: u64,
    deduped: u64,
    status: i32,
    reserved: u32,
}

/// `FIDEDUPERANGE`: `_IOWR(0x94, 54, struct file_dedupe_range)`, whose size is that without what follows it.
const FIDEDUPERANGE: u32 = 0xc018_9436;

/// File systems take no more at once.
const PIECE: u64 = 16 << 20;

/// Lets `target` have its bytes where those of `source` are, up to `length`, for as long as they are equal, which the
/// kernel makes sure of. Returns how many bytes were.
///
/// # Errors
/// If the file system cannot, or the caller may not.
pub fn share_bytes(source: BorrowedFd<'_>, target: BorrowedFd<'_>, length: u64) -> rustix::io::Result<u64> {
    let mut done = 0;
    while done < length {
        let mut dedupe = Dedupe {
            source_offset: done,
            length: PIECE.min(length - done),
            count: 1,
            reserved_1: 0,
            reserved_2: 0,
            target: target.as_raw_fd().into(),
            target_offset: done,
            deduped: 0,
            status: 0,
            reserved: 0,
        };
        // SAFETY: the kernel reads and writes one head and `count` entries, which is what the structure is, and lives.
        let result = unsafe { libc::ioctl(source.as_raw_fd(), FIDEDUPERANGE as _, &raw mut dedupe) };
        match (result, dedupe.status) {
            (0, 0) if dedupe.deduped > 0 => done += dedupe.deduped,
            // It differs, or there is nothing left.
            (0, 0..) => break,
            (0, error) => return Err(Errno::from_raw_os_error(-error)),
            _ => return Err(last_errno()),
        }
    }
    Ok(done)
}

const _: () = assert!(size_of::<Dedupe>() == 24 + 32);

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests touch the disk")]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::fd::AsFd;
    use test_support::Scratch;

    #[test]
    fn a_writer_is_seen_for_as_long_as_there_is_one() {
        let scratch = Scratch::new();
        let path = scratch.join("file");
        fs::write(&path, "x").unwrap();
        let reader = File::open(&path).unwrap();
        if is_open_to_write(reader.as_fd()).is_none() {
            println!("skipped: the file system for temporary files has no leases");
            return;
        }
        let look = || is_open_to_write(File::open(&path).unwrap().as_fd());
        assert_eq!(look(), Some(false));
        let writer = File::options().append(true).open(&path).unwrap();
        assert_eq!(look(), Some(true));
        drop(writer);
        assert_eq!(look(), Some(false));
        drop(reader);
    }
}
