//! The schedule itself.

use std::cmp::Reverse;

use crate::demand::{Demand, Limits, Slot, rounded};
use crate::edges::Edges;
use crate::goal::{Goal, GoalId, Outcome, State};
use crate::lane::Lanes;
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
/// everything has ended. Where a goal turns out to need more ([`Schedule::also_needs`], [`Schedule::retry`]), the caller
/// vouches for that.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub(crate) goals: Vec<Goal>,
    pub(crate) edges: Edges,
    pub(crate) lanes: Lanes,
    /// Goals below this number have their path and priority, and are in their lane if they are ready.
    pub(crate) ranked: usize,
    /// None where memory does not matter.
    pub(crate) room: Option<Room>,
    /// How many goals are handed out.
    pub(crate) out: usize,
    /// How many goals have not ended.
    pub(crate) left: usize,
    /// Goals that came back, not to be handed out again before something has changed.
    pub(crate) put_off: Vec<GoalId>,
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
            edges: Edges::default(),
            lanes: Lanes::new(&limits),
            ranked: 0,
            // Whoever waits is overtaken once by each build, on average.
            room: limits.memory.map(|budget| Room::new(budget, limits.builds.get())),
            out: 0,
            left: 0,
            put_off: Vec::new(),
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
        let demand = self.rounded(demand);
        self.goals.push(Goal::new(demand));
        let waiting = self.await_all(goal, inputs);
        self.left += usize::from(waiting.is_some());
        self.goal(goal).state = waiting.map_or(State::Ended(Outcome::Cancelled), State::waiting_for);
        goal
    }

    /// Where memory does not matter, nobody has to be told apart by it.
    pub(crate) fn rounded(&self, demand: Demand) -> Demand {
        Demand { memory: self.room.as_ref().map_or(0, |_| rounded(demand.memory)), ..demand }
    }

    /// Takes note that a goal is wanted for itself, and not only by its users.
    pub fn want(&mut self, goal: GoalId) {
        self.goal(goal).is_wanted = true;
    }

    /// Makes a goal that waits wait for more, of which nobody knew before; none of `inputs` may need the goal. Returns
    /// those goals that can never run because of it, in the order in which they were added.
    ///
    /// # Panics
    /// If the goal could be running already: when nothing else was left to wait for.
    pub fn also_needs(&mut self, goal: GoalId, inputs: &[GoalId]) -> Vec<GoalId> {
        match self.goal(goal).state {
            State::Ended(Outcome::Cancelled) => Vec::new(),
            State::Waiting(waiting) => self.wait_for(goal, waiting, inputs),
            state => panic!("goal {} is {state:?} and finds that it needs more", goal.index()),
        }
    }

    /// Hands out the goal to run next, if there is one that is ready, has a slot, and fits into what is left of the memory.
    pub fn take(&mut self) -> Option<GoalId> {
        if self.stopped {
            return None;
        }
        self.rank();
        let goal = Lanes::SLOTS.into_iter().find_map(|slot| self.choose(slot))?;
        self.advance(goal, State::Running);
        Some(goal)
    }

    /// Chooses the first goal of a lane that fits.
    fn choose(&mut self, slot: Slot) -> Option<GoalId> {
        let lane = self.lanes.of(slot);
        if !lane.has_slot() {
            return None;
        }
        let goals = &self.goals;
        let favoured = self.room.as_ref().and_then(Room::favoured);
        if let Some(favoured) = favoured.filter(|favoured| goals[favoured.index()].slot == slot) {
            return Some(favoured);
        }
        let left = self.room.as_ref().map_or(u64::MAX, Room::left);
        let next = lane.ready.next(left, |turn| {
            let goal = &goals[turn.goal.0.index()];
            goal.state == State::Ready && goal.slot == slot && goal.turn(turn.goal.0) == *turn
        })?;
        let (Reverse(first), Reverse(goal)) = (next.first.goal, next.fitting?.goal);
        if let Some(room) = self.room.as_mut().filter(|_| first != goal && goals[goal.index()].memory > 0) {
            room.overtake(first, goals[first.index()].memory);
        }
        Some(goal)
    }

    /// Returns whether one more goal could have a slot of that kind.
    pub fn has_slot(&mut self, slot: Slot) -> bool {
        self.lanes.of(slot).has_slot()
    }

    /// Gives the slot of a running goal to others, while the goal itself goes on.
    ///
    /// # Panics
    /// If the goal is not running.
    pub fn free_slot(&mut self, goal: GoalId) {
        self.advance(goal, State::Keeping);
    }

    /// Takes back a goal that was handed out, and returns those that are cancelled because of it, in the order in which
    /// they were added: those that can never run, and if the goal was cancelled, those that nobody else wants.
    ///
    /// # Panics
    /// If the goal was not handed out, or was taken back before.
    pub fn finish(&mut self, goal: GoalId, outcome: Outcome) -> Vec<GoalId> {
        let state = self.goal(goal).state;
        assert!(state.is_out(), "goal {} is {state:?} and was not handed out", goal.index());
        self.rank();
        self.advance(goal, State::Ended(outcome));
        match outcome {
            Outcome::Done => {
                self.release_users(goal);
                Vec::new()
            }
            Outcome::Failed => {
                self.stopped |= self.policy == Policy::StopAtFailure;
                self.cancel_users(goal)
            }
            Outcome::Cancelled => self.cancel_around(goal),
        }
    }

    /// Gives up a goal that is not handed out, and returns those that are cancelled with it, in the order in which they were
    /// added: those that need it, and those that nobody else wants. What is handed out goes on; whoever has it may
    /// give it up, and finish it as cancelled.
    ///
    /// # Panics
    /// If the goal is handed out.
    pub fn cancel(&mut self, goal: GoalId) -> Vec<GoalId> {
        let state = self.goal(goal).state;
        assert!(!state.is_out(), "goal {} is {state:?} and cannot be taken away", goal.index());
        if matches!(state, State::Ended(_)) {
            return Vec::new();
        }
        self.advance(goal, State::Ended(Outcome::Cancelled));
        self.cancel_around(goal)
    }

    /// Hands out nothing any more; what runs is still to be finished.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Returns whether nothing is handed out any more.
    pub fn has_stopped(&self) -> bool {
        self.stopped
    }

    /// Returns whether nothing is running and nothing is going to.
    pub fn is_finished(&self) -> bool {
        self.out == 0 && (self.stopped || self.left == 0)
    }

    /// Returns whether goals are all that goals wait for: none is out of the schedule's hands, nor put off. If none is
    /// to be taken either, and not all is finished, they wait for each other.
    pub fn is_idle(&self) -> bool {
        self.out == 0 && self.put_off.is_empty()
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
