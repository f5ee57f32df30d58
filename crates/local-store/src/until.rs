//! Work that takes long is given up once nobody wants it any more.

use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Until when something is wanted that takes long: a descriptor becomes readable then.
#[derive(Clone, Copy, Debug)]
pub struct Until<'a>(Option<BorrowedFd<'a>>);

/// After so many bytes it is asked whether to go on; it takes much longer to hash them.
const STEP: usize = 1 << 20;

/// Besides, each piece counts as so many: small ones take their time, too.
const PIECE: usize = 1 << 12;

impl<'a> Until<'a> {
    /// It is wanted until it is done.
    pub const DONE: Self = Self(None);

    /// It is wanted until something can be read from there, if there is a descriptor.
    pub fn readable(descriptor: Option<BorrowedFd<'a>>) -> Self {
        Self(descriptor)
    }

    /// Returns what is readable once it is not wanted any more, if it may come to that.
    pub fn descriptor(self) -> Option<BorrowedFd<'a>> {
        self.0
    }

    /// Returns whether it is not wanted any more.
    pub fn is_over(self) -> bool {
        let Some(descriptor) = self.0 else { return false };
        let mut polled = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Waits for so many milliseconds, or until it is not wanted any more. Returns whether it is not.
    pub(crate) fn is_over_within(self, millis: u32) -> bool {
        let timeout =
            Timespec { tv_sec: i64::from(millis / 1000), tv_nsec: i64::from(millis % 1000) * 1_000_000 };
        let mut polled: Vec<PollFd<'_>> =
            self.0.iter().map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN)).collect();
        poll(&mut polled, Some(&timeout)).is_ok_and(|ready| ready > 0)
    }

    /// Passes on what is read or written while it is wanted, and fails after that.
    pub fn pass<T>(self, through: T) -> Passing<'a, T> {
        Passing { through, until: self, passed: 0 }
    }

    pub(crate) fn check(self) -> io::Result<()> {
        if self.is_over() { Err(io::Error::other("it was given up")) } else { Ok(()) }
    }
}

/// Passes on what is read or written; see [`Until::pass`].
#[derive(Debug)]
pub struct Passing<'a, T> {
    through: T,
    until: Until<'a>,
    /// Since it was last asked whether to go on.
    passed: usize,
}

impl<T> Passing<'_, T> {
    /// Gives back what it was passed through.
    pub fn into_inner(self) -> T {
        self.through
    }

    fn count(&mut self, bytes: usize) -> io::Result<()> {
        self.passed += bytes + PIECE;
        if self.passed > STEP {
            self.passed = 0;
            self.until.check()?;
        }
        Ok(())
    }
}

impl<T: Read> Read for Passing<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.through.read(buffer)?;
        self.count(length)?;
        Ok(length)
    }
}

impl<T: Write> Write for Passing<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.count(bytes.len())?;
        self.through.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.through.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn bytes_pass_until_the_word_comes() {
        let (word, mut speaker) = io::pipe().unwrap();
        let mut passing = Until::readable(Some(word.as_fd())).pass(io::sink());
        let piece = vec![0; STEP];
        passing.write_all(&piece).unwrap();
        speaker.write_all(b"!").unwrap();
        let error = passing.write_all(&piece).unwrap_err();
        assert_eq!(error.to_string(), "it was given up");
        Until::DONE.pass(io::sink()).write_all(&piece).unwrap();
    }
}
