//! Goals that come back from where they were handed out to, and are not over.

use std::mem;

use crate::demand::Demand;
use crate::goal::{GoalId, State};
use crate::schedule::Schedule;

impl Schedule {
    /// Takes back a goal that was handed out and was not tried: whoever had it is lost. It is handed out again.
    ///
    /// # Panics
    /// If the goal is not handed out.
    pub fn give_back(&mut self, goal: GoalId) {
        self.advance(goal, State::Ready);
    }

    /// Takes back a goal that was handed out and that nobody can do now. It is handed out again after
    /// [`Schedule::resume`].
    ///
    /// # Panics
    /// If the goal is not handed out.
    pub fn put_off(&mut self, goal: GoalId) {
        self.advance(goal, State::PutOff);
    }

    /// Lets everything be handed out again that was put off and is meant, as something has changed for that. Returns whether
    /// there was anything.
    pub fn resume(&mut self, is_meant: impl Fn(GoalId) -> bool) -> bool {
        let put_off = mem::take(&mut self.put_off);
        let (meant, others) = put_off.into_iter().partition::<Vec<_>, _>(|goal| is_meant(*goal));
        self.put_off = others;
        for &goal in &meant {
            // It may have been cancelled meanwhile.
            if self.goal(goal).state == State::PutOff {
                self.advance(goal, State::Ready);
            }
        }
        !meant.is_empty()
    }

    /// Lets one goal be handed out again that was put off, as what it waited for is there.
    pub fn resume_one(&mut self, goal: GoalId) {
        if self.goal(goal).state == State::PutOff {
            self.put_off.retain(|other| *other != goal);
            self.advance(goal, State::Ready);
        }
    }

    /// Takes back a goal that was handed out, to be tried in another way when `inputs` are done, none of which may need the
    /// goal: a substitution that is not available becomes a build. Returns those goals that can never run because of
    /// it, in the order in which they were added.
    ///
    /// # Panics
    /// If the goal is not handed out.
    pub fn retry(&mut self, goal: GoalId, inputs: &[GoalId], demand: Demand) -> Vec<GoalId> {
        let state = self.goal(goal).state;
        assert!(state.is_out(), "goal {} is {state:?} and was not handed out", goal.index());
        if state == State::Running {
            // By its new demand it would give back what it has not taken.
            self.advance(goal, State::Keeping);
        }
        let demand = self.rounded(demand);
        self.goal(goal).demand(demand);
        self.wait_for(goal, 0, inputs)
    }
}
