//! A build on its way: what it prints, what the launcher says of it, and how it ends.

#![expect(clippy::disallowed_methods, reason = "times what a build is given")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown};
use rustix::process::Signal;

use crate::allowance::{Allowance, Meter, Overrun};
use crate::error::Error;
use crate::given::Given;
use crate::launcher::{receive, talk};
use crate::left_over;
use crate::plan::Isolation;
use crate::terminal::Terminal;
use crate::wire::{Detail, Exited, Reply};

/// Whoever wakes up so much later than it wanted was stopped.
const LATE: Duration = Duration::from_millis(500);

/// Reads of the log in a row; more than a pipe holds, whatever its size.
const MOST_READS: usize = 64;

/// A running build. Dropping it closes its socket, upon which the launcher kills every process of it.
#[derive(Debug)]
#[must_use = "dropping a running build kills it"]
pub struct Running {
    reply: OwnedFd,
    /// What it prints, if that is a log.
    log: Option<OwnedFd>,
    /// Its first process, or its keeper.
    process: OwnedFd,
    number: u32,
    /// Whether all of it dies with that process, which is the first of a namespace; a keeper ends the rest itself.
    dies_with_first: bool,
    /// Where it may leave mounts on the host, should its keeper be killed.
    root: Option<PathBuf>,
    /// What [`crate::Op::Memory`] has mounted.
    memory: Vec<OwnedFd>,
    terminal: Option<Terminal>,
    allowance: Allowance,
    given: Given,
    /// What was told before it ran.
    early: Vec<Notice>,
}

/// What [`Running::follow`] hears of beside output.
#[derive(Debug)]
pub enum Notice {
    /// Something could not be cleaned up.
    Warning(Error),
    /// Something was done.
    Detail(Detail),
}

/// How a build ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit status or signal of its first process.
    pub status: ExitStatus,
    /// Time its processes spent in user mode.
    pub user_time: Duration,
    /// Time its processes spent in the kernel.
    pub system_time: Duration,
    /// Most memory that one of its processes had resident, in bytes; all of them together, with what they had in
    /// file systems in memory, where a control group of memory counts it.
    pub peak_memory_bytes: u64,
    /// What its processes wrote to disks, in bytes.
    pub written_bytes: u64,
    /// Set if processes of it were killed, since all together had used up their memory.
    pub out_of_memory: Option<OutOfMemory>,
}

/// How much memory a build may use that had not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// What it may use, in bytes.
    pub limit: u64,
    /// The most it used at one time, in bytes.
    pub peak: u64,
}

/// Exit status or signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It returned this; 0 is success.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
    /// [`Running::follow`] ended it, since it had used up what it was given.
    Overran(Overrun),
    /// [`Running::follow_until`] ended it, since it was given up.
    GivenUp,
}

impl Running {
    /// Waits until the build that `reply` is about has started.
    pub(crate) fn started(
        reply: OwnedFd,
        log: Option<OwnedFd>,
        isolation: &Isolation,
    ) -> Result<Self, Error> {
        let (mut memory, mut terminal, mut early) = (Vec::new(), None, Vec::new());
        let (given, number, process) = loop {
            match receive(&reply)? {
                (Reply::Started(given, number), Some(process)) => break (*given, number, process),
                (Reply::Memory, fd) => memory.extend(fd),
                (Reply::Terminal, fd) => terminal = fd.map(Terminal),
                (Reply::Warning(failure), _) => early.push(Notice::Warning(failure.into())),
                (Reply::Detail(detail), _) => early.push(Notice::Detail(detail)),
                (Reply::Failed(failure), _) => return Err(failure.into()),
                (Reply::Lost(lost), _) => return Err(lost.into()),
                (Reply::Started(..) | Reply::Exited(_) | Reply::TakenBack, _) => {
                    return Err(Error::LauncherGone);
                }
            }
        };
        let root = match isolation {
            Isolation::Chroot { root } => Some(root.clone()),
            Isolation::Namespaces | Isolation::None => None,
        };
        Ok(Self {
            reply,
            log,
            process,
            number: number.unsigned_abs(),
            dies_with_first: *isolation == Isolation::Namespaces,
            root,
            memory,
            terminal,
            allowance: Allowance::default(),
            given,
            early,
        })
    }

    /// Gives the build no more than that.
    pub fn within(mut self, allowance: Allowance) -> Self {
        self.allowance = allowance;
        self
    }

    /// What each [`crate::Op::Memory`] has mounted, in their order, which is there until this is closed.
    ///
    /// # Errors
    /// If there are too many descriptors.
    pub fn memory(&self) -> Result<Vec<OwnedFd>, Error> {
        self.memory.iter().map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(talk)).collect()
    }

    /// Takes the other side of its terminal, if it has one.
    pub fn terminal(&mut self) -> Option<Terminal> {
        self.terminal.take()
    }

    /// Tells what has happened since, without waiting, and how it ended, if it has; all its processes are gone then.
    ///
    /// For a build whose streams are not a log; until then, [`AsFd`] says when there is something to hear.
    ///
    /// # Errors
    /// As [`Running::follow`].
    pub fn ended(&mut self, on_notice: &mut dyn FnMut(Notice)) -> Result<Option<Exit>, Error> {
        std::mem::take(&mut self.early).into_iter().for_each(&mut *on_notice);
        let heard = self.hear_replies(on_notice);
        if let Err(Error::LauncherGone) = heard {
            self.end();
        }
        heard
    }

    /// Returns the number of its first process, or of its keeper, for people who look at what it does. It is used again
    /// once the build has ended.
    pub fn process_number(&self) -> u32 {
        self.number
    }

    /// What isolation it has.
    pub fn given(&self) -> &Given {
        &self.given
    }

    /// Passes everything the build prints to `on_output` as it comes, until the build has ended and
    /// all its processes are gone.
    ///
    /// # Errors
    /// [`Error::LauncherGone`] if the launcher died, which ends the build too.
    pub fn follow(
        self,
        on_output: &mut dyn FnMut(&[u8]),
        on_notice: &mut dyn FnMut(Notice),
    ) -> Result<Exit, Error> {
        self.follow_until(None, on_output, on_notice)
    }

    /// Like [`Running::follow`], and ends the build as soon as `given_up` is readable.
    ///
    /// # Errors
    /// As [`Running::follow`].
    pub fn follow_until(
        mut self,
        given_up: Option<BorrowedFd<'_>>,
        on_output: &mut dyn FnMut(&[u8]),
        on_notice: &mut dyn FnMut(Notice),
    ) -> Result<Exit, Error> {
        std::mem::take(&mut self.early).into_iter().for_each(&mut *on_notice);
        let exit = self.hear(given_up, on_output, on_notice);
        if let Err(Error::LauncherGone) = exit {
            self.end();
        }
        exit
    }

    /// Makes sure that nothing runs on without the launcher.
    ///
    /// The kernel kills a build whose launcher dies, unless the builder has told it not to.
    fn end(&self) {
        if self.dies_with_first {
            // It may have ended.
            let _ = rustix::process::pidfd_send_signal(&self.process, Signal::KILL);
        }
        let _ = wait_readable(&[self.process.as_fd()], Some(Duration::from_secs(20)));
        if let Some(root) = &self.root {
            // Its keeper has done that, unless it was killed too; what cannot be undone, the next start tries.
            let _ = left_over::release(root);
        }
    }

    fn hear(
        &self,
        given_up: Option<BorrowedFd<'_>>,
        on_output: &mut dyn FnMut(&[u8]),
        on_notice: &mut dyn FnMut(Notice),
    ) -> Result<Exit, Error> {
        let mut buffer = vec![0; 64 * 1024];
        let mut open = self.log.is_some();
        let mut meter = Meter::new(self.allowance, Instant::now());
        let mut ended = None;
        loop {
            let log = self.log.as_ref().filter(|_| open).map(AsFd::as_fd);
            let given_up = given_up.filter(|_| ended.is_none());
            let sources: Vec<_> = [Some(self.reply.as_fd()), log, given_up].into_iter().flatten().collect();
            let before = Instant::now();
            let left = if ended.is_none() { meter.left(before) } else { None };
            wait_readable(&sources, left).map_err(talk)?;
            if left.is_some_and(|left| before.elapsed() > left.saturating_add(LATE)) {
                // As after Ctrl-Z and `fg`. So was the launcher, which may have something to say of what happened meanwhile.
                wait_readable(&[self.reply.as_fd()], Some(LATE)).map_err(talk)?;
            }
            open = open && self.pass_output(&mut buffer, &mut meter, ended, on_output)?;
            let heard = self.hear_replies(on_notice);
            let is_over = !matches!(heard, Ok(None));
            if open && matches!(heard, Ok(Some(_)) | Err(Error::NetworkLost { .. })) {
                self.pass_output(&mut buffer, &mut meter, ended, on_output)?;
            }
            if ended.is_none() {
                ended = why_to_end(&meter, given_up, is_over);
                // Says that it is to be ended; what there is to say about that can still be heard.
                ended
                    .filter(|_| !is_over)
                    .map_or(Ok(()), |_| rustix::net::shutdown(&self.reply, Shutdown::Write))
                    .map_err(talk)?;
            }
            if let Some(exit) = heard? {
                return Ok(Exit { status: ended.unwrap_or(exit.status), ..exit });
            }
        }
    }

    /// Passes on what the launcher has said meanwhile, and returns how the build ended, if it has.
    fn hear_replies(&self, on_notice: &mut dyn FnMut(Notice)) -> Result<Option<Exit>, Error> {
        while let Some(reply) = self.next_reply()? {
            match reply {
                Reply::Warning(failure) => on_notice(Notice::Warning(failure.into())),
                Reply::Detail(detail) => on_notice(Notice::Detail(detail)),
                Reply::Exited(exited) => return Ok(Some(Exit::from(exited))),
                Reply::Failed(failure) => return Err(failure.into()),
                Reply::Lost(lost) => return Err(lost.into()),
                Reply::Started(..) | Reply::Memory | Reply::Terminal | Reply::TakenBack => {}
            }
        }
        Ok(None)
    }

    /// What the launcher has said meanwhile, if anything.
    fn next_reply(&self) -> Result<Option<Reply>, Error> {
        match rustix::net::recv(&self.reply, &mut [0u8; 0][..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => Ok(None),
            _ => Ok(Some(receive(&self.reply)?.0)),
        }
    }

    /// Passes on what is there, save after it was told to end; false once every writer has closed its end.
    ///
    /// Not for ever, if the build prints faster than it can be read: its time has to be looked at.
    fn pass_output(
        &self,
        buffer: &mut [u8],
        meter: &mut Meter,
        ended: Option<ExitStatus>,
        on_output: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, Error> {
        for _ in 0..MOST_READS {
            let Some(log) = &self.log else { return Ok(false) };
            match rustix::io::read(log, &mut *buffer) {
                Ok(0) => return Ok(false),
                Ok(_) if ended.is_some() => {}
                Ok(length) => {
                    on_output(&buffer[..length]);
                    meter.hear(length, Instant::now());
                    if meter.overrun(Instant::now()).is_some() {
                        return Ok(true);
                    }
                }
                Err(Errno::AGAIN) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(talk(errno)),
            }
        }
        Ok(true)
    }
}

/// Returns why a build is to be ended, if it is. One that is over can only have printed too much: whoever was stopped
/// meanwhile may hear of its end long after its time.
fn why_to_end(meter: &Meter, given_up: Option<BorrowedFd<'_>>, is_over: bool) -> Option<ExitStatus> {
    if given_up.is_some_and(is_readable) {
        return Some(ExitStatus::GivenUp);
    }
    let overrun = meter.overrun(Instant::now()).filter(|overrun| !is_over || *overrun == Overrun::Output);
    overrun.map(ExitStatus::Overran)
}

impl AsFd for Running {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reply.as_fd()
    }
}

impl ExitStatus {
    /// Reads a status as `wait4` gives it.
    pub(crate) fn of(status: i32) -> Self {
        match status & 0x7f {
            0 => Self::Code((status >> 8) & 0xff),
            signal => Self::Signal(signal),
        }
    }
}

impl From<Exited> for Exit {
    fn from(exited: Exited) -> Self {
        Self {
            status: ExitStatus::of(exited.status),
            user_time: Duration::from_micros(exited.user_micros),
            system_time: Duration::from_micros(exited.system_micros),
            peak_memory_bytes: exited.peak_bytes,
            written_bytes: exited.written_bytes,
            out_of_memory: exited.out_of_memory.map(|limit| OutOfMemory { limit, peak: exited.peak_bytes }),
        }
    }
}

pub(crate) fn wait_readable(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> rustix::io::Result<()> {
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let timeout = timeout.map(|timeout| rustix::event::Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    loop {
        match poll(&mut polled, timeout.as_ref()) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}

fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    poll(&mut polled, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}
