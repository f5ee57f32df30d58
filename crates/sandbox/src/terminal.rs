//! The side of a sandbox's pseudo terminal at which people sit.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::streams::Size;

/// The other side of a program's terminal. Reading and writing never wait.
#[derive(Debug)]
pub struct Terminal(pub(crate) OwnedFd);

impl Terminal {
    /// Makes it that large, which the programs in front are told.
    ///
    /// One that has been hung up has no size, and needs none.
    pub fn resize(&self, size: Size) {
        let _ = rustix::termios::tcsetwinsize(&self.0, size.into());
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Size {
    /// The size of a terminal, `None` for anything else.
    pub fn of(terminal: impl AsFd) -> Option<Self> {
        let size = rustix::termios::tcgetwinsize(terminal).ok()?;
        Some(Self { rows: size.ws_row, columns: size.ws_col })
    }
}
