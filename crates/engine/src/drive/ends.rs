//! What comes back: builds that have ended, well or in vain, and what that means for the rest.

use std::collections::BTreeMap;

use builder::{BuildFailure, Built};
use derivation::OutputName;
use local_store::CancelAnswer;
use scheduler::{GoalId, Outcome};
use store_path::StorePath;

use super::{Fate, Run};
use crate::error::Error;
use crate::order::Task;
use crate::report::{Blocked, Event, Failure, Report};

impl Run<'_> {
    /// Gives up on goals that wait for each other: a build can make a derivation that takes in what waits for it, if it
    /// was told of that by somebody outside.
    pub(super) fn stuck(&mut self) {
        let waits = |place: &usize| {
            self.fates[*place] == Fate::NotStarted
                && matches!(self.plan.goals.list[*place].task, Task::Find(_))
        };
        let place = (0..self.fates.len()).find(waits).expect("only what turned out late can close a circle");
        let goal = GoalId::from_index(place);
        let drv = self.drv(goal);
        let cancelled = self.schedule.cancel(goal);
        self.fates[place] = Fate::Failed;
        let source = Box::new(Error::Cycle { drv: drv.clone() });
        let error = BuildFailure::Unready { drv: drv.clone(), source };
        self.fail(goal, None, error, &cancelled);
    }

    /// Tells of a failure, and of the goals that were given up for it.
    pub(super) fn fail(
        &mut self,
        goal: GoalId,
        resolved: Option<StorePath>,
        error: BuildFailure,
        cancelled: &[GoalId],
    ) {
        let drv = self.drv(goal);
        let wanted_by = self.reasons.of(&self.plan, goal.index());
        let blocked = cancelled.iter().filter(|goal| self.task(**goal).builds().is_some()).count();
        let failure = Failure { drv: drv.clone(), resolved, error, wanted_by, blocked };
        (self.on_event)(Event::Failed(&failure));
        self.report.failures.push(failure);
        self.block(cancelled, &drv);
    }

    pub(super) fn ended(&mut self, goal: GoalId, result: Result<Built, BuildFailure>) {
        if self.is_withdrawn(goal) {
            return self.withdrawn(goal);
        }
        // Somebody else has made it before the hook could answer.
        if let Some(job) = self.elsewhere.take(goal) {
            (self.on_event)(Event::Started { drv: &job.drv });
        }
        let answer = match &result {
            Ok(_) => CancelAnswer::Built,
            Err(failure) if failure.is_cancelled() => CancelAnswer::Cancelled,
            Err(_) => CancelAnswer::Failed,
        };
        match result {
            Ok(built) => self.built(goal, &built),
            // It was killed, which is no failure of its own.
            Err(_) if self.report.stopped => self.stopped(goal),
            Err(BuildFailure::GivenUp { .. }) => self.cancelled(goal),
            Err(failure) => {
                let failure = self.elsewhere.explain(goal, failure);
                self.failed(goal, failure);
            }
        }
        self.answer(goal, answer);
    }

    pub(super) fn built(&mut self, goal: GoalId, built: &Built) {
        let drv = self.drv(goal);
        let outputs = built.outputs.iter().map(|(name, info)| (name.clone(), info.path.clone()));
        let outputs: BTreeMap<OutputName, StorePath> = outputs.collect();
        let twins = self.twins_of(goal);
        self.plan.graph.built(&drv, outputs.clone());
        if self.is_check(goal) {
            (self.on_event)(Event::Checked { drv: &drv, outputs: &outputs, usage: built.maker.usage() });
            self.report.checked.push(drv);
        } else {
            let output_bytes = built.outputs.values().map(|info| info.nar_size).sum();
            let (outputs, maker) = (&outputs, &built.maker);
            (self.on_event)(Event::Built { drv: &drv, outputs, output_bytes, maker });
            self.report.built.push(drv);
        }
        self.done(goal);
        for twin in twins {
            self.plan.graph.built(&self.drv(twin), outputs.clone());
            self.unchanged(twin);
        }
    }

    /// Ends a goal whose outputs turned out to be there.
    pub(super) fn unchanged(&mut self, goal: GoalId) {
        let drv = self.drv(goal);
        (self.on_event)(Event::Unchanged { drv: &drv, resolved: self.plan.graph.built_for(&drv) });
        self.report.unchanged.push(drv);
        self.done(goal);
    }

    /// Returns the goals that wait for what this one has built, or tried to.
    pub(super) fn twins_of(&mut self, goal: GoalId) -> Vec<GoalId> {
        match self.plan.goals.list[goal.index()].task.builds() {
            Some(drv) => self.twins.remove(self.plan.graph.built_for(drv)).unwrap_or_default(),
            None => Vec::new(),
        }
    }

    /// Ends a goal well. What stands for its outputs learns first what they are, as it may run then.
    pub(super) fn done(&mut self, goal: GoalId) {
        for finder in self.plan.goals.list[goal.index()].finders.clone() {
            self.grow(finder);
        }
        self.schedule.finish(goal, Outcome::Done);
        self.fates[goal.index()] = Fate::Done;
    }

    pub(super) fn failed(&mut self, goal: GoalId, error: BuildFailure) {
        let drv = self.drv(goal);
        let mut cancelled = self.schedule.finish(goal, Outcome::Failed);
        for twin in self.twins_of(goal) {
            cancelled.push(twin);
            cancelled.extend(self.schedule.finish(twin, Outcome::Failed));
        }
        self.fates[goal.index()] = Fate::Failed;
        let built = self.plan.graph.built_for(&drv);
        let resolved = (*built != drv && !matches!(self.task(goal), Task::Find(_))).then(|| built.clone());
        self.fail(goal, resolved, error, &cancelled);
    }

    pub(super) fn block(&mut self, cancelled: &[GoalId], by: &StorePath) {
        let is_cancelled = self.report.cancelled.contains(by);
        for goal in cancelled {
            self.fates[goal.index()] = Fate::Blocked;
            if self.waiting.contains(goal) {
                self.withdraw(*goal, false);
                continue;
            }
            // Nobody knows of the others.
            if let Some(drv) = self.task(*goal).builds() {
                let blocked = Blocked { drv: drv.clone(), by: by.clone(), is_cancelled };
                (self.on_event)(Event::Blocked(&blocked));
                self.report.blocked.push(blocked);
            }
        }
    }

    /// Tells what became of everything.
    pub(crate) fn into_report(mut self) -> Report {
        self.report.realised = self.plan.realised();
        self.report.not_realised = self.plan.not_realised();
        let fates = self.plan.goals.list.iter().zip(&self.fates);
        let not_started = fates.filter(|(_, fate)| **fate == Fate::NotStarted);
        self.report.not_started = not_started.filter_map(|(goal, _)| goal.task.builds().cloned()).collect();
        self.report
    }
}
