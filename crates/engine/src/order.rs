//! The order of a plan: inputs first.

use std::collections::HashMap;

use derivation::{Derivation, Link};
use store_path::StorePath;

use crate::closure::is_dynamic;
use crate::error::Error;
use crate::graph::{Graph, Standing};

/// What a goal is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// Has the outputs of a derivation made.
    Build(StorePath),
    /// Has them made once more, to compare.
    Check(StorePath),
    /// Has a path fetched by a substituter, and nothing built.
    Fetch(StorePath),
    /// Stands for the derivation that an output will be, until it is known which one that is. Then it waits for what
    /// is wanted of that one.
    Find(Link),
}

/// A goal of a plan.
#[derive(Debug)]
pub(crate) struct Goal {
    pub(crate) task: Task,
    /// The goals it needs: places in the plan.
    pub(crate) inputs: Vec<usize>,
    /// The goals that stand for what its outputs will be.
    pub(crate) finders: Vec<usize>,
}

/// The goals of a plan, each after those that it needs.
#[derive(Debug, Default)]
pub(crate) struct Goals {
    pub(crate) list: Vec<Goal>,
    /// None while a goal's inputs are being placed.
    places: HashMap<Task, Option<usize>>,
}

/// A step of the walk, kept on a stack of our own: a chain may be longer than the thread's stack is deep.
enum Step {
    Enter(Task),
    /// With what it needs.
    Leave(Task, Vec<Task>),
}

impl Goals {
    /// Returns the place of a goal.
    pub(crate) fn place(&self, task: &Task) -> Option<usize> {
        self.places.get(task).copied().flatten()
    }

    /// Adds goals for everything that has to be done for `tops` and was not added before, beginning with what the first
    /// of them needs.
    pub(crate) fn add_for(&mut self, graph: &Graph, tops: Vec<Task>) -> Result<(), Error> {
        let added = self.walk(graph, tops);
        if added.is_err() {
            // The next walk begins anew with what this one has left.
            self.places.retain(|_, place| place.is_some());
        }
        added
    }

    fn walk(&mut self, graph: &Graph, tops: Vec<Task>) -> Result<(), Error> {
        let mut steps: Vec<Step> = tops.into_iter().rev().map(Step::Enter).collect();
        while let Some(step) = steps.pop() {
            match step {
                Step::Enter(task) if self.places.contains_key(&task) => {}
                Step::Enter(task) => {
                    let inputs = graph.inputs_of(&task)?;
                    self.places.insert(task.clone(), None);
                    let new = inputs.iter().rev().filter(|input| !self.places.contains_key(*input));
                    let new: Vec<Step> = new.cloned().map(Step::Enter).collect();
                    steps.push(Step::Leave(task, inputs));
                    steps.extend(new);
                }
                Step::Leave(task, inputs) => self.add(task, &inputs)?,
            }
        }
        Ok(())
    }

    /// Adds a goal whose inputs were added; one that was not is being added, and waits for this one.
    fn add(&mut self, task: Task, inputs: &[Task]) -> Result<(), Error> {
        let place = self.list.len();
        let cycle = || Error::Cycle { drv: task.drv().clone() };
        let inputs = inputs.iter().map(|input| self.place(input).ok_or_else(cycle));
        let inputs: Vec<usize> = inputs.collect::<Result<_, _>>()?;
        if let Task::Find(_) = task {
            inputs.iter().for_each(|input| self.list[*input].finders.push(place));
        }
        if let Some(known) = self.places.get_mut(&task) {
            *known = Some(place);
        }
        self.list.push(Goal { task, inputs, finders: Vec::new() });
        Ok(())
    }
}

impl Task {
    /// Returns the derivation that people know it by; of what is fetched, the path.
    pub fn drv(&self) -> &StorePath {
        match self {
            Self::Build(drv) | Self::Check(drv) | Self::Fetch(drv) | Self::Find(Link { drv, .. }) => drv,
        }
    }

    /// Returns the derivation that it runs a builder for, if it does.
    pub fn builds(&self) -> Option<&StorePath> {
        match self {
            Self::Build(drv) | Self::Check(drv) => Some(drv),
            Self::Fetch(_) | Self::Find(_) => None,
        }
    }
}

impl Graph {
    /// Returns what a goal needs that is not there.
    pub(crate) fn inputs_of(&self, task: &Task) -> Result<Vec<Task>, Error> {
        self.refuse_stopped()?;
        match task {
            Task::Find(file) => Ok(self.task_of(file).into_iter().collect()),
            Task::Fetch(path) => Ok(self.offers.needs(path)),
            Task::Build(drv) if self.is_fetched(drv) => Ok(self.fetches(drv)),
            Task::Build(drv) | Task::Check(drv) => {
                let derivation = &self.nodes[drv].derivation;
                self.refuse_impure(drv, derivation)?;
                let inputs = derivation.input_drvs.keys().filter(|input| self.has_to_be_built(input));
                let mut tasks: Vec<Task> = inputs.cloned().map(Task::Build).collect();
                if is_dynamic(derivation) {
                    let links = derivation.links();
                    tasks.extend(
                        links
                            .iter()
                            .filter(|link| !link.through.is_empty())
                            .filter_map(|link| self.task_of(link)),
                    );
                    tasks.dedup();
                }
                Ok(tasks)
            }
        }
    }

    /// Returns the goal by which an output comes to be there; none if it is.
    pub(crate) fn task_of(&self, link: &Link) -> Option<Task> {
        match (self.maker(link), link.file()) {
            (Some(drv), _) => self.has_to_be_built(drv).then(|| Task::Build(drv.clone())),
            (None, file) => file.map(Task::Find),
        }
    }

    pub(crate) fn has_to_be_built(&self, drv: &StorePath) -> bool {
        self.nodes.get(drv).is_some_and(|node| node.standing == Standing::Build)
    }

    /// Refuses a derivation that would be another one each time, and does not say so.
    pub(crate) fn refuse_impure(&self, drv: &StorePath, derivation: &Derivation) -> Result<(), Error> {
        let is_impure = |drv: &StorePath| self.nodes.get(drv).is_some_and(|node| node.is_impure());
        if derivation.is_fixed() || is_impure(drv) {
            return Ok(());
        }
        let impure = derivation.input_drvs.keys().find(|input| is_impure(input));
        let impure = impure.cloned().or_else(|| {
            let links = if is_dynamic(derivation) { derivation.links() } else { Vec::new() };
            links.iter().filter_map(|link| self.maker(link)).find(|made| is_impure(made)).cloned()
        });
        impure.map_or(Ok(()), |input| Err(Error::ImpureInput { drv: drv.clone(), input }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Made;
    use derivation::{InputOutputs, OutputName};
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    fn path(name: &str) -> StorePath {
        format!("{}-{name}.drv", "0".repeat(32)).parse().unwrap()
    }

    fn out() -> OutputName {
        "out".parse().unwrap()
    }

    fn link(name: &str) -> Link {
        Link { drv: path(name), through: Vec::new(), output: out() }
    }

    /// Adds a derivation that has to be built; an input `x^` is a derivation that `x` makes.
    fn add(graph: &mut Graph, name: &str, inputs: &[&str]) {
        let mut input_drvs: BTreeMap<StorePath, InputOutputs> = BTreeMap::new();
        for input in inputs {
            let outputs = BTreeSet::from([out()]);
            match input.strip_suffix('^') {
                None => input_drvs.entry(path(input)).or_default().outputs.extend(outputs),
                Some(outer) => {
                    let inner =
                        InputOutputs { outputs: outputs.into_iter().collect(), dynamic: Default::default() };
                    input_drvs.entry(path(outer)).or_default().dynamic.insert(out(), inner);
                }
            }
        }
        let derivation = Derivation {
            name: name.parse().unwrap(),
            outputs: Default::default(),
            input_drvs: input_drvs.into_iter().collect(),
            input_srcs: BTreeSet::new(),
            system: Vec::new(),
            builder: Vec::new(),
            args: Vec::new(),
            env: Default::default(),
        };
        graph.insert(&path(name), derivation).standing = Standing::Build;
    }

    fn graph_of(derivations: &[(&str, &[&str])]) -> Graph {
        let mut graph = Graph::default();
        derivations.iter().for_each(|(name, inputs)| add(&mut graph, name, inputs));
        graph
    }

    fn build(name: &str) -> Task {
        Task::Build(path(name))
    }

    fn told(task: &Task) -> String {
        let name = task.drv().name().as_str().trim_end_matches(".drv");
        match task {
            Task::Build(_) => name.to_owned(),
            Task::Check(_) => format!("{name}?"),
            Task::Fetch(_) => format!("{name}&"),
            Task::Find(_) => format!("{name}^"),
        }
    }

    fn list(goals: &Goals) -> Vec<String> {
        let needs =
            |goal: &Goal| goal.inputs.iter().map(|place| told(&goals.list[*place].task)).collect::<Vec<_>>();
        goals.list.iter().map(|goal| format!("{} {}", told(&goal.task), needs(goal).join(" "))).collect()
    }

    /// Orders a graph given as names with the names of their inputs.
    fn order(derivations: &[(&str, &[&str])], tops: &[&str]) -> Result<Vec<String>, Error> {
        let graph = graph_of(derivations);
        let mut goals = Goals::default();
        let tops = tops.iter().map(|top| build(top)).filter(|top| graph.has_to_be_built(top.drv()));
        goals.add_for(&graph, tops.collect())?;
        Ok(list(&goals))
    }

    #[test]
    fn inputs_come_first_and_once() {
        let graph: &[(&str, &[&str])] =
            &[("top", &["left", "right"]), ("left", &["base"]), ("right", &["base", "valid"]), ("base", &[])];
        let order = order(graph, &["left", "top", "valid", "left"]).unwrap();
        assert_eq!(order, ["base ", "left base", "right base", "top left right"]);
    }

    #[test]
    fn a_chain_may_be_longer_than_a_stack_is_deep() {
        let names: Vec<String> = (0..20_000).map(|number| format!("link-{number}")).collect();
        let inputs: Vec<[&str; 1]> = names.iter().map(|name| [name.as_str()]).collect();
        // The first one needs one that is valid.
        let inputs = std::iter::once(&["valid"]).chain(&inputs);
        let graph: Vec<(&str, &[&str])> =
            names.iter().zip(inputs).map(|(name, inputs)| (name.as_str(), &inputs[..])).collect();
        let order = order(&graph, &["link-19999"]).unwrap();
        assert_eq!(order.len(), 20_000);
        assert_eq!(order[19_999], "link-19999 link-19998");
    }

    #[test]
    fn a_cycle_is_refused() {
        let error = order(&[("a", &["b"]), ("b", &["a"])], &["a"]).unwrap_err();
        assert!(matches!(error, Error::Cycle { .. }));
    }

    /// What stopped one walk is told again by the next one, not taken for a cycle.
    #[test]
    fn a_walk_that_failed_leaves_nothing_behind() {
        let mut graph = graph_of(&[("impure", &[]), ("pure", &["impure"]), ("top", &["pure"])]);
        let (method, algorithm) = (store_path::Method::Nar, store_path::HashAlgorithm::Sha256);
        let impure = Arc::make_mut(&mut graph.nodes.get_mut(&path("impure")).unwrap().derivation);
        impure.outputs.insert(out(), derivation::Output::Impure { method, algorithm });
        let mut goals = Goals::default();
        for _ in 0..2 {
            let error = goals.add_for(&graph, vec![build("top")]).unwrap_err();
            assert!(matches!(error, Error::ImpureInput { .. }), "{error}");
        }
        goals.add_for(&graph, vec![build("impure")]).unwrap();
        assert_eq!(list(&goals), ["impure "]);
    }

    #[test]
    fn what_is_to_be_made_has_a_goal_until_it_is_known() {
        let mut graph = graph_of(&[("outer", &[]), ("user", &["outer^"])]);
        let mut goals = Goals::default();
        goals.add_for(&graph, vec![build("user")]).unwrap();
        assert_eq!(list(&goals), ["outer ", "outer^ outer", "user outer outer^"]);
        assert_eq!(goals.list[0].finders, [1]);
        // It turns out to be one that needs another one.
        add(&mut graph, "base", &[]);
        add(&mut graph, "made", &["base"]);
        graph.made.insert(link("outer"), Made { found: Some(path("made")), ..Made::default() });
        goals.add_for(&graph, vec![build("made")]).unwrap();
        add(&mut graph, "late", &["outer^"]);
        goals.add_for(&graph, vec![build("late")]).unwrap();
        assert_eq!(list(&goals)[3..], ["base ", "made base", "late outer made"]);
    }
}
