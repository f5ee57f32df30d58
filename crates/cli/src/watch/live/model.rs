//! What is known of all goals. Pure: told of events, with the time at which they came.

use std::collections::HashMap;
use std::time::Duration;

use derivation::Link;
use engine::{Event, Plan, Task};
use local_store::Wait;
use sandbox::Usage;
use store_path::StorePath;

use super::goal::{Goal, Kind, Load, State};

/// All goals of a run, by the place that they have in the plan.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) goals: Vec<Goal>,
    /// Where derivations to build are.
    builds: HashMap<StorePath, usize>,
    /// Where paths to fetch are.
    fetches: HashMap<StorePath, usize>,
    /// Where goals are that stand for what outputs will be.
    finders: HashMap<Link, usize>,
    /// What runs, in the order in which it began.
    pub(super) running: Vec<usize>,
    /// What failed, in that order.
    pub(super) failed: Vec<usize>,
    /// How many builds there are, and how many of them need nothing more.
    pub(super) builds_count: usize,
    pub(super) done_count: usize,
    pub(super) blocked_count: usize,
    pub(super) cancelled_count: usize,
    /// As many have run at once.
    pub(super) most_running: usize,
    /// How many builds have ended well in this run, and how long they took together.
    pub(super) ended: (u32, Duration),
    /// The size of all outputs that were made.
    pub(super) made_bytes: u64,
}

impl Model {
    /// Learns from an event that came at `now`.
    pub(super) fn apply(&mut self, event: &Event<'_>, now: Duration) {
        match event {
            Event::Planned(plan) => self.learn(plan),
            Event::Found { file, drv, plan, .. } => {
                self.learn(plan);
                self.found(file, drv);
            }
            Event::FellBack { drv, plan, .. } => {
                self.learn(plan);
                self.fell_back(drv, plan);
            }
            Event::Fetching { path, .. } => self.with_fetch(path, |model, place| model.start(place, now)),
            Event::FetchLog { path, line } => self.with_fetch(path, |model, place| model.say(place, line)),
            Event::Fetched { path } | Event::NotFetched { path, .. } => self.with_fetch(path, Self::done),
            Event::Substituted { drv, .. } => self.with(drv, Self::done),
            Event::Unchanged { drv, .. } => self.with(drv, |model, place| model.done(place)),
            Event::Started { drv } => self.with(drv, |model, place| model.start(place, now)),
            Event::Log { drv, line } => self.with(drv, |model, place| model.say(place, line)),
            Event::Waiting { drv, wait } => self.with(drv, |model, place| model.wait(place, wait)),
            Event::WaitOver { drv } => self.with(drv, Self::wait_no_longer),
            Event::Running { drv, process, .. } => {
                self.with(drv, |model, place| model.run(place, *process, now));
            }
            Event::Built { drv, output_bytes, .. } => {
                self.made_bytes += output_bytes;
                self.with(drv, |model, place| model.built(place, now));
            }
            Event::Checked { drv, .. } => self.with(drv, |model, place| model.built(place, now)),
            Event::Cancelled { drv, .. } => self.with(drv, Self::cancel),
            Event::Failed(failure) => self.with(&failure.drv, |model, place| model.fail(place, now)),
            Event::Blocked(blocked) => self.with(&blocked.drv, Self::block),
            Event::Resolved { .. }
            | Event::Warning { .. }
            | Event::Detail { .. }
            | Event::Explained { .. }
            | Event::Again { .. }
            | Event::Elsewhere { .. }
            | Event::Postponed { .. }
            | Event::MadeRoom { .. }
            | Event::NoRoom { .. }
            | Event::Tick => {}
        }
    }

    fn with(&mut self, drv: &StorePath, change: impl FnOnce(&mut Self, usize)) {
        if let Some(place) = self.builds.get(drv) {
            change(self, *place);
        }
    }

    fn with_fetch(&mut self, path: &StorePath, change: impl FnOnce(&mut Self, usize)) {
        if let Some(place) = self.fetches.get(path) {
            change(self, *place);
        }
    }

    /// Notes what a build needs that was not to be one.
    fn fell_back(&mut self, drv: &StorePath, plan: &Plan) {
        let Some(place) = self.builds.get(drv).copied() else { return };
        let inputs = plan.tasks().nth(place).map_or(Vec::new(), |(_, inputs)| inputs.to_vec());
        inputs.into_iter().for_each(|input| self.needs(place, input));
    }

    /// Takes over what the plan has and the model has not.
    fn learn(&mut self, plan: &Plan) {
        for (task, inputs) in plan.tasks().skip(self.goals.len()) {
            let place = match task {
                Task::Build(drv) | Task::Check(drv) => {
                    let name = drv.name().as_str();
                    self.add(Kind::Build, name.strip_suffix(".drv").unwrap_or(name), inputs)
                }
                Task::Fetch(path) => self.add(Kind::Fetch, path.name().as_str(), inputs),
                Task::Find(file) => {
                    self.add(Kind::Find, &format!("{}^{}", file.drv.name(), file.output), inputs)
                }
            };
            match task {
                Task::Build(drv) | Task::Check(drv) => drop(self.builds.insert(drv.clone(), place)),
                Task::Fetch(path) => drop(self.fetches.insert(path.clone(), place)),
                Task::Find(file) => drop(self.finders.insert(file.clone(), place)),
            }
            let expected = plan.expected().get(place).copied().flatten();
            self.goals[place].expected = expected.map(|expected| expected.wall_time);
        }
    }

    /// Adds a goal, and returns its place.
    pub(super) fn add(&mut self, kind: Kind, name: &str, inputs: &[usize]) -> usize {
        let place = self.goals.len();
        self.goals.push(Goal::new(kind, name));
        self.builds_count += usize::from(kind == Kind::Build);
        inputs.iter().for_each(|input| self.needs(place, *input));
        place
    }

    /// Notes that one goal needs another.
    fn needs(&mut self, user: usize, input: usize) {
        if self.goals[input].state != State::Done {
            self.goals[input].is_needed_by(user);
            self.goals[user].missing += 1;
        }
    }

    fn found(&mut self, file: &Link, drv: &StorePath) {
        let Some(finder) = self.finders.get(file).copied() else { return };
        if let Some(input) = self.builds.get(drv).copied() {
            self.needs(finder, input);
        }
        self.goals[finder].kind = Kind::Found;
        if self.goals[finder].missing == 0 {
            self.done(finder);
        }
    }

    pub(super) fn start(&mut self, place: usize, now: Duration) {
        self.goals[place].state = State::Running { since: now };
        self.goals[place].run = Some(Box::default());
        self.running.push(place);
        self.most_running = self.most_running.max(self.running.len());
    }

    fn wait(&mut self, place: usize, wait: &Wait) {
        let Some(run) = &mut self.goals[place].run else { return };
        run.waits_for = Some(match wait {
            Wait::Lock { holder: Some(holder), .. } => format!("waits for process {}", holder.process),
            Wait::Lock { holder: None, .. } => "waits for another process".to_owned(),
            Wait::User => "waits for a user".to_owned(),
            Wait::Hook { .. } => "waits for its hook".to_owned(),
        });
    }

    fn wait_no_longer(&mut self, place: usize) {
        self.goals[place].run.iter_mut().for_each(|run| run.waits_for = None);
    }

    /// Notes that its builder has begun; what it waited for before does not count.
    pub(super) fn run(&mut self, place: usize, process: u32, now: Duration) {
        let goal = &mut self.goals[place];
        if let (State::Running { since }, Some(run)) = (&mut goal.state, &mut goal.run) {
            *since = now;
            run.waits_for = None;
            run.process = Some(process);
        }
    }

    /// Notes what builders use, at a time `since` the last look.
    pub(super) fn load(&mut self, since: Option<Duration>, usage: impl Fn(u32) -> Option<Usage>) {
        for place in self.running.clone() {
            let Some(run) = &mut self.goals[place].run else { continue };
            let Some(Usage { cpu_time, memory_bytes, .. }) = run.process.and_then(&usage) else { continue };
            let percent = since.zip(run.load).map(|(since, before)| {
                let used = cpu_time.saturating_sub(before.cpu_time);
                u64::try_from(used.as_millis() * 100 / since.as_millis().max(1)).unwrap_or(u64::MAX)
            });
            run.load = Some(Load { cpu_time, percent, memory_bytes });
        }
    }

    pub(super) fn cancel(&mut self, place: usize) {
        self.stop(place);
        self.goals[place].state = State::Cancelled;
        self.cancelled_count += 1;
    }

    pub(super) fn say(&mut self, place: usize, line: &[u8]) {
        if let Some(run) = &mut self.goals[place].run {
            run.activity.hear(line);
        }
    }

    pub(super) fn built(&mut self, place: usize, now: Duration) {
        if let State::Running { since } = self.goals[place].state {
            self.ended.0 += 1;
            self.ended.1 += now.saturating_sub(since);
        }
        self.done(place);
    }

    /// Ends a goal well, and with it those that only waited to be found.
    fn done(&mut self, place: usize) {
        let mut ending = vec![place];
        while let Some(place) = ending.pop() {
            if self.goals[place].state == State::Done {
                continue;
            }
            self.stop(place);
            self.goals[place].state = State::Done;
            self.done_count += usize::from(self.goals[place].kind == Kind::Build);
            for user in self.goals[place].users.clone() {
                let user_goal = &mut self.goals[user];
                user_goal.missing = user_goal.missing.saturating_sub(1);
                if user_goal.missing == 0 && user_goal.kind == Kind::Found {
                    ending.push(user);
                }
            }
        }
    }

    pub(super) fn fail(&mut self, place: usize, now: Duration) {
        let took = match self.goals[place].state {
            State::Running { since } => Some(now.saturating_sub(since)),
            _ => None,
        };
        self.stop(place);
        self.goals[place].state = State::Failed { took };
        self.failed.push(place);
    }

    pub(super) fn block(&mut self, place: usize) {
        self.stop(place);
        self.goals[place].state = State::Blocked;
        self.blocked_count += 1;
    }

    fn stop(&mut self, place: usize) {
        if let State::Running { .. } = self.goals[place].state {
            self.running.retain(|other| *other != place);
        }
    }

    /// How many builds wait: for what they need, or for their turn.
    pub(super) fn waiting_count(&self) -> usize {
        let ended = self.done_count + self.failed.len() + self.blocked_count + self.cancelled_count;
        let running = self.running.iter().filter(|place| self.goals[**place].is_build()).count();
        self.builds_count.saturating_sub(ended + running)
    }
}
