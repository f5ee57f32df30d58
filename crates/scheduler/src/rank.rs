//! How urgent goals are: their priority, and how long the way through their users is.

use std::collections::VecDeque;

use crate::goal::{GoalId, State};
use crate::schedule::Schedule;

/// How many goals are looked at to pass on that one has become more urgent. The nearest ones matter most: they can start
/// soonest.
const REACH: usize = 32;

impl Schedule {
    /// Ranks the goals added since the last time, users first, and queues those that are ready.
    ///
    /// A goal is ranked once, however late the others are added; only what needs it can raise it later.
    pub(crate) fn rank(&mut self) {
        let (first, end) = (self.ranked, self.goals.len());
        self.ranked = end;
        for index in (first..end).rev() {
            let goal = GoalId::from_index(index);
            let mut users = self.goal(goal).users;
            while let Some((user, others)) = self.edges.user(users) {
                users = others;
                let urgency = self.urgency(user);
                self.goal(goal).raise(urgency);
            }
            if self.goal(goal).state == State::Ready {
                self.queue(goal);
            }
            // These have had their rank before.
            let late = |input: &GoalId| input.index() < first || input.index() > index;
            let late: Vec<GoalId> = self.edges.inputs(self.goals[index].inputs).filter(late).collect();
            if !late.is_empty() {
                self.raise_inputs(goal, &late);
            }
        }
    }

    /// Makes inputs of a goal as urgent as it is, and what they need in turn.
    pub(crate) fn raise_inputs(&mut self, goal: GoalId, inputs: &[GoalId]) {
        let urgency = self.urgency(goal);
        let mut pending: VecDeque<(GoalId, (i32, u64))> =
            inputs.iter().map(|&input| (input, urgency)).collect();
        for _ in 0..inputs.len() + REACH {
            let Some((goal, user)) = pending.pop_front() else { return };
            // A goal that has no rank yet asks its users when it gets one.
            if goal.index() >= self.ranked || !self.goal(goal).raise(user) {
                continue;
            }
            if self.goal(goal).state == State::Ready {
                self.queue(goal);
            }
            let urgency = self.urgency(goal);
            let inputs = self.edges.inputs(self.goals[goal.index()].inputs).take(REACH);
            pending.extend(inputs.map(|input| (input, urgency)));
        }
    }

    fn urgency(&mut self, goal: GoalId) -> (i32, u64) {
        let goal = self.goal(goal);
        (goal.priority, goal.path)
    }

    /// Puts a goal that is ready where it belongs, now and whenever that changes.
    pub(crate) fn queue(&mut self, goal: GoalId) {
        let ready = self.goal(goal);
        let (slot, memory, turn) = (ready.slot, ready.memory, ready.turn(goal));
        self.lanes.of(slot).ready.push(memory, turn);
    }
}
