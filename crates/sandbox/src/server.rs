//! The launcher process: one thread that forks builds, maps their ids, reaps them and says so.

#![expect(clippy::disallowed_methods, reason = "reads the one argument that makes this program the launcher")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal};

use crate::cgroup::{Cgroup, Hierarchies};
use crate::child::{self, Channels};
use crate::connection::{Apart, Connection};
use crate::error::Step;
use crate::filter;
use crate::gather::{self, Gatherer};
use crate::given::Given;
use crate::ids;
use crate::keeper;
use crate::launcher::{ARGUMENT, HELLO, TAKE_BACK, receive_packet, send};
use crate::leash::Leash;
use crate::left_over;
use crate::limits::{Bounds, Limits};
use crate::observer::Observer;
use crate::ownership::{self, Taker};
use crate::plan::{Filter, Identity, Isolation, Network, Op, Plan, Subordinate};
use crate::streams::Ends;
use crate::subordinate::Subordinates;
use crate::sweep;
use crate::sys::{self, Cloned};
use crate::wire::{self, Exited, Failure, Lost, Reply, Request, Said};

/// Becomes the launcher if this process was started as one, and then never returns.
///
/// Must be the first line of the `main` of every program that builds, before any thread and before
/// anything reads the arguments.
pub fn launcher_main() {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == ARGUMENT) {
        serve();
        sys::exit_now(0);
    }
}

fn serve() {
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

/// One forked child.
struct Build {
    reply: OwnedFd,
    pid: i32,
    pidfd: OwnedFd,
    /// Open until the program runs or setting up failed.
    status: Option<OwnedFd>,
    /// A byte written here says that ids are mapped; closing it ends a keeper.
    go_on: Option<OwnedFd>,
    /// Setting up failed and that was told.
    failed: bool,
    /// Nobody wants it any more, and it was told to end.
    abandoned: bool,
    /// What the child has, once it has said so.
    given: Option<Box<Given>>,
    /// The program runs and that was told.
    started: bool,
    user: Option<User>,
    bounds: Bounds,
    plan: Plan,
    /// Whether the launcher is root on the host.
    is_root: bool,
    /// How it ended, while another process takes back what it was given.
    ended: Option<Exited>,
    observer: Option<Observer>,
    /// Why it failed, to be told once its observer has told what it saw.
    untold: Option<Failure>,
    /// The helper of its network.
    connection: Option<Connection>,
    /// That has connected it.
    is_connected: bool,
    /// How that has failed it.
    lost: Option<Lost>,
}

/// The user that a build has for itself, also when `store` dies before the build.
struct User {
    /// Locked, as long as this is open anywhere.
    #[expect(dead_code, reason = "is there to be open")]
    lock: OwnedFd,
    /// Whether what it runs before the build is to be killed.
    sweeps: bool,
}

/// What [`Server::turn`] found ready for one build.
#[derive(Clone, Copy, Default)]
struct Ready {
    status: bool,
    ended: bool,
    abandoned: bool,
    observer: bool,
    connected: bool,
    disconnected: bool,
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
        for build in &mut self.builds {
            let _ = sys::wait4(build.pid);
            if build.is_subordinate() && build.ended.is_none() {
                let _ = ownership::hand_over(&build.plan, ownership::CALLER);
            }
            build.disconnect();
            let _ = build.clean_up(&ours);
            build.observer.iter_mut().for_each(Observer::finish);
            let _ = build.bounds.remove();
        }
    }
}

impl Build {
    /// Ends the build: its first process takes all others of the process namespace along, and a
    /// keeper kills what it keeps and undoes its mounts.
    fn kill(&mut self) {
        if self.ended.is_some() {
            return;
        }
        if self.plan.isolation == Isolation::Namespaces {
            let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        }
        self.go_on = None;
    }

    /// Reads what the child says while it sets up.
    fn hear_child(&mut self) {
        let Some(status) = &self.status else { return };
        let mut buffer = [0; 8192];
        match rustix::io::read(status, &mut buffer) {
            Ok(0) => self.started(),
            Ok(length) => match Said::decode_all(&buffer[..length]) {
                Ok(all) => all.into_iter().for_each(|said| self.heard(said)),
                Err(_) => self.fail(Failure::new(Step::Namespaces, "/", Errno::BADMSG)),
            },
            Err(_) => {}
        }
    }

    fn heard(&mut self, said: Said) {
        match said {
            Said::WantsMaps => {
                if let Err(failure) = ids::map_child(self.pid, &self.plan.identity, self.is_root) {
                    self.fail(failure);
                } else if let Some(go_on) = &self.go_on {
                    // Should it have died meanwhile, that shows on its pidfd.
                    let _ = rustix::io::write(go_on, &[1]);
                }
            }
            Said::Failed(failure) => self.fail(failure),
            Said::Ready(given) => self.given = Some(given),
            Said::Runs => self.started(),
        }
    }

    /// Lets the child go on once its network is there, and ends the build without the helper of that.
    fn see_to_network(&mut self, ready: &Ready) {
        let Some(connection) = &mut self.connection else { return };
        if ready.connected
            && connection.take_ready()
            && let Some(go_on) = &self.go_on
        {
            self.is_connected = true;
            let _ = rustix::io::write(go_on, &[1]);
        }
        // When both have ended, the helper has not ended first.
        if ready.disconnected && !ready.ended {
            self.lost = self.connection.take().map(|connection| connection.reap(self.is_connected));
            self.kill();
        }
    }

    /// Ends the helper of its network.
    fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.end();
        }
    }

    fn started(&mut self) {
        self.status = None;
        // Without it, the child died while it was setting up, which its end will say.
        if let Some(given) = self.given.take().filter(|_| !self.failed) {
            self.started = true;
            // Should nobody be listening any more, the build is ended as abandoned.
            let _ = send(self.reply.as_fd(), &wire::encode(&Reply::Started(given)), &[self.pidfd.as_fd()]);
        }
    }

    fn fail(&mut self, failure: Failure) {
        if !self.failed && (self.observer.is_some() || self.is_subordinate()) {
            self.untold = Some(failure);
        } else if !self.failed {
            say(self.reply.as_fd(), &Reply::Failed(failure));
        }
        self.failed = true;
        self.kill();
    }

    fn hear_observer(&mut self) {
        match self.observer.as_mut().map_or(Ok(None), Observer::turn) {
            Ok(warning) => {
                warning.into_iter().for_each(|failure| say(self.reply.as_fd(), &Reply::Warning(failure)));
            }
            Err(failure) => self.fail(failure),
        }
    }

    fn hold(&self, leash: &Leash) -> rustix::io::Result<()> {
        leash.hold(&self.pidfd, self.root())?;
        let observer = self.observer.as_ref().map(|observer| &observer.pidfd);
        let helper = self.connection.as_ref().map(Connection::process);
        observer.into_iter().chain(helper).try_for_each(|process| leash.hold(process, None))
    }

    /// Where its mounts are, if they are the host's.
    fn root(&self) -> Option<&Path> {
        match &self.plan.isolation {
            Isolation::Chroot { root } => Some(root),
            Isolation::Namespaces | Isolation::None => None,
        }
    }

    /// Does what its keeper has not, if that was killed. `ours` are children that are not of its making.
    fn clean_up(&self, ours: &[i32]) -> Result<(), Failure> {
        if self.plan.isolation == Isolation::Namespaces {
            return Ok(());
        }
        loop {
            let known = |child: &Pid| ours.contains(&child.as_raw_nonzero().get());
            let orphans: Vec<Pid> = keeper::children().into_iter().filter(|child| !known(child)).collect();
            if orphans.is_empty() {
                break;
            }
            for orphan in orphans {
                let _ = rustix::process::kill_process(orphan, Signal::KILL);
                let _ = sys::wait4(orphan.as_raw_nonzero().get());
            }
        }
        self.root().map_or(Ok(()), |root| left_over::release_within(root, Duration::from_secs(1)))
    }

    /// A process namespace takes everything along; without one, something may have left the keeper's care.
    fn sweep_after(&self) -> Result<(), Failure> {
        match (&self.user, &self.plan.isolation) {
            (None, _) | (_, Isolation::Namespaces) => Ok(()),
            _ => kill_user(&self.plan),
        }
    }

    /// Reaps the ended child. False if it was not the end after all.
    fn reap(&mut self, ours: &[i32]) -> bool {
        // What it said before it ended comes first.
        let mut unheard = 3;
        while self.status.is_some() && !self.failed && unheard > 0 {
            self.hear_child();
            unheard -= 1;
        }
        let Ok((_, mut exited)) = sys::wait4(self.pid) else { return false };
        match self.ended.take() {
            Some(ended) => {
                if exited.status != 0 {
                    let failure = Failure::new(Step::TakeBack, "/", Errno::PERM);
                    say(self.reply.as_fd(), &Reply::Warning(failure));
                }
                self.told(ended);
                return true;
            }
            None => self.put_away(&mut exited, ours),
        }
        if self.is_subordinate() {
            if let Some(Taker { pid, pidfd }) = Taker::start(&self.plan) {
                (self.pid, self.pidfd, self.ended) = (pid, pidfd, Some(exited));
                return false;
            }
            if let Err(failure) = ownership::hand_over(&self.plan, ownership::CALLER) {
                say(self.reply.as_fd(), &Reply::Warning(failure));
            }
        }
        self.told(exited);
        true
    }

    /// Whether its builder is a subordinate id of the caller.
    fn is_subordinate(&self) -> bool {
        !self.is_root && self.plan.identity.outer.is_some()
    }

    /// Removes what it had beside its processes.
    fn put_away(&mut self, exited: &mut Exited, ours: &[i32]) {
        self.disconnect();
        self.bounds.count(exited);
        if let Err(failure) = self.bounds.remove() {
            say(self.reply.as_fd(), &Reply::Warning(failure));
        }
        if let Err(failure) = self.clean_up(ours).and_then(|()| self.sweep_after()) {
            say(self.reply.as_fd(), &Reply::Warning(failure));
        }
        // Whoever hears of the end may take it for the next build at once.
        self.user = None;
        self.observer.iter_mut().for_each(Observer::finish);
    }

    /// Tells how it ended.
    fn told(&mut self, exited: Exited) {
        if let Some(failure) = self.untold.take() {
            say(self.reply.as_fd(), &Reply::Failed(failure));
        } else if !self.failed {
            let failure = || Failure::new(Step::SetUp, "/", Errno::CANCELED);
            let reply = match self.lost.take() {
                Some(lost) => Reply::Lost(lost),
                None if self.started => Reply::Exited(exited),
                None => Reply::Failed(failure()),
            };
            say(self.reply.as_fd(), &reply);
        }
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

/// Kills what the user of a build runs, which was locked for it.
fn kill_user(plan: &Plan) -> Result<(), Failure> {
    let Some((uid, gid)) = plan.identity.outer else { return Ok(()) };
    sweep::kill(uid, gid, plan.identity.count)
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
