//! The process that stands between the launcher and a build without namespaces.
//!
//! It holds the mounts of isolation by `chroot`, adopts whatever the build leaves running, kills it, and
//! undoes the mounts, also when `store` or the launcher dies: both show as the end of its `mapped` pipe.
//! Should it be killed itself, the launcher does that in its place, or else the next start of `store`.

#![expect(clippy::disallowed_methods, reason = "reads its own children")]

use std::convert::Infallible;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal};

use crate::child::{self, Channels};
use crate::chroot::Chroot;
use crate::descendants;
use crate::error::Step;
use crate::given::Given;
use crate::plan::{Isolation, Op, Plan};
use crate::restrict;
use crate::root;
use crate::server::say;
use crate::streams::Ends;
use crate::sweep;
use crate::sys::{self, Cloned};
use crate::uniform;
use crate::wire::{Detail, Exited, Failure, Reply, Said};

/// Runs the build and cleans up after it. Never returns.
pub(crate) fn run(plan: &Plan, mut channels: Channels, given: Given, reply: &OwnedFd) -> ! {
    let mut chroot = None;
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        keep(plan, &mut channels, given, &mut chroot, reply)
    }));
    if let Some(chroot) = chroot {
        tell(reply, Detail::Stage("undoing the mounts of its root".to_owned()));
        for failure in chroot.undo(&mut |detail| tell(reply, detail)) {
            say(reply.as_fd(), &Reply::Warning(failure));
        }
    }
    match outcome {
        Ok(Ok(exited)) => sys::exit_like(exited.status),
        Ok(Err(failure)) => child::tell(&channels.status, &Said::Failed(failure)),
        Err(_) => {
            let failure = Failure::new(Step::Namespaces, "/", Errno::CANCELED);
            child::tell(&channels.status, &Said::Failed(failure));
        }
    }
    sys::exit_now(1)
}

fn tell(reply: &OwnedFd, detail: Detail) {
    say(reply.as_fd(), &Reply::Detail(detail));
}

fn keep(
    plan: &Plan,
    channels: &mut Channels,
    mut given: Given,
    chroot: &mut Option<Chroot>,
    reply: &OwnedFd,
) -> Result<Exited, Failure> {
    let fail = |errno| Failure::new(Step::Namespaces, "/", errno);
    child::new_session()?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(fail)?;
    if let Isolation::Chroot { root } = &plan.isolation {
        tell(reply, Detail::Stage(format!("making its root in `{}`", root.display())));
        let chroot = chroot.insert(Chroot::new(root)?);
        chroot.use_memory(std::mem::take(&mut channels.memory));
        furnish(chroot, &plan.ops, reply)?;
        child::hand_over(chroot.take_memory(), reply, &mut given)?;
    }
    let (status, their_status) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(fail)?;
    match sys::clone3(0).map_err(|error| fail(Errno::from_io_error(&error).unwrap_or(Errno::IO)))? {
        Cloned::Child => {
            drop(status);
            let Err(failure) = enter_and_run(plan, channels, &their_status, given);
            child::tell(&their_status, &Said::Failed(failure));
            sys::exit_now(1)
        }
        Cloned::Parent { pid, pidfd } => {
            drop(their_status);
            match hear(&status).map_err(fail)? {
                Err(failure) => {
                    let _ = sys::wait4(pid);
                    return Err(failure);
                }
                Ok(given) => child::tell(&channels.status, &Said::Ready(given)),
            }
            child::tell(&channels.status, &Said::Runs);
            let ended = wait_for_end(&pidfd, &channels.mapped).map_err(fail)?;
            tell(reply, Detail::Stage("ending its processes".to_owned()));
            Ok(end_all(plan, pid, ended))
        }
    }
}

/// Makes the root what `ops` say, as far as a root without namespaces can be that.
fn furnish(chroot: &mut Chroot, ops: &[Op], reply: &OwnedFd) -> Result<(), Failure> {
    // Modes are given whole.
    rustix::process::umask(Mode::empty());
    for op in ops {
        tell(reply, Detail::Step(op.to_string()));
        chroot.apply(op)?;
    }
    Ok(())
}

/// Waits until the child's program runs, or setting it up has failed.
fn hear(status: &OwnedFd) -> rustix::io::Result<Result<Box<Given>, Failure>> {
    let mut buffer = [0; 8192];
    let mut given = None;
    loop {
        let length = rustix::io::read(status, &mut buffer)?;
        for said in Said::decode_all(&buffer[..length]).map_err(|_| Errno::BADMSG)? {
            match said {
                Said::Failed(failure) => return Ok(Err(failure)),
                Said::Ready(ready) => given = Some(ready),
                Said::WantsMaps | Said::Runs => {}
            }
        }
        if length == 0 {
            return given.map(Ok).ok_or(Errno::BADMSG);
        }
    }
}

fn enter_and_run(
    plan: &Plan,
    channels: &Channels,
    status: &OwnedFd,
    mut given: Given,
) -> Result<Infallible, Failure> {
    child::die_with_parent(Signal::KILL, status)?;
    let null = child::open_null()?;
    channels.bounds.enter()?;
    given.own_keyring = child::new_session()?;
    given.inherited = uniform::apply();
    for op in &plan.ops {
        root::apply_limit(op)?;
    }
    if let Isolation::Chroot { root } = &plan.isolation {
        enter(root, plan, &channels.streams)?;
        given.outer = plan.identity.outer;
        child::die_with_parent(Signal::KILL, status)?;
    }
    channels.bounds.enforcement.limit_process()?;
    let streams = channels.streams.open(null, &channels.reply)?;
    child::start_program(plan, &streams, channels.observer.as_ref(), status, given)
}

fn enter(root: &Path, plan: &Plan, streams: &Ends) -> Result<(), Failure> {
    // Without a user namespace, uid 0 inside would be root.
    let Some((uid, gid)) = plan.identity.outer.filter(|(uid, gid)| *uid != 0 && *gid != 0) else {
        return Err(Failure::new(Step::BecomeUser, "/", Errno::PERM));
    };
    streams.give((uid, gid))?;
    rustix::process::chroot(root).map_err(|errno| Failure::new(Step::EnterRoot, root, errno))?;
    rustix::process::chdir(c"/").map_err(|errno| Failure::new(Step::EnterRoot, root, errno))?;
    child::drop_bounding_set(plan)?;
    let fail = |errno| Failure::new(Step::BecomeUser, "/", errno);
    sys::set_groups(&plan.identity.groups).map_err(fail)?;
    rustix::thread::set_keep_capabilities(plan.new_privileges).map_err(fail)?;
    sys::become_ids(uid, gid).map_err(fail)?;
    restrict::shed_capabilities(plan)
}

/// Waits until the first process ends or nobody wants the build any more. True if it has ended.
fn wait_for_end(process: &OwnedFd, wanted: &OwnedFd) -> rustix::io::Result<bool> {
    let mut polled = [PollFd::new(process, PollFlags::IN), PollFd::new(wanted, PollFlags::IN)];
    loop {
        match poll(&mut polled, None) {
            Err(Errno::INTR) => {}
            other => return other.map(|_| !polled[0].revents().is_empty()),
        }
    }
}
/// What is known of processes that were reaped.
struct Reaped {
    first: i32,
    result: Exited,
    others_user_micros: u64,
    others_system_micros: u64,
}

impl Reaped {
    fn new(first: i32) -> Self {
        let result = Exited {
            status: libc::SIGKILL,
            user_micros: 0,
            system_micros: 0,
            peak_bytes: 0,
            written_bytes: 0,
            out_of_memory: None,
        };
        Self { first, result, others_user_micros: 0, others_system_micros: 0 }
    }

    fn count(&mut self, pid: i32, exited: Exited) {
        if pid == self.first {
            self.result = exited;
        } else {
            self.others_user_micros += exited.user_micros;
            self.others_system_micros += exited.system_micros;
        }
    }

    fn total(self) -> Exited {
        Exited {
            user_micros: self.result.user_micros + self.others_user_micros,
            system_micros: self.result.system_micros + self.others_system_micros,
            ..self.result
        }
    }
}

/// Kills every process of the build, and those it had left to this one; returns how `first` ended.
fn end_all(plan: &Plan, first: i32, has_ended: bool) -> Exited {
    let mut reaped = Reaped::new(first);
    if !has_ended || children().iter().any(|child| child.as_raw_nonzero().get() != first) {
        end_others(plan, &mut reaped);
    }
    loop {
        for pid in children() {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        match sys::wait4(-1) {
            Ok((pid, exited)) => reaped.count(pid, exited),
            Err(_) => break,
        }
    }
    reaped.total()
}

/// By its user, if that is the build's alone: one signal reaches them all, however fast they fork. Else one by one.
fn end_others(plan: &Plan, reaped: &mut Reaped) {
    if let Some((uid, gid)) = plan.identity.outer
        && sweep::kill(uid, gid, plan.identity.count).is_ok()
    {
        return;
    }
    descendants::kill(&mut || {
        while let Ok((pid @ 1.., exited)) = sys::reap() {
            reaped.count(pid, exited);
        }
    });
}

/// The children of this thread, which is the only one of its process.
pub(crate) fn children() -> Vec<Pid> {
    let path =
        PathBuf::from(format!("/proc/self/task/{}/children", rustix::thread::gettid().as_raw_nonzero()));
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}
