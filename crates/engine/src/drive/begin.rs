//! What is handed out: to a worker, to a build hook first, or to nobody, as it is over at once.

use std::sync::mpsc::Sender;

use builder::BuildFailure;
use scheduler::{GoalId, Slot};

use super::Run;
use crate::elsewhere::{Offer, Offered};
use crate::error::Error;
use crate::order::Task;
use crate::ready::Ready;
use crate::report::Event;
use crate::worker::{Job, Work};

impl Run<'_> {
    /// Gives a build to a worker, or has it offered to the build hook first.
    pub(super) fn hand_out(&mut self, job: Job, jobs: &Sender<Job>, offer: Option<Offer<'_>>) {
        let goal = job.goal;
        match offer.filter(|_| self.elsewhere.is_open(goal)) {
            None => {
                match &job.work {
                    Work::Fetch(fetch) => self.fetching(fetch),
                    Work::AsItIs(_) | Work::Resolved(_) => (self.on_event)(Event::Started { drv: &job.drv }),
                }
                jobs.send(job).expect("the queue outlives the workers");
            }
            Some(_) if self.elsewhere.is_over() => {
                self.elsewhere.keep(job);
                self.elsewhere.bring_home(goal);
                self.schedule.retry(goal, &[], self.plan.demand(goal.index()));
            }
            Some(offer) => {
                let willing = self.schedule.has_slot(Slot::Build);
                self.elsewhere.keep(job.clone());
                if let Err(error) = offer(job, willing) {
                    let said = vec![format!("no thread could be started to ask it: {error}")];
                    self.offered(goal, Offered::Declined { said, permanently: false });
                }
            }
        }
    }

    /// Takes in what became of an offer.
    pub(super) fn offered(&mut self, goal: GoalId, offered: Offered) {
        match offered {
            Offered::Accepted(machine) => {
                self.elsewhere.take(goal);
                self.schedule.free_slot(goal);
                let drv = &self.drv(goal);
                (self.on_event)(Event::Started { drv });
                (self.on_event)(Event::Elsewhere { drv, machine: &machine });
            }
            Offered::Declined { said, permanently } => {
                self.elsewhere.declined(goal, said, permanently);
                self.schedule.retry(goal, &[], self.plan.demand(goal.index()));
            }
            Offered::Postponed => {
                self.elsewhere.postpone();
                self.schedule.put_off(goal);
                let drv = &self.drv(goal);
                (self.on_event)(Event::Postponed { drv });
            }
        }
    }

    /// Begins with a goal that was handed out; one that takes no build is over at once.
    pub(super) fn begin(&mut self, goal: GoalId) -> Option<Job> {
        if self.waiting.remove(&goal) {
            // Its worker has begun long ago.
            let drv = &self.drv(goal);
            (self.on_event)(Event::WaitOver { drv });
            self.hands.get(goal).iter().for_each(|hand| hand.grant_slot());
            return None;
        }
        if let Task::Fetch(path) = self.task(goal) {
            let path = path.clone();
            return self.begin_fetch(goal, path);
        }
        let Some(drv) = self.task(goal).builds().cloned() else {
            self.find(goal);
            return None;
        };
        if self.plan.graph.is_fetched(&drv) && !self.is_check(goal) {
            self.fetched_all(goal);
            return None;
        }
        let work = match self.plan.graph.ready(self.store, &drv) {
            Ok(Ready::AsItIs(derivation)) => Work::AsItIs(derivation),
            Ok(Ready::Resolved(resolved)) => {
                (self.on_event)(Event::Resolved { drv: &drv, resolved: resolved.path() });
                Work::Resolved(resolved)
            }
            Ok(Ready::There) => {
                self.unchanged(goal);
                return None;
            }
            Err(error) => {
                self.unready(goal, error);
                return None;
            }
        };
        if let Some(twins) = self.twins.get_mut(self.plan.graph.built_for(&drv)) {
            // It ends as the other one does, and takes nobody's slot until then.
            twins.push(goal);
            self.schedule.free_slot(goal);
            return None;
        }
        self.twins.insert(self.plan.graph.built_for(&drv).clone(), Vec::new());
        let target = self.plan.goals.list[self.targets[goal.index()]].task.drv().clone();
        Some(Job { goal, drv, target, work, again: self.again(goal) })
    }

    /// Ends a goal that stands for a derivation that was to be made: what is wanted of it is there.
    pub(super) fn find(&mut self, goal: GoalId) {
        match self.useless.remove(&goal.index()) {
            None => self.done(goal),
            Some(error) => self.unready(goal, error),
        }
    }

    pub(super) fn unready(&mut self, goal: GoalId, error: Error) {
        let drv = self.drv(goal);
        self.failed(goal, BuildFailure::Unready { drv, source: Box::new(error) });
    }
}
