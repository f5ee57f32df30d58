//! Builds that are given up, each on its own or all of them. That is no failure of theirs.

use local_store::{BuildId, CancelAnswer, CancelCaller};
use scheduler::{GoalId, Outcome};

use super::{Fate, Run};
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

    /// Takes back a goal that was given up, and returns those that are cancelled with it.
    pub(super) fn give_up(&mut self, goal: GoalId) -> Vec<GoalId> {
        match self.waiting.remove(&goal) {
            true => self.schedule.cancel(goal),
            false => self.schedule.finish(goal, Outcome::Cancelled),
        }
    }
}
