//! What a builder must not be able to do, tried by a function that runs in its place.

#![expect(clippy::disallowed_methods, reason = "looks around inside a sandbox")]

use std::fs;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::thread::{CapabilitySet, UnshareFlags};

use super::{END, Promise, identity, mounts};
use crate::plan::{Isolation, Network, Op};
use crate::probe::{only_loopback, setuid_is_refused};
use crate::sys;
use crate::wire;

/// Whether something holds, or was not promised.
type Check = fn(&Promise) -> bool;

/// The one that takes more to be promised than a plan.
pub(super) const SOCKETS: &str = "abstract sockets of the host are out of reach";

/// Each by what it is that holds. The last ones change the process that tries them.
const CHECKS: &[(&str, Check)] = &[
    ("its root is its own", own_root),
    ("nothing is mounted but what is listed", mounts::are_listed),
    ("inputs cannot be written to", mounts::inputs_are_read_only),
    ("its root cannot be written to", mounts::root_is_read_only),
    ("settings of the kernel cannot be written to", mounts::settings_are_read_only),
    ("the caller's keys are covered", mounts::keys_are_masked),
    ("it sees its own processes only", own_processes),
    ("its namespaces are its own", own_namespaces),
    ("it reaches nothing but loopback", own_network),
    (SOCKETS, no_host_sockets),
    ("it has no terminal", no_terminal),
    ("its session keyring is not the caller's", no_caller_keys),
    ("it is who it should be, without capabilities", unprivileged),
    ("programs gain no privileges", no_new_privileges),
    ("system calls are filtered", filtered),
    ("it can make no device", no_devices),
    ("it cannot become another user", no_other_user),
    ("mounts cannot be undone", mounts::stay),
    ("mounts cannot be undone in a user namespace of its own", mounts::stay_below),
];

/// Prints what does not hold, one a line, and a last line.
pub(crate) fn inside(input: &[u8]) -> i32 {
    let Ok(promise) = wire::decode::<Promise>(input) else { return 1 };
    let broken = CHECKS.iter().filter(|(_, holds)| !holds(&promise)).map(|(name, _)| *name);
    let text: String = broken.chain([END]).map(|line| format!("{line}\n")).collect();
    // A pipe has room for it.
    if rustix::io::write(rustix::stdio::stdout(), text.as_bytes()) == Ok(text.len()) { 0 } else { 1 }
}

impl Promise {
    /// Whether it has namespaces.
    pub(super) fn has_namespaces(&self) -> bool {
        self.plan.isolation == Isolation::Namespaces
    }

    /// Whether its network keeps abstract sockets of the host from it.
    pub(super) fn hides_sockets(&self) -> bool {
        self.has_namespaces() && self.plan.network != Network::Host
    }

    /// Whether `/proc` shows its own processes, and by them what there is to know about this one.
    pub(super) fn has_proc(&self) -> bool {
        self.plan.ops.iter().any(|op| matches!(op, Op::Proc { target } if target == Path::new("/proc")))
    }
}

fn own_root(promise: &Promise) -> bool {
    let root = identity(Path::new("/"));
    root.is_some_and(|root| root != promise.host.root) && root == identity(Path::new("/.."))
}

fn own_processes(promise: &Promise) -> bool {
    if !promise.has_namespaces() {
        return true;
    }
    let own = std::process::id();
    if !promise.has_proc() {
        return own == 1;
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok())).collect();
    own == 1 && numbers == [1] && mounts::is_proc(Path::new("/proc"))
}

fn own_namespaces(promise: &Promise) -> bool {
    if !promise.has_namespaces() || !promise.has_proc() {
        return true;
    }
    let shares_network = promise.plan.network == Network::Host;
    let own = super::namespaces();
    let expected = promise.host.namespaces.iter().filter(|(kind, _)| kind != "net" || !shares_network);
    { expected }.all(|(kind, hosts)| own.iter().any(|(other, name)| other == kind && name != hosts))
}

fn own_network(promise: &Promise) -> bool {
    !promise.has_namespaces() || promise.plan.network != Network::Loopback || only_loopback()
}

fn no_host_sockets(promise: &Promise) -> bool {
    let connect = || -> rustix::io::Result<()> {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new_abstract_name(&promise.host.socket)?)
    };
    connect().is_err()
}

fn no_terminal(_: &Promise) -> bool {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::open(c"/dev/tty", flags, Mode::empty()).is_err()
}

/// Where keyrings are refused, there is none to be had.
fn no_caller_keys(promise: &Promise) -> bool {
    let own = sys::session_keyring().ok();
    own.is_none() || own != promise.host.keyring
}

fn unprivileged(promise: &Promise) -> bool {
    let identity = &promise.plan.identity;
    let ids = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let Ok(sets) = rustix::thread::capabilities(None) else { return false };
    let held = sets.effective | sets.permitted | sets.inheritable;
    let bounding = CapabilitySet::all()
        .iter()
        .any(|one| rustix::thread::capability_is_in_bounding_set(one).is_ok_and(|is_in| is_in));
    ids == (identity.uid, identity.gid) && held.is_empty() && (promise.plan.new_privileges || !bounding)
}

fn no_new_privileges(promise: &Promise) -> bool {
    promise.plan.new_privileges || rustix::thread::no_new_privs() == Ok(true)
}

fn filtered(promise: &Promise) -> bool {
    promise.plan.filter.is_none() || setuid_is_refused()
}

fn no_devices(_: &Promise) -> bool {
    // The first disk: whoever has it has everything.
    let disk = rustix::fs::makedev(8, 0);
    rustix::fs::mknodat(CWD, c"/tmp/disk", FileType::BlockDevice, Mode::RUSR | Mode::WUSR, disk).is_err()
}

fn no_other_user(_: &Promise) -> bool {
    sys::become_ids(0, 0).is_err() && sys::set_groups(&[0]).is_err()
}

/// Enters a user namespace, if that is let through; false if it is not.
pub(super) fn enter_user_namespace() -> bool {
    sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS).is_ok()
}
