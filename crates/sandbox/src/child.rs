//! From the fork to the program: what the child of a launcher does.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::connection::{self, Apart};
use crate::error::Step;
use crate::functions;
use crate::given::{Given, Limited, Namespace};
use crate::limits::Bounds;
use crate::ownership;
use crate::packet::send;
use crate::plan::{Exec, Identity, Op, Plan, Program};
use crate::program_file;
use crate::restrict;
use crate::root::Root;
use crate::streams::{Ends, Opened};
use crate::sys;
use crate::uniform;
use crate::wire::{Failure, Reply, Said, encode};

/// Descriptors that a child is given.
pub(crate) struct Channels {
    /// Where a failure is told; closed by `execve`, which says that all went well.
    pub(crate) status: OwnedFd,
    /// A byte comes out once the parent has connected the network, if that is wanted, and another one once it has
    /// written the id maps.
    pub(crate) mapped: OwnedFd,
    /// Standard streams of the program.
    pub(crate) streams: Ends,
    /// What each [`crate::Op::Memory`] is to mount, if not something new.
    pub(crate) memory: Vec<OwnedFd>,
    /// Where `store` is told what it has to keep.
    pub(crate) reply: OwnedFd,
    /// What the build may use.
    pub(crate) bounds: Bounds,
    /// The network of a build that is connected to the outside.
    pub(crate) apart: Option<Apart>,
    /// What an [`Op::Gather`] shows, mounted before.
    pub(crate) gathered: Option<OwnedFd>,
    /// Where the launcher gets what an observer listens to, if the build has one.
    pub(crate) observer: Option<OwnedFd>,
}

/// Sets up the sandbox and runs the program in it. Never returns.
pub(crate) fn run(plan: &Plan, mut channels: Channels, given: Given) -> ! {
    let outcome =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| namespaced(plan, &mut channels, given)));
    let failure = match outcome {
        Ok(Err(failure)) => failure,
        Err(_) => Failure::new(Step::Namespaces, "/", Errno::CANCELED),
        Ok(Ok(never)) => match never {},
    };
    tell(&channels.status, &Said::Failed(failure));
    sys::exit_now(1)
}

/// Writes where the launcher, or the keeper, reads it.
pub(crate) fn tell(status: &OwnedFd, said: &Said) {
    // Should nobody be left to be told, this process is about to die with its parent.
    let _ = rustix::io::write(status, &encode(said));
}

fn namespaced(plan: &Plan, channels: &mut Channels, mut given: Given) -> Result<Infallible, Failure> {
    die_with_parent(Signal::KILL, &channels.status)?;
    channels.apart.as_ref().map_or(Ok(()), |apart| apart.join(&mut given))?;
    if channels.bounds.enter()? && sys::new_cgroup_namespace().is_ok() {
        given.namespaces.insert(Namespace::Cgroup);
    }
    given.own_keyring = new_session()?;
    rustix::process::umask(Mode::empty());
    given.inherited.extend(uniform::apply());
    if let Some(outer) = plan.identity.outer.filter(|_| given.outer.is_some()) {
        ownership::hand_over(plan, outer)?;
    }
    let mut root = Root::mount()?;
    root.use_memory(std::mem::take(&mut channels.memory));
    for op in &plan.ops {
        match (op, &channels.gathered) {
            (Op::Gather { target, .. }, Some(mounts)) => {
                let mounts = rustix::io::fcntl_dupfd_cloexec(mounts, 3)
                    .map_err(|errno| Failure::new(Step::Bind, target, errno))?;
                root.show(mounts, target)?;
            }
            (Op::Own { target }, _) => root.give(target, plan.identity.outer.unwrap_or(ownership::CALLER))?,
            _ => root.apply(op)?,
        }
    }
    if channels.apart.is_some() {
        connection::wait_for_network(plan, channels, &mut given)?;
    }
    let memory = root.take_memory();
    if let Some(outer) = plan.identity.outer.filter(|_| given.outer.is_some()) {
        // An earlier build has left them to the caller.
        let give = |one: &OwnedFd| ownership::give(one.as_fd(), outer, &[]);
        memory.iter().try_for_each(give).map_err(|errno| Failure::new(Step::GiveAway, "/", errno))?;
    }
    hand_over(memory, &channels.reply, &mut given)?;
    let null = open_null()?;
    root.enter()?;
    enter_user_namespace(&plan.identity, channels)?;
    if given.outer.is_some() {
        // The change of ids has closed it to all but root, also to an observer, until it executes something.
        rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
            .map_err(|errno| Failure::new(Step::BecomeUser, "/", errno))?;
    }
    given.namespaces.insert(Namespace::User);
    // One that is subordinate has another number on the host.
    given.outer = given.outer.or(plan.identity.outer);
    // They belong to the namespaces that the user namespace of the builder is below.
    given.mounts_locked = true;
    let streams = channels.streams.open(null, &channels.reply)?;
    given.inherited.extend(uniform::groups(plan.identity.gid));
    // The change of ids has cleared it.
    die_with_parent(Signal::KILL, &channels.status)?;
    channels.bounds.enforcement.limit_process()?;
    drop_bounding_set(plan)?;
    restrict::shed_capabilities(plan)?;
    start_program(plan, &streams, channels.observer.as_ref(), &channels.status, given)
}

/// Gives `store` what is in memory, the build directory last, which would be gone with the mounts of the build.
pub(crate) fn hand_over(memory: Vec<OwnedFd>, reply: &OwnedFd, given: &mut Given) -> Result<(), Failure> {
    let Some(build_dir) = memory.last() else { return Ok(()) };
    let stat = rustix::fs::fstatfs(build_dir);
    let bytes = stat.map_or(0, |stat| stat.f_blocks * stat.f_bsize as u64);
    given.limits.push(Limited {
        what: "build directory".to_owned(),
        to: format!("{bytes} bytes"),
        by: "file system in memory".to_owned(),
    });
    let fail = |errno| Failure::new(Step::Descriptors, "/", errno);
    memory
        .iter()
        .try_for_each(|one| send(reply.as_fd(), &encode(&Reply::Memory), &[one.as_fd()]).map_err(fail))
}

/// Asks the kernel to send `signal` when the parent dies, and dies if that was already so.
pub(crate) fn die_with_parent(signal: Signal, status: &OwnedFd) -> Result<(), Failure> {
    let arm = || -> rustix::io::Result<bool> {
        rustix::process::set_parent_process_death_signal(Some(signal))?;
        // getppid() shows nothing from inside a process namespace; a pipe without a reader does.
        let mut poll = [rustix::event::PollFd::new(status, rustix::event::PollFlags::OUT)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut poll, Some(&now))?;
        Ok(poll[0].revents().contains(rustix::event::PollFlags::ERR))
    };
    match arm() {
        Ok(false) => Ok(()),
        Ok(true) => sys::exit_now(1),
        Err(errno) => Err(Failure::new(Step::DropPrivileges, "/", errno)),
    }
}

/// Leaves the terminal, the process group and the keys of the caller; returns whether it has a keyring now.
pub(crate) fn new_session() -> Result<bool, Failure> {
    // Where that is refused, the launcher's is left: it has no keys either.
    let own_keyring = match sys::join_new_session_keyring() {
        // A filter around this process pretends, and the launcher was told so, too.
        Ok(0) => return Err(Failure::new(Step::Keyring, "/", Errno::NOKEY)),
        joined => joined.is_ok(),
    };
    rustix::process::setsid().map_err(|errno| Failure::new(Step::DropPrivileges, "/", errno))?;
    Ok(own_keyring)
}

/// `/dev/null` of the host: a sandbox need not have one.
pub(crate) fn open_null() -> Result<OwnedFd, Failure> {
    rustix::fs::open(c"/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Failure::new(Step::OpenSource, "/dev/null", errno))
}

/// Everything was made with the rights of root outside, or in the launcher's own user namespace; the builder gets one
/// below which none of it belongs to, so that no capability it may gain there reaches the mounts.
fn enter_user_namespace(identity: &Identity, channels: &Channels) -> Result<(), Failure> {
    let fail = |errno| Failure::new(Step::BecomeUser, "/", errno);
    if let Some(outer) = identity.outer {
        channels.streams.give(outer)?;
        sys::set_groups(&identity.groups).map_err(fail)?;
    }
    // Told as what it is: what is lacking is a namespace, not a user.
    sys::new_user_namespace().map_err(|errno| Failure::new(Step::Namespaces, "/", errno))?;
    tell(&channels.status, &Said::WantsMaps);
    let mut answer = [0];
    match rustix::io::read(&channels.mapped, &mut answer).map_err(fail)? {
        1 => sys::become_ids(identity.uid, identity.gid).map_err(fail),
        // The parent has told the failure itself.
        _ => sys::exit_now(1),
    }
}

/// Gives a stream to the builder, which opens it once more when it writes to `/dev/stdout` or `/dev/stderr`.
pub(crate) fn give_log(log: &OwnedFd, (uid, gid): (u32, u32)) -> Result<(), Failure> {
    rustix::fs::fchown(log, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
        .map_err(|errno| Failure::new(Step::Descriptors, "/", errno))
}

/// Takes away what running a program could give, unless the plan wants that.
pub(crate) fn drop_bounding_set(plan: &Plan) -> Result<(), Failure> {
    // Who has many users is root among them, in a user namespace that nothing else belongs to.
    if plan.new_privileges || plan.identity.count > 1 {
        return Ok(());
    }
    let fail = |errno| Failure::new(Step::DropPrivileges, "/", errno);
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The first number that this kernel does not know.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(fail(errno)),
        }
    }
    Ok(())
}

/// Makes `kept` all that this process can do; no program that it runs inherits any of it.
pub(crate) fn limit_capabilities(kept: CapabilitySet) -> Result<(), Failure> {
    let fail = |errno| Failure::new(Step::DropPrivileges, "/", errno);
    rustix::thread::clear_ambient_capability_set().map_err(fail)?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(fail)
}

/// The last steps, the same for every isolation: descriptors, signals, directory, restrictions, program.
pub(crate) fn start_program(
    plan: &Plan,
    streams: &Opened,
    observer: Option<&OwnedFd>,
    status: &OwnedFd,
    mut given: Given,
) -> Result<Infallible, Failure> {
    let fail = |errno| Failure::new(Step::Descriptors, "/", errno);
    streams.attach()?;
    sys::close_on_exec_from(3).map_err(fail)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    sys::reset_signals();
    match &plan.program {
        Program::Exec(exec) => prepare(exec)?,
        // What people find among processes, and an observer tells of; the kernel takes 15 bytes.
        Program::Function { name, .. } => {
            let _ = c_string(&name.as_bytes()[..name.len().min(15)])
                .and_then(|name| rustix::thread::set_name(&name));
        }
    }
    restrict::restrict(plan, observer, &mut given)?;
    tell(status, &Said::Ready(Box::new(given)));
    match &plan.program {
        Program::Exec(exec) => execute(exec),
        Program::Function { name, input } => {
            tell(status, &Said::Runs);
            // What `execve` would close: sockets of other builds, whose ends others wait for.
            sys::end_alone(3, || functions::call(name, input))
        }
    }
}

/// What cannot be done, or not be seen, once system calls are filtered.
fn prepare(exec: &Exec) -> Result<(), Failure> {
    rustix::process::chdir(&exec.directory)
        .map_err(|errno| Failure::new(Step::ChangeDirectory, &exec.directory, errno))?;
    program_file::refuse_magic_links(&exec.path)?;
    sys::set_personality(exec.personality_32, exec.old_kernel)
        .map_err(|errno| Failure::new(Step::Execute, &exec.path, errno))
}

/// Replaces this process by the program.
pub(crate) fn execute(exec: &Exec) -> Result<Infallible, Failure> {
    let fail = |errno| Failure::new(Step::Execute, &exec.path, errno);
    let path = c_string(exec.path.as_os_str().as_bytes()).map_err(fail)?;
    let args = exec.args.iter().map(|arg| c_string(arg)).collect::<Result<Vec<_>, _>>().map_err(fail)?;
    let env = exec
        .env
        .iter()
        .map(|(name, value)| c_string(&[name.as_slice(), b"=", value].concat()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(fail)?;
    let args: Vec<&CStr> = args.iter().map(CString::as_c_str).collect();
    let env: Vec<&CStr> = env.iter().map(CString::as_c_str).collect();
    Err(fail(sys::execve(&path, &args, &env)))
}

fn c_string(bytes: &[u8]) -> Result<CString, Errno> {
    CString::new(bytes).map_err(|_| Errno::INVAL)
}
