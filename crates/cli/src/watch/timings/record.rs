//! What happened to all goals, and when. Pure: told of events, with the time at which they came.

use std::collections::HashMap;
use std::time::Duration;

use derivation::Link;
use engine::{Event, Failure, Plan, Task};
use local_store::Wait;
use sandbox::{Exit, Usage};
use store_path::StorePath;

use super::course::Course;
use super::goal::{Cause, Goal, State};
use crate::build_failure;
use crate::messages::chain;
use crate::watch::phases;

/// A slot that is empty for less than that was being filled.
const HANDOVER: Duration = Duration::from_millis(20);

/// As many phases of one build are kept: they are a builder's words.
const MOST_PHASES: usize = 50;

/// A run, as far as it has come.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) goals: Vec<Goal>,
    pub(super) course: Course,
    /// How many builds may run at once here.
    pub(super) slots: usize,
    /// Derivations to build, and paths to fetch.
    builds: HashMap<StorePath, usize>,
    finders: HashMap<Link, usize>,
    /// Places of the builds that have started and not ended.
    running: Vec<usize>,
    /// For how long there was a slot that nobody took while others ran, and since when there is one now. What is alone is let
    /// in however much memory it needs.
    unused: Duration,
    unused_since: Option<Duration>,
}

impl Record {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            goals: Vec::new(),
            course: Course::default(),
            slots,
            builds: HashMap::new(),
            finders: HashMap::new(),
            running: Vec::new(),
            unused: Duration::ZERO,
            unused_since: None,
        }
    }

    /// Learns from an event that came at `now`.
    pub(super) fn apply(&mut self, event: &Event<'_>, now: Duration) {
        match event {
            Event::Planned(plan) => self.learn(plan, now),
            Event::Found { file, drv, plan, .. } => {
                self.learn(plan, now);
                self.found(file, drv, now);
            }
            Event::FellBack { drv, plan, .. } => {
                self.learn(plan, now);
                self.with(drv, |record, place| record.fell_back(place, plan, now));
            }
            // It takes none of the slots for builds, as if it were done elsewhere.
            Event::Fetching { path, .. } => self.with(path, |record, place| {
                record.goals[place].machine = Some("a substituter".to_owned());
                record.start(place, now);
            }),
            Event::Fetched { path } => self.end(path, State::Built, now),
            Event::NotFetched { path, error } => {
                self.with(path, |record, place| record.goals[place].message = Some(chain(*error)));
                self.end(path, State::Failed, now);
            }
            Event::Substituted { drv, .. } => self.end(drv, State::Unchanged, now),
            Event::Unchanged { drv, .. } => self.end(drv, State::Unchanged, now),
            Event::Started { drv } => self.with(drv, |record, place| record.start(place, now)),
            Event::Postponed { drv } => {
                self.with(drv, |record, place| record.turn_to(place, Some(Cause::Hook), now));
            }
            Event::Waiting { drv, wait } => {
                let cause = match wait {
                    Wait::Lock { .. } => Cause::Lock,
                    Wait::User => Cause::User,
                    Wait::Hook { .. } => Cause::Hook,
                };
                self.with(drv, |record, place| record.goals[place].turn_to(Some(cause), now));
            }
            Event::WaitOver { drv } => self.with(drv, |record, place| record.goals[place].turn_to(None, now)),
            Event::Running { drv, process, .. } => self.with(drv, |record, place| {
                let goal = &mut record.goals[place];
                goal.turn_to(None, now);
                // A second round is the same build.
                goal.running.get_or_insert(now);
                goal.process = Some(*process);
            }),
            Event::Elsewhere { drv, machine } => {
                self.with(drv, |record, place| record.goals[place].machine = Some((*machine).to_owned()));
                self.note_slots(now);
            }
            Event::Log { drv, line } => self.with(drv, |record, place| record.hear(place, line, now)),
            Event::Built { drv, output_bytes, maker, .. } => {
                self.with(drv, |record, place| {
                    record.goals[place].output_bytes = Some(*output_bytes);
                    record.used(place, maker.usage().as_ref());
                });
                self.end(drv, State::Built, now);
            }
            Event::Checked { drv, usage, .. } => {
                self.with(drv, |record, place| record.used(place, usage.as_ref()));
                self.end(drv, State::Checked, now);
            }
            Event::Failed(failure) => self.fail(failure, now),
            Event::Cancelled { drv, .. } => self.end(drv, State::Cancelled, now),
            Event::Blocked(blocked) => self.end(&blocked.drv, State::Blocked, now),
            Event::Resolved { .. }
            | Event::Warning { .. }
            | Event::Detail { .. }
            | Event::Explained { .. }
            | Event::Again { .. }
            | Event::FetchLog { .. }
            | Event::MadeRoom { .. }
            | Event::NoRoom { .. }
            | Event::Tick => {}
        }
    }

    /// Notes what builds use at the moment.
    pub(super) fn look(&mut self, now: Duration, usage: impl Fn(u32) -> Option<Usage>) {
        let mut memory = 0;
        for place in self.running.clone() {
            let Some(found) = self.goals[place].process.and_then(&usage) else { continue };
            self.use_cpu(place, found.cpu_time);
            let goal = &mut self.goals[place];
            goal.memory_bytes = found.memory_bytes;
            goal.peak_memory_bytes = goal.peak_memory_bytes.max(found.memory_bytes);
            memory += found.memory_bytes;
        }
        self.course.add(now, memory, self.running.len());
    }

    /// Ends what has not ended.
    pub(super) fn finish(&mut self, now: Duration) {
        for place in 0..self.goals.len() {
            if self.goals[place].state == State::Waiting {
                self.leave_queue(place, now);
            }
            self.goals[place].turn_to(None, now);
        }
    }

    fn with(&mut self, drv: &StorePath, change: impl FnOnce(&mut Self, usize)) {
        if let Some(place) = self.builds.get(drv) {
            change(self, *place);
        }
    }

    /// Takes over what the plan has and the record has not.
    fn learn(&mut self, plan: &Plan, now: Duration) {
        for (task, inputs) in plan.tasks().skip(self.goals.len()) {
            let expected = plan.expected().get(self.goals.len()).copied().flatten();
            match task {
                Task::Build(drv) | Task::Check(drv) => {
                    let name = drv.name().as_str();
                    let name = name.strip_suffix(".drv").unwrap_or(name);
                    let place = self.add(name, Some(drv), inputs, now);
                    self.goals[place].expected = expected.map(|expected| expected.wall_time);
                    self.goals[place].expected_memory =
                        expected.map_or(0, |expected| expected.peak_memory_bytes);
                    self.builds.insert(drv.clone(), place);
                }
                Task::Fetch(path) => {
                    let place = self.add(path.name().as_str(), Some(path), inputs, now);
                    self.builds.insert(path.clone(), place);
                }
                Task::Find(file) => {
                    let name = format!("{}^{}", file.drv.name(), file.output);
                    let place = self.add(&name, None, inputs, now);
                    self.finders.insert(file.clone(), place);
                }
            }
        }
    }

    /// Adds a goal, and returns its place.
    fn add(&mut self, name: &str, drv: Option<&StorePath>, inputs: &[usize], now: Duration) -> usize {
        let place = self.goals.len();
        self.goals.push(Goal { name: name.to_owned(), drv: drv.cloned(), known: now, ..Goal::default() });
        inputs.iter().for_each(|input| self.needs(place, *input));
        if self.goals[place].missing == 0 {
            self.ready(place, now);
        } else {
            self.goals[place].turn_to(Some(Cause::Inputs), now);
        }
        place
    }

    fn needs(&mut self, user: usize, input: usize) {
        self.goals[user].inputs.push(input);
        self.goals[input].users.push(user);
        self.goals[user].missing += usize::from(!self.goals[input].state.is_well());
    }

    /// Begins to wait for what a build takes that was not to be one.
    fn fell_back(&mut self, place: usize, plan: &Plan, now: Duration) {
        let known = self.goals[place].inputs.len();
        let inputs = plan.tasks().nth(place).map_or(Vec::new(), |(_, inputs)| inputs.to_vec());
        self.goals[place].missing = 0;
        inputs.into_iter().skip(known).for_each(|input| self.needs(place, input));
        match self.goals[place].missing {
            0 => self.ready(place, now),
            _ => self.goals[place].turn_to(Some(Cause::Inputs), now),
        }
    }

    fn found(&mut self, file: &Link, drv: &StorePath, now: Duration) {
        let Some(finder) = self.finders.get(file).copied() else { return };
        if let Some(input) = self.builds.get(drv).copied() {
            self.needs(finder, input);
        }
        self.goals[finder].is_found = true;
        if self.goals[finder].missing == 0 {
            self.end_at(finder, State::Unchanged, now);
        }
    }

    /// Nothing is missing any more: now it waits for its turn.
    fn ready(&mut self, place: usize, now: Duration) {
        self.goals[place].turn_to(None, now);
        self.goals[place].ready = Some(now);
        self.goals[place].queued = Some((now, self.unused_until(now)));
    }

    /// Divides the time that it waited for its turn: when there was a slot, it was not let in for want of memory.
    fn leave_queue(&mut self, place: usize, now: Duration) {
        let unused = self.unused_until(now);
        let Some((since, unused_before)) = self.goals[place].queued.take() else { return };
        let memory = unused.saturating_sub(unused_before);
        let is_memory = self.goals[place].expected_memory > 0 && memory >= HANDOVER;
        let memory = if is_memory { memory } else { Duration::ZERO };
        self.goals[place].waited(Cause::Slot, now.saturating_sub(since).saturating_sub(memory));
        self.goals[place].waited(Cause::Memory, memory);
    }

    fn turn_to(&mut self, place: usize, cause: Option<Cause>, now: Duration) {
        self.leave_queue(place, now);
        self.goals[place].turn_to(cause, now);
    }

    fn start(&mut self, place: usize, now: Duration) {
        self.turn_to(place, None, now);
        self.goals[place].started = Some(now);
        self.goals[place].state = State::Running;
        self.running.push(place);
        self.note_slots(now);
    }

    fn hear(&mut self, place: usize, line: &[u8], now: Duration) {
        let Some(phase) = phases::named(line) else { return };
        let phases = &mut self.goals[place].phases;
        if phases.len() < MOST_PHASES && phases.last().is_none_or(|(_, last)| *last != phase) {
            phases.push((now, phase));
        }
    }

    /// Takes in what it used in all.
    fn used(&mut self, place: usize, usage: Option<&Exit>) {
        let Some(usage) = usage else { return };
        self.use_cpu(place, usage.user_time + usage.system_time);
        let goal = &mut self.goals[place];
        goal.peak_memory_bytes = goal.peak_memory_bytes.max(usage.peak_memory_bytes);
    }

    fn use_cpu(&mut self, place: usize, until_now: Duration) {
        let goal = &mut self.goals[place];
        self.course.use_cpu(until_now.saturating_sub(goal.cpu_time));
        goal.cpu_time = goal.cpu_time.max(until_now);
    }

    fn fail(&mut self, failure: &Failure, now: Duration) {
        self.with(&failure.drv, |record, place| {
            let goal = &mut record.goals[place];
            goal.message = Some(build_failure::in_short(&failure.error));
            goal.log_tail = failure.error.log_tail().to_vec();
        });
        self.end(&failure.drv, State::Failed, now);
    }

    fn end(&mut self, drv: &StorePath, state: State, now: Duration) {
        self.with(drv, |record, place| record.end_at(place, state, now));
    }

    /// Ends a goal, and with it those that only waited to be found.
    fn end_at(&mut self, place: usize, state: State, now: Duration) {
        let mut ending = vec![place];
        while let Some(place) = ending.pop() {
            self.turn_to(place, None, now);
            let goal = &mut self.goals[place];
            let was_well = goal.state.is_well();
            goal.state = state;
            goal.ended = goal.started.map(|_| now);
            self.running.retain(|other| *other != place);
            if was_well || !state.is_well() {
                continue;
            }
            for user in self.goals[place].users.clone() {
                self.goals[user].missing = self.goals[user].missing.saturating_sub(1);
                if self.goals[user].missing == 0 && self.goals[user].is_found {
                    ending.push(user);
                } else if self.goals[user].missing == 0 {
                    self.ready(user, now);
                }
            }
        }
        self.note_slots(now);
    }

    /// Returns for how long there has been a slot that nobody took, up to now.
    fn unused_until(&self, now: Duration) -> Duration {
        let open = self.unused_since.map(|since| now.saturating_sub(since));
        self.unused + open.filter(|open| *open >= HANDOVER).unwrap_or_default()
    }

    /// Notes whether there is a slot now.
    fn note_slots(&mut self, now: Duration) {
        let here = self.running.iter().filter(|place| self.goals[**place].machine.is_none()).count();
        if (1..self.slots).contains(&here) {
            self.unused_since.get_or_insert(now);
        } else {
            self.unused = self.unused_until(now);
            self.unused_since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// Goals that need those before them, with two slots; those without inputs are ready from the beginning.
    fn record(goals: &[&[usize]]) -> Record {
        let mut record = Record::new(2);
        for (place, inputs) in goals.iter().enumerate() {
            record.add(&format!("goal-{place}"), None, inputs, Duration::ZERO);
            record.goals[place].expected_memory = 1;
        }
        record
    }

    fn waited(record: &Record, place: usize, cause: Cause) -> Duration {
        let found = record.goals[place].waits.iter().find(|(other, _)| *other == cause);
        found.map_or(Duration::ZERO, |(_, time)| *time)
    }

    #[test]
    fn what_waits_while_a_slot_is_free_waits_for_memory() {
        let mut record = record(&[&[], &[], &[]]);
        record.start(0, Duration::ZERO);
        record.start(1, Duration::ZERO);
        // One slot is free from 3 on, but the last goal gets it at 10 only.
        record.end_at(1, State::Built, seconds(3));
        record.end_at(0, State::Built, seconds(10));
        record.start(2, seconds(10));
        assert_eq!(waited(&record, 2, Cause::Slot), seconds(3));
        assert_eq!(waited(&record, 2, Cause::Memory), seconds(7));
    }

    #[test]
    fn what_needs_nobody_knows_how_much_does_not_wait_for_memory() {
        let mut record = record(&[&[], &[]]);
        record.goals[1].expected_memory = 0;
        record.start(0, Duration::ZERO);
        record.start(1, seconds(2));
        assert_eq!(waited(&record, 1, Cause::Memory), Duration::ZERO);
        assert_eq!(waited(&record, 1, Cause::Slot), seconds(2));
    }

    #[test]
    fn a_slot_that_is_filled_at_once_was_not_free() {
        let mut record = record(&[&[], &[], &[]]);
        record.start(0, Duration::ZERO);
        record.start(1, Duration::ZERO);
        record.end_at(1, State::Built, seconds(3));
        record.start(2, seconds(3) + HANDOVER / 2);
        assert_eq!(waited(&record, 2, Cause::Slot), seconds(3) + HANDOVER / 2);
        assert_eq!(waited(&record, 2, Cause::Memory), Duration::ZERO);
    }

    #[test]
    fn what_is_built_elsewhere_takes_no_slot() {
        let mut record = record(&[&[], &[], &[]]);
        record.start(0, Duration::ZERO);
        record.goals[0].machine = Some("elsewhere".to_owned());
        record.start(1, Duration::ZERO);
        record.start(2, seconds(1));
        assert_eq!(waited(&record, 2, Cause::Memory), seconds(1));
        assert_eq!(record.running, [0, 1, 2]);
    }

    #[test]
    fn inputs_are_waited_for_until_the_last_of_them_is_there() {
        let mut record = record(&[&[], &[], &[0, 1]]);
        record.start(0, Duration::ZERO);
        record.start(1, Duration::ZERO);
        record.end_at(0, State::Built, seconds(2));
        record.end_at(1, State::Unchanged, seconds(5));
        assert_eq!(record.goals[2].ready, Some(seconds(5)));
        assert_eq!(waited(&record, 2, Cause::Inputs), seconds(5));
        record.goals[2].turn_to(None, seconds(9));
        assert_eq!(waited(&record, 2, Cause::Inputs), seconds(5));
    }

    #[test]
    fn what_never_starts_has_waited_until_the_end() {
        let mut record = record(&[&[], &[0], &[]]);
        record.start(0, Duration::ZERO);
        record.end_at(0, State::Failed, seconds(2));
        record.end_at(1, State::Blocked, seconds(2));
        record.finish(seconds(3));
        assert_eq!(waited(&record, 1, Cause::Inputs), seconds(2));
        assert_eq!(waited(&record, 2, Cause::Memory), seconds(2));
        assert_eq!(waited(&record, 2, Cause::Slot), seconds(1), "nothing ran");
        assert_eq!((record.goals[0].took(), record.goals[1].ended), (seconds(2), None));
    }

    #[test]
    fn time_of_processors_is_counted_once() {
        let mut record = record(&[&[]]);
        record.start(0, Duration::ZERO);
        record.goals[0].process = Some(7);
        let usage = |cpu_time| move |_| Some(Usage { cpu_time, memory_bytes: 10, processes: 1 });
        record.look(seconds(1), usage(seconds(1)));
        record.look(seconds(2), usage(seconds(3)));
        record.use_cpu(0, seconds(4));
        record.end_at(0, State::Built, seconds(3));
        record.look(seconds(3), |_| None);
        let used: Vec<Duration> = record.course.samples.iter().map(|sample| sample.cpu_time).collect();
        assert_eq!(used, [seconds(1), seconds(2), seconds(1)]);
        assert_eq!(record.goals[0].peak_memory_bytes, 10);
    }
}
