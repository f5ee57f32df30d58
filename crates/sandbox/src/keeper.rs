//! The process that stands between the launcher and a build without namespaces.
//!
//! It holds the [`BindMount`] guards of isolation by `chroot`, adopts whatever the build leaves
//! running, kills it, and undoes the mounts, also when `store` or the launcher dies: both show as the
//! end of its `mapped` pipe.

#![expect(clippy::disallowed_methods, reason = "furnishes a root on disk and reads its own children")]

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal};

use crate::bind_mount::BindMount;
use crate::child::{self, Channels};
use crate::error::Step;
use crate::given::Given;
use crate::plan::{Access, Isolation, Op, Plan, relative};
use crate::root;
use crate::server::say;
use crate::sys::{self, Cloned};
use crate::wire::{Exited, Failure, Reply, Said};

/// Runs the build and cleans up after it. Never returns.
pub(crate) fn run(plan: &Plan, channels: Channels, given: Given, reply: &OwnedFd) -> ! {
    let mut mounts = Vec::new();
    let outcome =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| keep(plan, &channels, given, &mut mounts)));
    for failure in mounts.into_iter().rev().flat_map(BindMount::unmount) {
        say(reply.as_fd(), &Reply::Warning(failure));
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

fn keep(
    plan: &Plan,
    channels: &Channels,
    given: Given,
    mounts: &mut Vec<BindMount>,
) -> Result<Exited, Failure> {
    let fail = |errno| Failure::new(Step::Namespaces, "/", errno);
    child::new_session()?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(fail)?;
    if let Isolation::Chroot { root } = &plan.isolation {
        furnish(root, &plan.ops, mounts)?;
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
            wait_for_end(&pidfd, &channels.mapped).map_err(fail)?;
            Ok(end_all(pid))
        }
    }
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

/// Makes the root on disk what `ops` say, as far as a root without namespaces can be that.
fn furnish(root: &Path, ops: &[Op], mounts: &mut Vec<BindMount>) -> Result<(), Failure> {
    for op in ops {
        let failed = |step, path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| {
                Failure::new(step, path, Errno::from_io_error(&error).unwrap_or(Errno::IO))
            }
        };
        let below = |target: &Path| root.join(relative(target));
        match op {
            Op::Dir { target, mode } | Op::Tmpfs { target, mode, .. } => {
                make_dir(&below(target), *mode).map_err(failed(Step::MakeDir, target))?;
            }
            Op::Bind { source, optional: true, .. } if !source.exists() => {}
            Op::Bind { source, target, access, .. } => match fs::read_link(source) {
                Ok(points_at) => {
                    make_symlink(&points_at, &below(target)).map_err(failed(Step::MakeSymlink, target))?
                }
                Err(_) => mounts.push(bind(source, target, &below(target), *access)?),
            },
            Op::File { target, contents, mode } => {
                make_file(&below(target), contents, *mode).map_err(failed(Step::MakeFile, target))?;
            }
            Op::Symlink { target, points_at } => {
                make_symlink(points_at, &below(target)).map_err(failed(Step::MakeSymlink, target))?;
            }
            Op::Proc { target } => {
                mounts.push(bind(Path::new("/proc"), target, &below(target), Access::ReadOnly)?);
            }
            // What this isolation cannot give is told by `Plan::lacks`.
            Op::DevPts { .. } | Op::ReadOnly { .. } | Op::Loopback | Op::HostName { .. } => {}
            // Set in the child, not in this process.
            Op::Limit { .. } => {}
        }
    }
    Ok(())
}

/// Other operations put files beside the mount, so the directory that it is in goes with the root, not
/// with the mount.
fn bind(source: &Path, target: &Path, below: &Path, access: Access) -> Result<BindMount, Failure> {
    make_parent(below).map_err(|error| {
        Failure::new(Step::MakeDir, target, Errno::from_io_error(&error).unwrap_or(Errno::IO))
    })?;
    BindMount::new(source, below, access)
}

fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn make_file(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    make_parent(path)?;
    fs::write(path, contents)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn make_symlink(points_at: &Path, path: &Path) -> io::Result<()> {
    make_parent(path)?;
    std::os::unix::fs::symlink(points_at, path)
}

fn make_parent(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(path))
}

fn enter_and_run(
    plan: &Plan,
    channels: &Channels,
    status: &OwnedFd,
    mut given: Given,
) -> Result<Infallible, Failure> {
    child::die_with_parent(Signal::KILL, status)?;
    let null = child::open_null()?;
    given.own_keyring = child::new_session()?;
    for op in &plan.ops {
        root::apply_limit(op)?;
    }
    if let Isolation::Chroot { root } = &plan.isolation {
        enter(root, plan, &channels.log)?;
        given.outer = plan.identity.outer;
        given.unprivileged = true;
        child::die_with_parent(Signal::KILL, status)?;
    }
    child::start_program(&plan.program, &null, &channels.log, status, given)
}

fn enter(root: &Path, plan: &Plan, log: &OwnedFd) -> Result<(), Failure> {
    let Some((uid, gid)) = plan.identity.outer else {
        return Err(Failure::new(Step::BecomeUser, "/", Errno::PERM));
    };
    child::give_log(log, (uid, gid))?;
    rustix::process::chroot(root).map_err(|errno| Failure::new(Step::EnterRoot, root, errno))?;
    rustix::process::chdir(c"/").map_err(|errno| Failure::new(Step::EnterRoot, root, errno))?;
    child::drop_bounding_set()?;
    let fail = |errno| Failure::new(Step::BecomeUser, "/", errno);
    sys::drop_groups().map_err(fail)?;
    sys::become_ids(uid, gid).map_err(fail)?;
    child::drop_capabilities()
}

/// Waits until the first process ends or nobody wants the build any more.
fn wait_for_end(process: &OwnedFd, wanted: &OwnedFd) -> rustix::io::Result<()> {
    let mut polled = [PollFd::new(process, PollFlags::IN), PollFd::new(wanted, PollFlags::IN)];
    loop {
        match poll(&mut polled, None) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Kills every process of the build, and those it had left to this one; returns how `first` ended.
fn end_all(first: i32) -> Exited {
    let mut result = Exited { status: libc::SIGKILL, user_micros: 0, system_micros: 0, peak_bytes: 0 };
    let mut others = Exited { ..result };
    loop {
        for pid in children() {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        match sys::wait4(-1) {
            Ok((pid, exited)) if pid == first => result = exited,
            Ok((_, exited)) => {
                others.user_micros += exited.user_micros;
                others.system_micros += exited.system_micros;
            }
            Err(_) => break,
        }
    }
    result.user_micros += others.user_micros;
    result.system_micros += others.system_micros;
    result
}

fn children() -> Vec<Pid> {
    let path =
        PathBuf::from(format!("/proc/self/task/{}/children", rustix::thread::gettid().as_raw_nonzero()));
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}
