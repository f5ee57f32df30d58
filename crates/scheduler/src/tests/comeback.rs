//! Goals that come back.

use std::num::NonZeroUsize;

use super::limits;
use crate::{Demand, GoalId, Limits, Outcome, Policy, Schedule, Slot};

fn one_slot() -> Schedule {
    Schedule::new(limits(1), Policy::KeepGoing)
}

fn fetched() -> Demand {
    Demand { slot: Slot::Substitution, millis: 100, ..Demand::default() }
}

#[test]
fn what_a_lost_worker_had_is_handed_out_again() {
    let mut schedule = one_slot();
    let (first, second) = (schedule.add(&[], Demand::default()), schedule.add(&[], Demand::default()));
    assert_eq!(schedule.take(), Some(first));
    schedule.give_back(first);
    assert_eq!(schedule.take(), Some(first));
    schedule.free_slot(first);
    assert_eq!(schedule.take(), Some(second));
    schedule.give_back(first);
    assert_eq!(schedule.take(), None, "its slot was given away");
    schedule.finish(second, Outcome::Done);
    assert_eq!(schedule.take(), Some(first));
    schedule.finish(first, Outcome::Done);
    assert!(schedule.is_finished());
}

#[test]
fn what_is_put_off_waits_for_a_change() {
    let mut schedule = one_slot();
    let (first, second) = (schedule.add(&[], Demand::default()), schedule.add(&[], Demand::default()));
    assert_eq!(schedule.take(), Some(first));
    schedule.put_off(first);
    assert_eq!(schedule.take(), Some(second));
    schedule.finish(second, Outcome::Done);
    assert_eq!(schedule.take(), None);
    assert!(!schedule.is_finished() && !schedule.is_idle(), "somebody will say that something has changed");
    assert!(!schedule.resume(|goal| goal != first));
    assert!(schedule.resume(|_| true));
    assert!(!schedule.resume(|_| true));
    assert_eq!(schedule.take(), Some(first));
}

#[test]
fn what_is_put_off_can_be_cancelled() {
    let mut schedule = one_slot();
    let first = schedule.add(&[], Demand::default());
    let user = schedule.add(&[first], Demand::default());
    assert_eq!(schedule.take(), Some(first));
    schedule.put_off(first);
    assert_eq!(schedule.cancel(first), [user]);
    schedule.resume(|_| true);
    assert_eq!(schedule.take(), None);
    assert!(schedule.is_finished());
}

#[test]
fn a_substitution_that_is_not_available_becomes_a_build() {
    let mut schedule = one_slot();
    let goal = schedule.add(&[], fetched());
    let user = schedule.add(&[goal], Demand::default());
    assert_eq!(schedule.take(), Some(goal));
    let input = schedule.add(&[], fetched());
    assert!(schedule.retry(goal, &[input], Demand::default()).is_empty());
    assert_eq!(schedule.take(), Some(input));
    schedule.finish(input, Outcome::Done);
    for expected in [goal, user] {
        assert_eq!(schedule.take(), Some(expected));
        assert_eq!(schedule.take(), None);
        schedule.finish(expected, Outcome::Done);
    }
    assert!(schedule.is_finished());
}

#[test]
fn a_build_may_follow_at_once() {
    let mut schedule = one_slot();
    let build = schedule.add(&[], Demand::default());
    let goal = schedule.add(&[], fetched());
    assert_eq!([schedule.take(), schedule.take()], [Some(goal), Some(build)]);
    assert!(schedule.retry(goal, &[], Demand::default()).is_empty());
    assert_eq!(schedule.take(), None, "it takes the slot of a build now");
    schedule.finish(build, Outcome::Done);
    assert_eq!(schedule.take(), Some(goal));
}

#[test]
fn a_build_that_needs_what_has_failed_ends_the_goal() {
    let mut schedule = one_slot();
    let broken = schedule.add(&[], Demand::default());
    let goal = schedule.add(&[], fetched());
    let user = schedule.add(&[goal], Demand::default());
    assert_eq!([schedule.take(), schedule.take()], [Some(goal), Some(broken)]);
    schedule.finish(broken, Outcome::Failed);
    assert_eq!(schedule.retry(goal, &[broken], Demand::default()), [goal, user]);
    assert!(schedule.is_finished());
}

#[test]
fn substitutions_have_slots_of_their_own() {
    let two = NonZeroUsize::new(2).expect("two is not zero");
    let mut schedule = Schedule::new(Limits { substitutions: two, ..limits(1) }, Policy::KeepGoing);
    for slot in [Slot::Build, Slot::Substitution, Slot::None] {
        for _ in 0..3 {
            schedule.add(&[], Demand { slot, ..Demand::default() });
        }
    }
    let taken: Vec<usize> = std::iter::from_fn(|| schedule.take()).map(GoalId::index).collect();
    assert_eq!(taken, [6, 7, 8, 3, 4, 0]);
}

/// What a goal gives back is what it has taken, whatever it demands next.
#[test]
fn memory_is_given_back_as_it_was_taken() {
    let mut schedule = Schedule::new(Limits { memory: Some(10), ..limits(2) }, Policy::KeepGoing);
    let goal = schedule.add(&[], Demand { memory: 4, ..fetched() });
    let big = schedule.add(&[], Demand { memory: 10, ..Demand::default() });
    assert_eq!(schedule.take(), Some(goal));
    assert_eq!(schedule.take(), None);
    schedule.retry(goal, &[], Demand { memory: 1, ..Demand::default() });
    assert_eq!(schedule.take(), Some(goal));
    assert_eq!(schedule.take(), None);
    schedule.finish(goal, Outcome::Done);
    assert_eq!(schedule.take(), Some(big));
}

#[test]
fn what_is_offered_is_talked_about_one_at_a_time_and_leaves_the_slots_to_others() {
    let mut schedule = one_slot();
    let offer = Demand { slot: Slot::Offer, ..Demand::default() };
    let (first, second, third) =
        (schedule.add(&[], offer), schedule.add(&[], offer), schedule.add(&[], offer));
    assert_eq!(schedule.take(), Some(first));
    assert_eq!(schedule.take(), None, "somebody is asked already");
    assert!(schedule.has_slot(Slot::Build) && !schedule.has_slot(Slot::Offer));
    schedule.free_slot(first);
    assert_eq!(schedule.take(), Some(second));
    assert_eq!(schedule.retry(second, &[], Demand::default()), []);
    assert_eq!(schedule.take(), Some(third), "the next one is asked first");
    assert_eq!(schedule.take(), Some(second), "it is built here");
    assert!(!schedule.has_slot(Slot::Build));
    let _ = [first, second, third].map(|goal| schedule.finish(goal, Outcome::Done));
    assert!(schedule.is_finished());
}
