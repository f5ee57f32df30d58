//! Waiting for the caller's word to stop, and for others' to give a build up, beside everything else.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use local_store::{BuildId, CancelCaller, CancelSocket};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::Error;

/// So many may have called without having said anything yet.
const MOST_CALLERS: usize = 64;

/// A watch over what may be said from outside, which ends when all is to stop or all is done.
pub(crate) struct StopWatch<'a> {
    stop: Option<BorrowedFd<'a>>,
    /// Where others call.
    cancels: Option<CancelSocket>,
    /// Closed when all is done, which `done` sees.
    not_done: Mutex<Option<PipeWriter>>,
    done: PipeReader,
}

/// What is to be done now.
enum Call {
    Stop,
    End,
    /// Somebody has called, and those at these places have said something.
    Hear(Vec<usize>),
}

impl<'a> StopWatch<'a> {
    pub(crate) fn new(stop: Option<BorrowedFd<'a>>, cancels: Option<CancelSocket>) -> Result<Self, Error> {
        let (done, not_done) = io::pipe().map_err(|source| Error::Stop { source })?;
        Ok(Self { stop, cancels, not_done: Mutex::new(Some(not_done)), done })
    }

    /// Waits, passes on which builds to `cancel`, and does `stop` if that is the word.
    pub(crate) fn watch(&self, stop: impl FnOnce(), cancel: impl Fn(BuildId, CancelCaller)) {
        let mut callers: Vec<CancelCaller> = Vec::new();
        loop {
            match self.call(&callers) {
                Call::Stop => return stop(),
                Call::End => return,
                Call::Hear(said) => {
                    for place in said.into_iter().rev() {
                        let caller = callers.swap_remove(place);
                        if let Some(id) = caller.hear() {
                            cancel(id, caller);
                        }
                    }
                    if callers.len() < MOST_CALLERS {
                        callers.extend(self.cancels.as_ref().and_then(CancelSocket::accept));
                    }
                }
            }
        }
    }

    fn call(&self, callers: &[CancelCaller]) -> Call {
        let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![watch(self.done.as_fd()), watch(self.stop.unwrap_or(self.done.as_fd()))];
        fds.extend(callers.iter().map(|caller| watch(caller.as_fd())));
        // The others wait for their turn.
        let more = self.cancels.as_ref().filter(|_| callers.len() < MOST_CALLERS);
        fds.extend(more.map(|cancels| watch(cancels.as_fd())));
        while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
        let is_ready = |place: usize| fds[place].any().unwrap_or(false);
        if self.stop.is_some() && is_ready(1) {
            return Call::Stop;
        }
        if is_ready(0) {
            return Call::End;
        }
        Call::Hear((0..callers.len()).filter(|place| is_ready(place + 2)).collect())
    }

    /// Returns what becomes readable when all is done.
    pub(crate) fn done(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
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
