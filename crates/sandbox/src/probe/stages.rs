//! What is made of namespaces, by the code that makes the sandboxes of builds.

use std::path::{Path, PathBuf};

use super::namespaces::not_tried;
use super::remedy::Circumstances;
use super::{Finding, Lack};
use crate::launcher::Launcher;
use crate::limits::Limits;
use crate::plan::{Access, Filter, Identity, Isolation, Network, Op, Plan, Program, Subordinate};
use crate::running::ExitStatus;
use crate::users::BuildUser;

/// The function that looks around from inside.
pub(crate) const INSIDE: &str = "probe";

const NETWORK: &str = "loopback";
const FILTER: &str = "filter";

/// Tries each by itself; `missing` is what none of them can do without.
pub(super) fn probe(
    launcher: &Launcher,
    user: Option<&BuildUser>,
    circumstances: &Circumstances,
    missing: Option<&str>,
) -> Vec<Finding> {
    let mut missing = missing;
    let mut findings = Vec::new();
    for (key, what, network, ops) in stages() {
        let lack = match missing {
            Some(first) => Some(not_tried(first)),
            None => attempt(launcher, &plan(key, user, network, ops), user, circumstances).err(),
        };
        // Without a root, there is nothing to put into it.
        if lack.is_some() && findings.is_empty() {
            missing = Some(missing.unwrap_or(what));
        }
        findings.push(Finding::every(key, what, lack));
    }
    findings
}

/// The plan of a sandbox with nothing in it but that.
pub(super) fn plan(key: &str, user: Option<&BuildUser>, network: Network, ops: Vec<Op>) -> Plan {
    Plan {
        isolation: Isolation::Namespaces,
        network,
        identity: Identity {
            subordinate: Subordinate::IfPossible,
            ..Identity::one(1000, 100, user.map(BuildUser::ids))
        },
        limits: Limits::default(),
        filter: (key == FILTER).then_some(Filter { nested_user_namespaces: false, socketcall: false }),
        new_privileges: false,
        ops,
        program: Program::Function { name: INSIDE.to_owned(), input: key.as_bytes().to_vec() },
    }
}

fn stages() -> Vec<(&'static str, &'static str, Network, Vec<Op>)> {
    let path = PathBuf::from;
    let null = Op::Bind {
        source: path("/dev/null"),
        target: path("/dev/null"),
        access: Access::Device,
        optional: false,
    };
    let memory = Op::Tmpfs { target: path("/dev/shm"), mode: 0o1777, size: None };
    let proc = [Op::Proc { target: path("/proc") }, Op::ReadOnly { target: path("/proc/sys") }];
    let names = Op::HostName { host: "localhost".to_owned(), domain: "(none)".to_owned() };
    let host = Network::Host;
    vec![
        ("root", "a root of their own, and a user in it", host, vec![]),
        (NETWORK, "a network of their own with loopback", Network::Loopback, vec![Op::Loopback]),
        ("memory", "file systems in memory", host, vec![memory]),
        ("dev", "a private /dev", host, vec![null, Op::DevPts { target: path("/dev/pts") }]),
        ("proc", "a private /proc", host, proc.to_vec()),
        ("host-name", "a host name of their own", host, vec![names]),
        (FILTER, "a filter of system calls", host, vec![]),
    ]
}

fn attempt(
    launcher: &Launcher,
    plan: &Plan,
    user: Option<&BuildUser>,
    circumstances: &Circumstances,
) -> Result<(), Lack> {
    let exit = launcher.run_as(plan, user).and_then(|running| running.follow(&mut |_| {}, &mut |_| {}));
    match exit {
        Ok(exit) if exit.status == ExitStatus::Code(0) => Ok(()),
        Ok(exit) => Err(Lack {
            cause: format!("a look from inside found it not in force ({:?})", exit.status),
            remedy: "report this with `store doctor --json`: the kernel granted it and did not give it"
                .to_owned(),
        }),
        Err(error) => Err(circumstances.explain(&error)),
    }
}

/// Looks around inside the sandbox: 0 when what was promised is so.
pub(crate) fn inside(key: &[u8]) -> i32 {
    let outside_is_gone = !Path::new("/usr").exists() && !Path::new("/etc").exists();
    let is_first = std::process::id() == 1;
    let network_is_private = key != NETWORK.as_bytes() || only_loopback();
    let calls_are_filtered = key != FILTER.as_bytes() || setuid_is_refused();
    if outside_is_gone && is_first && network_is_private && calls_are_filtered { 0 } else { 1 }
}

/// Tries what nothing but the filter refuses: to make a file of one's own setuid.
pub(crate) fn setuid_is_refused() -> bool {
    let set = || -> rustix::io::Result<()> {
        let file = rustix::fs::memfd_create(c"setuid", rustix::fs::MemfdFlags::CLOEXEC)?;
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o4755))
    };
    set() == Err(rustix::io::Errno::PERM)
}

/// Whether there is a way to this machine, and none to another one.
pub(crate) fn only_loopback() -> bool {
    let reaches =
        |from: &str, to: &str| std::net::UdpSocket::bind(from).and_then(|socket| socket.connect(to)).is_ok();
    let to_self = std::net::UdpSocket::bind("127.0.0.1:0");
    !reaches("0.0.0.0:0", "192.0.2.1:9") && !reaches("[::]:0", "[2001:db8::1]:9") && to_self.is_ok()
}
