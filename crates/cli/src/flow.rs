//! Bytes on their way from one descriptor to another, without ever waiting for one of them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags};

/// So much fits into a pipe that is said to be ready, whoever else writes to it (`PIPE_BUF`).
const ALWAYS_FITS: usize = 4096;

/// Bytes on their way. Whatever ends on one side ends on the other too.
pub(crate) struct Flow {
    /// `None` once there is no more to come.
    from: Option<OwnedFd>,
    /// `None` once nobody takes more.
    to: Option<OwnedFd>,
    buffer: Vec<u8>,
    /// How much of it is written.
    written: usize,
}

impl Flow {
    /// Begins with nothing on its way.
    pub(crate) fn new(from: OwnedFd, to: OwnedFd) -> Self {
        Self { from: Some(from), to: Some(to), buffer: Vec::new(), written: 0 }
    }

    /// Returns whether nothing will pass any more.
    pub(crate) fn is_over(&self) -> bool {
        self.to.is_none()
    }

    /// Ends it; what is on its way is lost.
    pub(crate) fn end(&mut self) {
        (self.from, self.to) = (None, None);
        self.buffer.clear();
    }

    /// Returns whether nothing is on its way.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Returns what has to be waited for.
    pub(crate) fn waits_for(&self) -> Option<PollFd<'_>> {
        match (&self.from, &self.to) {
            (_, Some(to)) if !self.buffer.is_empty() => Some(PollFd::new(to.as_fd(), PollFlags::POLLOUT)),
            (Some(from), Some(_)) => Some(PollFd::new(from.as_fd(), PollFlags::POLLIN)),
            _ => None,
        }
    }

    /// Moves what can be moved, as what was waited for is ready. With `is_last`, what is there is all there is.
    pub(crate) fn go_on(&mut self, is_last: bool) {
        if self.buffer.is_empty() {
            self.read(is_last);
        } else {
            self.write();
        }
        if self.buffer.is_empty() && self.from.is_none() {
            self.to = None;
        }
    }

    fn read(&mut self, is_last: bool) {
        let Some(from) = &self.from else { return };
        self.buffer.resize(1 << 16, 0);
        let length = match nix::unistd::read(from, &mut self.buffer) {
            Ok(length) if length > 0 => length,
            Err(Errno::EINTR) => 0,
            Err(Errno::EAGAIN) if !is_last => 0,
            // A terminal that was hung up says EIO.
            _ => {
                self.from = None;
                0
            }
        };
        self.buffer.truncate(length);
        self.written = 0;
    }

    fn write(&mut self) {
        let Some(to) = &self.to else { return };
        let rest = &self.buffer[self.written..];
        match nix::unistd::write(to, &rest[..rest.len().min(ALWAYS_FITS)]) {
            Ok(length) => self.written += length,
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // Whoever read it has gone.
            Err(_) => {
                self.from = None;
                self.written = self.buffer.len();
            }
        }
        if self.written == self.buffer.len() {
            self.buffer.clear();
        }
    }
}

/// Returns one more descriptor of the same file.
pub(crate) fn another(descriptor: impl AsFd) -> nix::Result<OwnedFd> {
    let descriptor: BorrowedFd<'_> = descriptor.as_fd();
    descriptor.try_clone_to_owned().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

/// Keeps reads and writes from waiting. Only for what no other process has: they would not wait either.
pub(crate) fn never_wait(descriptor: &OwnedFd) -> nix::Result<()> {
    fcntl(descriptor, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_on_one_side_ends_on_the_other() {
        let (from, source) = nix::unistd::pipe().unwrap();
        let (sink, to) = nix::unistd::pipe().unwrap();
        nix::unistd::write(&source, b"\0binary\xff").unwrap();
        drop(source);
        let mut flow = Flow::new(from, to);
        while !flow.is_over() {
            flow.go_on(false);
        }
        let mut got = [0; 16];
        assert_eq!(nix::unistd::read(&sink, &mut got), Ok(8));
        assert_eq!(&got[..8], b"\0binary\xff");
        assert_eq!(nix::unistd::read(&sink, &mut got), Ok(0));
    }

    #[test]
    fn a_reader_that_goes_away_ends_it() {
        let (from, source) = nix::unistd::pipe().unwrap();
        let (sink, to) = nix::unistd::pipe().unwrap();
        drop(sink);
        nix::unistd::write(&source, b"lost").unwrap();
        let mut flow = Flow::new(from, to);
        // The harness ignores SIGPIPE, as every Rust program does.
        while !flow.is_over() {
            flow.go_on(false);
        }
        assert_eq!(nix::unistd::write(&source, b"x"), Err(Errno::EPIPE));
    }
}
