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
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use builder::{BuildFailure, Built, Host, OnFailure};
use local_store::LocalStore;
use sandbox::Launcher;
use scheduler::{GoalId, Outcome, Policy, Schedule};
use settings::{MaxJobs, Settings};

use crate::error::Error;
use crate::plan::{Plan, plan};
use crate::report::{Blocked, Event, Failure, Report};
use crate::stop::StopWatch;
use crate::wanted::Wanted;
use crate::worker::{self, Message};

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
}

/// Makes everything in `wanted` valid, and tells what happens.
///
/// An error means that nothing was tried. Builds that fail are in the report.
pub fn realise(
    context: &Context<'_>,
    wanted: &[Wanted],
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Report, Error> {
    let plan = plan(context.store, wanted)?;
    on_event(Event::Planned(&plan));
    // Looking at the host takes longer than finding that nothing is to be done.
    if plan.builds.is_empty() {
        return Ok(Report { realised: plan.promised().cloned().collect(), ..Report::default() });
    }
    let host = Host::look(context.settings, context.environment.clone())?;
    // Of all builds, and told once.
    let drv = &plan.builds[0].drv;
    host.shortfalls().for_each(|text| on_event(Event::Warning { drv, text: &text }));
    let Context { store, launcher, settings, stop, on_failure, .. } = *context;
    let builder = builder::Context { store, launcher, settings, host: &host, on_failure };
    match stop {
        None => run(&builder, None, &plan, on_event),
        Some(stop) => run(&builder, Some(&StopWatch::new(stop)?), &plan, on_event),
    }
}

fn run(
    context: &builder::Context<'_>,
    stop: Option<&StopWatch<'_>>,
    plan: &Plan,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<Report, Error> {
    let slots = slots(context.settings);
    let mut run = Run {
        plan,
        schedule: schedule(plan, slots, context.settings),
        fates: vec![Fate::NotStarted; plan.builds.len()],
        report: Report::default(),
        on_event,
    };
    let (jobs, queue) = mpsc::channel();
    let (sender, messages) = mpsc::sync_channel(MESSAGES);
    let queue = Mutex::new(queue);
    thread::scope(|scope| {
        // Without it, nobody would hear that all is to stop, so it goes before any worker.
        if let Some(stop) = stop {
            let sender = sender.clone();
            let watch = move || stop.watch(context.launcher, &sender);
            thread::Builder::new().spawn_scoped(scope, watch)?;
        }
        // Also when the listener panics: the scope waits for the watch.
        let _done = stop.map(StopWatch::end_on_drop);
        for number in 0..(WORKERS_PER_SLOT * slots.get()).min(plan.builds.len()) {
            let (queue, sender) = (&queue, sender.clone());
            let work = move || worker::work(context, plan, queue, &sender);
            match thread::Builder::new().spawn_scoped(scope, work) {
                Ok(_) => {}
                // The others do it all, if there are any.
                Err(error) if number == 0 => return Err(error),
                Err(_) => break,
            }
        }
        drop(sender);
        run.drive(jobs, messages);
        Ok(())
    })
    .map_err(|source| Error::Threads { source })?;
    Ok(run.into_report())
}

fn slots(settings: &Settings) -> NonZeroUsize {
    match settings.max_jobs {
        MaxJobs::Count(count) => count,
        MaxJobs::Auto => thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
    }
}

fn schedule(plan: &Plan, slots: NonZeroUsize, settings: &Settings) -> Schedule {
    let policy = if settings.keep_going { Policy::KeepGoing } else { Policy::StopAtFailure };
    let mut schedule = Schedule::new(slots, policy);
    let mut goals: Vec<GoalId> = Vec::with_capacity(plan.builds.len());
    for build in &plan.builds {
        let inputs: Vec<GoalId> = build.inputs.iter().map(|place| goals[*place]).collect();
        goals.push(schedule.add(&inputs));
    }
    schedule
}

/// How a build of the plan ended, if it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    NotStarted,
    Built,
    Failed,
    Blocked,
}

/// A plan on its way.
struct Run<'a> {
    plan: &'a Plan,
    schedule: Schedule,
    /// By place in the plan, which is the goal's number too.
    fates: Vec<Fate>,
    report: Report,
    on_event: &'a mut dyn FnMut(Event<'_>),
}

impl Run<'_> {
    /// Hands out jobs and takes back results until nothing is left to do. Dropping `jobs` ends the workers,
    /// and dropping `messages` keeps them from waiting for somebody to listen.
    fn drive(&mut self, jobs: Sender<GoalId>, messages: Receiver<Message>) {
        loop {
            while let Some(goal) = self.schedule.take() {
                (self.on_event)(Event::Started { drv: &self.plan.builds[goal.index()].drv });
                jobs.send(goal).expect("the queue outlives the workers");
            }
            if self.schedule.is_finished() {
                return;
            }
            match messages.recv().expect("a worker answers for every job") {
                Message::Log(goal, text) => self.log(goal, &text),
                Message::Warning(goal, text) => {
                    (self.on_event)(Event::Warning { drv: &self.plan.builds[goal.index()].drv, text: &text });
                }
                Message::Detail(goal, detail) => {
                    let drv = &self.plan.builds[goal.index()].drv;
                    (self.on_event)(Event::Detail { drv, detail: &detail });
                }
                Message::Explained(goal, explanation) => {
                    let drv = &self.plan.builds[goal.index()].drv;
                    (self.on_event)(Event::Explained { drv, explanation: &explanation });
                }
                Message::Ran(goal) => self.schedule.free_slot(goal),
                Message::Stop => self.stop(),
                Message::Ended(goal, result) => {
                    self.ended(goal, result.unwrap_or_else(|panic| resume_unwind(panic)));
                }
            }
        }
    }

    fn stop(&mut self) {
        self.schedule.stop();
        self.report.stopped = true;
    }

    fn ended(&mut self, goal: GoalId, result: Result<Built, BuildFailure>) {
        match result {
            Ok(built) => self.built(goal, &built),
            // It was killed, which is no failure of its own.
            Err(_) if self.report.stopped => drop(self.schedule.finish(goal, Outcome::Cancelled)),
            Err(failure) => self.failed(goal, failure),
        }
    }

    fn log(&mut self, goal: GoalId, text: &[u8]) {
        let drv = &self.plan.builds[goal.index()].drv;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            (self.on_event)(Event::Log { drv, line: line.strip_suffix(b"\n").unwrap_or(line) });
        }
    }

    fn built(&mut self, goal: GoalId, built: &Built) {
        let drv = &self.plan.builds[goal.index()].drv;
        self.schedule.finish(goal, Outcome::Done);
        self.fates[goal.index()] = Fate::Built;
        (self.on_event)(Event::Built { drv, usage: built.usage });
        self.report.built.push(drv.clone());
    }

    fn failed(&mut self, goal: GoalId, error: BuildFailure) {
        let drv = &self.plan.builds[goal.index()].drv;
        let cancelled = self.schedule.finish(goal, Outcome::Failed);
        self.fates[goal.index()] = Fate::Failed;
        let failure = Failure { drv: drv.clone(), error };
        (self.on_event)(Event::Failed(&failure));
        self.report.failures.push(failure);
        for goal in cancelled {
            self.fates[goal.index()] = Fate::Blocked;
            let blocked = Blocked { drv: self.plan.builds[goal.index()].drv.clone(), by: drv.clone() };
            (self.on_event)(Event::Blocked(&blocked));
            self.report.blocked.push(blocked);
        }
    }

    fn into_report(mut self) -> Report {
        let kept = |build: Option<usize>| build.is_none_or(|place| self.fates[place] == Fate::Built);
        let promises = self.plan.promises.iter().filter(|promise| kept(promise.build));
        self.report.realised = promises.map(|promise| promise.realised.clone()).collect();
        let fates = self.plan.builds.iter().zip(&self.fates);
        let not_started = fates.filter(|(_, fate)| **fate == Fate::NotStarted);
        self.report.not_started = not_started.map(|(build, _)| build.drv.clone()).collect();
        self.report
    }
}
