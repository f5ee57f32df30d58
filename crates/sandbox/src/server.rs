//! The launcher process: one thread that forks builds, maps their ids, reaps them and says so.

#![expect(clippy::disallowed_methods, reason = "reads the one argument that makes this program the launcher")]

mod build;
mod start;
mod subordinate;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use self::build::{Build, Ready, User};
use crate::cgroup::Hierarchies;
use crate::filter;
use crate::functions::{self, Function};
use crate::gather::Gatherer;
use crate::host_program;
use crate::launcher::{ARGUMENT, HELLO, TAKE_BACK};
use crate::leash::Leash;
use crate::minder;
use crate::observer::Observer;
use crate::packet::{receive_packet, send};
use crate::plan::Filter;
use crate::subordinate::Subordinates;
use crate::sys;
use crate::wire::{self, Failure, Reply, Request};

/// Becomes the launcher if this process was started as one, and then never returns.
///
/// Must be the first line of the `main` of every program that builds, before any thread and before
/// anything reads the arguments.
pub fn launcher_main() {
    launcher_main_with(&[]);
}

/// Like [`launcher_main`], in a program with functions of its own that builds may run in the place of a program
/// ([`crate::Program::Function`]).
pub fn launcher_main_with(functions: &'static [(&'static str, Function)]) {
    let argument = std::env::args_os().nth(1);
    if argument.as_ref().is_some_and(|argument| argument == ARGUMENT) {
        functions::register(functions);
        serve();
        sys::exit_now(0);
    }
    if argument.is_some_and(|argument| argument == host_program::ARGUMENT) {
        minder::serve();
        sys::exit_now(0);
    }
}

fn serve() {
    // The caller may keep them for itself.
    sys::unblock_signals();
    // What the caller's own parent left open without closing on exec must not reach any build.
    let _ = sys::close_on_exec_from(3);
    let _ = rustix::process::chdir(c"/");
    raise_descriptor_limit();
    // Each build gets one of its own too, unless its user has too many.
    let _ = sys::join_new_session_keyring();
    let Ok(control) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else { return };
    if send(control.as_fd(), HELLO, &[]).is_err() {
        return;
    }
    // The usual one, while the caller makes its plan.
    let _ = filter::compiled(Filter { nested_user_namespaces: false, socketcall: false });
    let caller = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // What a killed keeper leaves running is found as a child of this process.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    let cgroups = has_cgroup_namespaces();
    let leash = Leash::start().ok();
    let own_namespace = false;
    let mut server = Server {
        control,
        builds: Vec::new(),
        leash,
        gatherer: None,
        caller,
        own_namespace,
        subordinates: None,
        not_subordinate: None,
        cgroups,
        hierarchies: None,
    };
    while server.turn() {}
    server.kill_all();
}

/// A build of a thousand inputs holds a few descriptors at a time, many builds hold more.
fn raise_descriptor_limit() {
    let kind = rustix::process::Resource::Nofile;
    let old = rustix::process::getrlimit(kind);
    let new = rustix::process::Rlimit { current: old.maximum, maximum: old.maximum };
    let _ = rustix::process::setrlimit(kind, new);
}

struct Server {
    control: OwnedFd,
    builds: Vec<Build>,
    /// `None` if it could not be started, which is tried again with each build.
    leash: Option<Leash>,
    /// Started with the first build that shows what others may show too.
    gatherer: Option<Gatherer>,
    /// Effective user and group id on the host.
    caller: (u32, u32),
    /// Whether this process has left the caller's user namespace, as an ordinary user's does for namespaces.
    own_namespace: bool,
    /// Whom builders may be outside, once their ids are mapped.
    subordinates: Option<Subordinates>,
    /// Why they are not, though the caller has been given some; and whether a build was told.
    not_subordinate: Option<(Failure, bool)>,
    cgroups: bool,
    /// Where control groups can be made, once that was asked for.
    hierarchies: Option<Hierarchies>,
}

impl Server {
    /// Waits for something to happen and deals with it. False once the caller is gone.
    fn turn(&mut self) -> bool {
        let Ok((asked, lost_leash, ready)) = self.wait() else { return false };
        if lost_leash && let Some(leash) = self.leash.take() {
            leash.reap();
            // If that fails now, the next build says so.
            let _ = self.hold_all();
        }
        for (build, ready) in self.builds.iter_mut().zip(&ready) {
            if ready.abandoned {
                build.abandoned = true;
                build.kill();
            }
            if ready.status {
                build.hear_child();
            }
            build.see_to_network(ready);
            if ready.observer {
                build.hear_observer();
            }
        }
        let mut ended = ready.iter().map(|ready| ready.ended);
        let ours = self.children();
        self.builds.retain_mut(|build| !(ended.next().unwrap_or(false) && build.reap(&ours)));
        !asked || self.serve_request()
    }

    /// Whether a request has come, whether the leash was killed, and what is ready for each build.
    fn wait(&self) -> rustix::io::Result<(bool, bool, Vec<Ready>)> {
        let leash = self.leash.as_ref().map_or(&self.control, Leash::socket);
        let mut polled = vec![PollFd::new(&self.control, PollFlags::IN), PollFd::new(leash, PollFlags::IN)];
        for build in &self.builds {
            polled.push(PollFd::new(&build.pidfd, PollFlags::IN));
            // A closed socket stays ready: looking at it while a keeper cleans up would be a busy loop.
            if !build.abandoned {
                polled.push(PollFd::new(&build.reply, PollFlags::RDHUP));
            }
            if let Some(status) = &build.status {
                polled.push(PollFd::new(status, PollFlags::IN));
            }
            polled.extend(build.observer.iter().flat_map(Observer::sources));
            if let Some(connection) = &build.connection {
                polled.push(PollFd::new(connection.process(), PollFlags::IN));
                polled.extend(connection.ready().map(|ready| PollFd::new(ready, PollFlags::IN)));
            }
        }
        while let Err(errno) = poll(&mut polled, None) {
            if errno != Errno::INTR {
                return Err(errno);
            }
        }
        let mut events = polled.iter().map(|fd| !fd.revents().is_empty());
        let asked = events.next().unwrap_or(false);
        let lost_leash = events.next().unwrap_or(false) && self.leash.is_some();
        let mut next = || events.next().unwrap_or(false);
        let ready = self
            .builds
            .iter()
            .map(|build| Ready {
                ended: next(),
                abandoned: !build.abandoned && next(),
                status: build.status.is_some() && next(),
                // All of them, so that the next build's are next.
                observer: build.observer.iter().flat_map(Observer::sources).filter(|_| next()).count() > 0,
                disconnected: build.connection.is_some() && next(),
                connected: build.connection.as_ref().is_some_and(|one| one.ready().is_some()) && next(),
            })
            .collect();
        Ok((asked, lost_leash, ready))
    }

    /// Reads one request. False once the caller has closed its end.
    fn serve_request(&mut self) -> bool {
        let mut buffer = [0; 64];
        let Ok((length, fds)) = receive_packet(self.control.as_fd(), &mut buffer) else { return false };
        if length == 0 {
            return false;
        }
        let mut fds = fds.into_iter();
        if buffer[..length] == *TAKE_BACK {
            if let (Some(directory), Some(reply)) = (fds.next(), fds.next()) {
                say(
                    reply.as_fd(),
                    &self.take_back(&directory).map_or_else(Reply::Failed, |()| Reply::TakenBack),
                );
            }
            return true;
        }
        let Ok(request) = wire::decode::<Request>(&buffer[..length]) else { return false };
        if let (Some(plan), Some(reply), Some(streams)) =
            (fds.next(), fds.next(), request.streams.take(&mut fds))
        {
            let lock = if request.has_user { fds.next() } else { None };
            let user = lock.map(|lock| User { lock, sweeps: request.sweeps });
            let observed = if request.is_observed { fds.next() } else { None };
            if let Err(failure) = self.start(plan, streams, fds.collect(), &reply, user, observed) {
                say(reply.as_fd(), &Reply::Failed(failure));
            }
        }
        true
    }

    /// Every child that was not adopted.
    fn children(&self) -> Vec<i32> {
        let leash = self.leash.as_ref().map(|leash| leash.pid);
        let gatherer = self.gatherer.as_ref().map(|gatherer| gatherer.pid);
        let observers = self.builds.iter().filter_map(|build| Some(build.observer.as_ref()?.pid));
        let helpers = self.builds.iter().filter_map(|build| Some(build.connection.as_ref()?.pid));
        let builds = self.builds.iter().map(|build| build.pid);
        builds.chain(observers).chain(helpers).chain(leash).chain(gatherer).collect()
    }

    /// Starts the leash, and gives it every build.
    fn hold_all(&mut self) -> rustix::io::Result<()> {
        let leash = Leash::start().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let held = self.builds.iter().try_for_each(|build| build.hold(&leash));
        self.leash = Some(leash);
        held
    }

    /// The caller is gone: ends every build and waits until it has.
    fn kill_all(&mut self) {
        for build in &mut self.builds {
            build.kill();
        }
        let ours = self.children();
        self.builds.iter_mut().for_each(|build| build.finish(&ours));
    }
}

/// Says something about a build. Nobody may be listening any more.
pub(crate) fn say(reply: BorrowedFd<'_>, what: &Reply) {
    let _ = send(reply, &wire::encode(what), &[]);
}

fn has_cgroup_namespaces() -> bool {
    rustix::fs::access(c"/proc/self/ns/cgroup", rustix::fs::Access::EXISTS).is_ok()
}
