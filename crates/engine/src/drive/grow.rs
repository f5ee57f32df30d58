//! What turns out late: derivations that builds have made, and what those take.

use scheduler::GoalId;
use store_path::StorePath;

use super::{Fate, Run};
use crate::order::Task;
use crate::reasons::Reasons;
use crate::report::Event;

impl Run<'_> {
    /// Goes on with a derivation that is there now: plans what is wanted of it.
    pub(super) fn grow(&mut self, finder: usize) {
        let goal = GoalId::from_index(finder);
        let Task::Find(file) = self.task(goal).clone() else { return };
        let Some(path) = self.plan.graph.path_of(&file).cloned() else { return };
        let before = self.plan.goals.list.len();
        let grown = self.plan.grow(self.store, self.sources, &file, &path);
        self.schedule_new();
        // All that is new is for what waits for it.
        self.targets.resize(self.fates.len(), self.targets[finder]);
        self.block_new(before);
        self.tell_warnings(&path);
        match grown {
            Ok(needed) => {
                let to_build = &self.plan.builds_from(before)[..];
                (self.on_event)(Event::Found { file: &file, drv: &path, to_build, plan: &self.plan });
                self.plan.goals.list[finder].inputs.extend(needed);
                self.reasons = Reasons::default();
                let needed: Vec<GoalId> = needed.into_iter().map(GoalId::from_index).collect();
                let cancelled = self.schedule.also_needs(goal, &needed);
                let by = needed.first().and_then(|needed| self.cause(needed.index()));
                by.into_iter().for_each(|by| self.block(&cancelled, &by));
            }
            // Told when its turn has come: a goal that waits cannot fail.
            Err(error) => drop(self.useless.insert(finder, error)),
        }
    }

    /// Tells of new goals that need what has failed before.
    pub(super) fn block_new(&mut self, first: usize) {
        for place in first..self.fates.len() {
            let inputs = self.plan.goals.list[place].inputs.clone();
            if let Some(by) = inputs.into_iter().find_map(|input| self.cause(input)) {
                self.block(&[GoalId::from_index(place)], &by);
            }
        }
    }

    /// Returns the derivation whose failure keeps a goal from being done.
    pub(super) fn cause(&self, place: usize) -> Option<StorePath> {
        let drv = self.plan.goals.list[place].task.drv();
        match self.fates[place] {
            Fate::Failed | Fate::Cancelled => Some(drv.clone()),
            Fate::Blocked => {
                let blocked = self.report.blocked.iter().find(|blocked| blocked.drv == *drv);
                Some(blocked.map_or(drv, |blocked| &blocked.by).clone())
            }
            Fate::NotStarted | Fate::Done => None,
        }
    }
}
