//! Builds that are given up, each on its own or all of them. That is no failure of theirs.

use local_store::{BuildId, CancelAnswer, CancelCaller};
use scheduler::{GoalId, Outcome};

use super::{Fate, Run};
use crate::fetch::FetchError;
use crate::order::Task;
use crate::report::Event;

impl Run<'_> {
    /// Gives up the build of that name; the caller hears what became of it once it has ended.
    pub(super) fn cancel(&mut self, id: &BuildId, caller: CancelCaller) {
        match self.hands.by_id(id) {
            Some(hand) => {
                self.callers.entry(hand.goal()).or_default().push(caller);
                hand.give_up();
            }
            None => caller.answer(CancelAnswer::Gone),
        }
    }

    /// Tells those who wanted a build to be given up how it has ended.
    pub(super) fn answer(&mut self, goal: GoalId, answer: CancelAnswer) {
        self.callers.remove(&goal).into_iter().flatten().for_each(|caller| caller.answer(answer));
    }

    /// Ends a build that somebody has given up; what needs it is not built, the rest goes on.
    pub(super) fn cancelled(&mut self, goal: GoalId) {
        let drv = self.drv(goal);
        for goal in [goal].into_iter().chain(self.twins_of(goal)) {
            let cancelled = &self.drv(goal);
            (self.on_event)(Event::Cancelled { drv: cancelled, with_all: false });
            self.report.cancelled.push(cancelled.clone());
            let needless = self.give_up(goal);
            self.fates[goal.index()] = Fate::Cancelled;
            self.block(&needless, &drv);
        }
    }

    /// Ends a build that has been stopped together with all others.
    pub(super) fn stopped(&mut self, goal: GoalId) {
        for goal in [goal].into_iter().chain(self.twins_of(goal)) {
            let drv = &self.drv(goal);
            (self.on_event)(Event::Cancelled { drv, with_all: true });
            self.give_up(goal);
        }
    }

    /// Ends something that waits for a lock and that nobody needs any more. Its worker is told, so that it does not take the
    /// lock in vain while the rest goes on; what it has to say then changes nothing.
    pub(super) fn withdraw(&mut self, goal: GoalId, with_all: bool) {
        self.hands.get(goal).iter().for_each(|hand| hand.give_up());
        let drv = &self.drv(goal);
        if let Task::Fetch(_) = self.task(goal) {
            let error = &FetchError::GivenUp { path: drv.clone() };
            return (self.on_event)(Event::NotFetched { path: drv, error });
        }
        (self.on_event)(Event::Cancelled { drv, with_all });
        if !with_all {
            self.fates[goal.index()] = Fate::Cancelled;
            self.report.cancelled.push(drv.clone());
        }
    }

    /// Whether a goal ended while its worker was waiting.
    pub(super) fn is_withdrawn(&self, goal: GoalId) -> bool {
        let has_ended = matches!(self.fates[goal.index()], Fate::Cancelled | Fate::Blocked);
        has_ended && self.waiting.contains(&goal)
    }

    /// Takes in that the worker of such a goal waits no more.
    pub(super) fn withdrawn(&mut self, goal: GoalId) {
        self.waiting.remove(&goal);
        // They are wanted still, so one of them is built in its place.
        self.part(goal);
        self.answer(goal, CancelAnswer::Cancelled);
    }

    /// Has nobody wait for a goal that waits itself, for a lock or to be offered or built, and will not go on, as nothing is
    /// handed out any more.
    pub(super) fn part_twins(&mut self) {
        let waiting = self.waiting.iter().copied().chain(self.elsewhere.kept());
        waiting.collect::<Vec<_>>().into_iter().for_each(|goal| self.part(goal));
    }

    fn part(&mut self, goal: GoalId) {
        self.twins_of(goal).into_iter().for_each(|twin| self.schedule.give_back(twin));
    }

    /// Withdraws what waits for locks when all else is over, as after a failure nothing more is begun.
    pub(super) fn leave(&mut self) {
        let waits = |goal: &&GoalId| self.fates[goal.index()] == Fate::NotStarted;
        let mut left: Vec<GoalId> = self.waiting.iter().filter(waits).copied().collect();
        left.sort_unstable();
        left.into_iter().for_each(|goal| self.withdraw(goal, true));
    }

    /// Takes back a goal that was given up, and returns those that are cancelled with it.
    pub(super) fn give_up(&mut self, goal: GoalId) -> Vec<GoalId> {
        match self.waiting.remove(&goal) {
            true => self.schedule.cancel(goal),
            false => self.schedule.finish(goal, Outcome::Cancelled),
        }
    }
}
