//! The process that hears of the system calls of one build, and never holds one back; of those that read directories, it
//! does some itself (see `directory`).
//!
//! ```text
//! store ── file in memory ──► launcher ── forks ──► observer ◄─ listener ── kernel ◄── calls of the build
//!                                │  ▲                  ▲
//!                                │  └──── listener ────│──── build (while it still is the launcher's child)
//!                                └──────── listener ───┘
//! ```
//!
//! The build's own process makes the listener and sends it to the launcher, which passes it on and keeps a copy:
//! if the last copy were closed, the kernel would answer calls that nobody has heard of with `ENOSYS`, and the
//! build would go on with that. So if the observer is killed, those calls wait, and the launcher ends the build.
//!
//! What the observer sees of the host it looks at after the build has ended, so not even how long a call takes
//! tells a build anything of the host.

mod book;
mod call;
mod directory;
mod headers;
mod inside;
mod watch;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use rustix::process::Signal;

use crate::error::Step;
use crate::filter;
use crate::packet::{receive_packet, send};
use crate::sys::{self, Cloned};
use crate::wire::Failure;

/// How long an observer may take to write down what it saw.
const PATIENCE: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

/// The launcher's side of it.
pub(crate) struct Observer {
    socket: OwnedFd,
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    /// Held open; see above.
    listener: Option<OwnedFd>,
    /// It was reaped.
    ended: bool,
}

impl Observer {
    /// Starts one that will write into `file`; returns what the build's process sends its listener on, too.
    pub(crate) fn start(file: OwnedFd) -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let (socket, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        match sys::clone3(0)? {
            Cloned::Parent { pid, pidfd } => {
                Ok((Self { socket, pid, pidfd, listener: None, ended: false }, theirs))
            }
            Cloned::Child => {
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    leave_the_rest(theirs, file).and_then(|(socket, file)| observe(&socket, &file))
                }));
                sys::exit_now(if matches!(outcome, Ok(Ok(()))) { 0 } else { 1 })
            }
        }
    }

    /// What becomes readable when there is something to do; nothing once it has ended.
    pub(crate) fn sources(&self) -> Vec<PollFd<'_>> {
        if self.ended {
            return Vec::new();
        }
        let mut sources = vec![PollFd::new(&self.pidfd, PollFlags::IN)];
        if self.listener.is_none() {
            sources.push(PollFd::new(&self.socket, PollFlags::IN));
        }
        sources
    }

    /// Deals with what happened, if anything did. A warning says that the build cannot be observed; an error, that
    /// it cannot go on.
    pub(crate) fn turn(&mut self) -> Result<Option<Failure>, Failure> {
        if self.ended {
            return Ok(None);
        }
        let warning = if self.listener.is_none() { self.hand_on() } else { None };
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if ends_within(&self.pidfd, now) && !self.reap() {
            return Err(Failure::new(Step::LoseObserver, "/", Errno::CANCELED));
        }
        Ok(warning)
    }

    /// Passes on the listener that the build's process has sent, or hears why there is none.
    fn hand_on(&mut self) -> Option<Failure> {
        let nothing = &mut [0_u8; 0][..];
        rustix::net::recv(&self.socket, nothing, RecvFlags::PEEK | RecvFlags::DONTWAIT).ok()?;
        let mut buffer = [0; 4];
        let (length, fds) = receive_packet(self.socket.as_fd(), &mut buffer).ok()?;
        match fds.into_iter().next() {
            Some(listener) => {
                // If the observer is gone, that shows on its pidfd.
                let _ = send(self.socket.as_fd(), b"=", &[listener.as_fd()]);
                self.listener = Some(listener);
                None
            }
            None if length == buffer.len() => {
                let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write);
                let errno = Errno::from_raw_os_error(i32::from_ne_bytes(buffer));
                Some(Failure::new(Step::Observe, "/", errno))
            }
            None => None,
        }
    }

    /// Waits until it has written down what it saw; every process of the build has ended.
    pub(crate) fn finish(&mut self) {
        // Where the build came to no listener, this says so.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        if !self.ended {
            if !ends_within(&self.pidfd, PATIENCE) {
                let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
            }
            self.reap();
        }
    }

    /// Reaps it; true if it did all that it was for.
    fn reap(&mut self) -> bool {
        self.ended = true;
        sys::wait4(self.pid).is_ok_and(|(_, exited)| exited.status == 0)
    }
}

fn ends_within(process: &OwnedFd, time: Timespec) -> bool {
    let mut polled = [PollFd::new(process, PollFlags::IN)];
    loop {
        match poll(&mut polled, Some(&time)) {
            Err(Errno::INTR) => {}
            other => return other.is_ok_and(|ready| ready > 0),
        }
    }
}

/// In the build's own process: has the observer hear of its calls from now on. One that cannot be had is told on
/// the socket, and the build goes on without.
pub(crate) fn be_observed(socket: &OwnedFd) {
    let listener = filter::observing().and_then(|program| sys::install_listened(&program));
    // Should nobody be left to be told, this process is about to die with its parent.
    let _ = match listener {
        Ok(listener) => send(socket.as_fd(), b"=", &[listener.as_fd()]),
        Err(errno) => send(socket.as_fd(), &errno.raw_os_error().to_ne_bytes(), &[]),
    };
}

/// Keeps nothing of the launcher but these two.
fn leave_the_rest(socket: OwnedFd, file: OwnedFd) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let _ = rustix::thread::set_name(c"store-observer");
    let _ = rustix::process::setsid();
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::stdio::dup2_stdin(&socket)?;
    rustix::stdio::dup2_stdout(&file)?;
    rustix::stdio::dup2_stderr(&file)?;
    // They are closed below, all of them.
    std::mem::forget((socket, file));
    sys::close_from(3)?;
    let kept = |fd| rustix::io::fcntl_dupfd_cloexec(fd, 3);
    Ok((kept(rustix::stdio::stdin())?, kept(rustix::stdio::stdout())?))
}

/// What the process does. Without a listener there is nothing to see, and nothing to tell.
fn observe(socket: &OwnedFd, file: &OwnedFd) -> rustix::io::Result<()> {
    let scope = crate::observation::scope(file)?;
    // The end of it says that the launcher is gone, too, also if it was before this process asked to die with it.
    let (_, fds) = receive_packet(socket.as_fd(), &mut [0; 4])?;
    let Some(listener) = fds.into_iter().next() else { return Ok(()) };
    let observed = watch::watch(&listener, scope)?;
    crate::observation::tell(file, observed)
}
