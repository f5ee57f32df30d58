//! Which goal goes first.

use super::limits;
use crate::{Demand, GoalId, Outcome, Policy, Schedule};

fn one_slot() -> Schedule {
    Schedule::new(limits(1), Policy::KeepGoing)
}

fn takes(millis: u64) -> Demand {
    Demand { millis, ..Demand::default() }
}

fn matters(priority: i32) -> Demand {
    Demand { priority, ..Demand::default() }
}

/// Runs everything, one goal at a time.
fn order(schedule: &mut Schedule) -> Vec<usize> {
    let mut order = Vec::new();
    while let Some(goal) = schedule.take() {
        order.push(goal.index());
        schedule.finish(goal, Outcome::Done);
    }
    assert!(schedule.is_finished());
    order
}

#[test]
fn the_longest_way_counts_time_and_not_goals() {
    let mut schedule = one_slot();
    let short = schedule.add(&[], takes(10));
    let middle = schedule.add(&[short], takes(10));
    schedule.add(&[middle], takes(10));
    let long = schedule.add(&[], takes(25));
    schedule.add(&[long], takes(25));
    assert_eq!(order(&mut schedule), [3, 0, 4, 1, 2]);
}

#[test]
fn a_goal_counts_itself() {
    let mut schedule = one_slot();
    schedule.add(&[], takes(1));
    schedule.add(&[], takes(3));
    schedule.add(&[], takes(2));
    assert_eq!(order(&mut schedule), [1, 2, 0]);
}

#[test]
fn what_is_urgent_goes_first_and_so_does_what_it_needs() {
    let mut schedule = one_slot();
    schedule.add(&[], takes(1_000_000));
    let input = schedule.add(&[], takes(1));
    let urgent = schedule.add(&[input], matters(1));
    schedule.add(&[urgent], takes(1));
    schedule.add(&[], matters(-1));
    assert_eq!(order(&mut schedule), [1, 2, 0, 3, 4]);
}

#[test]
fn late_users_raise_what_they_need() {
    let mut schedule = one_slot();
    let busy = schedule.add(&[], takes(1_000));
    let (first, second) = (schedule.add(&[], takes(20)), schedule.add(&[], takes(10)));
    let waits = schedule.add(&[second], takes(1));
    assert_eq!(schedule.take(), Some(busy));
    schedule.add(&[waits], takes(100));
    schedule.finish(busy, Outcome::Done);
    assert_eq!(schedule.take(), Some(second));
    schedule.finish(second, Outcome::Done);
    assert_eq!(schedule.take(), Some(waits));
    let urgent = schedule.add(&[first], matters(1));
    schedule.finish(waits, Outcome::Done);
    assert_eq!(order(&mut schedule), [first.index(), urgent.index(), 4]);
}

#[test]
fn what_is_found_late_is_as_urgent_as_what_needs_it() {
    let mut schedule = one_slot();
    let outer = schedule.add(&[], takes(100));
    let user = schedule.add(&[outer], takes(50));
    let other = schedule.add(&[], takes(40));
    assert_eq!(schedule.take(), Some(outer));
    let (new, old) = (schedule.add(&[], takes(1)), other);
    schedule.also_needs(user, &[new, old]);
    schedule.add(&[], takes(60));
    schedule.finish(outer, Outcome::Done);
    assert_eq!(order(&mut schedule), [old.index(), 4, new.index(), user.index()]);
}

/// However much turns out to hang on one goal, it is told in few steps.
#[test]
fn raising_is_bounded() {
    let mut schedule = one_slot();
    let mut wide: Vec<GoalId> = (0..2_000).map(|_| schedule.add(&[], takes(1))).collect();
    for _ in 0..100 {
        wide = vec![schedule.add(&wide, takes(1))];
    }
    let first = schedule.take().expect("something is ready");
    let before = schedule.looks;
    schedule.add(&wide, takes(1_000));
    schedule.finish(first, Outcome::Done);
    assert!(schedule.looks - before < 200, "{}", schedule.looks - before);
}
