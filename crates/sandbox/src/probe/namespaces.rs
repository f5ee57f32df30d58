//! Each kind of namespace alone, made by a process that is thrown away.

use std::collections::BTreeMap;

use rustix::io::Errno;
use rustix::thread::UnshareFlags;

use super::remedy::Circumstances;
use super::{Finding, Lack};
use crate::error::{Error, Step};
use crate::ids;
use crate::launcher::Launcher;
use crate::limits::Limits;
use crate::plan::{Identity, Isolation, Network, Plan, Program};
use crate::sys;

/// The function that tries them.
pub(crate) const NAMESPACES: &str = "probe namespaces";

const USER: &str = "user-namespace";
const UID_MAP: &str = "uid-map";
const GID_MAP: &str = "gid-map";
const CGROUP: &str = "cgroup-namespace";

/// Each kind but that of users: its key, its flag.
const KINDS: &[(&str, UnshareFlags)] = &[
    ("mount-namespace", UnshareFlags::NEWNS),
    ("process-namespace", UnshareFlags::NEWPID),
    ("network-namespace", UnshareFlags::NEWNET),
    ("ipc-namespace", UnshareFlags::NEWIPC),
    ("host-name-namespace", UnshareFlags::NEWUTS),
    (CGROUP, UnshareFlags::NEWCGROUP),
];

/// In the order of telling: key, what it is, and its part of the names of the kernel's settings.
const TOLD: &[(&str, &str, &str)] = &[
    (USER, "a namespace of users", "user"),
    (UID_MAP, "a map of user ids", "user"),
    (GID_MAP, "a map of group ids", "user"),
    ("mount-namespace", "a namespace of mounts", "mnt"),
    ("process-namespace", "a namespace of processes", "pid"),
    ("network-namespace", "a namespace of networks", "net"),
    ("ipc-namespace", "a namespace of messages and shared memory", "ipc"),
    ("host-name-namespace", "a namespace of host names", "uts"),
    (CGROUP, "a namespace of control groups", "cgroup"),
];

/// What can be had of namespaces.
pub(super) fn probe(launcher: &Launcher, circumstances: &Circumstances) -> Vec<Finding> {
    let tried = match attempt(launcher) {
        Ok(tried) => tried,
        Err(error) => {
            let lack = Some(circumstances.explain(&error));
            return vec![Finding::every("launcher", "a process that is not isolated at all", lack)];
        }
    };
    let finding = |(key, what, kernel): &(&'static str, &'static str, &str)| {
        let lack = match tried.get(*key) {
            Some(None) => None,
            // A kernel that has none shows its builds nothing of them.
            Some(Some(Errno::INVAL)) if *key == CGROUP => None,
            Some(Some(errno)) => Some(circumstances.namespace_refused(kernel, *errno)),
            None => Some(not_tried("a namespace of users with its maps")),
        };
        Finding::every(key, what, lack)
    };
    TOLD.iter().map(finding).collect()
}

/// What nothing can be said about before something else is there.
pub(super) fn not_tried(first: &str) -> Lack {
    Lack {
        cause: format!("not tried, as it needs {first}"),
        remedy: "see there; then run `store doctor` again".to_owned(),
    }
}

/// What became of each; what is not there was not come to.
fn attempt(launcher: &Launcher) -> Result<BTreeMap<String, Option<Errno>>, Error> {
    let plan = Plan {
        isolation: Isolation::None,
        network: Network::Host,
        identity: Identity::one(0, 0, None),
        limits: Limits::default(),
        filter: None,
        new_privileges: false,
        ops: Vec::new(),
        program: Program::Function { name: NAMESPACES.to_owned(), input: Vec::new() },
    };
    let mut said = Vec::new();
    launcher.run(&plan)?.follow(&mut |bytes| said.extend_from_slice(bytes), &mut |_| {})?;
    let said = String::from_utf8_lossy(&said);
    let lines = said.lines().filter_map(|line| line.split_once(' '));
    Ok(lines
        .filter_map(|(key, number)| Some((key, number.parse::<i32>().ok()?)))
        .map(|(key, number)| (key.to_owned(), (number != 0).then(|| Errno::from_raw_os_error(number))))
        .collect())
}

/// Prints a line for each: its key and the number of the error, or 0.
pub(crate) fn try_namespaces(_: &[u8]) -> i32 {
    let caller = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // As root the other way round: its builds have their namespaces from the host, and then become users.
    let go_on = caller.0 == 0 || try_users(caller);
    if go_on {
        KINDS.iter().for_each(|(key, kind)| say(key, sys::unshare(*kind)));
    }
    if caller.0 == 0 {
        try_users(caller);
    }
    0
}

/// Whether there is a namespace of users with its maps.
fn try_users(caller: (u32, u32)) -> bool {
    let error = ids::enter_own(caller).err();
    let failed = error.map(|failure| (failure.step, Errno::from_raw_os_error(failure.errno)));
    for (key, step) in [(USER, Step::Namespaces), (UID_MAP, Step::MapUser), (GID_MAP, Step::MapGroup)] {
        match failed {
            Some((at, errno)) if at == step => {
                say(key, Err(errno));
                return false;
            }
            _ => say(key, Ok(())),
        }
    }
    true
}

fn say(key: &str, tried: Result<(), Errno>) {
    let number = tried.err().map_or(0, Errno::raw_os_error);
    // Whoever asked has gone, if that fails.
    let _ = rustix::io::write(rustix::stdio::stdout(), format!("{key} {number}\n").as_bytes());
}
