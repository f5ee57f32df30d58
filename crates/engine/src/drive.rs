//! A plan on its way: what is handed out, what comes back, what that means for the rest.

mod begin;
mod cancel;
mod ends;
mod fetched;
mod grow;

use std::collections::{HashMap, HashSet};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use local_store::{CancelCaller, LocalStore, Wait};
use scheduler::{GoalId, Schedule};
use store_path::StorePath;

use crate::control::Hands;
use crate::elsewhere::{Elsewhere, Offer};
use crate::error::Error;
use crate::fetch::FetchError;
use crate::offers::Sources;
use crate::order::Task;
use crate::plan::Plan;
use crate::reasons::Reasons;
use crate::report::{Event, Report};
use crate::worker::{Again, Job, Message};

/// How a goal ended, if it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    NotStarted,
    Done,
    Failed,
    /// Somebody has given it up.
    Cancelled,
    /// What it needs is not there, or nobody needs it any more.
    Blocked,
}

/// A plan on its way.
pub(crate) struct Run<'a> {
    store: &'a LocalStore,
    plan: Plan,
    schedule: Schedule,
    hands: &'a Hands,
    /// By place in the plan, which is the goal's number too.
    fates: Vec<Fate>,
    /// For which goal that the caller wants each one is, in the same way.
    targets: Vec<usize>,
    /// Goals whose worker waits for a lock, or for a slot after that.
    waiting: HashSet<GoalId>,
    /// Derivations that are being built, each with other goals that turned out to be about the same.
    twins: HashMap<StorePath, Vec<GoalId>>,
    /// Why what an output turned out to be is of no use, by the goal that stands for it.
    useless: HashMap<usize, Error>,
    reasons: Reasons,
    elsewhere: Elsewhere,
    sources: Sources<'a>,
    /// Whether what cannot be fetched is built.
    falls_back: bool,
    /// What could not be fetched.
    unfetched: HashMap<StorePath, Arc<FetchError>>,
    /// Who wants to hear what became of builds that they have had given up.
    callers: HashMap<GoalId, Vec<CancelCaller>>,
    report: Report,
    /// After so long without a message the caller is told that.
    tick: Option<Duration>,
    on_event: &'a mut dyn FnMut(Event<'_>),
}

impl<'a> Run<'a> {
    /// Begins with nothing handed out.
    pub(crate) fn new(
        store: &'a LocalStore,
        plan: Plan,
        schedule: Schedule,
        elsewhere: Elsewhere,
        hands: &'a Hands,
        tick: Option<Duration>,
        on_event: &'a mut dyn FnMut(Event<'_>),
    ) -> Self {
        let (fates, twins, useless) = (Vec::new(), HashMap::new(), HashMap::new());
        let targets = plan.targets();
        let (reasons, report) = (Reasons::default(), Report::default());
        let waiting = HashSet::new();
        let mut run = Self {
            store,
            plan,
            schedule,
            hands,
            fates,
            targets,
            waiting,
            twins,
            useless,
            reasons,
            elsewhere,
            sources: None,
            falls_back: false,
            unfetched: HashMap::new(),
            callers: HashMap::new(),
            report,
            tick,
            on_event,
        };
        run.schedule_new();
        for top in run.plan.tops() {
            run.schedule.want(GoalId::from_index(top));
        }
        run
    }

    /// Lets what is not there be fetched; what cannot be is built if it `falls_back`.
    pub(crate) fn with_sources(self, sources: Sources<'a>, falls_back: bool) -> Self {
        Self { sources, falls_back, ..self }
    }

    /// Adds the goals that the plan has and the schedule has not.
    fn schedule_new(&mut self) {
        for (place, goal) in self.plan.goals.list.iter().enumerate().skip(self.fates.len()) {
            let inputs: Vec<GoalId> = goal.inputs.iter().map(|place| GoalId::from_index(*place)).collect();
            let mut demand = self.plan.demand(place);
            // What is compared is this machine's.
            if !matches!(goal.task, Task::Check(_)) {
                demand = self.elsewhere.demand(GoalId::from_index(place), demand);
            }
            self.schedule.add(&inputs, demand);
            self.fates.push(Fate::NotStarted);
        }
    }

    fn task(&self, goal: GoalId) -> &Task {
        &self.plan.goals.list[goal.index()].task
    }

    /// Returns the derivation that a goal builds, by the name under which the caller knows it.
    fn drv(&self, goal: GoalId) -> StorePath {
        self.task(goal).drv().clone()
    }

    /// Hands out jobs and takes back results until nothing is left to do. Dropping `jobs` ends the workers,
    /// and dropping `messages` keeps them from waiting for somebody to listen. Where there is a build hook, `offer` has it
    /// asked.
    pub(crate) fn drive(&mut self, jobs: Sender<Job>, messages: Receiver<Message>, offer: Option<Offer<'_>>) {
        loop {
            while let Some(goal) = self.schedule.take() {
                let job = self.elsewhere.take(goal).or_else(|| self.begin(goal));
                job.into_iter().for_each(|job| self.hand_out(job, &jobs, offer));
            }
            if self.schedule.has_stopped() {
                self.part_twins();
            }
            if self.schedule.is_finished() {
                return self.leave();
            }
            if self.schedule.is_idle() {
                self.stuck();
                continue;
            }
            let message = self.wait(&messages);
            let has_changed = matches!(message, Some(Message::Ran(_) | Message::Ended(..)));
            // The word comes before what follows from it, however many messages are on their way.
            if !self.report.stopped && self.hands.are_given_up() {
                self.stop();
            }
            message.into_iter().for_each(|message| self.hear(message));
            if self.elsewhere.is_time(has_changed) {
                // What waits for a lock has to wait on, however often others are offered.
                let waiting = &self.waiting;
                self.schedule.resume(|goal| !waiting.contains(&goal));
            }
        }
    }

    /// Waits for a message, or until what was postponed is to be offered again. Time goes on for whoever watches meanwhile.
    fn wait(&mut self, messages: &Receiver<Message>) -> Option<Message> {
        const ANSWER: &str = "a worker answers for every job";
        loop {
            let patience = self.elsewhere.patience();
            let Some(timeout) = self.tick.into_iter().chain(patience).min() else {
                return Some(messages.recv().expect(ANSWER));
            };
            match messages.recv_timeout(timeout) {
                Err(RecvTimeoutError::Timeout) if self.tick == Some(timeout) => (self.on_event)(Event::Tick),
                Err(RecvTimeoutError::Timeout) => return None,
                message => return Some(message.expect(ANSWER)),
            }
        }
    }

    /// Whether a goal is to compare, not to make anything.
    fn is_check(&self, goal: GoalId) -> bool {
        matches!(self.task(goal), Task::Check(_))
    }

    /// What for a goal is built that is there.
    fn again(&self, goal: GoalId) -> Option<Again> {
        let purpose = if self.plan.is_repair { Again::ToRepair } else { Again::ToCompare };
        self.is_check(goal).then_some(purpose)
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Log(goal, text) => self.log(goal, &text),
            Message::Warning(goal, text) => {
                let drv = &self.drv(goal);
                (self.on_event)(Event::Warning { drv, text: &text });
            }
            Message::Waiting(goal, wait) => {
                let drv = &self.drv(goal);
                (self.on_event)(Event::Waiting { drv, wait: &wait });
                if matches!(wait, Wait::Lock { .. }) && self.hands.get(goal).is_some() {
                    // Others have the slot meanwhile.
                    self.schedule.put_off(goal);
                    self.waiting.insert(goal);
                }
            }
            Message::WaitingToKeep(goal, wait) => {
                let drv = &self.drv(goal);
                (self.on_event)(Event::Waiting { drv, wait: &wait });
            }
            Message::Locked(goal) => self.schedule.resume_one(goal),
            Message::Running(goal, id, process) => {
                let drv = &self.drv(goal);
                (self.on_event)(Event::Running { drv, id: &id, process });
            }
            Message::Detail(goal, detail) => {
                let drv = &self.drv(goal);
                (self.on_event)(Event::Detail { drv, detail: &detail });
            }
            Message::Explained(goal, explanation) => {
                let drv = &self.drv(goal);
                (self.on_event)(Event::Explained { drv, explanation: &explanation });
            }
            Message::Again(goal, again) => {
                let drv = &self.drv(goal);
                (self.on_event)(Event::Again { drv, again: &again });
            }
            Message::Ran(goal) => self.schedule.free_slot(goal),
            Message::Offered(goal, offered) => self.offered(goal, offered),
            Message::Fetched(goal, result) => self.fetched(goal, result),
            Message::MadeRoom(Ok(collected)) => (self.on_event)(Event::MadeRoom { collected: &collected }),
            Message::MadeRoom(Err(error)) => (self.on_event)(Event::NoRoom { error: &error }),
            Message::Stop => self.stop(),
            Message::Cancel(id, caller) => self.cancel(&id, caller),
            Message::Ended(goal, result) => {
                self.ended(goal, result.unwrap_or_else(|panic| resume_unwind(panic)));
            }
        }
    }

    fn stop(&mut self) {
        self.schedule.stop();
        self.report.stopped = true;
        // What runs is killed; this is for what waits.
        self.hands.give_up_all();
    }

    fn log(&mut self, goal: GoalId, text: &[u8]) {
        let name = &self.drv(goal);
        let is_fetch = matches!(self.task(goal), Task::Fetch(_));
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            (self.on_event)(match is_fetch {
                true => Event::FetchLog { path: name, line },
                false => Event::Log { drv: name, line },
            });
        }
    }
}
