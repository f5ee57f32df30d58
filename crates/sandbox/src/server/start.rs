//! The start of a build: what it needs beside its own process, and the fork.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use super::build::{Build, User, kill_user};
use super::{Server, say};
use crate::cgroup::{Cgroup, Hierarchies};
use crate::child::{self, Channels};
use crate::connection::{Apart, Connection};
use crate::error::Step;
use crate::filter;
use crate::gather::{self, Gatherer};
use crate::given::Given;
use crate::keeper;
use crate::limits::{Bounds, Limits};
use crate::observer::Observer;
use crate::plan::{Isolation, Network, Op, Plan};
use crate::streams::Ends;
use crate::sys::{self, Cloned};
use crate::wire::{self, Failure, Reply};

impl Server {
    /// Forks a build, and goes on without waiting for it.
    pub(super) fn start(
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
