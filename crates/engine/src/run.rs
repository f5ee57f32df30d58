//! The caller's thread: it owns the schedule, feeds the workers and tells what happens.
//!
//! ```text
//!            jobs (one receiver, shared)          messages (bounded: a slow listener slows the logs down)
//! drive ───────────────────────────────► workers ────────────────────────────────────────────► drive
//! ```
//!
//! Workers live as long as the sender of the jobs, so they end once nothing is left to do, or when this thread
//! panics, after the builds they are at. A panic in a worker is carried over and raised here.

#![expect(clippy::disallowed_methods, reason = "engine owns the threads")]

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::sync::mpsc;
use std::sync::mpsc::SyncSender;
use std::thread::{self, Scope};
use std::time::Duration;

use builder::{Host, OnFailure};
use local_store::LocalStore;
use remote_builder::RemoteBuilder;
use sandbox::Launcher;
use scheduler::{Limits, Policy, Schedule};
use settings::{MaxJobs, MemoryForBuilds, Settings};
use substituter::Substituters;

use crate::control::{GiveUpOnDrop, Hands};
use crate::descriptors;
use crate::drive::Run;
use crate::elsewhere::{self, Elsewhere, Offer};
use crate::enter::stoppable;
use crate::error::Error;
use crate::offers::{FromOthers, Sources};
use crate::plan::{Plan, plan_check, plan_until};
use crate::report::{Event, Report};
use crate::room::Room;
use crate::stop::StopWatch;
use crate::wanted::Wanted;
use crate::worker::{self, Message, Shared};

/// Messages on their way; enough that no build waits for the listener in passing.
const MESSAGES: usize = 256;

/// A slot is for a builder. While one worker waits for the disk to keep what a builder made, another one has
/// the next builder running.
const WORKERS_PER_SLOT: usize = 2;

/// What every build of one call shares.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Where the derivations are and the outputs go.
    pub store: &'a LocalStore,
    /// Starts the builds.
    pub launcher: &'a Launcher,
    /// How they are built, how many at once, and whether a failure ends it all.
    pub settings: &'a Settings,
    /// The caller's variables, of which fixed-output builds get those they name (`impureEnvVars`).
    pub environment: &'a BTreeMap<Vec<u8>, Vec<u8>>,
    /// When this becomes readable, running builds are killed and no other one starts.
    pub stop: Option<BorrowedFd<'a>>,
    /// Who may step into the sandbox of a build that has failed, on its own thread. The others go on meanwhile.
    pub on_failure: Option<OnFailure<'a>>,
    /// After so long without any other event the caller is told [`Event::Tick`]; with `None` never.
    pub tick: Option<Duration>,
    /// So many of what is wanted, and what they need, go before all the rest.
    pub first: usize,
}

/// Makes everything in `wanted` valid, and tells what happens.
///
/// An error means that nothing was tried. Builds that fail are in the report.
pub fn realise(
    context: &Context<'_>,
    wanted: &[Wanted],
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Report, Error> {
    let stop = word_to_stop(context)?;
    let Context { store, launcher, settings, environment, .. } = *context;
    let always_allowed = settings.always_allow_substitutes;
    let substituters = Substituters::new(store, launcher, settings, environment);
    let sources = substituters.map(|substituters| FromOthers { substituters, always_allowed });
    let plan = || plan_until(store, sources.as_ref(), wanted, stop);
    // Programs may run for it, which have to be stopped, too.
    let plan = if sources.is_some() { stoppable(context, plan)? } else { plan() };
    unless_stopped(wanted, plan, |plan| carry_out(context, sources.as_ref(), plan, on_event))
}

/// Builds once more what is `wanted`, all of which is valid, and compares; makes valid only what that takes in.
///
/// An error means that nothing was tried. What comes out differently is a failure in the report, as is a build that
/// fails.
pub fn check(
    context: &Context<'_>,
    wanted: &[Wanted],
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Report, Error> {
    let plan = plan_check(context.store, wanted, word_to_stop(context)?);
    unless_stopped(wanted, plan, |plan| carry_out(context, None, plan, on_event))
}

/// Returns what becomes readable when all is to stop, for a plan to keep.
fn word_to_stop(context: &Context<'_>) -> Result<Option<OwnedFd>, Error> {
    let stop = context.stop.map(|stop| stop.try_clone_to_owned()).transpose();
    stop.map_err(|source| Error::Stop { source })
}

/// Goes on with a plan; that it was given up is no error.
fn unless_stopped(
    wanted: &[Wanted],
    plan: Result<Plan, Error>,
    go_on: impl FnOnce(Plan) -> Result<Report, Error>,
) -> Result<Report, Error> {
    match plan {
        Ok(plan) => go_on(plan),
        Err(Error::Stopped) => {
            let not_realised = (0..wanted.len()).collect();
            Ok(Report { stopped: true, not_realised, ..Report::default() })
        }
        Err(error) => Err(error),
    }
}

pub(crate) fn carry_out(
    context: &Context<'_>,
    sources: Sources<'_>,
    plan: Plan,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Report, Error> {
    let mut plan = plan.in_slots(slots(context.settings)).with_first(context.first);
    // From here on the word is heard by others.
    plan.graph.stop = None;
    on_event(Event::Planned(&plan));
    // Looking at the host takes longer than finding that nothing is to be done.
    let Some(first) = plan.goals.list.first() else {
        return Ok(Report { realised: plan.realised(), ..Report::default() });
    };
    let host = Host::look(context.settings, context.environment.clone())?;
    // Of all builds, and told once.
    let drv = first.task.drv();
    let warnings = std::mem::take(&mut plan.graph.offers.warnings);
    warnings.iter().for_each(|text| on_event(Event::Warning { drv, text }));
    host.shortfalls().for_each(|text| on_event(Event::Warning { drv, text: &text }));
    let may_be_many = plan.goals.list.len() > slots(context.settings).get() || plan.grows();
    let too_few_files = descriptors::shortfall(asked_slots(context.settings)).filter(|_| may_be_many);
    too_few_files.iter().for_each(|text| on_event(Event::Warning { drv, text }));
    let Context { store, launcher, settings, stop, on_failure, tick, .. } = *context;
    let builder = builder::Context { store, launcher, settings, host: &host, on_failure };
    let remote = RemoteBuilder::new(store, launcher, settings, context.environment);
    let remote = remote.as_ref();
    // Builds go on without it; they can be stopped only together then.
    let cancels = store.hear_cancels().ok();
    run(&builder, (remote, sources), &StopWatch::new(stop, cancels)?, plan, tick, on_event)
}

fn run(
    context: &builder::Context<'_>,
    (remote, sources): (Option<&RemoteBuilder<'_>>, Sources<'_>),
    watch: &StopWatch<'_>,
    plan: Plan,
    tick: Option<Duration>,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Report, Error> {
    let slots = slots(context.settings);
    let policy = if context.settings.keep_going { Policy::KeepGoing } else { Policy::StopAtFailure };
    // A plan that grows may have work for all of them.
    let most = WORKERS_PER_SLOT * slots.get();
    let fetches = plan.to_fetch().len();
    let grows = plan.grows() || fetches > 0;
    let substitutions = substitutions(context.settings);
    let workers =
        if grows { most } else { most.min(plan.goals.list.len()) } + fetches.min(substitutions.get());
    let limits = Limits { builds: slots, substitutions, memory: memory(context.settings) };
    let schedule = Schedule::new(limits, policy);
    let elsewhere = Elsewhere::new(remote.is_some());
    let hands = Hands::default();
    let run = Run::new(context.store, plan, schedule, elsewhere, &hands, tick, on_event);
    let mut run = run.with_sources(sources, context.settings.fallback);
    let (jobs, queue) = mpsc::channel();
    let (sender, messages) = mpsc::sync_channel(MESSAGES);
    let shared = Shared { builder: context, queue: Mutex::new(queue), hands: &hands, sources };
    thread::scope(|scope| {
        // Without it, nobody would hear that all is to stop, so it goes before any worker.
        let (to_stop, to_cancel, hands_to_stop) = (sender.clone(), sender.clone(), &hands);
        let halt = move || {
            // First, so that the failures that follow are known for what they are; and not by a message, which has
            // to wait when nobody takes what builds print.
            hands_to_stop.give_up_all();
            context.launcher.stop();
            let _ = to_stop.send(Message::Stop);
        };
        let cancel = move |id, caller| drop(to_cancel.send(Message::Cancel(id, caller)));
        thread::Builder::new().spawn_scoped(scope, move || watch.watch(halt, cancel))?;
        // Also when the listener panics: the scope waits for the watch.
        let _done = watch.end_on_drop();
        // Nor is anybody to wait for locks of others when nobody listens any more.
        let _given_up = GiveUpOnDrop(&hands);
        if let Some(room) = Room::wanted(context.store, context.settings) {
            let (sender, done) = (sender.clone(), watch.done());
            // Without it, the builds go on in the room there is.
            let _ = thread::Builder::new().spawn_scoped(scope, move || room.keep(done, &sender));
        }
        for number in 0..workers {
            match employ(scope, &shared, sender.clone()) {
                Ok(()) => {}
                // The others do it all, if there are any.
                Err(error) if number == 0 => return Err(error),
                Err(_) => break,
            }
        }
        match remote {
            None => {
                drop(sender);
                run.drive(jobs, messages, None);
            }
            Some(remote) => {
                let offer: Offer<'_> = &|job, willing| {
                    let sender = sender.clone();
                    let hands = &hands;
                    let offer = move || elsewhere::offer(remote, context, &job, willing, hands, &sender);
                    thread::Builder::new().spawn_scoped(scope, offer).map(drop)
                };
                run.drive(jobs, messages, Some(offer));
            }
        }
        Ok(())
    })
    .map_err(|source| Error::Threads { source })?;
    Ok(run.into_report())
}

/// Starts a worker, which can have itself replaced.
fn employ<'scope>(
    scope: &'scope Scope<'scope, '_>,
    shared: &'scope Shared<'_>,
    sender: SyncSender<Message>,
) -> io::Result<()> {
    // If there is no thread to be had, the others do it all.
    let replace = {
        let sender = sender.clone();
        move || drop(employ(scope, shared, sender.clone()))
    };
    let work = move || worker::work(shared, &sender, &replace);
    thread::Builder::new().spawn_scoped(scope, work).map(drop)
}

/// Returns how many builds run at the same time: as many as are asked for, or fewer, where this process may not open
/// files for all of them.
pub fn slots(settings: &Settings) -> NonZeroUsize {
    asked_slots(settings).min(descriptors::slots())
}

fn asked_slots(settings: &Settings) -> NonZeroUsize {
    match settings.max_jobs {
        MaxJobs::Count(count) => count,
        MaxJobs::Auto => thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
    }
}

/// Returns how many paths are fetched at the same time.
fn substitutions(settings: &Settings) -> NonZeroUsize {
    NonZeroUsize::new(settings.max_substitution_jobs).unwrap_or(NonZeroUsize::MIN)
}

/// Returns how many bytes of memory builds may be expected to take together.
fn memory(settings: &Settings) -> Option<u64> {
    match settings.memory_for_builds {
        MemoryForBuilds::Auto => sandbox::available_memory(),
        MemoryForBuilds::Bytes(bytes) => Some(bytes),
        MemoryForBuilds::NoMatter => None,
    }
}
