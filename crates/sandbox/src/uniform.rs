//! What a process takes over from whoever starts it, made the same for every builder on every host.
//!
//! Limits, priorities and flags go down from parent to child, so without this a build could tell whether it
//! was started from a desktop, a container or a script. What an ordinary user may not set is left as near
//! to it as it can be, and told as [`crate::Given::inherited`].

#![expect(clippy::disallowed_methods, reason = "some of it is set by way of /proc")]

use std::fs;

use rustix::process::{Resource, Rlimit};

use crate::sys;

const MIB: u64 = 1 << 20;

/// Every resource limit: soft and hard, `None` being unlimited.
///
/// Mostly what the kernel gives to the first process. Of core files a build gets none unless it wants them. For
/// open files it is the kernel's hard limit, and for locked memory that of older kernels: more than that an
/// ordinary user, or root in a container, may not be able to have. What the kernel computes from the
/// size of the memory has one value.
const LIMITS: [(Resource, &str, Option<u64>, Option<u64>); 16] = [
    (Resource::Cpu, "cpu time", None, None),
    (Resource::Fsize, "file size", None, None),
    (Resource::Data, "data size", None, None),
    (Resource::Stack, "stack size", Some(8 * MIB), None),
    (Resource::Core, "core file size", Some(0), None),
    (Resource::Rss, "resident set", None, None),
    (Resource::Nproc, "processes", Some(16_384), Some(16_384)),
    (Resource::Nofile, "open files", Some(4096), Some(4096)),
    (Resource::Memlock, "locked memory", Some(MIB / 16), Some(MIB / 16)),
    (Resource::As, "address space", None, None),
    (Resource::Locks, "file locks", None, None),
    (Resource::Sigpending, "pending signals", Some(4096), Some(4096)),
    (Resource::Msgqueue, "message queues", Some(819_200), Some(819_200)),
    (Resource::Nice, "nice priority", Some(0), Some(0)),
    (Resource::Rtprio, "realtime priority", Some(0), Some(0)),
    (Resource::Rttime, "realtime timeout", None, None),
];

/// The first to go when memory runs out, as it can be built again. The only value that everybody may set.
const OOM_SCORE: &str = "1000";

/// For so long a builder keeps a processor that others want, too. Compilers that take turns more often find less of what
/// they work on in the caches.
const SLICE_NANOS: u64 = 20_000_000;

/// Sets all of it for this process and what it starts; returns what stays as the caller has it.
///
/// Needs the `/proc` of the host, and the rights of the caller.
pub(crate) fn apply() -> Vec<String> {
    let mut inherited: Vec<String> = LIMITS.iter().filter_map(limit).collect();
    let mut nice = 0;
    if rustix::process::setpriority_process(None, nice).is_err() {
        nice = rustix::process::getpriority_process(None).unwrap_or_default();
        inherited.push(format!("niceness {nice}"));
    }
    // Where a filter around us does not let slices be set, the rest can be as it should.
    let is_set = sys::set_scheduling_in_slices(SLICE_NANOS, nice).or_else(|_| sys::set_ordinary_scheduling());
    if is_set.is_err() {
        inherited.push("the scheduling policy".to_owned());
    }
    if sys::set_ordinary_io_priority().is_err() {
        inherited.push("the priority of input and output".to_owned());
    }
    if fs::write("/proc/self/oom_score_adj", OOM_SCORE).is_err() {
        inherited.push("the adjustment of the score for running out of memory".to_owned());
    }
    // What a dump of core would hold. Where the kernel cannot dump any, there is no such file.
    let _ = fs::write("/proc/self/coredump_filter", "0x33");
    sys::reset_process_controls();
    inherited
}

/// The supplementary groups that are left to a build, for people.
pub(crate) fn groups(own: u32) -> Option<String> {
    let groups = rustix::process::getgroups().unwrap_or_default();
    let others = groups.iter().filter(|group| group.as_raw() != own).count();
    (others > 0).then(|| format!("{others} supplementary groups of the caller, seen as `nogroup`"))
}

/// Sets one limit, or gets as near to it as the hard one of the caller allows and says so.
fn limit((resource, name, soft, hard): &(Resource, &str, Option<u64>, Option<u64>)) -> Option<String> {
    let wanted = Rlimit { current: *soft, maximum: *hard };
    if rustix::process::setrlimit(*resource, wanted).is_ok() {
        return None;
    }
    let most = rustix::process::getrlimit(*resource).maximum;
    let at_most = |limit: Option<u64>| [limit, most].into_iter().flatten().min();
    let nearest = Rlimit { current: at_most(*soft), maximum: at_most(*hard) };
    let _ = rustix::process::setrlimit(*resource, nearest);
    let most = most.map_or_else(|| "unlimited".to_owned(), |most| most.to_string());
    Some(format!("the hard limit of {name}, {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_soft_limit_is_above_its_hard_one() {
        for (_, name, soft, hard) in LIMITS {
            assert!(hard.is_none_or(|hard| soft.is_some_and(|soft| soft <= hard)), "{name}");
        }
    }
}
