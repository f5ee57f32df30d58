//! Waiting for the caller's word to stop, beside everything else.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::Error;

/// A watch over a descriptor, which ends when it becomes readable or all is done.
pub(crate) struct StopWatch<'a> {
    stop: BorrowedFd<'a>,
    /// Closed when all is done, which `done` sees.
    not_done: Mutex<Option<PipeWriter>>,
    done: PipeReader,
}

impl<'a> StopWatch<'a> {
    pub(crate) fn new(stop: BorrowedFd<'a>) -> Result<Self, Error> {
        let (done, not_done) = io::pipe().map_err(|source| Error::Stop { source })?;
        Ok(Self { stop, not_done: Mutex::new(Some(not_done)), done })
    }

    /// Waits, and does `stop` if that is the word.
    pub(crate) fn watch(&self, stop: impl FnOnce()) {
        if self.is_stopped() {
            stop();
        }
    }

    fn is_stopped(&self) -> bool {
        let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = [watch(self.stop), watch(self.done.as_fd())];
        while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
        fds[0].any().unwrap_or(false)
    }

    /// Returns a guard that ends the watch when it is dropped.
    pub(crate) fn end_on_drop(&self) -> EndOfWatch<'_> {
        EndOfWatch(&self.not_done)
    }
}

/// Returns whether something can be read there now.
pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> bool {
    poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Ends a watch when it is dropped.
pub(crate) struct EndOfWatch<'a>(&'a Mutex<Option<PipeWriter>>);

impl Drop for EndOfWatch<'_> {
    fn drop(&mut self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
