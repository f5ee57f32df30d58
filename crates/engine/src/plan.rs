//! What has to be built, before anything is.

use std::collections::BTreeSet;
use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;

use derivation::Link;
use local_store::LocalStore;
use store_path::StorePath;

use crate::closure::{Level, refuse_missing};
use crate::error::Error;
use crate::estimate::Expectations;
use crate::graph::Graph;
use crate::offers::Sources;
use crate::order::{Goals, Task};
use crate::wanted::{Realised, Wanted};

/// The builds that what is wanted takes, inputs first, and what is known about everything they take.
///
/// Where a build makes a derivation, what that takes is added when it is there.
#[derive(Debug, Default)]
pub struct Plan {
    pub(crate) graph: Graph,
    pub(crate) goals: Goals,
    pub(crate) expectations: Expectations,
    /// How many builds run at the same time, if that is known.
    pub(crate) slots: Option<NonZeroUsize>,
    /// The goals that go before others, by place.
    pub(crate) first: HashSet<usize>,
    pub(crate) wanted: Vec<Wanted>,
    /// Whether what is wanted is there, and is built once more.
    is_check: bool,
    /// Whether that is done to repair it, not to compare.
    pub(crate) is_repair: bool,
}

impl Plan {
    /// Returns the derivations that will be built, each after its inputs; those among them whose inputs come out as they
    /// were before will not.
    pub fn to_build(&self) -> impl ExactSizeIterator<Item = &StorePath> {
        self.builds_from(0).into_iter()
    }

    /// Returns what has to be done, inputs first, each with the places in this list of what it needs.
    pub fn tasks(&self) -> impl ExactSizeIterator<Item = (&Task, &[usize])> {
        self.goals.list.iter().map(|goal| (&goal.task, &goal.inputs[..]))
    }

    /// Returns the paths that will be fetched, each after what it refers to.
    pub fn to_fetch(&self) -> impl ExactSizeIterator<Item = &StorePath> {
        let paths = self.goals.list.iter().filter_map(|goal| match &goal.task {
            Task::Fetch(path) => Some(path),
            _ => None,
        });
        paths.collect::<Vec<_>>().into_iter()
    }

    /// Returns the derivations to build among the goals from a place on.
    pub(crate) fn builds_from(&self, place: usize) -> Vec<&StorePath> {
        let drvs = self.goals.list[place..].iter().filter_map(|goal| goal.task.builds());
        drvs.filter(|drv| !self.graph.is_fetched(drv)).collect()
    }

    /// Whether the outputs of a derivation will be fetched, and it will not be built.
    pub fn is_fetched(&self, drv: &StorePath) -> bool {
        self.graph.is_fetched(drv)
    }

    /// Returns how many bytes [`Plan::to_fetch`] takes, as far as that is known.
    pub fn download_size(&self) -> u64 {
        self.to_fetch()
            .fold(0, |sum, path| sum.saturating_add(self.graph.offers.fetch(path).offer.download_size))
    }

    /// Adds what it takes to build the derivation of a goal whose outputs could not be fetched, and returns the goals that
    /// it needs now.
    pub(crate) fn fall_back(
        &mut self,
        store: &LocalStore,
        sources: Sources<'_>,
        place: usize,
    ) -> Result<Vec<usize>, Error> {
        let task = self.goals.list[place].task.clone();
        self.graph.build_after_all(store, sources, task.drv())?;
        let inputs = self.graph.inputs_of(&task)?;
        let added = self.goals.add_for(&self.graph, inputs.clone());
        self.expect(store);
        added?;
        Ok(inputs.iter().filter_map(|input| self.goals.place(input)).collect())
    }

    /// Whether there will be more goals.
    pub(crate) fn grows(&self) -> bool {
        self.goals.list.iter().any(|goal| matches!(goal.task, Task::Find(_)))
    }

    /// Returns the goals that are wanted for themselves.
    pub(crate) fn tops(&self) -> Vec<usize> {
        self.top_tasks().iter().filter_map(|task| self.goals.place(task)).collect()
    }

    fn top_tasks(&self) -> Vec<Task> {
        self.wanted.iter().filter_map(|wanted| self.top(wanted)).collect()
    }

    /// Returns for each goal one that is wanted by the caller: itself, or one that needs it.
    pub(crate) fn targets(&self) -> Vec<usize> {
        let mut targets = vec![usize::MAX; self.goals.list.len()];
        for place in self.tops() {
            targets[place] = place;
        }
        // Users come after their inputs.
        for place in (0..targets.len()).rev() {
            for input in &self.goals.list[place].inputs {
                if targets[*input] == usize::MAX {
                    targets[*input] = targets[place];
                }
            }
        }
        targets
    }

    /// Returns what makes that valid; nothing if it is. In a check, it is.
    pub(crate) fn top(&self, wanted: &Wanted) -> Option<Task> {
        if self.is_check {
            return self.checked(wanted).map(Task::Check);
        }
        match wanted {
            Wanted::Path(_) => None,
            Wanted::Outputs { drv, .. } => self.graph.has_to_be_built(drv).then(|| Task::Build(drv.clone())),
            Wanted::Made { file, .. } => match &self.graph.made[file].found {
                Some(drv) => self.graph.has_to_be_built(drv).then(|| Task::Build(drv.clone())),
                None => Some(Task::Find(file.clone())),
            },
        }
    }

    /// Returns the derivation that makes what is wanted, which is there.
    fn checked(&self, wanted: &Wanted) -> Option<StorePath> {
        match wanted {
            Wanted::Path(_) => None,
            Wanted::Outputs { drv, .. } => Some(drv.clone()),
            Wanted::Made { file, .. } => self.graph.made[file].found.clone(),
        }
    }

    /// Adds what it takes to have what is wanted of the derivation at `path`, which the output `file` turned out to be.
    /// Returns the goal that makes that, if one has to.
    pub(crate) fn grow(
        &mut self,
        store: &LocalStore,
        sources: Sources<'_>,
        file: &Link,
        path: &StorePath,
    ) -> Result<Option<usize>, Error> {
        self.graph.found(store, file, path)?;
        let mut level = Level::default();
        level.want(path, &self.graph.made[file].wanted.clone());
        self.graph.explore(store, sources, level)?;
        let task = Task::Build(path.clone());
        if !self.graph.has_to_be_built(path) {
            return Ok(None);
        }
        let added = self.goals.add_for(&self.graph, vec![task.clone()]);
        self.expect(store);
        added?;
        Ok(self.goals.place(&task))
    }

    /// Returns what is valid now of what was wanted, in the order of the question.
    pub(crate) fn realised(&self) -> Vec<Realised> {
        self.wanted.iter().filter_map(|wanted| self.realised_of(wanted)).collect()
    }

    /// Returns the places in the question of what is not valid.
    pub(crate) fn not_realised(&self) -> Vec<usize> {
        let is_missing = |place: &usize| self.realised_of(&self.wanted[*place]).is_none();
        (0..self.wanted.len()).filter(is_missing).collect()
    }

    fn realised_of(&self, wanted: &Wanted) -> Option<Realised> {
        let (drv, outputs) = match wanted {
            Wanted::Path(path) => return Some(Realised::Path(path.clone())),
            Wanted::Outputs { drv, outputs } => (drv, outputs),
            Wanted::Made { file, outputs } => (self.graph.made.get(file)?.found.as_ref()?, outputs),
        };
        if self.graph.has_to_be_built(drv) {
            return None;
        }
        let outputs = self.graph.nodes.get(drv)?.paths(outputs)?;
        Some(Realised::Outputs { drv: drv.clone(), outputs })
    }
}

/// Finds out what has to be built for `wanted`, and changes nothing but this process's temporary roots.
///
/// Everything the plan relies on is rooted before its validity is asked, so that no collector takes it away
/// between the plan and the build.
pub fn plan(store: &LocalStore, wanted: &[Wanted]) -> Result<Plan, Error> {
    plan_until(store, None, wanted, None)
}

/// Like [`plan`], and gives up with [`Error::Stopped`] when `stop` becomes readable.
pub(crate) fn plan_until(
    store: &LocalStore,
    sources: Sources<'_>,
    wanted: &[Wanted],
    stop: Option<OwnedFd>,
) -> Result<Plan, Error> {
    refuse_missing(store, wanted)?;
    let graph = Graph { stop, ..Graph::default() };
    let mut plan = Plan { wanted: wanted.to_vec(), graph, ..Plan::default() };
    plan.graph.explore(store, sources, Level::of(wanted))?;
    plan.goals.add_for(&plan.graph, plan.top_tasks())?;
    plan.expect(store);
    Ok(plan)
}

/// Finds out what it takes to build once more what is `wanted`, which is valid and damaged.
pub(crate) fn plan_repair(store: &LocalStore, wanted: &[Wanted]) -> Result<Plan, Error> {
    Ok(Plan { is_repair: true, ..plan_check(store, wanted, None)? })
}

/// Finds out what it takes to build once more what is `wanted`, which has to be there.
///
/// Only what is wanted itself is built again; what that takes in is built if it is not there any more. It gives up with
/// [`Error::Stopped`] when `stop` becomes readable.
pub(crate) fn plan_check(
    store: &LocalStore,
    wanted: &[Wanted],
    stop: Option<OwnedFd>,
) -> Result<Plan, Error> {
    refuse_missing(store, wanted)?;
    let graph = Graph { stop, ..Graph::default() };
    let mut plan = Plan { wanted: wanted.to_vec(), is_check: true, graph, ..Plan::default() };
    // What is compared is built; so is all that it takes.
    plan.graph.explore(store, None, Level::of(wanted))?;
    let unbuilt: BTreeSet<StorePath> =
        plan.not_realised().into_iter().map(|place| wanted[place].start().clone()).collect();
    if !unbuilt.is_empty() {
        return Err(Error::NotBuilt { drvs: unbuilt.into_iter().collect() });
    }
    if let Some(Wanted::Path(path)) = wanted.iter().find(|wanted| plan.checked(wanted).is_none()) {
        return Err(Error::NothingMakes { path: path.clone() });
    }
    let drvs: Vec<StorePath> = wanted.iter().filter_map(|wanted| plan.checked(wanted)).collect();
    plan.graph.explore_inputs(store, None, &drvs)?;
    plan.goals.add_for(&plan.graph, plan.top_tasks())?;
    plan.expect(store);
    Ok(plan)
}
