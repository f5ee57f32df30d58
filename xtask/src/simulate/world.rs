//! Made-up goals: what each needs, and what is expected of it.

use anyhow::Result;
use scheduler::{Demand, GoalId, Limits, Policy, Schedule, Slot};

use super::chances::Chances;
use super::usage::Usage;

/// As many goals as a large closure has. They need each other, and now and then one of another closure.
const CLOSURE: usize = 2_000;

/// Goals by number, each with goals of lower numbers as its inputs.
pub(super) struct World {
    /// Where the inputs of each goal begin.
    begins: Vec<u32>,
    inputs: Vec<u32>,
    pub(super) demands: Vec<Demand>,
}

impl World {
    pub(super) fn new(goals: usize, seed: u64) -> Self {
        let mut chances = Chances::seeded(seed);
        let mut world = Self { begins: vec![0], inputs: Vec::new(), demands: Vec::new() };
        for goal in 0..goals {
            for _ in 0..chances.below(5) {
                world.inputs.extend(input(goal, &mut chances));
            }
            world.begins.push(u32::try_from(world.inputs.len()).expect("goals have few inputs"));
            world.demands.push(demand(&mut chances));
        }
        world
    }

    pub(super) fn len(&self) -> usize {
        self.demands.len()
    }

    /// Returns how many bytes a schedule takes for these goals.
    pub(super) fn resident(&self, limits: Limits) -> Result<u64> {
        let before = Usage::now()?;
        let mut schedule = Schedule::new(limits, Policy::KeepGoing);
        for goal in 0..self.len() {
            schedule.add(&self.inputs(goal), self.demands[goal]);
        }
        schedule.take();
        Ok(Usage::now()?.resident.saturating_sub(before.resident))
    }

    /// Returns what a goal needs; a goal may be named twice.
    pub(super) fn inputs(&self, goal: usize) -> Vec<GoalId> {
        let inputs = &self.inputs[self.begins[goal] as usize..self.begins[goal + 1] as usize];
        inputs.iter().map(|&input| GoalId::from_index(input as usize)).collect()
    }
}

/// Most inputs are close by, some are what everything of a closure stands on.
fn input(goal: usize, chances: &mut Chances) -> Option<u32> {
    let first = goal - goal % CLOSURE;
    let input = match chances.below(20_000) {
        0 => chances.below(goal.max(1)),
        1..4_000 => first + chances.below(20),
        _ => goal.saturating_sub(1 + chances.below(200)).max(first),
    };
    (input < goal).then(|| u32::try_from(input).expect("there are fewer than four billion goals"))
}

fn demand(chances: &mut Chances) -> Demand {
    let (millis, memory) = (chances.millis(), chances.memory());
    // Few are urgent.
    let priority = i32::from(chances.happens(5));
    match chances.below(10) {
        0 => Demand { slot: Slot::Offer, millis, memory: 0, priority },
        1 | 2 => Demand { slot: Slot::Substitution, millis: millis / 10, memory: 0, priority },
        _ => Demand { slot: Slot::Build, millis, memory, priority },
    }
}
