//! What isolation this machine can give: each thing tried for real, in a sandbox that is thrown away.

#![expect(
    clippy::disallowed_methods,
    reason = "reads the kernel's settings and looks around inside a sandbox"
)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Step};
use crate::launcher::{ExitStatus, Launcher};
use crate::limits::Limits;
use crate::network_probe;
use crate::plan::{Access, Filter, Identity, Isolation, Network, Op, Plan, Program};
use crate::users::{BuildUser, BuildUsers, Ids, UserChoice};

/// The function that looks around from inside.
pub(crate) const INSIDE: &str = "probe";

/// One thing that builds need, and whether this machine has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was tried.
    pub what: &'static str,
    /// Whether builds are impossible without it.
    pub required: bool,
    /// `None` when it works.
    pub lack: Option<Lack>,
}

/// Why something does not work, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What was refused, and how.
    pub cause: String,
    /// What to do next.
    pub remedy: String,
}

/// Tries everything that a sandboxed build needs.
///
/// # Errors
/// When not even the launcher can be started; that is no question of isolation.
pub fn probe() -> Result<Vec<Finding>, Error> {
    let launcher = Launcher::start()?;
    let finding = |what, required, lack| Finding { what, required, lack };
    let (user, has_ranges) = match take_user(&launcher) {
        Ok(taken) => taken,
        Err(error) => {
            let remedy = "mend that, or run `store` as an ordinary user".to_owned();
            return Ok(vec![finding("an id for builders", true, Some(Lack { remedy, ..explain(&error) }))]);
        }
    };
    let mut findings = vec![finding("an id for builders", true, None)];
    for (what, required, network, ops) in stages() {
        let plan = plan(what, user.as_ref(), network, ops);
        findings.push(finding(what, required, attempt(&launcher, &plan, user.as_ref()).err()));
    }
    findings.push(finding(network_probe::WHAT, false, network_probe::lack(&launcher, user.as_ref())));
    findings.push(finding(ranges(has_ranges), false, None));
    findings.extend(limits().map(|what| finding(what, false, None)));
    findings.push(finding(SESSION, false, session_lack(&launcher, user.as_ref())));
    findings.push(finding("a shell for builders (`sandbox-shell`)", false, shell_lack()));
    Ok(findings)
}

/// How builds can be limited here. None does by default, so nothing of it is lacking.
fn limits() -> impl Iterator<Item = &'static str> {
    let can = |limits: Limits| limits.enforcement().is_ok_and(|by| by.unlimited().is_empty());
    let memory = can(Limits { memory: Some(1), ..Limits::default() });
    let processor = can(Limits { cpu_weight: Some(100), ..Limits::default() });
    [
        if memory {
            "memory of builds can be limited (`max-build-memory`), by control groups"
        } else {
            "memory of builds can be limited (`max-build-memory`) for each process only: no control group is writable"
        },
        if processor {
            "processor time of builds can be weighted (`build-cpu-weight`), by control groups"
        } else {
            "processor time of builds cannot be weighted (`build-cpu-weight`): no control group is writable"
        },
    ]
    .into_iter()
}

fn plan(what: &str, user: Option<&BuildUser>, network: Network, ops: Vec<Op>) -> Plan {
    Plan {
        isolation: Isolation::Namespaces,
        network,
        identity: Identity::one(1000, 100, user.map(BuildUser::ids)),
        limits: Limits::default(),
        filter: (what == FILTER).then_some(Filter { nested_user_namespaces: false, socketcall: false }),
        new_privileges: false,
        ops,
        program: Program::Function { name: INSIDE.to_owned(), input: what.as_bytes().to_vec() },
    }
}

/// What is tried, each with the one before it: the first lack is the one to mend first.
fn stages() -> Vec<(&'static str, bool, Network, Vec<Op>)> {
    let path = PathBuf::from;
    let null = Op::Bind {
        source: path("/dev/null"),
        target: path("/dev/null"),
        access: Access::Device,
        optional: false,
    };
    vec![
        (NAMESPACES, true, Network::Host, vec![]),
        (NETWORK, true, Network::Loopback, vec![Op::Loopback]),
        (
            "file systems in memory",
            true,
            Network::Host,
            vec![Op::Tmpfs { target: path("/dev/shm"), mode: 0o1777, size: None }],
        ),
        ("a private /dev", true, Network::Host, vec![null, Op::DevPts { target: path("/dev/pts") }]),
        (
            "a private /proc",
            true,
            Network::Host,
            vec![Op::Proc { target: path("/proc") }, Op::ReadOnly { target: path("/proc/sys") }],
        ),
        (
            "a host name of their own",
            true,
            Network::Host,
            vec![Op::HostName { host: "localhost".to_owned(), domain: "(none)".to_owned() }],
        ),
        (FILTER, true, Network::Host, vec![]),
    ]
}

const SESSION: &str = "nothing of who starts them: groups, niceness, limits";
const NAMESPACES: &str = "namespaces of users, mounts, processes, messages and host name";
const NETWORK: &str = "a network of their own with loopback";
const FILTER: &str = "a filter of system calls";

/// As root, the user that builds get unless settings say otherwise.
fn take_user(launcher: &Launcher) -> Result<(Option<BuildUser>, bool), Error> {
    match BuildUsers::find(&UserChoice::default())? {
        Some(users) => {
            let user = launcher.take_user(&users, Ids::One, &mut || {})?;
            Ok((Some(user), users.has_ranges()))
        }
        None => Ok((None, false)),
    }
}

/// Few builds want that, so nothing is lacking without it.
fn ranges(are_there: bool) -> &'static str {
    if are_there {
        "builds can have 65536 users (`uid-range`)"
    } else {
        "builds cannot have 65536 users (`uid-range`): only root can give them, where so many ids are free"
    }
}

fn attempt(launcher: &Launcher, plan: &Plan, user: Option<&BuildUser>) -> Result<(), Lack> {
    let exit = launcher.run_as(plan, user).and_then(|running| running.follow(&mut |_| {}, &mut |_| {}));
    match exit {
        Ok(exit) if exit.status == ExitStatus::Code(0) => Ok(()),
        Ok(exit) => Err(Lack {
            cause: format!("a look from inside found it not in force ({:?})", exit.status),
            remedy: "report this with `store doctor --json`: the kernel granted it and did not give it"
                .to_owned(),
        }),
        Err(error) => Err(explain(&error)),
    }
}

/// What builds see of the caller, who may not give it up.
fn session_lack(launcher: &Launcher, user: Option<&BuildUser>) -> Option<Lack> {
    let plan = plan(NAMESPACES, user, Network::Host, Vec::new());
    // That builds cannot be started is told elsewhere.
    let given = launcher.run_as(&plan, user).ok()?.given().clone();
    (!given.inherited.is_empty()).then(|| Lack {
        cause: format!("builds can tell {}", given.inherited.join(", ")),
        remedy: "call `store` from a login without them, or as root, who can set them".to_owned(),
    })
}

/// Looks around inside the sandbox: 0 when what was promised is so.
pub(crate) fn inside(what: &[u8]) -> i32 {
    let outside_is_gone = !Path::new("/usr").exists() && !Path::new("/etc").exists();
    let is_first = std::process::id() == 1;
    let network_is_private = what != NETWORK.as_bytes() || only_loopback();
    let calls_are_filtered = what != FILTER.as_bytes() || setuid_is_refused();
    if outside_is_gone && is_first && network_is_private && calls_are_filtered { 0 } else { 1 }
}

/// Tries what nothing but the filter refuses: to make a file of one's own setuid.
fn setuid_is_refused() -> bool {
    let set = || -> rustix::io::Result<()> {
        let file = rustix::fs::memfd_create(c"setuid", rustix::fs::MemfdFlags::CLOEXEC)?;
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o4755))
    };
    set() == Err(rustix::io::Errno::PERM)
}

fn only_loopback() -> bool {
    let to_elsewhere =
        std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.connect("192.0.2.1:9"));
    let to_self = std::net::UdpSocket::bind("127.0.0.1:0");
    to_elsewhere.is_err() && to_self.is_ok()
}

fn explain(error: &Error) -> Lack {
    let cause = match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    let remedy = match error {
        Error::Setup { step, source, .. } => remedy(*step, source),
        _ => "run `store doctor` again; if this stays, report it".to_owned(),
    };
    Lack { cause, remedy }
}

fn remedy(step: Step, source: &io::Error) -> String {
    let sysctl =
        |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default().trim().to_owned();
    let text = match step {
        Step::Namespaces if sysctl("user/max_user_namespaces") == "0" => {
            "as root: sysctl user.max_user_namespaces=15000"
        }
        Step::Namespaces if sysctl("kernel/unprivileged_userns_clone") == "0" => {
            "as root: sysctl kernel.unprivileged_userns_clone=1"
        }
        _ if sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1" => {
            "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or give this program an AppArmor profile with the rule `userns,`"
        }
        Step::Namespaces if source.raw_os_error() == Some(libc::ENOSPC) => {
            "too many namespaces exist: as root raise the limits below /proc/sys/user/"
        }
        Step::Namespaces => {
            "inside a container: start it with a seccomp profile that allows user namespaces (Docker: --security-opt seccomp=unconfined)"
        }
        Step::Filter if !crate::filter::can_filter() => {
            "build on x86-64 or aarch64, or set `filter-syscalls = false` to build without the filter"
        }
        Step::Filter => {
            "inside a container: its own filter forbids `seccomp`; start it with a profile that allows it (Docker: --security-opt seccomp=unconfined); else the kernel needs CONFIG_SECCOMP_FILTER"
        }
        Step::MountProc => {
            "inside a container: /proc is masked there; start it with an unmasked one (Docker: --security-opt systempaths=unconfined)"
        }
        _ if source.raw_os_error() == Some(libc::ENOSYS) => "a kernel of Linux 5.6 or later is needed",
        _ => "see the cause; as root `dmesg` may say which policy refused it",
    };
    text.to_owned()
}

fn shell_lack() -> Option<Lack> {
    let shell = crate::host::find_shell();
    let problem = match &shell {
        Some(shell) => crate::host::program(shell, Path::new("/bin/sh")).err().map(|error| error.to_string()),
        None => Some("there is no /bin/sh and no static busybox".to_owned()),
    };
    problem.map(|cause| Lack {
        cause,
        remedy: "install `busybox-static`, or set `sandbox-shell` to a static shell, or to `none`".to_owned(),
    })
}
