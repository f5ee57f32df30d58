//! What only some builds want, or what is good to know.

use std::path::Path;

use rustix::io::Errno;

use super::namespaces::not_tried;
use super::{Finding, Lack, stages};
use crate::cgroup::{Controller, Hierarchies};
use crate::launcher::Launcher;
use crate::network_probe;
use crate::plan::Network;
use crate::subordinate;
use crate::sys;
use crate::users::BuildUser;

/// Looks at each; without what is `missing`, no build can be asked about itself.
pub(super) fn probe(
    launcher: &Launcher,
    user: Option<&BuildUser>,
    has_ranges: bool,
    missing: Option<&str>,
) -> Vec<Finding> {
    let mut findings = vec![ranges(has_ranges), subordinate_ids()];
    let lack = missing.map_or_else(|| network_probe::lack(launcher, user), |first| Some(not_tried(first)));
    findings.push(Finding::some("fixed-output-network", network_probe::WHAT, lack));
    findings.extend(limits());
    findings.push(scopes());
    findings.push(keyrings());
    let session = "nothing of who starts them: groups, niceness, limits";
    let lack = missing.map_or_else(|| session_lack(launcher, user), |first| Some(not_tried(first)));
    findings.push(Finding::some("session", session, lack));
    findings.push(Finding::some("shell", "a shell for builders (`sandbox-shell`)", shell_lack()));
    findings
}

/// Few builds want that, so nothing is lacking without it.
fn ranges(are_there: bool) -> Finding {
    let what = if are_there {
        "builds can have 65536 users (`uid-range`)"
    } else {
        "builds cannot have 65536 users (`uid-range`): so many ids have to be free, or to be given to the caller in \
         /etc/subuid and /etc/subgid"
    };
    Finding::extra("uid-range", what, None)
}

/// No build needs them unless it asks for many users. That they cannot be mapped is told as what builds can tell.
fn subordinate_ids() -> Finding {
    let found = match subordinate::subordinate_ids() {
        _ if rustix::process::geteuid().is_root() => "none; root has no need of them".to_owned(),
        0 => {
            "none, so builders are the caller outside; that takes ranges in /etc/subuid and /etc/subgid, and \
              newuidmap and newgidmap"
                .to_owned()
        }
        count => format!("{count}; builders are some of them outside (`use-subordinate-ids`)"),
    };
    Finding::extra("subordinate-ids", "subordinate ids of the caller", Some(found))
}

/// How builds can be limited here. None does by default, so nothing of it is lacking.
fn limits() -> [Finding; 3] {
    let hierarchies = Hierarchies::find();
    let finding = |key, controller, with, without| {
        let place = hierarchies.place(controller);
        Finding::extra(key, if place.is_some() { with } else { without }, place)
    };
    [
        finding(
            "limit-memory",
            Controller::Memory,
            "memory of builds can be limited (`max-build-memory`), by control groups",
            "memory of builds can be limited (`max-build-memory`) for each process only: no control group is writable",
        ),
        finding(
            "limit-processes",
            Controller::Pids,
            "processes of builds can be limited (`max-build-pids`), by control groups",
            "processes of builds can be limited (`max-build-pids`), by the user of each build",
        ),
        finding(
            "limit-processor",
            Controller::Cpu,
            "processor time of builds can be weighted (`build-cpu-weight`), by control groups",
            "processor time of builds cannot be weighted (`build-cpu-weight`): no control group is writable",
        ),
    ]
}

/// They come on top of namespaces; a kernel without them is no reason to do anything.
fn scopes() -> Finding {
    let found = match sys::landlock_version() {
        Ok(version) if version >= crate::restrict::FIRST_WITH_SCOPES => format!("version {version}"),
        Ok(version) => format!("none in version {version}, they are in Linux 6.12; namespaces do without"),
        Err(_) => {
            "none: this kernel has no Landlock, or a container forbids it; namespaces do without".to_owned()
        }
    };
    Finding::extra("landlock", "scopes of Landlock", Some(found))
}

/// Where the kernel has none, or a container forbids them, builds have none of the caller's either.
fn keyrings() -> Finding {
    let found = match sys::session_keyring() {
        Ok(_) | Err(Errno::NOKEY) => "each build has one of its own",
        Err(_) => "refused here to everybody",
    };
    Finding::extra("keyring", "keyrings", Some(found.to_owned()))
}

/// What builds see of the caller, who may not give it up.
fn session_lack(launcher: &Launcher, user: Option<&BuildUser>) -> Option<Lack> {
    let plan = stages::plan("root", user, Network::Host, Vec::new());
    // That builds cannot be started is told elsewhere.
    let given = launcher.run_as(&plan, user).ok()?.given().clone();
    (!given.inherited.is_empty()).then(|| Lack {
        cause: format!("builds can tell {}", given.inherited.join(", ")),
        remedy: "call `store` from a login without them, or as root, who can set them".to_owned(),
    })
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
