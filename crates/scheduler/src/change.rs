//! What an event changes: the goal itself, and the goals around it.

use std::mem;

use crate::edges::Link;
use crate::goal::{GoalId, Outcome, State};
use crate::schedule::Schedule;

impl Schedule {
    /// Has `goal` told when `inputs` are done, and returns how many are not yet; none if one can never be.
    pub(crate) fn await_all(&mut self, goal: GoalId, inputs: &[GoalId]) -> Option<u32> {
        let is_lost = |state| matches!(state, State::Ended(Outcome::Failed | Outcome::Cancelled));
        if inputs.iter().any(|input| is_lost(self.goal(*input).state)) {
            return None;
        }
        let mut waiting = 0;
        for &input in inputs {
            if self.goal(input).state != State::Ended(Outcome::Done) {
                self.connect(goal, input);
                waiting += 1;
            }
        }
        Some(waiting)
    }

    fn connect(&mut self, user: GoalId, input: GoalId) {
        let (inputs, users) = (self.goal(user).inputs, self.goal(input).users);
        let edge = self.edges.add((user, inputs), (input, users));
        self.goal(user).inputs = edge;
        let input = self.goal(input);
        input.users = edge;
        input.wanting += 1;
    }

    /// Makes a goal that waits for so many inputs, or is out, wait for more. Returns what is cancelled because of it.
    pub(crate) fn wait_for(&mut self, goal: GoalId, waiting: u32, inputs: &[GoalId]) -> Vec<GoalId> {
        let Some(more) = self.await_all(goal, inputs) else {
            self.advance(goal, State::Ended(Outcome::Cancelled));
            let mut cancelled = self.cancel_users(goal);
            cancelled.push(goal);
            cancelled.sort_unstable();
            return cancelled;
        };
        self.raise_inputs(goal, inputs);
        let next = State::waiting_for(waiting + more);
        if self.goal(goal).state != next {
            self.advance(goal, next);
        }
        Vec::new()
    }

    /// Counts one input less for each user of a goal that is done.
    pub(crate) fn release_users(&mut self, goal: GoalId) {
        let mut users = mem::replace(&mut self.goal(goal).users, Link::END);
        while let Some((user, others)) = self.edges.user(users) {
            users = others;
            // A user that another input has cancelled stays so.
            if let State::Waiting(count) = self.goal(user).state {
                self.advance(user, State::waiting_for(count - 1));
            }
        }
    }

    /// Cancels everything that needs `goal`, which has ended, directly or not. What that needs besides still runs: it may
    /// fail as well, which is worth knowing.
    pub(crate) fn cancel_users(&mut self, goal: GoalId) -> Vec<GoalId> {
        self.spread(goal, false)
    }

    /// Cancels everything that needs `goal`, which has ended, and what is wanted by nobody without it.
    pub(crate) fn cancel_around(&mut self, goal: GoalId) -> Vec<GoalId> {
        self.spread(goal, true)
    }

    /// Cancels what an end makes futile. Each goal is cancelled once in its life, and lets go of each input once.
    fn spread(&mut self, goal: GoalId, to_inputs: bool) -> Vec<GoalId> {
        let (mut cancelled, mut pending) = (Vec::new(), vec![goal]);
        while let Some(ended) = pending.pop() {
            let ended = self.goal(ended);
            let mut users = mem::replace(&mut ended.users, Link::END);
            let mut inputs = mem::replace(&mut ended.inputs, Link::END);
            let before = cancelled.len();
            while let Some((user, others)) = self.edges.user(users) {
                users = others;
                if matches!(self.goal(user).state, State::Waiting(_)) {
                    self.advance(user, State::Ended(Outcome::Cancelled));
                    cancelled.push(user);
                }
            }
            while let Some((input, others)) = self.edges.input(inputs) {
                inputs = others;
                if self.let_go(input) && to_inputs {
                    self.advance(input, State::Ended(Outcome::Cancelled));
                    cancelled.push(input);
                }
            }
            pending.extend_from_slice(&cancelled[before..]);
        }
        cancelled.sort_unstable();
        cancelled
    }

    /// Counts one user less for a goal. Returns whether nobody wants it any more, and it has not begun.
    fn let_go(&mut self, input: GoalId) -> bool {
        let input = self.goal(input);
        if input.state == State::Ended(Outcome::Done) {
            return false;
        }
        input.wanting -= 1;
        let has_begun = input.state.is_out() || matches!(input.state, State::Ended(_));
        input.wanting == 0 && !input.is_wanted && !has_begun
    }

    /// Makes every change of state there is.
    pub(crate) fn advance(&mut self, goal: GoalId, next: State) {
        let state = self.goal(goal).state;
        assert!(state.may_become(next), "goal {} cannot go from {state:?} to {next:?}", goal.index());
        self.goal(goal).state = next;
        self.out -= usize::from(state.is_out());
        self.out += usize::from(next.is_out());
        if state == State::Running {
            self.leave(goal);
        }
        match next {
            State::Ready => self.queue(goal),
            State::Running => self.enter(goal),
            State::PutOff => self.put_off.push(goal),
            State::Ended(_) => self.end(goal),
            State::Waiting(_) | State::Keeping => {}
        }
    }

    fn end(&mut self, goal: GoalId) {
        self.left -= 1;
        self.room.iter_mut().for_each(|room| room.forget(goal));
    }

    fn enter(&mut self, goal: GoalId) {
        let (slot, memory) = (self.goal(goal).slot, self.goal(goal).memory);
        self.lanes.of(slot).running += 1;
        self.room.iter_mut().for_each(|room| room.enter(goal, memory));
    }

    fn leave(&mut self, goal: GoalId) {
        let (slot, memory) = (self.goal(goal).slot, self.goal(goal).memory);
        self.lanes.of(slot).running -= 1;
        self.room.iter_mut().for_each(|room| room.leave(goal, memory));
    }
}
