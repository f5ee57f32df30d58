//! What derivations need to be built, as nodes and edges.

use std::collections::{BTreeSet, HashMap};

use store_path::{Name, StorePath};

use crate::{Derivation, InputOutputs, OutputName};

/// Derivations and all that they are made from; an edge leads from a derivation to an input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// The derivations asked about come first; then level by level, each after one that needs it.
    pub nodes: Vec<Node>,
    /// How many of the nodes were asked about.
    pub roots: usize,
}

/// One derivation of a [`Graph`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its path.
    pub path: StorePath,
    /// What is in it; nothing if it could not be had.
    pub known: Option<Contents>,
    /// The places of its inputs among the nodes, and what is wanted of each. Empty where the walk was told to stop.
    pub inputs: Vec<(usize, InputOutputs)>,
}

/// What a [`Node`] tells of a derivation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Its name.
    pub name: Name,
    /// Its outputs, and their paths as far as they are known.
    pub outputs: Vec<(OutputName, Option<StorePath>)>,
    /// What it needs besides derivations.
    pub sources: BTreeSet<StorePath>,
    /// How many inputs it has, whether or not the walk went on to them.
    pub input_count: usize,
}

/// Follows inputs from `roots`, at most `depth` steps if one is given, without recursion.
///
/// `known` returns a derivation, or nothing if it cannot be had; then its place in the graph has no inputs.
pub fn graph<E>(
    roots: impl IntoIterator<Item = StorePath>,
    depth: Option<usize>,
    known: &mut dyn FnMut(&StorePath) -> Result<Option<Derivation>, E>,
) -> Result<Graph, E> {
    let mut walk = Walk { nodes: Vec::new(), places: HashMap::new() };
    for root in roots {
        walk.place(&root);
    }
    let roots = walk.nodes.len();
    let (mut next, mut level, mut level_end) = (0, 0, roots);
    while next < walk.nodes.len() {
        if next == level_end {
            (level, level_end) = (level + 1, walk.nodes.len());
        }
        if let Some(derivation) = known(&walk.nodes[next].path)? {
            walk.nodes[next].known = Some(contents(&derivation));
            if depth.is_none_or(|depth| level < depth) {
                let inputs = derivation.input_drvs.into_iter();
                walk.nodes[next].inputs = inputs.map(|(path, wanted)| (walk.place(&path), wanted)).collect();
            }
        }
        next += 1;
    }
    Ok(Graph { nodes: walk.nodes, roots })
}

struct Walk {
    nodes: Vec<Node>,
    places: HashMap<StorePath, usize>,
}

impl Walk {
    fn place(&mut self, path: &StorePath) -> usize {
        *self.places.entry(path.clone()).or_insert_with(|| {
            self.nodes.push(Node { path: path.clone(), known: None, inputs: Vec::new() });
            self.nodes.len() - 1
        })
    }
}

fn contents(derivation: &Derivation) -> Contents {
    let output = |(name, output): (&OutputName, &crate::Output)| (name.clone(), output.path().cloned());
    Contents {
        name: derivation.name.clone(),
        outputs: derivation.outputs.iter().map(output).collect(),
        sources: derivation.input_srcs.clone(),
        input_count: derivation.input_drvs.len(),
    }
}
