//! The order of a plan: inputs first.

use std::collections::HashMap;

use derivation::Derivation;
use store_path::StorePath;

use crate::error::Error;
use crate::plan::Build;

/// Where a derivation stands while the order is made.
enum Mark {
    /// Its inputs are being placed.
    Open,
    /// It has its place.
    Placed(usize),
}

/// A step of the walk, kept on a stack of our own: a chain may be longer than the thread's stack is deep.
enum Step {
    Enter(StorePath),
    Leave(StorePath),
}

/// Puts the derivations to build in order, beginning with what the first of `tops` needs.
pub(crate) fn inputs_first<'a>(
    mut derivations: HashMap<StorePath, Derivation>,
    tops: impl DoubleEndedIterator<Item = &'a StorePath>,
) -> Result<Vec<Build>, Error> {
    let mut builds: Vec<Build> = Vec::with_capacity(derivations.len());
    let mut marks: HashMap<StorePath, Mark> = HashMap::with_capacity(derivations.len());
    let mut steps: Vec<Step> = tops.rev().cloned().map(Step::Enter).collect();
    while let Some(step) = steps.pop() {
        match step {
            Step::Enter(drv) => {
                let Some(derivation) = derivations.get(&drv).filter(|_| !marks.contains_key(&drv)) else {
                    continue;
                };
                marks.insert(drv.clone(), Mark::Open);
                steps.push(Step::Leave(drv));
                steps.extend(derivation.input_drvs.keys().rev().cloned().map(Step::Enter));
            }
            Step::Leave(drv) => {
                let derivation = derivations.remove(&drv).expect("it is entered once, and was there");
                let inputs = places(&drv, &derivation, &marks)?;
                marks.insert(drv.clone(), Mark::Placed(builds.len()));
                builds.push(Build { drv, derivation, inputs });
            }
        }
    }
    Ok(builds)
}

/// Returns the places of those inputs that are built.
fn places(
    drv: &StorePath,
    derivation: &Derivation,
    marks: &HashMap<StorePath, Mark>,
) -> Result<Vec<usize>, Error> {
    let marked = derivation.input_drvs.keys().filter_map(|input| marks.get(input));
    marked
        .map(|mark| match mark {
            Mark::Placed(place) => Ok(*place),
            Mark::Open => Err(Error::Cycle { drv: drv.clone() }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use derivation::InputOutputs;
    use std::collections::{BTreeMap, BTreeSet};

    fn path(name: &str) -> StorePath {
        format!("{}-{name}.drv", "0".repeat(32)).parse().unwrap()
    }

    /// Orders a graph given as names with the names of their inputs.
    fn order(graph: &[(&str, &[&str])], tops: &[&str]) -> Result<Vec<String>, Error> {
        let derivation = |name: &str, inputs: &[&str]| Derivation {
            name: name.parse().unwrap(),
            outputs: BTreeMap::new(),
            input_drvs: inputs.iter().map(|input| (path(input), InputOutputs::default())).collect(),
            input_srcs: BTreeSet::new(),
            system: Vec::new(),
            builder: Vec::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
        };
        let graph = graph.iter().map(|(name, inputs)| (path(name), derivation(name, inputs))).collect();
        let tops: Vec<StorePath> = tops.iter().map(|top| path(top)).collect();
        let builds = inputs_first(graph, tops.iter())?;
        let name = |build: &Build| build.derivation.name.to_string();
        let needs =
            |build: &Build| build.inputs.iter().map(|place| name(&builds[*place])).collect::<Vec<_>>();
        Ok(builds.iter().map(|build| format!("{} {}", name(build), needs(build).join(" "))).collect())
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
}
