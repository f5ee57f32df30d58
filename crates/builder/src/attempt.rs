//! One run of a builder, from the sandbox that is made for it to what it has left behind.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use derivation::OutputName;
use sandbox::{Attached, Exit, ExitStatus, Streams};
use settings::ExternalBuilder;
use store_path::{BuildRecord, StorePath};

use crate::announce::Public;
use crate::build::{Context, Message};
use crate::control::Control;
use crate::external;
use crate::failure::BuildFailure;
use crate::inside::{Inside, OnFailure};
use crate::isolation::{self, Isolation};
use crate::job_server::{JobServer, Seat};
use crate::observe::{self, Teller, Turn};
use crate::outputs::{self, Finished};
use crate::prepare::Prepared;
use crate::request::Request;
use crate::stopwatch::{Measured, Stopwatch};
use crate::work::Work;
use crate::{build_dir, copy_out, limits};

/// Runs the builder, twice if it is to be found out what it lacked; outputs in `valid` keep the paths they have.
pub(crate) fn attempt(
    work: &Work<'_>,
    valid: &BTreeMap<OutputName, StorePath>,
    public: &Public,
    tell: &mut Teller<'_>,
) -> Result<Finished, BuildFailure> {
    let build =
        &mut |turn, tell: &mut Teller<'_>| Build::prepare(work, valid.clone(), turn, tell)?.run(public, tell);
    observe::attempt(work, tell, build).map_err(|failure| work.explain(failure))
}

/// Without isolation, outputs are made where they will stay: removes what is there and not valid.
pub(crate) fn remove_open(
    context: &Context<'_>,
    request: &Request<'_>,
    valid: &BTreeMap<OutputName, StorePath>,
) -> Result<(), BuildFailure> {
    let invalid = request.outputs.iter().filter(|(name, path)| valid.get(name) != Some(path));
    for (_, path) in invalid.filter(|_| !request.is_isolated) {
        local_store::remove_tree(&context.store.real_path(path))
            .map_err(|source| BuildFailure::Store { drv: request.drv.clone(), source })?;
    }
    Ok(())
}

/// A build that holds its locks.
struct Build<'a> {
    work: &'a Work<'a>,
    /// Outputs that are valid already; what is made of them again is thrown away.
    valid: BTreeMap<OutputName, StorePath>,
    prepared: Prepared,
    turn: Turn,
}

impl<'a> Build<'a> {
    fn prepare(
        work: &'a Work<'a>,
        valid: BTreeMap<OutputName, StorePath>,
        turn: Turn,
        tell: &mut dyn FnMut(Message<'_>),
    ) -> Result<Self, BuildFailure> {
        let prepared = match (work.is_isolated(), work.is_again) {
            (true, false) => Prepared::isolated(work, tell)?,
            (true, true) => Prepared::beside(work, tell)?,
            (false, _) if work.request.external.is_some() => Prepared::external(work, tell)?,
            (false, _) => Prepared::open(work, tell)?,
        };
        work.request.reach("build.prepared")?;
        Ok(Self { work, valid, prepared, turn })
    }

    /// Runs the builder, and returns what it has left behind.
    fn run(self, public: &Public, tell: &mut Teller<'_>) -> Result<Finished, BuildFailure> {
        // What others have left.
        remove_open(self.work.context, self.work.request, &self.valid)?;
        let Ended { exit, log_tail, memory, isolation, measured } = self.execute(public, tell)?;
        self.work.request.reach("build.ended")?;
        let Work { context, request, inputs, .. } = self.work;
        let made = self.prepared.made();
        if self.work.is_isolated() {
            // Its builder may have closed it to everybody.
            build_dir::set_mode(&made.directory, 0o1775)?;
        }
        let missing = outputs::missing(request, &made);
        if let Ok(exit) = exit
            && exit.status == ExitStatus::Code(0)
            && missing.is_none()
        {
            tell(Message::Ran);
            let record = record(request.drv, &exit, &measured, &isolation)?;
            let kept = match outputs::finish(context.store, request, &made, inputs, &self.valid) {
                Ok(kept) => kept,
                Err(failure) => {
                    self.let_in(&failure, memory);
                    return Err(failure);
                }
            };
            return Ok(Finished { exit, record, outputs: kept, prepared: self.prepared });
        }
        let mut failure = self.failure(exit, log_tail, missing);
        // Of two attempts, people see the second one.
        let is_tried_again = self.turn == Turn::First && failure.may_be_a_lack();
        let memory = if is_tried_again { memory } else { self.let_in(&failure, memory) };
        if context.settings.keeps_failed() && !is_tried_again && !failure.is_cancelled() {
            failure.keep_in(self.keep(memory)?);
        }
        Err(failure)
    }

    /// Lets somebody look at a failure where it happened, who wants to; gives back the directories in memory.
    fn let_in(&self, failure: &BuildFailure, memory: Vec<OwnedFd>) -> Vec<OwnedFd> {
        let Some(OnFailure(attend)) = self.work.context.on_failure else { return memory };
        if !self.work.is_isolated() || !failure.has_run() {
            return memory;
        }
        let inside = Inside::new(self.work, &self.prepared, memory);
        attend(failure, &inside);
        inside.into_memory()
    }

    /// Runs the builder to its end.
    fn execute(&self, public: &Public, tell: &mut dyn FnMut(Message<'_>)) -> Result<Ended, BuildFailure> {
        let Work { context, request, .. } = self.work;
        if let Some(external) = &request.external {
            return self.execute_by(external, public, tell);
        }
        let Context { settings, launcher, .. } = **context;
        let mut log = public.log.begin();
        let sandbox = |source| BuildFailure::Sandbox { drv: request.drv.clone(), source };
        let shown =
            context.host.files.look(&self.prepared.plan.ops, &self.work.host_deps, &self.prepared.hooked);
        let stopwatch = Stopwatch::start();
        let observed = observe::Observed::new(self.work, self.turn).map_err(sandbox)?;
        let Prepared { plan, user, .. } = &self.prepared;
        let attached = Attached {
            user: user.as_ref(),
            streams: Streams::Log,
            memory: Vec::new(),
            observation: observed.observation(),
        };
        let seat = self.work.job_server.as_ref().map(JobServer::join);
        let running = match launcher.run_with(plan, attached) {
            Ok(running) => running.within(limits::allowance(settings)),
            Err(error) => {
                observed.explain(self.work, plan, tell)?;
                return Err(sandbox(error));
            }
        };
        tell(Message::Running { id: public.id.clone(), process: running.process_number() });
        request.reach("build.started")?;
        let memory = running.memory().map_err(sandbox)?;
        let given = running.given().clone();
        shown.hash();
        let teller = RefCell::new(&mut *tell);
        let exit = running.follow_until(
            request.control.map(Control::given_up),
            &mut |bytes| {
                log.write(bytes);
                (teller.borrow_mut())(Message::Output(bytes));
            },
            &mut |notice| (teller.borrow_mut())(notice.into()),
        );
        let exit = match exit {
            Err(lost @ sandbox::Error::NetworkLost { .. }) => Err(lost),
            exit => Ok(exit.map_err(sandbox)?),
        };
        let measured = stopwatch.stop();
        if let Some(lack) = public.log.lack() {
            tell(Message::Warning(lack));
        }
        if let Ok(Exit { status: ExitStatus::Code(_), .. }) = exit {
            seat.into_iter().for_each(Seat::ended_well);
        }
        observed.explain(self.work, plan, tell)?;
        let isolation =
            Isolation::of(given, &self.prepared.plan, shown.finish(), self.work.job_server.is_some());
        Ok(Ended { exit, log_tail: log.end(), memory, isolation, measured })
    }

    /// Has the builder run by a program of the settings.
    fn execute_by(
        &self,
        external: &ExternalBuilder,
        public: &Public,
        tell: &mut dyn FnMut(Message<'_>),
    ) -> Result<Ended, BuildFailure> {
        let request = self.work.request;
        let mut log = public.log.begin();
        let stopwatch = Stopwatch::start();
        let teller = RefCell::new(tell);
        let exit = external::run(
            self.work,
            external,
            &self.prepared,
            |process| (teller.borrow_mut())(Message::Running { id: public.id.clone(), process }),
            &mut |bytes| {
                log.write(bytes);
                (teller.borrow_mut())(Message::Output(bytes));
            },
        );
        let exit = exit.map_err(|source| BuildFailure::Sandbox { drv: request.drv.clone(), source })?;
        let measured = stopwatch.stop();
        let isolation = Isolation::of(external::given(external), &self.prepared.plan, Vec::new(), false);
        Ok(Ended { exit: Ok(exit), log_tail: log.end(), memory: Vec::new(), isolation, measured })
    }

    /// Why it has failed.
    fn failure(
        &self,
        exit: Result<Exit, sandbox::Error>,
        log_tail: Vec<String>,
        missing: Option<(OutputName, StorePath)>,
    ) -> BuildFailure {
        let Context { store, settings, .. } = *self.work.context;
        let (drv, kept) = (self.work.request.drv.clone(), None);
        let exit = match exit {
            Ok(exit) => exit,
            Err(source) => return BuildFailure::NetworkLost { drv, source, log_tail, kept },
        };
        match (exit.status, missing) {
            (ExitStatus::GivenUp, _) => BuildFailure::GivenUp { drv },
            (ExitStatus::Overran(overrun), _) => {
                let limit = limits::limit(overrun, settings);
                BuildFailure::Overran { drv, overrun, limit, log_tail, kept }
            }
            (ExitStatus::Code(0), Some((output, path))) => {
                BuildFailure::NoOutput { drv, output, path: store.store_dir().print(&path), log_tail, kept }
            }
            (status, _) => match exit.out_of_memory {
                Some(memory) => BuildFailure::OutOfMemory { drv, memory, log_tail, kept },
                None => {
                    let is_transient = self.work.request.derivation.is_fixed();
                    BuildFailure::Builder { drv, status, is_transient, log_tail, kept }
                }
            },
        }
    }

    /// Leaves the build directory behind for people to look at, and returns where.
    fn keep(self, mut memory: Vec<OwnedFd>) -> Result<PathBuf, BuildFailure> {
        let Prepared { top, build_dir, .. } = self.prepared;
        if let Some(memory) = memory.pop() {
            if self.work.context.host.subordinate_ids > 0 {
                // What cannot be read then, copying will say.
                let _ = self.work.context.launcher.take_back(&memory);
            }
            copy_out::copy(&memory, &build_dir)?;
        }
        build_dir::keep(top, &build_dir, self.work.request.drv)
    }
}

/// A builder that has ended.
struct Ended {
    /// How, unless it was ended since it had lost its network.
    exit: Result<Exit, sandbox::Error>,
    log_tail: Vec<String>,
    /// Its directories in memory, the build directory last.
    memory: Vec<OwnedFd>,
    isolation: Isolation,
    measured: Measured,
}

/// What is written down of a builder that has ended well.
fn record(
    drv: &StorePath,
    exit: &Exit,
    measured: &Measured,
    isolation: &Isolation,
) -> Result<BuildRecord, BuildFailure> {
    Ok(BuildRecord {
        drv: drv.clone(),
        started_millis: measured.started_millis,
        wall_time: measured.wall_time,
        user_time: exit.user_time,
        system_time: exit.system_time,
        peak_memory_bytes: exit.peak_memory_bytes,
        written_bytes: exit.written_bytes,
        isolation: isolation::text(isolation, drv)?,
    })
}
