//! How much an order is worth: when everything is done, beside the earliest moment that is possible at all.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::num::NonZeroUsize;

use scheduler::{Demand, GoalId, Limits, Outcome, Policy, Schedule, Slot};

use super::chances::Chances;
use super::world::World;

/// How many graphs each order is tried on, and of how many goals.
const GRAPHS: u64 = 40;
const GOALS: usize = 2_000;

/// Says who goes next.
trait Order {
    fn take(&mut self) -> Option<GoalId>;
    fn done(&mut self, goal: GoalId);
}

/// What is tried: a name, and what the schedule is told about a goal that takes so many milliseconds; without, the one
/// goes first that was ready first.
type Expectation = fn(u64, &mut Chances) -> u64;
const ORDERS: &[(&str, Option<Expectation>)] = &[
    ("longest path by time", Some(|millis, _| millis)),
    (
        "the same, times known within half and twice",
        Some(|millis, chances| millis * (50 + chances.below(150) as u64) / 100),
    ),
    (
        "the same, every other time unknown",
        Some(|millis, chances| if chances.below(2) == 0 { millis } else { unknown() }),
    ),
    ("longest path by number of goals", Some(|_, _| unknown())),
    ("added first", Some(|_, _| 0)),
    ("ready first", None),
];

fn unknown() -> u64 {
    Demand::default().millis
}

/// Prints for each order how much later everything is done than at best, on average and at worst.
pub(super) fn compare(seed: u64) {
    println!("everything done, beside the later of the longest path and all work evenly on all slots");
    println!("({GRAPHS} graphs of {GOALS} goals; most take seconds, few take hours): mean and worst");
    for slots in [2, 8, 32].map(|slots| NonZeroUsize::new(slots).expect("it is not zero")) {
        println!("{slots} slots");
        for (name, expectation) in ORDERS {
            let ratios = (0..GRAPHS).map(|graph| ratio(seed + graph, slots, *expectation));
            let ratios: Vec<f64> = ratios.collect();
            let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
            let worst = ratios.iter().copied().fold(0.0, f64::max);
            println!("  {mean:.3} {worst:.3}  {name}");
        }
    }
}

/// Returns how much later than at best everything is done.
fn ratio(seed: u64, slots: NonZeroUsize, expectation: Option<Expectation>) -> f64 {
    let world = World::new(GOALS, seed);
    let mut chances = Chances::seeded(seed);
    let end = match expectation {
        Some(expectation) => finished(&mut scheduled(&world, slots, expectation, &mut chances), &world),
        None => finished(&mut Queue::new(&world, slots), &world),
    };
    end as f64 / earliest(&world, slots) as f64
}

/// Returns when everything is done at the earliest: it takes as long as its longest path, and as all its work on all slots.
fn earliest(world: &World, slots: NonZeroUsize) -> u64 {
    let mut paths: Vec<u64> = Vec::new();
    for goal in 0..world.len() {
        let longest = world.inputs(goal).iter().map(|input| paths[input.index()]).max();
        paths.push(longest.unwrap_or(0) + world.demands[goal].millis);
    }
    let work: u64 = world.demands.iter().map(|demand| demand.millis).sum();
    paths.into_iter().max().unwrap_or(0).max(work.div_ceil(slots.get() as u64))
}

/// Returns when everything is done.
fn finished(order: &mut dyn Order, world: &World) -> u64 {
    let (mut now, mut running) = (0, BinaryHeap::new());
    loop {
        while let Some(goal) = order.take() {
            running.push(Reverse((now + world.demands[goal.index()].millis, goal)));
        }
        let Some(Reverse((end, goal))) = running.pop() else { return now };
        now = end;
        order.done(goal);
    }
}

fn scheduled(
    world: &World,
    slots: NonZeroUsize,
    expectation: Expectation,
    chances: &mut Chances,
) -> Schedule {
    let limits = Limits { builds: slots, substitutions: slots, memory: None };
    let mut schedule = Schedule::new(limits, Policy::StopAtFailure);
    for goal in 0..world.len() {
        let millis = expectation(world.demands[goal].millis, chances);
        schedule.add(&world.inputs(goal), Demand { slot: Slot::Build, millis, ..Demand::default() });
    }
    schedule
}

impl Order for Schedule {
    fn take(&mut self) -> Option<GoalId> {
        Schedule::take(self)
    }

    fn done(&mut self, goal: GoalId) {
        self.finish(goal, Outcome::Done);
    }
}

/// The order of those who know nothing about what comes after.
struct Queue {
    ready: VecDeque<GoalId>,
    free: usize,
    missing: Vec<usize>,
    users: Vec<Vec<usize>>,
}

impl Queue {
    fn new(world: &World, slots: NonZeroUsize) -> Self {
        let (mut ready, mut missing) = (VecDeque::new(), Vec::new());
        let mut users = vec![Vec::new(); world.len()];
        for goal in 0..world.len() {
            let inputs = world.inputs(goal);
            if inputs.is_empty() {
                ready.push_back(GoalId::from_index(goal));
            }
            inputs.iter().for_each(|input| users[input.index()].push(goal));
            missing.push(inputs.len());
        }
        Self { ready, free: slots.get(), missing, users }
    }
}

impl Order for Queue {
    fn take(&mut self) -> Option<GoalId> {
        if self.free == 0 {
            return None;
        }
        let goal = self.ready.pop_front()?;
        self.free -= 1;
        Some(goal)
    }

    fn done(&mut self, goal: GoalId) {
        self.free += 1;
        for &user in &self.users[goal.index()] {
            self.missing[user] -= 1;
            if self.missing[user] == 0 {
                self.ready.push_back(GoalId::from_index(user));
            }
        }
    }
}
