//! A plan on its way: what is handed out, what comes back, what that means for the rest.

mod fetched;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use builder::{BuildFailure, Built};
use derivation::OutputName;
use local_store::{CancelAnswer, CancelCaller, LocalStore, Wait};
use scheduler::{GoalId, Outcome, Schedule, Slot};
use store_path::StorePath;

mod cancel;

use crate::control::Hands;
use crate::elsewhere::{Elsewhere, Offer, Offered};
use crate::error::Error;
use crate::fetch::FetchError;
use crate::offers::Sources;
use crate::order::Task;
use crate::plan::Plan;
use crate::ready::Ready;
use crate::reasons::Reasons;
use crate::report::{Blocked, Event, Failure, Report};
use crate::worker::{Again, Job, Message, Work};

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
                self.schedule.resume();
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

    /// Gives a build to a worker, or has it offered to the build hook first.
    fn hand_out(&mut self, job: Job, jobs: &Sender<Job>, offer: Option<Offer<'_>>) {
        let goal = job.goal;
        match offer.filter(|_| self.elsewhere.is_open(goal)) {
            None => {
                match &job.work {
                    Work::Fetch(fetch) => self.fetching(fetch),
                    Work::AsItIs(_) | Work::Resolved(_) => (self.on_event)(Event::Started { drv: &job.drv }),
                }
                jobs.send(job).expect("the queue outlives the workers");
            }
            Some(_) if self.elsewhere.is_over() => {
                self.elsewhere.keep(job);
                self.elsewhere.bring_home(goal);
                self.schedule.retry(goal, &[], self.plan.demand(goal.index()));
            }
            Some(offer) => {
                let willing = self.schedule.has_slot(Slot::Build);
                self.elsewhere.keep(job.clone());
                if let Err(error) = offer(job, willing) {
                    let said = vec![format!("no thread could be started to ask it: {error}")];
                    self.offered(goal, Offered::Declined { said, permanently: false });
                }
            }
        }
    }

    /// Takes in what became of an offer.
    fn offered(&mut self, goal: GoalId, offered: Offered) {
        match offered {
            Offered::Accepted(machine) => {
                self.elsewhere.take(goal);
                self.schedule.free_slot(goal);
                let drv = &self.drv(goal);
                (self.on_event)(Event::Started { drv });
                (self.on_event)(Event::Elsewhere { drv, machine: &machine });
            }
            Offered::Declined { said, permanently } => {
                self.elsewhere.declined(goal, said, permanently);
                self.schedule.retry(goal, &[], self.plan.demand(goal.index()));
            }
            Offered::Postponed => {
                self.elsewhere.postpone();
                self.schedule.put_off(goal);
                let drv = &self.drv(goal);
                (self.on_event)(Event::Postponed { drv });
            }
        }
    }

    /// Gives up on goals that wait for each other: a build can make a derivation that takes in what waits for it, if it
    /// was told of that by somebody outside.
    fn stuck(&mut self) {
        let waits = |place: &usize| {
            self.fates[*place] == Fate::NotStarted
                && matches!(self.plan.goals.list[*place].task, Task::Find(_))
        };
        let place = (0..self.fates.len()).find(waits).expect("only what turned out late can close a circle");
        let goal = GoalId::from_index(place);
        let drv = self.drv(goal);
        let cancelled = self.schedule.cancel(goal);
        self.fates[place] = Fate::Failed;
        let source = Box::new(Error::Cycle { drv: drv.clone() });
        let error = BuildFailure::Unready { drv: drv.clone(), source };
        self.fail(goal, None, error, &cancelled);
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

    /// Tells of a failure, and of the goals that were given up for it.
    fn fail(&mut self, goal: GoalId, resolved: Option<StorePath>, error: BuildFailure, cancelled: &[GoalId]) {
        let drv = self.drv(goal);
        let wanted_by = self.reasons.of(&self.plan, goal.index());
        let blocked = cancelled.iter().filter(|goal| self.task(**goal).builds().is_some()).count();
        let failure = Failure { drv: drv.clone(), resolved, error, wanted_by, blocked };
        (self.on_event)(Event::Failed(&failure));
        self.report.failures.push(failure);
        self.block(cancelled, &drv);
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

    /// Begins with a goal that was handed out; one that takes no build is over at once.
    fn begin(&mut self, goal: GoalId) -> Option<Job> {
        if self.waiting.remove(&goal) {
            // Its worker has begun long ago.
            let drv = &self.drv(goal);
            (self.on_event)(Event::WaitOver { drv });
            self.hands.get(goal).iter().for_each(|hand| hand.grant_slot());
            return None;
        }
        if let Task::Fetch(path) = self.task(goal) {
            let path = path.clone();
            return self.begin_fetch(goal, path);
        }
        let Some(drv) = self.task(goal).builds().cloned() else {
            self.find(goal);
            return None;
        };
        if self.plan.graph.is_fetched(&drv) && !self.is_check(goal) {
            self.fetched_all(goal);
            return None;
        }
        let work = match self.plan.graph.ready(self.store, &drv) {
            Ok(Ready::AsItIs(derivation)) => Work::AsItIs(derivation),
            Ok(Ready::Resolved(resolved)) => {
                (self.on_event)(Event::Resolved { drv: &drv, resolved: resolved.path() });
                Work::Resolved(resolved)
            }
            Ok(Ready::There) => {
                self.unchanged(goal);
                return None;
            }
            Err(error) => {
                self.unready(goal, error);
                return None;
            }
        };
        if let Some(twins) = self.twins.get_mut(self.plan.graph.built_for(&drv)) {
            // It ends as the other one does, and takes nobody's slot until then.
            twins.push(goal);
            self.schedule.free_slot(goal);
            return None;
        }
        self.twins.insert(self.plan.graph.built_for(&drv).clone(), Vec::new());
        let target = self.plan.goals.list[self.targets[goal.index()]].task.drv().clone();
        Some(Job { goal, drv, target, work, again: self.again(goal) })
    }

    /// Ends a goal that stands for a derivation that was to be made: what is wanted of it is there.
    fn find(&mut self, goal: GoalId) {
        match self.useless.remove(&goal.index()) {
            None => self.done(goal),
            Some(error) => self.unready(goal, error),
        }
    }

    fn unready(&mut self, goal: GoalId, error: Error) {
        let drv = self.drv(goal);
        self.failed(goal, BuildFailure::Unready { drv, source: Box::new(error) });
    }

    fn stop(&mut self) {
        self.schedule.stop();
        self.report.stopped = true;
        // What runs is killed; this is for what waits.
        self.hands.give_up_all();
    }

    fn ended(&mut self, goal: GoalId, result: Result<Built, BuildFailure>) {
        if self.is_withdrawn(goal) {
            return self.withdrawn(goal);
        }
        // Somebody else has made it before the hook could answer.
        if let Some(job) = self.elsewhere.take(goal) {
            (self.on_event)(Event::Started { drv: &job.drv });
        }
        let answer = match &result {
            Ok(_) => CancelAnswer::Built,
            Err(failure) if failure.is_cancelled() => CancelAnswer::Cancelled,
            Err(_) => CancelAnswer::Failed,
        };
        match result {
            Ok(built) => self.built(goal, &built),
            // It was killed, which is no failure of its own.
            Err(_) if self.report.stopped => self.stopped(goal),
            Err(BuildFailure::GivenUp { .. }) => self.cancelled(goal),
            Err(failure) => {
                let failure = self.elsewhere.explain(goal, failure);
                self.failed(goal, failure);
            }
        }
        self.answer(goal, answer);
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

    fn built(&mut self, goal: GoalId, built: &Built) {
        let drv = self.drv(goal);
        let outputs = built.outputs.iter().map(|(name, info)| (name.clone(), info.path.clone()));
        let outputs: BTreeMap<OutputName, StorePath> = outputs.collect();
        let twins = self.twins_of(goal);
        self.plan.graph.built(&drv, outputs.clone());
        if self.is_check(goal) {
            (self.on_event)(Event::Checked { drv: &drv, outputs: &outputs, usage: built.maker.usage() });
            self.report.checked.push(drv);
        } else {
            let output_bytes = built.outputs.values().map(|info| info.nar_size).sum();
            let (outputs, maker) = (&outputs, &built.maker);
            (self.on_event)(Event::Built { drv: &drv, outputs, output_bytes, maker });
            self.report.built.push(drv);
        }
        self.done(goal);
        for twin in twins {
            self.plan.graph.built(&self.drv(twin), outputs.clone());
            self.unchanged(twin);
        }
    }

    /// Ends a goal whose outputs turned out to be there.
    fn unchanged(&mut self, goal: GoalId) {
        let drv = self.drv(goal);
        (self.on_event)(Event::Unchanged { drv: &drv, resolved: self.plan.graph.built_for(&drv) });
        self.report.unchanged.push(drv);
        self.done(goal);
    }

    /// Returns the goals that wait for what this one has built, or tried to.
    fn twins_of(&mut self, goal: GoalId) -> Vec<GoalId> {
        match self.plan.goals.list[goal.index()].task.builds() {
            Some(drv) => self.twins.remove(self.plan.graph.built_for(drv)).unwrap_or_default(),
            None => Vec::new(),
        }
    }

    /// Ends a goal well. What stands for its outputs learns first what they are, as it may run then.
    fn done(&mut self, goal: GoalId) {
        for finder in self.plan.goals.list[goal.index()].finders.clone() {
            self.grow(finder);
        }
        self.schedule.finish(goal, Outcome::Done);
        self.fates[goal.index()] = Fate::Done;
    }

    /// Goes on with a derivation that is there now: plans what is wanted of it.
    fn grow(&mut self, finder: usize) {
        let goal = GoalId::from_index(finder);
        let Task::Find(file) = self.task(goal).clone() else { return };
        let Some(path) = self.plan.graph.path_of(&file).cloned() else { return };
        let before = self.plan.goals.list.len();
        let grown = self.plan.grow(self.store, self.sources, &file, &path);
        self.schedule_new();
        // All that is new is for what waits for it.
        self.targets.resize(self.fates.len(), self.targets[finder]);
        self.block_new(before);
        self.tell_warnings(&path);
        match grown {
            Ok(needed) => {
                let to_build = &self.plan.builds_from(before)[..];
                (self.on_event)(Event::Found { file: &file, drv: &path, to_build, plan: &self.plan });
                self.plan.goals.list[finder].inputs.extend(needed);
                self.reasons = Reasons::default();
                let needed: Vec<GoalId> = needed.into_iter().map(GoalId::from_index).collect();
                let cancelled = self.schedule.also_needs(goal, &needed);
                let by = needed.first().and_then(|needed| self.cause(needed.index()));
                by.into_iter().for_each(|by| self.block(&cancelled, &by));
            }
            // Told when its turn has come: a goal that waits cannot fail.
            Err(error) => drop(self.useless.insert(finder, error)),
        }
    }

    /// Tells of new goals that need what has failed before.
    fn block_new(&mut self, first: usize) {
        for place in first..self.fates.len() {
            let inputs = self.plan.goals.list[place].inputs.clone();
            if let Some(by) = inputs.into_iter().find_map(|input| self.cause(input)) {
                self.block(&[GoalId::from_index(place)], &by);
            }
        }
    }

    /// Returns the derivation whose failure keeps a goal from being done.
    fn cause(&self, place: usize) -> Option<StorePath> {
        let drv = self.plan.goals.list[place].task.drv();
        match self.fates[place] {
            Fate::Failed | Fate::Cancelled => Some(drv.clone()),
            Fate::Blocked => {
                let blocked = self.report.blocked.iter().find(|blocked| blocked.drv == *drv);
                Some(blocked.map_or(drv, |blocked| &blocked.by).clone())
            }
            Fate::NotStarted | Fate::Done => None,
        }
    }

    fn failed(&mut self, goal: GoalId, error: BuildFailure) {
        let drv = self.drv(goal);
        let mut cancelled = self.schedule.finish(goal, Outcome::Failed);
        for twin in self.twins_of(goal) {
            cancelled.push(twin);
            cancelled.extend(self.schedule.finish(twin, Outcome::Failed));
        }
        self.fates[goal.index()] = Fate::Failed;
        let built = self.plan.graph.built_for(&drv);
        let resolved = (*built != drv && !matches!(self.task(goal), Task::Find(_))).then(|| built.clone());
        self.fail(goal, resolved, error, &cancelled);
    }

    fn block(&mut self, cancelled: &[GoalId], by: &StorePath) {
        let is_cancelled = self.report.cancelled.contains(by);
        for goal in cancelled {
            self.fates[goal.index()] = Fate::Blocked;
            if self.waiting.contains(goal) {
                self.withdraw(*goal, false);
                continue;
            }
            // Nobody knows of the others.
            if let Some(drv) = self.task(*goal).builds() {
                let blocked = Blocked { drv: drv.clone(), by: by.clone(), is_cancelled };
                (self.on_event)(Event::Blocked(&blocked));
                self.report.blocked.push(blocked);
            }
        }
    }

    /// Tells what became of everything.
    pub(crate) fn into_report(mut self) -> Report {
        self.report.realised = self.plan.realised();
        self.report.not_realised = self.plan.not_realised();
        let fates = self.plan.goals.list.iter().zip(&self.fates);
        let not_started = fates.filter(|(_, fate)| **fate == Fate::NotStarted);
        self.report.not_started = not_started.filter_map(|(goal, _)| goal.task.builds().cloned()).collect();
        self.report
    }
}
