//! The launcher process: one thread that forks builds, maps their ids, reaps them and says so.

#![expect(clippy::disallowed_methods, reason = "reads the one argument that makes this program the launcher")]

mod build;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use self::build::{Build, Ready, User, kill_user};
use crate::cgroup::{Cgroup, Hierarchies};
use crate::child::{self, Channels};
use crate::connection::{Apart, Connection};
use crate::error::Step;
use crate::filter;
use crate::functions::{self, Function};
use crate::gather::{self, Gatherer};
use crate::given::Given;
use crate::host_program;
use crate::ids;
use crate::keeper;
use crate::launcher::{ARGUMENT, HELLO, TAKE_BACK};
use crate::leash::Leash;
use crate::limits::{Bounds, Limits};
use crate::minder;
use crate::observer::Observer;
use crate::ownership;
use crate::packet::{receive_packet, send};
use crate::plan::{Filter, Identity, Isolation, Network, Op, Plan, Subordinate};
use crate::streams::Ends;
use crate::subordinate::Subordinates;
use crate::sys::{self, Cloned};
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

    fn start(
        &mut self,
        plan: OwnedFd,
        streams: Ends,
        memory: Vec<OwnedFd>,
        reply: &OwnedFd,
        user: Option<User>,
        observed: Option<OwnedFd>,
    ) -> Result<(), Failure> {
        let fail = |errno| Failure::new(Step::Namespaces, "/", errno);
        if self.leash.is_none() {
            self.hold_all().map_err(|errno| Failure::new(Step::Leash, "/", errno))?;
        }
        let mut plan = read_plan(&plan).map_err(fail)?;
        self.be_where(&plan)?;
        let subordinate = self.choose_subordinate(&mut plan)?;
        if user.as_ref().is_some_and(|user| user.sweeps) {
            kill_user(&plan)?;
        }
        let (status, their_status) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(fail)?;
        rustix::fs::fcntl_setfl(&status, OFlags::NONBLOCK).map_err(fail)?;
        let (mapped, go_on) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(fail)?;
        let our_reply = rustix::io::fcntl_dupfd_cloexec(reply, 3).map_err(fail)?;
        // Here, so that further builds need not; why it fails is for the child to say.
        let _ = plan.filter.map(filter::compiled);
        let their_reply = rustix::io::fcntl_dupfd_cloexec(reply, 3).map_err(fail)?;
        let gathered = self.gather(&plan)?;
        let bounds = self.bounds(&plan.limits)?;
        let is_private =
            matches!((&plan.isolation, plan.network), (Isolation::Namespaces, Network::Private(_)));
        let apart = if is_private { Some(Apart::make()?) } else { None };
        let connection = apart.as_ref().map(|apart| Connection::start(&plan, apart)).transpose()?;
        let (observer, their_observer) = start_observer(observed, &our_reply);
        let channels = Channels {
            status: their_status,
            mapped,
            streams,
            memory,
            reply: their_reply,
            bounds,
            apart,
            gathered,
            observer: their_observer,
        };
        // The namespace of control groups is entered when those of the build are.
        let later = if channels.bounds.cgroup.is_some() { libc::CLONE_NEWCGROUP } else { 0 };
        let namespaces = self.namespaces(&plan) & !later;
        let mut given = Given::born(&plan, namespaces);
        given.outer = subordinate;
        given.inherited.extend(self.tell_not_subordinate(&plan, &our_reply));
        given.limits = channels.bounds.enforcement.limited();
        given.unlimited = channels.bounds.enforcement.unlimited();
        match sys::clone3(namespaces) {
            Err(error) => {
                observer.into_iter().for_each(|mut observer| observer.finish());
                connection.into_iter().for_each(Connection::end);
                Err(fail(Errno::from_io_error(&error).unwrap_or(Errno::IO)))
            }
            Ok(Cloned::Child) => {
                drop((go_on, status, observer));
                match plan.isolation {
                    Isolation::Namespaces => child::run(&plan, channels, given),
                    Isolation::Chroot { .. } | Isolation::None => {
                        // A keeper lives as long as its build; other builds' sockets must not.
                        self.builds.clear();
                        self.leash = None;
                        self.gatherer = None;
                        let _ = rustix::stdio::dup2_stdin(&our_reply);
                        let _ = rustix::io::dup2(&our_reply, &mut self.control);
                        keeper::run(&plan, channels, given, &our_reply)
                    }
                }
            }
            Ok(Cloned::Parent { pid, pidfd }) => {
                let build = Build {
                    reply: our_reply,
                    pid,
                    pidfd,
                    status: Some(status),
                    go_on: Some(go_on),
                    failed: false,
                    abandoned: false,
                    given: None,
                    started: false,
                    user,
                    bounds: channels.bounds,
                    plan,
                    is_root: self.caller.0 == 0,
                    ended: None,
                    is_taking_back: false,
                    observer,
                    untold: None,
                    connection,
                    is_connected: false,
                    lost: None,
                };
                // One that was killed meanwhile is replaced, with all of them.
                let _ = self.leash.as_ref().map(|leash| build.hold(leash));
                self.builds.push(build);
                Ok(())
            }
        }
    }

    /// Enters the user namespace that an ordinary user's builds are made in. There is no way back, so what needs none
    /// has to come from another launcher then; one that builds both ways would not know which its user wanted.
    fn be_where(&mut self, plan: &Plan) -> Result<(), Failure> {
        match (&plan.isolation, self.caller.0) {
            (_, 0) => Ok(()),
            (Isolation::Namespaces, _) if self.own_namespace => Ok(()),
            (Isolation::Namespaces, _) => self.enter_namespace(plan.identity.subordinate),
            (Isolation::Chroot { .. } | Isolation::None, _) if self.own_namespace => {
                Err(Failure::new(Step::LeaveNamespace, "/", Errno::BUSY))
            }
            (Isolation::Chroot { .. } | Isolation::None, _) => Ok(()),
        }
    }

    /// With subordinate ids, if the caller has some and they are wanted.
    fn enter_namespace(&mut self, subordinate: Subordinate) -> Result<(), Failure> {
        let found = if subordinate == Subordinate::Never { None } else { Subordinates::find() };
        let refused = match &found {
            Some(found) => found.enter(self.caller)?,
            None => ids::enter_own(self.caller).map(|()| None)?,
        };
        self.own_namespace = true;
        self.subordinates = found.filter(|_| refused.is_none());
        self.not_subordinate = refused.map(|failure| (failure, false));
        Ok(())
    }

    /// Makes the builder one of the caller's subordinate ids; returns which that is on the host.
    fn choose_subordinate(&self, plan: &mut Plan) -> Result<Option<(u32, u32)>, Failure> {
        let Identity { outer, count, subordinate, .. } = plan.identity;
        if outer.is_some() || self.caller.0 == 0 || subordinate == Subordinate::Never {
            return Ok(None);
        }
        let running = self.builds.iter().map(|build| &build.plan.identity);
        let taken: Vec<_> = running.filter_map(|one| Some((one.outer?.0, one.count))).collect();
        let found = self.subordinates.as_ref();
        plan.identity.outer = found.and_then(|ids| ids.choose(count, &taken));
        match (plan.identity.outer, &self.not_subordinate) {
            (None, Some((failure, _))) if subordinate == Subordinate::Needed => Err(failure.clone()),
            (None, None) if subordinate == Subordinate::Needed => {
                Err(Failure::new(Step::MapSubordinates, "/etc/subuid", Errno::NOENT))
            }
            (outer, _) => Ok(outer.zip(found).map(|(outer, found)| found.on_host(outer))),
        }
    }

    /// Warns once, and says to each build that its builder is the caller outside though it need not be.
    fn tell_not_subordinate(&mut self, plan: &Plan, reply: &OwnedFd) -> Option<String> {
        let (failure, is_told) = self.not_subordinate.as_mut()?;
        if plan.identity.subordinate == Subordinate::Never {
            return None;
        }
        if !std::mem::replace(is_told, true) {
            say(reply.as_fd(), &Reply::Warning(failure.clone()));
        }
        Some("the caller as its user outside, whose subordinate ids cannot be mapped".to_owned())
    }

    /// Gives a directory and what is in it to the caller.
    fn take_back(&mut self, directory: &OwnedFd) -> Result<(), Failure> {
        if !self.own_namespace && self.caller.0 != 0 {
            self.enter_namespace(Subordinate::Needed)?;
        }
        match (&self.subordinates, &self.not_subordinate) {
            (Some(_), _) => ownership::give(directory.as_fd(), ownership::CALLER, &[])
                .map_err(|errno| Failure::new(Step::TakeBack, "/", errno)),
            (None, Some((failure, _))) => Err(failure.clone()),
            (None, None) => Err(Failure::new(Step::MapSubordinates, "/etc/subuid", Errno::NOENT)),
        }
    }

    /// What a build shows of what others have shown before; without it, the build makes its mounts itself.
    fn gather(&mut self, plan: &Plan) -> Result<Option<OwnedFd>, Failure> {
        let wanted = plan.ops.iter().find(|op| matches!(op, Op::Gather { .. }));
        let Some(wanted @ Op::Gather { base, names, .. }) = wanted else { return Ok(None) };
        if plan.isolation == Isolation::Namespaces
            && let Some(mounts) = self.gathered(wanted)
        {
            return Ok(Some(mounts));
        }
        // What other builds had is not to be seen.
        gather::clear(base, names).map_err(|errno| Failure::new(Step::Unmount, base, errno))?;
        Ok(None)
    }

    fn gathered(&mut self, wanted: &Op) -> Option<OwnedFd> {
        if let Some(gatherer) = &mut self.gatherer {
            match gatherer.gather(wanted) {
                Err(Errno::PIPE | Errno::CONNRESET) => self.gatherer.take().map(Gatherer::reap),
                other => return other.ok(),
            };
        }
        // The first, or the next when one was killed.
        self.gatherer = Gatherer::start().ok();
        self.gatherer.as_mut()?.gather(wanted).ok()
    }

    /// Makes what enforces the limits of a build.
    fn bounds(&mut self, limits: &Limits) -> Result<Bounds, Failure> {
        if limits.are_none() {
            return Ok(Bounds::default());
        }
        let hierarchies = self.hierarchies.get_or_insert_with(Hierarchies::find);
        let enforcement = limits.enforced_within(hierarchies)?;
        let cgroup = match enforcement.groups.is_empty() {
            true => None,
            false => Some(Cgroup::make(hierarchies, &enforcement.groups)?),
        };
        Ok(Bounds { enforcement, cgroup })
    }

    /// The namespaces that the child is born into, as `CLONE_NEW*` flags.
    fn namespaces(&self, plan: &Plan) -> i32 {
        if plan.isolation != Isolation::Namespaces {
            return 0;
        }
        let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        // One that is private is made before.
        if matches!(plan.network, Network::Loopback | Network::Withheld(_)) {
            flags |= libc::CLONE_NEWNET;
        }
        if self.cgroups {
            flags |= libc::CLONE_NEWCGROUP;
        }
        flags
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

/// Starts what observes a build, if that is wanted; that it cannot be had is no reason not to build.
fn start_observer(file: Option<OwnedFd>, reply: &OwnedFd) -> (Option<Observer>, Option<OwnedFd>) {
    match file.map(Observer::start).transpose() {
        Ok(started) => started.unzip(),
        Err(error) => {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            say(reply.as_fd(), &Reply::Warning(Failure::new(Step::Observe, "/", errno)));
            (None, None)
        }
    }
}

/// Says something about a build. Nobody may be listening any more.
pub(crate) fn say(reply: BorrowedFd<'_>, what: &Reply) {
    let _ = send(reply, &wire::encode(what), &[]);
}

fn read_plan(file: &OwnedFd) -> rustix::io::Result<Plan> {
    let size = rustix::fs::fstat(file)?.st_size as usize;
    let mut bytes = vec![0; size];
    let mut filled = 0;
    while filled < size {
        match rustix::io::pread(file, &mut bytes[filled..], filled as u64)? {
            0 => return Err(Errno::BADMSG),
            length => filled += length,
        }
    }
    wire::decode(&bytes).map_err(|_| Errno::BADMSG)
}

fn has_cgroup_namespaces() -> bool {
    rustix::fs::access(c"/proc/self/ns/cgroup", rustix::fs::Access::EXISTS).is_ok()
}
