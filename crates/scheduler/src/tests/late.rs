//! Goals that turn out to need more while they wait.

use proptest::prelude::*;
use test_support::Random;

use super::limits;
use crate::{Demand, GoalId, Outcome, Policy, Schedule};

/// A first goal whose end tells what its user needs beside it; and somebody who needs that user.
struct Late {
    schedule: Schedule,
    outer: GoalId,
    user: GoalId,
    top: GoalId,
}

fn late(policy: Policy) -> Late {
    let mut schedule = Schedule::new(limits(4), policy);
    let outer = schedule.add(&[], Demand::default());
    let user = schedule.add(&[outer], Demand::default());
    let top = schedule.add(&[user], Demand::default());
    assert_eq!(schedule.take(), Some(outer));
    Late { schedule, outer, user, top }
}

#[test]
fn a_user_waits_for_what_was_found() {
    let Late { mut schedule, outer, user, top } = late(Policy::StopAtFailure);
    let inner = schedule.add(&[], Demand::default());
    let found = schedule.add(&[inner], Demand::default());
    assert!(schedule.also_needs(user, &[found]).is_empty());
    schedule.finish(outer, Outcome::Done);
    for expected in [inner, found, user, top] {
        assert_eq!(schedule.take(), Some(expected));
        assert_eq!(schedule.take(), None);
        schedule.finish(expected, Outcome::Done);
    }
    assert!(schedule.is_finished());
}

#[test]
fn what_was_found_and_fails_cancels_its_user() {
    let Late { mut schedule, outer, user, top } = late(Policy::KeepGoing);
    let found = schedule.add(&[], Demand::default());
    schedule.also_needs(user, &[found]);
    schedule.finish(outer, Outcome::Done);
    assert_eq!(schedule.take(), Some(found));
    assert_eq!(schedule.finish(found, Outcome::Failed), [user, top]);
    assert!(schedule.is_finished());
}

#[test]
fn needing_what_has_failed_cancels_at_once() {
    let Late { mut schedule, outer, user, top } = late(Policy::KeepGoing);
    let broken = schedule.add(&[], Demand::default());
    assert_eq!(schedule.take(), Some(broken));
    schedule.finish(broken, Outcome::Failed);
    // Added when it is too late already: it counts as ended.
    let found = schedule.add(&[broken], Demand::default());
    assert_eq!(schedule.also_needs(user, &[found]), [user, top]);
    assert!(schedule.also_needs(user, &[]).is_empty());
    schedule.finish(outer, Outcome::Done);
    assert!(schedule.take().is_none() && schedule.is_finished());
}

#[test]
fn goals_that_wait_for_each_other_are_noticed() {
    let Late { mut schedule, outer, user, top } = late(Policy::KeepGoing);
    // What the contract forbids.
    schedule.also_needs(user, &[top]);
    schedule.finish(outer, Outcome::Done);
    assert!(schedule.take().is_none() && schedule.is_idle() && !schedule.is_finished());
}

proptest! {
    /// Whenever a goal ends, more may come to light that its users need. None starts before all of that is done, and
    /// everything ends.
    #[test]
    fn nothing_starts_before_what_was_found(seed: u64, size in 1..40_usize, slot_count in 1..4_usize) {
        let mut random = Random::seeded(seed);
        let mut schedule = Schedule::new(limits(slot_count), Policy::KeepGoing);
        let mut needs: Vec<Vec<GoalId>> = Vec::new();
        for goal in 0..size {
            let mut inputs: Vec<GoalId> = (0..random.below(3)).filter(|_| goal > 0)
                .map(|_| GoalId::from_index(random.below(goal.max(1)))).collect();
            inputs.sort_unstable();
            inputs.dedup();
            schedule.add(&inputs, Demand::default());
            needs.push(inputs);
        }
        let (mut running, mut done) = (Vec::new(), Vec::new());
        loop {
            while let Some(goal) = schedule.take() {
                prop_assert!(needs[goal.index()].iter().all(|need| done.contains(need)));
                running.push(goal);
            }
            if running.is_empty() {
                break;
            }
            let goal: GoalId = running.swap_remove(random.below(running.len()));
            let users = (0..size).filter(|user| needs[*user].contains(&goal)).collect::<Vec<_>>();
            for user in users.into_iter().filter(|_| random.below(2) == 0) {
                let found = schedule.add(&[], Demand::default());
                needs.push(Vec::new());
                prop_assert!(schedule.also_needs(GoalId::from_index(user), &[found]).is_empty());
                needs[user].push(found);
            }
            schedule.finish(goal, Outcome::Done);
            done.push(goal);
        }
        prop_assert!(schedule.is_finished());
        prop_assert_eq!(done.len(), needs.len());
    }
}
