//! The process that ends builds when the launcher is killed.
//!
//! The kernel kills what the launcher forked when it dies, but a builder can tell the kernel not to, or lose
//! that by entering a user namespace of its own; `store` kills them then, but may have been killed too. So
//! a descriptor of each build is with one more process, which does nothing but wait for the launcher's end.
//! Should it be killed itself, the launcher starts another one.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{PidfdFlags, Signal};

use crate::cgroup::Hierarchies;
use crate::left_over;
use crate::packet::{receive_packet, send};
use crate::sys::{self, Cloned};

/// Longer than a keeper needs to undo its mounts.
const PATIENCE: Duration = Duration::from_secs(15);

/// The launcher's end of it.
pub(crate) struct Leash {
    socket: OwnedFd,
    pub(crate) pid: i32,
}

/// A build that ends with the launcher.
struct Held {
    process: OwnedFd,
    /// It is a keeper, which ends by itself, and this is where its mounts are. Else it is killed.
    root: Option<PathBuf>,
}

impl Leash {
    pub(crate) fn start() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let (socket, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // Not only by its socket: what is being forked when it dies has copies of that.
        let launcher = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
        match sys::clone3(0)? {
            Cloned::Parent { pid, .. } => Ok(Self { socket, pid }),
            Cloned::Child => {
                let _ = leave_the_rest(theirs, launcher).map(|(socket, launcher)| hold(&socket, &launcher));
                sys::exit_now(0)
            }
        }
    }

    /// Ends `process` when the launcher dies; if that is a keeper, undoes what it leaves mounted at `root`.
    pub(crate) fn hold(&self, process: &OwnedFd, root: Option<&Path>) -> rustix::io::Result<()> {
        let root = root.map_or(&[][..], |root| root.as_os_str().as_bytes());
        // Without the first byte there might be none, which says that the launcher is gone.
        send(self.socket.as_fd(), &[b"=", root].concat(), &[process.as_fd()])
    }

    /// Becomes readable when it has been killed.
    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Reaps it after that.
    pub(crate) fn reap(&self) {
        let _ = sys::wait4(self.pid);
    }
}

/// Keeps nothing of the launcher but these two: not its terminal, nor what its caller waits for.
fn leave_the_rest(socket: OwnedFd, launcher: OwnedFd) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let _ = rustix::process::setsid();
    rustix::stdio::dup2_stdin(&socket)?;
    rustix::stdio::dup2_stdout(&launcher)?;
    rustix::stdio::dup2_stderr(&launcher)?;
    // They are closed below, all of them.
    std::mem::forget((socket, launcher));
    sys::close_from(3)?;
    let kept = |fd| rustix::io::fcntl_dupfd_cloexec(fd, 3);
    Ok((kept(rustix::stdio::stdin())?, kept(rustix::stdio::stdout())?))
}

fn hold(socket: &OwnedFd, launcher: &OwnedFd) {
    let mut held: Vec<Held> = Vec::new();
    loop {
        let mut polled = vec![PollFd::new(launcher, PollFlags::IN), PollFd::new(socket, PollFlags::IN)];
        polled.extend(held.iter().map(|held| PollFd::new(&held.process, PollFlags::IN)));
        match poll(&mut polled, None) {
            Err(Errno::INTR) => continue,
            Err(_) => break,
            Ok(_) => {}
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut ended = ready[2..].iter();
        // A build that had ended before the launcher did has been dealt with by it, unless it was a keeper.
        held.retain(|held| !ended.next().is_some_and(|ended| *ended) || ready[0] && held.root.is_some());
        if ready[1] && !take(socket, &mut held) || ready[0] {
            break;
        }
    }
    end(&held);
}

/// Takes one more build. False if the launcher is gone.
fn take(socket: &OwnedFd, held: &mut Vec<Held>) -> bool {
    let mut buffer = [0; 4097];
    let Ok((length @ 1.., fds)) = receive_packet(socket.as_fd(), &mut buffer) else { return false };
    let root = (length > 1).then(|| PathBuf::from(OsStr::from_bytes(&buffer[1..length])));
    held.extend(fds.into_iter().next().map(|process| Held { process, root }));
    true
}

fn end(held: &[Held]) {
    for held in held.iter().filter(|held| held.root.is_none()) {
        let _ = rustix::process::pidfd_send_signal(&held.process, Signal::KILL);
    }
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    for held in held {
        if let Some(root) = &held.root {
            let _ = poll(&mut [PollFd::new(&held.process, PollFlags::IN)], Some(&patience));
            // What it cannot undo is left to the next start.
            let _ = left_over::release(root);
        }
    }
    if !held.is_empty() {
        // A group is there until the last of its processes has ended.
        for held in held {
            let _ = poll(&mut [PollFd::new(&held.process, PollFlags::IN)], Some(&patience));
        }
        Hierarchies::find().sweep();
    }
}
