//! Goals that are given up.

use super::limits;
use crate::{Demand, GoalId, Outcome, Policy, Schedule};

/// A library with a source of its own, a tool with another one, and a source that both share; a program that needs
/// both, and another one that needs the tool.
struct Scene {
    schedule: Schedule,
    goals: [GoalId; 7],
}

const LIBRARY_SOURCE: usize = 0;
const TOOL_SOURCE: usize = 1;
const SHARED: usize = 2;
const LIBRARY: usize = 3;
const TOOL: usize = 4;
const PROGRAM: usize = 5;
const OTHER: usize = 6;

fn scene() -> Scene {
    let mut schedule = Schedule::new(limits(1), Policy::KeepGoing);
    let mut goals: Vec<GoalId> = Vec::new();
    let inputs: [&[usize]; 7] =
        [&[], &[], &[], &[LIBRARY_SOURCE, SHARED], &[TOOL_SOURCE, SHARED], &[LIBRARY, TOOL], &[TOOL]];
    for inputs in inputs {
        let inputs: Vec<GoalId> = inputs.iter().map(|input| goals[*input]).collect();
        goals.push(schedule.add(&inputs, Demand::default()));
    }
    Scene { schedule, goals: goals.try_into().expect("there are seven") }
}

impl Scene {
    fn numbers(goals: Vec<GoalId>) -> Vec<usize> {
        goals.into_iter().map(GoalId::index).collect()
    }

    fn cancel(&mut self, goal: usize) -> Vec<usize> {
        Self::numbers(self.schedule.cancel(self.goals[goal]))
    }

    /// Runs what is left.
    fn rest(mut self) -> Vec<usize> {
        let mut ran = Vec::new();
        while let Some(goal) = self.schedule.take() {
            ran.push(goal.index());
            self.schedule.finish(goal, Outcome::Done);
        }
        assert!(self.schedule.is_finished());
        ran
    }
}

#[test]
fn what_nobody_else_wants_is_not_started() {
    let mut scene = scene();
    assert_eq!(scene.cancel(PROGRAM), [LIBRARY_SOURCE, LIBRARY]);
    assert_eq!(scene.cancel(PROGRAM), [0_usize; 0], "once is enough");
    assert_eq!(scene.rest(), [TOOL_SOURCE, SHARED, TOOL, OTHER]);
}

#[test]
fn what_needs_it_is_cancelled_and_what_only_that_needs() {
    let mut scene = scene();
    assert_eq!(scene.cancel(LIBRARY), [LIBRARY_SOURCE, PROGRAM]);
    assert_eq!(scene.rest(), [TOOL_SOURCE, SHARED, TOOL, OTHER]);
}

#[test]
fn a_goal_that_is_ready_can_be_cancelled() {
    let mut scene = scene();
    assert_eq!(scene.cancel(SHARED), [LIBRARY_SOURCE, TOOL_SOURCE, LIBRARY, TOOL, PROGRAM, OTHER]);
    assert_eq!(scene.rest(), [0_usize; 0]);
}

#[test]
fn what_is_wanted_for_itself_is_built_all_the_same() {
    let mut scene = scene();
    scene.schedule.want(scene.goals[LIBRARY]);
    assert_eq!(scene.cancel(PROGRAM), [0_usize; 0]);
    assert_eq!(scene.rest().len(), 6);
}

#[test]
fn what_runs_goes_on() {
    let mut scene = scene();
    assert_eq!(scene.schedule.take(), Some(scene.goals[LIBRARY_SOURCE]));
    assert_eq!(scene.cancel(PROGRAM), [LIBRARY]);
    scene.schedule.finish(scene.goals[LIBRARY_SOURCE], Outcome::Done);
    assert_eq!(scene.rest(), [TOOL_SOURCE, SHARED, TOOL, OTHER]);
}

#[test]
fn a_running_goal_that_is_cancelled_takes_what_only_it_was_for() {
    let mut scene = scene();
    assert_eq!(scene.schedule.take(), Some(scene.goals[LIBRARY_SOURCE]));
    let cancelled = scene.schedule.finish(scene.goals[LIBRARY_SOURCE], Outcome::Cancelled);
    assert_eq!(Scene::numbers(cancelled), [LIBRARY, PROGRAM]);
    assert_eq!(scene.rest(), [TOOL_SOURCE, SHARED, TOOL, OTHER]);
}

/// Unlike one that was given up: what else is wrong is worth knowing.
#[test]
fn beside_a_failure_everything_runs_that_can() {
    let mut scene = scene();
    assert_eq!(scene.schedule.take(), Some(scene.goals[LIBRARY_SOURCE]));
    let cancelled = scene.schedule.finish(scene.goals[LIBRARY_SOURCE], Outcome::Failed);
    assert_eq!(Scene::numbers(cancelled), [LIBRARY, PROGRAM]);
    assert_eq!(scene.rest(), [TOOL_SOURCE, SHARED, TOOL, OTHER]);
}

#[test]
#[should_panic(expected = "cannot be taken away")]
fn what_is_handed_out_cannot_be_taken_away() {
    let mut scene = scene();
    let running = scene.schedule.take().expect("something is ready");
    scene.schedule.cancel(running);
}
