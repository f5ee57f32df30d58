//! What a program has as standard streams: a log, pipes, or a terminal of the sandbox's own.
//!
//! A terminal of the host never enters a sandbox. A pseudo terminal is made from inside, in the sandbox's own
//! instance of them, so that it has a name there; what `store` gets is its other side.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use serde::{Deserialize, Serialize};

use crate::child;
use crate::error::Step;
use crate::packet::send;
use crate::wire::{Failure, Reply, encode};

/// What a program is to have as standard streams.
#[derive(Debug)]
pub enum Streams {
    /// No input; what it prints is passed on by [`crate::Running::follow`].
    Log,
    /// Ends of pipes, which are given to the user that the program is outside.
    Pipes {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// A pseudo terminal for all three, which controls it; [`crate::Running::terminal`] has its other side.
    Terminal(Size),
}

/// How large a terminal is, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// How many lines.
    pub rows: u16,
    /// How many in a line.
    pub columns: u16,
}

/// What a request says of streams; their descriptors come with it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Kind {
    Log,
    Pipes,
    Terminal(Size),
}

/// What a child was given for streams.
pub(crate) enum Ends {
    Log(OwnedFd),
    Pipes { stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd },
    Terminal(Size),
}

/// Streams ready to be those of the program.
pub(crate) struct Opened {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    is_terminal: bool,
}

impl Kind {
    /// Takes the descriptors that belong to it.
    pub(crate) fn take(self, fds: &mut impl Iterator<Item = OwnedFd>) -> Option<Ends> {
        Some(match self {
            Self::Log => Ends::Log(fds.next()?),
            Self::Pipes => Ends::Pipes { stdin: fds.next()?, stdout: fds.next()?, stderr: fds.next()? },
            Self::Terminal(size) => Ends::Terminal(size),
        })
    }
}

impl Ends {
    /// Gives them to the builder, which opens them once more when it writes to `/dev/stdout`.
    pub(crate) fn give(&self, outer: (u32, u32)) -> Result<(), Failure> {
        match self {
            Self::Log(log) => child::give_log(log, outer),
            Self::Pipes { stdin, stdout, stderr } => {
                [stdin, stdout, stderr].into_iter().try_for_each(|end| child::give_log(end, outer))
            }
            // It will be opened by the builder's user.
            Self::Terminal(_) => Ok(()),
        }
    }

    /// Opens what is to be opened inside, as the builder; `null` is for what has no input.
    pub(crate) fn open(&self, null: OwnedFd, reply: &OwnedFd) -> Result<Opened, Failure> {
        let another = |fd: &OwnedFd| {
            rustix::io::fcntl_dupfd_cloexec(fd, 3)
                .map_err(|errno| Failure::new(Step::Descriptors, "/", errno))
        };
        Ok(match self {
            Self::Log(log) => {
                Opened { stdin: null, stdout: another(log)?, stderr: another(log)?, is_terminal: false }
            }
            Self::Pipes { stdin, stdout, stderr } => Opened {
                stdin: another(stdin)?,
                stdout: another(stdout)?,
                stderr: another(stderr)?,
                is_terminal: false,
            },
            Self::Terminal(size) => {
                let terminal = open_terminal(*size, reply)?;
                Opened {
                    stdout: another(&terminal)?,
                    stderr: another(&terminal)?,
                    stdin: terminal,
                    is_terminal: true,
                }
            }
        })
    }
}

/// Makes a pair, sends one side to `store` and returns the other.
fn open_terminal(size: Size, reply: &OwnedFd) -> Result<OwnedFd, Failure> {
    let failed = |errno| Failure::new(Step::OpenTerminal, "/dev/ptmx", errno);
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let ours = rustix::fs::open(c"/dev/ptmx", flags, Mode::empty()).map_err(failed)?;
    rustix::pty::unlockpt(&ours).map_err(failed)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let theirs = rustix::pty::ioctl_tiocgptpeer(&ours, flags).map_err(failed)?;
    rustix::termios::tcsetwinsize(&ours, size.into()).map_err(failed)?;
    send(reply.as_fd(), &encode(&Reply::Terminal), &[ours.as_fd()]).map_err(failed)?;
    Ok(theirs)
}

impl Opened {
    /// Makes them those of this process, the first of its session.
    pub(crate) fn attach(&self) -> Result<(), Failure> {
        let fail = |errno| Failure::new(Step::Descriptors, "/", errno);
        rustix::stdio::dup2_stdin(&self.stdin).map_err(fail)?;
        rustix::stdio::dup2_stdout(&self.stdout).map_err(fail)?;
        rustix::stdio::dup2_stderr(&self.stderr).map_err(fail)?;
        if self.is_terminal {
            rustix::process::ioctl_tiocsctty(&self.stdin)
                .map_err(|errno| Failure::new(Step::OpenTerminal, "/dev/tty", errno))?;
        }
        Ok(())
    }
}

impl From<Size> for Winsize {
    fn from(size: Size) -> Self {
        Self { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
    }
}
