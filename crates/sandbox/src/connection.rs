//! A running network helper: started by the launcher for one build, and ended with it.
//!
//! ```text
//!  launcher ── clone3 ──► build (user namespace of the launcher; joins the network, owns nothing of it)
//!     │  │                  ▲
//!     │  └── go on ─────────┘ once the helper has said that the network is there
//!     └── clone3 ──► helper (user namespace of the network, network of the host)
//! ```
//!
//! The network belongs to a user namespace of its own, and its helper is root there: it talks to the build and to the
//! whole world, so what is there to be gained by deceiving it should be that one network. It stays in the host's
//! network, and finds the build's by a descriptor alone, its standard input. That it enters the user namespace before
//! it runs is also why nothing later takes away the signal that ends it with the launcher; the leash holds it too.

#![expect(clippy::disallowed_methods, reason = "opens the namespaces of a build, and sets up its network")]

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, FdFlags};
use rustix::pipe::PipeFlags;
use rustix::process::Signal;
use rustix::thread::LinkNameSpaceType;

use crate::child::{self, Channels};
use crate::error::Step;
use crate::given::{Given, Namespace};
use crate::ids;
use crate::network_helper::{self, Helper, INTERFACE};
use crate::plan::{Network, Op, Plan};
use crate::sys::{self, Cloned};
use crate::wire::{Exited, Failure, Lost};

/// A helper that serves one build.
pub(crate) struct Connection {
    pub(crate) pid: i32,
    pidfd: OwnedFd,
    program: PathBuf,
    /// Something comes out of it once the network is there; `None` after that.
    ready: Option<OwnedFd>,
    /// What it prints; what it prints too much is lost, so that it never waits for a reader.
    words: OwnedFd,
}

/// A network namespace that belongs to a user namespace of its own.
pub(crate) struct Apart {
    network: OwnedFd,
    owner: OwnedFd,
}

impl Apart {
    /// Makes them, by a process that is there for nothing else.
    pub(crate) fn make() -> Result<Self, Failure> {
        let fail = |errno| Failure::new(Step::Network, "/", errno);
        let (done, keep) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(fail)?;
        let namespaces = libc::CLONE_NEWUSER | libc::CLONE_NEWNET;
        match sys::clone3(namespaces).map_err(|error| fail(errno(&error)))? {
            Cloned::Child => {
                drop(keep);
                hasten();
                let _ = rustix::io::read(&done, &mut [0][..]);
                sys::exit_now(0)
            }
            Cloned::Parent { pid, .. } => {
                drop(done);
                let made = ids::map_root(pid).and_then(|()| {
                    let network = open(&format!("/proc/{pid}/ns/net"))?;
                    Ok(Self { network, owner: open(&format!("/proc/{pid}/ns/user"))? })
                });
                drop(keep);
                let _ = sys::wait4(pid);
                made
            }
        }
    }

    /// Moves a build, whose process this is, into the network.
    pub(crate) fn join(&self, given: &mut Given) -> Result<(), Failure> {
        rustix::thread::move_into_link_name_space(self.network.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|errno| Failure::new(Step::Network, "/", errno))?;
        given.namespaces.insert(Namespace::Network);
        given.network = Network::Loopback;
        Ok(())
    }
}

/// How long a helper may take to start, which none does in fact: a build that waits for one is not to wait for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a helper talks through.
struct Ends {
    ready: OwnedFd,
    words: OwnedFd,
}

impl Connection {
    /// Starts the helper that `plan` names.
    pub(crate) fn start(plan: &Plan, apart: &Apart) -> Result<Self, Failure> {
        let (helper, program, ipv6) = helper_of(plan)?;
        let fail = |errno| Failure::new(Step::Network, program, errno);
        let (ready, their_ready) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(fail)?;
        let (words, their_words) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(fail)?;
        for end in [&words, &their_words] {
            rustix::fs::fcntl_setfl(end, OFlags::NONBLOCK).map_err(fail)?;
        }
        let ends = Ends { ready: their_ready, words: their_words };
        match sys::clone3(0).map_err(|error| fail(errno(&error)))? {
            Cloned::Parent { pid, pidfd } => {
                Ok(Self { pid, pidfd, program: program.to_owned(), ready: Some(ready), words })
            }
            Cloned::Child => {
                let Err(errno) = become_helper(apart, &ends, helper, program, ipv6);
                // Should nobody be left to read it, this process is about to die with its parent.
                let _ = rustix::io::write(&ends.words, format!("{errno}\n").as_bytes());
                sys::exit_now(1)
            }
        }
    }

    /// Becomes readable when the helper has ended.
    pub(crate) fn process(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Becomes readable when the network is there, or will never be.
    pub(crate) fn ready(&self) -> Option<&OwnedFd> {
        self.ready.as_ref()
    }

    /// Tells whether the network is there now; if it will never be, the helper's end says why.
    pub(crate) fn take_ready(&mut self) -> bool {
        let is_ready =
            |ready: OwnedFd| rustix::io::read(&ready, &mut [0; 64][..]).is_ok_and(|length| length > 0);
        self.ready.take().is_some_and(is_ready)
    }

    /// Ends the helper, and gives it away to be waited for.
    pub(crate) fn kill(self) -> (i32, OwnedFd) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        (self.pid, self.pidfd)
    }

    /// Ends the helper, and waits until it has.
    pub(crate) fn end(self) {
        let _ = sys::wait4(self.kill().0);
    }

    /// Reaps a helper that has ended before its build; `is_connected` tells whether it had connected that.
    pub(crate) fn reap(self, is_connected: bool) -> Lost {
        let how = sys::wait4(self.pid).map_or_else(|errno| errno.to_string(), |(_, exited)| told(&exited));
        let mut words = vec![0; 64 * 1024];
        let length = rustix::io::read(&self.words, &mut *words).unwrap_or(0);
        let said = last_words(&String::from_utf8_lossy(&words[..length]));
        let said = if said.is_empty() { how } else { format!("{said} ({how})") };
        Lost { program: self.program, is_connected, said }
    }
}

fn told(Exited { status, .. }: &Exited) -> String {
    if libc::WIFSIGNALED(*status) {
        format!("killed by signal {}", libc::WTERMSIG(*status))
    } else {
        format!("it returned {}", libc::WEXITSTATUS(*status))
    }
}

/// The last lines of what a helper printed, in one, without its complaints that nobody keeps the system's log.
fn last_words(text: &str) -> String {
    const MOST: usize = 5;
    let is_noise = |line: &str| line.starts_with("Failed to send ") && line.ends_with(" to syslog");
    let lines: Vec<&str> =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !is_noise(line)).collect();
    lines[lines.len().saturating_sub(MOST)..].join("; ")
}

fn open(path: &str) -> Result<OwnedFd, Failure> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Failure::new(Step::Network, path, errno))
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Turns this process, which the launcher has just forked, into the helper.
fn become_helper(
    apart: &Apart,
    ends: &Ends,
    helper: Helper,
    program: &Path,
    ipv6: bool,
) -> rustix::io::Result<Infallible> {
    rustix::process::setsid()?;
    rustix::thread::move_into_link_name_space(apart.owner.as_fd(), Some(LinkNameSpaceType::User))?;
    // Above what is replaced below.
    let ready = rustix::io::fcntl_dupfd_cloexec(&ends.ready, 10)?;
    let words = rustix::io::fcntl_dupfd_cloexec(&ends.words, 10)?;
    rustix::stdio::dup2_stdin(&apart.network)?;
    rustix::stdio::dup2_stderr(&words)?;
    let ready_number = match helper {
        // Newer ones close all that is above the standard three.
        Helper::Pasta => rustix::stdio::dup2_stdout(&ready).map(|()| 1)?,
        // It prints on its standard output, which goes nowhere, as that of the launcher does.
        Helper::Slirp4netns => {
            rustix::io::fcntl_setfd(&ready, FdFlags::empty())?;
            ready.as_raw_fd()
        }
    };
    let arguments = helper.arguments(ready_number, ipv6);
    let arguments = arguments.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>();
    let arguments = arguments.map_err(|_| Errno::INVAL)?;
    let arguments: Vec<&CStr> = arguments.iter().map(CString::as_c_str).collect();
    let program = CString::new(program.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
    sys::reset_signals();
    // Last, since entering the user namespace has cleared it.
    child::die_with_parent(Signal::KILL, &words)
        .map_err(|failure| Errno::from_raw_os_error(failure.errno))?;
    Err(sys::execve(&program, &arguments, &[]))
}

fn helper_of(plan: &Plan) -> Result<(Helper, &Path, bool), Failure> {
    let connect = plan.ops.iter().find_map(|op| match op {
        Op::Connect { helper, program, ipv6 } => Some((*helper, program.as_path(), *ipv6)),
        _ => None,
    });
    // Such a plan is one that nobody makes.
    connect.ok_or_else(|| Failure::new(Step::Network, "/", Errno::INVAL))
}

/// In the build, before its program runs: waits until the launcher says that the network is there.
pub(crate) fn wait_for_network(plan: &Plan, channels: &Channels, given: &mut Given) -> Result<(), Failure> {
    let (helper, program, ipv6) = helper_of(plan)?;
    let fail = |errno| Failure::new(Step::Network, program, errno);
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let mut polled = [PollFd::new(&channels.mapped, PollFlags::IN)];
    if poll(&mut polled, Some(&patience)).map_err(fail)? == 0 {
        return Err(fail(Errno::TIMEDOUT));
    }
    if rustix::io::read(&channels.mapped, &mut [0][..]).map_err(fail)? == 0 {
        // The launcher tells the failure itself, unless it is gone.
        sys::exit_now(1);
    }
    if helper == Helper::Slirp4netns && ipv6 {
        wait_for_router();
    }
    given.network = plan.network;
    Ok(())
}

/// Has addresses of IPv6 used at once: nobody else is there who might have the same. What is refused takes longer.
fn hasten() {
    for (scope, name) in [
        ("all", "accept_dad"),
        ("default", "accept_dad"),
        ("all", "router_solicitation_delay"),
        ("default", "router_solicitation_delay"),
    ] {
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/{name}"), "0");
    }
}

/// `slirp4netns` does not give the interface its address of IPv6, but says what it is to whom asks, as routers do.
/// Without an answer there is no IPv6.
fn wait_for_router() {
    const PATIENCE: Duration = Duration::from_secs(2);
    const STEP: Duration = Duration::from_millis(5);
    for _ in 0..PATIENCE.as_millis() / STEP.as_millis() {
        let routes = fs::read_to_string("/proc/self/net/ipv6_route").unwrap_or_default();
        if network_helper::has_default_6(&routes) && routes.contains(INTERFACE) {
            return;
        }
        let step = Timespec { tv_sec: 0, tv_nsec: STEP.subsec_nanos().into() };
        let _ = poll(&mut [], Some(&step));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_those_of_the_helper() {
        let text = "Failed to send 12 bytes to syslog\na\n\n b \nc\nd\ne\nf\n";
        assert_eq!(last_words(text), "b; c; d; e; f");
        assert_eq!(last_words(""), "");
    }
}
