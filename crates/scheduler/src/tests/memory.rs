//! Admission by memory.

use super::limits;
use crate::{Demand, GoalId, Limits, Outcome, Policy, Schedule};

fn schedule(slots: usize, memory: u64) -> Schedule {
    Schedule::new(Limits { memory: Some(memory), ..limits(slots) }, Policy::KeepGoing)
}

/// A goal that takes so much memory; the earlier of equals goes first.
fn takes(memory: u64) -> Demand {
    Demand { memory, ..Demand::default() }
}

fn take_all(schedule: &mut Schedule) -> Vec<usize> {
    std::iter::from_fn(|| schedule.take()).map(GoalId::index).collect()
}

#[test]
fn what_does_not_fit_waits_while_others_run() {
    let mut schedule = schedule(4, 10);
    for memory in [6, 6, 4, 1, 0] {
        schedule.add(&[], takes(memory));
    }
    assert_eq!(take_all(&mut schedule), [0, 2, 4]);
    schedule.finish(GoalId::from_index(0), Outcome::Done);
    assert_eq!(take_all(&mut schedule), [1]);
    schedule.finish(GoalId::from_index(2), Outcome::Done);
    assert_eq!(take_all(&mut schedule), [3]);
}

#[test]
fn without_a_budget_memory_does_not_matter() {
    let mut schedule = Schedule::new(limits(2), Policy::KeepGoing);
    for _ in 0..2 {
        schedule.add(&[], takes(u64::MAX));
    }
    assert_eq!(take_all(&mut schedule), [0, 1]);
}

#[test]
fn one_alone_always_runs() {
    let mut schedule = schedule(2, 10);
    for memory in [u64::MAX, u64::MAX, 0] {
        schedule.add(&[], takes(memory));
    }
    assert_eq!(take_all(&mut schedule), [0, 2]);
    schedule.finish(GoalId::from_index(0), Outcome::Done);
    assert_eq!(take_all(&mut schedule), [1]);
}

#[test]
fn a_builder_that_has_ended_takes_no_memory() {
    let mut schedule = schedule(2, 10);
    for memory in [10, 10] {
        schedule.add(&[], takes(memory));
    }
    assert_eq!(take_all(&mut schedule), [0]);
    schedule.free_slot(GoalId::from_index(0));
    assert_eq!(take_all(&mut schedule), [1]);
}

/// Small goals never stop coming, and one of them always runs.
#[test]
fn a_big_goal_has_its_turn() {
    let mut schedule = schedule(2, 10);
    let mut running = vec![schedule.add(&[], takes(4)), schedule.add(&[], takes(4))];
    assert_eq!(take_all(&mut schedule), [0, 1]);
    let big = schedule.add(&[], Demand { millis: 1_000_000, ..takes(8) });
    for _ in 0..10 {
        schedule.add(&[], takes(4));
        schedule.finish(running.remove(0), Outcome::Done);
        running.extend(std::iter::from_fn(|| schedule.take()));
        if running.contains(&big) {
            return;
        }
    }
    panic!("the big goal was overtaken ten times");
}

/// What leaves enough for the goal that memory is set aside for may still run.
#[test]
fn slots_are_used_beside_what_is_set_aside() {
    let mut schedule = schedule(2, 10);
    schedule.add(&[], takes(4));
    let big = Demand { millis: 1_000_000, ..takes(8) };
    let big = schedule.add(&[], big);
    assert_eq!(schedule.take(), Some(big));
    let again = schedule.add(&[], Demand { millis: 1_000_000, ..takes(8) });
    let small: Vec<GoalId> = (0..4).map(|_| schedule.add(&[], takes(2))).collect();
    // Overtaken twice: by each slot once. The third one leaves it room, and the fourth would not.
    for goal in &small[..2] {
        assert_eq!(schedule.take(), Some(*goal));
        schedule.finish(*goal, Outcome::Done);
    }
    assert_eq!(schedule.take(), Some(small[2]));
    schedule.finish(big, Outcome::Done);
    assert_eq!(schedule.take(), Some(again));
    schedule.finish(again, Outcome::Done);
    assert_eq!(take_all(&mut schedule), [0]);
}

#[test]
fn the_cost_of_an_event_is_flat() {
    let looks = |waiting: u64| {
        let mut schedule = schedule(2, 1 << 30);
        for number in 0..waiting {
            schedule.add(&[], takes(1 + number * 7_919 % (1 << 30)));
        }
        let first = schedule.take().expect("something fits");
        schedule.finish(first, Outcome::Done);
        let before = schedule.looks;
        for _ in 0..50 {
            let goal = schedule.take().expect("something fits");
            schedule.finish(goal, Outcome::Done);
        }
        schedule.looks - before
    };
    assert_eq!(looks(10_000), looks(1_000));
}
