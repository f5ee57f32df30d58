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
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown};
use rustix::pipe::PipeFlags;

use crate::error::{Error, Step};
use crate::host_program::{HostProcess, HostProgram, HostPrograms};
use crate::observation::Observation;
use crate::packet::{receive_packet, send, seqpacket_pair};
use crate::plan::Plan;
use crate::running::{Running, wait_readable};
use crate::streams::{Kind, Streams};
use crate::users::{BuildUser, BuildUsers, Ids};
use crate::wire::{self, Reply, Request};

/// The one argument of the launcher; other programs refuse it instead of doing their usual work.
pub(crate) const ARGUMENT: &str = "--launch-builds";

/// What the launcher says first.
pub(crate) const HELLO: &[u8] = b"store launcher 1";

/// Asks to make a directory the caller's own, instead of for a build. Its descriptor comes first, then the reply.
pub(crate) const TAKE_BACK: &[u8] = b"take back";

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
    /// [`Error::Launch`] or [`Error::Null`] if it cannot be started.
    pub fn start() -> Result<Self, Error> {
        let launch = |source: io::Error| Error::Launch { source };
        let (ours, theirs) = seqpacket_pair().map_err(|errno| launch(errno.into()))?;
        let process = start_again("store-launcher", ARGUMENT, theirs)?;
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

    /// Takes a user for one build, and waits while other builds have them all, of which `on_wait` hears once, or until
    /// `given_up` is readable.
    ///
    /// # Errors
    /// As [`BuildUsers::try_take`], and [`Error::LauncherGone`] after [`Launcher::stop`].
    pub fn take_user(
        &self,
        users: &BuildUsers,
        ids: Ids,
        given_up: Option<BorrowedFd<'_>>,
        on_wait: &mut dyn FnMut(),
    ) -> Result<Option<BuildUser>, Error> {
        let mut waits = false;
        loop {
            if let Some(user) = users.try_take(ids)? {
                return Ok(Some(user));
            }
            if !std::mem::replace(&mut waits, true) {
                on_wait();
            }
            // Locks of files cannot be waited for several at a time.
            let mut ends = vec![PollFd::from_borrowed_fd(self.control(), PollFlags::empty())];
            ends.extend(given_up.map(|given_up| PollFd::from_borrowed_fd(given_up, PollFlags::IN)));
            let a_while = rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            match poll(&mut ends, Some(&a_while)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) if ends[0].revents().is_empty() => return Ok(None),
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
        Running::started(reply, log, &plan.isolation)
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

/// Starts this program again as another process of ours, which is told what to do on its standard input.
pub(crate) fn start_again(name: &str, argument: &str, control: OwnedFd) -> Result<Child, Error> {
    // Opened here, as whoever starts it could not say which file was refused.
    let null = rustix::fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, rustix::fs::Mode::empty())
        .map_err(|errno| Error::Null { source: errno.into() })?;
    Command::new("/proc/self/exe")
        .arg0(name)
        .arg(argument)
        .env_clear()
        .stdin(Stdio::from(control))
        .stdout(null)
        .process_group(0)
        .spawn()
        .map_err(|source| Error::Launch { source })
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
    /// Has an observer hear of what it looks for. That the kernel has none is a [`crate::Notice::Warning`]; that it was killed
    /// ends the build.
    pub observation: Option<&'a Observation>,
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

pub(crate) fn talk(errno: Errno) -> Error {
    Error::Talk { source: errno.into() }
}

/// Receives a reply, and the descriptor that comes with it.
pub(crate) fn receive(socket: &OwnedFd) -> Result<(Reply, Option<OwnedFd>), Error> {
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
    use crate::plan::{Identity, Isolation, Network, Program};

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
