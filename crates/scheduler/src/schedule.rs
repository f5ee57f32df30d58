//! The schedule itself.

use std::cmp::Reverse;

use crate::demand::{Demand, Limits, rounded};
use crate::goal::{Goal, GoalId, Outcome, State};
use crate::queue::Queue;
use crate::room::Room;

/// What a failure means for the goals that do not need what failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// No further goal is handed out.
    StopAtFailure,
    /// They run.
    KeepGoing,
}

/// Which goal may run next, within limits.
///
/// Invariant: inputs are added before their users, so there is no cycle and something can always run until
/// everything has ended. Where a goal turns out to need more ([`Schedule::also_needs`]), the caller vouches for that.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub(crate) goals: Vec<Goal>,
    pub(crate) ready: Queue,
    /// Goals below this number have their path and priority, and are in `ready` if they are ready.
    pub(crate) ranked: usize,
    limits: Limits,
    /// None where memory does not matter.
    room: Option<Room>,
    running: usize,
    /// How many goals were handed out and need no slot any more.
    keeping: usize,
    /// How many goals have not ended.
    left: usize,
    policy: Policy,
    stopped: bool,
    /// How often a goal was looked at: what an event costs.
    #[cfg(test)]
    pub(crate) looks: usize,
}

impl Schedule {
    /// Returns a schedule without goals.
    pub fn new(limits: Limits, policy: Policy) -> Self {
        Self {
            goals: Vec::new(),
            ready: Queue::default(),
            ranked: 0,
            limits,
            // Whoever waits is overtaken once by each slot, on average.
            room: limits.memory.map(|budget| Room::new(budget, limits.slots.get())),
            running: 0,
            keeping: 0,
            left: 0,
            policy,
            stopped: false,
            #[cfg(test)]
            looks: 0,
        }
    }

    /// Adds a goal that may run when every one of `inputs` is done.
    ///
    /// If one of them has ended otherwise, the goal can never run and is cancelled from the start; the caller was told
    /// why when that one ended.
    pub fn add(&mut self, inputs: &[GoalId], demand: Demand) -> GoalId {
        let goal = GoalId::from_index(self.goals.len());
        let state = self.await_all(goal, inputs).map_or(State::Ended(Outcome::Cancelled), State::waiting_for);
        self.left += usize::from(!matches!(state, State::Ended(_)));
        let Demand { millis, memory, priority } = demand;
        // Where memory does not matter, nobody has to be told apart by it.
        let memory = self.room.as_ref().map_or(0, |_| rounded(memory));
        let (inputs, users) = (inputs.to_vec(), Vec::new());
        self.goals.push(Goal { state, inputs, users, memory, millis, path: millis, priority });
        goal
    }

    /// Makes a goal that waits wait for more, of which nobody knew before; none of `inputs` may need the goal. Returns
    /// those goals that can never run because of it, in the order in which they were added.
    ///
    /// # Panics
    /// If the goal could be running already: when nothing else was left to wait for.
    pub fn also_needs(&mut self, goal: GoalId, inputs: &[GoalId]) -> Vec<GoalId> {
        let waiting = match self.goal(goal).state {
            State::Ended(Outcome::Cancelled) => return Vec::new(),
            State::Waiting(waiting) => waiting,
            state => panic!("goal {} is {state:?} and finds that it needs more", goal.index()),
        };
        match self.await_all(goal, inputs) {
            Some(0) => Vec::new(),
            Some(more) => {
                self.advance(goal, State::Waiting(waiting + more));
                self.goal(goal).inputs.extend(inputs);
                self.raise_inputs(goal, inputs);
                Vec::new()
            }
            None => {
                self.advance(goal, State::Ended(Outcome::Cancelled));
                let mut cancelled = self.cancel_users(goal);
                cancelled.insert(0, goal);
                cancelled.sort_unstable();
                cancelled
            }
        }
    }

    /// Has `goal` told when `inputs` are done, and returns how many are not yet; none if one can never be.
    fn await_all(&mut self, goal: GoalId, inputs: &[GoalId]) -> Option<usize> {
        let mut waiting = 0;
        for &input in inputs {
            match self.goal(input).state {
                State::Ended(Outcome::Done) => continue,
                State::Ended(_) => return None,
                _ => self.goal(input).users.push(goal),
            }
            waiting += 1;
        }
        Some(waiting)
    }

    /// Hands out the goal to run next, if there is a free slot and a goal that is ready and fits into what is left of the
    /// memory.
    pub fn take(&mut self) -> Option<GoalId> {
        if self.stopped || self.running == self.limits.slots.get() {
            return None;
        }
        self.rank();
        let goal = self.room.as_ref().and_then(Room::favoured).or_else(|| self.choose())?;
        self.advance(goal, State::Running);
        Some(goal)
    }

    /// Chooses the first goal that fits.
    fn choose(&mut self) -> Option<GoalId> {
        let left = self.room.as_ref().map_or(u64::MAX, Room::left);
        let goals = &self.goals;
        let next = self.ready.next(left, |turn| {
            let goal = &goals[turn.goal.0.index()];
            goal.state == State::Ready && goal.turn(turn.goal.0) == *turn
        })?;
        let (Reverse(first), Reverse(goal)) = (next.first.goal, next.fitting?.goal);
        if let Some(room) = self.room.as_mut().filter(|_| first != goal && goals[goal.index()].memory > 0) {
            room.overtake(first, goals[first.index()].memory);
        }
        Some(goal)
    }

    /// Gives the slot of a running goal to others, while the goal itself goes on.
    ///
    /// # Panics
    /// If the goal is not running.
    pub fn free_slot(&mut self, goal: GoalId) {
        self.advance(goal, State::Keeping);
    }

    /// Takes back a goal that was handed out, and returns those that can never run because of it, in the order in which
    /// they were added.
    ///
    /// # Panics
    /// If the goal was not handed out, or was taken back before.
    pub fn finish(&mut self, goal: GoalId, outcome: Outcome) -> Vec<GoalId> {
        self.rank();
        self.advance(goal, State::Ended(outcome));
        match outcome {
            Outcome::Done => {
                self.release_users(goal);
                return Vec::new();
            }
            Outcome::Failed => self.stopped |= self.policy == Policy::StopAtFailure,
            Outcome::Cancelled => {}
        }
        self.cancel_users(goal)
    }

    /// Hands out nothing any more; what runs is still to be finished.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Returns whether nothing is running and nothing is going to.
    pub fn is_finished(&self) -> bool {
        self.is_idle() && (self.stopped || self.left == 0)
    }

    /// Returns whether no goal is out of the schedule's hands. If none is to be taken either, and not all is finished,
    /// goals wait for each other.
    pub fn is_idle(&self) -> bool {
        self.running + self.keeping == 0
    }

    /// Counts one input less for each user of a goal that is done.
    fn release_users(&mut self, goal: GoalId) {
        for user in std::mem::take(&mut self.goal(goal).users) {
            // A user that another input has cancelled stays so.
            if let State::Waiting(count) = self.goal(user).state {
                self.advance(user, State::waiting_for(count - 1));
            }
        }
    }

    /// Cancels everything that needs `goal`, directly or not. Each goal is cancelled once in its life.
    fn cancel_users(&mut self, goal: GoalId) -> Vec<GoalId> {
        let mut cancelled = Vec::new();
        let mut pending = std::mem::take(&mut self.goal(goal).users);
        while let Some(user) = pending.pop() {
            if matches!(self.goal(user).state, State::Waiting(_)) {
                self.advance(user, State::Ended(Outcome::Cancelled));
                pending.append(&mut self.goal(user).users);
                cancelled.push(user);
            }
        }
        cancelled.sort_unstable();
        cancelled
    }

    /// Makes every change of state there is.
    fn advance(&mut self, goal: GoalId, next: State) {
        let state = self.goal(goal).state;
        assert!(state.may_become(next), "goal {} cannot go from {state:?} to {next:?}", goal.index());
        self.goal(goal).state = next;
        if state == State::Running {
            self.running -= 1;
            self.leave_room(goal);
        }
        self.keeping -= usize::from(state == State::Keeping);
        match next {
            State::Waiting(_) => {}
            State::Ready => self.queue(goal),
            State::Running => {
                self.running += 1;
                self.enter_room(goal);
            }
            State::Keeping => self.keeping += 1,
            State::Ended(_) => {
                self.left -= 1;
                self.goal(goal).inputs = Vec::new();
            }
        }
    }

    fn enter_room(&mut self, goal: GoalId) {
        let memory = self.goal(goal).memory;
        self.room.iter_mut().for_each(|room| room.enter(goal, memory));
    }

    fn leave_room(&mut self, goal: GoalId) {
        let memory = self.goal(goal).memory;
        self.room.iter_mut().for_each(|room| room.leave(goal, memory));
    }

    /// Looks at a goal. Every event goes through here, so that a test can count what it costs.
    pub(crate) fn goal(&mut self, goal: GoalId) -> &mut Goal {
        #[cfg(test)]
        {
            self.looks += 1;
        }
        &mut self.goals[goal.index()]
    }
}
