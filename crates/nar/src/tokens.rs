//! What reader and writer agree on.

use std::io::{self, Read};

/// The first string of every archive.
pub(crate) const MAGIC: &[u8] = b"nix-archive-1";

/// How much is read or written at once. It fits into the caches of any processor, so that a sink that hashes
/// and scans finds it there.
pub(crate) const BUFFER_LEN: usize = 256 * 1024;

/// Returns how many zeros follow a string of `length` bytes, to make it a multiple of eight.
pub(crate) const fn padding(length: u64) -> usize {
    (length.wrapping_neg() % 8) as usize
}

/// Reads once, and again if a signal came in between.
pub(crate) fn read_some(source: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
