//! What is fetched instead of built: paths on their way, derivations that need no build for it, and those that do after
//! all.

use std::mem;
use std::sync::Arc;

use builder::BuildFailure;
use local_store::CancelAnswer;
use scheduler::GoalId;
use store_path::StorePath;
use substituter::Fetch;

use super::{Fate, Run};
use crate::fetch::FetchError;
use crate::reasons::Reasons;
use crate::report::Event;
use crate::worker::{Job, Work};

impl Run<'_> {
    /// Begins to fetch a path, unless something that it refers to could not be fetched.
    pub(super) fn begin_fetch(&mut self, goal: GoalId, path: StorePath) -> Option<Job> {
        let fetch = self.plan.graph.offers.fetch(&path);
        if let Some(error) = self.lacks(&fetch) {
            self.fetched(goal, Err(error));
            return None;
        }
        let target = self.plan.goals.list[self.targets[goal.index()]].task.drv().clone();
        Some(Job { goal, drv: path, target, work: Work::Fetch(Arc::new(fetch)), again: None })
    }

    /// Returns why a path cannot be fetched, if something that it refers to could not be.
    fn lacks(&self, fetch: &Fetch) -> Option<FetchError> {
        let path = fetch.path.clone();
        let mut references = fetch.offer.references.iter();
        let (reference, error) =
            references.find_map(|reference| Some((reference, self.unfetched.get(reference)?)))?;
        // Only the first of a chain matters.
        let (reference, source) = match &**error {
            FetchError::Reference { reference, source, .. } => (reference, source),
            _ => (reference, error),
        };
        Some(FetchError::Reference { path, reference: reference.clone(), source: source.clone() })
    }

    pub(super) fn fetching(&mut self, fetch: &Fetch) {
        let Some(sources) = self.sources else { return };
        let (program, download_size) = (sources.substituters.who(fetch), fetch.offer.download_size);
        (self.on_event)(Event::Fetching { path: &fetch.path, program, download_size });
    }

    /// Takes in what came of fetching a path. A goal that fetches does not fail: what needs the path learns that it is not
    /// there, and may have another way.
    pub(super) fn fetched(&mut self, goal: GoalId, result: Result<(), FetchError>) {
        let path = self.drv(goal);
        if self.is_withdrawn(goal) {
            return self.withdrawn(goal);
        }
        let answer = match result {
            Ok(()) => {
                (self.on_event)(Event::Fetched { path: &path });
                CancelAnswer::Built
            }
            Err(error) => {
                (self.on_event)(Event::NotFetched { path: &path, error: &error });
                // It was killed.
                if self.report.stopped {
                    self.give_up(goal);
                    return;
                }
                if let FetchError::GivenUp { .. } = error {
                    return self.fetch_cancelled(goal, path);
                }
                self.unfetched.insert(path, Arc::new(error));
                CancelAnswer::Failed
            }
        };
        self.done(goal);
        self.answer(goal, answer);
    }

    /// Ends a fetch that somebody has given up; what needs the path is not built, nor is the path.
    fn fetch_cancelled(&mut self, goal: GoalId, path: StorePath) {
        self.report.cancelled.push(path.clone());
        let needless = self.give_up(goal);
        self.fates[goal.index()] = Fate::Cancelled;
        self.block(&needless, &path);
        self.answer(goal, CancelAnswer::Cancelled);
    }

    /// Goes on with a derivation once all that was to be fetched for it was, or could not be.
    pub(super) fn fetched_all(&mut self, goal: GoalId) {
        let drv = self.drv(goal);
        let outputs = self.plan.graph.stated_outputs(&drv);
        let error = outputs.values().find_map(|path| self.unfetched.get(path)).cloned();
        match error {
            None => {
                self.plan.graph.built(&drv, outputs.clone());
                (self.on_event)(Event::Substituted { drv: &drv, outputs: &outputs });
                self.report.substituted.push(drv);
                self.done(goal);
            }
            Some(error) if self.falls_back => self.fall_back(goal, &error),
            Some(error) => self.failed(goal, BuildFailure::NotFetched { drv, source: Box::new(error) }),
        }
    }

    /// Has a derivation built after all, once there is what that takes.
    fn fall_back(&mut self, goal: GoalId, error: &FetchError) {
        let (drv, place, before) = (self.drv(goal), goal.index(), self.plan.goals.list.len());
        let needed = self.plan.fall_back(self.store, self.sources, place);
        self.schedule_new();
        self.targets.resize(self.fates.len(), self.targets[place]);
        self.block_new(before);
        self.tell_warnings(&drv);
        let needed = match needed {
            Ok(needed) => needed,
            Err(error) => return self.unready(goal, error),
        };
        self.plan.goals.list[place].inputs.extend(&needed);
        self.reasons = Reasons::default();
        let to_build = &self.plan.builds_from(before)[..];
        (self.on_event)(Event::FellBack { drv: &drv, error, to_build, plan: &self.plan });
        let demand = self.elsewhere.demand(goal, self.plan.demand(place));
        let by = needed.iter().find_map(|needed| self.cause(*needed));
        let needed: Vec<GoalId> = needed.into_iter().map(GoalId::from_index).collect();
        let cancelled = self.schedule.retry(goal, &needed, demand);
        by.into_iter().for_each(|by| self.block(&cancelled, &by));
    }

    /// Tells what is wrong with substituters, of which was found out while something was planned for `drv`.
    pub(super) fn tell_warnings(&mut self, drv: &StorePath) {
        for text in mem::take(&mut self.plan.graph.offers.warnings) {
            (self.on_event)(Event::Warning { drv, text: &text });
        }
    }
}
