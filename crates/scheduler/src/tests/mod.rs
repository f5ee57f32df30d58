//! A small simulator of builds, and what must hold for every run of it.

mod cancel;
mod comeback;
mod cost;
mod late;
mod memory;
mod order;
mod properties;
mod transcripts;

use std::num::NonZeroUsize;

use test_support::Random;

use crate::{Demand, GoalId, Limits, Outcome, Policy, Schedule};

/// What happens to a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Started(GoalId),
    Ended(GoalId, Outcome),
    Cancelled(GoalId),
}

/// That many slots, and memory without end.
fn limits(slots: usize) -> Limits {
    let slots = NonZeroUsize::new(slots).expect("tests have slots");
    Limits { builds: slots, substitutions: slots, memory: None }
}

/// Goals by number, each with the numbers of its inputs, and what becomes of them when they run.
#[derive(Clone, Debug)]
struct World {
    inputs: Vec<Vec<usize>>,
    failing: Vec<bool>,
    slots: usize,
    policy: Policy,
}

impl World {
    fn schedule(&self) -> Schedule {
        let mut schedule = Schedule::new(limits(self.slots), self.policy);
        for inputs in &self.inputs {
            let inputs: Vec<GoalId> = inputs.iter().map(|&input| GoalId::from_index(input)).collect();
            schedule.add(&inputs, Demand::default());
        }
        schedule
    }

    /// Runs everything. `choose` says which of that many running goals ends next.
    fn run(&self, mut choose: impl FnMut(usize) -> usize) -> Vec<Event> {
        let (mut schedule, mut running, mut events) = (self.schedule(), Vec::new(), Vec::new());
        loop {
            while let Some(goal) = schedule.take() {
                running.push(goal);
                events.push(Event::Started(goal));
            }
            if running.is_empty() {
                assert!(schedule.is_finished(), "nothing runs and nothing is ready, but something is left");
                return events;
            }
            assert!(!schedule.is_finished());
            let goal = running.remove(choose(running.len()));
            let outcome = if self.failing[goal.index()] { Outcome::Failed } else { Outcome::Done };
            events.push(Event::Ended(goal, outcome));
            events.extend(schedule.finish(goal, outcome).into_iter().map(Event::Cancelled));
        }
    }

    fn run_in_random_order(&self, seed: u64) -> Vec<Event> {
        let mut random = Random::seeded(seed);
        self.run(|running| random.below(running))
    }
}
