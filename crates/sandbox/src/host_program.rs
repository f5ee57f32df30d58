//! Programs of the host: hooks that somebody's settings name, which run as the caller and see what the caller sees.
//!
//! ```text
//! store ── control (SOCK_SEQPACKET) ──► minder ── clone3 ──► program (leader of its own session)
//!   │         closed: end it               │ ◄── pidfd ──────────┘
//!   │◄──────── how it ended ───────────────┘
//!   │◄─────── pipes of the caller's own ─────────────────────────►
//! ```
//!
//! The launcher cannot run them: an ordinary user's has left the user namespace of the host. So each has a process of its
//! own (`minder`), this binary again, that does nothing but start it, wait for it, and end it when `store` wants that or
//! is gone. A hook never outlives the `store` that it works for.

#![expect(
    clippy::disallowed_methods,
    reason = "starts this binary again as the process that minds a program"
)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::net::Shutdown;
use serde::{Deserialize, Serialize};

use crate::allowance::{Allowance, Meter, Overrun};
use crate::error::Error;
use crate::launcher::start_again;
use crate::packet::{receive_packet, send, seqpacket_pair};
use crate::plan::Exec;
use crate::running::ExitStatus;
use crate::wire::{self, Failure};

/// The one argument of the process that minds a program.
pub(crate) const ARGUMENT: &str = "--mind-program";

/// A program of the host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostProgram {
    /// The program, with all of its environment.
    pub exec: Exec,
    /// How long after SIGTERM it is sent SIGKILL, when it has to end.
    pub patience: Duration,
    /// What else it has started, and has not taken out of its process group, is killed when it has ended.
    pub takes_all_along: bool,
    /// Whom it runs as; none for the caller.
    pub user: Option<HostUser>,
}

/// Whom a program of the host runs as. Only root may say so.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostUser {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its further groups.
    pub groups: Vec<u32>,
}

/// What the minder is told, beside the descriptors: that of the program's description, and then the program's own.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Which numbers the descriptors get.
    pub(crate) numbers: Vec<i32>,
}

/// What the minder says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Word {
    /// The program runs.
    Started,
    /// It does not.
    Failed(Failure),
    /// It has ended, with a status as `wait4` gives it.
    Ended(i32),
}

/// The programs that one launcher has started.
#[derive(Debug, Default)]
pub(crate) struct HostPrograms(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Nothing is started any more.
    is_stopped: bool,
    running: Vec<Weak<OwnedFd>>,
}

impl HostPrograms {
    /// Asks all of them to end.
    pub(crate) fn stop(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_stopped = true;
        state.running.drain(..).filter_map(|control| control.upgrade()).for_each(|control| end(&control));
    }

    fn add(&self, control: &Arc<OwnedFd>) -> Result<(), Error> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_stopped {
            return Err(Error::LauncherGone);
        }
        state.running.retain(|control| control.strong_count() > 0);
        state.running.push(Arc::downgrade(control));
        Ok(())
    }

    /// Starts a program with these descriptors under these numbers, and none beside; the first three are `/dev/null`
    /// unless they are named.
    pub(crate) fn start(
        &self,
        program: &HostProgram,
        descriptors: &[(i32, BorrowedFd<'_>)],
    ) -> Result<HostProcess, Error> {
        let launch = |source: io::Error| Error::Launch { source };
        let (control, theirs) = seqpacket_pair().map_err(|errno| launch(errno.into()))?;
        let minder = start_again("store-minder", ARGUMENT, theirs)?;
        let control = Arc::new(control);
        let process = HostProcess { control: Arc::clone(&control), minder };
        self.add(&control)?;
        let description = description(program).map_err(|errno| launch(errno.into()))?;
        let order = Order { numbers: descriptors.iter().map(|(number, _)| *number).collect() };
        let fds: Vec<BorrowedFd<'_>> =
            std::iter::once(description.as_fd()).chain(descriptors.iter().map(|(_, fd)| *fd)).collect();
        send(control.as_fd(), &wire::encode(&order), &fds).map_err(|errno| launch(errno.into()))?;
        match process.hear()? {
            Word::Started => Ok(process),
            Word::Failed(failure) => Err(failure.into()),
            Word::Ended(_) => Err(Error::LauncherGone),
        }
    }
}

/// A running program of the host. Dropping it ends it.
#[derive(Debug)]
#[must_use = "dropping a program that runs ends it"]
pub struct HostProcess {
    control: Arc<OwnedFd>,
    minder: Child,
}

impl HostProcess {
    /// Returns the number of the process that minds it, for people who look at what it does. It is used again once it has
    /// ended.
    pub fn process_number(&self) -> u32 {
        self.minder.id()
    }

    /// Asks it to end, and does not wait for that.
    pub fn end(&self) {
        end(&self.control);
    }

    /// Passes on what comes out of these pipes, by their place among them, until it has ended; what it has left running may
    /// hold them open for ever. If it uses up its allowance, or `given_up` is readable, it is ended, of which it may have
    /// something to say.
    ///
    /// # Errors
    /// As [`HostProcess::wait`].
    pub fn follow(
        self,
        pipes: Vec<OwnedFd>,
        allowance: Allowance,
        given_up: Option<BorrowedFd<'_>>,
        on_output: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<ExitStatus, Error> {
        let talk = |errno: Errno| Error::Talk { source: errno.into() };
        let mut pipes: Vec<(usize, OwnedFd)> = pipes.into_iter().enumerate().collect();
        let mut meter = Meter::new(allowance, Instant::now());
        let (mut ended, mut buffer) = (None, vec![0; 64 * 1024]);
        loop {
            let left = if ended.is_none() { meter.left(Instant::now()) } else { None };
            let given_up = given_up.filter(|_| ended.is_none());
            let ready = self.ready(&pipes, given_up, left).map_err(talk)?;
            let mut outputs = ready.pipes.into_iter();
            let mut has_spoken = false;
            let mut read = |(place, pipe): &(usize, OwnedFd)| {
                if !outputs.next().unwrap_or(false) {
                    return true;
                }
                let length = rustix::io::read(pipe, &mut *buffer).unwrap_or(0);
                has_spoken |= length > 0;
                if ended.is_none() && length > 0 {
                    on_output(*place, &buffer[..length]);
                    meter.hear(length, Instant::now());
                }
                length > 0
            };
            pipes.retain(|pipe| read(pipe));
            if ended.is_none() {
                ended = match ready.is_given_up {
                    true => Some(ExitStatus::GivenUp),
                    false => {
                        let overrun = meter.overrun(Instant::now());
                        // One that has ended can only have printed too much: its end may be heard long after its time.
                        let counts = |overrun: &Overrun| !ready.has_ended || *overrun == Overrun::Output;
                        overrun.filter(counts).map(ExitStatus::Overran)
                    }
                };
                ended.iter().for_each(|_| self.end());
            }
            if ready.has_ended && !has_spoken {
                let status = self.wait()?;
                return Ok(ended.unwrap_or(status));
            }
        }
    }

    /// Waits until it has ended, or something can be read.
    fn ready(
        &self,
        pipes: &[(usize, OwnedFd)],
        given_up: Option<BorrowedFd<'_>>,
        timeout: Option<Duration>,
    ) -> rustix::io::Result<Ready> {
        let mut polled = vec![PollFd::new(&self.control, PollFlags::IN)];
        polled.extend(pipes.iter().map(|(_, pipe)| PollFd::new(pipe, PollFlags::IN)));
        polled.extend(given_up.map(|given_up| PollFd::from_borrowed_fd(given_up, PollFlags::IN)));
        let timeout = timeout.map(timespec);
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let mut ready = polled.iter().map(|fd| !fd.revents().is_empty());
        let has_ended = ready.next().unwrap_or(false);
        let pipes = ready.by_ref().take(pipes.len()).collect();
        Ok(Ready { has_ended, pipes, is_given_up: ready.next().unwrap_or(false) })
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// [`Error::LauncherGone`] if the process that minds it was killed, which kills it, too.
    pub fn wait(self) -> Result<ExitStatus, Error> {
        match self.hear()? {
            Word::Ended(status) => Ok(ExitStatus::of(status)),
            Word::Started | Word::Failed(_) => Err(Error::LauncherGone),
        }
    }

    fn hear(&self) -> Result<Word, Error> {
        let talk = |source: io::Error| Error::Talk { source };
        let mut buffer = [0; 8192];
        match receive_packet(self.control.as_fd(), &mut buffer) {
            Ok((0, _)) => Err(Error::LauncherGone),
            Ok((length, _)) => wire::decode(&buffer[..length]).map_err(talk),
            Err(errno) => Err(talk(errno.into())),
        }
    }
}

/// What there is to be heard of a program.
struct Ready {
    has_ended: bool,
    pipes: Vec<bool>,
    is_given_up: bool,
}

/// A time to wait; a millisecond more, since a wait that ends too early would be a busy one.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    let duration = duration.saturating_add(Duration::from_millis(1));
    let tv_sec = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec, tv_nsec: duration.subsec_nanos().into() }
}

/// Becomes readable when it has ended.
impl AsFd for HostProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        self.end();
        let _ = self.minder.wait();
    }
}

/// This side stays open to be told how it ended.
fn end(control: &OwnedFd) {
    let _ = rustix::net::shutdown(control, Shutdown::Write);
}

/// An environment may be larger than a packet, so it travels as a file in memory.
fn description(program: &HostProgram) -> rustix::io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create(c"program", MemfdFlags::CLOEXEC)?;
    let bytes = wire::encode(program);
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let written = rustix::io::pwrite(&file, rest, (bytes.len() - rest.len()) as u64)?;
        rest = &rest[written..];
    }
    Ok(file)
}
