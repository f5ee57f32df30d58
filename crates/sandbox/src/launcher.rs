//! The calling side: one small process per `store`, which forks a child for each build.
//!
//! ```text
//! store ── control (SOCK_SEQPACKET) ──► launcher ── clone3 ──► build (pid 1 of its namespace)
//!   │                                      │  ▲                  │
//!   │◄────── reply, one socket a build ────┘  └── status pipe ───┘
//!   │◄────────────────────── log pipe ───────────────────────────┘
//! ```
//!
//! A process with threads must not fork and go on, so nothing but the launcher forks, and it has one
//! thread. It is this same binary again. When the control socket closes, it kills what runs and ends;
//! when it dies, the kernel kills what it forked.

#![expect(clippy::disallowed_methods, reason = "starts this binary again as the launcher")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType,
};
use rustix::pipe::PipeFlags;
use rustix::process::Signal;

use crate::allowance::{Allowance, Meter, Overrun};
use crate::error::{Error, Step};
use crate::given::Given;
use crate::host_program::{HostProcess, HostProgram, HostPrograms};
use crate::left_over;
use crate::observation::Observation;
use crate::plan::{Isolation, Plan};
use crate::streams::{Kind, Streams};
use crate::terminal::Terminal;
use crate::users::{BuildUser, BuildUsers, Ids};
use crate::wire::{self, Detail, Exited, Reply, Request};

/// The one argument of the launcher; other programs refuse it instead of doing their usual work.
pub(crate) const ARGUMENT: &str = "--launch-builds";

/// What the launcher says first.
pub(crate) const HELLO: &[u8] = b"store launcher 1";

/// Asks to make a directory the caller's own, instead of for a build. Its descriptor comes first, then the reply.
pub(crate) const TAKE_BACK: &[u8] = b"take back";

/// As many descriptors as any message carries.
pub(crate) const MOST_FDS: usize = 9;

/// Reads of the log in a row; more than a pipe holds, whatever its size.
const MOST_READS: usize = 64;

/// The process that forks builds. Dropping it ends them.
#[derive(Debug)]
pub struct Launcher {
    /// `None` only while it is being dropped.
    control: Option<OwnedFd>,
    process: Child,
    /// Whether it said hello, once that was asked.
    is_launcher: OnceLock<bool>,
    /// What runs beside it, outside of any sandbox.
    programs: HostPrograms,
}

impl Launcher {
    /// Starts the launcher: this same program again, whose `main` must begin with
    /// [`crate::launcher_main`]. That it does shows when the first build is started, so that the caller
    /// can go on meanwhile.
    ///
    /// # Errors
    /// [`Error::Launch`] if it cannot be started.
    pub fn start() -> Result<Self, Error> {
        let launch = |source: io::Error| Error::Launch { source };
        let (ours, theirs) = seqpacket_pair().map_err(|errno| launch(errno.into()))?;
        let process = Command::new("/proc/self/exe")
            .arg0("store-launcher")
            .arg(ARGUMENT)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(launch)?;
        let (is_launcher, programs) = (OnceLock::new(), HostPrograms::default());
        Ok(Self { control: Some(ours), process, is_launcher, programs })
    }

    /// Waits for the launcher to say hello; another program would not.
    fn says_hello(&self) -> bool {
        let control = self.control();
        let mut buffer = [0; HELLO.len()];
        wait_readable(&[control], Some(Duration::from_secs(20))).is_ok()
            && rustix::net::recv(control, buffer.as_mut_slice(), RecvFlags::DONTWAIT)
                .is_ok_and(|(length, _)| &buffer[..length] == HELLO)
    }

    fn control(&self) -> BorrowedFd<'_> {
        self.control.as_ref().expect("it is taken in drop only").as_fd()
    }

    /// Starts a program of the host, which runs as the caller, with these descriptors under these numbers (below 64, at
    /// most eight); the standard streams are `/dev/null` unless they are among them.
    ///
    /// # Errors
    /// [`Error::Setup`] names the program, or its directory, if it cannot be run; [`Error::LauncherGone`] after
    /// [`Launcher::stop`].
    pub fn run_on_host(
        &self,
        program: &HostProgram,
        descriptors: &[(i32, BorrowedFd<'_>)],
    ) -> Result<HostProcess, Error> {
        self.programs.start(program, descriptors)
    }

    /// Ends every build that runs, and every program of the host; whoever follows a build, or starts another, gets
    /// [`Error::LauncherGone`].
    pub fn stop(&self) {
        self.programs.stop();
        // If that fails, the launcher has ended already.
        let _ = rustix::net::shutdown(self.control(), Shutdown::Both);
    }

    /// Sets up the sandbox that `plan` describes and starts its program.
    ///
    /// May be called from several threads at once.
    ///
    /// # Errors
    /// [`Error::Setup`] names the step and the path that failed; then nothing ran. [`Error::NotALauncher`]
    /// if the program's `main` does not begin as [`Launcher::start`] says.
    pub fn run(&self, plan: &Plan) -> Result<Running, Error> {
        self.run_as(plan, None)
    }

    /// Takes a user for one build, and waits while other builds have them all; `on_wait` hears of that once.
    ///
    /// # Errors
    /// As [`BuildUsers::try_take`], and [`Error::LauncherGone`] after [`Launcher::stop`].
    pub fn take_user(
        &self,
        users: &BuildUsers,
        ids: Ids,
        on_wait: &mut dyn FnMut(),
    ) -> Result<BuildUser, Error> {
        let mut waits = false;
        loop {
            if let Some(user) = users.try_take(ids)? {
                return Ok(user);
            }
            if !std::mem::replace(&mut waits, true) {
                on_wait();
            }
            // Locks of files cannot be waited for several at a time.
            let mut gone = [PollFd::from_borrowed_fd(self.control(), PollFlags::empty())];
            let a_while = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            match poll(&mut gone, Some(&a_while)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Err(Error::LauncherGone),
                Err(errno) => return Err(talk(errno)),
            }
        }
    }

    /// Like [`Launcher::run`], for a plan whose identity outside is that of `user`: no other build has it until
    /// this one has ended, also when this process dies first.
    ///
    /// # Errors
    /// As [`Launcher::run`].
    pub fn run_as(&self, plan: &Plan, user: Option<&BuildUser>) -> Result<Running, Error> {
        self.run_with(plan, Attached { user, streams: Streams::Log, memory: Vec::new(), observation: None })
    }

    /// Like [`Launcher::run_as`], with other standard streams than a log, or in an earlier build's memory.
    ///
    /// # Errors
    /// As [`Launcher::run`].
    pub fn run_with(&self, plan: &Plan, attached: Attached<'_>) -> Result<Running, Error> {
        if !self.is_launcher.get_or_init(|| self.says_hello()) {
            return Err(Error::NotALauncher);
        }
        let (reply, their_reply) = seqpacket_pair().map_err(talk)?;
        let file = plan_file(plan).map_err(talk)?;
        let Attached { user, streams, memory, observation } = attached;
        let (kind, theirs, log) = ends(streams)?;
        let mut fds = vec![file.as_fd(), their_reply.as_fd()];
        fds.extend(theirs.iter().map(AsFd::as_fd));
        fds.extend(user.map(BuildUser::lock));
        fds.extend(observation.map(Observation::file));
        fds.extend(memory.iter().map(AsFd::as_fd));
        let request = Request {
            sweeps: user.is_some_and(BuildUser::has_left_overs),
            streams: kind,
            has_user: user.is_some(),
            is_observed: observation.is_some(),
        };
        send(self.control(), &wire::encode(&request), &fds).map_err(|errno| match errno {
            Errno::PIPE | Errno::CONNRESET => Error::LauncherGone,
            errno => talk(errno),
        })?;
        drop((theirs, their_reply, memory));
        let (mut memory, mut terminal) = (Vec::new(), None);
        let mut early = Vec::new();
        loop {
            match receive(&reply)? {
                (Reply::Started(given, number), Some(process)) => {
                    let root = match &plan.isolation {
                        Isolation::Chroot { root } => Some(root.clone()),
                        Isolation::Namespaces | Isolation::None => None,
                    };
                    let dies_with_first = plan.isolation == Isolation::Namespaces;
                    let allowance = Allowance::default();
                    let given = *given;
                    return Ok(Running {
                        reply,
                        log,
                        process,
                        number: number.unsigned_abs(),
                        dies_with_first,
                        root,
                        allowance,
                        given,
                        early,
                        memory,
                        terminal,
                    });
                }
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
        }
    }
}

impl Launcher {
    /// Makes a directory the caller's own, with what a build under a subordinate id has left in it.
    ///
    /// A build gives back by itself what its plan names; this is for what it had in memory.
    ///
    /// # Errors
    /// [`Error::Setup`] if the caller has no such ids, or they cannot be mapped.
    pub fn take_back(&self, directory: impl AsFd) -> Result<(), Error> {
        if !self.is_launcher.get_or_init(|| self.says_hello()) {
            return Err(Error::NotALauncher);
        }
        let (reply, theirs) = seqpacket_pair().map_err(talk)?;
        send(self.control(), TAKE_BACK, &[directory.as_fd(), theirs.as_fd()]).map_err(talk)?;
        drop(theirs);
        match receive(&reply)?.0 {
            Reply::TakenBack => Ok(()),
            Reply::Failed(failure) => Err(failure.into()),
            _ => Err(Error::LauncherGone),
        }
    }
}

/// Makes a directory the caller's own that a build under a subordinate id has left, whose launcher was killed.
///
/// # Errors
/// [`Error::Setup`] if the caller has no such ids any more, or they cannot be mapped.
pub fn take_back(directory: &Path) -> Result<(), Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(directory, flags, rustix::fs::Mode::empty())
        .map_err(|errno| wire::Failure::new(Step::TakeBack, directory, errno))?;
    Launcher::start()?.take_back(opened)
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // Closing its socket is what tells it to end; an exit status would say nothing new.
        drop(self.control.take());
        let _ = self.process.wait();
    }
}

/// What a build has beside its plan.
#[derive(Debug)]
pub struct Attached<'a> {
    /// Whom it has to itself.
    pub user: Option<&'a BuildUser>,
    /// Its standard streams.
    pub streams: Streams,
    /// What [`Running::memory`] of an earlier build was, for [`crate::Op::Memory`] to mount instead of new ones.
    pub memory: Vec<OwnedFd>,
    /// Has an observer hear of what it looks for. That the kernel has none is a [`Notice::Warning`]; that it was killed
    /// ends the build.
    pub observation: Option<&'a Observation>,
}

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
            let left = if ended.is_none() { meter.left(Instant::now()) } else { None };
            wait_readable(&sources, left).map_err(talk)?;
            open = open && self.pass_output(&mut buffer, &mut meter, ended, on_output)?;
            if ended.is_none() {
                ended = match given_up.is_some_and(is_readable) {
                    true => Some(ExitStatus::GivenUp),
                    false => meter.overrun(Instant::now()).map(ExitStatus::Overran),
                };
                // Says that it is to be ended; what there is to say about that can still be heard.
                ended
                    .map_or(Ok(()), |_| rustix::net::shutdown(&self.reply, Shutdown::Write))
                    .map_err(talk)?;
            }
            let heard = self.hear_replies(on_notice);
            if open && matches!(heard, Ok(Some(_)) | Err(Error::NetworkLost { .. })) {
                self.pass_output(&mut buffer, &mut meter, ended, on_output)?;
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

/// What a request says of streams, what goes with it, and this side of a log.
fn ends(streams: Streams) -> Result<(Kind, Vec<OwnedFd>, Option<OwnedFd>), Error> {
    Ok(match streams {
        Streams::Log => {
            let (log, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(talk)?;
            rustix::fs::fcntl_setfl(&log, OFlags::NONBLOCK).map_err(talk)?;
            (Kind::Log, vec![theirs], Some(log))
        }
        Streams::Pipes { stdin, stdout, stderr } => (Kind::Pipes, vec![stdin, stdout, stderr], None),
        Streams::Terminal(size) => (Kind::Terminal(size), Vec::new(), None),
    })
}

fn talk(errno: Errno) -> Error {
    Error::Talk { source: errno.into() }
}

pub(crate) fn seqpacket_pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// A plan may be larger than a packet, so it travels as a file in memory.
fn plan_file(plan: &Plan) -> rustix::io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create(c"plan", MemfdFlags::CLOEXEC)?;
    let bytes = wire::encode(plan);
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let written = rustix::io::pwrite(&file, rest, (bytes.len() - rest.len()) as u64)?;
        rest = &rest[written..];
    }
    Ok(file)
}

fn wait_readable(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> rustix::io::Result<()> {
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

/// Sends one packet with descriptors.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    loop {
        let parts = [io::IoSlice::new(bytes)];
        match rustix::net::sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Receives one packet with its descriptors; no bytes mean that the other side has closed.
pub(crate) fn receive_packet(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> rustix::io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let length = loop {
        let mut parts = [io::IoSliceMut::new(buffer)];
        match rustix::net::recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other?.bytes,
        }
    };
    let fds = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    Ok((length, fds))
}

/// Receives a reply, and the descriptor that comes with it.
fn receive(socket: &OwnedFd) -> Result<(Reply, Option<OwnedFd>), Error> {
    let mut buffer = [0; 8192];
    match receive_packet(socket.as_fd(), &mut buffer) {
        Ok((0, _)) | Err(Errno::CONNRESET | Errno::PIPE) => Err(Error::LauncherGone),
        Ok((length, fds)) => {
            let reply = wire::decode(&buffer[..length]).map_err(|source| Error::Talk { source })?;
            Ok((reply, fds.into_iter().next()))
        }
        Err(errno) => Err(talk(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Identity, Network, Program};

    /// The test harness of this crate's own unit tests is such a program.
    #[test]
    fn a_program_whose_main_launches_nothing_is_named() {
        let plan = Plan {
            isolation: Isolation::Namespaces,
            network: Network::Loopback,
            identity: Identity::one(1000, 100, None),
            limits: crate::Limits::default(),
            filter: None,
            new_privileges: false,
            ops: Vec::new(),
            program: Program::Function { name: "absent".to_owned(), input: Vec::new() },
        };
        let error = Launcher::start().unwrap().run(&plan).unwrap_err();
        assert!(matches!(error, Error::NotALauncher), "{error}");
    }
}
