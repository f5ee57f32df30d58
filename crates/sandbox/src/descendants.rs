//! Ending all that a process has started, without a namespace or a control group to name it.
//!
//! A process that forks and exits at once is gone when a signal for it arrives. So everything is stopped
//! first: what is stopped, or is about to be, cannot fork, and what was missed is a child of something
//! known or, since the caller adopts orphans, of the caller.

#![expect(clippy::disallowed_methods, reason = "reads the parents of processes")]

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal};

use crate::left_over::processes;

/// More rounds than any number of processes needs: each round stops all those it finds.
const MOST_ROUNDS: u32 = 500;

/// A process as `/proc` shows it.
struct Seen {
    parent: i32,
    /// Stopped or dead: it will not fork.
    is_still: bool,
}

/// Kills every descendant of this process, which has to be their subreaper. They are left to be reaped; `reap` is to
/// reap those that have ended meanwhile, as the dead are looked at in each round, too.
pub(crate) fn kill(reap: &mut dyn FnMut()) {
    for _ in 0..MOST_ROUNDS {
        reap();
        let moving: Vec<OwnedFd> = find(|seen| !seen.is_still);
        if moving.is_empty() {
            break;
        }
        for process in &moving {
            let _ = rustix::process::pidfd_send_signal(process, Signal::STOP);
        }
    }
    for process in find(|_| true) {
        let _ = rustix::process::pidfd_send_signal(&process, Signal::KILL);
    }
}

/// Descendants of this process that `wanted` picks.
fn find(wanted: impl Fn(&Seen) -> bool) -> Vec<OwnedFd> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let seen: BTreeMap<i32, Seen> =
        processes().into_iter().filter_map(|pid| Some((pid.as_raw_nonzero().get(), look(pid)?))).collect();
    let descends = |pid: i32| {
        let mut parent = seen.get(&pid).map(|seen| seen.parent);
        // Numbers may have been used again while they were read, so a ring is possible.
        for _ in 0..seen.len() {
            match parent {
                Some(parent) if parent == own => return true,
                Some(other) => parent = seen.get(&other).map(|seen| seen.parent),
                None => return false,
            }
        }
        false
    };
    let picked = seen.iter().filter(|(pid, process)| wanted(process) && descends(**pid));
    picked.filter_map(|(pid, process)| hold(*pid, process.parent)).collect()
}

/// A descriptor of the process, unless its number has gone to another one since.
fn hold(pid: i32, parent: i32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(pid)?;
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
    look(pid).filter(|seen| seen.parent == parent)?;
    Some(process)
}

fn look(pid: Pid) -> Option<Seen> {
    // A process chooses its name, which need not be text.
    let stat = fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    parse(&String::from_utf8_lossy(&stat))
}

/// The name, in parentheses, may itself contain blanks and parentheses.
fn parse(stat: &str) -> Option<Seen> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    Some(Seen { parent: fields.next()?.parse().ok()?, is_still: matches!(state, "T" | "t" | "Z" | "X") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_hide_a_parent() {
        let seen = parse("17 (a) R 1 (b) T 42 17 17 0 -1").unwrap();
        assert_eq!((seen.parent, seen.is_still), (42, true));
        assert!(!parse("17 (sh) D 42 17").unwrap().is_still);
        assert!(parse("").is_none() && parse("17 (sh)").is_none());
    }
}
