//! The last steps before a program runs: what a build gives up for good.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use crate::child;
use crate::error::Step;
use crate::filter;
use crate::given::Given;
use crate::observer;
use crate::plan::{Isolation, Network, Plan};
use crate::sys;
use crate::wire::Failure;

/// Connecting to abstract sockets of others, and signalling others (`LANDLOCK_SCOPE_*`).
const SCOPES: u64 = 0b11;

/// The version of Landlock that has them.
pub(crate) const FIRST_WITH_SCOPES: u32 = 6;

/// All that this version can forbid about files (`LANDLOCK_ACCESS_FS_*`).
const FILES: u64 = 0xffff;

/// Gives up what the builder is not to have, but for what [`restrict`] needs.
///
/// Where programs may gain privileges, the kernel takes a filter only from a privileged process.
pub(crate) fn shed_capabilities(plan: &Plan) -> Result<(), Failure> {
    if plan.identity.count > 1 {
        Ok(())
    } else if plan.new_privileges && plan.filter.is_some() {
        child::limit_capabilities(CapabilitySet::SYS_ADMIN)
    } else {
        child::limit_capabilities(CapabilitySet::empty())
    }
}

/// Forbids gaining privileges, leaves the reach of other processes, and filters system calls.
///
/// Nothing but `execve` and giving up what is left of the capabilities comes after it: not every call that sets
/// a sandbox up would pass.
pub(crate) fn restrict(plan: &Plan, observer: Option<&OwnedFd>, given: &mut Given) -> Result<(), Failure> {
    let fail = |errno| Failure::new(Step::DropPrivileges, "/", errno);
    if !plan.new_privileges {
        rustix::thread::set_no_new_privs(true).map_err(fail)?;
    }
    if plan.isolation != Isolation::None {
        given.landlock = enter_domain(plan);
    }
    if let Some(filter) = plan.filter {
        let install = || -> Result<String, Errno> {
            let compiled = filter::compiled(filter)?;
            sys::install_filter(&compiled.program)?;
            Ok(compiled.digest.clone())
        };
        given.filter = Some(install().map_err(|errno| Failure::new(Step::Filter, "/", errno))?);
    }
    // While it may still do that, and the filter above has the last word.
    observer.into_iter().for_each(observer::be_observed);
    if plan.isolation != Isolation::None && plan.identity.count == 1 {
        child::limit_capabilities(CapabilitySet::empty())?;
    }
    let held = rustix::thread::capabilities(None).map_err(fail)?.permitted;
    given.unprivileged = !plan.new_privileges && held.is_empty();
    Ok(())
}

/// Beside the namespaces, for builds that share the host's network, as all do under chroot: its abstract sockets, and whoever comes to theirs,
/// which no scope forbids, and hands them a directory of the host. That leads nowhere: what is not below their own root
/// cannot be opened. As in Nix, a kernel without it is no reason to fail.
fn enter_domain(plan: &Plan) -> Option<u32> {
    let version = sys::landlock_version().ok().filter(|version| *version >= FIRST_WITH_SCOPES)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(c"/", flags, Mode::empty()).ok()?;
    // It costs a walk up to the root for each file that is opened, and others are handed nothing.
    let on_the_host = plan.network == Network::Host || matches!(plan.isolation, Isolation::Chroot { .. });
    let files = if on_the_host { FILES } else { 0 };
    sys::enter_domain(SCOPES, files, &root).ok().map(|()| version)
}
