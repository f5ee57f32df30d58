//! What must hold for every graph, every order of events and every failure.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Event, World, limits};
use crate::{Demand, Outcome, Policy, Schedule};

fn worlds() -> impl Strategy<Value = World> {
    let goal = (prop::collection::vec(any::<prop::sample::Index>(), 0..4), prop::bool::weighted(0.1));
    let goals = prop::collection::vec(goal, 1..60);
    (goals, 1..5_usize, any::<bool>()).prop_map(|(goals, slots, keep_going)| {
        // The first goal has nobody to depend on; an index may name the same input twice.
        let inputs = |(above, picks): (usize, &Vec<prop::sample::Index>)| {
            picks.iter().filter(|_| above > 0).map(|pick| pick.index(above)).collect()
        };
        World {
            inputs: goals.iter().map(|(picks, _)| picks).enumerate().map(inputs).collect(),
            failing: goals.iter().map(|(_, fails)| *fails).collect(),
            slots,
            policy: if keep_going { Policy::KeepGoing } else { Policy::StopAtFailure },
        }
    })
}

/// The goals that need a failing one, directly or not.
fn doomed(world: &World) -> BTreeSet<usize> {
    let mut doomed = BTreeSet::new();
    for (goal, inputs) in world.inputs.iter().enumerate() {
        if inputs.iter().any(|input| world.failing[*input] || doomed.contains(input)) {
            doomed.insert(goal);
        }
    }
    doomed
}

/// The goals that could start after `events`, as a slow and obvious rule finds them.
fn startable(world: &World, events: &[Event]) -> usize {
    let done = |goal: usize| {
        events.iter().any(|event| matches!(event, Event::Ended(id, Outcome::Done) if id.index() == goal))
    };
    let started =
        |goal: usize| events.iter().any(|event| matches!(event, Event::Started(id) if id.index() == goal));
    let free = |goal: &usize| !started(*goal) && world.inputs[*goal].iter().all(|input| done(*input));
    (0..world.inputs.len()).filter(free).count()
}

proptest! {
    #[test]
    fn no_goal_starts_before_its_inputs_or_twice(world in worlds(), seed: u64) {
        let (mut started, mut done) = (BTreeSet::new(), BTreeSet::new());
        for event in world.run_in_random_order(seed) {
            match event {
                Event::Started(goal) => {
                    prop_assert!(started.insert(goal.index()));
                    prop_assert!(world.inputs[goal.index()].iter().all(|input| done.contains(input)));
                }
                Event::Ended(goal, Outcome::Done) => {
                    done.insert(goal.index());
                }
                Event::Ended(..) | Event::Cancelled(_) => {}
            }
        }
    }

    #[test]
    fn every_slot_is_filled_while_something_can_start(world in worlds(), seed: u64) {
        let events = world.run_in_random_order(seed);
        let (mut running, mut failed) = (0, false);
        for (index, event) in events.iter().enumerate() {
            match event {
                Event::Started(_) => running += 1,
                Event::Ended(_, outcome) => {
                    // Just before somebody ends is when all slots have had their chance.
                    let stopped = failed && world.policy == Policy::StopAtFailure;
                    prop_assert!(running <= world.slots);
                    prop_assert!(stopped || running == world.slots || startable(&world, &events[..index]) == 0);
                    running -= 1;
                    failed |= *outcome == Outcome::Failed;
                }
                Event::Cancelled(_) => {}
            }
        }
    }

    #[test]
    fn with_keep_going_everything_runs_that_can(world in worlds(), seed: u64) {
        let world = World { policy: Policy::KeepGoing, ..world };
        let doomed = doomed(&world);
        let (mut ended, mut cancelled) = (BTreeSet::new(), BTreeSet::new());
        for event in world.run_in_random_order(seed) {
            match event {
                Event::Ended(goal, _) => prop_assert!(ended.insert(goal.index())),
                Event::Cancelled(goal) => prop_assert!(cancelled.insert(goal.index())),
                Event::Started(_) => {}
            }
        }
        let runnable: BTreeSet<usize> = (0..world.inputs.len()).filter(|goal| !doomed.contains(goal)).collect();
        prop_assert_eq!(cancelled, doomed);
        prop_assert_eq!(ended, runnable);
    }

    #[test]
    fn a_failure_stops_everything_without_keep_going(world in worlds(), seed: u64) {
        let world = World { policy: Policy::StopAtFailure, ..world };
        let events = world.run_in_random_order(seed);
        let failure = events.iter().position(|event| matches!(event, Event::Ended(_, Outcome::Failed)));
        let after = failure.map_or(&[][..], |failure| &events[failure..]);
        prop_assert!(!after.iter().any(|event| matches!(event, Event::Started(_))));
    }

    #[test]
    fn the_same_events_give_the_same_goals(world in worlds(), seed: u64) {
        prop_assert_eq!(world.run_in_random_order(seed), world.run_in_random_order(seed));
    }
}

#[test]
fn nothing_is_handed_out_after_a_stop() {
    let inputs = vec![vec![], vec![], vec![0]];
    let world = World { failing: vec![false; 3], inputs, slots: 1, policy: Policy::KeepGoing };
    let mut schedule = world.schedule();
    let running = schedule.take().expect("the first goal is ready");
    schedule.stop();
    assert!(!schedule.is_finished());
    assert_eq!(schedule.finish(running, Outcome::Cancelled).len(), 1);
    assert_eq!(schedule.take(), None);
    assert!(schedule.is_finished());
}

#[test]
fn a_goal_that_only_keeps_leaves_its_slot_to_others_but_not_to_its_users() {
    let mut schedule = Schedule::new(limits(1), Policy::StopAtFailure);
    let first = schedule.add(&[], Demand::default());
    let user = schedule.add(&[first], Demand::default());
    let other = schedule.add(&[], Demand::default());
    assert_eq!(schedule.take(), Some(first));
    assert_eq!(schedule.take(), None);
    schedule.free_slot(first);
    assert_eq!(schedule.take(), Some(other));
    assert_eq!(schedule.take(), None);
    schedule.finish(other, Outcome::Done);
    assert_eq!(schedule.take(), None, "its input is not kept yet");
    assert!(!schedule.is_finished());
    schedule.finish(first, Outcome::Done);
    assert_eq!(schedule.take(), Some(user));
}
