//! What an event costs, counted in goals looked at.

use super::World;
use crate::{Demand, Outcome, Policy};

/// A chain of `running` goals that end one after another, below `waiting` goals that need the last of them.
fn crowd(running: usize, waiting: usize) -> World {
    let chain = (0..running).map(|goal| goal.checked_sub(1).into_iter().collect());
    let crowd = (0..waiting).map(|_| vec![running - 1]);
    let inputs: Vec<Vec<usize>> = chain.chain(crowd).collect();
    World { failing: vec![false; inputs.len()], inputs, slots: 2, policy: Policy::KeepGoing }
}

/// How many goals are looked at while the chain runs, all but its last goal.
fn looks_per_event(waiting: usize) -> usize {
    let mut schedule = crowd(50, waiting).schedule();
    let first = schedule.take().expect("the chain begins");
    schedule.finish(first, Outcome::Done);
    let before = schedule.looks;
    for _ in 0..48 {
        let goal = schedule.take().expect("the chain goes on");
        schedule.finish(goal, Outcome::Done);
    }
    (schedule.looks - before) / 48
}

#[test]
fn goals_that_wait_cost_nothing() {
    assert_eq!(looks_per_event(2_000), looks_per_event(100));
    assert!(looks_per_event(2_000) <= 20);
}

/// Adding, running and cancelling all of a graph is linear in its edges.
#[test]
fn a_whole_run_is_linear() {
    let looks = |goals: usize, fails: bool| {
        let mut world = crowd(goals / 2, goals / 2);
        world.failing[goals / 4] = fails;
        let mut schedule = world.schedule();
        while let Some(goal) = schedule.take() {
            let outcome = if world.failing[goal.index()] { Outcome::Failed } else { Outcome::Done };
            schedule.finish(goal, outcome);
        }
        assert!(schedule.is_finished());
        schedule.looks
    };
    for fails in [false, true] {
        assert!(looks(40_000, fails) <= 10 * looks(4_000, fails) + 100);
    }
}

/// Goals may arrive while others run and wait, each at its own cost.
#[test]
fn late_additions_are_flat_too() {
    let mut schedule = crowd(1, 2_000).schedule();
    let hub = schedule.take().expect("the goal that the others need is ready");
    let before = schedule.looks;
    for _ in 0..100 {
        let late = schedule.add(&[], Demand::default());
        assert_eq!(schedule.take(), Some(late));
        schedule.finish(late, Outcome::Done);
    }
    assert!((schedule.looks - before) / 100 <= 20);
    schedule.finish(hub, Outcome::Done);
    assert!(schedule.take().is_some());
}

/// Finding out about another input costs the same with thousands of others waiting.
#[test]
fn late_inputs_are_flat_too() {
    let mut schedule = crowd(1, 2_000).schedule();
    let outer = schedule.add(&[], Demand::default());
    let user = schedule.add(&[outer], Demand::default());
    let before = schedule.looks;
    for _ in 0..100 {
        let found = schedule.add(&[], Demand::default());
        assert!(schedule.also_needs(user, &[found]).is_empty());
    }
    assert!((schedule.looks - before) / 100 <= 20);
}
