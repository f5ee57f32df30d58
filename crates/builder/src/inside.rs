//! Somebody in the place of the builder: in exactly the sandbox that it has, or had.

use std::cell::RefCell;
use std::os::fd::OwnedFd;

use derivation::{Derivation, OutputName};
use sandbox::{Attached, Exec, Isolation, Plan, Program, Running, Streams};
use store_path::StorePath;

use crate::build::{Context, Message};
use crate::build_dir;
use crate::builtin;
use crate::canary;
use crate::failure::BuildFailure;
use crate::job_server::JobServer;
use crate::prepare::Prepared;
use crate::request;
use crate::stand_in::{self, Runs};
use crate::work::Work;

/// A sandbox to step into. What is made in it is thrown away with it.
pub struct Inside<'a> {
    work: &'a Work<'a>,
    prepared: &'a Prepared,
    /// The directories that are in memory, once there are some.
    memory: RefCell<Vec<OwnedFd>>,
}

/// Who may step into the sandbox of a build that has failed, before it is taken down.
///
/// Called on the thread of that build, which waits.
#[derive(Clone, Copy)]
pub struct OnFailure<'a>(pub &'a (dyn Fn(&BuildFailure, &Inside<'_>) + Sync));

impl std::fmt::Debug for OnFailure<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnFailure")
    }
}

/// Makes the sandbox of `derivation`, whose file is `drv` and whose inputs are valid, as for a build, and calls
/// `attend` while it is there.
///
/// Other builds of it, and other visits, may go on at the same time.
///
/// # Errors
/// A [`BuildFailure`] if there would be no sandbox, or none can be made.
pub fn enter<R>(
    context: &Context<'_>,
    drv: &StorePath,
    derivation: &Derivation,
    tell: &mut dyn FnMut(Message<'_>),
    attend: impl FnOnce(&Inside<'_>) -> R,
) -> Result<R, BuildFailure> {
    let nothing = || Err(BuildFailure::NothingToEnter { drv: drv.clone() });
    if !context.settings.build_use_chroot.isolates() {
        return nothing();
    }
    let request = request::check(drv, derivation, context)?;
    if !request.is_isolated {
        return nothing();
    }
    let inputs = request::input_closure(&request, context.store)?;
    canary::prove(context, drv, None, tell)?;
    let job_server = JobServer::of(context, drv)?;
    let work = Work::new(context, &request, inputs).with_job_server(job_server);
    let prepared = Prepared::beside(&work, tell)?;
    // Whoever looks around has a processor, too.
    let _seat = work.job_server.as_ref().map(JobServer::join);
    Ok(attend(&Inside::new(&work, &prepared, Vec::new())))
}

impl<'a> Inside<'a> {
    pub(crate) fn new(work: &'a Work<'a>, prepared: &'a Prepared, memory: Vec<OwnedFd>) -> Self {
        Self { work, prepared, memory: RefCell::new(memory) }
    }

    /// Gives back the directories that are in memory.
    pub(crate) fn into_memory(self) -> Vec<OwnedFd> {
        self.memory.into_inner()
    }

    /// Returns the derivation.
    pub fn drv(&self) -> &StorePath {
        self.work.request.drv
    }

    /// Returns what the builder is to make.
    pub fn outputs(&self) -> impl Iterator<Item = (&OutputName, &StorePath)> {
        self.work.request.outputs.iter()
    }

    /// Returns what the builder is, with its arguments and its environment. One that is part of this program
    /// ([`Inside::is_builtin`]) is no file that could be started.
    pub fn builder(&self) -> &Exec {
        &self.prepared.exec
    }

    /// Returns whether the builder is part of this program.
    pub fn is_builtin(&self) -> bool {
        builtin::name(self.work.request.derivation).is_some()
    }

    /// Starts something in the place of the builder; one at a time.
    ///
    /// # Errors
    /// [`BuildFailure::NoShell`] and [`BuildFailure::NoCommand`] if there is nothing to start;
    /// [`BuildFailure::Sandbox`] if the sandbox cannot be set up.
    pub fn start(&self, runs: &Runs, streams: Streams) -> Result<Running, BuildFailure> {
        let drv = self.drv();
        let sandbox = |source| BuildFailure::Sandbox { drv: drv.clone(), source };
        let plan = self.plan(stand_in::exec(self.work, &self.prepared.plan, self.builder(), runs)?);
        self.empty_root(&plan)?;
        let user = self.prepared.user.as_ref();
        let attached = Attached { user, streams, memory: self.memory.take(), observation: None };
        let running = self.work.context.launcher.run_with(&plan, attached).map_err(sandbox)?;
        *self.memory.borrow_mut() = running.memory().map_err(sandbox)?;
        Ok(running)
    }

    /// The plan of the builder's sandbox, with another program.
    fn plan(&self, exec: Exec) -> Plan {
        Plan { program: Program::Exec(exec), ..self.prepared.plan.clone() }
    }

    /// A root on the host holds files of the one who was there before.
    fn empty_root(&self, plan: &Plan) -> Result<(), BuildFailure> {
        let Isolation::Chroot { root } = &plan.isolation else { return Ok(()) };
        local_store::remove_tree(root)
            .map_err(|source| BuildFailure::Store { drv: self.drv().clone(), source })?;
        build_dir::make_dir(root, 0o755, None)
    }
}
