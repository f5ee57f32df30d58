//! A goal and the states it goes through.

use std::cmp::Reverse;

use crate::demand::{Demand, Slot};
use crate::edges::Link;
use crate::queue::Turn;

/// A goal of one schedule: its number, counted from zero in the order of addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoalId(u32);

impl GoalId {
    /// Returns the number, to index what the caller keeps beside the schedule.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns the goal that was added as the one of that number.
    pub fn from_index(index: usize) -> Self {
        Self(u32::try_from(index).expect("a schedule has fewer than four billion goals"))
    }
}

/// How a goal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What it makes is there; its users may run.
    Done,
    /// It was tried in vain.
    Failed,
    /// It was given up, or something it needs ended without being done.
    Cancelled,
}

/// Where a goal stands. A goal only moves down this list, save that one which waits may turn out to wait for more, and
/// that one which was handed out may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Wanted; that many inputs are not done yet. Never zero.
    Waiting(u32),
    /// Every input is done, but it came back and is not to be handed out again before something has changed.
    PutOff,
    /// Every input is done.
    Ready,
    /// Handed out by `Schedule::take`, not given back yet.
    Running,
    /// Not given back either, but it leaves its slot to others: what it makes is being kept.
    Keeping,
    /// Never changes again.
    Ended(Outcome),
}

impl State {
    /// Returns the state of a goal with that many inputs to wait for.
    pub(crate) fn waiting_for(inputs: u32) -> Self {
        if inputs == 0 { Self::Ready } else { Self::Waiting(inputs) }
    }

    /// Whether it is in somebody else's hands.
    pub(crate) fn is_out(self) -> bool {
        matches!(self, Self::Running | Self::Keeping)
    }

    /// Returns whether a goal may move from here to `next`.
    pub(crate) fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::Waiting(count), Self::Waiting(left)) => left + 1 == count || left > count,
            (Self::Waiting(count), Self::Ready) => count == 1,
            (Self::Waiting(_) | Self::PutOff | Self::Ready, Self::Ended(Outcome::Cancelled)) => true,
            (Self::PutOff, Self::Ready) | (Self::Ready, Self::Running) | (Self::Running, Self::Keeping) => {
                true
            }
            (out, Self::Waiting(_) | Self::PutOff | Self::Ready | Self::Ended(_)) => out.is_out(),
            _ => false,
        }
    }
}

/// What the schedule keeps of a goal.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    pub(crate) state: State,
    pub(crate) slot: Slot,
    /// Whether it is wanted for itself.
    pub(crate) is_wanted: bool,
    /// Its own priority, or that of a user if that is higher.
    pub(crate) priority: i32,
    /// How many of its users have not ended without it.
    pub(crate) wanting: u32,
    /// How long it takes, in milliseconds.
    pub(crate) millis: u64,
    /// How long it takes together with the longest chain of users above it.
    pub(crate) path: u64,
    /// Rounded; see [`crate::demand::rounded`].
    pub(crate) memory: u64,
    /// What it needs that was not done when that was said.
    pub(crate) inputs: Link,
    /// The goals that name this one as an input, until it ends; each has a higher number, unless it found out late.
    pub(crate) users: Link,
}

impl Goal {
    /// Returns a goal that needs nothing, and that nobody needs. Its demand has to be rounded.
    pub(crate) fn new(demand: Demand) -> Self {
        let Demand { slot, millis, memory, priority } = demand;
        let (state, is_wanted, wanting, path) = (State::Ready, false, 0, millis);
        let (inputs, users) = (Link::END, Link::END);
        Self { state, slot, is_wanted, priority, wanting, millis, path, memory, inputs, users }
    }

    /// Takes in that it will be tried in another way. Its demand has to be rounded.
    pub(crate) fn demand(&mut self, demand: Demand) {
        let Demand { slot, millis, memory, priority } = demand;
        self.path = (self.path - self.millis).saturating_add(millis);
        self.priority = self.priority.max(priority);
        (self.slot, self.millis, self.memory) = (slot, millis, memory);
    }

    /// Returns its place among goals that are ready, if it is the one of that number.
    pub(crate) fn turn(&self, goal: GoalId) -> Turn {
        Turn { priority: self.priority, path: self.path, goal: Reverse(goal) }
    }

    /// Takes in that there is a user which is so urgent. Returns whether that makes the goal more urgent.
    pub(crate) fn raise(&mut self, user: (i32, u64)) -> bool {
        let before = (self.priority, self.path);
        self.priority = self.priority.max(user.0);
        self.path = self.path.max(self.millis.saturating_add(user.1));
        (self.priority, self.path) != before
    }
}
