//! Ends what an earlier build has left running under a user that is now another build's.

#![expect(clippy::disallowed_methods, reason = "looks for processes by their ids")]

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::accounts;
use crate::error::Step;
use crate::sys::{self, Cloned};
use crate::wire::Failure;

/// Kills every process of `count` users from `uid` on. The caller holds the lock on them.
pub(crate) fn kill(uid: u32, gid: u32, count: u32) -> Result<(), Failure> {
    let fail = |errno| Failure::new(Step::KillLeftOvers, "/", errno);
    if uid == 0 {
        return Err(fail(Errno::PERM));
    }
    if count > 1 {
        return kill_each(uid, count).map_err(fail);
    }
    match sys::clone3(0).map_err(|error| fail(Errno::from_io_error(&error).unwrap_or(Errno::IO)))? {
        Cloned::Child => sys::exit_now(if as_user(uid, gid).is_ok() { 0 } else { 1 }),
        Cloned::Parent { pid, .. } => {
            // One of those that it was about to kill may have killed it: by then the signal was sent, or is sent now.
            match sys::wait4(pid).map_err(fail)?.1.status {
                0 => Ok(()),
                _ => kill_each(uid, 1).map_err(fail),
            }
        }
    }
}

/// Becomes that user and signals whatever it may, which is what is that user's, in one call that no fork escapes.
fn as_user(uid: u32, gid: u32) -> rustix::io::Result<()> {
    sys::set_groups(&[])?;
    sys::become_ids(uid, gid)?;
    // As root this would end the machine.
    let is_user = rustix::process::getuid().as_raw() == uid && rustix::process::geteuid().as_raw() == uid;
    if !is_user {
        return Err(Errno::PERM);
    }
    match sys::kill_all_others() {
        Err(Errno::SRCH | Errno::PERM) => Ok(()),
        other => other,
    }
}

/// Kills one process after another, until a look finds none.
fn kill_each(uid: u32, count: u32) -> rustix::io::Result<()> {
    const MOST_LOOKS: usize = 100;
    let ids = uid..=uid.saturating_add(count - 1);
    for _ in 0..MOST_LOOKS {
        let mut found = false;
        for process in processes() {
            // Opened first, so that its number cannot become another process's in between.
            let Ok(pidfd) = rustix::process::pidfd_open(process, PidfdFlags::empty()) else { continue };
            // A process chooses its name, which need not be text.
            let status = fs::read(format!("/proc/{process}/status")).unwrap_or_default();
            let status = String::from_utf8_lossy(&status);
            let is_dead = status.contains("State:\tZ") || status.contains("State:\tX");
            if !is_dead && accounts::uids(&status).any(|id| ids.contains(&id)) {
                found = true;
                let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
            }
        }
        if !found {
            return Ok(());
        }
    }
    Err(Errno::BUSY)
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}
